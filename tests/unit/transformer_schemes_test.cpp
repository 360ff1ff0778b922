// Naming schemes of GPT-2, Llama and Mamba with attention layers: which tensors they expect, what follows
// from shapes, configurations and options, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "models/formats/checkpoint.h"
#include "models/schemes/stack_spec.h"

namespace {

using nlohmann::json;
using seqmix::Attributes;
using seqmix::Checkpoint;
using seqmix::StackSpec;
using seqmix::Status;
using seqmix_test::NamedShape;
using testing::HasSubstr;
using Tensors = std::vector<NamedShape>;

std::string message() { return seqmix::error_text::get(); }

struct Outcome {
    Status status;
    StackSpec spec;
};

Outcome plan(const Tensors& tensors, const json& config = nullptr, const Attributes& options = {}) {
    const std::string bytes = seqmix_test::safetensors_bytes(tensors);
    const std::string text = config.dump();
    Checkpoint checkpoint;
    Outcome outcome;
    EXPECT_TRUE(seqmix::open_checkpoint_in_memory(
                    bytes.data(), bytes.size(),
                    config.is_null() ? std::string_view() : std::string_view(text), checkpoint)
                    .ok())
        << message();
    outcome.status = seqmix::plan_stack(checkpoint, {"auto", false, options}, outcome.spec);
    return outcome;
}

StackSpec planned(const Tensors& tensors, const json& config = nullptr,
                  const Attributes& options = {}) {
    const Outcome outcome = plan(tensors, config, options);
    EXPECT_TRUE(outcome.status.ok()) << message();
    return outcome.spec;
}

void expect_refused(const Tensors& tensors, seqmix_status code, const std::string& part,
                    const json& config = nullptr, const Attributes& options = {}) {
    EXPECT_EQ(plan(tensors, config, options).status.code(), code) << part << ": " << message();
    EXPECT_THAT(message(), HasSubstr(part));
}

Attributes option(const char* name, seqmix::AttributeValue value) {
    Attributes result;
    result.set(name, std::move(value));
    return result;
}

Tensors without(Tensors tensors, const std::string& part) {
    std::erase_if(tensors, [&](const NamedShape& tensor) {
        return tensor.name.find(part) != std::string::npos;
    });
    return tensors;
}

// ------------------------------------------------------------------ GPT-2

// V 11, P 7, D 8, I 12; two layers.
Tensors gpt(bool in_out, const std::string& prefix = "transformer.") {
    Tensors tensors = {{prefix + "wte.weight", {11, 8}},
                       {prefix + "wpe.weight", {7, 8}},
                       {prefix + "ln_f.weight", {8}},
                       {prefix + "ln_f.bias", {8}},
                       {"lm_head.weight", {11, 8}}};
    for (const std::string layer : {"0", "1"}) {
        const std::string h = prefix + "h." + layer + ".";
        const auto map = [&](const std::string& name, int64_t in, int64_t out) {
            tensors.push_back({h + name + ".weight", in_out ? std::vector<int64_t>{in, out}
                                                            : std::vector<int64_t>{out, in}});
            tensors.push_back({h + name + ".bias", {out}});
        };
        map("attn.c_attn", 8, 24);
        map("attn.c_proj", 8, 8);
        map("mlp.c_fc", 8, 12);
        map("mlp.c_proj", 12, 8);
        for (const char* norm : {"ln_1", "ln_2"}) {
            tensors.push_back({h + norm + ".weight", {8}});
            tensors.push_back({h + norm + ".bias", {8}});
        }
        tensors.push_back({h + "attn.bias", {1, 1, 7, 7}, "U8", 1});
    }
    return tensors;
}

bool turned(const StackSpec& spec) {
    const auto& weights = spec.children[2].weights;
    return std::any_of(weights.begin(), weights.end(), [](const auto& w) { return w.transposed; });
}

TEST(GptScheme, ShapesTellHowMatricesAreStored) {
    for (const bool in_out : {false, true}) {
        for (const std::string prefix : {"", "transformer."}) {
            const StackSpec spec = planned(gpt(in_out, prefix), json{{"n_head", 2}});
            EXPECT_EQ(spec.scheme, "gpt2");
            EXPECT_EQ(turned(spec), in_out);
            ASSERT_EQ(spec.children.size(), 2u + 4 + 2);
            EXPECT_EQ(spec.children[1].type, "positions");
            EXPECT_EQ(spec.children[1].attributes.i64("max_tokens"), 7);
            const Attributes& attention = spec.children[2].attributes;
            EXPECT_EQ(attention.str("mixer"), "attention");
            EXPECT_EQ(attention.i64("mixer.n_heads"), 2);
            EXPECT_DOUBLE_EQ(attention.f64("mixer.scale"), 0.5);
            const Attributes& mlp = spec.children[3].attributes;
            EXPECT_EQ(mlp.i64("mixer.d_hidden"), 12);
            EXPECT_EQ(mlp.str("mixer.activation"), "gelu_tanh");
            EXPECT_EQ(spec.ignored.size(), 2u);
            for (const auto& weight : spec.children[2].weights) {
                EXPECT_EQ(weight.transposed, in_out && (weight.slot == "mixer.qkv.weight" ||
                                                        weight.slot == "mixer.out.weight"))
                    << weight.slot;
            }
        }
    }
}

TEST(GptScheme, ConfigurationsAndOptions) {
    const Tensors tensors = gpt(true);
    json config = {{"n_head", 4},
                   {"scale_attn_weights", false},
                   {"scale_attn_by_inverse_layer_idx", true},
                   {"activation_function", "gelu"},
                   {"layer_norm_epsilon", 1e-3}};
    StackSpec spec = planned(tensors, config);
    EXPECT_DOUBLE_EQ(spec.children[2].attributes.f64("mixer.scale"), 1);
    EXPECT_DOUBLE_EQ(spec.children[4].attributes.f64("mixer.scale"), 0.5);
    EXPECT_EQ(spec.children[3].attributes.str("mixer.activation"), "gelu");
    EXPECT_EQ(spec.children[2].attributes.f64("norm_eps"), 1e-3);
    // nanoGPT without biases, its head stored beside the embedding.
    spec = planned(without(gpt(false), ".bias"), nullptr, [] {
        Attributes options = option("n_head", int64_t{2});
        options.set("gelu", std::string("exact"));
        return options;
    }());
    EXPECT_FALSE(spec.children[2].attributes.flag("norm_bias"));
    EXPECT_FALSE(spec.children[2].attributes.flag("mixer.qkv_bias"));
    EXPECT_FALSE(spec.children[3].attributes.flag("mixer.bias"));
    EXPECT_EQ(spec.children[3].attributes.str("mixer.activation"), "gelu");
    EXPECT_TRUE(planned(without(tensors, "lm_head"), config).attributes.flag("tied"));
    expect_refused(tensors, SEQMIX_ERR_UNSUPPORTED, "the option 'n_head' gives it");
    expect_refused(tensors, SEQMIX_ERR_SHAPE, "which 3 heads do not divide", {{"n_head", 3}});
    const json sizes = {
        {"n_embd", 9}, {"n_positions", 8}, {"n_inner", 13}, {"vocab_size", 12}, {"n_layer", 3}};
    for (const auto& [key, value] : sizes.items()) {
        expect_refused(tensors, SEQMIX_ERR_SHAPE, "by '" + key + "'",
                       {{"n_head", 2}, {key, value}});
    }
    expect_refused(tensors, SEQMIX_ERR_UNSUPPORTED, "'add_cross_attention' is true",
                   {{"n_head", 2}, {"add_cross_attention", true}});
    expect_refused(tensors, SEQMIX_ERR_UNSUPPORTED, "'activation_function' is 'mish'",
                   {{"n_head", 2}, {"activation_function", "mish"}});
    expect_refused(without(tensors, "h.1.mlp.c_fc.weight"), SEQMIX_ERR_MISSING_TENSOR,
                   "transformer.h.1.mlp.c_fc.weight", {{"n_head", 2}});
}

// ------------------------------------------------------------------ Llama

// V 11, D 8, I 12, 4 heads of 6, 2 of keys; two layers.
Tensors llama() {
    Tensors tensors = {{"model.embed_tokens.weight", {11, 8}},
                       {"model.norm.weight", {8}},
                       {"lm_head.weight", {11, 8}}};
    for (const std::string layer : {"0", "1"}) {
        const std::string name = "model.layers." + layer + ".";
        tensors.push_back({name + "input_layernorm.weight", {8}});
        tensors.push_back({name + "post_attention_layernorm.weight", {8}});
        tensors.push_back({name + "self_attn.q_proj.weight", {24, 8}});
        tensors.push_back({name + "self_attn.k_proj.weight", {12, 8}});
        tensors.push_back({name + "self_attn.v_proj.weight", {12, 8}});
        tensors.push_back({name + "self_attn.o_proj.weight", {8, 24}});
        tensors.push_back({name + "mlp.gate_proj.weight", {12, 8}});
        tensors.push_back({name + "mlp.up_proj.weight", {12, 8}});
        tensors.push_back({name + "mlp.down_proj.weight", {8, 12}});
        tensors.push_back({name + "self_attn.rotary_emb.inv_freq", {3}});
    }
    return tensors;
}

json llama_config() {
    return {{"model_type", "llama"},  {"hidden_size", 8},         {"intermediate_size", 12},
            {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
            {"head_dim", 6},          {"vocab_size", 11},         {"max_position_embeddings", 64}};
}

TEST(LlamaScheme, SizesAndDefaults) {
    const StackSpec spec = planned(llama(), llama_config());
    EXPECT_EQ(spec.scheme, "llama");
    ASSERT_EQ(spec.children.size(), 1u + 4 + 2);
    const Attributes& attention = spec.children[1].attributes;
    EXPECT_EQ(attention.i64("mixer.n_heads"), 4);
    EXPECT_EQ(attention.i64("mixer.n_kv_heads"), 2);
    EXPECT_EQ(attention.i64("mixer.head_dim"), 6);
    EXPECT_EQ(attention.i64("mixer.max_tokens"), 64);
    EXPECT_EQ(attention.str("mixer.rotary"), "half");
    EXPECT_EQ(attention.f64("mixer.rope_theta"), 10000);
    EXPECT_EQ(attention.f64("norm_eps"), 1e-6);
    const Attributes& mlp = spec.children[2].attributes;
    EXPECT_TRUE(mlp.flag("mixer.gated"));
    EXPECT_EQ(mlp.str("mixer.activation"), "silu");
    EXPECT_EQ(spec.ignored.size(), 2u);
    EXPECT_FALSE(spec.attributes.flag("tied"));
}

TEST(LlamaScheme, ScalingsOfItsAngles) {
    json config = llama_config();
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 32},
                              {"rope_theta", 500.0}};
    config["rope_theta"] = 7.0;
    Attributes attention = planned(llama(), config).children[1].attributes;
    EXPECT_EQ(attention.str("mixer.rope_scaling"), "llama3");
    EXPECT_EQ(attention.f64("mixer.rope_factor"), 8);
    EXPECT_EQ(attention.i64("mixer.rope_original_length"), 32);
    EXPECT_EQ(attention.f64("mixer.rope_theta"), 500) << "the one inside wins";
    config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2}};  // the older key
    attention = planned(llama(), config).children[1].attributes;
    EXPECT_EQ(attention.str("mixer.rope_scaling"), "dynamic");
    EXPECT_EQ(attention.i64("mixer.rope_original_length"), 64);
    EXPECT_EQ(attention.f64("mixer.rope_theta"), 7);
    config["rope_scaling"] = {{"rope_type", "longrope"},
                              {"short_factor", {1, 1, 1}},
                              {"long_factor", {2, 3, 4}},
                              {"original_max_position_embeddings", 16}};
    attention = planned(llama(), config).children[1].attributes;
    EXPECT_EQ(attention.f64("mixer.rope_factor"), 4);  // 64 / 16
    EXPECT_THAT(std::get<std::vector<double>>(*attention.find("mixer.rope_long_factors")),
                testing::ElementsAre(2, 3, 4));
    config["rope_scaling"] = {{"rope_type", "mrope"}};
    expect_refused(llama(), SEQMIX_ERR_UNSUPPORTED, "'mrope'", config);
    config["rope_scaling"] = 3;
    expect_refused(llama(), SEQMIX_ERR_BAD_FORMAT, "'rope_scaling' must be an object", config);
}

