// Kernel table of rotary position embedding; the equation is in rope.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// T' = tokens >= 0, P = pairs >= 0; strides in elements, of any sign.
struct RopeAngles {
    int64_t tokens, pairs;
    const double* frequencies;  // (P), radians a token
    const int64_t* positions;   // (T'), or null: token t is at position + t position_step
    int64_t position, position_step;
    float scale;           // of cosines and sines: 1, or yarn's attention factor
    float *cosine, *sine;  // (T',P)
    ptrdiff_t stride;
};

// H' = heads, d = width >= 2P; column stride 1. y may be x with x's strides, else it overlaps nothing.
struct RopeArgs {
    int64_t tokens, heads, width, pairs;
    bool interleaved;
    const float *cosine, *sine;  // (T',P), as made by `angles` or given
    ptrdiff_t angle_stride;
    const float* x;  // (T',H',d)
    ptrdiff_t x_stride, x_head_stride;
    float* y;  // (T',H',d)
    ptrdiff_t y_stride, y_head_stride;
};

struct RopeKernels {
    int width;  // f32 lanes
    void (*angles)(const RopeAngles&);
    void (*rotate)(const RopeArgs&);
};

SEQMIX_DECLARE_KERNELS(RopeKernels, rope_kernels)

}  // namespace seqmix
