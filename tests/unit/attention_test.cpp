// Blocked attention at every level that this machine runs, against the reference in double; the
// worked numbers of its sources; the stored numbers of another implementation.
// Tolerance: 1e-5 of the largest |y|, the project's default for f32, and 1e-5 (1 + |lse|). Where operands
// are rounded, the reference's are too; what is left is the rounding of weights: 2^-8 of the largest |v|
// and 1e-4 (1 + |lse|).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "../support/golden_case.h"
#include "../support/guarded.h"
#include "../support/simd_probe/levels.h"
#include "base/cpu.h"
#include "base/dtype.h"
#include "primitives/attention/attention.h"
#include "primitives/attention/reference.h"

namespace seqmix {
namespace {

using test::Guarded;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Level {
    const char* name;
    const AttentionKernels* kernels;
};
std::vector<Level> levels() {
    std::vector<Level> list;
    for (const Isa isa : test::built_levels()) {
        list.push_back({isa_name(isa), SEQMIX_SELECT_KERNELS(isa, attention_kernels)});
    }
    for (const Rounding rounding : {Rounding::dot, Rounding::tiles}) {
        if (rounding_available(rounding)) {
            list.push_back(
                {rounding_name(rounding),
                 SEQMIX_SELECT_ROUNDING_KERNELS(rounding, Isa::avx512, attention_kernels)});
        }
    }
    return list;
}

size_t count(int64_t n) { return static_cast<size_t>(n); }

uint16_t narrow(float x, KeyType type) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (type == KeyType::bf16) return static_cast<uint16_t>(bits >> 16);
    // Values here are multiples of 1/64 below 4: exact in f16.
    if (x == 0) return 0;
    const int exponent = static_cast<int>((bits >> 23) & 0xff) - 127 + 15;
    return static_cast<uint16_t>((bits >> 16 & 0x8000) | static_cast<uint32_t>(exponent) << 10 |
                                 (bits >> 13 & 0x3ff));
}
float widened(uint16_t x, KeyType type) {
    return static_cast<float>(type == KeyType::bf16 ? seqmix_test::bfloat16_to_double(x)
                                                    : seqmix_test::half_to_double(x));
}

struct Shape {
    int64_t queries, keys, dk, dv;
};

struct Options {
    KeyType type = KeyType::f32;
    float scale = 0.3f, softcap = 0, slope = 0;
    int64_t left = -1, right = -1;
    bool sink = false, bias = false, mask = false;
    int64_t position = INT64_MIN;  // bottom-right
};

// One head. Arrays that the kernel sees end at inaccessible pages.
class Problem {
  public:
    Problem(Shape shape, Options options, unsigned seed, float size = 2.0f)
        : s_(shape), o_(options), random_(seed) {
        fill(q_, s_.queries * s_.dk, size);
        fill(k_, s_.keys * s_.dk, size);
        fill(v_, s_.keys * s_.dv, size);
        fill(bias_, s_.queries * s_.keys, 3);
        sink_ = 0.7f;
        mask_.resize(count(s_.queries * s_.keys));
        for (unsigned char& m : mask_) m = random_() % 3 != 0;
        if (o_.type == KeyType::i8) {
            quantise(k_, s_.dk, k_scales_);
            quantise(v_, s_.dv, v_scales_);
        } else if (o_.type != KeyType::f32) {
            for (std::vector<float>* x : {&k_, &v_}) {
                for (float& value : *x) {
                    value = widened(narrow(std::round(value * 64) / 64, o_.type), o_.type);
                }
            }
        }
        if (o_.position == INT64_MIN) o_.position = s_.keys - s_.queries;
    }

    std::vector<float> q_, k_, v_, bias_;
    std::vector<float> k_scales_, v_scales_;  // i8: one for each key
    std::vector<unsigned char> mask_;
    float sink_;

    struct Result {
        std::vector<float> y, lse;
        bool operator==(const Result&) const = default;
    };

