// Fourier transforms at every level that this machine runs, in both precisions, against the
// definition in double. Errors are root mean squares relative to the result's, in units of
// eps * log2(n): the bound that a transform may be expected to keep (Gentleman and Sande 1966).
#include "primitives/fft/fft.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "../support/guarded.h"
#include "../support/simd_probe/levels.h"
#include "primitives/fft/reference.h"

namespace seqmix {
namespace {

using test::Guarded;
using Signal = std::vector<double>;

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

size_t count(int64_t n) { return static_cast<size_t>(n); }

bool smooth(int64_t n) {
    for (const int64_t factor : {2, 3, 5, 7}) {
        while (n % factor == 0) n /= factor;
    }
    return n == 1;
}

// Measured at most 0.25 eps log2(n) from n = 16 on, 0.45 with the three transforms of Bluestein, and
// 1.2 eps at n = 3.
template <typename Real>
double bound(int64_t n, bool is_smooth) {
    const double units = is_smooth ? 0.3 : 0.5;
    return units * static_cast<double>(std::numeric_limits<Real>::epsilon()) *
           (3 + std::log2(static_cast<double>(n)));
}

// Values that both types hold.
Signal random_signal(int64_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Signal x(count(n));
    for (double& v : x) v = static_cast<double>(uniform(random));
    return x;
}

// Channel d of a matrix carries signal d % 3, scaled by a power of two of either sign: exactly.
double gain(int64_t d) {
    return (d % 2 == 0 ? 1.0 : -1.0) * std::ldexp(1.0, static_cast<int>(d % 5) - 2);
}

template <typename Real>
struct Matrix {
    Guarded<Real> data;
    int64_t rows, channels;
    Matrix(int64_t r, int64_t c) : data(count(r * c)), rows(r), channels(c) { fill(); }
    void fill() {
        for (size_t i = 0; i < data.size(); ++i) data[i] = Real{-777};
    }
    void put(const std::vector<Signal>& signals) {
        for (int64_t t = 0; t < rows; ++t) {
            for (int64_t d = 0; d < channels; ++d) {
                data[count(t * channels + d)] =
                    static_cast<Real>(gain(d) * signals[count(d % 3)][count(t)]);
            }
        }
    }
    // Largest error over channels of column pairs against signals, relative.
    double error(const std::vector<Signal>& signals) const {
        double worst = 0;
        for (int64_t d = 0; d < channels; ++d) {
            double sum = 0, scale = 0;
            for (int64_t t = 0; t < rows; ++t) {
                const double expected = gain(d) * signals[count(d % 3)][count(t)];
                const double got = static_cast<double>(data[count(t * channels + d)]);
                sum += (got - expected) * (got - expected);
                scale += expected * expected;
            }
            worst = std::max(worst, std::sqrt(sum) / std::max(1e-30, std::sqrt(scale)));
        }
        return worst;
    }
};

// Of the two parts together: one of them may be small.
template <typename Real>
double error(const Matrix<Real>& re, const Matrix<Real>& im, const std::vector<Signal>& s_re,
             const std::vector<Signal>& s_im) {
    double worst = 0;
    for (int64_t d = 0; d < re.channels; ++d) {
        double sum = 0, scale = 0;
        for (int64_t t = 0; t < re.rows; ++t) {
            const double a = gain(d) * s_re[count(d % 3)][count(t)];
            const double b = gain(d) * s_im[count(d % 3)][count(t)];
            const double x = static_cast<double>(re.data[count(t * re.channels + d)]) - a;
            const double y = static_cast<double>(im.data[count(t * re.channels + d)]) - b;
            sum += x * x + y * y;
            scale += a * a + b * b;
        }
        worst = std::max(worst, std::sqrt(sum) / std::max(1e-30, std::sqrt(scale)));
    }
    return worst;
}

template <typename Real>
FftInput<Real> input(const Matrix<Real>& re, const Matrix<Real>& im) {
    return {re.data.data(), im.data.data(), re.channels, re.rows, im.rows};
}
template <typename Real>
FftOutput<Real> output(Matrix<Real>& re, Matrix<Real>& im) {
    return {re.data.data(), im.data.data(), re.channels, re.rows, im.rows};
}

// Three complex signals of n points and their transforms.
struct Truth {
    int64_t n;
    std::vector<Signal> re, im, out_re, out_im;  // complex
    std::vector<Signal> half_re, half_im;        // of re alone, n/2 + 1 frequencies
    explicit Truth(int64_t length) : n(length) {
        for (unsigned i = 0; i < 3; ++i) {
            re.push_back(random_signal(n, 2 * i + 1));
            im.push_back(random_signal(n, 2 * i + 2));
            Signal a(count(n)), b(count(n));
            reference::dft(n, re[i].data(), im[i].data(), false, a.data(), b.data());
            out_re.push_back(a);
            out_im.push_back(b);
            a.resize(count(n / 2 + 1));
            b.resize(count(n / 2 + 1));
            for (int64_t k = 0; k <= n / 2; ++k) {  // (X[k] + conj X[n-k]) / 2
                const size_t m = count((n - k) % n);
                a[count(k)] = (out_re[i][count(k)] + out_re[i][m]) / 2;
                b[count(k)] = (out_im[i][count(k)] - out_im[i][m]) / 2;
            }
            half_re.push_back(a);
            half_im.push_back(b);
        }
    }
};

template <typename Real>
void check_all(const Level& level, const Truth& truth, int64_t channels) {
    const int64_t n = truth.n;
    SCOPED_TRACE(level.name + (sizeof(Real) == 4 ? " f32" : " f64") + " n " + std::to_string(n) +
                 " channels " + std::to_string(channels));
    const double allowed = bound<Real>(n, smooth(n));
    const Fft<Real> fft(n, *level.kernels, {});
    Guarded<Real> scratch(count(fft.scratch(channels)));
    Matrix<Real> re(n, channels), im(n, channels), x(n, channels), y(n, channels);
    re.put(truth.re);
    im.put(truth.im);
    fft.forward(input(re, im), output(x, y), channels, scratch.data());
    EXPECT_LE(error(x, y, truth.out_re, truth.out_im), allowed);
    x.put(truth.out_re);
    y.put(truth.out_im);
    fft.inverse(input(x, y), output(x, y), channels, scratch.data());  // in place
    EXPECT_LE(error(x, y, truth.re, truth.im), allowed);

    const RealFft<Real> real(n, *level.kernels, {});
    Guarded<Real> real_scratch(count(real.scratch(channels)));
    const double real_allowed = bound<Real>(n, smooth(n));
    Matrix<Real> half_re(n / 2 + 1, channels), half_im(n / 2 + 1, channels);
    real.forward(re.data.data(), n, channels, output(half_re, half_im), channels,
                 real_scratch.data());
    EXPECT_LE(error(half_re, half_im, truth.half_re, truth.half_im), real_allowed);
    half_re.put(truth.half_re);
    half_im.put(truth.half_im);
    x.fill();
    real.inverse(input(half_re, half_im), x.data.data(), n, channels, channels,
                 real_scratch.data());
    EXPECT_LE(x.error(truth.re), real_allowed);
}

TEST(Fft, EveryLengthTo300MatchesTheDefinition) {
    for (int64_t n = 1; n <= 300; ++n) {
        const Truth truth(n);
        for (const Level& level : levels()) {
            const int64_t w = level.kernels->f32.width;
            for (const int64_t channels : {int64_t{1}, w / 2 + 1, w + 3}) {
                check_all<float>(level, truth, channels);
                check_all<double>(level, truth, channels);
            }
        }
        if (HasFailure()) break;
    }
}

std::vector<int64_t> long_lengths() {
    std::vector<int64_t> list = {1000, 1021, 10007, 44100, 65537, 99999, 100000, 100003};
    for (int64_t n = 512; n <= 131072; n *= 2) list.push_back(n);
    for (int64_t n = 3 * 256; n <= 98304; n *= 4) list.push_back(n);
    for (int64_t n = 35 * 32; n <= 72000; n *= 4) list.push_back(n);
    return list;
}

// Some frequencies against the definition, and back.
template <typename Real>
void check_long(const Level& level, int64_t n, const std::vector<int64_t>& bins,
                const Signal& expected_re, const Signal& expected_im, int64_t channels) {
    SCOPED_TRACE(level.name + (sizeof(Real) == 4 ? " f32" : " f64") + " n " + std::to_string(n) +
                 " channels " + std::to_string(channels));
    const double allowed = bound<Real>(n, smooth(n));
    const std::vector<Signal> s_re(3, random_signal(n, 1)), s_im(3, random_signal(n, 2));
    const Fft<Real> fft(n, *level.kernels, {});
    Guarded<Real> scratch(count(fft.scratch(channels)));
    Matrix<Real> re(n, channels), im(n, channels), x(n, channels), y(n, channels);
    re.put(s_re);
    im.put(s_im);
    fft.forward(input(re, im), output(x, y), channels, scratch.data());
    for (int64_t d = 0; d < channels; ++d) {
        double sum = 0;
        for (size_t i = 0; i < bins.size(); ++i) {
            const size_t at = count(bins[i] * channels + d);
            const double a = static_cast<double>(x.data[at]) - gain(d) * expected_re[i];
            const double b = static_cast<double>(y.data[at]) - gain(d) * expected_im[i];
            sum += (a * a + b * b) / static_cast<double>(bins.size());
        }
        // Parts uniform in [-1, 1]: a frequency has the mean square 2 n / 3.
        EXPECT_LE(std::sqrt(sum * 1.5 / static_cast<double>(n)), allowed * std::fabs(gain(d)));
    }
    fft.inverse(input(x, y), output(x, y), channels, scratch.data());
    EXPECT_LE(error(x, y, s_re, s_im), 2 * allowed);

    const RealFft<Real> real(n, *level.kernels, {});
    Guarded<Real> real_scratch(count(real.scratch(channels)));
    Matrix<Real> half_re(n / 2 + 1, channels), half_im(n / 2 + 1, channels);
    real.forward(re.data.data(), n, channels, output(half_re, half_im), channels,
                 real_scratch.data());
    real.inverse(input(half_re, half_im), x.data.data(), n, channels, channels,
                 real_scratch.data());
    EXPECT_LE(x.error(s_re), 2 * allowed);
}

TEST(Fft, LongLengthsMatchTheDefinition) {
    for (const int64_t n : long_lengths()) {
        const Signal re = random_signal(n, 1), im = random_signal(n, 2);
        std::mt19937_64 random(3);
        std::vector<int64_t> bins = {0, 1, n / 2, n - 1};
        while (bins.size() < 24) {
            bins.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(n)));
        }
        Signal out_re(bins.size()), out_im(bins.size());
        for (size_t i = 0; i < bins.size(); ++i) {
            reference::dft_bin(n, re.data(), im.data(), bins[i], false, &out_re[i], &out_im[i]);
        }
        for (const Level& level : levels()) {
            for (const int64_t channels : {1, 7}) {
                check_long<float>(level, n, bins, out_re, out_im, channels);
                check_long<double>(level, n, bins, out_re, out_im, channels);
            }
        }
    }
}

