// The laws of initial values, as the papers and their authors' code have them: a row for each weight
// of each type. Where a law is random, range, mean and variance of the numbers must be its own, within
// what their count allows; the seed is fixed, so that a test passes always or never.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;

constexpr double kPi = 3.14159265358979323846;

// values[i] of a tensor in C order; a transform undoes what lies between a law and what is stored.
using Transform = double (*)(int64_t i, double value);
using Law = std::function<void(const Values& values)>;

double itself(int64_t, double value) { return value; }
double softplus(int64_t, double value) { return std::log1p(std::exp(value)); }
double log_softplus(int64_t i, double value) { return std::log(softplus(i, value)); }

// Each number is at(i).
Law each(double (*at)(int64_t i)) {
    return [at](const Values& values) {
        for (size_t i = 0; i < values.size(); ++i) {
            const double want = at(static_cast<int64_t>(i));
            ASSERT_NEAR(values[i], want, 1e-6 * std::max(1.0, std::abs(want))) << "at " << i;
        }
    };
}

Law all(double want) {
    return [want](const Values& values) {
        for (const double value : values) ASSERT_NEAR(value, want, 1e-6 * std::abs(want));
    };
}

// Mean and variance, each within 5 standard deviations of their own; `kurtosis` is the law's.
void expect_moments(const Values& values, double mean, double variance, double kurtosis) {
    const auto n = static_cast<double>(values.size());
    double sum = 0, squares = 0;
    for (const double value : values) {
        sum += value;
        squares += (value - mean) * (value - mean);
    }
    EXPECT_NEAR(sum / n, mean, 5 * std::sqrt(variance / n));
    EXPECT_NEAR(squares / n, variance, 5 * variance * std::sqrt((kurtosis - 1) / n));
}

Values transformed(const Values& values, Transform of) {
    Values result;
    for (size_t i = 0; i < values.size(); ++i) {
        result.push_back(of(static_cast<int64_t>(i), values[i]));
    }
    return result;
}

Law uniform(double low, double high, Transform of = itself) {
    return [low, high, of](const Values& stored) {
        ASSERT_GE(stored.size(), 90U) << "too few numbers to tell";
        const Values values = transformed(stored, of);
        const auto [least, most] = std::minmax_element(values.begin(), values.end());
        const double width = high - low;
        const double gap = 8 * width / static_cast<double>(values.size());  // e^-8 is 3e-4
        EXPECT_GE(*least, low - 1e-6 * width);
        EXPECT_LE(*least, low + gap);
        EXPECT_LE(*most, high + 1e-6 * width);
        EXPECT_GE(*most, high - gap);
        expect_moments(values, (low + high) / 2, width * width / 12, 1.8);
    };
}
// torch's of a map or convolution from `fan_in` numbers, its bias included.
Law fan_in(double inputs) { return uniform(-1 / std::sqrt(inputs), 1 / std::sqrt(inputs)); }

Law normal(double deviation, Transform of = itself) {
    return [deviation, of](const Values& stored) {
        ASSERT_GE(stored.size(), 90U);
        const Values values = transformed(stored, of);
        expect_moments(values, 0, deviation * deviation, 3);
        double most = 0;
        for (const double value : values) most = std::max(most, std::abs(value));
        EXPECT_GT(most, 1.9 * deviation);  // a uniform law ends at 1.73
        EXPECT_LT(most, 6 * deviation);
    };
}

// Every second number, from `first` on (real or imaginary parts).
Law part(size_t first, Law law) {
    return [first, law = std::move(law)](const Values& values) {
        Values some;
        for (size_t i = first; i < values.size(); i += 2) some.push_back(values[i]);
        law(some);
    };
}
Law both(Law a, Law b) {
    return [a = std::move(a), b = std::move(b)](const Values& values) {
        a(values);
        b(values);
    };
}

Law sum_of_squares(double want) {
    return [want](const Values& values) {
        double sum = 0;
        for (const double value : values) sum += value * value;
        EXPECT_NEAR(sum, want, 1e-5 * want);
    };
}
// Of HiPPO-LegS of size N in its eigenvectors, half of which are kept: A = S - 1/2 - P P*, S skew with
// S_nk = sqrt((2n+1)(2k+1)) / 2 below the diagonal, P_n = sqrt(n + 1/2), B_n = sqrt(2n + 1).
double legs_frequencies(double N) { return (N * N * N * N - N * (4 * N * N - 1) / 3) / 8; }
double legs_p(double N) { return N * N / 4; }
double legs_b(double N) { return N * N / 2; }

