// The mixing matrix and its operands, against the layer's own output: M v is y_core, and what a type
// makes of y_core (its gates and maps, written down here once more) is y.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;

constexpr int64_t kB = 2, kT = 9, kD = 8;

// (B T, width)
struct Rows {
    int64_t width;
    Values data;

    int64_t count() const { return static_cast<int64_t>(data.size()) / width; }
    double operator()(int64_t row, int64_t column) const {
        return data[static_cast<size_t>(row * width + column)];
    }
    Rows columns(int64_t first, int64_t columns) const {
        Rows part{columns, {}};
        for (int64_t row = 0; row < count(); ++row) {
            for (int64_t c = first; c < first + columns; ++c) part.data.push_back((*this)(row, c));
        }
        return part;
    }
    Rows map(double (*f)(double)) const {
        Rows result = *this;
        for (double& value : result.data) value = f(value);
        return result;
    }
    Rows times(const Rows& other) const {
        Rows result = *this;
        for (size_t i = 0; i < result.data.size(); ++i) result.data[i] *= other.data[i];
        return result;
    }
    Rows plus(const Rows& other) const {
        Rows result = *this;
        for (size_t i = 0; i < result.data.size(); ++i) result.data[i] += other.data[i];
        return result;
    }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double gelu(double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }

// What the relation of a type may use.
struct Parts {
    const Layer* layer;
    mutable Weights weights;
    std::map<std::string, Tensor> inputs;
    Rows core;  // lanes side by side

