// norm and elementwise at every level that this CPU has: against plain double loops, and bit by
// bit against single rows. Every buffer ends at an inaccessible page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../support/guarded.h"
#include "base/isa.h"
#include "primitives/elementwise/kernel.h"
#include "primitives/norm/kernel.h"
#include "primitives/norm/reference.h"

namespace {

using seqmix::ElementwiseKernels;
using seqmix::Isa;
using seqmix::NormArgs;
using seqmix::NormKernels;
using seqmix::WeightType;

std::vector<Isa> levels() {
    std::vector<Isa> all = {Isa::generic};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        all.push_back(Isa::avx2);
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        all.push_back(Isa::avx512);
    }
    return all;
}

using Guarded = seqmix::test::GuardedBytes;

// (rows, width) floats with a gap between rows; the gaps hold NaN.
class Matrix {
  public:
    Matrix(int64_t rows, int64_t width, int64_t gap, std::mt19937& rng, float mean = 0.0f)
        : rows_(rows), width_(width), stride_(width + gap), buffer_(count() * 4) {
        std::normal_distribution<float> normal(mean, 1.0f);
        for (size_t i = 0; i < count(); ++i) {
            buffer_.floats()[i] =
                static_cast<int64_t>(i) % stride_ < width ? normal(rng) : std::nanf("");
        }
    }
    float* row(int64_t r) const { return buffer_.floats() + (rows_ == 0 ? 0 : r * stride_); }
    int64_t stride() const { return stride_; }
    std::vector<float> values() const {
        std::vector<float> out;
        for (int64_t r = 0; r < rows_; ++r) {
            out.insert(out.end(), row(r), row(r) + width_);
        }
        return out;
    }
    std::vector<double> doubles() const {
        const std::vector<float> v = values();
        return {v.begin(), v.end()};
    }
    bool gaps_untouched() const {
        for (size_t i = 0; i < count(); ++i) {
            if (static_cast<int64_t>(i) % stride_ >= width_ && !std::isnan(buffer_.floats()[i])) {
                return false;
            }
        }
        return true;
    }

  private:
    size_t count() const {
        return rows_ == 0 ? 0 : static_cast<size_t>((rows_ - 1) * stride_ + width_);
    }
    int64_t rows_, width_, stride_;
    Guarded buffer_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

const int64_t kWidths[] = {0,  1,  2,  3,  4,  5,  7,  8,  9,  15,  16,  17,  31,  32,
                           33, 61, 63, 64, 65, 79, 80, 81, 97, 127, 128, 129, 509, 1536};

// ---- norm ----

struct NormCase {
    int64_t rows, width, gap;
    bool centre, weight, bias, in_place;
    float mean;
};

template <class Check>
void for_each_norm(const Check& check) {
    std::mt19937 rng(1);
    for (Isa isa : levels()) {
        const NormKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, norm_kernels);
        for (int64_t width : kWidths) {
            for (int64_t rows : {0, 1, 3}) {
                for (uint32_t bits = 0; bits < 16; ++bits) {
                    const NormCase c = {rows,
                                        width,
                                        static_cast<int64_t>(rng() % 2) * 5,
                                        (bits & 1) != 0,
                                        (bits & 2) != 0,
                                        (bits & 4) != 0,
                                        (bits & 8) != 0,
                                        rng() % 4 == 0 ? 10.0f : 0.0f};
                    SCOPED_TRACE(std::string(seqmix::isa_name(isa)) + " rows " +
                                 std::to_string(rows) + " width " + std::to_string(width) +
                                 " case " + std::to_string(bits));
                    check(kernels, c, rng);
                    if (testing::Test::HasFatalFailure()) {
                        return;
                    }
                }
            }
        }
    }
}

void run_norm(const NormKernels& kernels, bool centre, const NormArgs& args) {
    centre ? kernels.layer_norm(args) : kernels.rms_norm(args);
}