struct Initial {
    const char* name;
    const char* type;
    Config config;
    std::map<std::string, Law> laws;  // of each weight
};

// Names of both of a map's weights.
void add_map(std::map<std::string, Law>& laws, const std::string& name, double inputs) {
    laws[name + ".weight"] = laws[name + ".bias"] = fan_in(inputs);
}

// A filter network of Poli et al.'s code: maps as torch's but the last, which has no bias.
void add_network(std::map<std::string, Law>& laws, const std::string& name, double features,
                 double hidden) {
    add_map(laws, name + ".in", features);
    add_map(laws, name + ".inner0", hidden);
    add_map(laws, name + ".inner1", hidden);
    laws[name + ".out.weight"] = fan_in(hidden);
}

// Gu and Dao 2023; state-spaces/mamba: S4D-Real, steps log-uniform in [1e-3, 0.1].
Initial mamba() {
    Initial initial{"mamba",
                    "mamba",
                    Config()
                        .set("d_model", 100)
                        .set("d_inner", 250)
                        .set("d_state", 8)
                        .set("d_conv", 4)
                        .set("dt_rank", 30)
                        .set("bias", true)
                        .set("inner_norm", "rms_learned"),
                    {}};
    auto& laws = initial.laws;
    add_map(laws, "in_proj", 100);
    add_map(laws, "conv1d", 4);
    laws["x_proj.weight"] = fan_in(250);
    laws["dt_proj.weight"] = fan_in(30);
    laws["dt_proj.bias"] = uniform(std::log(1e-3), std::log(0.1), log_softplus);
    laws["A_log"] = each([](int64_t i) { return std::log(static_cast<double>(i % 8 + 1)); });
    laws["D"] = laws["dt_norm.weight"] = laws["b_norm.weight"] = laws["c_norm.weight"] = all(1);
    add_map(laws, "out_proj", 250);
    return initial;
}

// Safari: 0.02 N(0,1) exp(-(j / L) (D/2)^(d/D)), the skip N(0,1).
constexpr int64_t kTaps = 40, kAfter = 30;
double decay(int64_t i, int64_t taps) {
    constexpr double D = 100;
    const double rate = std::pow(D / 2, static_cast<double>(i / taps) / D);
    return std::exp(-static_cast<double>(i % taps) / static_cast<double>(taps) * rate);
}
Initial long_conv() {
    return {
        "long_conv",
        "long_conv",
        Config()
            .set("d_model", 100)
            .set("taps", kTaps)
            .set("after_taps", kAfter)
            .set("sides", "pad_flip"),
        {{"filter", normal(0.02, [](int64_t i, double v) { return v / decay(i, kTaps); })},
         {"filter_after", normal(0.02, [](int64_t i, double v) { return v / decay(i, kAfter); })},
         {"skip", normal(1)}}};
}

// Poli et al. 2023; safari's hyena.py.
Initial hyena() {
    Initial initial{"hyena",
                    "hyena",
                    Config()
                        .set("d_model", 100)
                        .set("l_max", 60)
                        .set("order", 3)
                        .set("filter_order", 120)
                        .set("emb_dim", 5)
                        .set("w", 14.0),
                    {}};
    auto& laws = initial.laws;
    add_map(laws, "in_proj", 100);
    add_map(laws, "short_filter", 3);
    add_map(laws, "out_proj", 100);
    add_network(laws, "filter", 5, 120);
    laws["filter.bias"] = normal(1);
    laws["filter.freq"] = all(14);
    laws["filter.deltas"] = each([](int64_t c) {
        const double slow = std::log(0.01) / 1.5, fast = std::log(0.01) / 0.3;
        return slow + (fast - slow) * static_cast<double>(c) / 199;
    });
    laws["filter.t"] = each([](int64_t t) { return static_cast<double>(t) / 59; });
    laws["filter.z"] = each([](int64_t i) {
        const double t = static_cast<double>(i / 5), angle = 2 * kPi * t / 60;
        const double bands[] = {1e-4, 1};
        switch (i % 5) {
            case 0: return t / 59;
            case 1:
            case 2: return std::cos(bands[i % 5 - 1] * angle);
            default: return -std::sin(bands[i % 5 - 3] * angle);
        }
    });
    return initial;
}

// Fu et al. 2023, Monarch Mixer: as Hyena's.
Initial monarch() {
    Initial initial{"monarch",
                    "monarch",
                    Config()
                        .set("d_model", 100)
                        .set("l_max", 60)
                        .set("filter_order", 150)
                        .set("bidirectional", true),
                    {}};
    auto& laws = initial.laws;
    add_map(laws, "in_proj", 100);
    add_map(laws, "short_filter", 3);
    add_map(laws, "out_proj", 100);
    for (const char* name : {"filter", "residual", "filter_reverse", "residual_reverse"}) {
        add_network(laws, name, 5, 150);
    }
    for (const std::string name : {"filter", "residual"}) {
        laws[name + ".bias"] = normal(1);
        laws[name + ".freq"] = all(10);
    }
    return initial;
}