// Short inputs are zero-padded, short outputs are written as far as they go, strides may be wider
// than the channels.
TEST(Fft, RowsAndStrides) {
    for (const Level& level : levels()) {
        for (const int64_t n : {12, 60, 64, 97, 100, 256}) {
            for (const int64_t channels : {1, 5, 17}) {
                SCOPED_TRACE(level.name + " n " + std::to_string(n));
                const int64_t stride = channels + 3, rows = n / 3, keep = n / 2;
                const Fft<float> fft(n, *level.kernels, {});
                const RealFft<float> real(n, *level.kernels, {});
                Guarded<float> scratch(
                    count(std::max(fft.scratch(channels), real.scratch(channels))));
                Guarded<float> x(count((rows - 1) * stride + channels)),
                    y(count((keep - 1) * stride + channels)), z(y.size());
                Matrix<float> whole(n, channels), zero(n, channels), a(n, channels), b(n, channels);
                std::fill(whole.data.data(), whole.data.data() + whole.data.size(), 0.0f);
                std::fill(zero.data.data(), zero.data.data() + zero.data.size(), 0.0f);
                std::fill(x.data(), x.data() + x.size(), -777.0f);
                std::fill(y.data(), y.data() + y.size(), -777.0f);
                std::fill(z.data(), z.data() + z.size(), -777.0f);
                const Signal signal = random_signal(rows * channels, 5);
                for (int64_t i = 0; i < rows * channels; ++i) {
                    whole.data[count(i)] = static_cast<float>(signal[count(i)]);
                    x[count(i / channels * stride + i % channels)] = whole.data[count(i)];
                }
                fft.forward(input(whole, zero), output(a, b), channels, scratch.data());
                fft.forward({x.data(), nullptr, stride, rows, 0},
                            {y.data(), z.data(), stride, keep, keep}, channels, scratch.data());
                const auto same = [&](const Guarded<float>& got, const Matrix<float>& expected) {
                    for (int64_t t = 0; t < keep; ++t) {
                        for (int64_t d = 0; d < stride && count(t * stride + d) < got.size(); ++d) {
                            ASSERT_EQ(
                                got[count(t * stride + d)],
                                d < channels ? expected.data[count(t * channels + d)] : -777.0f);
                        }
                    }
                };
                same(y, a);
                same(z, b);
                Matrix<float> half_a(n / 2 + 1, channels), half_b(n / 2 + 1, channels);
                real.forward(whole.data.data(), n, channels, output(half_a, half_b), channels,
                             scratch.data());
                real.forward(x.data(), rows, stride, {y.data(), z.data(), stride, keep, keep},
                             channels, scratch.data());
                same(y, half_a);
                same(z, half_b);
                real.inverse(input(half_a, half_b), a.data.data(), n, channels, channels,
                             scratch.data());
                real.inverse(input(half_a, half_b), y.data(), keep, stride, channels,
                             scratch.data());
                same(y, a);
            }
        }
    }
}

