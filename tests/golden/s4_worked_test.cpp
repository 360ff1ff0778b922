// The numbers worked out by hand in the specification of S4D, DSS and the HiPPO memory: eight decimals at
// level reference in f64, 1e-6 elsewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;

double decimals(const std::string& level) { return is_reference(level) ? 6e-9 : 1e-6; }

// The kernel of a layer of one channel: what an impulse gives.
void expect_kernel(const std::string& level, const char* type, const Config& config,
                   const std::vector<std::pair<const char*, std::pair<Shape, Values>>>& tensors,
                   const Values& expected) {
    const DType dtype = real_dtype(level);
    const Context context = make_context(level.c_str());
    const Layer planned = plan(context, type, config);
    Args weights(planned);
    for (const auto& [name, tensor] : tensors) {
        weights.add(name, Tensor(dtype, tensor.first, tensor.second));
    }
    const Layer layer = bind(planned, weights);
    Values impulse(expected.size(), 0.0);
    impulse[0] = 1.0;
    const Shape shape = {1, static_cast<int64_t>(expected.size()), 1};
    const Tensor y = run(layer, make_state(layer), Tensor(dtype, shape, impulse), "y", dtype);
    EXPECT_LE(max_absolute_error(y.values(), expected), decimals(level))
        << testing::PrintToString(y.values());
}

Config bare(int64_t d_state) {
    return Config()
        .set("d_model", 1)
        .set("d_state", d_state)
        .set("activation", "none")
        .set("output", "none");
}

// Poles -1/2 + i omega_n, B = C = 1.
void expect_s4d(const std::string& level, const char* rule, const Values& omega, const Values& C,
                double dt, const Values& expected) {
    const auto M = static_cast<int64_t>(omega.size());
    Values poles;
    for (const double value : omega) {
        poles.insert(poles.end(), {-.5, value});
    }
    expect_kernel(
        level, "s4d", bare(2 * M).set("parameters", "poles").set("discretization", rule),
        {{"poles", {{1, M, 2}, poles}}, {"residues", {{1, 1, M, 2}, C}}, {"step", {{1}, {dt}}}},
        expected);
}

TEST(WorkedS4d, LinInvAndTwoModes) {
    const Values ones = {1, 0, 1, 0, 1, 0, 1, 0}, lin = {0, M_PI, 2 * M_PI, 3 * M_PI};
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        expect_s4d(level, "zoh", lin, ones, .1,
                   {.73746163, .48668945, .18167389, -.01257834, -.03488270, .05213624});
        expect_s4d(level, "bilinear", lin, ones, .1,
                   {.72520878, .50330829, .21559851, .00329779, -.05928386, .00315239});
        Values inverse;
        for (int n = 0; n < 4; ++n) {
            inverse.push_back(8 / M_PI * (8.0 / (2 * n + 1) - 1));
        }
        EXPECT_NEAR(inverse[0], 17.825354, 6e-7);
        expect_s4d(level, "zoh", inverse, ones, .1, {.68675938, .37016096, .38503453, .47177470});
        const Values two = {0, -M_PI}, C = {.5, .25, -.3, .1};
        expect_s4d(level, "zoh", two, C, .05, {.02064385, .02233269, .02454584, .02717465});
        expect_s4d(level, "bilinear", two, C, .05, {.02069185, .02236316, .02455734});
    }
}

TEST(WorkedS4d, RealWithoutTheFactor) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        expect_kernel(level, "s4d",
                      bare(4).set("real", true).set("factor", 1.0).set("real_transform", "none"),
                      {{"kernel.inv_dt", {{1}, {std::log(.1)}}},
                       {"kernel.A_real", {{1, 4}, {1, 2, 3, 4}}},
                       {"kernel.C", {{1, 4}, {1, 1, 1, 1}}}},
                      {.35461112, .27956198, .22311442});
    }
}

TEST(WorkedDss, ExpAndSoftmax) {
    const double step = std::log(.1);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        expect_kernel(level, "dss", bare(2).set("version", "exp"),
                      {{"Lambda", {{2, 2}, {std::log(.5), 0, std::log(.5), M_PI}}},
                       {"W", {{1, 2, 2}, {1, .5, -.25, .75}}},
                       {"log_dt", {{1, 2}, {step, step}}}},
                      {.06224729, .04080580, .02614752, .01860534, .01782149, .02284643});
        expect_kernel(level, "dss", bare(2).set("version", "softmax").set("kernel_length", 6),
                      {{"Lambda", {{2, 2}, {-.5, 0, -.5, M_PI}}},
                       {"W", {{1, 2, 2}, {1, .5, -.25, .75}}},
                       {"log_dt", {{1, 2}, {step, step}}}},
                      {-.33077788, -.30813113, -.29154873, -.28041138, -.27371805, -.27021403});
        expect_kernel(level, "dss", bare(1).set("version", "softmax").set("kernel_length", 6),
                      {{"Lambda", {{1, 2}, {.3, 1}}},
                       {"W", {{1, 1, 2}, {1, 0}}},
                       {"log_dt", {{1, 2}, {std::log(.5), std::log(.5)}}}},
                      {-.14488019, -.11762278, -.04428987, .06845776, .19938489, .31417954});
    }
}