TEST(LlamaScheme, Refuses) {
    expect_refused(llama(), SEQMIX_ERR_UNSUPPORTED, "there is no config.json");
    const auto with = [](const char* key, const json& value) {
        json config = llama_config();
        config[key] = value;
        return config;
    };
    expect_refused(llama(), SEQMIX_ERR_UNSUPPORTED, "'hidden_act' is 'gelu'",
                   with("hidden_act", "gelu"));
    expect_refused(llama(), SEQMIX_ERR_UNSUPPORTED, "'partial_rotary_factor' is 0.5",
                   with("partial_rotary_factor", 0.5));
    expect_refused(llama(), SEQMIX_ERR_SHAPE, "by 'num_hidden_layers'",
                   with("num_hidden_layers", 3));
    expect_refused(llama(), SEQMIX_ERR_SHAPE, "expected (30,8)", with("num_attention_heads", 5));
    expect_refused(llama(), SEQMIX_ERR_BAD_FORMAT, "'num_attention_heads' is 0",
                   with("num_attention_heads", 0));
    expect_refused(llama(), SEQMIX_ERR_BAD_FORMAT, "'rms_norm_eps' is -1",
                   with("rms_norm_eps", -1.0));
    json silent = llama_config();
    silent.erase("num_attention_heads");
    expect_refused(llama(), SEQMIX_ERR_MISSING_TENSOR, "no 'num_attention_heads'", silent);
    expect_refused(without(llama(), "lm_head"), SEQMIX_ERR_MISSING_TENSOR, "lm_head.weight",
                   llama_config());
}