// F(x + a y) = F(x) + a F(y); a shift by s multiplies frequency k by exp(-2 pi i k s / n).
TEST(Fft, LinearityAndShift) {
    for (const Level& level : levels()) {
        for (const int64_t n : {96, 127, 1024, 1500, 4096}) {
            SCOPED_TRACE(level.name + " n " + std::to_string(n));
            const int64_t channels = 4, shift = 13;  // x, y, x + y/2, x shifted
            const Fft<double> fft(n, *level.kernels, {});
            std::vector<double> scratch(count(fft.scratch(channels)));
            const Signal p = random_signal(n, 1), q = random_signal(n, 2);
            std::vector<double> re(count(n * channels)), im(re.size(), 0.25);
            for (int64_t t = 0; t < n; ++t) {
                double* row = &re[count(t * channels)];
                row[0] = p[count(t)];
                row[1] = q[count(t)];
                row[2] = p[count(t)] + 0.5 * q[count(t)];
                row[3] = p[count((t + n - shift) % n)];
                im[count(t * channels + 2)] = 0.375;
            }
            fft.forward({re.data(), im.data(), channels, n, n},
                        {re.data(), im.data(), channels, n, n}, channels, scratch.data());
            const double allowed = 20 * bound<double>(n, smooth(n)) * std::sqrt(double(n));
            for (int64_t k = 0; k < n; ++k) {
                const double *a = &re[count(k * channels)], *b = &im[count(k * channels)];
                ASSERT_NEAR(a[2], a[0] + 0.5 * a[1], allowed);
                ASSERT_NEAR(b[2], b[0] + 0.5 * b[1], allowed);
                const double angle =
                    -2 * std::acos(-1.0) * double(k * shift % n) / static_cast<double>(n);
                ASSERT_NEAR(a[3], a[0] * std::cos(angle) - b[0] * std::sin(angle), allowed);
                ASSERT_NEAR(b[3], a[0] * std::sin(angle) + b[0] * std::cos(angle), allowed);
            }
        }
    }
}

