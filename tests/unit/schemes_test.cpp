// Checkpoints to stacks: which scheme, which children, sizes, slots, and all that is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "../support/shared_data.h"
#include "base/nlohmann.h"
#include "checkpoint_files.h"
#include "contract/schema.h"
#include "models/formats/checkpoint.h"
#include "models/schemes/stack_spec.h"

namespace {

using seqmix::Checkpoint;
using seqmix::ChildSpec;
using seqmix::StackSpec;
using seqmix::Status;
using seqmix_test::NamedShape;
using seqmix_test::safetensors_bytes;
using seqmix_test::shared_path;
using Json = nlohmann::json;

std::string message() { return seqmix::error_text::get(); }

#define EXPECT_CONTAINS(text, part)                            \
    EXPECT_NE(std::string(text).find(part), std::string::npos) \
        << "'" << (text) << "' should contain '" << (part) << "'"

// ------------------------------------------------------------------ made by hand

using Tensors = std::vector<NamedShape>;

// D 8, E 16, N 4, R 2, K 3, V 24 and two layers; untied unless the head is erased.
Tensors mamba(const std::string& embedding = "backbone.embeddings.weight", int layers = 2) {
    Tensors result = {{embedding, {24, 8}}};
    for (int i = 0; i < layers; ++i) {
        const std::string layer = "backbone.layers." + std::to_string(i) + ".";
        for (const NamedShape& row : Tensors{{"norm.weight", {8}},
                                             {"mixer.A_log", {16, 4}},
                                             {"mixer.D", {16}},
                                             {"mixer.conv1d.weight", {16, 1, 3}},
                                             {"mixer.conv1d.bias", {16}},
                                             {"mixer.in_proj.weight", {32, 8}},
                                             {"mixer.x_proj.weight", {10, 16}},
                                             {"mixer.dt_proj.weight", {16, 2}},
                                             {"mixer.dt_proj.bias", {16}},
                                             {"mixer.out_proj.weight", {8, 16}}}) {
            result.push_back({layer + row.name, row.shape});
        }
    }
    result.push_back({"backbone.norm_f.weight", {8}});
    return result;
}

Json transformers_config() {
    return {{"model_type", "mamba"},   {"hidden_size", 8},           {"num_hidden_layers", 2},
            {"state_size", 4},         {"conv_kernel", 3},           {"expand", 2},
            {"intermediate_size", 16}, {"time_step_rank", 2},        {"use_bias", false},
            {"use_conv_bias", true},   {"hidden_act", "silu"},       {"layer_norm_epsilon", 1e-4},
            {"vocab_size", 24},        {"tie_word_embeddings", true}};
}

Json ssm_config() {
    return {{"d_model", 8},
            {"n_layer", 2},
            {"vocab_size", 21},
            {"ssm_cfg",
             {{"layer", "Mamba1"}, {"d_state", 4}, {"d_conv", 3}, {"expand", 2}, {"dt_rank", 2}}},
            {"rms_norm", true},
            {"residual_in_fp32", true},
            {"fused_add_norm", true},
            {"pad_vocab_size_multiple", 8},
            {"tie_embeddings", true},
            {"attn_layer_idx", Json::array()},
            {"attn_cfg", Json::object()},
            {"d_intermediate", 0}};
}

Tensors mambalite() {
    return {{"linear_in.weight", {8, 5}},
            {"linear_in.bias", {8}},
            {"mamba.A_log", {16, 4}},
            {"mamba.D", {16}},
            {"mamba.conv1d.weight", {16, 1, 3}},
            {"mamba.conv1d.bias", {16}},
            {"mamba.in_proj.weight", {32, 8}},
            {"mamba.x_proj.weight", {10, 16}},
            {"mamba.dt_proj.weight", {16, 2}},
            {"mamba.dt_proj.bias", {16}},
            {"mamba.out_proj.weight", {8, 16}},
            {"classifier.weight", {7, 8}},
            {"classifier.bias", {7}}};
}

Tensors without(Tensors tensors, const std::string& name) {
    std::erase_if(tensors, [&](const NamedShape& tensor) { return tensor.name == name; });
    return tensors;
}

Tensors with(Tensors tensors, const NamedShape& added) {
    tensors = without(std::move(tensors), added.name);
    tensors.push_back(added);
    return tensors;
}

struct Outcome {
    Status status;
    StackSpec spec;
    std::string text;
};

// A null config: no config.json.
Outcome plan(const Tensors& tensors, const Json& config, const std::string& scheme = "auto",
             bool lenient = false) {
    const std::string bytes = safetensors_bytes(tensors);
    const std::string text = config.is_null() ? "" : config.dump();
    Checkpoint checkpoint;
    Outcome outcome;
    outcome.status = seqmix::open_checkpoint_in_memory(
        bytes.data(), bytes.size(), config.is_null() ? std::string_view() : std::string_view(text),
        checkpoint);
    EXPECT_TRUE(outcome.status.ok()) << message();
    outcome.status = seqmix::plan_stack(checkpoint, {scheme, lenient, {}}, outcome.spec);
    outcome.text = outcome.status.ok() ? "" : message();
    return outcome;
}

void expect_refused(const Outcome& outcome, seqmix_status code, const std::string& part) {
    EXPECT_EQ(outcome.status.code(), code) << outcome.text;
    EXPECT_CONTAINS(outcome.text, part);
}

std::set<std::string> slots(const ChildSpec& child) {
    std::set<std::string> result;
    for (const auto& weight : child.weights) {
        result.insert(weight.slot);
    }
    return result;
}

std::string tensor_of(const ChildSpec& child, const std::string& slot) {
    for (const auto& weight : child.weights) {
        if (weight.slot == slot) {
            return weight.tensor;
        }
    }
    return "";
}

const std::set<std::string> kMixerSlots = {"mixer.A_log",          "mixer.D",
                                           "mixer.conv1d.weight",  "mixer.conv1d.bias",
                                           "mixer.in_proj.weight", "mixer.x_proj.weight",
                                           "mixer.dt_proj.weight", "mixer.dt_proj.bias",
                                           "mixer.out_proj.weight"};

std::set<std::string> operator+(std::set<std::string> a, const std::set<std::string>& b) {
    a.insert(b.begin(), b.end());
    return a;
}

TEST(Schemes, PlansTransformersNames) {
    const Outcome outcome = plan(mamba(), transformers_config());
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    const StackSpec& spec = outcome.spec;
    EXPECT_EQ(spec.scheme, "mamba_hf");
    EXPECT_EQ(spec.format, "safetensors");
    EXPECT_EQ(spec.attributes.i64("vocab_size"), 24);
    EXPECT_EQ(spec.attributes.i64("d_model"), 8);
    EXPECT_EQ(spec.attributes.i64("d_input"), 0);
    EXPECT_EQ(spec.attributes.i64("n_classes"), 0);
    EXPECT_TRUE(spec.attributes.flag("tied"));
    ASSERT_EQ(spec.children.size(), 5u);

    const ChildSpec& embedding = spec.children[0];
    EXPECT_EQ(embedding.role, "embedding");
    EXPECT_EQ(embedding.type, "embedding");
    EXPECT_EQ(embedding.attributes.i64("vocab_size"), 24);
    EXPECT_EQ(embedding.attributes.i64("d_model"), 8);
    EXPECT_EQ(tensor_of(embedding, "weight"), "backbone.embeddings.weight");

    const ChildSpec& block = spec.children[2];
    EXPECT_EQ(block.role, "block");
    EXPECT_EQ(block.type, "block");
    EXPECT_EQ(block.attributes.i64("d_model"), 8);
    EXPECT_EQ(block.attributes.str("norm"), "rms");
    EXPECT_EQ(block.attributes.f64("norm_eps"), 1e-4);
    EXPECT_TRUE(block.attributes.flag("residual"));
    EXPECT_EQ(block.attributes.str("mixer"), "mamba");
    EXPECT_EQ(block.attributes.i64("mixer.d_model"), 8);
    EXPECT_EQ(block.attributes.i64("mixer.d_inner"), 16);
    EXPECT_EQ(block.attributes.i64("mixer.d_state"), 4);
    EXPECT_EQ(block.attributes.i64("mixer.d_conv"), 3);
    EXPECT_EQ(block.attributes.i64("mixer.dt_rank"), 2);
    EXPECT_FALSE(block.attributes.flag("mixer.bias"));
    EXPECT_TRUE(block.attributes.flag("mixer.conv_bias"));
    EXPECT_EQ(block.attributes.str("mixer.inner_norm"), "none");
    EXPECT_GT(block.attributes.f64("mixer.inner_norm_eps"), 0);
    EXPECT_EQ(slots(block), kMixerSlots + std::set<std::string>{"norm.weight"});
    EXPECT_EQ(tensor_of(block, "mixer.A_log"), "backbone.layers.1.mixer.A_log");

    const ChildSpec& norm = spec.children[3];
    EXPECT_EQ(norm.role, "norm");
    EXPECT_EQ(norm.type, "norm");
    EXPECT_EQ(norm.attributes.str("kind"), "rms");
    EXPECT_EQ(norm.attributes.f64("eps"), 1e-4);
    EXPECT_EQ(slots(norm), std::set<std::string>{"weight"});

    const ChildSpec& head = spec.children[4];
    EXPECT_EQ(head.role, "head");
    EXPECT_EQ(head.type, "linear");
    EXPECT_EQ(head.attributes.i64("d_in"), 8);
    EXPECT_EQ(head.attributes.i64("d_out"), 24);
    EXPECT_FALSE(head.attributes.flag("bias"));
    EXPECT_EQ(tensor_of(head, "weight"), "backbone.embeddings.weight");
    for (const ChildSpec& child : spec.children) {
        EXPECT_TRUE(child.missing.empty());
    }
}

TEST(Schemes, PlansMambaSsmNames) {
    const Tensors tensors = with(mamba("backbone.embedding.weight"), {"lm_head.weight", {24, 8}});
    for (const Json& config : {Json(), ssm_config(), Json::object(), transformers_config()}) {
        const Outcome outcome = plan(tensors, config);
        ASSERT_TRUE(outcome.status.ok()) << outcome.text;
        EXPECT_EQ(outcome.spec.scheme, "mamba_ssm");
        EXPECT_EQ(outcome.spec.attributes.i64("vocab_size"), 24);
        EXPECT_FALSE(outcome.spec.attributes.flag("tied"));
        EXPECT_EQ(tensor_of(outcome.spec.children.back(), "weight"), "lm_head.weight");
        EXPECT_EQ(outcome.spec.children[1].attributes.f64("norm_eps"),
                  config.contains("hidden_size") ? 1e-4 : 1e-5);
    }
    // Keys of both dialects, as in the published models: each scheme reads its own.
    Json both = ssm_config();
    both.update(transformers_config());
    both["n_layer"] = 7;
    EXPECT_TRUE(plan(mamba(), both).status.ok()) << message();
}

TEST(Schemes, PlansFalconMamba) {
    Json config = transformers_config();
    config["model_type"] = "falcon_mamba";
    Outcome outcome = plan(mamba(), config);
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    EXPECT_EQ(outcome.spec.scheme, "falcon_mamba");
    EXPECT_EQ(outcome.spec.children[1].attributes.str("mixer.inner_norm"), "rms");
    EXPECT_EQ(outcome.spec.children[1].attributes.f64("mixer.inner_norm_eps"), 1e-6);
    config["mixer_rms_eps"] = 1e-3;
    const Tensors buffers = with(mamba(), {"backbone.layers.0.mixer.dt_rms", {16}, "I16", 2});
    outcome = plan(buffers, config);
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    EXPECT_EQ(outcome.spec.children[1].attributes.f64("mixer.inner_norm_eps"), 1e-3);
    EXPECT_EQ(outcome.spec.ignored, std::vector<std::string>{"backbone.layers.0.mixer.dt_rms"});
    // Without config.json the names cannot tell the two apart; the option can.
    expect_refused(plan(mamba(), Json()), SEQMIX_ERR_UNSUPPORTED, "fit mamba_hf, falcon_mamba");
    EXPECT_EQ(plan(mamba(), Json(), "mamba_hf").spec.scheme, "mamba_hf");
    EXPECT_TRUE(plan(mamba(), Json(), "falcon_mamba").status.ok());
}

TEST(Schemes, PlansMambalite) {
    const Outcome outcome = plan(mambalite(), Json());
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    const StackSpec& spec = outcome.spec;
    EXPECT_EQ(spec.scheme, "mambalite");
    EXPECT_EQ(spec.attributes.i64("vocab_size"), 0);
    EXPECT_EQ(spec.attributes.i64("d_input"), 5);
    EXPECT_EQ(spec.attributes.i64("n_classes"), 7);
    ASSERT_EQ(spec.children.size(), 4u);
    EXPECT_EQ(spec.children[0].role, "encoder");
    EXPECT_EQ(spec.children[0].type, "linear");
    EXPECT_EQ(spec.children[0].attributes.i64("d_in"), 5);
    EXPECT_EQ(spec.children[0].attributes.i64("d_out"), 8);
    EXPECT_TRUE(spec.children[0].attributes.flag("bias"));
    EXPECT_EQ(slots(spec.children[0]), (std::set<std::string>{"weight", "bias"}));
    EXPECT_EQ(spec.children[1].attributes.str("norm"), "none");
    EXPECT_FALSE(spec.children[1].attributes.flag("residual"));
    EXPECT_EQ(slots(spec.children[1]), kMixerSlots);
    EXPECT_EQ(tensor_of(spec.children[1], "mixer.A_log"), "mamba.A_log");
    EXPECT_EQ(spec.children[2].type, "pool");
    EXPECT_EQ(spec.children[2].attributes.str("kind"), "mean");
    EXPECT_EQ(spec.children[3].role, "head");
    EXPECT_EQ(spec.children[3].attributes.i64("d_out"), 7);
    EXPECT_TRUE(spec.children[3].attributes.flag("bias"));
    // A config.json of something else in the same folder says nothing about this file.
    EXPECT_TRUE(plan(mambalite(), {{"model_type", "other"}}).status.ok());
    expect_refused(plan(without(mambalite(), "classifier.weight"), Json()),
                   SEQMIX_ERR_MISSING_TENSOR, "'classifier.weight'");
}

TEST(Schemes, StripsCommonPrefixes) {
    for (const std::string prefix : {"_orig_mod.", "module.", "module._orig_mod."}) {
        Tensors tensors = mamba();
        for (NamedShape& tensor : tensors) {
            tensor.name = prefix + tensor.name;
        }
        const Outcome outcome = plan(tensors, transformers_config());
        ASSERT_TRUE(outcome.status.ok()) << outcome.text;
        EXPECT_EQ(tensor_of(outcome.spec.children[0], "weight"),
                  prefix + "backbone.embeddings.weight");
        tensors.pop_back();
        expect_refused(plan(tensors, transformers_config()), SEQMIX_ERR_MISSING_TENSOR,
                       "'" + prefix + "backbone.norm_f.weight'");
    }
    expect_refused(plan(with(mamba(), {"module.x", {1}}), transformers_config()),
                   SEQMIX_ERR_UNKNOWN_SLOT, "'module.x'");
}

TEST(Schemes, BiasesFollowConfigThenTensors) {
    Tensors tensors = mamba();
    for (const char* layer : {"0", "1"}) {
        const std::string mixer = std::string("backbone.layers.") + layer + ".mixer.";
        tensors = with(tensors, {mixer + "in_proj.bias", {32}});
        tensors = with(tensors, {mixer + "out_proj.bias", {8}});
        tensors = without(tensors, mixer + "conv1d.bias");
    }
    Json config = transformers_config();
    expect_refused(plan(tensors, config), SEQMIX_ERR_MISSING_TENSOR, "4 are unexpected");
    config.erase("use_bias");
    config.erase("use_conv_bias");
    for (int i = 0; i < 2; ++i) {
        const Outcome outcome = plan(tensors, config);
        ASSERT_TRUE(outcome.status.ok()) << outcome.text;
        const ChildSpec& block = outcome.spec.children[1];
        EXPECT_TRUE(block.attributes.flag("mixer.bias"));
        EXPECT_FALSE(block.attributes.flag("mixer.conv_bias"));
        EXPECT_EQ(slots(block).count("mixer.out_proj.bias"), 1u);
        EXPECT_EQ(slots(block).count("mixer.conv1d.bias"), 0u);
        config["use_bias"] = true;
        config["use_conv_bias"] = false;
    }
    config = ssm_config();
    config["ssm_cfg"]["bias"] = true;
    expect_refused(plan(mamba("backbone.embedding.weight"), config), SEQMIX_ERR_MISSING_TENSOR,
                   "mamba_ssm: 4 tensors are missing: 'backbone.layers.0.mixer.in_proj.bias'");
}

TEST(Schemes, LayerNormHasABias) {
    Tensors tensors = mamba("backbone.embedding.weight");
    for (const char* name : {"layers.0.norm.bias", "layers.1.norm.bias", "norm_f.bias"}) {
        tensors = with(tensors, {std::string("backbone.") + name, {8}});
    }
    Json config = ssm_config();
    expect_refused(plan(tensors, config), SEQMIX_ERR_UNKNOWN_SLOT, "3 unexpected tensors");
    config["rms_norm"] = false;
    for (const Json& c : {config, Json()}) {
        const Outcome outcome = plan(tensors, c);
        ASSERT_TRUE(outcome.status.ok()) << outcome.text;
        EXPECT_EQ(outcome.spec.children[1].attributes.str("norm"), "layer");
        EXPECT_EQ(slots(outcome.spec.children[1]),
                  kMixerSlots + (std::set<std::string>{"norm.weight", "norm.bias"}));
        EXPECT_EQ(outcome.spec.children[3].attributes.str("kind"), "layer");
        EXPECT_EQ(slots(outcome.spec.children[3]), (std::set<std::string>{"weight", "bias"}));
    }
}

TEST(Schemes, HeadIsTiedOrThere) {
    Json config = transformers_config();
    config["tie_word_embeddings"] = false;
    expect_refused(plan(mamba(), config), SEQMIX_ERR_MISSING_TENSOR,
                   "mamba_hf: 1 tensors are missing: 'lm_head.weight'");
    const Tensors headed = with(mamba(), {"lm_head.weight", {24, 8}});
    EXPECT_FALSE(plan(headed, config).spec.attributes.flag("tied"));
    const Outcome outcome = plan(headed, transformers_config());
    EXPECT_EQ(tensor_of(outcome.spec.children.back(), "weight"), "lm_head.weight");
    config = transformers_config();
    config.erase("tie_word_embeddings");
    EXPECT_TRUE(plan(mamba(), config).spec.attributes.flag("tied"));
    expect_refused(plan(with(mamba(), {"lm_head.weight", {25, 8}}), config), SEQMIX_ERR_SHAPE,
                   "tensor 'lm_head.weight' has shape (25,8), expected (24,8) by vocab_size 24 "
                   "(from tensor 'backbone.embeddings.weight')");
}

TEST(Schemes, MissingAndUnexpectedNames) {
    const std::string lost = "backbone.layers.1.mixer.D";
    Outcome outcome = plan(without(mamba(), lost), transformers_config());
    expect_refused(outcome, SEQMIX_ERR_MISSING_TENSOR, "1 tensors are missing: '" + lost + "'");
    EXPECT_EQ(outcome.spec.missing, std::vector<std::string>{lost});
    EXPECT_EQ(outcome.spec.children[2].missing, std::vector<std::string>{"mixer.D"});

    Tensors tensors = mamba();
    for (int i = 0; i < 5; ++i) {
        tensors = with(tensors, {"extra." + std::to_string(i), {1}, "F8_E4M3", 1});
    }
    tensors = with(tensors, {"backbone.layers.01.norm.weight", {8}});
    tensors = with(tensors, {"backbone.layers..norm.weight", {8}});
    tensors = with(tensors, {"backbone.layers.-1.norm.weight", {8}});
    outcome = plan(tensors, transformers_config());
    expect_refused(outcome, SEQMIX_ERR_UNKNOWN_SLOT, "8 unexpected tensors: 'backbone.layers.-1.");
    EXPECT_EQ(outcome.spec.unexpected.size(), 8u);

    outcome = plan(without(tensors, lost), transformers_config(), "auto", true);
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    EXPECT_EQ(outcome.spec.unexpected.size(), 8u);
    EXPECT_EQ(outcome.spec.missing, std::vector<std::string>{lost});
    EXPECT_EQ(outcome.spec.children[2].attributes.i64("mixer.d_inner"), 16);
}

TEST(Schemes, EveryTensorIsNeeded) {
    for (const NamedShape& tensor : mamba()) {
        const Tensors rest = without(mamba(), tensor.name);
        expect_refused(plan(rest, transformers_config()), SEQMIX_ERR_MISSING_TENSOR,
                       "'" + tensor.name + "'");
        const Outcome outcome = plan(rest, transformers_config(), "auto", true);
        ASSERT_TRUE(outcome.status.ok()) << tensor.name << ": " << outcome.text;
        EXPECT_EQ(outcome.spec.missing, std::vector<std::string>{tensor.name});
    }
}

TEST(Schemes, EveryTensorHasItsShape) {
    for (const NamedShape& tensor : mamba()) {
        for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
            for (const int64_t step : {-1, 1}) {
                NamedShape changed = tensor;
                changed.shape[axis] += step;
                expect_refused(plan(with(mamba(), changed), transformers_config()),
                               SEQMIX_ERR_SHAPE, "mamba_hf: ");
            }
        }
        NamedShape longer = tensor;
        longer.shape.push_back(1);
        expect_refused(plan(with(mamba(), longer), transformers_config()), SEQMIX_ERR_SHAPE,
                       "'" + tensor.name + "' has shape");
        NamedShape empty = tensor;
        empty.shape[0] = 0;
        expect_refused(plan(with(mamba(), empty), transformers_config()), SEQMIX_ERR_SHAPE,
                       "'" + tensor.name + "' has shape");
    }
    expect_refused(plan(with(mamba(), {"backbone.layers.1.mixer.x_proj.weight", {11, 16}}),
                        transformers_config()),
                   SEQMIX_ERR_SHAPE,
                   "tensor 'backbone.layers.1.mixer.x_proj.weight' has shape (11,16), expected "
                   "(10,16) by dt_rank 2 (from tensor 'backbone.layers.0.mixer.dt_proj.weight'), "
                   "d_state 4 (from tensor 'backbone.layers.0.mixer.A_log')");
}