// ------------------------------------------------------------------ HiPPO

Values hippo_after(const std::string& level, const char* rule, int64_t order, const Values& u) {
    const DType dtype = real_dtype(level);
    const Context context = make_context(level.c_str());
    const Layer planned =
        plan(context, "hippo",
             Config().set("d_model", 1).set("order", order).set("discretization", rule));
    const Layer layer = bind(planned, Args(planned));
    const auto T = static_cast<int64_t>(u.size());
    const Tensor y = run(layer, make_state(layer), Tensor(dtype, {1, T, 1}, u), "y", dtype);
    return y.slice(1, T - 1, 1).values();
}

TEST(WorkedHippo, LegSOfFourSamples) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const double allowed = decimals(level);
        EXPECT_LE(max_absolute_error(hippo_after(level, "zoh", 4, {1, 2, 3, 4}),
                                     {2.5, 1.08253175, 0, -.10334966}),
                  allowed);
        EXPECT_LE(max_absolute_error(hippo_after(level, "bilinear", 4, {1, 2, 3, 4}),
                                     {2.71428571, 1.07222193, -.06388766, 0}),
                  allowed);
    }
}

// Zero-order hold is the projection of the signal that is constant between samples: its coefficients by
// integrals of Legendre polynomials over the steps.
TEST(WorkedHippo, LegSByHoldIsTheExactProjection) {
    const Values u = noise(50, 7);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        for (const int64_t N : {4, 64}) {
            Values want(static_cast<size_t>(N), 0.0);
            const auto T = static_cast<double>(u.size());
            // int P_n = (P_{n+1} - P_{n-1}) / (2n+1).
            const auto integrals = [&](double x) {
                std::vector<double> P = {1.0, x}, values;
                for (int64_t n = 1; n <= N; ++n) {
                    const auto k = static_cast<double>(n);
                    P.push_back(((2 * k + 1) * x * P[static_cast<size_t>(n)] -
                                 k * P[static_cast<size_t>(n - 1)]) /
                                (k + 1));
                }
                for (size_t n = 0; n < static_cast<size_t>(N); ++n) {
                    values.push_back(
                        n == 0 ? x : (P[n + 1] - P[n - 1]) / (2.0 * static_cast<double>(n) + 1));
                }
                return values;
            };
            for (size_t t = 0; t < u.size(); ++t) {
                const Values low = integrals(2 * static_cast<double>(t) / T - 1);
                const Values high = integrals(2 * static_cast<double>(t + 1) / T - 1);
                for (size_t n = 0; n < want.size(); ++n) {
                    want[n] +=
                        u[t] * std::sqrt(2.0 * static_cast<double>(n) + 1) / 2 * (high[n] - low[n]);
                }
            }
            // The reference multiplies exponentials of size 64 and loses what they lose.
            const double allowed = !is_reference(level) ? 2e-6 : N > 4 ? 1e-9 : 1e-13;
            EXPECT_LE(max_absolute_error(hippo_after(level, "zoh", N, u), want), allowed) << N;
        }
    }
}

// LegT follows polynomials below its order exactly (in the limit of small steps), so what it keeps of a
// straight line are the line's own coefficients over the last two time units.
TEST(WorkedHippo, LegTKeepsALineOverItsWindow) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer planned = plan(context, "hippo",
                                   Config()
                                       .set("d_model", 1)
                                       .set("order", 4)
                                       .set("measure", "legt")
                                       .set("dt", .001)
                                       .set("discretization", "bilinear"));
        const Layer layer = bind(planned, Args(planned));
        const int64_t T = 20000;
        Values u;
        for (int64_t t = 0; t < T; ++t) u.push_back(.001 * (static_cast<double>(t) + .5));
        const Tensor y = run(layer, make_state(layer), Tensor(dtype, {1, T, 1}, u), "y", dtype);
        const Values c = y.slice(1, T - 1, 1).values();
        // u(x) = x on [18, 20]: mean 19, slope 1 over a half width of 1.
        EXPECT_NEAR(c[0], 19.0, 2e-3);
        EXPECT_NEAR(c[1], 1 / std::sqrt(3.0), 2e-3);
        EXPECT_NEAR(c[2], 0.0, 2e-3);
    }
}

}  // namespace