// ------------------------------------------------------------------ Mamba with attention

Tensors hybrid() {
    Tensors tensors = {{"backbone.embedding.weight", {16, 8}},
                       {"backbone.norm_f.weight", {8}},
                       {"backbone.layers.0.norm.weight", {8}},
                       {"backbone.layers.1.norm.weight", {8}},
                       {"backbone.layers.1.mixer.in_proj.weight", {16, 8}},
                       {"backbone.layers.1.mixer.in_proj.bias", {16}},
                       {"backbone.layers.1.mixer.out_proj.weight", {8, 8}},
                       {"backbone.layers.1.mixer.out_proj.bias", {8}}};
    const std::string mixer = "backbone.layers.0.mixer.";
    for (const NamedShape& tensor : Tensors{{"in_proj.weight", {32, 8}},
                                            {"conv1d.weight", {16, 1, 4}},
                                            {"conv1d.bias", {16}},
                                            {"x_proj.weight", {9, 16}},
                                            {"dt_proj.weight", {16, 1}},
                                            {"dt_proj.bias", {16}},
                                            {"A_log", {16, 4}},
                                            {"D", {16}},
                                            {"out_proj.weight", {8, 16}}}) {
        tensors.push_back({mixer + tensor.name, tensor.shape});
    }
    return tensors;
}