TEST(Norm, MatchesReference) {
    for_each_norm([](const NormKernels& kernels, const NormCase& c, std::mt19937& rng) {
        const Matrix x(c.rows, c.width, c.gap, rng, c.mean);
        const Matrix other(c.rows, c.width, 3, rng);
        const Matrix weight(1, c.width, 0, rng), bias(1, c.width, 0, rng);
        const std::vector<double> input = x.doubles();
        const Matrix& y = c.in_place ? x : other;
        NormArgs args{};
        args.rows = c.rows;
        args.width = c.width;
        args.x = x.row(0);
        args.x_stride = x.stride();
        args.weight = c.weight ? weight.row(0) : nullptr;
        args.bias = c.bias ? bias.row(0) : nullptr;
        args.eps = 1e-5f;
        args.y = y.row(0);
        args.y_stride = y.stride();
        run_norm(kernels, c.centre, args);

        const std::vector<double> w = weight.doubles(), b = bias.doubles();
        std::vector<double> expected(input.size());
        (c.centre ? seqmix::reference::layer_norm : seqmix::reference::rms_norm)(
            c.rows, c.width, input.data(), c.weight ? w.data() : nullptr,
            c.bias ? b.data() : nullptr, static_cast<double>(args.eps), expected.data());
        const std::vector<float> got = y.values();
        // A row whose values lie close together cancels: the mean's rounding, 1e-6 of its size,
        // is divided by the deviation, 3e-3 at least with this eps.
        const double tolerance = c.centre && (c.width < 3 || c.mean != 0.0f) ? 2e-3 : 1e-5;
        for (size_t i = 0; i < expected.size(); ++i) {
            ASSERT_NEAR(got[i], expected[i], tolerance) << i;
        }
        ASSERT_TRUE(y.gaps_untouched());
    });
}

TEST(Norm, RowAloneEqualsRowInBatch) {
    for_each_norm([](const NormKernels& kernels, const NormCase& c, std::mt19937& rng) {
        const Matrix x(c.rows, c.width, c.gap, rng, c.mean);
        const Matrix all(c.rows, c.width, 0, rng), single(c.rows, c.width, 2, rng);
        const Matrix weight(1, c.width, 0, rng), bias(1, c.width, 0, rng);
        NormArgs args{};
        args.rows = c.rows;
        args.width = c.width;
        args.x = x.row(0);
        args.x_stride = x.stride();
        args.weight = c.weight ? weight.row(0) : nullptr;
        args.bias = c.bias ? bias.row(0) : nullptr;
        args.eps = 1e-6f;
        args.y = all.row(0);
        args.y_stride = all.stride();
        run_norm(kernels, c.centre, args);
        args.rows = 1;
        args.y_stride = single.stride();
        for (int64_t r = c.rows - 1; r >= 0; --r) {
            args.x = x.row(r);
            args.y = single.row(r);
            run_norm(kernels, c.centre, args);
        }
        ASSERT_TRUE(same_bits(all.values(), single.values()));
    });
}

// ---- elementwise ----

template <class Check>
void for_each_shape(const Check& check) {
    std::mt19937 rng(2);
    for (Isa isa : levels()) {
        const ElementwiseKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, elementwise_kernels);
        for (int64_t width : kWidths) {
            for (int64_t rows : {0, 1, 2, 5}) {
                SCOPED_TRACE(std::string(seqmix::isa_name(isa)) + " rows " + std::to_string(rows) +
                             " width " + std::to_string(width));
                check(kernels, rows, width, rng);
                if (testing::Test::HasFatalFailure()) {
                    return;
                }
            }
        }
    }
}

TEST(Elementwise, Add) {
    for_each_shape([](const ElementwiseKernels& kernels, int64_t rows, int64_t width,
                      std::mt19937& rng) {
        const Matrix a(rows, width, 3, rng), b(rows, width, 0, rng), y(rows, width, 1, rng);
        kernels.add(rows, width, a.row(0), a.stride(), b.row(0), b.stride(), y.row(0), y.stride());
        std::vector<float> expected = a.values();
        const std::vector<float> other = b.values();
        for (size_t i = 0; i < expected.size(); ++i) {
            expected[i] += other[i];
        }
        ASSERT_TRUE(same_bits(y.values(), expected));
        ASSERT_TRUE(y.gaps_untouched());
        kernels.add(rows, width, a.row(0), a.stride(), b.row(0), b.stride(), a.row(0), a.stride());
        ASSERT_TRUE(same_bits(a.values(), expected));
        ASSERT_TRUE(a.gaps_untouched());
    });
}

