// The short convolution at every level that this machine runs, against the reference in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "../support/guarded.h"
#include "../support/simd_probe/levels.h"
#include "primitives/conv1d/conv1d.h"
#include "primitives/conv1d/reference.h"

namespace seqmix {
namespace {

using test::Guarded;

struct Level {
    const char* name;
    const Conv1dKernels* kernels;
};
std::vector<Level> levels() {
    std::vector<Level> list;
    for (const Isa isa : test::built_levels()) {
        list.push_back({isa_name(isa), SEQMIX_SELECT_KERNELS(isa, conv1d_kernels)});
    }
    return list;
}

struct Shape {
    int64_t T, D, K;
    bool bias, silu, reversed;
};

size_t count(int64_t n) { return static_cast<size_t>(n); }

// Runs the kernel over `pieces` (lengths that add up to T) and compares with the reference run.
void check(const Level& level, const Shape& s, const std::vector<int64_t>& pieces, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-2.0f, 2.0f);
    const int64_t rows = s.K - 1;
    Guarded<float> x(count(s.T * s.D)), weight(count(s.K * s.D)), bias(count(s.D)),
        window(count(rows * s.D)), y(count(s.T * s.D));
    for (auto* a : {&x, &weight, &bias, &window}) {
        for (size_t i = 0; i < a->size(); ++i) (*a)[i] = uniform(random);
    }
    std::vector<double> rx(x.size()), rw(weight.size()), rb(bias.size()), rwindow(window.size()),
        ry(y.size());
    for (int64_t t = 0; t < s.T; ++t) {
        for (int64_t d = 0; d < s.D; ++d) {
            const int64_t from = s.reversed ? s.T - 1 - t : t;
            rx[count(t * s.D + d)] = static_cast<double>(x[count(from * s.D + d)]);
        }
    }
    for (int64_t k = 0; k < s.K; ++k) {
        for (int64_t d = 0; d < s.D; ++d) {
            rw[count(d * s.K + k)] = static_cast<double>(weight[count(k * s.D + d)]);
        }
    }
    std::copy(bias.data(), bias.data() + bias.size(), rb.begin());
    std::copy(window.data(), window.data() + window.size(), rwindow.begin());
    reference::conv1d({s.T, s.D, s.K, rx.data(), rw.data(), s.bias ? rb.data() : nullptr, s.silu,
                       rwindow.data(), ry.data()});
    const ptrdiff_t step = s.reversed ? -s.D : s.D;
    const int64_t origin = s.reversed && s.T > 0 ? (s.T - 1) * s.D : 0;
    int64_t done = 0;
    for (const int64_t piece : pieces) {
        const Conv1dArgs args = {piece,  s.D,
                                 s.K,    x.data() + origin + done * step,
                                 step,   weight.data(),
                                 s.D,    s.bias ? bias.data() : nullptr,
                                 s.silu, window.data(),
                                 s.D,    y.data() + origin + done * step,
                                 step,   (seed + done) % 2 == 0};
        level.kernels->conv(args);
        done += piece;
    }
    ASSERT_EQ(done, s.T);
    double largest = 1e-6;
    for (const double v : ry) largest = std::max(largest, std::fabs(v));
    for (int64_t t = 0; t < s.T; ++t) {
        for (int64_t d = 0; d < s.D; ++d) {
            const int64_t at = (s.reversed ? s.T - 1 - t : t) * s.D + d;
            ASSERT_NEAR(static_cast<double>(y[count(at)]), ry[count(t * s.D + d)], 1e-6 * largest)
                << level.name << " T=" << s.T << " D=" << s.D << " K=" << s.K << " t=" << t
                << " d=" << d;
        }
    }
    for (size_t i = 0; i < window.size(); ++i) {
        ASSERT_EQ(static_cast<double>(window[i]), rwindow[i]) << level.name << " K=" << s.K;
    }
}

TEST(Conv1dKernel, MatchesReferenceAtAllShapes) {
    for (const Level& level : levels()) {
        const int64_t w = level.kernels->width;
        unsigned seed = 1;
        for (const int64_t T : {0, 1, 2, 3, 5, 7, 8, 9, 63, 64, 65, 257}) {
            for (const int64_t D : {int64_t{1}, int64_t{3}, w - 1, w, w + 1, int64_t{33}}) {
                for (const int64_t K : {1, 2, 3, 4, 5, 8, 9, 31}) {
                    const unsigned options = seed % 8;
                    check(level,
                          {T, D, K, (options & 1) != 0, (options & 2) != 0, (options & 4) != 0},
                          {T}, seed);
                    ++seed;
                }
            }
        }
    }
}

TEST(Conv1dKernel, AnyCutGivesTheSameResult) {
    for (const Level& level : levels()) {
        std::mt19937 random(7);
        for (unsigned trial = 0; trial < 60; ++trial) {
            const int64_t T = 40;
            const int64_t K = 1 + static_cast<int64_t>(trial % 9);
            std::vector<int64_t> pieces;
            int64_t left = T;
            while (left > 0) {
                const int64_t piece = std::min<int64_t>(left, static_cast<int64_t>(random() % 7));
                pieces.push_back(piece);
                left -= piece;
            }
            check(level, {T, 19, K, true, trial % 2 == 0, trial % 3 == 0}, pieces, trial);
            check(level, {T, 19, K, true, trial % 2 == 0, trial % 3 == 0},
                  std::vector<int64_t>(count(T), 1), trial);
        }
    }
}

// Figures worked by hand in the specification of the operator.
TEST(Conv1dKernel, WorkedNumbers) {
    for (const Level& level : levels()) {
        const float weight[4] = {0.1f, 0.2f, 0.3f, 0.4f};
        const float bias = 0.5f;
        const float x[5] = {1, 2, 3, 4, 5};
        const float from_zero[5] = {0.9f, 1.6f, 2.5f, 3.5f, 4.5f};
        const float from_window[5] = {-0.5f, 0.8f, 2.2f, 3.5f, 4.5f};
        float window[3] = {0, 0, 0};
        float y[5];
        Conv1dArgs args = {5, 1, 4, x, 1, weight, 1, &bias, false, window, 1, y, 1, false};
        level.kernels->conv(args);
        for (int t = 0; t < 5; ++t) EXPECT_NEAR(y[t], from_zero[t], 1e-6f) << level.name;
        EXPECT_EQ(window[0], 3.0f);
        EXPECT_EQ(window[2], 5.0f);
        float other[3] = {-1, -2, -3};
        args.window = other;
        level.kernels->conv(args);
        for (int t = 0; t < 5; ++t) EXPECT_NEAR(y[t], from_window[t], 1e-6f) << level.name;
        args.tokens = 1;  // shorter than the window: it moves by one
        level.kernels->conv(args);
        EXPECT_EQ(other[0], 4.0f);
        EXPECT_EQ(other[1], 5.0f);
        EXPECT_EQ(other[2], 1.0f);
    }
}

}  // namespace
}  // namespace seqmix
