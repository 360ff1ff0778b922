// gemm at every level that this CPU has: against the double reference, and bit by bit against
// itself computed in other pieces. Every buffer ends at an inaccessible page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../support/guarded.h"
#include "base/cpu.h"
#include "base/isa.h"
#include "primitives/gemm/gemm.h"
#include "primitives/gemm/reference.h"

namespace {

using seqmix::GemmActivation;
using seqmix::GemmArgs;
using seqmix::GemmKernels;
using seqmix::kQ8Block;
using seqmix::WeightType;

using seqmix::Rounding;

const GemmKernels* rounding_kernels(Rounding rounding) {
    return SEQMIX_SELECT_ROUNDING_KERNELS(rounding, seqmix::Isa::avx512, gemm_kernels);
}

struct Level {
    const char* name;
    const GemmKernels* kernels;
};

std::vector<Level> levels() {
    using seqmix::Isa;
    std::vector<Level> all = {{"generic", SEQMIX_SELECT_KERNELS(Isa::generic, gemm_kernels)}};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        all.push_back({"avx2", SEQMIX_SELECT_KERNELS(Isa::avx2, gemm_kernels)});
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        all.push_back({"avx512", SEQMIX_SELECT_KERNELS(Isa::avx512, gemm_kernels)});
    }
    if (seqmix::rounding_available(Rounding::dot)) {
        all.push_back({"avx512_dot", rounding_kernels(Rounding::dot)});
    }
    if (seqmix::rounding_available(Rounding::tiles)) {
        all.push_back({"avx512_tiles", rounding_kernels(Rounding::tiles)});
    }
    return all;
}

using Guarded = seqmix::test::GuardedBytes;

struct Shape {
    int64_t m, n, k;
};

struct Options {
    WeightType type = WeightType::f32;
    bool rounded = false;
    size_t misalign = 0;  // bytes off the element's alignment
    int64_t x_gap = 0, w_gap = 0, y_gap = 0;
    bool x_down = false;  // rows of x at descending addresses
    bool bias = false, residual = false, in_place = false;
    GemmActivation activation = GemmActivation::none;
};

uint16_t to_bf16(float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    return static_cast<uint16_t>(bits >> 16);
}
// Finite halves, subnormals included, from random bits.
uint16_t random_half(std::mt19937& rng) {
    const auto exponent = rng() % 18;  // below 8
    return static_cast<uint16_t>((rng() & 0x8000u) | (exponent << 10) | (rng() & 0x3ffu));
}
double nearest_bf16(float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;  // ties to even
    std::memcpy(&v, &bits, sizeof v);
    return v;
}
double half_value(uint16_t h) {
    const int exponent = (h >> 10) & 31;
    const double mantissa = h & 0x3ff;
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024.0, exponent - 25);
    return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