TEST(Elementwise, MulSiluAndSoftplus) {
    for_each_shape(
        [](const ElementwiseKernels& kernels, int64_t rows, int64_t width, std::mt19937& rng) {
            const Matrix x(rows, width, 3, rng), z(rows, width, 4, rng), y(rows, width, 1, rng);
            const std::vector<double> xs = x.doubles(), zs = z.doubles();
            kernels.mul_silu(rows, width, x.row(0), x.stride(), z.row(0), z.stride(), y.row(0),
                             y.stride());
            const std::vector<float> gated = y.values();
            for (size_t i = 0; i < xs.size(); ++i) {
                ASSERT_NEAR(gated[i], xs[i] * zs[i] / (1.0 + std::exp(-zs[i])), 3e-6);
            }
            ASSERT_TRUE(y.gaps_untouched());
            kernels.mul_silu(rows, width, x.row(0), x.stride(), z.row(0), z.stride(), x.row(0),
                             x.stride());
            ASSERT_TRUE(same_bits(x.values(), gated));

            kernels.softplus(rows, width, z.row(0), z.stride(), y.row(0), y.stride());
            const std::vector<float> soft = y.values();
            for (size_t i = 0; i < zs.size(); ++i) {
                ASSERT_NEAR(soft[i], std::log1p(std::exp(zs[i])), 2e-6);
            }
            kernels.softplus(rows, width, z.row(0), z.stride(), z.row(0), z.stride());
            ASSERT_TRUE(same_bits(z.values(), soft));
            ASSERT_TRUE(z.gaps_untouched());
        });
}

TEST(Elementwise, SumRowsInOrder) {
    for_each_shape(
        [](const ElementwiseKernels& kernels, int64_t rows, int64_t width, std::mt19937& rng) {
            const Matrix x(rows, width, 3, rng), acc(1, width, 0, rng);
            std::vector<float> expected = acc.values();
            const std::vector<float> cut = expected;
            const std::vector<float> values = x.values();
            for (size_t i = 0; i < values.size(); ++i) {
                expected[i % expected.size()] += values[i];
            }
            kernels.sum_rows(rows, width, x.row(0), x.stride(), acc.row(0));
            ASSERT_TRUE(same_bits(acc.values(), expected));
            std::copy(cut.begin(), cut.end(), acc.row(0));
            for (int64_t r = 0; r < rows; ++r) {
                kernels.sum_rows(1, width, x.row(r), x.stride(), acc.row(0));
            }
            ASSERT_TRUE(same_bits(acc.values(), expected));
            kernels.scale(width, acc.row(0), 0.375f, acc.row(0));
            for (float& v : expected) {
                v *= 0.375f;
            }
            ASSERT_TRUE(same_bits(acc.values(), expected));
        });
}

float widen_half(uint16_t h) {
    const int exponent = (h >> 10) & 31;
    const float sign = (h & 0x8000) != 0 ? -1.0f : 1.0f;
    const float mantissa = static_cast<float>(h & 0x3ff);
    return sign * (exponent == 0 ? std::ldexp(mantissa, -24)
                                 : std::ldexp(mantissa + 1024.0f, exponent - 25));
}

TEST(Elementwise, WidenAtAnyByte) {
    for_each_shape([](const ElementwiseKernels& kernels, int64_t rows, int64_t width,
                      std::mt19937& rng) {
        for (WeightType type : {WeightType::f32, WeightType::bf16, WeightType::f16}) {
            const size_t size = type == WeightType::f32 ? 4 : 2;
            const int64_t stride = width + 2;
            const size_t count = rows == 0 ? 0 : static_cast<size_t>((rows - 1) * stride + width);
            const Guarded x(count * size, rng() % 4);
            std::vector<float> expected;
            for (size_t i = 0; i < count; ++i) {
                uint32_t bits = static_cast<uint32_t>(rng());
                float value = 0.0f;
                if (type == WeightType::f16) {
                    auto half = static_cast<uint16_t>(bits);
                    if ((half & 0x7c00) == 0x7c00) {
                        half = static_cast<uint16_t>(half ^ 0x4000);  // finite ones
                    }
                    std::memcpy(x.bytes() + i * size, &half, size);
                    value = widen_half(half);
                } else {
                    bits &= ~(1u << 30);  // finite ones
                    if (type == WeightType::bf16) {
                        const auto half = static_cast<uint16_t>(bits >> 16);
                        std::memcpy(x.bytes() + i * size, &half, size);
                        bits &= 0xffff0000u;
                    } else {
                        std::memcpy(x.bytes() + i * size, &bits, size);
                    }
                    std::memcpy(&value, &bits, sizeof value);
                }
                if (static_cast<int64_t>(i) % stride < width) {
                    expected.push_back(value);
                }
            }
            const Matrix y(rows, width, 1, rng);
            kernels.widen(rows, width, x.bytes(), stride, type, y.row(0), y.stride());
            ASSERT_TRUE(same_bits(y.values(), expected)) << static_cast<int>(type);
            ASSERT_TRUE(y.gaps_untouched());
        }
    });
}

