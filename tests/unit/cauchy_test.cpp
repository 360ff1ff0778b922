// Cauchy sums, S4's kernel by its generating function, and Vandermonde products, at every level, against
// double precision that shares nothing with them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/isa.h"
#include "mixers/s4/reference.h"
#include "primitives/cauchy/cauchy.h"
#include "primitives/cauchy/reference.h"
#include "primitives/dense/dense.h"
#include "primitives/hippo/hippo.h"
#include "primitives/vandermonde/reference.h"
#include "primitives/vandermonde/vandermonde.h"

namespace seqmix {
namespace {

using Complex = std::complex<double>;
using hippo::Measure;

struct Level {
    const char* name;
    const CauchyKernels* cauchy;
    const VandermondeKernels* vandermonde;
    const FftKernels* fft;
};

std::vector<Level> levels() {
    std::vector<Level> result;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        if (isa_available(isa)) {
            result.push_back({isa_name(isa), SEQMIX_SELECT_KERNELS(isa, cauchy_kernels),
                              SEQMIX_SELECT_KERNELS(isa, vandermonde_kernels),
                              SEQMIX_SELECT_KERNELS(isa, fft_kernels)});
        }
    }
    return result;
}

double random_number(uint32_t* state) {
    *state = *state * 1664525u + 1013904223u;
    return static_cast<double>(*state >> 8) * 0x1p-23 - 1.0;
}

std::vector<double> pairs_of(const std::vector<Complex>& values) {
    std::vector<double> pairs;
    for (const Complex& z : values) pairs.insert(pairs.end(), {z.real(), z.imag()});
    return pairs;
}

template <class T>
double largest(const std::vector<T>& values) {
    double most = 0.0;
    for (const T value : values) most = std::max(most, std::fabs(static_cast<double>(value)));
    return most;
}

// ------------------------------------------------------------------ Cauchy sums

TEST(Cauchy, SumsAtTheRootsOfUnity) {
    hippo::Modes modes;
    ASSERT_TRUE(hippo::modes(Measure::legs, 64, &modes));
    uint32_t seed = 7;
    for (const Level& level : levels()) {
        for (const auto& [L, dt] :
             {std::pair<int64_t, double>{16384, 1e-3}, {1000, 0.1}, {37, 0.01}}) {
            CauchyPoles system;
            system.numerators.resize(4);
            for (const Complex& lambda : modes.lambda) {
                system.poles.push_back(dt * lambda);
                for (auto& v : system.numerators) {
                    v.push_back(dt * Complex(random_number(&seed), random_number(&seed)));
                }
            }
            const DplrKernel plan(L, 1, *level.cauchy, *level.fft, Allocator());
            const int64_t points = plan.points();
            const auto size = static_cast<size_t>(points);
            std::vector<float> re(4 * size), im(4 * size), one_re(size), one_im(size);
            const std::vector<float> four = system.records(0, 4), single = system.records(1, 1);
            CauchyArgs args{points, 32, 4, plan.tau(), four.data(), re.data(), im.data(), points};
            level.cauchy->cauchy(args);
            args.sums = 1;
            args.records = single.data();
            args.re = one_re.data();
            args.im = one_im.data();
            level.cauchy->cauchy(args);
            double worst = 0.0, most = 0.0;
            const std::vector<double> poles = pairs_of(system.poles);
            for (size_t s = 0; s < 4; ++s) {
                const std::vector<double> v = pairs_of(system.numerators[s]);
                for (int64_t m = 0; m < points; m += 1 + points / 500) {
                    double r[2];
                    reference::cauchy_sum(m, L, 32, poles.data(), v.data(), r);
                    const auto at = static_cast<size_t>(m);
                    most = std::max(most, std::hypot(r[0], r[1]));
                    worst = std::max(
                        worst, std::hypot(re[s * size + at] - r[0], im[s * size + at] - r[1]));
                    if (s == 1) {
                        worst = std::max(worst, std::hypot(one_re[at] - r[0], one_im[at] - r[1]));
                    }
                }
            }
            // Where tau meets a pole, the rounding of the pole's own b shows.
            EXPECT_LE(worst, 1e-5 * most) << level.name << " L=" << L;
        }
    }
}

// ------------------------------------------------------------------ S4's kernel

// One channel of a DPLR system, its dense form by the layer's reference, and C (I - A^L).
struct System {
    int64_t M, rank;
    double dt;
    std::vector<Complex> lambda, B, C;
    std::vector<Complex> P;  // (rank,M)
    std::vector<double> a, b, c;
    reference::S4Ref ref{};
    std::vector<double> A_real, A_imag, b_pairs, c_pairs, p_pairs, step;