// One product with its buffers; y starts as the residual where it is computed in place, and as
// NaN elsewhere, so that an element that was not written shows.
class Product {
  public:
    Product(const Shape& shape, const Options& options, uint32_t seed)
        : shape_(in_blocks(shape, options)),
          options_(options),
          x_stride_(shape_.k + options.x_gap),
          w_stride_(shape_.k + options.w_gap * (options.type == WeightType::q8_0 ? kQ8Block : 1)),
          y_stride_(shape.n + options.y_gap),
          x_(span(shape.m, shape_.k, x_stride_) * 4),
          w_(static_cast<size_t>(seqmix::weight_bytes(
                 options.type, static_cast<int64_t>(span(shape.n, shape_.k, w_stride_)))),
             options.misalign),
          bias_(static_cast<size_t>(shape.n) * 4),
          residual_(span(shape.m, shape.n, y_stride_) * 4) {
        std::mt19937 rng(seed);
        std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
        fill(x_, span(shape.m, shape_.k, x_stride_), uniform, rng);
        fill(bias_, static_cast<size_t>(shape.n), uniform, rng);
        fill(residual_, span(shape.m, shape.n, y_stride_), uniform, rng);
        w_values_.resize(span(shape.n, shape_.k, w_stride_));
        for (int64_t j = 0; j < shape.n; ++j) {
            w_scale_.push_back(uniform(rng));
            w_sums_.push_back(0);
        }
        for (size_t i = 0; i < w_values_.size(); ++i) {
            unsigned char* at =
                w_.bytes() + seqmix::weight_bytes(options.type, static_cast<int64_t>(i));
            if (options.type == WeightType::q8_0) {
                const size_t in_block = i % kQ8Block;
                if (in_block == 0) {
                    const auto h = static_cast<uint16_t>(random_half(rng) & 0x9fffu);  // < 2^-7
                    std::memcpy(at, &h, sizeof h);
                    block_factor_ = half_value(h);
                }
                const auto q = static_cast<int8_t>(static_cast<int>(rng() % 256) - 128);
                std::memcpy(at + 2 + in_block, &q, sizeof q);
                w_values_[i] = q * block_factor_;
            } else if (options.type == WeightType::i8) {
                const auto q = static_cast<int8_t>(static_cast<int>(rng() % 255) - 127);
                std::memcpy(at, &q, sizeof q);
                const auto stride = static_cast<size_t>(w_stride_);
                w_values_[i] = q * static_cast<double>(w_scale_[i / stride]);
                w_sums_[i / stride] += i % stride < static_cast<size_t>(shape_.k) ? q : 0;
            } else if (options.type == WeightType::f16) {
                const uint16_t h = random_half(rng);
                std::memcpy(at, &h, sizeof h);
                w_values_[i] = half_value(h);
            } else if (options.type == WeightType::bf16) {
                const uint16_t h = to_bf16(uniform(rng));
                const uint32_t wide = static_cast<uint32_t>(h) << 16;
                float v;
                std::memcpy(&v, &wide, sizeof v);
                std::memcpy(at, &h, sizeof h);
                w_values_[i] = v;
            } else {
                const float v = uniform(rng);
                std::memcpy(at, &v, sizeof v);
                w_values_[i] = v;
            }
        }
    }

    // The whole product, to be computed into y.
    GemmArgs args(const Guarded& y, const Guarded& scratch) const {
        GemmArgs a{};
        a.m = shape_.m;
        a.n = shape_.n;
        a.k = shape_.k;
        a.x = x_row(0);
        a.x_stride = options_.x_down ? -x_stride_ : x_stride_;
        a.w = w_.bytes();
        a.w_stride = w_stride_;
        a.w_type = options_.type;
        a.w_scale = w_scale_.data();
        a.w_sums = w_sums_.data();
        a.rounded = options_.rounded;
        a.y = y.floats();
        a.y_stride = y_stride_;
        a.epilogue.bias = options_.bias ? bias_.floats() : nullptr;
        a.epilogue.activation = options_.activation;
        if (options_.residual) {
            a.epilogue.residual = options_.in_place ? y.floats() : residual_.floats();
            a.epilogue.residual_stride = y_stride_;
        }
        a.scratch = scratch.floats();
        return a;
    }

    std::unique_ptr<Guarded> make_y() const {
        const size_t count = span(shape_.m, shape_.n, y_stride_);
        auto y = std::make_unique<Guarded>(count * 4);
        for (size_t i = 0; i < count; ++i) {
            y->floats()[i] = options_.in_place ? residual_.floats()[i] : std::nanf("");
        }
        return y;
    }

    // Rows of y without the gaps.
    std::vector<float> values(const Guarded& y) const {
        std::vector<float> out;
        for (int64_t i = 0; i < shape_.m; ++i) {
            const float* row = y.floats() + i * y_stride_;
            out.insert(out.end(), row, row + shape_.n);
        }
        return out;
    }

    std::vector<float> whole(const GemmKernels& kernels) const {
        const auto y = make_y();
        const Guarded scratch(static_cast<size_t>(kernels.scratch_floats) * 4);
        kernels.gemm(args(*y, scratch));
        EXPECT_TRUE(gaps_untouched(*y));
        return values(*y);
    }

