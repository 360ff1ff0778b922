// Kernel table of CKConv: the products of spectra, a complex matrix for each frequency.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

struct CkConvKernels {
    // y(f,o) = sum_i x(f,i) h(f,i,o), complex in planes: x (bins,in), h (bins,in,out), y (bins,out).
    // Sums run over i in order: a bin's bits do not depend on the number of bins.
    void (*multiply)(int64_t bins, int64_t in, int64_t out, const float* x_re, const float* x_im,
                     const float* h_re, const float* h_im, float* y_re, float* y_im);
};

SEQMIX_DECLARE_KERNELS(CkConvKernels, ckconv_kernels)

}  // namespace seqmix