TEST(Schemes, EveryTensorIsAWeight) {
    for (const NamedShape& tensor : mamba()) {
        NamedShape stored = tensor;
        for (const char* type : {"BF16", "F16"}) {
            stored.dtype = type;
            stored.width = 2;
            EXPECT_TRUE(plan(with(mamba(), stored), transformers_config()).status.ok())
                << message();
        }
        stored.dtype = "F8_E4M3";
        stored.width = 1;
        expect_refused(plan(with(mamba(), stored), transformers_config()), SEQMIX_ERR_DTYPE,
                       "'" + tensor.name + "' is stored as F8_E4M3, expected F32");
        stored.dtype = "I32";
        stored.width = 4;
        expect_refused(plan(with(mamba(), stored), transformers_config()), SEQMIX_ERR_DTYPE, "I32");
    }
}

TEST(Schemes, ConfigMustAgreeWithTheTensors) {
    const std::pair<const char*, int64_t> wrong[] = {
        {"hidden_size", 9},        {"state_size", 5},     {"conv_kernel", 4},
        {"intermediate_size", 24}, {"time_step_rank", 3}, {"vocab_size", 23}};
    for (const auto& [key, value] : wrong) {
        Json config = transformers_config();
        config[key] = value;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_SHAPE, std::string("by '") + key + "'");
        expect_refused(plan(mamba(), config, "auto", true), SEQMIX_ERR_SHAPE, "config.json gives");
    }
    Json config = transformers_config();
    config["hidden_size"] = 9;
    config.erase("expand");
    EXPECT_EQ(
        plan(mamba(), config).text,
        "mamba_hf: the tensors have d_model 8 (from tensor 'backbone.embeddings.weight'), but "
        "config.json gives 9 by 'hidden_size'");
    for (const char* key : {"d_state", "d_conv", "expand", "dt_rank"}) {
        config = ssm_config();
        config["ssm_cfg"][key] = 7;
        expect_refused(plan(mamba("backbone.embedding.weight"), config), SEQMIX_ERR_SHAPE,
                       std::string("by '") + key + "'");
    }
    // "auto" is ceil(8 / 16) = 1.
    config = transformers_config();
    config["time_step_rank"] = "auto";
    expect_refused(plan(mamba(), config), SEQMIX_ERR_SHAPE,
                   "config.json gives 1 by 'time_step_rank'");
    config["time_step_rank"] = "automatic";
    expect_refused(plan(mamba(), config), SEQMIX_ERR_BAD_FORMAT, "'automatic'");
    // A stored width is the width, whatever `expand` says.
    config = transformers_config();
    config["expand"] = 16;
    EXPECT_TRUE(plan(mamba(), config).status.ok()) << message();
    // Without it half of an expansion counts, as int(expand * hidden_size).
    config.erase("intermediate_size");
    expect_refused(plan(mamba(), config), SEQMIX_ERR_SHAPE, "config.json gives 128 by 'expand'");
    config["expand"] = 2.1;
    EXPECT_TRUE(plan(mamba(), config).status.ok()) << message();
}