    bool gaps_untouched(const Guarded& y) const {
        for (int64_t i = 0; i + 1 < shape_.m; ++i) {
            for (int64_t j = shape_.n; j < y_stride_; ++j) {
                const float v = y.floats()[i * y_stride_ + j];
                const bool same =
                    options_.in_place ? v == residual_.floats()[i * y_stride_ + j] : std::isnan(v);
                if (!same) {
                    return false;
                }
            }
        }
        return true;
    }

    // x as products see it (contract in gemm.h).
    std::vector<double> rounded_row(int64_t i, bool dot) const {
        std::vector<double> row(x_row(i), x_row(i) + shape_.k);
        if (!dot || !options_.rounded) {
            return row;
        }
        if (options_.type == WeightType::bf16) {
            for (double& value : row) {
                value = nearest_bf16(static_cast<float>(value));
            }
        } else if (options_.type == WeightType::i8) {
            float largest = 0;
            for (const double value : row) {
                largest = std::max(largest, static_cast<float>(std::abs(value)));
            }
            for (double& value : row) {
                const float q = std::nearbyint(static_cast<float>(value) * (127.0f / largest));
                value = largest == 0 ? 0 : static_cast<double>(q) * (largest / 127.0f);
            }
        }
        return row;
    }

    // Largest error over (1 + sum |x w|), the scale that rounding errors have.
    double error(const std::vector<float>& y, const GemmKernels& kernels) const {
        const size_t m = static_cast<size_t>(shape_.m), n = static_cast<size_t>(shape_.n);
        const size_t k = static_cast<size_t>(shape_.k);
        std::vector<double> x(m * k), bias(n), residual(m * n), expected(m * n);
        for (size_t i = 0; i < m; ++i) {
            const std::vector<double> row = rounded_row(static_cast<int64_t>(i), kernels.rounds);
            std::copy(row.begin(), row.end(), x.begin() + static_cast<ptrdiff_t>(i * k));
            for (size_t j = 0; j < n; ++j) {
                residual[i * n + j] = residual_.floats()[i * static_cast<size_t>(y_stride_) + j];
            }
        }
        std::copy_n(bias_.floats(), n, bias.begin());
        seqmix::reference::gemm(
            shape_.m, shape_.n, shape_.k, x.data(), shape_.k, w_values_.data(), w_stride_,
            options_.bias ? bias.data() : nullptr, options_.residual ? residual.data() : nullptr,
            shape_.n, static_cast<int32_t>(options_.activation), expected.data(), shape_.n);
        double worst = 0.0;
        for (size_t i = 0; i < m; ++i) {
            for (size_t j = 0; j < n; ++j) {
                double scale = 1.0;
                for (size_t l = 0; l < k; ++l) {
                    scale +=
                        std::abs(x[i * k + l] * w_values_[j * static_cast<size_t>(w_stride_) + l]);
                }
                const double e = std::abs(y[i * n + j] - expected[i * n + j]) / scale;
                worst = e <= worst ? worst : e;  // a NaN stays
            }
        }
        return worst;
    }

