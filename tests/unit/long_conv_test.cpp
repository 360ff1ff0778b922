// Long convolutions at every level that this machine runs, against the sums in double: lengths around
// the sizes of transforms, both two-sided conventions, inputs in pieces.
#include "primitives/long_conv/long_conv.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "../support/guarded.h"
#include "../support/simd_probe/levels.h"
#include "primitives/long_conv/reference.h"

namespace seqmix {
namespace {

using test::Guarded;

struct Level {
    std::string name;
    const FftKernels* kernels;
};
std::vector<Level> levels() {
    std::vector<Level> list;
    for (const Isa isa : test::built_levels()) {
        list.push_back({isa_name(isa), SEQMIX_SELECT_KERNELS(isa, fft_kernels)});
    }
    return list;
}

std::vector<float> numbers(int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> list(static_cast<size_t>(count));
    for (float& v : list) v = normal(random);
    return list;
}

// Inputs (rows, D), taps (K, D) and the sums.
struct Problem {
    LongConvShape shape;
    int64_t tokens, past;
    std::vector<float> x, k, after;  // x: past, then tokens
    std::vector<double> y;

    Problem(const LongConvShape& s, int64_t t, int64_t earlier, unsigned seed)
        : shape(s), tokens(t), past(earlier) {
        const int64_t D = s.channels;
        x = numbers((t + earlier) * D, seed);
        k = numbers(s.taps * D, seed + 1);
        after = numbers(s.after * D, seed + 2);
        for (float& v : k) v /= std::sqrt(static_cast<float>(s.taps));
        for (float& v : after) v /= std::sqrt(static_cast<float>(s.after));
        const auto turned = [&](const std::vector<float>& rows, int64_t count) {
            std::vector<double> columns(rows.size());
            for (int64_t j = 0; j < count; ++j) {
                for (int64_t d = 0; d < D; ++d) {
                    columns[static_cast<size_t>(d * count + j)] =
                        static_cast<double>(rows[static_cast<size_t>(j * D + d)]);
                }
            }
            return columns;
        };
        const std::vector<double> k64 = turned(k, s.taps), after64 = turned(after, s.after);
        const std::vector<double> x64(x.begin(), x.end());
        y.resize(static_cast<size_t>(t * D));
        reference::long_conv({.tokens = t,
                              .channels = D,
                              .taps = s.taps,
                              .k = k64.data(),
                              .after_taps = s.after,
                              .after = after64.data(),
                              .after_from_next = s.sides == LongConvSides::pad_flip,
                              .past = x64.data(),
                              .past_rows = earlier,
                              .x = x64.data() + earlier * D,
                              .y = y.data()});
    }
};

struct Filter {
    Array<float> spectra, scratch;
    Filter(const LongConv& conv, const Problem& p)
        : spectra(conv.filter_size(), {}), scratch(conv.scratch_size(), {}) {
        for (int64_t g = 0; g < conv.groups(); ++g) {
            const int64_t d = conv.first(g), D = p.shape.channels;
            conv.make_filter(g, p.k.data() + d, D, p.after.data() + d, D,
                             spectra.data() + conv.filter_at(g), scratch.data());
        }
    }
};

// Taps have norm 1 and inputs variance 1: a single small y is the difference of larger terms.
double error(const float* y, const std::vector<double>& expected) {
    double most = 1, worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
        most = std::max(most, std::abs(expected[i]));
        worst = std::max(worst, std::abs(static_cast<double>(y[i]) - expected[i]));
    }
    return worst / most;
}

enum class Way { apart, in_place, taps_again };

void expect_right(const Level& level, const LongConvShape& shape, int64_t tokens, int64_t past,
                  Way way) {
    const Problem p(shape, tokens, past, static_cast<unsigned>(tokens + 7 * past + shape.taps));
    const LongConv conv(shape, *level.kernels, {});
    Filter filter(conv, p);
    const int64_t D = shape.channels;
    Guarded<float> x(static_cast<size_t>(tokens * D)), y(static_cast<size_t>(tokens * D));
    std::copy(p.x.begin() + past * D, p.x.end(), x.data());
    // The past as a ring: its older part is behind the newer one.
    const int64_t second = past / 3;
    Guarded<float> ring(static_cast<size_t>(past * D));
    std::copy_n(p.x.data(), (past - second) * D, ring.data() + second * D);
    std::copy_n(p.x.data() + (past - second) * D, second * D, ring.data());
    for (int64_t g = 0; g < conv.groups(); ++g) {
        const int64_t d = conv.first(g);
        LongConvCall call;
        call.tokens = tokens;
        call.x = x.data() + d;
        call.x_stride = D;
        call.y = (way == Way::in_place ? x.data() : y.data()) + d;
        call.y_stride = D;
        call.past = {ring.data() + second * D + d, past - second, ring.data() + d, second, D};
        if (way == Way::taps_again) {
            call.k = p.k.data() + d;
            call.k_stride = D;
            call.after = p.after.data() + d;
            call.after_stride = D;
        }
        conv.run(g, call, filter.spectra.data() + conv.filter_at(g), filter.scratch.data());
    }
    EXPECT_LT(error(way == Way::in_place ? x.data() : y.data(), p.y), 2e-6)
        << level.name << " D" << D << " K" << shape.taps << "+" << shape.after << " L"
        << shape.length << " T" << tokens << " past " << past << " way " << static_cast<int>(way);
}

TEST(LongConv, EqualsTheSums) {
    for (const Level& level : levels()) {
        for (const int64_t channels : {1, 3, 16, 21}) {
            for (const int64_t taps : {1, 2, 17, 64, 100, 513}) {
                for (const int64_t tokens : {1, 2, 31, 64, 257, 1000}) {
                    expect_right(level, {.channels = channels, .taps = taps, .length = taps},
                                 tokens, 0, Way::apart);
                }
            }
            // A short plan, a long input: windows.
            expect_right(level, {.channels = channels, .taps = 9}, 3000, 0, Way::apart);
            expect_right(level, {.channels = channels, .taps = 9}, 3000, 0, Way::in_place);
            expect_right(level, {.channels = channels, .taps = 300, .length = 4000}, 3999, 0,
                         Way::in_place);
        }
    }
}

TEST(LongConv, GoesOnFromThePast) {
    for (const Level& level : levels()) {
        for (const int64_t channels : {2, 19}) {
            for (const int64_t taps : {2, 65, 400}) {
                for (const int64_t past : {1, 5, 64, 399, 1000}) {
                    for (const int64_t tokens : {1, 70, 1100}) {
                        for (const Way way : {Way::apart, Way::in_place}) {
                            expect_right(level, {.channels = channels, .taps = taps}, tokens, past,
                                         way);
                        }
                    }
                }
            }
        }
    }
}

TEST(LongConv, BothConventionsOfTwoSides) {
    for (const Level& level : levels()) {
        for (const auto sides : {LongConvSides::conjugate, LongConvSides::pad_flip}) {
            for (const int64_t channels : {1, 17}) {
                for (const int64_t taps : {1, 2, 40, 257}) {
                    for (const int64_t after : {1, 40, 300}) {
                        for (const int64_t tokens : {1, 2, 39, 40, 256, 257, 900}) {
                            expect_right(level,
                                         {.channels = channels,
                                          .taps = taps,
                                          .after = after,
                                          .length = 257,
                                          .sides = sides},
                                         tokens, 0, Way::apart);
                        }
                    }
                }
            }
        }
    }
}

// Sizes between the lasting ones make their spectra from the taps.
TEST(LongConv, SpectraMadeInTheCall) {
    constexpr int64_t K = 140000, T = 20000;
    for (const Level& level : levels()) {
        for (const int64_t channels : {1, 16}) {
            const LongConvShape shape = {.channels = channels, .taps = K, .length = K};
            // The first T taps are all that T tokens meet.
            const Problem p({.channels = channels, .taps = 1}, 1, 0, 5);
            std::vector<float> k = numbers(K * channels, 3), x = numbers(T * channels, 4);
            const LongConv conv(shape, *level.kernels, {});
            Array<float> spectra(conv.filter_size(), {}), scratch(conv.scratch_size(), {});
            conv.make_filter(0, k.data(), channels, nullptr, 0, spectra.data(), scratch.data());
            std::vector<float> made(x.size()), passed(x.size());
            LongConvCall call;
            call.tokens = T;
            call.x = x.data();
            call.x_stride = call.y_stride = channels;
            call.y = passed.data();
            conv.run(0, call, spectra.data(), scratch.data());
            call.y = made.data();
            call.k = k.data();
            call.k_stride = channels;
            conv.run(0, call, spectra.data(), scratch.data());
            EXPECT_NE(made, passed) << "another transform rounds differently";
            const std::vector<double> expected(passed.begin(), passed.end());
            EXPECT_LT(error(made.data(), expected), 2e-6) << level.name;
        }
    }
}

// The error of a million samples, against the transforms in double, and these against sums in places.
TEST(LongConv, AMillionSamples) {
    const bool small = std::getenv("SEQMIX_TEST_SCALE") != nullptr &&
                       std::string(std::getenv("SEQMIX_TEST_SCALE")) == "small";
    const int64_t T = small ? 100'000 : 1'000'000, D = small ? 3 : 16;
    const std::vector<float> x = numbers(T * D, 1);
    std::vector<float> k = numbers(T * D, 2);
    for (float& v : k) v /= std::sqrt(static_cast<float>(T));
    const FftKernels& exact_kernels = *levels().back().kernels;
    const RealFft<double> exact(fft_convolution_length(2 * T), exact_kernels, {});
    std::vector<double> y(x.size()), column(static_cast<size_t>(T)), taps(column.size());
    Array<double> filter(exact.filter_size(1), {}), work(exact.scratch(1), {});
    for (int64_t d = 0; d < D; ++d) {
        for (int64_t t = 0; t < T; ++t) {
            column[static_cast<size_t>(t)] = static_cast<double>(x[static_cast<size_t>(t * D + d)]);
            taps[static_cast<size_t>(t)] = static_cast<double>(k[static_cast<size_t>(t * D + d)]);
        }
        exact.make_filter(taps.data(), T, 1, 1, filter.data(), work.data());
        exact.convolve(column.data(), T, 1, filter.data(), y.data() + d, T, D, 1, work.data());
        for (const int64_t t : {int64_t{0}, T / 3, T - 1}) {
            double sum = 0;
            for (int64_t j = 0; j <= t; ++j) {
                sum += taps[static_cast<size_t>(j)] * column[static_cast<size_t>(t - j)];
            }
            EXPECT_NEAR(y[static_cast<size_t>(t * D + d)], sum, 1e-11);
        }
    }
    for (const Level& level : levels()) {
        if (!small && level.name == "generic") continue;  // a minute
        const LongConv conv({.channels = D, .taps = T, .length = T}, *level.kernels, {});
        Array<float> spectra(conv.filter_size(), {}), scratch(conv.scratch_size(), {});
        std::vector<float> out(x.size());
        for (int64_t g = 0; g < conv.groups(); ++g) {
            const int64_t d = conv.first(g);
            conv.make_filter(g, k.data() + d, D, nullptr, 0, spectra.data() + conv.filter_at(g),
                             scratch.data());
            LongConvCall call;
            call.tokens = T;
            call.x = x.data() + d;
            call.y = out.data() + d;
            call.x_stride = call.y_stride = D;
            conv.run(g, call, spectra.data() + conv.filter_at(g), scratch.data());
        }
        EXPECT_LT(error(out.data(), y), 1e-5) << level.name;
    }
}

// What an allocator has given out and not got back.
struct Counted {
    size_t bytes = 0;
    Allocator allocator() {
        return {[](void* user, size_t size, size_t align) {
                    static_cast<Counted*>(user)->bytes += size;
                    return std::aligned_alloc(align, (size + align - 1) / align * align);
                },
                [](void* user, void* pointer, size_t size, size_t) {
                    static_cast<Counted*>(user)->bytes -= size;
                    std::free(pointer);
                },
                this};
    }
};

// At L = 1M, 64 channels, one worker: tables, spectra and scratch are within 2.6 times the input.
TEST(LongConv, MemoryOfAMillionSamples) {
    constexpr int64_t L = 1 << 20, D = 64;
    for (const Level& level : levels()) {
        Counted counted;
        const LongConvShape shape = {.channels = D, .taps = L, .length = L};
        const LongConv conv(shape, *level.kernels, counted.allocator());
        const int64_t tables = static_cast<int64_t>(counted.bytes);
        ASSERT_GT(tables, L);
        const int64_t floats =
            conv.filter_size() + LongConv::scratch_size(shape, level.kernels->f32.width, false);
        EXPECT_LE(static_cast<double>(4 * floats + tables) / static_cast<double>(4 * L * D), 2.6)
            << level.name << ": tables of " << tables << " bytes";
    }
}

// Specification 0.5: u = 1,2,3,4; k = .5,.25,.125,.0625; k' = .1,.2,.3,.4.
TEST(LongConv, WorkedNumbersOfBothConventions) {
    const float u[] = {1, 2, 3, 4}, k[] = {.5f, .25f, .125f, .0625f},
                after[] = {.1f, .2f, .3f, .4f};
    const std::vector<double> pad_flip = {2.5, 2.35, 2.525, 3.0625};
    const std::vector<double> conjugate = {3.5, 3.25, 3.225, 3.4625};
    for (const Level& level : levels()) {
        for (const auto sides : {LongConvSides::pad_flip, LongConvSides::conjugate}) {
            const LongConv conv({.channels = 1, .taps = 4, .after = 4, .length = 4, .sides = sides},
                                *level.kernels, {});
            Array<float> spectra(conv.filter_size(), {}), scratch(conv.scratch_size(), {});
            conv.make_filter(0, k, 1, after, 1, spectra.data(), scratch.data());
            float y[4];
            LongConvCall call;
            call.tokens = 4;
            call.x = u;
            call.y = y;
            call.x_stride = call.y_stride = 1;
            conv.run(0, call, spectra.data(), scratch.data());
            EXPECT_LT(error(y, sides == LongConvSides::pad_flip ? pad_flip : conjugate), 1e-6);
        }
    }
}

}  // namespace
}  // namespace seqmix