TEST(Schemes, VocabularyMayBePadded) {
    for (const int64_t size : {17, 21, 24}) {
        Json config = ssm_config();
        config["vocab_size"] = size;
        EXPECT_TRUE(plan(mamba("backbone.embedding.weight"), config).status.ok()) << message();
        config.erase("pad_vocab_size_multiple");
        EXPECT_TRUE(plan(mamba("backbone.embedding.weight"), config).status.ok()) << message();
    }
    for (const int64_t size : {16, 25}) {
        Json config = ssm_config();
        config["vocab_size"] = size;
        expect_refused(plan(mamba("backbone.embedding.weight"), config), SEQMIX_ERR_SHAPE,
                       "by 'vocab_size'");
    }
    Json config = transformers_config();
    config["vocab_size"] = 21;
    expect_refused(plan(mamba(), config), SEQMIX_ERR_SHAPE, "by 'vocab_size'");
    config["pad_vocab_size_multiple"] = 8;
    EXPECT_TRUE(plan(mamba(), config).status.ok()) << message();
}

TEST(Schemes, LayersMustAgree) {
    Json config = transformers_config();
    for (const int64_t layers : {1, 3}) {
        config["num_hidden_layers"] = layers;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_SHAPE,
                       "the tensors have 2 layers (1 + the largest index), but config.json gives " +
                           std::to_string(layers) + " by 'num_hidden_layers'");
    }
    const Outcome outcome = plan(mamba(), config, "auto", true);
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    EXPECT_EQ(outcome.spec.children.size(), 6u);
    EXPECT_EQ(outcome.spec.missing.size(), 10u);
    config["num_hidden_layers"] = 10001;
    expect_refused(plan(mamba(), config, "auto", true), SEQMIX_ERR_LIMIT, "expected 1 to 10000");
    config.erase("num_hidden_layers");
    expect_refused(plan(with(mamba(), {"backbone.layers.3.mixer.D", {16}}), config),
                   SEQMIX_ERR_MISSING_TENSOR, "19 tensors are missing");
    for (const char* index : {"10000", "18446744073709551616", "99999999999999999999999999"}) {
        const std::string name = std::string("backbone.layers.") + index + ".mixer.D";
        expect_refused(plan(with(mamba(), {name, {16}}), config), SEQMIX_ERR_LIMIT,
                       "at most 10000 layers");
    }
}