    // One output as the contract spells it: a single chain in the order of k. x: rounded_row(i).
    float chain(int64_t i, int64_t j, const GemmKernels& kernels,
                const std::vector<double>& x) const {
        const bool fused = &kernels != &seqmix::generic::gemm_kernels;
        const bool rounded = kernels.rounds && options_.rounded;
        const bool i8 = options_.type == WeightType::i8;
        const float scale = i8 ? w_scale_[static_cast<size_t>(j)] : 1.0f;
        const auto weight = [&](int64_t l) {
            const double w = w_values_[static_cast<size_t>(j * w_stride_ + l)];
            return i8 ? static_cast<float>(std::nearbyint(w / static_cast<double>(scale)))
                      : static_cast<float>(w);
        };
        if (rounded && i8) {
            float largest = 0;
            for (int64_t l = 0; l < shape_.k; ++l) {
                largest = std::max(largest, std::abs(x_row(i)[l]));
            }
            double sum = 0;
            for (int64_t l = 0; l < shape_.k; ++l) {
                sum += static_cast<double>(std::nearbyint(x_row(i)[l] * (127.0f / largest)) *
                                           weight(l));
            }
            return static_cast<float>(sum) * (largest / 127.0f * scale);
        }
        if (rounded && options_.type == WeightType::bf16 &&
            &kernels == rounding_kernels(Rounding::tiles)) {
            return chain_of_tiles(x, weight);
        }
        const int64_t step = rounded && options_.type == WeightType::bf16 ? 2 : 1;
        float acc = 0.0f;
        for (int64_t first = 0; first < shape_.k; first += step) {
            for (int64_t l = std::min(first + step, shape_.k) - 1; l >= first; --l) {
                const float a = static_cast<float>(x[static_cast<size_t>(l)]);
                if (fused) {
                    acc = std::fma(a, weight(l), acc);
                } else {
                    volatile float product = a * weight(l);
                    acc = acc + product;
                }
            }
        }
        return i8 ? acc * scale : acc;
    }

    // Of 32 steps each: a chain of the even ones and one of the odd ones, added up.
    template <class Weight>
    float chain_of_tiles(const std::vector<double>& x, const Weight& weight) const {
        float acc = 0.0f;
        for (int64_t first = 0; first < shape_.k; first += 32) {
            float even = 0.0f, odd = 0.0f;
            for (int64_t l = first; l < std::min(first + 32, shape_.k); ++l) {
                float& part = l % 2 == 0 ? even : odd;
                part = std::fma(static_cast<float>(x[static_cast<size_t>(l)]), weight(l), part);
            }
            acc += even + odd;
        }
        return acc;
    }

    const Shape& shape() const { return shape_; }

  private:
    // K of whole blocks where the type has some.
    static Shape in_blocks(Shape shape, const Options& options) {
        if (options.type == WeightType::q8_0) {
            shape.k = (shape.k + kQ8Block - 1) / kQ8Block * kQ8Block;
        }
        return shape;
    }
    static size_t span(int64_t rows, int64_t cols, int64_t stride) {
        return rows == 0 ? 0 : static_cast<size_t>((rows - 1) * stride + cols);
    }
    static void fill(const Guarded& buffer, size_t count,
                     std::uniform_real_distribution<float>& uniform, std::mt19937& rng) {
        for (size_t i = 0; i < count; ++i) {
            buffer.floats()[i] = uniform(rng);
        }
    }
    const float* x_row(int64_t i) const {
        const int64_t at = options_.x_down ? shape_.m - 1 - i : i;
        return x_.floats() + (shape_.m == 0 ? 0 : at * x_stride_);
    }

