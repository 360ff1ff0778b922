// Kernel table of the leaky integrator; the equation is in template.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// One run of tokens of one row, one block of channels. T' = tokens >= 0, C' = channels >= 1; all f32;
// strides in elements, the channel's is 1. Token strides may be negative (a reversed reading).
// CHANGE: what your loop reads and writes for one segment and one block of channels.
struct TemplateArgs {
    int64_t tokens, channels;
    const float* x;  // (T',C')
    ptrdiff_t x_stride;
    const float* gain;  // (C'): 1 - a
    float* h;           // (C') in and out
    float* y;           // (T',C')
    ptrdiff_t y_stride;
};

struct TemplateKernels {
    int64_t channel_block;  // channels per call; a multiple of 16, the widest level's lanes
    void (*integrate)(const TemplateArgs&);
};

SEQMIX_DECLARE_KERNELS(TemplateKernels, template_kernels)

}  // namespace seqmix