TEST(Schemes, SizesHaveLimits) {
    const int64_t huge = seqmix::kMaxSize + 1;
    // No bytes: an empty axis beside a huge one.
    Tensors tensors = with(mamba(), {"backbone.embeddings.weight", {huge, 0}});
    Json config = transformers_config();
    config.erase("vocab_size");
    expect_refused(plan(tensors, config), SEQMIX_ERR_LIMIT, "vocab_size 16777217");
    for (const char* key :
         {"hidden_size", "vocab_size", "state_size", "conv_kernel", "intermediate_size"}) {
        config = transformers_config();
        config[key] = huge;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_LIMIT, key);
        config[key] = 0;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_BAD_FORMAT, "expected 1 to");
        config[key] = "8";
        expect_refused(plan(mamba(), config), SEQMIX_ERR_BAD_FORMAT, "must be an integer, got '8'");
    }
    for (const Json& expand : {Json(0), Json(-2), Json(1e12), Json({{"__float__", "Infinity"}}),
                               Json({{"__float__", "NaN"}})}) {
        config = transformers_config();
        config.erase("intermediate_size");
        config["expand"] = expand;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_BAD_FORMAT, "'expand'");
    }
    for (const Json& eps : {Json(-1e-5), Json(2), Json({{"__float__", "NaN"}}), Json("small")}) {
        config = transformers_config();
        config["layer_norm_epsilon"] = eps;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_BAD_FORMAT, "'layer_norm_epsilon'");
    }
    // Null is absent.
    config = transformers_config();
    for (auto& [key, value] : config.items()) {
        if (key != "model_type") {
            value = nullptr;
        }
    }
    const Outcome outcome = plan(mamba(), config);
    ASSERT_TRUE(outcome.status.ok()) << outcome.text;
    EXPECT_EQ(outcome.spec.children[1].attributes.f64("norm_eps"), 1e-5);
}