    Shape shape_;
    Options options_;
    int64_t x_stride_, w_stride_, y_stride_;
    double block_factor_ = 0;  // of the block that is being made
    Guarded x_, w_, bias_, residual_;
    std::vector<double> w_values_;
    std::vector<float> w_scale_;
    std::vector<int32_t> w_sums_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

std::string name_of(const Level& level, const Shape& s, const Options& o) {
    return std::string(level.name) + " M=" + std::to_string(s.m) + " N=" + std::to_string(s.n) +
           " K=" + std::to_string(s.k) + " type=" + std::to_string(static_cast<int>(o.type)) +
           (o.rounded ? " rounded" : "") + " misalign=" + std::to_string(o.misalign);
}

constexpr double kTolerance = 2e-6;  // of 1 + sum |x w|; sqrt(K) 2^-24 is 1.6e-6 at K = 700

std::vector<Shape> shapes(const GemmKernels& kernels) {
    const int64_t w = kernels.width, nb = kernels.n_tile, mt = kernels.m_tile;
    std::vector<Shape> all;
    for (int64_t m : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{5},
                      int64_t{7}, mt - 1, mt, mt + 1, 2 * mt + 3}) {
        for (int64_t n : {int64_t{0}, int64_t{1}, w - 1, w, w + 1, 2 * w, 2 * w + 5, nb - 1, nb,
                          nb + 1, 2 * nb + w + 3}) {
            for (int64_t k : {int64_t{0}, int64_t{1}, int64_t{2}, w - 1, w, w + 1, int64_t{37}}) {
                all.push_back({m, n, k});
            }
        }
    }
    for (int64_t k : {127, 128, 129, 255, 256, 257, 511, 700}) {  // around blocks of K
        all.push_back({1, nb + 7, k});
        all.push_back({3, w + 1, k});
        all.push_back({mt + 2, nb + 7, k});
    }
    all.push_back({kernels.m_block - 1, w + 3, 19});
    all.push_back({kernels.m_block, w, 5});
    all.push_back({kernels.m_block + 1, nb + 2, 9});  // a last block of one row
    all.push_back({2 * kernels.m_block + 7, 3, 300});
    all.push_back({kernels.m_block + 3, kernels.n_block + 5, 130});
    // Where x is packed instead of the weights, and around it.
    for (int64_t m : {w - 1, w, w + 1, 2 * w + 1, kernels.thin_rows, kernels.thin_rows + 1}) {
        all.push_back({m, 1, 127});
        all.push_back({m, nb + w - 1, 128});
        all.push_back({m, 2 * nb + 3, 129});
        all.push_back({m, w + 7, 2 * 768 + 5});
    }
    if (kernels
            .rounds) {  // blocks of x and of k: of words that are kept, and of tiles (256 chunks)
        all.push_back({170, 17, 3000});
        all.push_back({60, 17, 14000});
        all.push_back({33, 17, 8192 + 40});
        all.push_back({3, 17, 2 * 16384 + 3});
    }
    all.push_back({w - 1, kernels.thin_n + 1, 200});
    all.push_back({kernels.thin_rows, 2 * kernels.thin_n, 150});
    return all;
}

Options random_options(std::mt19937& rng) {
    Options o;
    o.type = static_cast<WeightType>(rng() % 5);
    o.rounded = rng() % 2 != 0;
    o.misalign = rng() % 4;
    o.x_gap = static_cast<int64_t>(rng() % 3) * 5;
    o.w_gap = static_cast<int64_t>(rng() % 3) * 3;
    o.y_gap = static_cast<int64_t>(rng() % 3) * 7;
    o.x_down = rng() % 2 != 0;
    o.bias = rng() % 2 != 0;
    o.residual = rng() % 2 != 0;
    o.in_place = o.residual && rng() % 2 != 0;
    o.activation = static_cast<GemmActivation>(rng() % 3);
    return o;
}

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Every shape with plain options of each type, then with random ones.
template <class Check>
void for_each_case(const Check& check) {
    for (const Level& level : levels()) {
        std::mt19937 rng(7);
        uint32_t seed = 0;
        for (const Shape& shape : shapes(*level.kernels)) {
            for (int round = 0; round < 8; ++round) {
                Options options;
                if (round < 5) {
                    options.type = static_cast<WeightType>(round);
                } else if (round < 7) {
                    options.type = round == 5 ? WeightType::bf16 : WeightType::i8;
                    options.rounded = true;
                } else {
                    options = random_options(rng);
                }
                ++seed;
                if (kSanitized && seed % 5 != 0) {  // sums in double take minutes there
                    continue;
                }
                SCOPED_TRACE(name_of(level, shape, options));
                check(level, Product(shape, options, seed), options);
                if (testing::Test::HasFailure()) {
                    return;
                }
            }
        }
    }
}

TEST(Gemm, MatchesReference) {
    for_each_case([](const Level& level, const Product& product, const Options&) {
        ASSERT_LT(product.error(product.whole(*level.kernels), *level.kernels), kTolerance);
    });
}

