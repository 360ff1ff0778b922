// The vector vocabulary and the elementary functions, at every level that this machine runs.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "../support/guarded.h"
#include "../support/simd_probe/kernel.h"
#include "../support/simd_probe/levels.h"

namespace seqmix {
namespace {

struct Level {
    const char* name;
    const SimdProbeKernels* probe;
};
std::vector<Level> levels() {
    std::vector<Level> list;
    for (const Isa isa : test::built_levels()) {
        list.push_back({isa_name(isa), SEQMIX_SELECT_KERNELS(isa, simd_probe_kernels)});
    }
    return list;
}

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float from_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

TEST(Simd, PartialAccessTouchesOnlyTheFirstLanes) {
    for (const Level& level : levels()) {
        const int w = level.probe->width;
        for (int n = 0; n <= w + 1; ++n) {
            const int live = n < w ? n : w;
            // `live` floats that end where the next page is unmapped, and that begin one.
            for (const bool at_end : {true, false}) {
                test::Guarded<float> in(static_cast<size_t>(live), at_end);
                test::Guarded<float> out(static_cast<size_t>(live), at_end);
                for (int i = 0; i < live; ++i) in[static_cast<size_t>(i)] = float(i + 1);
                std::vector<float> whole(static_cast<size_t>(w), -1.0f);
                for (auto* f : {level.probe->load_n, level.probe->load_m}) {
                    f(in.data(), whole.data(), n);
                    for (int i = 0; i < w; ++i) {
                        ASSERT_EQ(whole[static_cast<size_t>(i)], i < live ? float(i + 1) : 0.0f)
                            << level.name << " n=" << n;
                    }
                }
                std::vector<float> source(static_cast<size_t>(w));
                for (int i = 0; i < w; ++i) source[static_cast<size_t>(i)] = float(10 * i + 1);
                for (auto* f : {level.probe->store_n, level.probe->store_m}) {
                    f(source.data(), out.data(), n);
                    for (int i = 0; i < live; ++i) {
                        ASSERT_EQ(out[static_cast<size_t>(i)], source[static_cast<size_t>(i)]);
                        out[static_cast<size_t>(i)] = 0.0f;
                    }
                }
                test::Guarded<uint16_t> half(static_cast<size_t>(live), at_end);
                for (int i = 0; i < live; ++i) half[static_cast<size_t>(i)] = 0x3c00;
                for (auto* f : {level.probe->load_bf16_n, level.probe->load_f16_n}) {
                    f(half.data(), whole.data(), n);
                    const float one = f == level.probe->load_f16_n ? 1.0f : 0.0078125f;
                    for (int i = 0; i < w; ++i) {
                        ASSERT_EQ(whole[static_cast<size_t>(i)], i < live ? one : 0.0f);
                    }
                }
            }
            // Lanes past n stay as they were.
            std::vector<float> source(static_cast<size_t>(w), 3.0f);
            for (auto* f : {level.probe->store_n, level.probe->store_m}) {
                std::vector<float> target(static_cast<size_t>(w), 7.0f);
                f(source.data(), target.data(), n);
                for (int i = 0; i < w; ++i) {
                    ASSERT_EQ(target[static_cast<size_t>(i)], i < live ? 3.0f : 7.0f);
                }
            }
        }
        float whole[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
        level.probe->load_n(nullptr, whole, -3);
        EXPECT_EQ(whole[0], 0.0f);
        level.probe->store_n(whole, nullptr, -3);
    }
}

TEST(Simd, Transpose) {
    for (const Level& level : levels()) {
        const size_t w = static_cast<size_t>(level.probe->width);
        std::vector<float> in(w * w), out(w * (w + 1));
        for (size_t i = 0; i < w * w; ++i) in[i] = float(i);
        level.probe->transpose(in.data(), out.data());
        for (size_t i = 0; i < w; ++i) {
            for (size_t j = 0; j < w; ++j) ASSERT_EQ(out[i * w + j], in[j * w + i]) << level.name;
            ASSERT_EQ(out[w * w + i], in[w - 1 - i]) << level.name;
        }
    }
}

TEST(Simd, Bf16WidensExactly) {
    std::vector<uint16_t> all(65536 + 5);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    std::vector<float> out(all.size());
    for (const Level& level : levels()) {
        level.probe->load_bf16(all.data(), out.data(), static_cast<int64_t>(all.size()));
        for (size_t i = 0; i < all.size(); ++i) {
            ASSERT_EQ(bits_of(out[i]), uint32_t{all[i]} << 16) << level.name << " " << i;
        }
    }
}

TEST(Simd, F16WidensExactly) {
    std::vector<uint16_t> all(65536 + 5);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    std::vector<float> out(all.size());
    for (const Level& level : levels()) {
        level.probe->load_f16(all.data(), out.data(), static_cast<int64_t>(all.size()));
        for (size_t i = 0; i < all.size(); ++i) {
            const int exponent = (all[i] >> 10) & 31;
            const int mantissa = all[i] & 1023;
            const bool negative = (all[i] & 0x8000) != 0;
            if (exponent == 31 && mantissa != 0) {
                // Quiet, same sign and payload.
                const uint32_t expected = (negative ? 0x80000000u : 0u) | 0x7fc00000u |
                                          (static_cast<uint32_t>(mantissa) << 13);
                ASSERT_EQ(bits_of(out[i]), expected) << level.name << " " << i;
                continue;
            }
            float value = exponent == 31  ? kInf
                          : exponent == 0 ? std::ldexp(float(mantissa), -24)
                                          : std::ldexp(float(1024 + mantissa), exponent - 25);
            ASSERT_EQ(bits_of(out[i]), bits_of(negative ? -value : value))
                << level.name << " " << i;
        }
    }
}

TEST(Simd, Arithmetic) {
    const float special[] = {0.0f, -0.0f, 1.0f, -1.5f, 3.25f, kInf, -kInf, kNan, 1e30f, -2e-30f};
    for (const Level& level : levels()) {
        const size_t w = static_cast<size_t>(level.probe->width);
        for (const float x : special) {
            for (const float y : special) {
                const float z = 0.375f;
                std::vector<float> a(w, x), b(w, y), c(w, z), out(14 * w);
                level.probe->arithmetic(a.data(), b.data(), c.data(), out.data());
                const bool fused = std::string(level.name) != "generic";
                const float p = x * y;
                const float expected[14] = {x + y,
                                            x - y,
                                            p,
                                            x / y,
                                            fused ? std::fma(x, y, z) : p + z,
                                            fused ? std::fma(x, y, -z) : p - z,
                                            fused ? std::fma(-x, y, z) : z - p,
                                            x < y ? x : y,
                                            x > y ? x : y,
                                            x < y ? x : y,
                                            x <= y ? x : y,
                                            x > y ? x : y,
                                            x >= y ? x : y,
                                            x == y ? x : y};
                for (size_t k = 0; k < 14; ++k) {
                    for (size_t i = 0; i < w; ++i) {
                        const float got = out[k * w + i];
                        if (std::isnan(expected[k])) {
                            ASSERT_TRUE(std::isnan(got)) << level.name << " op " << k;
                        } else {
                            ASSERT_EQ(bits_of(got), bits_of(expected[k]))
                                << level.name << " op " << k << " of " << x << ", " << y;
                        }
                    }
                }
            }
        }
        std::vector<float> a(w);
        for (size_t lane = 0; lane < w; ++lane) {
            for (size_t i = 0; i < w; ++i) a[i] = i == lane ? 5.0f : -float(i) - 1.0f;
            float sum = 0.0f;
            for (const float v : a) sum += v;
            float out[4];
            level.probe->reduce(a.data(), out);
            EXPECT_EQ(out[0], sum) << level.name;
            EXPECT_EQ(out[1], 5.0f) << level.name;
            EXPECT_EQ(out[2], 1.0f);
            EXPECT_EQ(out[3], 0.0f);
        }
        std::vector<float> ones(w, 1.0f), minus(w, -1.0f);
        float out[4];
        level.probe->reduce(ones.data(), out);
        EXPECT_EQ(out[3], 1.0f);
        level.probe->reduce(minus.data(), out);
        EXPECT_EQ(out[2], 0.0f);
    }
}

TEST(Simd, ScaleByPowerOfTwo) {
    for (const Level& level : levels()) {
        const size_t w = static_cast<size_t>(level.probe->width);
        for (int e = -400; e <= 400; ++e) {
            for (const float x : {1.0f, -1.75f, 1.5f}) {
                std::vector<float> a(w, x), power(w, float(e)), out(w);
                level.probe->scale_exp2(a.data(), power.data(), out.data());
                const float expected = std::ldexp(x, e);
                if (std::fabs(expected) >= std::numeric_limits<float>::min()) {
                    ASSERT_EQ(out[0], expected) << level.name << " " << e;
                } else {
                    ASSERT_NEAR(out[0], expected, 1.5e-45) << level.name << " " << e;
                }
            }
        }
        for (const float e : {kInf, -kInf}) {
            std::vector<float> a(w, 1.5f), power(w, e), out(w);
            level.probe->scale_exp2(a.data(), power.data(), out.data());
            EXPECT_EQ(out[0], e > 0 ? kInf : 0.0f) << level.name;
        }
    }
}

// Worst error of `map` against `exact` over every `stride`-th bit pattern in the range, in units of
// the last place of the exact result; results below 2^-125 count by their distance in 2^-125.
struct Worst {
    double ulp = 0.0, at = 0.0;
};
Worst sweep(SimdProbeKernels::Map map, double (*exact)(double), uint32_t stride, float low,
            float high) {
    constexpr int64_t kChunk = 4096;
    std::vector<float> in, out(kChunk);
    Worst worst;
    const auto flush = [&] {
        map(in.data(), out.data(), static_cast<int64_t>(in.size()));
        for (size_t i = 0; i < in.size(); ++i) {
            const double truth = exact(static_cast<double>(in[i]));
            const float nearest = static_cast<float>(truth);
            double error;
            if (std::isnan(truth) || std::isnan(out[i])) {
                error = std::isnan(truth) == std::isnan(out[i]) ? 0.0 : 1e9;
            } else if (std::isinf(nearest) || std::isinf(out[i])) {
                // Overflow may come one unit early or late.
                const double limit = static_cast<double>(std::numeric_limits<float>::max());
                error = std::fabs(truth) >= limit * (1 - 2e-7) &&
                                std::fabs(static_cast<double>(out[i])) >= limit * (1 - 4e-7) &&
                                std::signbit(truth) == std::signbit(out[i])
                            ? 0.0
                            : 1e9;
            } else if (std::fabs(truth) < std::ldexp(1.0, -125)) {
                error = std::fabs(out[i] - truth) <= std::ldexp(1.0, -125) ? 0.0 : 1e9;
            } else {
                const int exponent = std::ilogb(static_cast<double>(nearest));
                error = std::fabs(out[i] - truth) / std::ldexp(1.0, exponent - 23);
            }
            if (error > worst.ulp) worst = {error, static_cast<double>(in[i])};
        }
        in.clear();
    };
    for (uint64_t bits = 0; bits <= 0xffffffffu; bits += stride) {
        const float x = from_bits(static_cast<uint32_t>(bits));
        if (!(x >= low && x <= high) && !std::isnan(x)) continue;
        in.push_back(x);
        if (in.size() == static_cast<size_t>(kChunk)) flush();
    }
    flush();
    return worst;
}

double exact_softplus(double x) { return x > 40 ? x : std::log1p(std::exp(x)); }
double exact_sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double exact_silu(double x) { return x / (1.0 + std::exp(-x)); }
double exact_rsqrt(double x) { return 1.0 / std::sqrt(x); }
double exact_reciprocal(double x) { return 1.0 / x; }

TEST(SimdMath, WorstErrorIsAsDocumented) {
    struct Case {
        const char* name;
        SimdProbeKernels::Map SimdProbeKernels::*map;
        double (*exact)(double);
        double ulp;
        float low, high;
    };
    const float least = 1.17549435e-38f;
    const Case cases[] = {
        {"exp2", &SimdProbeKernels::exp2, [](double x) { return std::exp2(x); }, 1.5, -kInf, kInf},
        {"exp", &SimdProbeKernels::exp, [](double x) { return std::exp(x); }, 1.5, -kInf, kInf},
        {"log", &SimdProbeKernels::log, [](double x) { return std::log(x); }, 1.5, least, kInf},
        {"log1p_unit", &SimdProbeKernels::log1p_unit, [](double x) { return std::log1p(x); }, 2.0,
         0.0f, 1.0f},
        {"softplus", &SimdProbeKernels::softplus, exact_softplus, 2.5, -kInf, kInf},
        {"sigmoid", &SimdProbeKernels::sigmoid, exact_sigmoid, 3.0, -87.0f, kInf},
        {"silu", &SimdProbeKernels::silu, exact_silu, 3.0, -86.0f, kInf},
        {"tanh", &SimdProbeKernels::tanh, [](double x) { return std::tanh(x); }, 2.0, -kInf, kInf},
        {"rsqrt", &SimdProbeKernels::rsqrt, exact_rsqrt, 1.5, least, kInf},
        {"sqrt", &SimdProbeKernels::sqrt, [](double x) { return std::sqrt(x); }, 0.5000001, least,
         kInf},
        {"reciprocal_fast", &SimdProbeKernels::reciprocal_fast, exact_reciprocal, 1.0, 1.0f, 8e37f},
        {"round_nearest", &SimdProbeKernels::round_nearest,
         [](double x) { return std::nearbyint(x); }, 0.0, -kInf, kInf},
    };
    for (const Level& level : levels()) {
        for (const Case& c : cases) {
            const Worst worst = sweep(level.probe->*(c.map), c.exact, 1021, c.low, c.high);
            EXPECT_LE(worst.ulp, c.ulp) << level.name << " " << c.name << " at " << worst.at;
            RecordProperty(std::string(level.name) + "_" + c.name + "_ulp",
                           std::to_string(worst.ulp));
            if (std::getenv("SEQMIX_TEST_VERBOSE") != nullptr) {
                std::printf("%-8s %-16s %.3f ulp at %.9g\n", level.name, c.name, worst.ulp,
                            worst.at);
            }
        }
    }
}

// erf is right to a part of 1, not of itself; gelu to a part of its argument.
TEST(SimdMath, ErfAndGeluAreAsDocumented) {
    for (const Level& level : levels()) {
        std::vector<float> in;
        for (uint64_t bits = 0; bits <= 0xffffffffu; bits += 1021) {
            const float x = from_bits(static_cast<uint32_t>(bits));
            if (std::fabs(x) < 1e30f) in.push_back(x);
        }
        std::vector<float> erf(in.size()), gelu(in.size());
        level.probe->erf(in.data(), erf.data(), static_cast<int64_t>(in.size()));
        level.probe->gelu(in.data(), gelu.data(), static_cast<int64_t>(in.size()));
        double worst_erf = 0.0, worst_gelu = 0.0;
        for (size_t i = 0; i < in.size(); ++i) {
            const double x = in[i];
            worst_erf = std::fmax(worst_erf, std::fabs(erf[i] - std::erf(x)));
            if (std::fabs(x) > 1e-30) {
                const double exact = 0.5 * x * std::erfc(-x / std::sqrt(2.0));
                worst_gelu = std::fmax(worst_gelu, std::fabs((gelu[i] - exact) / x));
            }
        }
        EXPECT_LE(worst_erf, 1.2e-7) << level.name;
        EXPECT_LE(worst_gelu, 1.2e-7) << level.name;
        float one = 0.0f;
        level.probe->erf(&kInf, &one, 1);
        EXPECT_EQ(one, 1.0f) << level.name;
    }
}

// The forms for inner loops: relative errors that grow with |x|.
TEST(SimdMath, FastFormsAreAsDocumented) {
    for (const Level& level : levels()) {
        std::vector<float> in, exp2, softplus, silu;
        for (uint64_t bits = 0; bits <= 0xffffffffu; bits += 1021) {
            const float x = from_bits(static_cast<uint32_t>(bits));
            if (x >= -85.0f && x <= 1e30f && std::fabs(x) > 1e-30f) in.push_back(x);
        }
        exp2.resize(in.size());
        softplus.resize(in.size());
        silu.resize(in.size());
        level.probe->exp2_fast(in.data(), exp2.data(), static_cast<int64_t>(in.size()));
        level.probe->softplus_fast(in.data(), softplus.data(), static_cast<int64_t>(in.size()));
        level.probe->silu_fast(in.data(), silu.data(), static_cast<int64_t>(in.size()));
        double worst = 0.0;
        for (size_t i = 0; i < in.size(); ++i) {
            const double x = static_cast<double>(in[i]);
            const double size = std::fmin(std::fabs(x), 128.0);
            const auto part = [&](float got, double exact, double allowed) {
                return std::fabs(static_cast<double>(got) / exact - 1.0) / allowed;
            };
            worst = std::fmax(worst, part(softplus[i], exact_softplus(x), 3e-7 + 8e-8 * size));
            worst = std::fmax(worst, part(silu[i], exact_silu(x), 3e-7 + 8e-8 * size));
            if (x < 127.99) {
                worst = std::fmax(worst, part(exp2[i], std::exp2(x), 2e-7 + 4.2e-8 * (size + 1)));
            }
        }
        EXPECT_LE(worst, 1.0) << level.name;
        if (std::getenv("SEQMIX_TEST_VERBOSE") != nullptr) {
            std::printf("%-8s fast forms at %.2f of their bound\n", level.name, worst);
        }
    }
}

TEST(SimdMath, SinCosAbsoluteError) {
    for (const Level& level : levels()) {
        std::vector<float> in, s, c;
        for (uint64_t bits = 0; bits <= 0xffffffffu; bits += 4099) {
            const float x = from_bits(static_cast<uint32_t>(bits));
            if (std::fabs(x) <= 2e6f) in.push_back(x);
        }
        for (int i = 0; i < 200000; ++i) in.push_back(float(i) * 0.5f + 0.25f * float(i % 3));
        for (int i = 0; i < 60000; ++i) in.push_back(float(double(i) * 1.5707963267948966));
        s.resize(in.size());
        c.resize(in.size());
        level.probe->sine(in.data(), s.data(), static_cast<int64_t>(in.size()));
        level.probe->cosine(in.data(), c.data(), static_cast<int64_t>(in.size()));
        double worst = 0.0;
        for (size_t i = 0; i < in.size(); ++i) {
            const double x = static_cast<double>(in[i]);
            worst = std::fmax(worst, std::fabs(static_cast<double>(s[i]) - std::sin(x)));
            worst = std::fmax(worst, std::fabs(static_cast<double>(c[i]) - std::cos(x)));
        }
        EXPECT_LE(worst, 1.5e-7) << level.name;
        if (std::getenv("SEQMIX_TEST_VERBOSE") != nullptr) {
            std::printf("%-8s sincos %.3g\n", level.name, worst);
        }
    }
}

TEST(SimdMath, SpecialValues) {
    for (const Level& level : levels()) {
        const SimdProbeKernels& p = *level.probe;
        const auto at = [](SimdProbeKernels::Map map, float x) {
            float y = -7.0f;
            map(&x, &y, 1);
            return y;
        };
        for (const SimdProbeKernels::Map map :
             {p.exp2_fast, p.softplus_fast, p.silu_fast, p.exp2, p.exp, p.log, p.softplus,
              p.sigmoid, p.silu, p.tanh, p.erf, p.gelu, p.rsqrt, p.sqrt, p.sine, p.cosine,
              p.round_nearest}) {
            EXPECT_TRUE(std::isnan(at(map, kNan))) << level.name;
        }
        for (const SimdProbeKernels::Map map : {p.exp2_fast, p.exp2, p.exp}) {
            EXPECT_EQ(at(map, kInf), kInf) << level.name;
            EXPECT_EQ(at(map, -kInf), 0.0f) << level.name;
            EXPECT_EQ(at(map, 0.0f), 1.0f) << level.name;
            EXPECT_EQ(at(map, -0.0f), 1.0f) << level.name;
            EXPECT_EQ(at(map, 3e38f), kInf) << level.name;
            EXPECT_EQ(at(map, -3e38f), 0.0f) << level.name;
        }
        for (int i = -120; i <= 127; ++i) {
            EXPECT_EQ(at(p.exp2_fast, float(i)), std::ldexp(1.0f, i)) << level.name;
            EXPECT_EQ(at(p.exp2, float(i)), std::ldexp(1.0f, i)) << level.name;
        }
        EXPECT_EQ(at(p.log, kInf), kInf);
        EXPECT_EQ(at(p.log, 0.0f), -kInf);
        EXPECT_EQ(at(p.log, 1.0f), 0.0f);
        EXPECT_TRUE(std::isnan(at(p.log, -1.0f)));
        EXPECT_TRUE(std::isnan(at(p.log, -kInf)));
        EXPECT_NEAR(at(p.log, 1e-40f), std::log(1e-40), 1e-4);  // exact where subnormals are kept
        for (const SimdProbeKernels::Map map : {p.softplus, p.softplus_fast}) {
            EXPECT_EQ(at(map, kInf), kInf);
            EXPECT_EQ(at(map, -kInf), 0.0f);
            for (float x = 20.0f; x < 1e30f; x *= 1.37f) EXPECT_EQ(at(map, x), x);
        }
        EXPECT_EQ(at(p.sigmoid, kInf), 1.0f);
        EXPECT_EQ(at(p.sigmoid, -kInf), 0.0f);
        EXPECT_EQ(at(p.sigmoid, 0.0f), 0.5f);
        for (const SimdProbeKernels::Map map : {p.silu, p.silu_fast}) {
            EXPECT_EQ(at(map, kInf), kInf);
            EXPECT_NEAR(at(map, -kInf), 0.0f, 2e-36);
            EXPECT_EQ(at(map, 0.0f), 0.0f);
        }
        EXPECT_EQ(at(p.tanh, kInf), 1.0f);
        EXPECT_EQ(at(p.tanh, -kInf), -1.0f);
        EXPECT_TRUE(std::signbit(at(p.tanh, -0.0f)));
        EXPECT_EQ(at(p.rsqrt, 0.0f), kInf);
        EXPECT_EQ(at(p.rsqrt, kInf), 0.0f);
        EXPECT_TRUE(std::isnan(at(p.rsqrt, -1.0f)));
        EXPECT_TRUE(std::isnan(at(p.sine, kInf)));
        EXPECT_TRUE(std::isnan(at(p.cosine, -kInf)));
        EXPECT_TRUE(std::signbit(at(p.negate, 0.0f)));
        EXPECT_EQ(at(p.abs, -kInf), kInf);
    }
}

}  // namespace
}  // namespace seqmix