    // Rows [first, first + rows); the keys in runs that end at `cuts`.
    Result run(const AttentionKernels& kernels, int64_t first, int64_t rows,
               std::vector<int64_t> cuts = {}) const {
        cuts.push_back(s_.keys);
        const ptrdiff_t q_stride = s_.dk + 3, k_stride = s_.dk + 1, v_stride = s_.dv + 2,
                        y_stride = s_.dv + 1;
        Guarded<float> q(count(rows * q_stride - 3)), y(count(rows * y_stride - 1)),
            lse(count(2 * rows - 1)), scratch(count(attention_scratch(kernels, s_.dk, s_.dv))),
            bias(count(rows * s_.keys));
        Guarded<unsigned char> mask(count(rows * s_.keys));
        for (int64_t i = 0; i < rows; ++i) {
            std::copy_n(&q_[count((first + i) * s_.dk)], s_.dk, q.data() + i * q_stride);
            std::copy_n(bias_.data() + (first + i) * s_.keys, s_.keys, bias.data() + i * s_.keys);
            std::copy_n(mask_.data() + (first + i) * s_.keys, s_.keys, mask.data() + i * s_.keys);
        }
        std::fill_n(scratch.data(), scratch.size(), kNaN);
        std::fill_n(y.data(), y.size(), 7.0f);
        std::fill_n(lse.data(), lse.size(), 7.0f);
        const size_t width = o_.type == KeyType::f32 ? 4 : o_.type == KeyType::i8 ? 1 : 2;
        std::vector<Guarded<unsigned char>*> memory;
        std::vector<AttentionKeys> runs;
        int64_t at = 0;
        for (const int64_t cut : cuts) {
            const int64_t n = cut - at;
            if (n == 0) continue;
            memory.push_back(store(k_, k_scales_, at, n, s_.dk, k_stride, width));
            memory.push_back(store(v_, v_scales_, at, n, s_.dv, v_stride, width));
            runs.push_back({at, n, memory[memory.size() - 2]->data(), k_stride,
                            memory.back()->data(), v_stride});
            if (o_.type == KeyType::i8) {
                runs.back().k_scales = k_scales_.data() + at;
                runs.back().v_scales = v_scales_.data() + at;
                runs.back().k_scale_stride = runs.back().v_scale_stride = 1;
            }
            at = cut;
        }
        AttentionArgs a = {};
        a.rows = rows;
        a.dk = s_.dk;
        a.dv = s_.dv;
        a.q = q.data();
        a.q_stride = q_stride;
        a.type = o_.type;
        a.runs = runs.data();
        a.run_count = static_cast<int64_t>(runs.size());
        a.scale = o_.scale;
        a.softcap = o_.softcap;
        a.position = o_.position + first;
        a.position_step = 1;
        a.left = o_.left;
        a.right = o_.right;
        a.slopes = o_.slope != 0 ? &o_.slope : nullptr;
        a.sinks = o_.sink ? &sink_ : nullptr;
        a.bias = o_.bias ? bias.data() : nullptr;
        a.bias_stride = s_.keys;
        a.mask = o_.mask ? mask.data() : nullptr;
        a.mask_stride = s_.keys;
        a.y = y.data();
        a.y_stride = y_stride;
        a.lse = lse.data();
        a.lse_stride = 2;
        a.scratch = scratch.data();
        kernels.attend(a);
        for (Guarded<unsigned char>* m : memory) delete m;
        Result result;
        for (int64_t i = 0; i < rows; ++i) {
            result.y.insert(result.y.end(), y.data() + i * y_stride,
                            y.data() + i * y_stride + s_.dv);
            result.lse.push_back(lse[count(2 * i)]);
            if (i + 1 < rows) {  // what lies between rows is not written
                EXPECT_EQ(y[count(i * y_stride + s_.dv)], 7.0f);
                EXPECT_EQ(lse[count(2 * i + 1)], 7.0f);
            }
        }
        return result;
    }
    Result run(const AttentionKernels& kernels) const { return run(kernels, 0, s_.queries); }