// M2's blockdiag_linear: a dense map's values, weights times sqrt(blocks) for what is missing; for the bias
// the code takes the outputs' count for the inputs'.
Initial monarch_mlp() {
    return {"monarch_mlp",
            "monarch_mlp",
            Config().set("d_model", 100).set("d_hidden", 250).set("n_blocks", 5),
            {{"gated_layers.weight", fan_in(100.0 / 5)},
             {"wo.weight", fan_in(250.0 / 5)},
             {"wo.bias", fan_in(100)}}};
}

// Fu et al. 2023; safari's h3.py, ss_kernel_shift.py, ss_kernel_diag.py: S4D-Lin.
Initial h3() {
    Initial initial{
        "h3",
        "h3",
        Config().set("d_model", 100).set("d_state", 10).set("dt_min", 0.002).set("dt_max", 0.5),
        {}};
    auto& laws = initial.laws;
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) add_map(laws, name, 100);
    laws["shift.B"] = each([](int64_t i) { return i % 10 == 0 ? 1.0 : 0.0; });
    laws["shift.C"] = fan_in(10);
    laws["shift.D"] = laws["ssm.D"] = normal(1);
    laws["ssm.inv_A_real"] = all(std::log(0.5));
    laws["ssm.A_imag"] = each([](int64_t i) { return kPi * static_cast<double>(i % 5); });
    laws["ssm.log_dt"] = uniform(std::log(0.002), std::log(0.5));
    laws["ssm.B"] = each([](int64_t i) { return i % 2 == 0 ? 1.0 : 0.0; });
    laws["ssm.C"] = normal(std::sqrt(0.5));
    return initial;
}

// Gu et al. 2022 (S4D, table 1 and section 4; S4; DSS): steps log-uniform, C complex normal.
Config s4_config(int64_t states) {
    return Config()
        .set("d_model", 100)
        .set("channels", 2)
        .set("d_state", states)
        .set("dt_min", 0.002)
        .set("dt_max", 0.5);
}
void add_s4(std::map<std::string, Law>& laws) {
    laws["kernel.inv_dt"] = uniform(std::log(0.002), std::log(0.5));
    laws["kernel.A_real"] = all(std::log(0.5));
    laws["kernel.C"] = normal(std::sqrt(0.5));
    laws["D"] = normal(1);
    add_map(laws, "output_linear", 200);
}
Initial s4d(const char* name, const char* init, double (*frequency)(int64_t n)) {
    Initial initial{name, "s4d", s4_config(12).set("init", init), {}};
    add_s4(initial.laws);
    initial.laws["kernel.A_imag"] = each(frequency);
    initial.laws["kernel.B"] = each([](int64_t i) { return i % 2 == 0 ? 1.0 : 0.0; });
    return initial;
}
Initial s4d_lin() {
    // The first mode is real: a frequency of 1e-4 stands for zero.
    return s4d("s4d_lin", "lin",
               [](int64_t n) { return std::max(kPi * static_cast<double>(n), 1e-4); });
}
Initial s4d_inv() {
    return s4d("s4d_inv", "inv",
               [](int64_t n) { return 12 / kPi * (12 / static_cast<double>(2 * n + 1) - 1); });
}
Initial s4d_inv2() {
    return s4d("s4d_inv2", "inv2",
               [](int64_t n) { return 12 / kPi * (12 / static_cast<double>(n + 1) - 1); });
}
Initial s4d_quad() {
    return s4d("s4d_quad", "quad",
               [](int64_t n) { return static_cast<double>((2 * n + 1) * (2 * n + 1)) / kPi; });
}
Initial s4d_diag() {  // copies: inv, then lin
    Initial initial = s4d("s4d_diag", "diag", [](int64_t i) {
        const auto n = static_cast<double>(i % 6);
        return i < 6 ? 12 / kPi * (12 / (2 * n + 1) - 1) : std::max(kPi * n, 1e-4);
    });
    initial.config.set("n_ssm", 2);
    return initial;
}
Initial s4d_real() {  // the paper's real form, A_n = -(n+1)
    Initial initial{"s4d_real", "s4d", s4_config(12).set("init", "real").set("real", true), {}};
    add_s4(initial.laws);
    initial.laws["kernel.A_real"] =
        each([](int64_t n) { return std::log(static_cast<double>(n + 1)); });
    initial.laws["kernel.B"] = all(1);
    initial.laws["kernel.C"] = normal(1);
    return initial;
}
Initial s4d_legs() {
    Initial initial{"s4d_legs",
                    "s4d",
                    s4_config(12)
                        .set("init", "legs")
                        .set("dt_transform", "softplus")
                        .set("real_transform", "none"),
                    {}};
    add_s4(initial.laws);
    initial.laws["kernel.inv_dt"] = uniform(std::log(0.002), std::log(0.5), log_softplus);
    initial.laws["kernel.A_real"] = all(0.5);
    initial.laws["kernel.A_imag"] = sum_of_squares(legs_frequencies(12));
    initial.laws["kernel.B"] = sum_of_squares(legs_b(12));
    return initial;
}
Initial s4() {
    Initial initial{"s4", "s4", s4_config(14), {}};
    add_s4(initial.laws);
    initial.laws["kernel.A_imag"] = sum_of_squares(legs_frequencies(14));
    initial.laws["kernel.B"] = sum_of_squares(legs_b(14));
    initial.laws["kernel.P"] = sum_of_squares(legs_p(14));
    return initial;
}
// The antisymmetric part of LegS of size 2 N, the positive half of its frequencies.
Initial dss() {
    Initial initial{"dss", "dss", s4_config(7), {}};
    auto& laws = initial.laws;
    laws["Lambda"] =
        both(part(0, all(std::log(0.5))), part(1, sum_of_squares(legs_frequencies(14))));
    laws["W"] = laws["D"] = normal(1);
    laws["log_dt"] = both(part(0, uniform(std::log(0.002), std::log(0.5))),
                          [](const Values& values) {  // real and imaginary parts' steps are equal
                              for (size_t i = 0; i < values.size(); i += 2) {
                                  ASSERT_EQ(values[i], values[i + 1]);
                              }
                          });
    add_map(laws, "output_linear", 200);
    return initial;
}

