// Kernel table of the HiPPO memory; equations are in hippo.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

constexpr int64_t kHippoVectors = 4;  // of channels in a call

struct HippoArgs {
    int64_t tokens, channels, N;  // channels at most kHippoVectors * width
    const float* u;               // (T',C')
    ptrdiff_t u_stride;
    float* c;  // (N,C') in and out
    ptrdiff_t c_stride;
    float* y;  // (T',C',N)
    ptrdiff_t y_stride;
    float* scratch;  // 2 N kHippoVectors width floats
    // legs: (T', N + 3): (1 - alpha)/t, alpha/t, 1/t, then 1 / (1 + alpha/t (n+1)); root: sqrt(2n+1).
    const float *table, *root;
    // dense: c <- c + A c + b u; (N,N), (N).
    const float *A, *b;
};

struct HippoKernels {
    int32_t width;
    void (*start)(const HippoArgs&);  // one token: c = (u, 0, ...)
    void (*legs)(const HippoArgs&);
    void (*dense)(const HippoArgs&);
};

SEQMIX_DECLARE_KERNELS(HippoKernels, hippo_kernels)

}  // namespace seqmix
