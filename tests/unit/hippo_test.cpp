// HiPPO matrices and their diagonal-plus-low-rank form, against the authors' tables and the numbers
// worked out in the specification.
#include "primitives/hippo/hippo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "primitives/dense/dense.h"
#include "support/safetensors_file.h"
#include "support/shared_data.h"

namespace seqmix {
namespace {

using hippo::Complex;
using hippo::Measure;

const std::pair<const char*, Measure> kMeasures[] = {{"legs", Measure::legs},
                                                     {"legt", Measure::legt},
                                                     {"lagt", Measure::lagt},
                                                     {"fout", Measure::fout},
                                                     {"foud", Measure::foud}};

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double allowed,
                 const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_NEAR(got[i], want[i], allowed) << what << " " << i;
    }
}

TEST(Hippo, TablesOfTheAuthors) {
    SEQMIX_NEED_SHARED("golden/s4-op-hippo.safetensors");
    const seqmix_test::SafetensorsFile file(
        seqmix_test::shared_path("golden/s4-op-hippo.safetensors"));
    size_t compared = 0;
    for (const auto& [name, measure] : kMeasures) {
        for (const int64_t n : {4, 8}) {
            const std::string at = std::string("out.") + name + ".N" + std::to_string(n);
            const hippo::Transition t = hippo::transition(measure, n);
            expect_near(t.A, file.doubles(at + ".A"), 1e-13, at + ".A");
            expect_near(t.B, file.doubles(at + ".B"), 1e-13, at + ".B");
            compared += 2;
            if (!file.has(at + ".dplr.lambda")) continue;
            hippo::Modes modes;
            ASSERT_TRUE(hippo::modes(measure, n, &modes));
            std::vector<double> lambda, size, product;
            for (size_t i = 0; i < modes.lambda.size(); ++i) {
                lambda.insert(lambda.end(), {modes.lambda[i].real(), modes.lambda[i].imag()});
                EXPECT_EQ(modes.B[i].imag(), 0.0);
                EXPECT_GE(modes.B[i].real(), 0.0);
                size.push_back(modes.B[i].real());
            }
            for (size_t i = 0; i < modes.P.size(); ++i) {
                const Complex z = modes.B[i % modes.B.size()] * std::conj(modes.P[i]);
                product.insert(product.end(), {z.real(), z.imag()});
            }
            expect_near(hippo::low_rank(measure, n), file.doubles(at + ".dplr.P_real"), 1e-13, at);
            expect_near(lambda, file.doubles(at + ".dplr.lambda"), 1e-12, at + " lambda");
            expect_near(size, file.doubles(at + ".dplr.absB"), 1e-12, at + " B");
            expect_near(product, file.doubles(at + ".dplr.B_conjP"), 1e-12, at + " B conj P");
            compared += 4;
        }
    }
    EXPECT_EQ(compared, file.names().size());
}

TEST(Hippo, WorkedFrequenciesOfLegS) {
    const std::pair<int64_t, std::vector<double>> worked[] = {
        {2, {.866025}},
        {4, {4.60329301, .55650112}},
        {6, {10.951507, 2.468241, .471477}},
        {8, {19.857410, 5.354209, 1.957794, .427489}},
        {64, {1303.273843, 433.030757, 258.152210, 182.620411}}};
    for (const auto& [n, omega] : worked) {
        hippo::Modes modes;
        ASSERT_TRUE(hippo::modes(Measure::legs, n, &modes));
        for (size_t i = 0; i < omega.size(); ++i) {
            EXPECT_NEAR(-modes.lambda[i].imag(), omega[i], 6e-7) << n;
            EXPECT_NEAR(modes.lambda[i].real(), -0.5, 1e-12) << n;
        }
    }
    hippo::Modes modes;
    ASSERT_TRUE(hippo::modes(Measure::legs, 4, &modes));
    EXPECT_NEAR(modes.B[0].real(), 2.65801507, 6e-9);
    EXPECT_NEAR(modes.B[1].real(), .96693117, 6e-9);
    EXPECT_NEAR(std::abs(modes.P[0] - modes.B[0] / std::sqrt(2.0)), 0.0, 1e-12);
}