TEST(MambaScheme, LayersOfAttention) {
    json config = {
        {"d_model", 8},
        {"n_layer", 2},
        {"vocab_size", 16},
        {"ssm_cfg", {{"layer", "Mamba1"}}},
        {"attn_layer_idx", {1}},
        {"attn_cfg",
         {{"num_heads", 4}, {"num_heads_kv", 2}, {"causal", true}, {"rotary_emb_dim", 2}}}};
    const StackSpec spec = planned(hybrid(), config);
    EXPECT_EQ(spec.scheme, "mamba_ssm");
    EXPECT_EQ(spec.children[1].attributes.str("mixer"), "mamba");
    const Attributes& attention = spec.children[2].attributes;
    EXPECT_EQ(attention.str("mixer"), "attention");
    EXPECT_EQ(attention.i64("mixer.n_heads"), 4);
    EXPECT_EQ(attention.i64("mixer.n_kv_heads"), 2);
    EXPECT_EQ(attention.i64("mixer.rotary_dim"), 2);
    EXPECT_TRUE(attention.flag("mixer.qkv_bias"));
    const auto refused = [&](const char* key, const json& value, seqmix_status code,
                             const char* part) {
        json other = config;
        other["attn_cfg"][key] = value;
        expect_refused(hybrid(), code, part, other);
    };
    refused("d_conv", 4, SEQMIX_ERR_UNSUPPORTED, "'attn_cfg.d_conv' is 4");
    refused("mlp_dim", 4, SEQMIX_ERR_UNSUPPORTED, "'attn_cfg.mlp_dim' is 4");
    refused("causal", false, SEQMIX_ERR_UNSUPPORTED, "'attn_cfg.causal' is false");
    refused("num_heads", 3, SEQMIX_ERR_SHAPE, "expected numbers that divide one another");
    config["attn_layer_idx"] = {1.5};
    expect_refused(hybrid(), SEQMIX_ERR_BAD_FORMAT, "'attn_layer_idx' holds 1.5", config);
}

}  // namespace
