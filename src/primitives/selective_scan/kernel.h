// Kernel table of the selective scan; the equation is in selective_scan.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// One run of tokens of one row, one block of channels. T' = tokens >= 0, C' = channels >= 1,
// N = states >= 1; all f32; strides in elements, the channel's is 1. Token strides may be negative
// (a reversed reading). y may be u, delta or z itself (same pointer and stride); it overlaps
// nothing else, and h overlaps nothing.
struct SelectiveScanArgs {
    int64_t tokens, channels, states;
    const float* u;  // (T',C')
    ptrdiff_t u_stride;
    const float* delta;  // (T',C')
    ptrdiff_t delta_stride;
    const float* delta_bias;  // (C') or null
    const float* A;           // (N,C'): the transition itself, usually negative
    ptrdiff_t A_stride;       // between states
    const float* B;           // B_per_token: (T',N), else (N,C')
    ptrdiff_t B_stride;       // between tokens, else between states
    const float* C;           // likewise
    ptrdiff_t C_stride;
    bool B_per_token, C_per_token, softplus;
    const float* D;  // (C') or null
    const float* z;  // (T',C') or null: y *= silu(z)
    ptrdiff_t z_stride;
    float* h;  // (N,C'): the state, read at entry, written at exit
    ptrdiff_t h_stride;
    float* y;  // (T',C')
    ptrdiff_t y_stride;
};

struct SelectiveScanKernels {
    int width;              // f32 lanes
    int64_t channel_block;  // channels per call that suit the caches; a multiple of width
    void (*scan)(const SelectiveScanArgs&);
};

SEQMIX_DECLARE_KERNELS(SelectiveScanKernels, selective_scan_kernels)

}  // namespace seqmix