// Every pair of layouts; strides with gaps, and negative ones.
TEST(Elementwise, Transpose) {
    std::mt19937 rng(3);
    const int64_t sizes[] = {0, 1, 3, 4, 5, 8, 9, 15, 16, 17, 33, 50};
    for (Isa isa : levels()) {
        const ElementwiseKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, elementwise_kernels);
        for (int64_t rows : sizes) {
            for (int64_t cols : sizes) {
                for (uint32_t layout = 0; layout < 18; ++layout) {
                    // Strides of x (0: rows dense, 1: columns dense, 2: neither) and of y.
                    const auto strides = [&](uint32_t kind, int64_t* row, int64_t* col) {
                        *row = kind == 0 ? cols + 2 : kind == 1 ? 1 : 2 * cols + 3;
                        *col = kind == 0 ? 1 : kind == 1 ? rows + 3 : 2;
                        return rows == 0 || cols == 0
                                   ? size_t{0}
                                   : static_cast<size_t>((rows - 1) * *row + (cols - 1) * *col + 1);
                    };
                    int64_t xr, xc, yr, yc;
                    const size_t x_count = strides(layout % 3, &xr, &xc);
                    const size_t y_count = strides(layout / 3 % 3, &yr, &yc);
                    const bool down = layout >= 9;  // rows of x in descending order
                    const Guarded x(x_count * 4), y(y_count * 4);
                    for (size_t i = 0; i < x_count; ++i) {
                        x.floats()[i] = static_cast<float>(rng() % 100000);
                    }
                    std::fill_n(y.floats(), y_count, -1.0f);
                    const float* base = x.floats();
                    if (down && rows > 0) {
                        base += (rows - 1) * xr;
                        xr = -xr;
                    }
                    kernels.transpose(rows, cols, base, xr, xc, y.floats(), yr, yc);
                    std::vector<float> expected(y_count, -1.0f);
                    for (int64_t r = 0; r < rows; ++r) {
                        for (int64_t c = 0; c < cols; ++c) {
                            expected[static_cast<size_t>(r * yr + c * yc)] = base[r * xr + c * xc];
                        }
                    }
                    ASSERT_TRUE(same_bits({y.floats(), y.floats() + y_count}, expected))
                        << seqmix::isa_name(isa) << " " << rows << "x" << cols << " layout "
                        << layout;
                }
            }
        }
    }
}

// Against the C library's long double; equal bits at every level and at any place in a call.
TEST(Elementwise, ExpInDouble) {
    std::mt19937 rng(7);
    std::uniform_real_distribution<double> uniform(-700, 700), near(-6, 6);
    std::vector<double> x = {0,   -0.0, 1,    -1,  0.34657359027997264, -0.34657359027997264, -708,
                             709, 1e-9, -1e9, 1e9, std::nan("")};
    for (int i = 0; i < 4000; ++i) x.push_back(i % 2 == 0 ? uniform(rng) : near(rng));
    std::vector<double> first;
    for (const Isa isa : levels()) {
        const ElementwiseKernels& kernels = *SEQMIX_SELECT_KERNELS(isa, elementwise_kernels);
        std::vector<double> y = x;
        kernels.exp_f64(static_cast<int64_t>(y.size()), y.data());
        for (size_t i = 0; i < x.size(); ++i) {
            const long double want =
                std::exp(static_cast<long double>(std::clamp(x[i], -708.0, 709.0)));
            if (std::isnan(x[i])) {
                EXPECT_TRUE(std::isnan(y[i]));
            } else {
                EXPECT_LE(std::abs((static_cast<long double>(y[i]) - want) / want), 3e-16L) << x[i];
            }
            double alone = x[i];
            kernels.exp_f64(1, &alone);
            EXPECT_EQ(std::memcmp(&alone, &y[i], sizeof alone), 0) << x[i];
        }
        if (first.empty()) first = y;
        EXPECT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(double)), 0);
    }
}

}  // namespace
