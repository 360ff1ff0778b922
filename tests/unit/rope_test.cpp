// Rotary position embedding at every level that this machine runs, against the reference in double;
// the worked numbers of its sources. Tolerance: 1e-6 of the largest value, at any position.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../support/guarded.h"
#include "../support/simd_probe/levels.h"
#include "primitives/rope/reference.h"
#include "primitives/rope/rope.h"

namespace seqmix {
namespace {

using test::Guarded;

size_t count(int64_t n) { return static_cast<size_t>(n); }

struct Shape {
    int64_t tokens, heads, width, pairs;
    bool interleaved;
};

std::vector<double> frequencies_of(int64_t pairs) {
    std::vector<double> frequencies(count(pairs));
    rope_frequencies(10000.0, 2 * pairs, frequencies.data());
    return frequencies;
}

// (T',H',d) with gaps of NaN between heads and tokens; ends at an inaccessible page.
struct Tensor {
    explicit Tensor(const Shape& s)
        : head(s.width + 3),
          token(s.heads * head + 5),
          data(count((s.tokens - 1) * token + (s.heads - 1) * head + s.width)) {
        std::fill_n(data.data(), data.size(), std::nanf(""));
    }
    float* row(int64_t t, int64_t h) { return data.data() + t * token + h * head; }
    ptrdiff_t head, token;
    Guarded<float> data;
};

std::vector<float> values(Tensor& tensor, const Shape& s) {
    std::vector<float> all;
    for (int64_t t = 0; t < s.tokens; ++t) {
        for (int64_t h = 0; h < s.heads; ++h) {
            all.insert(all.end(), tensor.row(t, h), tensor.row(t, h) + s.width);
        }
    }
    return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Angles {
    Guarded<float> cosine, sine;
    ptrdiff_t stride;
    Angles(const RopeKernels& kernels, const Shape& s, const int64_t* positions, int64_t first,
           int64_t step, float scale)
        : cosine(count(s.tokens * s.pairs)), sine(cosine.size()), stride(s.pairs) {
        const std::vector<double> frequencies = frequencies_of(s.pairs);
        Guarded<double> table(frequencies.size());
        std::copy(frequencies.begin(), frequencies.end(), table.data());
        kernels.angles({s.tokens, s.pairs, table.data(), positions, first, step, scale,
                        cosine.data(), sine.data(), stride});
    }
};

void rotate(const RopeKernels& kernels, const Shape& s, Angles& angles, Tensor& x, Tensor& y) {
    kernels.rotate({s.tokens, s.heads, s.width, s.pairs, s.interleaved, angles.cosine.data(),
                    angles.sine.data(), angles.stride, x.data.data(), x.token, x.head,
                    y.data.data(), y.token, y.head});
}

TEST(Rope, EveryShapeIsTheReference) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> draw(-2.0f, 2.0f);
    for (const Isa isa : test::built_levels()) {
        const RopeKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, rope_kernels);
        for (const int64_t pairs : {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 32, 33, 64}) {
            for (const int64_t rest : {0, 1, 5, 40}) {
                for (const bool interleaved : {false, true}) {
                    const Shape s = {5, 3, std::max<int64_t>(2 * pairs + rest, 1), pairs,
                                     interleaved};
                    SCOPED_TRACE(std::string(isa_name(isa)) + " pairs " + std::to_string(pairs) +
                                 " of " + std::to_string(s.width));
                    std::vector<int64_t> positions(count(s.tokens));
                    for (int64_t& p : positions) p = static_cast<int64_t>(random() % 100000);
                    Tensor x(s), y(s);
                    std::vector<double> wide;
                    for (int64_t t = 0; t < s.tokens; ++t) {
                        for (int64_t h = 0; h < s.heads; ++h) {
                            for (int64_t d = 0; d < s.width; ++d) {
                                x.row(t, h)[d] = draw(random);
                                wide.push_back(static_cast<double>(x.row(t, h)[d]));
                            }
                        }
                    }
                    Angles angles(kernels, s, positions.data(), 0, 0, 1.25f);
                    rotate(kernels, s, angles, x, y);
                    std::vector<double> cosine(angles.cosine.size()), sine(cosine.size());
                    reference::rope_angles(s.tokens, pairs, positions.data(),
                                           frequencies_of(pairs).data(), 1.25, cosine.data(),
                                           sine.data());
                    reference::rope(s.tokens, s.heads, s.width, pairs, interleaved, cosine.data(),
                                    sine.data(), wide.data(), wide.data());
                    const std::vector<float> got = values(y, s);
                    for (size_t i = 0; i < wide.size(); ++i) {
                        ASSERT_NEAR(static_cast<double>(got[i]), wide[i], 3e-6) << i;
                    }
                    for (int64_t d = s.width; d < x.head; ++d) {  // what lies between is untouched
                        ASSERT_TRUE(std::isnan(y.row(0, 0)[d]));
                    }
                    rotate(kernels, s, angles, x, x);
                    ASSERT_TRUE(same_bits(values(x, s), got)) << "in place";
                    // A token alone has the same bits.
                    const Shape one = {1, s.heads, s.width, pairs, interleaved};
                    Angles at(kernels, one, nullptr, positions[3], 0, 1.25f);
                    for (int64_t i = 0; i < pairs; ++i) {
                        ASSERT_EQ(at.cosine[count(i)], angles.cosine[count(3 * pairs + i)]);
                        ASSERT_EQ(at.sine[count(i)], angles.sine[count(3 * pairs + i)]);
                    }
                }
            }
        }
    }
}

TEST(Rope, AnglesAreRightAtAnyPosition) {
    for (const Isa isa : test::built_levels()) {
        const RopeKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, rope_kernels);
        for (const int64_t first :
             {int64_t{0}, int64_t{1} << 17, int64_t{1} << 28, int64_t{1} << 40, int64_t{-70000}}) {
            for (const int64_t step : {1, 7, -3}) {
                const Shape s = {200, 1, 128, 64, false};
                Angles angles(kernels, s, nullptr, first, step, 1.0f);
                const std::vector<double> frequencies = frequencies_of(64);
                for (int64_t t = 0; t < s.tokens; ++t) {
                    for (int64_t i = 0; i < 64; ++i) {
                        const long double angle = static_cast<long double>(first + t * step) *
                                                  static_cast<long double>(frequencies[count(i)]);
                        const auto at = count(t * 64 + i);
                        // At 2^40 the double product itself is off by up to 3.7e-4.
                        const double allowed = first < (int64_t{1} << 32) ? 5e-7 : 4e-4;
                        ASSERT_NEAR(static_cast<double>(angles.cosine[at]),
                                    static_cast<double>(std::cos(angle)), allowed);
                        ASSERT_NEAR(static_cast<double>(angles.sine[at]),
                                    static_cast<double>(std::sin(angle)), allowed);
                    }
                }
            }
        }
    }
}

