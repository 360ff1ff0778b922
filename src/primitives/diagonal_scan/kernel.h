// Kernel table of the complex diagonal recurrence; equation and layouts are in diagonal_scan.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// The coefficients of one block of channels (or of one channel), a record of `parts` vectors for each
// mode (or for each `width` modes):
//   [s] dr di br bi, then wr wi gr gi for each rank, then cr ci for each output
// s is there where `signs` is set, else it is 1. Vectors are `width` floats.
struct DiagonalScanArgs {
    int64_t tokens, channels, modes, outputs;
    int32_t rank;  // 0, 1, 2
    bool signs;
    const float* records;
    const float* skip;  // (outputs, channels), lines skip_stride apart; null: none
    ptrdiff_t skip_stride;
    const float* u;  // (tokens, channels)
    ptrdiff_t u_stride;
    float* y;  // (tokens, outputs, channels)
    ptrdiff_t y_stride, output_stride;
    bool add;  // y += instead of y =
    // (modes, 2, channels) in and out; re of mode n and channel d: x[2n x_stride + d]
    float* x;
    ptrdiff_t x_stride;
    float* scratch;  // 2 width (modes rounded up to width) floats
};

struct DiagonalScanKernels {
    int32_t width;
    void (*channels)(const DiagonalScanArgs&);  // lanes are channels, at most `width` of them
    void (*modes)(const DiagonalScanArgs&);     // lanes are modes; one channel
};

SEQMIX_DECLARE_KERNELS(DiagonalScanKernels, diagonal_scan_kernels)

}  // namespace seqmix