template <typename Real>
int64_t level_width(const Level& level) {
    if constexpr (std::is_same_v<Real, float>) {
        return level.kernels->f32.width;
    } else {
        return level.kernels->f64.width;
    }
}

template <typename Real>
void check_convolution(const Level& level, int64_t n, int64_t x_rows, int64_t h_rows,
                       int64_t y_rows, int64_t channels) {
    SCOPED_TRACE(level.name + (sizeof(Real) == 4 ? " f32" : " f64") + " n " + std::to_string(n) +
                 " channels " + std::to_string(channels));
    std::vector<Signal> x, h, y;
    for (unsigned i = 0; i < 3; ++i) {
        x.push_back(random_signal(x_rows, 10 + i));
        h.push_back(random_signal(h_rows, 20 + i));
        Signal sums(count(n), 0.0);
        for (int64_t s = 0; s < x_rows; ++s) {
            for (int64_t t = 0; t < h_rows; ++t) {
                sums[count((s + t) % n)] += x[i][count(s)] * h[i][count(t)];
            }
        }
        y.push_back(sums);
    }
    // The gains multiply: h has none.
    const int64_t rest = channels % level_width<Real>(level);
    const bool alone = 2 * rest <= level_width<Real>(level);
    const RealFft<Real> fft(n, *level.kernels, {}, {.order = false, .alone = alone});
    Guarded<Real> scratch(count(fft.scratch(channels)));
    Guarded<Real> filter(count(fft.filter_size(channels)));
    Matrix<Real> in(x_rows, channels), taps(h_rows, channels), out(y_rows, channels);
    in.put(x);
    taps.put(h);
    for (int64_t t = 0; t < h_rows; ++t) {
        for (int64_t d = 0; d < channels; ++d) {
            taps.data[count(t * channels + d)] /= static_cast<Real>(gain(d));
        }
    }
    fft.make_filter(taps.data.data(), h_rows, channels, channels, filter.data(), scratch.data());
    fft.convolve(in.data.data(), x_rows, channels, filter.data(), out.data.data(), y_rows, channels,
                 channels, scratch.data());
    EXPECT_LE(out.error(y), 3 * bound<Real>(n, true));
    Matrix<Real> past(y_rows, channels);
    fft.convolve(in.data.data(), x_rows, channels, filter.data(), past.data.data(), y_rows,
                 channels, channels, scratch.data(), true);
    for (size_t i = 0; i < out.data.size(); ++i) ASSERT_EQ(past.data[i], out.data[i]);
    if (x_rows == y_rows) {
        fft.convolve(in.data.data(), x_rows, channels, filter.data(), in.data.data(), y_rows,
                     channels, channels, scratch.data());
        for (size_t i = 0; i < out.data.size(); ++i) ASSERT_EQ(in.data[i], out.data[i]);
    }
}