// A + sum P P^T is c I and a skew-symmetric matrix, at larger sizes too.
TEST(Hippo, LowRankCorrectionsLeaveANormalMatrix) {
    for (const auto& [name, measure] : kMeasures) {
        const int64_t n = 20;
        const hippo::Transition t = hippo::transition(measure, n);
        const std::vector<double> P = hippo::low_rank(measure, n);
        const auto s = [&](int64_t i, int64_t j) {
            double sum = t.A[static_cast<size_t>(i * n + j)];
            for (int64_t r = 0; r < hippo::rank(measure); ++r) {
                sum += P[static_cast<size_t>(r * n + i)] * P[static_cast<size_t>(r * n + j)];
            }
            return sum;
        };
        for (int64_t i = 0; i < n; ++i) {
            EXPECT_NEAR(s(i, i), s(0, 0), 1e-12) << name;
            for (int64_t j = 0; j < i; ++j) EXPECT_NEAR(s(i, j), -s(j, i), 1e-12) << name;
        }
    }
}

TEST(Dense, EigenvaluesOfSkewSymmetricMatrices) {
    for (const int64_t n : {1, 2, 3, 5, 8, 33, 64, 130}) {
        std::vector<double> S(static_cast<size_t>(n * n));
        uint32_t seed = 5;
        const auto at = [&](int64_t i, int64_t j) { return static_cast<size_t>(i * n + j); };
        for (int64_t i = 0; i < n; ++i) {
            for (int64_t j = 0; j < i; ++j) {
                seed = seed * 1664525u + 1013904223u;
                const bool none = n == 8 && i > 5;  // zero eigenvalues, twice
                S[at(i, j)] = none ? 0.0 : static_cast<double>(seed >> 8) * 0x1p-23 - 1.0;
                S[at(j, i)] = -S[at(i, j)];
            }
        }
        std::vector<double> values;
        std::vector<Complex> v;
        ASSERT_TRUE(dense::eigen_skew(n, S, values, v)) << n;
        EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
        const double allowed = 1e-14 * static_cast<double>(n + 10);
        for (int64_t k = 0; k < n; ++k) {
            for (int64_t i = 0; i < n; ++i) {
                Complex image, product;
                for (int64_t j = 0; j < n; ++j) {
                    image += Complex(0, -S[at(i, j)]) * v[at(j, k)];
                    product += std::conj(v[at(j, i)]) * v[at(j, k)];
                }
                EXPECT_LE(std::abs(image - values[static_cast<size_t>(k)] * v[at(i, k)]), allowed)
                    << n;
                EXPECT_LE(std::abs(product - (i == k ? 1.0 : 0.0)), allowed) << n;
            }
        }
    }
}

TEST(Dense, ExponentialsPowersAndSolutions) {
    // exp of a rotation by t, and of a nilpotent matrix.
    for (const double t : {1e-8, 0.3, 40.0}) {
        const std::vector<double> r = dense::exponential(2, {0.0, -t, t, 0.0});
        expect_near(r, {std::cos(t), -std::sin(t), std::sin(t), std::cos(t)}, 1e-13, "rotation");
    }
    expect_near(dense::exponential(3, {0, 2, 3, 0, 0, 5, 0, 0, 0}), {1, 2, 8, 0, 1, 5, 0, 0, 1},
                1e-13, "nilpotent");
    expect_near(dense::power(2, {1, 1, 1, 0}, 30), {1346269, 832040, 832040, 514229}, 0.0,
                "Fibonacci");
    expect_near(dense::power(2, {1, 1, 1, 0}, 0), {1, 0, 0, 1}, 0.0, "power 0");
    std::vector<double> a = {0, 2, 1, 3}, b = {4, 2, 7, 1};
    ASSERT_TRUE(dense::solve(2, a, 2, b));
    expect_near(b, {1, -2, 2, 1}, 1e-14, "solution");
    std::vector<double> singular = {1, 2, 2, 4}, right = {1, 1};
    EXPECT_FALSE(dense::solve(2, singular, 1, right));
}

}  // namespace
}  // namespace seqmix