    System(Measure measure, int64_t N, double step_size)
        : M(N / 2), rank(hippo::rank(measure)), dt(step_size) {
        hippo::Modes modes;
        EXPECT_TRUE(hippo::modes(measure, N, &modes));
        lambda = modes.lambda;
        B = modes.B;
        P = modes.P;
        uint32_t seed = 11;
        for (int64_t n = 0; n < M; ++n) C.emplace_back(random_number(&seed), random_number(&seed));
        prepare();
    }
    void prepare() {
        for (const Complex& l : lambda) {
            A_real.push_back(-l.real());
            A_imag.push_back(l.imag());
        }
        b_pairs = pairs_of(B);
        c_pairs = pairs_of(C);
        p_pairs = pairs_of(P);
        step = {dt};
        ref.D = ref.S = ref.C = ref.K = ref.step_columns = 1;
        ref.M = M;
        ref.rank = rank;
        ref.kind = reference::S4Kind::dplr;
        ref.step_transform = ref.real_transform = ref.imag_transform = reference::S4Transform::none;
        ref.imag_sign = ref.rate = 1.0;
        ref.factor = 2.0;
        ref.step = step.data();
        ref.A_real = A_real.data();
        ref.A_imag = A_imag.data();
        ref.B = b_pairs.data();
        ref.Cs = c_pairs.data();
        ref.P = p_pairs.data();
        a.resize(static_cast<size_t>(reference::s4_a_size(ref)));
        b.resize(static_cast<size_t>(2 * M));
        c.resize(static_cast<size_t>(2 * M));
        ref.a = a.data();
        ref.b = b.data();
        ref.c = c.data();
        std::vector<double> work(static_cast<size_t>(reference::s4_prepare_scratch(ref)));
        reference::s4_prepare(ref, work.data());
    }
    std::vector<double> kernel(int64_t L) const {
        std::vector<double> impulse(static_cast<size_t>(L)), K(impulse.size()),
            state(static_cast<size_t>(2 * M)), work(static_cast<size_t>(2 * M + 1));
        impulse[0] = 1.0;
        reference::S4Ref one = ref;
        one.T = L;
        one.x = impulse.data();
        one.state = state.data();
        one.y = K.data();
        one.scratch = work.data();
        reference::s4(one);
        return K;
    }
    // C - C A^L on the kept half, by dense squaring of the step's real form.
    std::vector<Complex> folded(int64_t L) const {
        const int64_t n = 2 * M;
        std::vector<double> step_matrix(static_cast<size_t>(n * n));
        const auto entry = [&](int64_t i, int64_t j) {
            const auto at = static_cast<size_t>(2 * (i * n + j));
            return Complex(a[at], a[at + 1]);
        };
        for (int64_t i = 0; i < M; ++i) {
            for (int64_t j = 0; j < M; ++j) {
                // a x + a' conj(x) on (re, im).
                const Complex s = entry(i, j) + entry(i, M + j), d = entry(i, j) - entry(i, M + j);
                step_matrix[static_cast<size_t>(i * n + j)] = s.real();
                step_matrix[static_cast<size_t>(i * n + M + j)] = -d.imag();
                step_matrix[static_cast<size_t>((M + i) * n + j)] = s.imag();
                step_matrix[static_cast<size_t>((M + i) * n + M + j)] = d.real();
            }
        }
        const std::vector<double> power = dense::power(n, step_matrix, L);
        std::vector<Complex> result = C;
        for (int64_t j = 0; j < M; ++j) {
            double re = 0.0, im = 0.0;
            for (int64_t i = 0; i < n; ++i) {
                const double row = i < M ? C[static_cast<size_t>(i)].real()
                                         : -C[static_cast<size_t>(i - M)].imag();
                re += row * power[static_cast<size_t>(i * n + j)];
                im -= row * power[static_cast<size_t>(i * n + M + j)];
            }
            result[static_cast<size_t>(j)] -= Complex(re, im);
        }
        return result;
    }
    CauchyPoles poles(int64_t L) const {
        CauchyPoles out;
        const std::vector<Complex> Ct = folded(L);
        const auto at = [&](int64_t r, size_t n) { return P[static_cast<size_t>(r * M) + n]; };
        out.numerators.resize(static_cast<size_t>((1 + rank) * (1 + rank)));
        for (size_t n = 0; n < static_cast<size_t>(M); ++n) {
            out.poles.push_back(dt * lambda[n]);
            size_t i = 0;
            out.numerators[i++].push_back(dt * Ct[n] * B[n]);
            for (int64_t r = 0; r < rank; ++r)
                out.numerators[i++].push_back(dt * std::conj(at(r, n)) * B[n]);
            for (int64_t r = 0; r < rank; ++r) out.numerators[i++].push_back(dt * Ct[n] * at(r, n));
            for (int64_t r = 0; r < rank; ++r) {
                for (int64_t q = 0; q < rank; ++q)
                    out.numerators[i++].push_back(dt * std::conj(at(r, n)) * at(q, n));
            }
        }
        return out;
    }
};

double kernel_error(const System& system, int64_t L, const Level& level) {
    const DplrKernel plan(L, system.rank, *level.cauchy, *level.fft, Allocator());
    const Array<float> scratch(plan.scratch(), Allocator());
    std::vector<float> K(static_cast<size_t>(L));
    plan.run(system.poles(L), K.data(), const_cast<float*>(scratch.data()));
    const std::vector<double> want = system.kernel(L);
    double worst = 0.0;
    for (size_t t = 0; t < want.size(); ++t) {
        worst = std::max(worst, std::fabs(static_cast<double>(K[t]) - want[t]));
    }
    return worst / largest(want);
}

TEST(DplrKernel, LegSAgainstDenseDouble) {
    for (const double dt : {1e-3, 1e-2, 0.1}) {
        const System system(Measure::legs, 64, dt);
        for (const int64_t L : {256, 1000, 1024, 16384}) {
            for (const Level& level : levels()) {
                const double error = kernel_error(system, L, level);
                EXPECT_LE(error, 5e-6) << level.name << " dt=" << dt << " L=" << L;
                RecordProperty(
                    std::string(level.name) + "_" + std::to_string(dt) + "_" + std::to_string(L),
                    std::to_string(error));
            }
        }
    }
}

// Without the low rank, LegT, LagT and FouT are undamped: their poles lie on the axis of the nodes, and what
// is large next to a pole cancels in the end.
TEST(DplrKernel, OtherMeasuresRanksAndLengths) {
    for (const auto& [measure, N] : {std::pair{Measure::legt, int64_t{16}},
                                     {Measure::lagt, int64_t{10}},
                                     {Measure::fout, int64_t{16}},
                                     {Measure::legs, int64_t{2}}}) {
        const System system(measure, N, 0.05);
        for (const int64_t L : {1, 2, 3, 50, 127, 128}) {
            for (const Level& level : levels()) {
                EXPECT_LE(kernel_error(system, L, level), measure == Measure::legs ? 5e-6 : 2e-5)
                    << level.name << " L=" << L << " N=" << N;
            }
        }
    }
}

// The numbers of the specification: N = 4, C given in the original basis.
TEST(DplrKernel, WorkedNumbers) {
    const int64_t n = 4;
    const hippo::Transition t = hippo::transition(Measure::legs, n);
    const std::vector<double> P = hippo::low_rank(Measure::legs, n);
    // Eigenvectors of -i (A + P P^T + I/2), phases with B real and positive.
    std::vector<Complex> v;
    std::vector<double> S, omega;
    for (size_t i = 0; i < 16; ++i) {
        S.push_back(i % 5 == 0 ? 0.0 : t.A[i] + P[i / 4] * P[i % 4]);
    }
    ASSERT_TRUE(dense::eigen_skew(n, S, omega, v));
    System system(Measure::legs, n, 0.1);
    const double c[4] = {1, .5, -.3, .2};
    for (size_t k = 0; k < 2; ++k) {
        Complex b, out;
        for (size_t i = 0; i < 4; ++i) b += std::conj(v[4 * i + k]) * t.B[i];
        for (size_t i = 0; i < 4; ++i) out += c[i] * v[4 * i + k] * b / std::abs(b);
        system.C[k] = out;
        system.c_pairs[2 * k] = system.c[2 * k] = out.real();
        system.c_pairs[2 * k + 1] = system.c[2 * k + 1] = out.imag();
    }
    for (double& value : system.c) value *= 2;
    const double worked[] = {.15062446, .11761383, .10029936, .09020930,
                             .08294042, .07640142, .06976030, .06282778};
    const std::vector<double> exact = system.kernel(8);
    for (size_t l = 0; l < 8; ++l) EXPECT_NEAR(exact[l], worked[l], 6e-9);
    for (const Level& level : levels()) {
        const DplrKernel plan(8, 1, *level.cauchy, *level.fft, Allocator());
        Array<float> scratch(plan.scratch(), Allocator());
        float K[8];
        plan.run(system.poles(8), K, scratch.data());
        for (size_t l = 0; l < 8; ++l) EXPECT_NEAR(K[l], worked[l], 1e-6) << level.name;
    }
}

// ------------------------------------------------------------------ Vandermonde

TEST(Vandermonde, ProductsAgainstDoubleWithoutDrift) {
    struct Case {
        int64_t modes, length;
        double re, im;  // of z, times a random number in [0,1]
    };
    // The weakly damped modes of the specification's study, fast ones, and odd sizes.
    for (const Case& c : {Case{4, 131072, -1e-6, 9.7},
                          {32, 16384, -0.05, 3.0},
                          {32, 16384, -5e-4, 11.0},
                          {1, 1, -0.5, 1.0},
                          {3, 127, -0.1, 2.0},
                          {7, 129, -0.1, 2.0},
                          {33, 1000, -0.01, 1.0}}) {
        uint32_t seed = 3;
        std::vector<double> z, coefficients, w_re, w_im, c_re, c_im;
        for (int64_t n = 0; n < c.modes; ++n) {
            const double re = c.re * (0.5 + 0.5 * std::fabs(random_number(&seed)));
            const double im = c.im * random_number(&seed);
            z.insert(z.end(), {re, im});
            w_re.push_back(std::exp(re) * std::cos(im));
            w_im.push_back(std::exp(re) * std::sin(im));
            c_re.push_back(random_number(&seed));
            c_im.push_back(random_number(&seed));
            coefficients.insert(coefficients.end(), {c_re.back(), c_im.back()});
        }
        for (const Level& level : levels()) {
            std::vector<float> K(static_cast<size_t>(c.length) + 1, -777.0f);
            Array<float> scratch(vandermonde_scratch(c.length, c.modes), Allocator());
            level.vandermonde->vandermonde({c.length, c.modes, w_re.data(), w_im.data(),
                                            c_re.data(), c_im.data(), K.data(), scratch.data()});
            EXPECT_EQ(K.back(), -777.0f) << "written beyond the end";
            double worst = 0.0, most = 0.0;
            for (int64_t l = 0; l < c.length; l += 1 + c.length / 3000) {
                const double want =
                    reference::vandermonde(l, c.modes, z.data(), coefficients.data());
                most = std::max(most, std::fabs(want));
                worst = std::max(worst, std::fabs(K[static_cast<size_t>(l)] - want));
            }
            EXPECT_LE(worst, 1e-6 * std::max(most, 1e-3)) << level.name << " L=" << c.length;
        }
    }
}

}  // namespace
}  // namespace seqmix
