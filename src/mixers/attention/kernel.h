// Kernel table of urpe's attention, for one query; the equation is in attention.h.
//
// Keys are taken in blocks of kUrpeBlock that begin at multiples of it, so a query's bits
// depend on nothing but the query. f32 accumulation, 2^x within 2.5e-7.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

constexpr int64_t kUrpeBlock = 64;

struct UrpeArgs {
    int64_t keys, dk, dv;  // keys that the query sees, from 0 on
    const float* q;        // (dk)
    const float* k;        // (keys, dk)
    ptrdiff_t k_stride;
    const float* v;  // (keys, dv)
    ptrdiff_t v_stride;
    int64_t position;  // the query's
    float scale;
    const float *bias, *factor;  // entry j - position: added to a score; times a weight
    float* y;                    // (dv)
    float* scratch;              // kUrpeBlock + dv floats
};

struct UrpeKernels {
    void (*attend)(const UrpeArgs&);
};

SEQMIX_DECLARE_KERNELS(UrpeKernels, urpe_kernels)

}  // namespace seqmix