    struct Truth {
        std::vector<double> y, lse;
        double largest_value = 0;  // not 0: operands were rounded
    };
    // With the operands that the kernels take.
    Truth truth(const AttentionKernels& kernels) const { return truth(kernels.rounds); }
    Truth truth(bool rounded) const {
        Truth t{std::vector<double>(count(s_.queries * s_.dv)),
                std::vector<double>(count(s_.queries))};
        const auto wide = [&](const std::vector<float>& x, bool round) {
            std::vector<double> out(x.begin(), x.end());
            for (double& value : out) {
                if (round) {
                    value = seqmix_test::bfloat16_to_double(f32_to_bf16(static_cast<float>(value)));
                }
            }
            return out;
        };
        const std::vector<double> q = wide(q_, rounded), k = wide(k_, rounded),
                                  v = wide(v_, rounded), bias = wide(bias_, false);
        for (const double value : v) {
            if (rounded) t.largest_value = std::max(t.largest_value, std::fabs(value));
        }
        const double sink = static_cast<double>(sink_);
        reference::AttentionRef r = {s_.queries, s_.keys,  s_.dk,   s_.dv,
                                     q.data(),   k.data(), v.data()};
        r.scale = static_cast<double>(o_.scale);
        r.softcap = static_cast<double>(o_.softcap);
        r.position = o_.position;
        r.left = o_.left;
        r.right = o_.right;
        r.slope = static_cast<double>(o_.slope);
        r.sink = o_.sink ? &sink : nullptr;
        r.bias = o_.bias ? bias.data() : nullptr;
        r.mask = o_.mask ? mask_.data() : nullptr;
        r.y = t.y.data();
        r.lse = t.lse.data();
        reference::attention(r);
        return t;
    }

  private:
    void fill(std::vector<float>& x, int64_t n, float size) {
        std::uniform_real_distribution<float> values(-size, size);
        x.resize(count(n));
        for (float& value : x) value = values(random_);
    }
    // Rows of x become whole numbers up to 127 times a scale.
    static void quantise(std::vector<float>& x, int64_t width, std::vector<float>& scales) {
        for (size_t row = 0; row * count(width) < x.size(); ++row) {
            float largest = 0;
            for (int64_t d = 0; d < width; ++d) {
                largest = std::max(largest, std::fabs(x[row * count(width) + count(d)]));
            }
            scales.push_back(largest / 127);
            for (int64_t d = 0; d < width; ++d) {
                float& value = x[row * count(width) + count(d)];
                value = std::round(value / scales.back()) * scales.back();
            }
        }
    }
    // Rows [first, first + n) with a stride, as o_.type.
    Guarded<unsigned char>* store(const std::vector<float>& x, const std::vector<float>& scales,
                                  int64_t first, int64_t n, int64_t width, ptrdiff_t stride,
                                  size_t size) const {
        auto* made = new Guarded<unsigned char>(count((n - 1) * stride + width) * size);
        for (int64_t r = 0; r < n; ++r) {
            for (int64_t d = 0; d < width; ++d) {
                const float value = x[count((first + r) * width + d)];
                unsigned char* to = made->data() + count(r * stride + d) * size;
                if (size == 4) {
                    std::memcpy(to, &value, 4);
                } else if (size == 1) {
                    const auto whole =
                        static_cast<int8_t>(std::lround(value / scales[count(first + r)]));
                    std::memcpy(to, &whole, 1);
                } else {
                    const uint16_t half = narrow(value, o_.type);
                    std::memcpy(to, &half, 2);
                }
            }
        }
        return made;
    }