// Romero et al. 2022; dwromero/ckconv: sines of a SIREN, U(+-1) first, then U(+-sqrt(6/h) / omega).
// The norms are what rows of such numbers have on average.
void add_kernel(std::map<std::string, Law>& laws, const std::string& prefix, double omega) {
    constexpr double h = 100;
    const double range = std::sqrt(6 / h) / omega;
    for (const char* layer : {"0", "1", "2"}) {
        const std::string name = prefix + "kernel." + layer;
        const bool first = *layer == '0';
        const double bound = first ? 1 : range;
        laws[name + ".v"] = uniform(-bound, bound);
        laws[name + ".g"] = all(bound * std::sqrt((first ? 1 : h) / 3));
        laws[name + ".bias"] = uniform(-1, 1);
    }
    laws[prefix + "bias"] = all(0);
}
Config ck_config() {
    return Config().set("d_in", 90).set("d_out", 100).set("hidden", 100).set("omega_0", 20.0);
}
Initial ckconv() {
    Initial initial{"ckconv", "ckconv", ck_config(), {}};
    add_kernel(initial.laws, "", 20);
    return initial;
}
Initial ckblock() {
    Initial initial{"ckblock", "ckblock", ck_config(), {}};
    auto& laws = initial.laws;
    add_kernel(laws, "conv1.", 20);
    add_kernel(laws, "conv2.", 20);
    laws["norm1.weight"] = laws["norm2.weight"] = all(1);
    laws["norm1.bias"] = laws["norm2.bias"] = all(0);
    add_map(laws, "shortcut", 90);
    return initial;
}

Config attention_config() {
    return Config()
        .set("d_model", 96)
        .set("n_heads", 6)
        .set("n_kv_heads", 3)
        .set("head_dim", 40)
        .set("v_head_dim", 31)
        .set("qkv_bias", true)
        .set("out_bias", true);
}
void add_attention(std::map<std::string, Law>& laws, const std::string& prefix = "") {
    for (const char* name : {"q", "k", "v"}) add_map(laws, prefix + name, 96);
    add_map(laws, prefix + "out", 6 * 31);
}
Initial attention() {
    Initial initial{"attention", "attention", attention_config().set("qk_norm", "rms"), {}};
    add_attention(initial.laws);
    initial.laws["q_norm.weight"] = initial.laws["k_norm.weight"] = all(1);
    return initial;
}
Initial attention_fused() {
    Initial initial{"attention_fused", "attention", attention_config().set("qkv", "fused"), {}};
    add_map(initial.laws, "qkv", 96);
    add_map(initial.laws, "out", 6 * 31);
    return initial;
}
// Luo et al. 2022: factors of one are plain attention.
Initial urpe() {
    Initial initial{"urpe", "urpe", attention_config().set("max_tokens", 50), {}};
    add_attention(initial.laws);
    initial.laws["bias_table"] = normal(0.02);
    initial.laws["factor_table"] = all(1);
    return initial;
}
// Feng et al. 2024.
Initial aaren() {
    Initial initial{
        "aaren",
        "aaren",
        Config().set("d_model", 100).set("n_heads", 5).set("head_dim", 30).set("v_head_dim", 40),
        {}};
    auto& laws = initial.laws;
    laws["query"] = normal(1);
    add_map(laws, "k", 100);
    add_map(laws, "v", 100);
    add_map(laws, "out", 200);
    return initial;
}