TEST(Gemm, RandomShapesMatchReference) {
    for (const Level& level : levels()) {
        std::mt19937 rng(11);
        for (uint32_t i = 0; i < 300; ++i) {
            const Shape shape = {static_cast<int64_t>(rng() % 40),
                                 static_cast<int64_t>(rng() % 150),
                                 static_cast<int64_t>(rng() % 400)};
            const Options options = random_options(rng);
            SCOPED_TRACE(name_of(level, shape, options));
            const Product product(shape, options, i);
            ASSERT_LT(product.error(product.whole(*level.kernels), *level.kernels), kTolerance);
        }
    }
}

// The numerical contract itself: every output is one chain over k.
TEST(Gemm, EachOutputIsOneChain) {
    for_each_case([](const Level& level, const Product& product, const Options& options) {
        if (options.bias || options.residual || options.activation != GemmActivation::none) {
            return;
        }
        const std::vector<float> y = product.whole(*level.kernels);
        for (int64_t i = 0; i < product.shape().m; ++i) {
            const std::vector<double> x = product.rounded_row(i, level.kernels->rounds);
            for (int64_t j = 0; j < product.shape().n; ++j) {
                const float expected = product.chain(i, j, *level.kernels, x);
                const float got = y[static_cast<size_t>(i * product.shape().n + j)];
                ASSERT_EQ(std::memcmp(&expected, &got, sizeof got), 0)
                    << "row " << i << " output " << j << ": " << expected << " " << got;
            }
        }
    });
}

TEST(Gemm, RowAloneEqualsRowInBatch) {
    for_each_case([](const Level& level, const Product& product, const Options&) {
        const std::vector<float> expected = product.whole(*level.kernels);
        const auto y = product.make_y();
        const Guarded scratch(static_cast<size_t>(level.kernels->scratch_floats) * 4);
        const GemmArgs args = product.args(*y, scratch);
        for (int64_t i = 0; i < args.m; ++i) {
            GemmArgs row = args;
            row.m = 1;
            row.x += i * args.x_stride;
            row.y += i * args.y_stride;
            if (row.epilogue.residual != nullptr) {
                row.epilogue.residual += i * row.epilogue.residual_stride;
            }
            level.kernels->gemm(row);
        }
        ASSERT_TRUE(same_bits(product.values(*y), expected));
    });
}

// Blocks of random rows and outputs, in random order.
TEST(Gemm, AnyBlocksEqualWhole) {
    std::mt19937 rng(5);
    for_each_case([&rng](const Level& level, const Product& product, const Options&) {
        const std::vector<float> expected = product.whole(*level.kernels);
        const auto y = product.make_y();
        const Guarded scratch(static_cast<size_t>(level.kernels->scratch_floats) * 4);
        const GemmArgs args = product.args(*y, scratch);
        for (int64_t m0 = 0; m0 < args.m;) {
            const int64_t m = std::min<int64_t>(args.m - m0, 1 + static_cast<int64_t>(rng() % 70));
            for (int64_t n0 = 0; n0 < args.n;) {
                const int64_t n =
                    std::min<int64_t>(args.n - n0, 1 + static_cast<int64_t>(rng() % 60));
                GemmArgs part = args;
                part.m = m;
                part.n = n;
                part.x += m0 * args.x_stride;
                part.w = static_cast<const unsigned char*>(args.w) +
                         n0 * seqmix::weight_bytes(args.w_type, args.w_stride);
                part.w_scale += n0;
                part.w_sums += n0;
                part.y += m0 * args.y_stride + n0;
                if (part.epilogue.bias != nullptr) {
                    part.epilogue.bias += n0;
                }
                if (part.epilogue.residual != nullptr) {
                    part.epilogue.residual += m0 * part.epilogue.residual_stride + n0;
                }
                level.kernels->gemm(part);
                n0 += n;
            }
            m0 += m;
        }
        ASSERT_TRUE(same_bits(product.values(*y), expected));
    });
}

