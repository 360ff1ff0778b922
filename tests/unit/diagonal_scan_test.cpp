// The complex diagonal recurrence: every level and both ways of using the lanes against double precision,
// guard pages, cuts, and long streams. SEQMIX_STREAM_SAMPLES sets the length of the streams (300,000).
#include "primitives/diagonal_scan/diagonal_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/fpenv.h"
#include "base/isa.h"
#include "primitives/diagonal_scan/reference.h"
#include "support/guarded.h"

namespace seqmix {
namespace {

using Complex = std::complex<double>;

std::vector<std::pair<const char*, const DiagonalScanKernels*>> levels() {
    std::vector<std::pair<const char*, const DiagonalScanKernels*>> result;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        if (isa_available(isa)) {
            result.emplace_back(isa_name(isa), SEQMIX_SELECT_KERNELS(isa, diagonal_scan_kernels));
        }
    }
    return result;
}

class Numbers {
  public:
    double operator()() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<double>(state_ >> 40) * 0x1p-23 - 1.0;
    }
    Complex complex() {
        const double re = (*this)();
        return {re, (*this)()};
    }

  private:
    uint64_t state_ = 99;
};

DiagonalSystem random_system(int64_t D, int64_t M, int64_t outputs, int32_t rank, bool negative) {
    Numbers number;
    DiagonalSystem s;
    s.channels = D;
    s.modes = M;
    s.outputs = outputs;
    s.rank = rank;
    for (int64_t i = 0; i < D * M; ++i) {
        const double angle = negative ? 3.1 * number() : 1.5 * number();
        s.a.push_back(std::polar(0.7 + 0.15 * number(), angle));
        s.b.push_back(number.complex());
    }
    for (int64_t i = 0; i < outputs * D * M; ++i) s.c.push_back(number.complex());
    const double small = 0.2 / std::sqrt(static_cast<double>(M));
    for (int64_t i = 0; i < rank * D * M; ++i) {
        s.w.push_back(small * number.complex());
        s.g.push_back(small * number.complex());
    }
    for (int64_t i = 0; i < outputs * D; ++i) s.skip.push_back(number());
    return s;
}

std::vector<double> parts(const std::vector<Complex>& values) {
    std::vector<double> result;
    for (const Complex& z : values) result.insert(result.end(), {z.real(), z.imag()});
    return result;
}

double worst_error(const std::vector<double>& got, const std::vector<double>& want) {
    double worst = 0.0, most = 0.0;
    for (size_t i = 0; i < want.size(); ++i) {
        worst = std::max(worst, std::fabs(got[i] - want[i]));
        most = std::max(most, std::fabs(want[i]));
    }
    return most > 0 ? worst / most : worst;
}

struct Shape {
    int64_t D, M, outputs;
    int32_t rank;
    bool negative;
};

// Runs the scan over T tokens in pieces; state and output at guard pages.
void run_pieces(const DiagonalScan& scan, const Shape& s, const std::vector<float>& u, int64_t T,
                const std::vector<int64_t>& cuts, std::vector<float>* x, std::vector<float>* y) {
    test::Guarded<float> state(x->size()), out(y->size()), in(u.size());
    std::copy(x->begin(), x->end(), state.data());
    std::copy(u.begin(), u.end(), in.data());
    std::vector<float> scratch(static_cast<size_t>(DiagonalScan::scratch_floats(s.M)) + 16);
    int64_t from = 0;
    for (size_t i = 0; i <= cuts.size(); ++i) {
        const int64_t to = i < cuts.size() ? cuts[i] : T;
        for (int64_t d = 0; d < s.D; d += scan.channel_block()) {
            const int64_t count = std::min(scan.channel_block(), s.D - d);
            scan.run({to - from, d, count, in.data() + from * s.D + d, s.D,
                      out.data() + from * s.outputs * s.D + d, s.outputs * s.D, s.D, false,
                      state.data() + d, s.D, scratch.data()});
        }
        from = to;
    }
    std::copy_n(state.data(), x->size(), x->begin());
    std::copy_n(out.data(), y->size(), y->begin());
}

