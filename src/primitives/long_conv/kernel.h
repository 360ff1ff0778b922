// Kernel table of streamed long convolutions: what is multiplied between and beside the transforms
// (stream.h). Sums run over taps and partitions in rising order: cutting them changes no bit.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

struct LongConvKernels {
    // y(t,d) = add(t,d) + sum_{j < taps} k(j,d) x(t-j,d); x has taps - 1 rows before its first. add may
    // be null (zeros), or y. y is not x.
    void (*fir)(int64_t tokens, int64_t lanes, int64_t taps, const float* x, ptrdiff_t x_stride,
                const float* k, ptrdiff_t k_stride, const float* add, ptrdiff_t add_stride,
                float* y, ptrdiff_t y_stride);
    // The same for one channel, dense.
    void (*fir_one)(int64_t tokens, int64_t taps, const float* x, const float* k, const float* add,
                    float* y);
    // acc += x h, complex: planes of real parts, then of imaginary parts `count` further on.
    void (*multiply_add)(int64_t count, const float* x, const float* h, float* acc);
    // y = a * b; (rows, D), any strides between rows. y may be a or b.
    void (*gate)(int64_t rows, int64_t width, const float* a, ptrdiff_t a_stride, const float* b,
                 ptrdiff_t b_stride, float* y, ptrdiff_t y_stride);
};

SEQMIX_DECLARE_KERNELS(LongConvKernels, long_conv_kernels)

}  // namespace seqmix