// Radford et al. 2019.
Initial embedding() {
    return {"embedding",
            "embedding",
            Config().set("vocab_size", 50).set("d_model", 40),
            {{"weight", normal(0.02)}}};
}
Initial positions() {
    return {"positions",
            "positions",
            Config().set("max_tokens", 50).set("d_model", 40),
            {{"weight", normal(0.02)}}};
}
Initial linear() {
    Initial initial{"linear", "linear", Config().set("d_in", 200).set("d_out", 100), {}};
    initial.laws["weight"] = initial.laws["bias"] = fan_in(200);
    return initial;
}
Initial mlp() {
    Initial initial{
        "mlp", "mlp", Config().set("d_model", 100).set("d_hidden", 250).set("gated", true), {}};
    add_map(initial.laws, "fc1", 100);
    add_map(initial.laws, "gate", 100);
    add_map(initial.laws, "fc2", 250);
    return initial;
}
Initial norm() {
    return {
        "norm",
        "norm",
        Config().set("d_model", 40).set("kind", "batch"),
        {{"weight", all(1)}, {"bias", all(0)}, {"running_mean", all(0)}, {"running_var", all(1)}}};
}
Initial block() {  // the mixer's own, behind the norm's
    Initial initial{"block",
                    "block",
                    Config()
                        .set("d_model", 96)
                        .set("norm", "batch")
                        .set("mixer", "mlp")
                        .set("mixer.d_hidden", 250),
                    {{"norm.weight", all(1)},
                     {"norm.bias", all(0)},
                     {"norm.running_mean", all(0)},
                     {"norm.running_var", all(1)}}};
    add_map(initial.laws, "mixer.fc1", 96);
    add_map(initial.laws, "mixer.fc2", 250);
    return initial;
}

Initial (*const kInitials[])() = {
    mamba,    long_conv, hyena,    monarch,         monarch_mlp, h3,        s4d_lin,   s4d_inv,
    s4d_inv2, s4d_quad,  s4d_diag, s4d_real,        s4d_legs,    s4,        dss,       ckconv,
    ckblock,  attention, urpe,     attention_fused, aaren,       embedding, positions, linear,
    mlp,      norm,      block};

class InitialValues : public testing::TestWithParam<Initial (*)()> {};

TEST_P(InitialValues, FollowTheirLaw) {
    const Initial initial = GetParam()();
    const Context context = make_context("generic");
    const Layer planned = plan(context, initial.type, initial.config);
    std::set<std::string> with_law, weights;
    for (const auto& [name, law] : initial.laws) with_law.insert(name);
    for (const auto& [name, tensor] : init_weights(planned, 5, DType::f32).tensors) {
        SCOPED_TRACE(name);
        weights.insert(name);
        const auto law = initial.laws.find(name);
        if (law != initial.laws.end()) law->second(tensor.values());
    }
    EXPECT_EQ(with_law, weights);
}

INSTANTIATE_TEST_SUITE_P(Types, InitialValues, testing::ValuesIn(kInitials),
                         [](const auto& info) { return std::string(info.param().name); });

// A stack is planned from a checkpoint.
TEST(InitialValues, EveryTypeWithWeightsHasLaws) {
    std::set<std::string> expected, have;
    for (size_t i = 0; i < seqmix_type_count(); ++i) {
        const std::string type = seqmix_type_name(i);
        const char* text = nullptr;
        check(seqmix_type_schema(type.c_str(), &text), "seqmix_type_schema");
        const auto schema = nlohmann::json::parse(text);
        for (const auto& tensor : schema.at("tensors")) {
            if (tensor.at("role") == "weight" && type != "stack") expected.insert(type);
        }
    }
    for (const auto make : kInitials) have.insert(make().type);
    EXPECT_EQ(have, expected);
}

}  // namespace