    Shape s_;
    Options o_;
    std::mt19937 random_;
};

void expect_true(const Problem::Result& got, const Problem::Truth& truth) {
    double largest = 0;
    for (const double y : truth.y) largest = std::max(largest, std::fabs(y));
    const bool rounded = truth.largest_value > 0;
    const double bound = rounded ? truth.largest_value / 256 : 1e-5 * largest;
    for (size_t i = 0; i < truth.y.size(); ++i) {
        ASSERT_NEAR(static_cast<double>(got.y[i]), truth.y[i], bound) << "y " << i;
    }
    for (size_t i = 0; i < truth.lse.size(); ++i) {
        const auto lse = static_cast<double>(got.lse[i]);
        if (std::isinf(truth.lse[i])) {
            ASSERT_EQ(lse, truth.lse[i]) << "lse " << i;
        } else {
            ASSERT_NEAR(lse, truth.lse[i], (rounded ? 1e-4 : 1e-5) * (1 + std::fabs(truth.lse[i])))
                << "lse " << i;
        }
    }
}

const std::vector<Shape> kShapes = {
    {1, 1, 1, 1},      {4, 90, 70, 100},   {2, 64, 16, 33},  {3, 2, 2, 2},
    {1, 200, 64, 64},  {17, 17, 8, 5},     {48, 64, 64, 64}, {49, 65, 16, 17},
    {97, 130, 33, 20}, {200, 200, 64, 64}, {20, 5, 8, 8},    {7, 300, 96, 128},
};

TEST(Attention, EveryOptionIsTheReference) {
    for (const Level& level : levels()) {
        unsigned seed = 1;
        for (const Shape& shape : kShapes) {
            for (unsigned bits = 0; bits < 64; ++bits) {
                Options o;
                o.softcap = (bits & 1) != 0 ? 2.5f : 0;
                o.slope = (bits & 2) != 0 ? 0.25f : 0;
                o.sink = (bits & 4) != 0;
                o.bias = (bits & 8) != 0;
                o.mask = (bits & 16) != 0;
                o.right = (bits & 32) != 0 ? 0 : -1;
                o.left = bits % 5 == 0 ? 9 : -1;
                SCOPED_TRACE(std::string(level.name) + " " + std::to_string(shape.queries) + "x" +
                             std::to_string(shape.keys) + " options " + std::to_string(bits));
                const Problem problem(shape, o, seed++);
                expect_true(problem.run(*level.kernels), problem.truth(*level.kernels));
                if (testing::Test::HasFatalFailure()) return;
            }
        }
    }
}

TEST(Attention, RoundsWhereThatPays) {
    for (const Isa isa : test::built_levels()) {
        EXPECT_EQ(rounding_attention_kernels(isa)->rounds, bf16_rounding_pays(best_rounding(isa)));
        EXPECT_FALSE(SEQMIX_SELECT_KERNELS(isa, attention_kernels)->rounds);
    }
    // Not the same numbers, or the rounded tests test nothing.
    Options o;
    o.right = 0;
    const Problem problem({50, 64, 24, 20}, o, 16);
    for (const Level& level : levels()) {
        const bool exact = problem.run(*level.kernels) == problem.run(*levels()[0].kernels);
        EXPECT_FALSE(exact && level.kernels->rounds) << level.name;
    }
}

TEST(Attention, EveryWindowIsTheReference) {
    for (const Level& level : levels()) {
        for (const int64_t left : {-1, 0, 1, 63, 64, 100}) {
            for (const int64_t right : {-1, 0, 1, 17, 64}) {
                for (const int64_t position : {-70, 0, 3, 150, 400}) {
                    SCOPED_TRACE(std::string(level.name) + " left " + std::to_string(left) +
                                 " right " + std::to_string(right) + " position " +
                                 std::to_string(position));
                    Options o;
                    o.left = left;
                    o.right = right;
                    o.position = position;
                    const Problem problem({101, 150, 16, 16}, o, 5);
                    expect_true(problem.run(*level.kernels), problem.truth(*level.kernels));
                    if (testing::Test::HasFatalFailure()) return;
                }
            }
        }
    }
}

TEST(Attention, NarrowKeysAreTheirValues) {
    for (const Level& level : levels()) {
        for (const KeyType type : {KeyType::bf16, KeyType::f16, KeyType::i8}) {
            for (const int64_t queries : {2, 70}) {
                Options o;
                o.type = type;
                o.right = 0;
                const Problem problem({queries, 131, 40, 27}, o, 6);
                expect_true(problem.run(*level.kernels), problem.truth(*level.kernels));
                EXPECT_EQ(problem.run(*level.kernels, 0, queries, {64}),
                          problem.run(*level.kernels));
            }
        }
    }
}

TEST(Attention, RowsAreTheSameInAnyCall) {
    for (const Level& level : levels()) {
        Options o;
        o.right = 0;
        o.sink = true;
        const Problem problem({235, 300, 24, 20}, o, 7);
        const Problem::Result whole = problem.run(*level.kernels);
        for (const int64_t piece : {1, 3, 5, 16, 47, 48, 100}) {
            Problem::Result pieces;
            for (int64_t i = 0; i < 235; i += piece) {
                const auto part = problem.run(*level.kernels, i, std::min<int64_t>(piece, 235 - i));
                pieces.y.insert(pieces.y.end(), part.y.begin(), part.y.end());
                pieces.lse.insert(pieces.lse.end(), part.lse.begin(), part.lse.end());
            }
            if (piece <= 4) {  // the kernel for few rows sums in another order
                expect_true(pieces, problem.truth(*level.kernels));
                for (size_t i = 0; i < whole.y.size(); ++i) {
                    ASSERT_NEAR(pieces.y[i], whole.y[i], 2e-4) << level.name << " y " << i;
                }
            } else {
                EXPECT_EQ(pieces, whole) << level.name << " by " << piece;
            }
        }
    }
}

TEST(Attention, RunsOfKeysAreOneSequence) {
    for (const Level& level : levels()) {
        Options o;
        o.left = 120;
        o.right = 0;
        o.bias = true;
        const Problem problem({50, 300, 24, 20}, o, 8);
        const Problem::Truth truth = problem.truth(*level.kernels);
        for (const std::vector<int64_t>& cuts :
             std::vector<std::vector<int64_t>>{{64}, {1}, {299}, {100, 200}, {128, 192, 256}}) {
            expect_true(problem.run(*level.kernels, 0, 50, cuts), truth);
        }
        // Cuts between blocks change no bit.
        EXPECT_EQ(problem.run(*level.kernels, 0, 50, {128, 192, 256}), problem.run(*level.kernels));
    }
}

TEST(Attention, WhatIsHiddenDoesNotMatter) {
    for (const Level& level : levels()) {
        Options o;
        o.right = 0;
        o.mask = true;
        Problem problem({100, 150, 24, 20}, o, 9);
        for (int64_t i = 0; i < 100; ++i) {
            for (const int64_t j : {3, 64, 149}) problem.mask_[count(i * 150 + j)] = 0;
        }
        const Problem::Result expected = problem.run(*level.kernels);
        const Problem::Result few = problem.run(*level.kernels, 7, 2);
        for (const float poison : {kNaN, kInfinity, -kInfinity}) {
            for (const int64_t j : {3, 64, 149}) {
                std::fill_n(&problem.k_[count(j * 24)], 24, poison);
                std::fill_n(&problem.v_[count(j * 20)], 20, poison);
            }
            EXPECT_EQ(problem.run(*level.kernels), expected) << level.name << " " << poison;
            EXPECT_EQ(problem.run(*level.kernels, 7, 2), few) << level.name << " " << poison;
        }
        // The future alone, without a mask.
        Options causal;
        causal.right = 0;
        Problem past({100, 150, 24, 20}, causal, 10);
        const Problem::Result clean = past.run(*level.kernels, 0, 30);
        std::fill(past.v_.begin() + 80 * 20, past.v_.end(), kNaN);
        std::fill(past.k_.begin() + 80 * 24, past.k_.end(), kNaN);
        EXPECT_EQ(past.run(*level.kernels, 0, 30), clean) << level.name;
    }
}

TEST(Attention, ValuesThatAreNotFiniteReachWhoSeesThem) {
    for (const Level& level : levels()) {
        for (const int64_t queries : {3, 100}) {
            Options o;
            o.right = 0;
            Problem problem({queries, 150, 24, 35}, o, 14);
            const Problem::Result clean = problem.run(*level.kernels);
            const int64_t key = 150 - queries / 2;  // rows from that on see it
            problem.v_[count(key * 35 + 2)] = kInfinity;
            problem.v_[count(key * 35 + 33)] = kNaN;
            const Problem::Result got = problem.run(*level.kernels);
            EXPECT_EQ(got.lse, clean.lse) << level.name;
            for (int64_t i = 0; i < queries; ++i) {
                const bool sees = 150 - queries + i >= key;
                for (int64_t d = 0; d < 35; ++d) {
                    const float y = got.y[count(i * 35 + d)];
                    if (sees && d == 2) {
                        EXPECT_EQ(y, kInfinity) << level.name << " row " << i;
                    } else if (sees && d == 33) {
                        EXPECT_TRUE(std::isnan(y)) << level.name << " row " << i;
                    } else {
                        EXPECT_EQ(y, clean.y[count(i * 35 + d)]) << level.name << " row " << i;
                    }
                }
            }
        }
    }
}

// Subnormals may count as 0, and do no harm beside other numbers.
TEST(Attention, SubnormalsAreSmall) {
    for (const Level& level : levels()) {
        for (const int64_t queries : {3, 40}) {
            Problem problem({queries, 90, 24, 20}, {}, 15);
            for (size_t i = 0; i < problem.k_.size(); i += 3) problem.k_[i] = 1e-39f;
            for (size_t i = 0; i < problem.v_.size(); i += 2) problem.v_[i] = -1e-39f;
            expect_true(problem.run(*level.kernels), problem.truth(*level.kernels));
        }
    }
}

TEST(Attention, LargeScoresStayFinite) {
    for (const Level& level : levels()) {
        for (const float size : {60.0f, 200.0f}) {  // scores of up to 1e4 and 1e5
            Options o;
            o.scale = 1;
            o.right = 0;
            const Problem problem({40, 60, 3, 4}, o, 11, size);
            const Problem::Result got = problem.run(*level.kernels);
            for (const float y : got.y) ASSERT_TRUE(std::isfinite(y)) << level.name;
            const Problem::Truth truth = problem.truth(*level.kernels);
            for (size_t i = 0; i < truth.lse.size(); ++i) {
                ASSERT_NEAR(static_cast<double>(got.lse[i]), truth.lse[i],
                            1e-6 * (1 + std::fabs(truth.lse[i])));
            }
        }
    }
}

TEST(Attention, NoKeysAndRowsThatSeeNone) {
    for (const Level& level : levels()) {
        for (const bool sink : {false, true}) {
            Options o;
            o.sink = sink;
            const Problem none({5, 0, 8, 3}, o, 12);
            const Problem::Result got = none.run(*level.kernels);
            EXPECT_EQ(got.y, std::vector<float>(15, 0.0f)) << level.name;
            for (const float lse : got.lse) {
                if (sink) {
                    EXPECT_NEAR(lse, 0.7f, 1e-6f) << level.name;
                } else {
                    EXPECT_EQ(lse, -kInfinity) << level.name;
                }
            }
            o.right = 0;
            const Problem late({12, 5, 8, 3}, o, 13);
            expect_true(late.run(*level.kernels), late.truth(*level.kernels));
        }
    }
}

// Queries (1,0), (0,1); keys and values (1,0), (0,1), (1,1); scale 1/sqrt(2).
TEST(Attention, WorkedNumbers) {
    struct Case {
        const char* name;
        Options o;
        std::vector<double> y, lse;
    };
    Options plain;
    plain.scale = std::sqrt(0.5f);
    std::vector<Case> cases = {
        {"plain", plain, {.8022, .5989, .5989, .8022}, {1.6206, 1.6206}},
        {"causal", plain, {.6698, .3302, .5989, .8022}, {1.1079, 1.6206}},
        {"sink", plain, {.5035, .2483, .5000, .6698}, {1.3933, 1.8011}},
        {"window", plain, {.6698, .3302, .5, 1.0}, {}},
        {"softcap", plain, {.6093, .3907, .6214, .7572}, {}},
        {"alibi", plain, {.5516, .4484, .6608, .8985}, {}},
    };
    for (size_t i = 1; i < cases.size(); ++i) cases[i].o.right = 0;
    cases[2].o.sink = true;
    cases[3].o.left = 1;
    cases[4].o.softcap = 0.5f;
    cases[5].o.slope = 0.5f;
    for (const Case& c : cases) {
        Problem problem({2, 3, 2, 2}, c.o, 1);
        problem.q_ = {1, 0, 0, 1};
        problem.k_ = problem.v_ = {1, 0, 0, 1, 1, 1};
        problem.sink_ = 0;
        const Problem::Truth truth = problem.truth(false);
        for (size_t i = 0; i < c.y.size(); ++i) EXPECT_NEAR(truth.y[i], c.y[i], 6e-5) << c.name;
        for (size_t i = 0; i < c.lse.size(); ++i) {
            EXPECT_NEAR(truth.lse[i], c.lse[i], 6e-5) << c.name;
        }
        for (const Level& level : levels()) {
            expect_true(problem.run(*level.kernels), problem.truth(*level.kernels));
        }
    }
}

TEST(Attention, Golden) {
    SEQMIX_NEED_SHARED("golden");
    const std::vector<std::string> names =
        seqmix_test::glob_cases(seqmix_test::shared_path("golden"), "attn-op-");
    ASSERT_EQ(names.size(), 11u);
    for (const std::string& name : names) {
        SCOPED_TRACE(name);
        const seqmix_test::SafetensorsFile file(
            seqmix_test::shared_path("golden/" + name + ".safetensors"));
        const auto &qs = file.shape("in.q"), &vs = file.shape("in.v");
        const int64_t B = qs[0], H = qs[1], Hk = vs[1], Lk = vs[2];
        const Shape shape = {qs[2], Lk, qs[3], vs[3]};
        const auto q = file.doubles("in.q"), k = file.doubles("in.k"), v = file.doubles("in.v");
        const auto y = file.doubles("out.y"), lse = file.doubles("out.lse");
        const auto window = nlohmann::json::parse(file.metadata("window"));
        for (int64_t b = 0; b < B; ++b) {
            for (int64_t h = 0; h < H; ++h) {
                Options o;
                o.scale = std::stof(file.metadata("scale"));
                o.softcap = std::stof(file.metadata("softcap"));
                if (file.metadata("causal") == "true") o.right = 0;
                if (window.size() == 2) {
                    o.left = window[0].get<int64_t>();
                    o.right = window[1].get<int64_t>();
                }
                if (file.has("in.slopes")) {
                    o.slope = static_cast<float>(file.doubles("in.slopes")[count(h)]);
                }
                o.bias = file.has("in.bias");
                Shape own = shape;
                if (file.has("in.kv_len")) own.keys = file.integers("in.kv_len")[count(b)];
                Problem problem(own, o, 1);
                const auto part = [](const std::vector<double>& from, int64_t at, int64_t n) {
                    return std::vector<float>(from.begin() + at, from.begin() + at + n);
                };
                const int64_t kv = b * Hk + h / (H / Hk);
                problem.q_ = part(q, (b * H + h) * own.queries * own.dk, own.queries * own.dk);
                problem.k_ = part(k, kv * Lk * own.dk, own.keys * own.dk);
                problem.v_ = part(v, kv * Lk * own.dv, own.keys * own.dv);
                if (o.bias) {
                    problem.bias_ = part(file.doubles("in.bias"), h * own.queries * own.keys,
                                         own.queries * own.keys);
                }
                Problem::Truth stored;
                const int64_t row = (b * H + h) * own.queries;
                stored.y.assign(y.begin() + row * own.dv, y.begin() + (row + own.queries) * own.dv);
                stored.lse.assign(lse.begin() + row, lse.begin() + row + own.queries);
                for (const Level& level : levels()) {
                    expect_true(problem.run(*level.kernels),
                                level.kernels->rounds ? problem.truth(true) : stored);
                }
            }
        }
    }
}

}  // namespace
}  // namespace seqmix
