// Kernel table of the short causal depthwise convolution; the equation is in conv1d.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// One run of tokens of one row, one block of channels. T' = tokens >= 0, C' = channels >= 1,
// K = width >= 1; all f32; strides in elements, the channel's is 1. Token strides may be negative
// (a reversed reading). y, window and x do not overlap.
struct Conv1dArgs {
    int64_t tokens, channels;
    int64_t width;
    const float* x;  // (T',C')
    ptrdiff_t x_stride;
    const float* weight;  // (K,C'): tap k of all channels; tap K-1 meets the current token
    ptrdiff_t weight_stride;
    const float* bias;  // (C') or null
    bool silu;
    float* window;  // (K-1,C'): the inputs before this run, oldest first; on exit the last K-1 of
                    // [window, x]. Not read or written when K = 1
    ptrdiff_t window_stride;
    float* y;  // (T',C')
    ptrdiff_t y_stride;
    bool streamed;  // y is written past the caches, where its rows are aligned to vectors
};

struct Conv1dKernels {
    int width;              // f32 lanes
    int64_t channel_block;  // channels per call that suit the caches; a multiple of width
    void (*conv)(const Conv1dArgs&);
};

SEQMIX_DECLARE_KERNELS(Conv1dKernels, conv1d_kernels)

}  // namespace seqmix
