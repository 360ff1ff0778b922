#include "contract/short_conv.h"

#include <utility>

#include "contract/recurrent.h"

namespace seqmix {

void ShortConv::bind(const Weight& weight, const Weight& bias, int64_t channels, int64_t taps,
                     const BindCall& call) {
    bind(weight_f32_transposed(weight, channels, taps, call.allocator), channels, call);
    bias_ = weight_f32(bias, call.allocator);
}

void ShortConv::bind(Array<float> taps, int64_t channels, const BindCall& call) {
    kernels_ = SEQMIX_SELECT_KERNELS(call.isa, conv1d_kernels);
    channels_ = channels;
    taps_ = taps.size() / channels;
    weight_ = std::move(taps);
}

// The channels [first, first + count) of a segment; `window` at the first of them.
void ShortConv::run_block(const Segment& segment, int64_t first, int64_t count, const float* x,
                          ptrdiff_t x_stride, float* y, ptrdiff_t y_stride, bool silu,
                          float* window) const {
    Conv1dArgs args{};
    args.tokens = segment.count;
    args.channels = count;
    args.width = taps_;
    args.x = x + segment.first * x_stride + first;
    args.x_stride = x_stride;
    args.weight = weight_.data() + first;
    args.weight_stride = channels_;
    args.bias = bias_ ? bias_.data() + first : nullptr;
    args.silu = silu;
    args.window = window;
    args.window_stride = channels_;
    args.y = y + segment.first * y_stride + first;
    args.y_stride = y_stride;
    kernels_->conv(args);
}

void ShortConv::run(const Call& call, size_t state, const float* x, ptrdiff_t x_stride, float* y,
                    ptrdiff_t y_stride, bool silu) const {
    for_each_channel_block(
        call, state, taps_ - 1, channels_, 1, kernels_->channel_block,
        [&](const Segment& segment, int64_t first, int64_t count, int64_t, float* window, int64_t) {
            run_block(segment, first, count, x, x_stride, y, y_stride, silu, window);
        });
}

void ShortConv::run_whole(const Call& call, const float* x, ptrdiff_t x_stride, float* y,
                          ptrdiff_t y_stride, float* window) const {
    const int64_t block = kernels_->channel_block;
    call.parallel_for((channels_ + block - 1) / block, [&](int64_t b, size_t) {
        const int64_t first = b * block, count = std::min(block, channels_ - first);
        for (int64_t s = 0; s < call.segment_count; ++s) {
            zero_columns(window, taps_ - 1, channels_, first, count);
            run_block(call.segments[s], first, count, x, x_stride, y, y_stride, false,
                      window + first);
        }
    });
}

}  // namespace seqmix