TEST(Fft, ConvolutionMatchesTheSum) {
    std::vector<int64_t> lengths = {48,  56,  96,  98,  100, 126,  144,  162,  240,
                                    250, 256, 448, 512, 686, 1000, 1024, 1280, 2048};
    for (int64_t n = 2; n <= 40; n += 2) {
        if (smooth(n / 2)) lengths.push_back(n);
    }
    for (const Level& level : levels()) {
        const int64_t w = level.kernels->f32.width;
        for (const int64_t n : lengths) {
            for (const int64_t channels : {int64_t{1}, w / 2 + 1, w + 3, 2 * w}) {
                const int64_t half = n / 2;
                check_convolution<float>(level, n, half, half, half, channels);
                check_convolution<double>(level, n, half, half, half, channels);
                check_convolution<float>(level, n, n, n, n, channels);
                check_convolution<float>(level, n, (n + 2) / 3, 1, n - 1, channels);
            }
        }
    }
}

TEST(Fft, ConvolutionLength) {
    for (int64_t least = 1; least < 3000; ++least) {
        const int64_t n = fft_convolution_length(least);
        ASSERT_GE(n, least);
        ASSERT_EQ(n % 2, 0);
        ASSERT_TRUE(smooth(n));
        ASSERT_LE(n, std::max<int64_t>(2, least + least / 3 + 2));
    }
    EXPECT_EQ(fft_convolution_length(8192), 8192);
    EXPECT_EQ(fft_convolution_length(8193), 10240);
}

// A plan is immutable: the same bits on two threads at once as on one.
TEST(Fft, ThreadsShareAPlan) {
    for (const Level& level : levels()) {
        for (const int64_t n : {1000, 1009, 4096}) {
            for (const int64_t channels : {1, 40}) {
                const RealFft<float> fft(n, *level.kernels, {});
                const Signal signal = random_signal(n * channels, 1);
                const std::vector<float> x(signal.begin(), signal.end());
                const auto run = [&](std::vector<float>& out) {
                    const size_t size = count((n / 2 + 1) * channels);
                    std::vector<float> scratch(count(fft.scratch(channels)));
                    for (int i = 0; i < 20; ++i) {
                        out.assign(2 * size, 0.0f);
                        fft.forward(x.data(), n, channels,
                                    {out.data(), out.data() + size, channels, n / 2 + 1, n / 2 + 1},
                                    channels, scratch.data());
                    }
                };
                std::vector<float> expected, first, second;
                run(expected);
                std::thread other([&] { run(second); });
                run(first);
                other.join();
                EXPECT_EQ(first, expected);
                EXPECT_EQ(second, expected);
            }
        }
    }
}

}  // namespace
}  // namespace seqmix