    Rows input(const char* name) const {
        const Tensor& x = inputs.at(name);
        return {x.size(2), x.values()};
    }
    // rows W^T + b with the weight `name`.weight, and `name`.bias where the layer has it.
    Rows linear(const std::string& name, const Rows& in) const {
        const Values weight = weights[name + ".weight"].values();
        const auto out = static_cast<int64_t>(weight.size()) / in.width;
        Values bias(static_cast<size_t>(out), 0.0);
        if (find_slot(*layer, name + ".bias") >= 0) bias = weights[name + ".bias"].values();
        Rows result{out, {}};
        for (int64_t row = 0; row < in.count(); ++row) {
            for (int64_t o = 0; o < out; ++o) {
                double sum = bias[static_cast<size_t>(o)];
                for (int64_t i = 0; i < in.width; ++i) {
                    sum += weight[static_cast<size_t>(o * in.width + i)] * in(row, i);
                }
                result.data.push_back(sum);
            }
        }
        return result;
    }
};

struct Relation {
    const char* name;
    const char* type;
    std::function<Config()> config;
    int64_t lanes, dv;
    Rows (*output)(const Parts& parts);
    std::vector<const char*> inputs = {"x"};  // (B,T,D)
};

void PrintTo(const Relation& relation, std::ostream* out) { *out << relation.name; }

Config sized() { return Config().set("d_model", kD); }

// The gate silu(z), z the second half of in_proj, and out_proj.
Rows mamba_output(const Parts& parts) {
    const Rows in = parts.linear("in_proj", parts.input("x"));
    const int64_t E = parts.core.width;
    return parts.linear("out_proj", parts.core.times(in.columns(E, E).map(silu)));
}
Rows out_proj(const Parts& parts) { return parts.linear("out_proj", parts.core); }
Rows out_map(const Parts& parts) { return parts.linear("out", parts.core); }
// output_linear of what the activation makes, value rows, then gate rows.
Rows s4_output(const Parts& parts) {
    const Rows z = parts.linear("output_linear", parts.core.map(gelu));
    return z.columns(0, kD).times(z.columns(kD, kD).map(sigmoid));
}
Rows s4_linear(const Parts& parts) { return parts.linear("output_linear", parts.core); }
Rows s4_bare(const Parts& parts) { return parts.core.map(gelu); }
Rows core_itself(const Parts& parts) { return parts.core; }
Rows gated(const Parts& parts) { return parts.core.times(parts.input("out_gate")); }
Rows block_of_attention(const Parts& parts) {
    return parts.input("x").plus(parts.linear("mixer.out", parts.core));
}
Rows block_of_h3(const Parts& parts) { return parts.linear("mixer.out_proj", parts.core); }

const Relation kRelations[] = {
    {"mamba", "mamba",
     [] { return sized().set("d_inner", 16).set("d_state", 4).set("dt_rank", 2); }, 16, 1,
     mamba_output},
    {"mamba_bias_norms_reverse", "mamba",
     [] {
         return sized()
             .set("d_inner", 16)
             .set("d_state", 4)
             .set("bias", true)
             .set("inner_norm", "rms_learned")
             .set("reverse", true);
     },
     16, 1, mamba_output},
    {"long_conv", "long_conv", [] { return sized().set("taps", 6); }, kD, 1, core_itself},
    {"long_conv_gates",
     "long_conv",
     [] { return sized().set("taps", 20); },
     kD,
     1,
     gated,
     {"x", "in_gate", "out_gate"}},
    {"long_conv_conjugate",
     "long_conv",
     [] { return sized().set("taps", 5).set("sides", "conjugate"); },
     kD,
     1,
     gated,
     {"x", "in_gate", "out_gate"}},
    {"hyena", "hyena",
     [] { return sized().set("l_max", 12).set("order", 3).set("filter_order", 8); }, kD, 1,
     out_proj},
    {"hyena_reverse", "hyena",
     [] { return sized().set("l_max", 9).set("filter_order", 8).set("reverse", true); }, kD, 1,
     out_proj},
    {"monarch", "monarch",
     [] { return sized().set("l_max", 12).set("residual", false).set("filter_order", 8); }, kD, 1,
     out_proj},
    {"monarch_bidirectional", "monarch",
     [] {
         return sized()
             .set("l_max", 12)
             .set("residual", false)
             .set("filter_order", 8)
             .set("bidirectional", true);
     },
     kD, 1, out_proj},
    {"h3", "h3", [] { return sized().set("d_state", 6); }, kD, 1, out_proj},
    {"h3_heads", "h3",
     [] { return sized().set("d_state", 8).set("head_dim", 4).set("disc", "zoh"); }, kD, 1,
     out_proj},
    {"h3_reverse", "h3",
     [] { return sized().set("d_state", 4).set("head_dim", 2).set("reverse", true); }, kD, 1,
     out_proj},
    {"s4d", "s4d", [] { return sized().set("d_state", 8); }, kD, 1, s4_output},
    {"s4d_channels", "s4d", [] { return sized().set("d_state", 8).set("channels", 2); }, 2 * kD, 1,
     s4_output},
    {"s4d_bidirectional", "s4d",
     [] { return sized().set("d_state", 8).set("bidirectional", true); }, kD, 1, s4_output},
    {"s4d_linear", "s4d",
     [] { return sized().set("d_state", 8).set("activation", "none").set("output", "linear"); }, kD,
     1, s4_linear},
    {"s4d_bare", "s4d", [] { return sized().set("d_state", 8).set("output", "none"); }, kD, 1,
     s4_bare},
    {"s4", "s4", [] { return sized().set("d_state", 8).set("reverse", true); }, kD, 1, s4_output},
    {"dss", "dss", [] { return sized().set("d_state", 8); }, kD, 1, s4_output},
    {"attention", "attention",
     [] {
         return sized()
             .set("n_heads", 4)
             .set("n_kv_heads", 2)
             .set("v_head_dim", 3)
             .set("qkv_bias", true)
             .set("out_bias", true)
             .set("qk_norm", "rms")
             .set("rotary", "half");
     },
     4, 3, out_map},
    {"attention_fused_whole", "attention",
     [] { return sized().set("n_heads", 2).set("qkv", "fused").set("causal", false); }, 2, 4,
     out_map},
    {"attention_window", "attention",
     [] {
         return sized().set("n_heads", 2).set("window", 4).set("alibi", true).set("softcap", 2.0);
     },
     2, 4, out_map},
    {"urpe", "urpe", [] { return sized().set("n_heads", 2).set("max_tokens", 10); }, 2, 4, out_map},
    {"urpe_whole", "urpe",
     [] { return sized().set("n_heads", 2).set("max_tokens", 9).set("causal", false); }, 2, 4,
     out_map},
    {"aaren", "aaren", [] { return sized().set("n_heads", 2).set("v_head_dim", 3); }, 2, 3,
     out_map},
    {"block", "block",
     [] { return sized().set("mixer", "attention").set("norm", "layer").set("mixer.n_heads", 2); },
     2, 4, block_of_attention},
    {"block_plain", "block",
     [] {
         return sized()
             .set("mixer", "h3")
             .set("norm", "none")
             .set("residual", false)
             .set("mixer.d_state", 4);
     },
     kD, 1, block_of_h3},
};

class Materialize : public testing::TestWithParam<Relation> {};

// Lanes (B,lanes,T,dv) side by side: (B T, lanes dv).
Rows side_by_side(const Tensor& core) {
    const int64_t lanes = core.size(1), dv = core.size(3);
    Rows rows{lanes * dv, {}};
    for (int64_t b = 0; b < kB; ++b) {
        for (int64_t t = 0; t < kT; ++t) {
            for (int64_t i = 0; i < lanes * dv; ++i) {
                rows.data.push_back(core.at({b, i / dv, t, i % dv}));
            }
        }
    }
    return rows;
}

// Beside what initial values are, so that no factor is one and no bias zero.
Weights uneven_weights(const Layer& planned) {
    Weights weights = init_weights(planned, 7);
    uint64_t seed = 100;
    for (auto& [name, tensor] : weights.tensors) {
        Values values = tensor.values();
        const Values more = noise(values.size(), ++seed, 0.1);
        for (size_t i = 0; i < values.size(); ++i) values[i] += more[i];
        tensor.assign(values);
    }
    return weights;
}

TEST_P(Materialize, GivesTheOutput) {
    const Relation& relation = GetParam();
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const Context context = make_context(level.c_str());
        const Layer planned = plan(context, relation.type, relation.config());
        Parts parts{&planned, uneven_weights(planned), {}, {}};
        const Layer layer = bind(planned, parts.weights);
        Args args(layer);
        uint64_t seed = 1;
        for (const char* name : relation.inputs) {
            parts.inputs[name] = noise(DType::f32, {kB, kT, kD}, ++seed);
            args.add(name, parts.inputs[name]);
        }
        const Tensor matrix(DType::f64, {kB, relation.lanes, kT, kT});
        const Tensor v(DType::f64, {kB, relation.lanes, kT, relation.dv});
        const Tensor core(DType::f64, {kB, relation.lanes, kT, relation.dv});
        const seqmix_tensor c_matrix = matrix.c(), c_v = v.c(), c_core = core.c();
        check(seqmix_layer_materialize(layer.get(), nullptr, args.data(), args.size(), nullptr,
                                       &c_matrix, &c_v, &c_core),
              "materialize");

        const Tensor product(DType::f64, core.shape());
        for (int64_t b = 0; b < kB; ++b) {
            for (int64_t l = 0; l < relation.lanes; ++l) {
                for (int64_t i = 0; i < kT * relation.dv; ++i) {
                    const int64_t t = i / relation.dv, e = i % relation.dv;
                    double sum = 0;
                    for (int64_t s = 0; s < kT; ++s) {
                        sum += matrix.at({b, l, t, s}) * v.at({b, l, s, e});
                    }
                    Tensor(product).set({b, l, t, e}, sum);
                }
            }
        }
        EXPECT_TRUE(close_to(product.values(), core.values(), 1e-12));

        const Tensor y(real_dtype(level), {kB, kT, kD});
        args.add("y", y);
        forward(layer, make_state(layer, kB), args);
        parts.core = side_by_side(product);
        EXPECT_TRUE(
            close_to(y.values(), relation.output(parts).data, is_reference(level) ? 1e-12 : 1e-5));
    }
}

INSTANTIATE_TEST_SUITE_P(Relations, Materialize, testing::ValuesIn(kRelations),
                         [](const auto& info) { return std::string(info.param.name); });

// Operations are their matrix, which the conformance suite looks at.
TEST(Materialize, EveryLayerTypeHasARelation) {
    std::set<std::string> expected, related;
    for (size_t i = 0; i < seqmix_type_count(); ++i) {
        const char* text = nullptr;
        check(seqmix_type_schema(seqmix_type_name(i), &text), "seqmix_type_schema");
        const auto schema = nlohmann::json::parse(text);
        if (schema.at("capabilities").at("materialize").get<bool>() &&
            !schema.at("operation").get<bool>()) {
            expected.insert(seqmix_type_name(i));
        }
    }
    for (const Relation& relation : kRelations) related.insert(relation.type);
    EXPECT_EQ(related, expected);
}

}  // namespace