TEST(Schemes, RefusesUnknownArchitecturesByName) {
    const std::pair<const char*, Json> keys[] = {
        {"text_config", Json::object()},
        {"quantization_config", {{"quant_method", "gptq"}}},
        {"model_type", "jamba"},
        {"hidden_act", "gelu"},
        {"attn_layer_idx", {1, 2}},
        {"d_intermediate", 64},
        {"ssm_cfg", {{"layer", "Mamba2"}}},
        {"ssm_cfg", {{"headdim", 64}}},
    };
    for (const auto& [key, value] : keys) {
        Json config = transformers_config();
        config[key] = value;
        expect_refused(plan(mamba(), config), SEQMIX_ERR_UNSUPPORTED,
                       std::string("config.json: '") + key);
        config = ssm_config();
        config[key] = value;
        expect_refused(plan(mamba("backbone.embedding.weight"), config), SEQMIX_ERR_UNSUPPORTED,
                       std::string("config.json: '") + key);
    }
    Json config = ssm_config();
    config["ssm_cfg"] = 3;
    expect_refused(plan(mamba("backbone.embedding.weight"), config), SEQMIX_ERR_BAD_FORMAT,
                   "'ssm_cfg' must be an object");
    config = ssm_config();
    config["attn_layer_idx"] = 3;
    expect_refused(plan(mamba("backbone.embedding.weight"), config), SEQMIX_ERR_BAD_FORMAT,
                   "'attn_layer_idx' must be an array");
}

