// The numbers worked out by hand in the specification of state-space layers and long convolutions that
// no layer shows: matrices, features and filters inside them.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <string>
#include <vector>

#include "../support/capi.h"
#include "../support/shared_data.h"
#include "mixers/ckconv/siren.h"
#include "mixers/hyena/filter.h"
#include "models/formats/checkpoint.h"
#include "primitives/dense/dense.h"
#include "primitives/hippo/hippo.h"

namespace {

using namespace seqmix_test;
using seqmix::hippo::Complex;
using seqmix::hippo::Measure;

void expect_near(const Values& got, const Values& want, double allowed) {
    EXPECT_LE(max_absolute_error(got, want), allowed) << testing::PrintToString(got);
}

// ------------------------------------------------------------------ S4, section 5

TEST(SignalWorked, LegSMatrix) {
    const auto t = seqmix::hippo::transition(Measure::legs, 4);
    expect_near(t.A,
                {-1, 0, 0, 0, -1.732051, -2, 0, 0, -2.236068, -3.872983, -3, 0, -2.645751,
                 -4.582576, -5.916080, -4},
                6e-7);
    const Values P = seqmix::hippo::low_rank(Measure::legs, 4);
    Values diagonal, below, above;
    for (size_t i = 0; i < 4; ++i) {
        for (size_t j = 0; j < 4; ++j) {
            (i == j ? diagonal : j < i ? below : above).push_back(t.A[i * 4 + j] + P[i] * P[j]);
        }
    }
    expect_near(diagonal, Values(4, -.5), 1e-12);
    // Antisymmetric, row by row: (0,1) (0,2) (0,3) (1,2) (1,3) (2,3).
    expect_near(above, {.866025, 1.118034, 1.322876, 1.936492, 2.291288, 2.958040}, 6e-7);
    expect_near(below, {-.866025, -1.118034, -1.936492, -1.322876, -2.291288, -2.958040}, 6e-7);
}

TEST(SignalWorked, BilinearLegSStep) {
    constexpr size_t N = 4;
    constexpr double dt = .1;
    const auto t = seqmix::hippo::transition(Measure::legs, N);
    Values left(N * N), right(N * N), B(N);
    for (size_t i = 0; i < N * N; ++i) {
        const double one = i % (N + 1) == 0 ? 1.0 : 0.0;
        left[i] = one - dt / 2 * t.A[i];
        right[i] = one + dt / 2 * t.A[i];
    }
    for (size_t i = 0; i < N; ++i) B[i] = dt * t.B[i];
    Values again = left;
    ASSERT_TRUE(seqmix::dense::solve(N, again, N, right));
    ASSERT_TRUE(seqmix::dense::solve(N, left, 1, B));
    expect_near(B, {.09523810, .14996111, .15992957, .14192342}, 6e-9);
    expect_near({right[0], right[5], right[10], right[15]},
                {.90476190, .81818182, .73913043, .66666667}, 6e-9);
    // C (1, .5, -.3, .2): its kernel's transform over 8 taps.
    Values x = B, K;
    for (int l = 0; l < 8; ++l) {
        K.push_back(x[0] + .5 * x[1] - .3 * x[2] + .2 * x[3]);
        Values next(N, 0.0);
        for (size_t i = 0; i < N; ++i) {
            for (size_t j = 0; j < N; ++j) next[i] += right[i * N + j] * x[j];
        }
        x = next;
    }
    const auto transform = [&](int m) {
        Complex sum = 0;
        for (int l = 0; l < 8; ++l)
            sum += K[static_cast<size_t>(l)] * std::polar(1.0, -M_PI / 4 * m * l);
        return sum;
    };
    EXPECT_NEAR(transform(0).real(), .75067686, 6e-9);
    EXPECT_NEAR(transform(1).real(), .07746396, 6e-9);
    EXPECT_NEAR(transform(1).imag(), -.07904229, 6e-9);
    EXPECT_NEAR(transform(4).real(), .05657222, 6e-9);
    // The scalar of the step's low-rank part, from the modes.
    seqmix::hippo::Modes modes;
    ASSERT_TRUE(seqmix::hippo::modes(Measure::legs, N, &modes));
    double R = 1;
    for (size_t i = 0; i < modes.lambda.size(); ++i) {
        R += 2 * (std::norm(modes.P[i]) / (2 / dt - modes.lambda[i])).real();
    }
    EXPECT_NEAR(R, 1.37366686, 6e-9);
}

TEST(SignalWorked, InverseInitialFrequencies) {
    const Context context = make_context("reference");
    const Layer planned =
        plan(context, "s4d", Config().set("d_model", 1).set("d_state", 8).set("init", "inv"));
    Weights weights = init_weights(planned, 1, DType::f64);
    Values frequencies = weights["kernel.A_imag"].values();
    for (double& f : frequencies) f = std::abs(f);
    expect_near(frequencies, {17.825354, 4.244132, 1.527887, .363783}, 6e-7);
}

// ------------------------------------------------------------------ HiPPO, section 9

// Zero-order hold is exact: a signal at half the rate has the same coefficients.
TEST(SignalWorked, LegSKnowsNoTimescale) {
    const Context context = make_context("reference");
    const Layer planned = plan(
        context, "hippo", Config().set("d_model", 1).set("order", 8).set("discretization", "zoh"));
    const Layer layer = bind(planned, Args(planned));
    const Values u = noise(20, 3);
    Values twice;
    for (const double x : u) twice.insert(twice.end(), {x, x});
    const auto last = [&](const Values& x) {
        const auto T = static_cast<int64_t>(x.size());
        const Tensor y =
            run(layer, make_state(layer), Tensor(DType::f64, {1, T, 1}, x), "y", DType::f64);
        return y.slice(1, T - 1, 1).values();
    };
    expect_near(last(twice), last(u), 1e-12);
}

// ------------------------------------------------------------------ Hyena and H3, section 18

TEST(SignalWorked, HyenaFeaturesAndDecay) {
    Values z(5);
    seqmix::hyena_features(1, 8, 3, z.data());
    expect_near({z[0], z[1], z[2]}, {.142857, 1, -.000079}, 6e-7);
    seqmix::hyena_features(1, 8, 5, z.data());
    expect_near(z, {.142857, 1, .707107, -.000079, -.707107}, 6e-7);
    Values rates;
    for (int64_t c = 0; c < 3; ++c) rates.push_back(std::abs(seqmix::hyena_delta(c, 3)));
    expect_near(rates, {3.070113, 9.210340, 15.350567}, 6e-7);
}

// Parameter k with amplitude a: a sin(0.5 + 1.3 i + 0.7 k), i the flat index.
Values filled(int k, double a, int64_t count) {
    Values values;
    for (int64_t i = 0; i < count; ++i) {
        values.push_back(a * std::sin(0.5 + 1.3 * static_cast<double>(i) + 0.7 * k));
    }
    return values;
}

TEST(SignalWorked, HyenaFilter) {
    const Values in = filled(4, .7, 12), in_bias = filled(5, .2, 4), W0 = filled(6, .7, 16),
                 b0 = filled(7, .2, 4), W1 = filled(8, .7, 16), b1 = filled(9, .2, 4),
                 out = filled(10, .7, 8), freq(4, 1.0);
    seqmix::HyenaFilter filter{};
    filter.taps = 6;
    filter.channels = 2;
    filter.features = 3;
    filter.hidden = 4;
    filter.inner = 2;
    filter.modulate = true;
    filter.W_in = in.data();
    filter.b_in = in_bias.data();
    filter.W = {W0.data(), W1.data()};
    filter.b = {b0.data(), b1.data()};
    filter.W_out = out.data();
    filter.freq = freq.data();
    Values k(12);
    seqmix::hyena_filter(filter, k.data());
    expect_near({k[0], k[6]}, {.09474832, -.15578761}, 6e-9);
    expect_near({k[1], k[7]}, {.06619500, -.00352195}, 6e-9);
}

// Everything but the shift SSM made one: the impulse's answer is its taps, K_l = sum_j B_j C_{j+l}.
TEST(SignalWorked, H3ShiftSsm) {
    for (const std::string& level : levels()) {
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer planned = plan(context, "h3", Config().set("d_model", 1).set("d_state", 4));
        Args weights(planned);
        const auto add = [&](const char* slot, const Shape& shape, const Values& values) {
            weights.add(slot, Tensor(dtype, shape, values));
        };
        for (const char* one : {"q_proj", "v_proj"}) {
            add((std::string(one) + ".weight").c_str(), {1, 1}, {0});
            add((std::string(one) + ".bias").c_str(), {1}, {1});
        }
        for (const char* same : {"k_proj", "out_proj"}) {
            add((std::string(same) + ".weight").c_str(), {1, 1}, {1});
            add((std::string(same) + ".bias").c_str(), {1}, {0});
        }
        add("shift.B", {1, 4}, {1, .5, 0, 0});
        add("shift.C", {1, 4}, {.2, -.4, .6, 0});
        add("shift.D", {1}, {0});
        add("ssm.inv_A_real", {1, 2}, {0, 0});
        add("ssm.A_imag", {1, 2}, {0, 1});
        add("ssm.log_dt", {1}, {-2});
        add("ssm.B", {1, 2, 2}, {1, 0, 1, 0});
        add("ssm.C", {1, 2, 2}, {0, 0, 0, 0});
        add("ssm.D", {1}, {1});
        const Layer layer = bind(planned, weights);
        const Tensor y =
            run(layer, make_state(layer), Tensor(dtype, {1, 6, 1}, {1, 0, 0, 0, 0, 0}), "y", dtype);
        expect_near(y.values(), {0, -.1, .6, 0, 0, 0}, is_reference(level) ? 1e-15 : 1e-7);
    }
}

// ------------------------------------------------------------------ CKConv, section 18.8

TEST(SignalWorked, CkConvLengths) {
    const struct {
        int64_t length;
        double rho, p_max;
    } rows[] = {{784, 1, 1},  {392, 2, .99744572}, {196, 4, .99233716}, {1568, .5, 1.00127714},
                {1000, 1, 1}, {700, 1, 1}};
    for (const auto& row : rows) {
        const seqmix::CkLength got = seqmix::ck_length(row.length, 784);
        EXPECT_EQ(got.rho, row.rho) << row.length;
        EXPECT_NEAR(got.p_max, row.p_max, 6e-9) << row.length;
        EXPECT_EQ(got.smoothing, row.rho < 1 ? 2 : 0) << row.length;
    }
}

Values ck_kernel(const seqmix::CkKernelNet& net, int64_t length) {
    Values k(static_cast<size_t>(net.channels * length)),
        scratch(static_cast<size_t>(seqmix::ck_kernel_scratch(net.hidden, net.channels, length)));
    seqmix::ck_kernel(net, length, length, k.data(), scratch.data());
    return k;
}

TEST(SignalWorked, CkConvKernel) {
    const Values v1 = filled(0, .8, 3), g1 = filled(1, .9, 3), b1 = filled(2, .1, 3),
                 v2 = filled(3, .8, 9), g2 = filled(4, .9, 3), b2 = filled(5, .1, 3),
                 v3 = filled(6, .8, 12), g3 = filled(7, .9, 4), b3 = filled(8, .1, 4);
    const Values k = ck_kernel({3, 4, 3.0, v1.data(), g1.data(), b1.data(), v2.data(), g2.data(),
                                b2.data(), v3.data(), g3.data(), b3.data()},
                               5);
    expect_near(k, {.54301194,  .47397940,  -.38657451, -.85154398, -.72984905,  //
                    .23435134,  .18941405,  -.06914619, -.16057521, -.13580335,  //
                    .33277486,  .41396628,  .16068519,  -.17869356, -.09340339,  //
                    -.15392188, -.15244070, -.01450708, .07914139,  .05496476},
                6e-9);
}

TEST(SignalWorked, CkConvKernelOfThePublishedModel) {
    SEQMIX_NEED_SHARED("data/ckconv/ckcnn_smnist_30.pt");
    seqmix::Checkpoint checkpoint;
    ASSERT_TRUE(
        seqmix::open_checkpoint(shared_path("data/ckconv/ckcnn_smnist_30.pt"), checkpoint).ok());
    const auto kernel = [&](const std::string& conv, int64_t channels) {
        std::vector<Values> w;
        for (const char* layer : {"0", "4", "8"}) {
            for (const char* part : {".weight_v", ".weight_g", ".bias"}) {
                const auto& tensor = checkpoint.tensors.at("backbone.0." + conv +
                                                           ".Kernel.kernel_net." + layer + part);
                std::vector<float> data(tensor.bytes / sizeof(float));
                std::memcpy(data.data(), tensor.data, tensor.bytes);
                w.emplace_back(data.begin(), data.end());
            }
        }
        return ck_kernel(
            {32, channels, 31.09195739463897, w[0].data(), w[1].data(), w[2].data(), w[3].data(),
             w[4].data(), w[5].data(), w[6].data(), w[7].data(), w[8].data()},
            784);
    };
    const Values first = kernel("cconv1", 30), second = kernel("cconv2", 900);
    expect_near({first[0], first[1], first[782], first[783]},
                {-1.94885217, -2.12664592, -.03689527, .11643786}, 6e-9);
    expect_near({second[65 * 784 + 783]}, {-1.65656729}, 6e-9);
}

}  // namespace