TEST(Gemm, WorkItemsInAnyOrderEqualWhole) {
    std::mt19937 rng(3);
    for (const Level& level : levels()) {
        uint32_t seed = 0;
        for (const Shape& shape :
             {Shape{0, 5, 5}, Shape{5, 0, 5}, Shape{5, 5, 0}, Shape{1, 1, 1}, Shape{1, 3000, 70},
              Shape{7, 500, 33}, Shape{130, 80, 300}, Shape{521, 48, 96}, Shape{1030, 100, 20},
              Shape{300, 333, 130}}) {
            Options options = random_options(rng);
            SCOPED_TRACE(name_of(level, shape, options));
            const Product product(shape, options, ++seed);
            const std::vector<float> expected = product.whole(*level.kernels);
            const auto y = product.make_y();
            const Guarded scratch(static_cast<size_t>(level.kernels->scratch_floats) * 4);
            const GemmArgs args = product.args(*y, scratch);
            const seqmix::GemmSplit split =
                seqmix::gemm_split(shape.m, shape.n, shape.k, *level.kernels, 1 + seed % 4);
            std::vector<int64_t> order(static_cast<size_t>(split.items()));
            for (size_t i = 0; i < order.size(); ++i) {
                order[i] = static_cast<int64_t>(i);
            }
            std::shuffle(order.begin(), order.end(), rng);
            for (int64_t item : order) {
                seqmix::gemm_work_item(args, *level.kernels, split, item);
            }
            ASSERT_TRUE(same_bits(product.values(*y), expected));
        }
    }
}

// Every output belongs to exactly one item, and large products have enough of them.
TEST(Gemm, WorkItemsTileTheProduct) {
    for (const Level& level : levels()) {
        for (const Shape& shape :
             {Shape{1, 50280, 768}, Shape{512, 80, 1536}, Shape{2048, 768, 1536}, Shape{1, 1, 1},
              Shape{3, 7, 0}, Shape{1537, 1000, 3}, Shape{16, 3072, 768}}) {
            for (const size_t workers : {size_t{1}, size_t{2}, size_t{8}}) {
                const seqmix::GemmSplit split =
                    seqmix::gemm_split(shape.m, shape.n, shape.k, *level.kernels, workers);
                std::vector<int> hits(static_cast<size_t>(shape.m * shape.n));
                for (int64_t item = 0; item < split.items(); ++item) {
                    const seqmix::GemmTask t = seqmix::gemm_task(split, item);
                    ASSERT_GT(t.m_count, 0);
                    ASSERT_GT(t.n_count, 0);
                    for (int64_t i = t.m_begin; i < t.m_begin + t.m_count; ++i) {
                        for (int64_t j = t.n_begin; j < t.n_begin + t.n_count; ++j) {
                            ++hits[static_cast<size_t>(i * shape.n + j)];
                        }
                    }
                }
                ASSERT_TRUE(std::all_of(hits.begin(), hits.end(), [](int h) { return h == 1; }));
                const double flops =
                    2.0 * static_cast<double>(shape.m * shape.n) * static_cast<double>(shape.k);
                if (flops > 1e8 && workers > 1) {
                    EXPECT_GE(split.items(), 2 * static_cast<int64_t>(workers))
                        << shape.m << " " << shape.n << " " << shape.k;
                }
            }
        }
    }
}

// Infinities and NaNs reach their own outputs only; padding lanes and steps add nothing.
TEST(Gemm, SpecialValuesStayInTheirRow) {
    for (const Level& level : levels()) {
        const int64_t width = level.kernels->width;
        for (int64_t m : {int64_t{1}, int64_t{3}, int64_t{9}}) {
            const int64_t n = width + 3, k = width + 5;
            std::vector<float> x(static_cast<size_t>(m * k), -0.0f);
            std::vector<float> w(static_cast<size_t>(n * k), 1.0f);
            std::vector<float> y(static_cast<size_t>(m * n));
            std::vector<float> scratch(static_cast<size_t>(level.kernels->scratch_floats));
            x[static_cast<size_t>((m - 1) * k)] = INFINITY;
            w[static_cast<size_t>((n - 1) * k + k - 1)] = NAN;
            GemmArgs a{};
            a.m = m;
            a.n = n;
            a.k = k;
            a.x = x.data();
            a.x_stride = k;
            a.w = w.data();
            a.w_stride = k;
            a.y = y.data();
            a.y_stride = n;
            a.scratch = scratch.data();
            level.kernels->gemm(a);
            for (int64_t i = 0; i < m; ++i) {
                for (int64_t j = 0; j < n; ++j) {
                    const float v = y[static_cast<size_t>(i * n + j)];
                    if (j == n - 1) {
                        EXPECT_TRUE(std::isnan(v));
                    } else if (i == m - 1) {
                        EXPECT_EQ(v, INFINITY);
                    } else {
                        EXPECT_EQ(v, 0.0f);
                    }
                }
            }
        }
    }
}