TEST(Schemes, NamesTheCandidates) {
    expect_refused(
        plan({{"some.weight", {2}}}, Json()), SEQMIX_ERR_UNSUPPORTED,
        "no naming scheme fits its tensors ('some.weight', ...); known schemes: mamba_ssm");
    expect_refused(plan({}, Json()), SEQMIX_ERR_UNSUPPORTED, "(none, ...)");
    expect_refused(
        plan({{"backbone.layers.0.mixer.A_log", {4}}, {"backbone.layers.0.mixer.dt_bias", {4}}},
             Json()),
        SEQMIX_ERR_UNSUPPORTED, "those of Mamba-2");
    expect_refused(
        plan(with(mamba(), {"backbone.embedding.weight", {24, 8}}), transformers_config()),
        SEQMIX_ERR_UNSUPPORTED, "fit mamba_ssm, mamba_hf, and config.json does not decide");
    Tensors two = mambalite();
    for (const NamedShape& tensor : mamba()) {
        two.push_back(tensor);
    }
    expect_refused(plan(two, transformers_config()), SEQMIX_ERR_UNSUPPORTED,
                   "fit mamba_hf, mambalite");
    expect_refused(plan(mamba(), transformers_config(), "mamba3"), SEQMIX_ERR_UNSUPPORTED,
                   "unknown scheme 'mamba3', expected auto or one of: mamba_ssm");
    // The option is taken at its word, and what is wrong is then said in its terms.
    expect_refused(plan(mambalite(), Json(), "mamba_ssm"), SEQMIX_ERR_MISSING_TENSOR,
                   "13 are unexpected");
    expect_refused(plan(mambalite(), Json(), "mamba_ssm", true), SEQMIX_ERR_MISSING_TENSOR,
                   "cannot be told");
}

