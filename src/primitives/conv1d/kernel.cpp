// Short causal depthwise convolution, hot loops. The equation is in conv1d.h.
//
// Lanes are channels. Widths 2 to 4 keep taps and window in registers over a tile of tokens; other
// widths reread the rows, which the cache still holds, four tokens to each load of a tap. A tile
// has few tokens and goes across all channels before the next: rows some kilobytes apart cost a
// page each. Accumulation f32; no scratch.
// Outputs that no cache will keep are written past them: their lines are not read first (65536 tokens
// of 1536 channels: 1.35 times as fast on one thread, 1.25 on two).
#include "primitives/conv1d/kernel.h"

#include "simd/math.h"
#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kTile = 8;  // tokens

// The lanes of a block that exist; whole blocks skip the masks (slow stores on some AVX2 cores).
struct Lanes {
    Mask mask;
    bool whole;
};
SEQMIX_INLINE Vec load_lanes(const float* p, Lanes lanes) {
    return lanes.whole ? load(p) : load_m(p, lanes.mask);
}
SEQMIX_INLINE void store_lanes(float* p, Vec a, Lanes lanes) {
    if (lanes.whole) {
        store(p, a);
    } else {
        store_m(p, a, lanes.mask);
    }
}

// Token t of [window, x]; t >= -(K-1).
SEQMIX_INLINE const float* row(const Conv1dArgs& a, int64_t t) {
    return t >= 0 ? a.x + t * a.x_stride : a.window + (t + a.width - 1) * a.window_stride;
}

SEQMIX_INLINE void put(const Conv1dArgs& a, int64_t t, int64_t c, Vec sum, Lanes lanes) {
    float* y = a.y + t * a.y_stride + c;
    const Vec value = a.silu ? silu(sum) : sum;
    if (a.streamed && lanes.whole) {
        store_streamed(y, value);
    } else {
        store_lanes(y, value, lanes);
    }
}

// K taps, tokens [first, last) of the channels at c.
template <int K>
SEQMIX_INLINE void block(const Conv1dArgs& a, int64_t first, int64_t last, int64_t c, Lanes lanes,
                         Vec bias) {
    Vec tap[K];
    Vec x[K];  // x[k] meets tap k
    unroll<K>([&](auto k) SEQMIX_INLINE_LAMBDA {
        tap[k] = load_lanes(a.weight + k * a.weight_stride + c, lanes);
        x[k] = k > 0 ? load_lanes(row(a, first - K + k) + c, lanes) : zero();
    });
    for (int64_t t = first; t < last; ++t) {
        if (t + kTile < a.tokens) {
            __builtin_prefetch(a.x + (t + kTile) * a.x_stride + c, 0, 3);
            if (!a.streamed) __builtin_prefetch(a.y + (t + kTile) * a.y_stride + c, 1, 3);
        }
        unroll<K - 1>([&](auto k) SEQMIX_INLINE_LAMBDA { x[k] = x[k + 1]; });
        x[K - 1] = load_lanes(a.x + t * a.x_stride + c, lanes);
        Vec sum = bias;
        unroll<K>([&](auto k) SEQMIX_INLINE_LAMBDA { sum = fma(tap[k], x[k], sum); });
        put(a, t, c, sum, lanes);
    }
}

// Any number of taps.
SEQMIX_INLINE void block_any(const Conv1dArgs& a, int64_t first, int64_t last, int64_t c,
                             Lanes lanes, Vec bias) {
    const int64_t oldest = 1 - a.width;
    int64_t t = first;
    for (; t + 4 <= last; t += 4) {
        Vec sum[4] = {bias, bias, bias, bias};
        for (int64_t k = 0; k < a.width; ++k) {
            const Vec tap = load_lanes(a.weight + k * a.weight_stride + c, lanes);
            unroll<4>([&](auto i) SEQMIX_INLINE_LAMBDA {
                sum[i] = fma(tap, load_lanes(row(a, t + i + oldest + k) + c, lanes), sum[i]);
            });
        }
        unroll<4>([&](auto i) SEQMIX_INLINE_LAMBDA { put(a, t + i, c, sum[i], lanes); });
    }
    for (; t < last; ++t) {
        Vec sum = bias;
        for (int64_t k = 0; k < a.width; ++k) {
            sum = fma(load_lanes(a.weight + k * a.weight_stride + c, lanes),
                      load_lanes(row(a, t + oldest + k) + c, lanes), sum);
        }
        put(a, t, c, sum, lanes);
    }
}

// K = 0: any.
template <int K>
void tiles(const Conv1dArgs& a) {
    for (int64_t first = 0; first < a.tokens; first += kTile) {
        const int64_t last = first + kTile < a.tokens ? first + kTile : a.tokens;
        for (int64_t c = 0; c < a.channels; c += kWidth) {
            const Lanes lanes = {first_n(a.channels - c), a.channels - c >= kWidth};
            const Vec bias = a.bias != nullptr ? load_lanes(a.bias + c, lanes) : zero();
            if constexpr (K > 0) {
                block<K>(a, first, last, c, lanes, bias);
            } else {
                block_any(a, first, last, c, lanes, bias);
            }
        }
    }
}

// Row i of the new window is row i+T' of [window, x]: never an earlier one: rising order is safe.
void shift_window(const Conv1dArgs& a) {
    const int64_t rows = a.width - 1;
    for (int64_t i = 0; i < rows; ++i) {
        const float* from = row(a, a.tokens - rows + i);
        float* to = a.window + i * a.window_stride;
        for (int64_t c = 0; c < a.channels; c += kWidth) {
            const Lanes lanes = {first_n(a.channels - c), a.channels - c >= kWidth};
            store_lanes(to + c, load_lanes(from + c, lanes), lanes);
        }
    }
}

void conv(const Conv1dArgs& args) {
    if (args.tokens <= 0) return;
    Conv1dArgs a = args;
    a.streamed = a.streamed && a.y_stride % kWidth == 0 &&
                 reinterpret_cast<uintptr_t>(a.y) % (kWidth * sizeof(float)) == 0;
    switch (a.width) {
        case 2: tiles<2>(a); break;
        case 3: tiles<3>(a); break;
        case 4: tiles<4>(a); break;
        default: tiles<0>(a); break;
    }
    if (a.streamed) end_streamed();
    shift_window(a);
}

}  // namespace

extern const Conv1dKernels conv1d_kernels;
const Conv1dKernels conv1d_kernels = {kWidth, 256, conv};

}  // namespace seqmix::SEQMIX_ISA
