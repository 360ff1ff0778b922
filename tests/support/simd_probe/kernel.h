// The vector vocabulary of src/simd as functions on arrays, one table per level, for simd_test:
// the headers themselves have internal linkage. Compiled per level like every kernel.cpp.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

struct SimdProbeKernels {
    using Map = void (*)(const float* in, float* out, int64_t n);
    int width;
    // n elements, by vectors and one load_n/store_n at the end.
    Map exp2_fast, softplus_fast, silu_fast, exp2, exp, log, log1p_unit, softplus, sigmoid, silu,
        tanh, erf, gelu, rsqrt, sqrt, sine, cosine, reciprocal_fast, round_nearest, negate, abs;
    void (*load_bf16)(const uint16_t* in, float* out, int64_t n);
    void (*load_f16)(const uint16_t* in, float* out, int64_t n);
    // One vector: load_n then a full store, and a full load then store_n; the _m forms likewise.
    void (*load_n)(const float* in, float* out_whole, int64_t n);
    void (*store_n)(const float* in_whole, float* out, int64_t n);
    void (*load_m)(const float* in, float* out_whole, int64_t n);
    void (*store_m)(const float* in_whole, float* out, int64_t n);
    void (*load_bf16_n)(const uint16_t* in, float* out_whole, int64_t n);
    void (*load_f16_n)(const uint16_t* in, float* out_whole, int64_t n);
    void (*transpose)(const float* in, float* out);  // (width,width), and row 0 reversed
    void (*scale_exp2)(const float* a, const float* e, float* out);  // one vector
    // One vector of a, b, c; 14 vectors out: a+b a-b a*b a/b fma fms fnma min max, then
    // select(m, a, b) with m = lt le gt ge eq.
    void (*arithmetic)(const float* a, const float* b, const float* c, float* out);
    void (*reduce)(const float* a, float* out);  // reduce_add, reduce_max, any(a>0), all(a>0)
};

SEQMIX_DECLARE_KERNELS(SimdProbeKernels, simd_probe_kernels)

}  // namespace seqmix