TEST(DiagonalScan, EveryLevelAgainstDouble) {
    const Shape shapes[] = {{1, 1, 1, 0, false},
                            {1, 32, 1, 0, true},
                            {4, 33, 1, 0, false},
                            {3, 7, 3, 0, true},
                            {2, 20, 1, 1, true},
                            {4, 5, 2, 2, false},
                            {5, 3, 1, 0, false},
                            {17, 32, 1, 0, true},
                            {16, 9, 2, 0, true},
                            {33, 16, 1, 1, true},
                            {20, 11, 3, 2, true},
                            // Four vectors of modes, by level.
                            {2, 15, 1, 1, true},
                            {3, 31, 1, 2, false},
                            {2, 63, 1, 1, true}};
    for (const Shape& s : shapes) {
        const DiagonalSystem system = random_system(s.D, s.M, s.outputs, s.rank, s.negative);
        const int64_t T = 70;
        Numbers number;
        std::vector<float> u, x0;
        for (int64_t i = 0; i < T * s.D; ++i) u.push_back(static_cast<float>(number()));
        for (int64_t i = 0; i < 2 * s.M * s.D; ++i) x0.push_back(static_cast<float>(number()));
        const std::vector<double> a = parts(system.a), b = parts(system.b), c = parts(system.c),
                                  w = parts(system.w), g = parts(system.g), u64(u.begin(), u.end());
        std::vector<double> state(x0.size()), want(static_cast<size_t>(T * s.outputs * s.D));
        for (int64_t d = 0; d < s.D; ++d) {  // (2M,D) to (D,M,2)
            for (int64_t i = 0; i < 2 * s.M; ++i) {
                state[static_cast<size_t>(d * 2 * s.M + i)] = x0[static_cast<size_t>(i * s.D + d)];
            }
        }
        reference::diagonal_scan({T, s.D, s.M, s.outputs, s.rank, a.data(), b.data(), c.data(),
                                  w.data(), g.data(), system.skip.data(), u64.data(), state.data(),
                                  want.data()});
        for (const auto& [name, kernels] : levels()) {
            const std::string what = std::string(name) + " D=" + std::to_string(s.D) +
                                     " M=" + std::to_string(s.M) + " rank " +
                                     std::to_string(s.rank);
            const DiagonalScan scan(system, *kernels, Allocator());
            std::vector<float> x = x0, y(want.size());
            run_pieces(scan, s, u, T, {}, &x, &y);
            std::vector<double> after(x.size());
            for (int64_t d = 0; d < s.D; ++d) {
                for (int64_t i = 0; i < 2 * s.M; ++i) {
                    after[static_cast<size_t>(d * 2 * s.M + i)] =
                        x[static_cast<size_t>(i * s.D + d)];
                }
            }
            EXPECT_LE(worst_error({y.begin(), y.end()}, want), 2e-6) << what;
            EXPECT_LE(worst_error(after, state), 2e-6) << what;
            // However the tokens are cut: the same bits.
            std::vector<float> x2 = x0, y2(want.size());
            run_pieces(scan, s, u, T, {1, 2, 17, 33, 33, 64}, &x2, &y2);
            EXPECT_EQ(y, y2) << what;
            EXPECT_EQ(x, x2) << what;
        }
    }
}

// Streams of S4D-Lin with 32 modes, against double with coefficients that are not rounded: noise, and a
// sine at the frequency of a mode.
TEST(DiagonalScan, LongStreamsDoNotDrift) {
    const char* given = std::getenv("SEQMIX_STREAM_SAMPLES");
    const int64_t samples = given != nullptr ? std::atoll(given) : 300000;
    const int64_t M = 32, kBlock = 1000;
    for (const double dt : {1e-3, 1e-2, 0.1}) {
        DiagonalSystem system;
        system.channels = 1;
        system.modes = M;
        Numbers number;
        for (int64_t n = 0; n < M; ++n) {
            const Complex lambda(-0.5, M_PI * static_cast<double>(n)), z = dt * lambda;
            const double half = std::sin(z.imag() / 2);
            const Complex less(std::expm1(z.real()) * std::cos(z.imag()) - 2 * half * half,
                               std::exp(z.real()) * std::sin(z.imag()));
            system.a.push_back(std::exp(z));
            system.a_minus_one.push_back(less);
            system.a_plus_one.push_back(std::exp(z) + 1.0);
            system.b.push_back(less / lambda);
            system.c.push_back(2.0 * number.complex());
        }
        for (const bool noise : {true, false}) {
            const double omega = dt * M_PI * 5;
            // One pass of double for all levels.
            const auto all = levels();
            std::vector<DiagonalScan> scans;
            std::vector<std::vector<float>> states;
            for (const auto& [name, kernels] : all) {
                scans.emplace_back(system, *kernels, Allocator());
                states.emplace_back(static_cast<size_t>(2 * M));
            }
            std::vector<double> x(static_cast<size_t>(2 * M)), want(kBlock), worst(all.size());
            std::vector<float> u(kBlock), y(kBlock),
                scratch(static_cast<size_t>(DiagonalScan::scratch_floats(M)) + 16);
            double most = 0.0;
            for (int64_t t = 0; t < samples; t += kBlock) {
                for (int64_t i = 0; i < kBlock; ++i) {
                    u[static_cast<size_t>(i)] = static_cast<float>(
                        noise ? number() : std::sin(omega * static_cast<double>(t + i)));
                    double sum = 0.0;
                    for (size_t n = 0; n < static_cast<size_t>(M); ++n) {
                        const double ar = system.a[n].real(), ai = system.a[n].imag();
                        const double in = u[static_cast<size_t>(i)];
                        const double re =
                            ar * x[2 * n] - ai * x[2 * n + 1] + system.b[n].real() * in;
                        x[2 * n + 1] = ar * x[2 * n + 1] + ai * x[2 * n] + system.b[n].imag() * in;
                        x[2 * n] = re;
                        sum += system.c[n].real() * x[2 * n] - system.c[n].imag() * x[2 * n + 1];
                    }
                    want[static_cast<size_t>(i)] = sum;
                    most = std::max(most, std::fabs(sum));
                }
                for (size_t l = 0; l < all.size(); ++l) {
                    const FlushDenormals flush;
                    scans[l].run({kBlock, 0, 1, u.data(), 1, y.data(), 1, 1, false,
                                  states[l].data(), 1, scratch.data()});
                    for (size_t i = 0; i < want.size(); ++i) {
                        worst[l] = std::max(worst[l], std::fabs(y[i] - want[i]));
                    }
                }
            }
            for (size_t l = 0; l < all.size(); ++l) {
                EXPECT_LE(worst[l] / most, 1e-5)
                    << all[l].first << " dt=" << dt << (noise ? ", noise" : ", sine");
                if (std::getenv("SEQMIX_TEST_VERBOSE") != nullptr) {
                    std::printf("%-8s dt %g %s: %.2g\n", all[l].first, dt, noise ? "noise" : "sine",
                                worst[l] / most);
                }
            }
        }
    }
}

}  // namespace
}  // namespace seqmix
