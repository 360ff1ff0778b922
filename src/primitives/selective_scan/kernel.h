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
    float* scratch;  // selective_scan_scratch() floats, for this call alone
};

struct SelectiveScanKernels {
    int width;  // f32 lanes
    void (*scan)(const SelectiveScanArgs&);
};

SEQMIX_DECLARE_KERNELS(SelectiveScanKernels, selective_scan_kernels)

// Channels per call, of those of a row or group. Wide rows read best, but two threads want two equal
// parts; what a call keeps of A and h should stay in the L2 cache (768 KB).
SEQMIX_INLINE int64_t selective_scan_channels(int64_t channels, int64_t states) {
    constexpr int64_t kMost = 768, kLeast = 256, kLine = 16, kRecords = 98304;
    const int64_t parts =
        channels < 2 * kLeast ? 1 : 2 * ((channels + 2 * kMost - 1) / (2 * kMost));
    const int64_t part = (channels + parts - 1) / parts;
    const int64_t most = kRecords / states / kLine * kLine;
    const int64_t block = (part + kLine - 1) / kLine * kLine;
    return block <= most ? block : most < kLine ? kLine : most;
}

// Floats of scratch for calls of so many channels at most; `constants` of the two maps B and C are
// not per token.
SEQMIX_INLINE int64_t selective_scan_scratch(int64_t channels, int64_t states, int64_t constants) {
    constexpr int64_t kLine = 16;  // the widest vector, and a cache line
    return (2 + constants) * states * ((channels + kLine - 1) / kLine * kLine);
}

}  // namespace seqmix