// Rows of x that have no scale: not finite in, not finite out, in that row alone; nothing in, 0 out.
TEST(Gemm, RowsWithoutAScale) {
    for (const Level& level : levels()) {
        if (!level.kernels->rounds) {
            continue;
        }
        const GemmKernels& kernels = *level.kernels;
        const int64_t n = 20, k = 70;
        const std::vector<int8_t> w(static_cast<size_t>(n * k), 3);
        const std::vector<float> scale(static_cast<size_t>(n), 0.5f);
        const std::vector<int32_t> sums(static_cast<size_t>(n), static_cast<int32_t>(3 * k));
        for (int64_t m : {int64_t{5}, int64_t{12}, int64_t{100}}) {
            std::vector<float> x(static_cast<size_t>(m * k), 1.0f), y(static_cast<size_t>(m * n));
            std::vector<float> scratch(static_cast<size_t>(kernels.scratch_floats));
            const auto row = [&](int64_t i) { return x.data() + i * k; };
            row(0)[3] = INFINITY;
            row(1)[69] = NAN;
            std::fill_n(row(2), k, 0.0f);
            std::fill_n(row(3), k, 1e-39f);
            GemmArgs a{};
            a.m = m;
            a.n = n;
            a.k = k;
            a.x = x.data();
            a.x_stride = k;
            a.w = w.data();
            a.w_stride = k;
            a.w_type = WeightType::i8;
            a.w_scale = scale.data();
            a.w_sums = sums.data();
            a.rounded = true;
            a.y = y.data();
            a.y_stride = n;
            a.scratch = scratch.data();
            kernels.gemm(a);
            for (int64_t i = 0; i < m; ++i) {
                for (int64_t j = 0; j < n; ++j) {
                    const float v = y[static_cast<size_t>(i * n + j)];
                    if (i < 2) {
                        EXPECT_FALSE(std::isfinite(v)) << i;
                    } else {
                        EXPECT_NEAR(v, i < 4 ? 0.0f : 1.5f * k, 1e-5f * k) << i;
                    }
                }
            }
        }
    }
}

// Sums of more products than int32 surely holds are taken in f32.
TEST(Gemm, RowsTooLongForIntegers) {
    for (const Level& level : levels()) {
        if (!level.kernels->rounds) {
            continue;
        }
        const GemmKernels& kernels = *level.kernels;
        for (const int64_t k : {65536, 65537}) {
            const std::vector<int8_t> w(static_cast<size_t>(k), 127);
            const std::vector<float> x(static_cast<size_t>(k), 0.7f);
            const float scale = 1.0f;
            const auto sum = static_cast<int32_t>(127 * k);
            float y = 0;
            std::vector<float> scratch(static_cast<size_t>(kernels.scratch_floats));
            GemmArgs a{};
            a.m = a.n = 1;
            a.k = k;
            a.x = x.data();
            a.w = w.data();
            a.w_type = WeightType::i8;
            a.w_scale = &scale;
            a.w_sums = &sum;
            a.rounded = true;
            a.y = &y;
            a.scratch = scratch.data();
            kernels.gemm(a);
            EXPECT_NEAR(y, 127 * 0.7 * static_cast<double>(k), 0.1 * static_cast<double>(k));
        }
    }
}

}  // namespace