// (1,2,3,4) at position 1, theta 10,000.
TEST(Rope, WorkedNumbers) {
    const double halves[] = {-1.9841, 1.9599, 2.4624, 4.0198};
    const double pairs[] = {-1.1426, 1.9221, 2.9599, 4.0298};
    for (const bool interleaved : {false, true}) {
        const double* expected = interleaved ? pairs : halves;
        for (const Isa isa : test::built_levels()) {
            const RopeKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, rope_kernels);
            const Shape s = {1, 1, 4, 2, interleaved};
            Angles angles(kernels, s, nullptr, 1, 1, 1.0f);
            Tensor x(s);
            for (int i = 0; i < 4; ++i) x.row(0, 0)[i] = static_cast<float>(i + 1);
            rotate(kernels, s, angles, x, x);
            for (int i = 0; i < 4; ++i) {
                EXPECT_NEAR(static_cast<double>(x.row(0, 0)[i]), expected[i], 6e-5);
            }
        }
        double cosine[2], sine[2], y[4] = {1, 2, 3, 4};
        const int64_t position = 1;
        reference::rope_angles(1, 2, &position, frequencies_of(2).data(), 1.0, cosine, sine);
        reference::rope(1, 1, 4, 2, interleaved, cosine, sine, y, y);
        for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[i], expected[i], 6e-5);
    }
}

}  // namespace
}  // namespace seqmix
