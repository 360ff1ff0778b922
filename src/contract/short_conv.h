// A short causal depthwise convolution inside a mixer (primitives/conv1d): taps bound once, run over
// packed tokens, the last K-1 inputs of each row in a state tensor (K-1, channels) of the mixer.
#pragma once

#include "contract/mixer.h"
#include "primitives/conv1d/kernel.h"

namespace seqmix {

class ShortConv {
  public:
    // weight (channels, taps), tap K-1 meets the current token; bias (channels) or absent. Rounded to
    // f32 once.
    void bind(const Weight& weight, const Weight& bias, int64_t channels, int64_t taps,
              const BindCall& call);
    // taps (taps, channels), made by the mixer.
    void bind(Array<float> taps, int64_t channels, const BindCall& call);

    // x and y (tokens, channels) with token strides, not the same memory; `state` is the tensor's place
    // in the plan.
    void run(const Call& call, size_t state, const float* x, ptrdiff_t x_stride, float* y,
             ptrdiff_t y_stride, bool silu = false) const;
    // Every segment begins with zeros before it; `window` is room for (taps-1, channels).
    void run_whole(const Call& call, const float* x, ptrdiff_t x_stride, float* y,
                   ptrdiff_t y_stride, float* window) const;

  private:
    void run_block(const Segment& segment, int64_t first, int64_t count, const float* x,
                   ptrdiff_t x_stride, float* y, ptrdiff_t y_stride, bool silu,
                   float* window) const;

    int64_t channels_ = 0, taps_ = 0;
    const Conv1dKernels* kernels_ = nullptr;
    Array<float> weight_, bias_;  // (taps, channels), (channels)
};

}  // namespace seqmix