// ------------------------------------------------------------------ made by others

StackSpec plan_file(const std::string& path) {
    Checkpoint checkpoint;
    StackSpec spec;
    EXPECT_TRUE(seqmix::open_checkpoint(path, checkpoint).ok()) << message();
    EXPECT_TRUE(seqmix::plan_stack(checkpoint, {}, spec).ok()) << message();
    EXPECT_TRUE(spec.missing.empty() && spec.unexpected.empty() && spec.ignored.empty());
    for (const ChildSpec& child : spec.children) {
        for (const auto& weight : child.weights) {
            EXPECT_EQ(checkpoint.tensors.count(weight.tensor), 1u) << weight.tensor;
        }
    }
    return spec;
}

TEST(Schemes, PlansTheGoldenModels) {
    struct Row {
        const char* folder;
        const char* scheme;
        const char* format;
        int64_t vocab, d_model, layers, d_inner, d_state, d_conv, rank;
        bool bias, conv_bias, tied;
        double eps;
    };
    const Row rows[] = {
        {"golden/mamba-hf-a-base", "mamba_hf", "safetensors", 64, 32, 2, 64, 16, 4, 2, false, true,
         true, 1e-5},
        {"golden/mamba-hf-b-bf16", "mamba_hf", "safetensors", 64, 32, 2, 64, 16, 4, 2, false, true,
         true, 1e-5},
        {"golden/mamba-hf-c-odd", "mamba_hf", "safetensors", 50, 24, 3, 72, 8, 3, 5, true, false,
         false, 1e-3},
        {"golden/mamba-hf-d-sharded", "mamba_hf", "safetensors shards", 64, 32, 2, 64, 16, 4, 2,
         false, true, true, 1e-5},
        {"golden/mamba-hf-e-original", "mamba_ssm", "torch zip", 64, 32, 2, 64, 16, 4, 2, false,
         true, false, 1e-5},
        {"golden/mamba-hf-f-falcon", "falcon_mamba", "safetensors", 64, 32, 2, 64, 16, 4, 2, false,
         true, true, 1e-5},
        {"golden/mamba-hf-g-f16", "mamba_hf", "safetensors", 64, 32, 2, 64, 16, 4, 2, false, true,
         true, 1e-5},
        {"model", "mamba_hf", "safetensors", 256, 128, 6, 256, 16, 4, 8, false, true, true, 1e-5},
    };
    for (const Row& row : rows) {
        SEQMIX_NEED_SHARED(row.folder);
        SCOPED_TRACE(row.folder);
        const StackSpec spec = plan_file(shared_path(row.folder));
        EXPECT_EQ(spec.scheme, row.scheme);
        EXPECT_EQ(spec.format, row.format);
        EXPECT_EQ(spec.attributes.i64("vocab_size"), row.vocab);
        EXPECT_EQ(spec.attributes.i64("d_model"), row.d_model);
        EXPECT_EQ(spec.attributes.flag("tied"), row.tied);
        ASSERT_EQ(spec.children.size(), static_cast<size_t>(row.layers) + 3);
        const seqmix::Attributes& block = spec.children[static_cast<size_t>(row.layers)].attributes;
        EXPECT_EQ(block.i64("mixer.d_inner"), row.d_inner);
        EXPECT_EQ(block.i64("mixer.d_state"), row.d_state);
        EXPECT_EQ(block.i64("mixer.d_conv"), row.d_conv);
        EXPECT_EQ(block.i64("mixer.dt_rank"), row.rank);
        EXPECT_EQ(block.flag("mixer.bias"), row.bias);
        EXPECT_EQ(block.flag("mixer.conv_bias"), row.conv_bias);
        EXPECT_EQ(block.f64("norm_eps"), row.eps);
        EXPECT_EQ(block.str("mixer.inner_norm"),
                  std::string(row.scheme) == "falcon_mamba" ? "rms" : "none");
    }
}

