// Long convolutions that go on from call to call: cut at random they give the numbers of the whole,
// and a cache that was thrown away is made again bit for bit.
#include "primitives/long_conv/stream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "../support/simd_probe/levels.h"
#include "primitives/long_conv/reference.h"

namespace seqmix {
namespace {

std::vector<float> numbers(int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> list(static_cast<size_t>(count));
    for (float& v : list) v = normal(random);
    return list;
}

// A stream of one row, with its state.
struct Stream {
    LongConvStream conv;
    int64_t channels, clock = 0;
    Array<float> ring, cache, windows, scratch;
    Stream(const LongConvShape& shape, const std::vector<float>& k, Isa isa)
        : conv(shape, k.data(), *SEQMIX_SELECT_KERNELS(isa, fft_kernels),
               *SEQMIX_SELECT_KERNELS(isa, long_conv_kernels), {}),
          channels(shape.channels),
          ring(conv.sizes().ring_rows * channels, {}),
          cache(conv.sizes().cache_size, {}),
          windows(conv.sizes().windows * conv.sizes().window_size, {}),
          scratch(conv.scratch_size(), {}) {
        ring.zero();
        forget();
    }
    void forget() {
        cache.zero();
        windows.zero();
    }
    void run(const float* x, float* y, int64_t tokens, int64_t window_rows = INT64_MAX) {
        LongConvRowCall call;
        call.tokens = tokens;
        call.x = x;
        call.y = y;
        call.x_stride = call.y_stride = channels;
        call.ring = ring.data();
        call.ring_stride = channels;
        call.clock = clock;
        call.cache = cache.data();
        call.windows = windows.data();
        call.window_stride = conv.sizes().window_size;
        call.window_rows = std::min(window_rows, conv.sizes().windows);
        for (int64_t g = 0; g < conv.groups(); ++g) conv.run(g, call, scratch.data());
        clock = conv.sizes().next_clock(clock, tokens);
    }
};

struct Problem {
    LongConvShape shape;
    int64_t tokens;
    std::vector<float> x, k;
    std::vector<double> y;
    Problem(int64_t channels, int64_t taps, int64_t t)
        : shape{.channels = channels, .taps = taps}, tokens(t) {
        x = numbers(t * channels, 1);
        k = numbers(taps * channels, 2);
        for (float& v : k) v /= std::sqrt(static_cast<float>(taps));
        std::vector<double> columns(k.size());
        for (int64_t j = 0; j < taps; ++j) {
            for (int64_t d = 0; d < channels; ++d) {
                columns[static_cast<size_t>(d * taps + j)] =
                    static_cast<double>(k[static_cast<size_t>(j * channels + d)]);
            }
        }
        const std::vector<double> x64(x.begin(), x.end());
        y.resize(x.size());
        reference::long_conv({.tokens = t,
                              .channels = channels,
                              .taps = taps,
                              .k = columns.data(),
                              .after_taps = 0,
                              .after = nullptr,
                              .after_from_next = false,
                              .past = nullptr,
                              .past_rows = 0,
                              .x = x64.data(),
                              .y = y.data()});
    }
    double error(const std::vector<float>& got) const {
        double worst = 0, most = 0;
        for (size_t i = 0; i < y.size(); ++i) {
            worst = std::max(worst, std::abs(static_cast<double>(got[i]) - y[i]));
            most = std::max(most, std::abs(y[i]));
        }
        return worst / most;
    }
};

// Pieces of one token, of a few, of hundreds and of thousands.
std::vector<int64_t> pieces(int64_t tokens, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<int64_t> list;
    for (int64_t at = 0; at < tokens;) {
        const int64_t most[] = {1, 5, 128, 300, 3000};
        const int64_t size =
            1 + static_cast<int64_t>(random() % static_cast<uint32_t>(most[random() % 5]));
        list.push_back(std::min(size, tokens - at));
        at += list.back();
    }
    return list;
}

constexpr int64_t kTaps[] = {1, 2, 100, 128, 129, 500, 1030, 5000};

TEST(LongConvStream, PiecesGiveTheWhole) {
    for (const int64_t channels : {1, 3, 16, 21}) {
        for (const int64_t taps : kTaps) {
            const Problem p(channels, taps, 3 * taps + 700);
            for (const Isa isa : test::built_levels()) {
                Stream stream(p.shape, p.k, isa);
                std::vector<float> y(p.x.size());
                for (const bool blocks_of_128 : {false, true}) {
                    stream.clock = 0;
                    stream.ring.zero();
                    int64_t at = 0, n = 0;
                    for (int64_t size : pieces(p.tokens, static_cast<unsigned>(taps))) {
                        if (blocks_of_128) size = std::min<int64_t>(128, p.tokens - at);
                        stream.run(p.x.data() + at * channels, y.data() + at * channels, size);
                        at += size;
                        if (blocks_of_128 && at == p.tokens) break;
                        if (blocks_of_128 && ++n == 3) stream.forget();
                    }
                    while (at < p.tokens) {
                        const int64_t size = std::min<int64_t>(128, p.tokens - at);
                        stream.run(p.x.data() + at * channels, y.data() + at * channels, size);
                        at += size;
                    }
                    EXPECT_LT(p.error(y), 2e-6) << isa_name(isa) << " D" << channels << " K" << taps
                                                << " " << blocks_of_128;
                }
            }
        }
    }
}

TEST(LongConvStream, ALostCacheChangesNoBit) {
    for (const int64_t channels : {1, 19}) {
        for (const int64_t taps : {129, 1030, 5000}) {
            const Problem p(channels, taps, 3 * taps);
            for (const Isa isa : test::built_levels()) {
                Stream kept(p.shape, p.k, isa), lost(p.shape, p.k, isa);
                std::vector<float> y(p.x.size()), z(p.x.size());
                int64_t at = 0;
                std::mt19937 random(static_cast<unsigned>(taps));
                for (const int64_t size : pieces(p.tokens, 7)) {
                    const float* x = p.x.data() + at * channels;
                    kept.run(x, y.data() + at * channels, size);
                    if (random() % 4 == 0) lost.forget();
                    lost.run(x, z.data() + at * channels, size);
                    at += size;
                }
                EXPECT_EQ(y, z) << isa_name(isa) << " D" << channels << " K" << taps;
            }
        }
    }
}

// Without room for the spectra of the past everything goes through whole transforms.
TEST(LongConvStream, NeedsNoWindows) {
    const Problem p(2, 5000, 9000);
    for (const Isa isa : test::built_levels()) {
        Stream stream(p.shape, p.k, isa);
        std::vector<float> y(p.x.size());
        for (int64_t at = 0; at < p.tokens; at += 250) {
            stream.run(p.x.data() + at * 2, y.data() + at * 2, 250, 3);
        }
        EXPECT_LT(p.error(y), 2e-6) << isa_name(isa);
    }
}

}  // namespace
}  // namespace seqmix