TEST(Schemes, PlansTheClassifierOfOthers) {
    SEQMIX_NEED_SHARED("data/mambalite");
    const StackSpec spec = plan_file(shared_path("data/mambalite/mamba_kws10.safetensors"));
    EXPECT_EQ(spec.scheme, "mambalite");
    EXPECT_EQ(spec.attributes.i64("d_input"), 40);
    EXPECT_EQ(spec.attributes.i64("d_model"), 64);
    EXPECT_EQ(spec.attributes.i64("n_classes"), 10);
    EXPECT_EQ(spec.children[1].attributes.i64("mixer.dt_rank"), 4);
}

TEST(Schemes, RefusesModelsOfOthersByName) {
    struct Row {
        const char* path;
        bool opens;
        const char* part;
    };
    const Row rows[] = {
        {"golden/mamba2-hf-a-base", true, "'model_type' is 'mamba2'"},
        {"data/silero-vad/silero_vad_16k.safetensors", true, "known schemes: mamba_ssm"},
        {"data/stories260k", false, ""},
        {"data/adder/mingpt_adder.pt", true, "the option 'n_head' gives it"},
    };
    for (const Row& row : rows) {
        SEQMIX_NEED_SHARED(row.path);
        Checkpoint checkpoint;
        const Status opened = seqmix::open_checkpoint(shared_path(row.path), checkpoint);
        EXPECT_EQ(opened.ok(), row.opens) << row.path << ": " << message();
        if (opened.ok()) {
            StackSpec spec;
            EXPECT_EQ(seqmix::plan_stack(checkpoint, {}, spec).code(), SEQMIX_ERR_UNSUPPORTED)
                << row.path;
        }
        EXPECT_CONTAINS(message(), row.part);
    }
}

}  // namespace
