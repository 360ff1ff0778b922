// Naming schemes of models around S4, S4D, CKConv and Hyena: which tensors they expect, what follows
// from their shapes, which options they take, and what they refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../support/shared_data.h"
#include "checkpoint_files.h"
#include "models/formats/checkpoint.h"
#include "models/schemes/stack_spec.h"

namespace {

using seqmix::Attributes;
using seqmix::Checkpoint;
using seqmix::PlanOptions;
using seqmix::StackSpec;
using seqmix::Status;
using seqmix_test::NamedShape;
using seqmix_test::shared_path;
using Tensors = std::vector<NamedShape>;

std::string message() { return seqmix::error_text::get(); }

#define EXPECT_CONTAINS(text, part)                            \
    EXPECT_NE(std::string(text).find(part), std::string::npos) \
        << "'" << (text) << "' should contain '" << (part) << "'"

struct Outcome {
    Status status;
    StackSpec spec;
};

Outcome plan(const Tensors& tensors, const Attributes& options = {}, const char* config = nullptr) {
    const std::string bytes = seqmix_test::safetensors_bytes(tensors);
    Checkpoint checkpoint;
    Outcome outcome;
    const std::string_view text = config == nullptr ? std::string_view() : config;
    EXPECT_TRUE(
        seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), text, checkpoint).ok())
        << message();
    outcome.status = seqmix::plan_stack(checkpoint, {"auto", false, options}, outcome.spec);
    return outcome;
}

StackSpec planned(const Tensors& tensors, const Attributes& options = {},
                  const char* config = nullptr) {
    const Outcome outcome = plan(tensors, options, config);
    EXPECT_TRUE(outcome.status.ok()) << message();
    return outcome.spec;
}

void expect_refused(const Tensors& tensors, seqmix_status code, const char* part,
                    const Attributes& options = {}, const char* config = nullptr) {
    EXPECT_EQ(plan(tensors, options, config).status.code(), code) << part << ": " << message();
    EXPECT_CONTAINS(message(), part);
}

Attributes option(const char* name, seqmix::AttributeValue value) {
    Attributes result;
    result.set(name, std::move(value));
    return result;
}

Tensors with(Tensors tensors, const NamedShape& changed) {
    std::erase_if(tensors, [&](const NamedShape& tensor) { return tensor.name == changed.name; });
    tensors.push_back(changed);
    return tensors;
}

Tensors without(Tensors tensors, const std::string& name) {
    std::erase_if(tensors, [&](const NamedShape& tensor) { return tensor.name == name; });
    return tensors;
}

Tensors prefixed(Tensors tensors, const std::string& prefix) {
    for (NamedShape& tensor : tensors) {
        tensor.name = prefix + tensor.name;
    }
    return tensors;
}

bool takes(const seqmix::ChildSpec& child, const std::string& slot, const std::string& tensor) {
    return std::any_of(child.weights.begin(), child.weights.end(), [&](const auto& weight) {
        return weight.slot == slot && weight.tensor == tensor;
    });
}

// ------------------------------------------------------------------ S4

// D 6, M 4 modes, 2 copies; two layers.
Tensors v4_block(bool low_rank) {
    Tensors tensors = {{"layer.D", {1, 6}},
                       {"layer.kernel.A_real", {2, 4}},
                       {"layer.kernel.A_imag", {2, 4}},
                       {"layer.kernel.inv_dt", {6, 1}},
                       {"layer.kernel.B", {1, 2, 4, 2}},
                       {"layer.kernel.C", {1, 6, 4, 2}},
                       {"output_linear.0.weight", {12, 6}},
                       {"output_linear.0.bias", {12}}};
    if (low_rank) {
        tensors.push_back({"layer.kernel.P", {1, 2, 4, 2}});
        tensors.push_back({"layer.kernel.l_kernel", {}, "I64", 8});
    }
    return tensors;
}

Tensors v3_block() {
    return {{"D", {1, 6}},
            {"kernel.kernel.inv_w_real", {2, 4}},
            {"kernel.kernel.w_imag", {2, 4}},
            {"kernel.kernel.log_dt", {6}},
            {"kernel.kernel.B", {1, 2, 4, 2}},
            {"kernel.kernel.C", {1, 6, 4, 2}},
            {"kernel.kernel.P", {1, 2, 4, 2}},
            {"kernel.kernel.L", {}, "I64", 8},
            {"kernel.kernel.omega", {401, 2}},
            {"kernel.kernel.z", {401, 2}},
            {"output_linear.0.weight", {12, 6}},
            {"output_linear.0.bias", {12}}};
}

Tensors minimal_block() {
    return {{"D", {6}},
            {"kernel.C", {6, 4, 2}},
            {"kernel.log_dt", {6}},
            {"kernel.log_A_real", {6, 4}},
            {"kernel.A_imag", {6, 4}},
            {"output_linear.0.weight", {12, 6, 1}},
            {"output_linear.0.bias", {12}}};
}

Tensors classifier(const Tensors& block) {
    Tensors tensors = {{"encoder.weight", {6, 3}},
                       {"encoder.bias", {6}},
                       {"decoder.weight", {10, 6}},
                       {"decoder.bias", {10}}};
    for (const char* number : {"0", "1"}) {
        const Tensors layer = prefixed(block, std::string("s4_layers.") + number + ".");
        tensors.insert(tensors.end(), layer.begin(), layer.end());
        tensors.push_back({std::string("norms.") + number + ".weight", {6}});
        tensors.push_back({std::string("norms.") + number + ".bias", {6}});
    }
    return tensors;
}

TEST(S4Schemes, PlanEveryFormOfTheClassifier) {
    const struct {
        Tensors block;
        const char *mixer, *sign, *real;
        int64_t copies;
    } rows[] = {{v4_block(true), "s4", "negative", "layer.kernel.A_real", 2},
                {v4_block(false), "s4d", "negative", "layer.kernel.A_real", 2},
                {v3_block(), "s4", "positive", "kernel.kernel.inv_w_real", 2},
                {minimal_block(), "s4d", "positive", "kernel.log_A_real", 6}};
    for (const auto& row : rows) {
        SCOPED_TRACE(row.real);
        const StackSpec spec = planned(classifier(row.block));
        EXPECT_EQ(spec.scheme, "s4_classifier");
        EXPECT_EQ(spec.attributes.i64("d_input"), 3);
        EXPECT_EQ(spec.attributes.i64("n_classes"), 10);
        ASSERT_EQ(spec.children.size(), 5u);
        EXPECT_EQ(spec.children[0].role, "encoder");
        EXPECT_EQ(spec.children[3].type, "pool");
        for (const size_t i : {size_t{1}, size_t{2}}) {
            const Attributes& block = spec.children[i].attributes;
            EXPECT_EQ(block.str("mixer"), row.mixer);
            EXPECT_EQ(block.str("norm"), "layer");
            EXPECT_TRUE(block.flag("postnorm"));
            EXPECT_EQ(block.i64("mixer.d_state"), 8);
            EXPECT_EQ(block.i64("mixer.n_ssm"), row.copies);
            EXPECT_EQ(block.str("mixer.imag_sign"), row.sign);
            EXPECT_EQ(block.str("mixer.output"), "glu");
            EXPECT_FALSE(block.flag("mixer.bidirectional"));
            const std::string layer = "s4_layers." + std::to_string(i - 1) + ".";
            EXPECT_TRUE(takes(spec.children[i], "mixer.kernel.A_real", layer + row.real));
        }
    }
    // Buffers that depend on the longest sequence are of any size, and not used.
    const StackSpec old = planned(classifier(v3_block()));
    EXPECT_EQ(old.ignored.size(), 4u);
    EXPECT_FALSE(planned(classifier(v4_block(true)), option("prenorm", true))
                     .children[1]
                     .attributes.flag("postnorm"));
}

TEST(S4Schemes, ReadSizesAndOptions) {
    Tensors twice = with(v4_block(false), {"layer.kernel.C", {2, 6, 4, 2}});
    EXPECT_TRUE(planned(twice).children[0].attributes.flag("mixer.bidirectional"));
    const Tensors linear = with(with(v4_block(false), {"output_linear.0.weight", {6, 6}}),
                                {"output_linear.0.bias", {6}});
    EXPECT_EQ(planned(linear).children[0].attributes.str("mixer.output"), "linear");
    const Tensors untied = with(v4_block(false), {"layer.kernel.inv_dt", {6, 4}});
    EXPECT_FALSE(planned(untied).children[0].attributes.flag("mixer.dt_tie"));
    const StackSpec spec =
        planned(v4_block(false), option("discretization", std::string("bilinear")));
    EXPECT_EQ(spec.scheme, "s4_block");
    EXPECT_EQ(spec.children[0].attributes.str("mixer.discretization"), "bilinear");
    EXPECT_EQ(planned(prefixed(v4_block(true), "model.layers.0.layer.")).scheme, "s4_block");
    EXPECT_EQ(planned(prefixed(minimal_block(), "module.")).scheme, "s4_block");
    // A config.json of another kind does not disturb.
    planned(v4_block(true), {}, R"({"layer": "s4_block", "d_model": 6})");
}

TEST(S4Schemes, RefuseWhatDoesNotFit) {
    const Tensors good = classifier(v4_block(true));
    expect_refused(without(good, "s4_layers.1.layer.kernel.B"), SEQMIX_ERR_MISSING_TENSOR,
                   "s4_classifier: 1 tensors are missing: 's4_layers.1.layer.kernel.B'");
    expect_refused(without(good, "norms.0.bias"), SEQMIX_ERR_MISSING_TENSOR, "'norms.0.bias'");
    expect_refused(with(good, {"extra", {1}}), SEQMIX_ERR_UNKNOWN_SLOT, "'extra'");
    expect_refused(with(good, {"s4_layers.0.layer.kernel.P", {1, 2, 5, 2}}), SEQMIX_ERR_SHAPE,
                   "tensor 's4_layers.0.layer.kernel.P' has shape (1,2,5,2), expected (1,2,4,2)");
    expect_refused(with(good, {"s4_layers.0.layer.kernel.l_kernel", {}}), SEQMIX_ERR_SHAPE,
                   "'s4_layers.0.layer.kernel.l_kernel' has shape () F32, expected one integer");
    expect_refused(with(good, {"s4_layers.0.layer.kernel.l_kernel", {2}, "I64", 8}),
                   SEQMIX_ERR_SHAPE, "has shape (2) I64, expected one integer");
    expect_refused(with(v4_block(false), {"layer.kernel.C", {3, 6, 4, 2}}), SEQMIX_ERR_SHAPE,
                   "expected as many, or twice as many");
    expect_refused(with(with(v4_block(false), {"output_linear.0.weight", {18, 6}}),
                        {"output_linear.0.bias", {18}}),
                   SEQMIX_ERR_SHAPE, "expected 6 or 12");
    expect_refused(good, SEQMIX_ERR_ATTRIBUTE_TYPE, "option 'prenorm' has another type",
                   option("prenorm", int64_t{1}));
    expect_refused(good, SEQMIX_ERR_ATTRIBUTE_RANGE, "'euler', expected zoh|bilinear|dss",
                   option("discretization", std::string("euler")));
    expect_refused(good, SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
                   "no option 'omega_0' for the scheme s4_classifier", option("omega_0", 3.0));
    expect_refused(v4_block(true), SEQMIX_ERR_UNKNOWN_ATTRIBUTE, "no option 'prenorm'",
                   option("prenorm", true));
}

// What the repository's training saves: an encoder, blocks with their norms, a decoder.
Tensors s4_model(const Tensors& block, bool batch, bool prenorm) {
    Tensors tensors = {{"encoder.0.weight", {6, 3}},
                       {"encoder.0.bias", {6}},
                       {"decoder.0.output_transform.weight", {10, 6}},
                       {"decoder.0.output_transform.bias", {10}}};
    std::vector<std::string> norms = {"model.layers.0.norm.norm.", "model.layers.1.norm.norm."};
    for (const char* number : {"0", "1"}) {
        const Tensors layer = prefixed(block, std::string("model.layers.") + number + ".layer.");
        tensors.insert(tensors.end(), layer.begin(), layer.end());
    }
    if (prenorm) norms.emplace_back("model.norm.norm.");
    for (const std::string& norm : norms) {
        tensors.push_back({norm + "weight", {6}});
        tensors.push_back({norm + "bias", {6}});
        if (!batch) continue;
        tensors.push_back({norm + "running_mean", {6}});
        tensors.push_back({norm + "running_var", {6}});
        tensors.push_back({norm + "num_batches_tracked", {}, "I64", 8});
    }
    return tensors;
}

TEST(S4Schemes, PlanWholeModels) {
    for (const bool batch : {false, true}) {
        for (const bool prenorm : {false, true}) {
            for (const Tensors& block : {v4_block(true), v3_block(), minimal_block()}) {
                const StackSpec spec = planned(s4_model(block, batch, prenorm));
                EXPECT_EQ(spec.scheme, "s4_model");
                EXPECT_EQ(spec.attributes.i64("d_input"), 3);
                EXPECT_EQ(spec.attributes.i64("n_classes"), 10);
                ASSERT_EQ(spec.children.size(), prenorm ? 6u : 5u);
                for (const size_t i : {size_t{1}, size_t{2}}) {
                    const Attributes& layer = spec.children[i].attributes;
                    EXPECT_EQ(layer.str("norm"), batch ? "batch" : "layer");
                    EXPECT_EQ(layer.flag("postnorm"), !prenorm);
                    EXPECT_TRUE(layer.flag("residual"));
                }
                if (prenorm) {
                    EXPECT_EQ(spec.children[3].role, "norm");
                    EXPECT_EQ(spec.children[3].attributes.str("kind"), batch ? "batch" : "layer");
                }
                EXPECT_EQ(spec.children[prenorm ? 4 : 3].attributes.str("kind"), "mean");
            }
        }
    }
    const Tensors good = s4_model(v4_block(true), true, true);
    EXPECT_EQ(planned(good, option("head", std::string("last"))).children[4].attributes.str("kind"),
              "last");
    EXPECT_EQ(planned(good, option("head", std::string("all"))).children.size(), 5u);
    // An encoder without a bias is an embedding.
    Tensors tokens = with(without(good, "encoder.0.bias"), {"encoder.0.weight", {17, 6}});
    const StackSpec spec = planned(tokens);
    EXPECT_EQ(spec.children[0].type, "embedding");
    EXPECT_EQ(spec.attributes.i64("vocab_size"), 17);
    // BatchNorm of the example's classifier.
    Tensors classes = classifier(v4_block(true));
    for (const char* norm : {"norms.0.", "norms.1."}) {
        classes.push_back({std::string(norm) + "running_mean", {6}});
        classes.push_back({std::string(norm) + "running_var", {6}});
    }
    EXPECT_EQ(planned(classes).children[1].attributes.str("norm"), "batch");
}

TEST(S4Schemes, RefuseWholeModelsThatDoNotFit) {
    const Tensors good = s4_model(v4_block(true), true, true);
    const std::string norm = "model.layers.1.norm.norm.";
    expect_refused(without(good, norm + "running_var"), SEQMIX_ERR_MISSING_TENSOR,
                   "s4_model: 1 tensors are missing: 'model.layers.1.norm.norm.running_var'");
    expect_refused(without(good, "encoder.0.weight"), SEQMIX_ERR_MISSING_TENSOR,
                   "'encoder.0.weight'");
    expect_refused(without(good, "decoder.0.output_transform.weight"), SEQMIX_ERR_MISSING_TENSOR,
                   "'decoder.0.output_transform.weight'");
    expect_refused(without(good, "model.layers.0.layer.layer.kernel.C"), SEQMIX_ERR_MISSING_TENSOR,
                   "'model.layers.0.layer.layer.kernel.C'");
    expect_refused(with(good, {norm + "running_mean", {7}}), SEQMIX_ERR_SHAPE,
                   "'model.layers.1.norm.norm.running_mean' has shape (7), expected (6)");
    expect_refused(with(good, {"model.layers.0.reverse_layer.D", {1}}), SEQMIX_ERR_UNKNOWN_SLOT,
                   "'model.layers.0.reverse_layer.D'");
    expect_refused(with(good, {"model.layers.0.norm.norm.m", {1}}), SEQMIX_ERR_UNSUPPORTED,
                   "'model.layers.0.norm.norm.m' is of a LayerNorm with one scale");
    expect_refused(good, SEQMIX_ERR_ATTRIBUTE_RANGE, "'sum', expected mean|last|all",
                   option("head", std::string("sum")));
    expect_refused(good, SEQMIX_ERR_UNKNOWN_ATTRIBUTE, "no option 'prenorm'",
                   option("prenorm", true));
}

// ------------------------------------------------------------------ CKCNN

// Inputs 2, D 5, hidden 3.
Tensors ckcnn() {
    Tensors tensors = {{"finallyr.weight", {7, 5}}, {"finallyr.bias", {7}}};
    for (int b = 0; b < 2; ++b) {
        const std::string block = "backbone." + std::to_string(b) + ".";
        for (int c = 1; c <= 2; ++c) {
            const std::string conv = block + "cconv" + std::to_string(c) + ".";
            const std::string net = conv + "Kernel.kernel_net.";
            const int64_t rows = 5 * (b == 0 && c == 1 ? 2 : 5);
            const std::string norm = block + "norm" + std::to_string(c) + ".layer_norm.";
            for (const NamedShape& tensor : Tensors{{net + "0.weight_v", {3, 1, 1}},
                                                    {net + "0.weight_g", {3, 1, 1}},
                                                    {net + "0.bias", {3}},
                                                    {net + "4.weight_v", {3, 3, 1}},
                                                    {net + "4.weight_g", {3, 1, 1}},
                                                    {net + "4.bias", {3}},
                                                    {net + "8.weight_v", {rows, 3, 1}},
                                                    {net + "8.weight_g", {rows, 1, 1}},
                                                    {net + "8.bias", {rows}},
                                                    {conv + "bias", {5}},
                                                    {norm + "weight", {5}},
                                                    {norm + "bias", {5}}}) {
                tensors.push_back(tensor);
            }
        }
    }
    tensors.push_back({"backbone.0.shortcut.0.weight", {5, 2, 1}});
    tensors.push_back({"backbone.0.shortcut.0.bias", {5}});
    return tensors;
}

TEST(CkcnnScheme, PlansBlocksAndTheHeadOfTheLastStep) {
    Attributes options = option("omega_0", int64_t{30});
    options.set("train_length", int64_t{784});
    const StackSpec spec = planned(ckcnn(), options);
    EXPECT_EQ(spec.scheme, "ckcnn");
    ASSERT_EQ(spec.children.size(), 4u);
    EXPECT_EQ(spec.children[0].role, "encoder");
    EXPECT_EQ(spec.children[0].attributes.i64("d_in"), 2);
    EXPECT_EQ(spec.children[1].attributes.i64("d_in"), 5);
    for (const size_t i : {size_t{0}, size_t{1}}) {
        EXPECT_EQ(spec.children[i].attributes.i64("d_out"), 5);
        EXPECT_EQ(spec.children[i].attributes.i64("hidden"), 3);
        EXPECT_EQ(spec.children[i].attributes.f64("omega_0"), 30);
        EXPECT_EQ(spec.children[i].attributes.i64("train_length"), 784);
    }
    EXPECT_EQ(spec.children[2].attributes.str("kind"), "last");
    options.set("head", std::string("mean"));
    EXPECT_EQ(planned(ckcnn(), options).children[2].attributes.str("kind"), "mean");
    // Newer files say how long the inputs were.
    const NamedShape length{"backbone.0.cconv1.train_length", {1}, "I32", 4};
    EXPECT_EQ(planned(with(ckcnn(), length), option("omega_0", 2.5)).ignored.size(), 0u);
}

TEST(CkcnnScheme, RefusesWhatDoesNotFit) {
    expect_refused(ckcnn(), SEQMIX_ERR_INVALID_ARGUMENT, "ckcnn: option 'omega_0' is missing");
    expect_refused(ckcnn(), SEQMIX_ERR_ATTRIBUTE_RANGE, "option 'omega_0' is 0",
                   option("omega_0", 0.0));
    const std::string third = "backbone.1.cconv2.Kernel.kernel_net.8.";
    expect_refused(with(ckcnn(), {third + "weight_v", {26, 3, 1}}), SEQMIX_ERR_SHAPE,
                   "kernel_net.8.weight_v", option("omega_0", 1.0));
    expect_refused(without(ckcnn(), "backbone.0.shortcut.0.bias"), SEQMIX_ERR_MISSING_TENSOR,
                   "'backbone.0.shortcut.0.bias'", option("omega_0", 1.0));
}

// ------------------------------------------------------------------ HyenaDNA

// V 16, D 4, filter order 3, features 5, l_max 9, MLP 8; two layers.
Tensors hyenadna(const std::string& prefix, const std::string& inside = ".") {
    const std::string head =
        prefix.starts_with("model.") ? "model.lm_head.weight" : "lm_head.weight";
    Tensors tensors = {{prefix + "embeddings.word_embeddings.weight", {16, 4}},
                       {prefix + "ln_f.weight", {4}},
                       {prefix + "ln_f.bias", {4}},
                       {head, {16, 4}}};
    for (int i = 0; i < 2; ++i) {
        const std::string layer = prefix + "layers." + std::to_string(i) + ".";
        const std::string mixer = layer + "mixer" + inside, filter = mixer + "filter_fn.";
        const std::string mlp = layer + "mlp" + inside;
        for (const NamedShape& tensor : Tensors{{layer + "norm1.weight", {4}},
                                                {layer + "norm1.bias", {4}},
                                                {layer + "norm2.weight", {4}},
                                                {layer + "norm2.bias", {4}},
                                                {mixer + "in_proj.weight", {12, 4}},
                                                {mixer + "in_proj.bias", {12}},
                                                {mixer + "out_proj.weight", {4, 4}},
                                                {mixer + "out_proj.bias", {4}},
                                                {mixer + "short_filter.weight", {12, 1, 3}},
                                                {mixer + "short_filter.bias", {12}},
                                                {filter + "bias", {4}},
                                                {filter + "pos_emb.z", {1, 9, 5}},
                                                {filter + "pos_emb.t", {1, 9, 1}},
                                                {filter + "implicit_filter.0.weight", {3, 5}},
                                                {filter + "implicit_filter.0.bias", {3}},
                                                {filter + "implicit_filter.1.freq", {1, 3}},
                                                {filter + "implicit_filter.2.weight", {3, 3}},
                                                {filter + "implicit_filter.2.bias", {3}},
                                                {filter + "implicit_filter.3.freq", {1, 3}},
                                                {filter + "implicit_filter.4.weight", {4, 3}},
                                                {filter + "modulation.deltas", {1, 1, 4}},
                                                {mlp + "fc1.weight", {8, 4}},
                                                {mlp + "fc1.bias", {8}},
                                                {mlp + "fc2.weight", {4, 8}},
                                                {mlp + "fc2.bias", {4}}}) {
            tensors.push_back(tensor);
        }
    }
    return tensors;
}

TEST(HyenaDnaScheme, PlansBothNamings) {
    for (const char* prefix : {"model.backbone.", "hyena.backbone."}) {
        for (const char* inside : {".", ".layer."}) {
            SCOPED_TRACE(std::string(prefix) + inside);
            const StackSpec spec = planned(hyenadna(prefix, inside));
            EXPECT_EQ(spec.scheme, "hyenadna");
            EXPECT_EQ(spec.attributes.i64("vocab_size"), 16);
            EXPECT_FALSE(spec.attributes.flag("tied"));
            ASSERT_EQ(spec.children.size(), 7u);
            const Attributes& hyena = spec.children[3].attributes;
            EXPECT_EQ(hyena.str("mixer"), "hyena");
            EXPECT_EQ(hyena.i64("mixer.l_max"), 9);
            EXPECT_EQ(hyena.i64("mixer.emb_dim"), 5);
            EXPECT_EQ(hyena.i64("mixer.filter_order"), 3);
            EXPECT_EQ(hyena.i64("mixer.num_inner_mlps"), 1);
            EXPECT_EQ(hyena.i64("mixer.short_filter_order"), 3);
            EXPECT_EQ(hyena.f64("mixer.shift"), 0.05);
            EXPECT_EQ(spec.children[4].attributes.str("mixer.activation"), "gelu_tanh");
            EXPECT_EQ(spec.children[4].attributes.i64("mixer.d_hidden"), 8);
            EXPECT_EQ(spec.ignored.size(), 4u);  // times, and the sine's second copy
        }
    }
    EXPECT_TRUE(
        planned(without(hyenadna("hyena.backbone."), "lm_head.weight")).attributes.flag("tied"));
}

TEST(HyenaDnaScheme, ComparesWithTheConfig) {
    const Tensors good = hyenadna("hyena.backbone.");
    planned(good, {}, R"({"d_model": 4, "n_layer": 2, "d_inner": 8, "layer": {"emb_dim": 5}})");
    expect_refused(good, SEQMIX_ERR_SHAPE, "config.json gives 3 by 'n_layer'", {},
                   R"({"n_layer": 3})");
    expect_refused(good, SEQMIX_ERR_SHAPE, "config.json gives 7 by 'emb_dim'", {},
                   R"({"layer": {"emb_dim": 7}})");
    expect_refused(good, SEQMIX_ERR_SHAPE, "order 2, but config.json gives 3 by 'hyena_order'", {},
                   R"({"hyena_order": 3})");
    Tensors computed = good;
    std::erase_if(computed, [](const NamedShape& t) { return t.name.ends_with("pos_emb.z"); });
    expect_refused(computed, SEQMIX_ERR_MISSING_TENSOR, "l_max cannot be told");
    EXPECT_EQ(
        planned(computed, {}, R"({"max_seq_len": 12})").children[1].attributes.i64("mixer.l_max"),
        12);
}

// Order 3 of the above: four parts of in_proj, two filters.
Tensors order_3(Tensors tensors) {
    for (NamedShape& tensor : tensors) {
        if (tensor.name.find("in_proj") != std::string::npos ||
            tensor.name.find("short_filter") != std::string::npos) {
            tensor.shape[0] = 16;
        } else if (tensor.name.ends_with("filter_fn.bias") ||
                   tensor.name.ends_with("implicit_filter.4.weight")) {
            tensor.shape[0] = 8;
        } else if (tensor.name.ends_with("deltas")) {
            tensor.shape[2] = 8;
        }
    }
    return tensors;
}

TEST(HyenaDnaScheme, AsksForTheLayoutFromOrder3On) {
    const Tensors good = order_3(hyenadna("model.backbone."));
    expect_refused(good, SEQMIX_ERR_INVALID_ARGUMENT, "option 'filter_layout' is missing");
    for (const char* layout : {"order_major", "channel_major"}) {
        const StackSpec spec = planned(good, option("filter_layout", std::string(layout)));
        EXPECT_EQ(spec.children[1].attributes.i64("mixer.order"), 3);
        EXPECT_EQ(spec.children[1].attributes.str("mixer.filter_layout"), layout);
    }
    const std::string bias = "model.backbone.layers.1.mixer.filter_fn.bias";
    expect_refused(with(good, {bias, {4}}), SEQMIX_ERR_SHAPE, "has shape (4), expected (8)",
                   option("filter_layout", std::string("order_major")));
    expect_refused(with(good, {"model.backbone.layers.0.mixer.in_proj.weight", {17, 4}}),
                   SEQMIX_ERR_SHAPE, "expected",
                   option("filter_layout", std::string("order_major")));
}

// ------------------------------------------------------------------ operators alone

Tensors hyena_operator() {
    Tensors tensors;
    const std::string prefix = "model.backbone.layers.0.mixer.";
    for (NamedShape tensor : hyenadna("model.backbone.")) {
        if (!tensor.name.starts_with(prefix)) continue;
        tensor.name = tensor.name.substr(prefix.size());
        tensors.push_back(tensor);
    }
    return tensors;
}

TEST(OperatorSchemes, PlanHyenaAlone) {
    const StackSpec spec = planned(hyena_operator());
    EXPECT_EQ(spec.scheme, "hyena");
    ASSERT_EQ(spec.children.size(), 1u);
    const Attributes& block = spec.children[0].attributes;
    EXPECT_EQ(block.str("norm"), "none");
    EXPECT_FALSE(block.flag("residual"));
    EXPECT_EQ(block.i64("mixer.order"), 2);
    EXPECT_EQ(block.i64("mixer.l_max"), 9);
    EXPECT_EQ(block.f64("mixer.shift"), 0.0);
    EXPECT_EQ(
        planned(hyena_operator(), option("shift", 0.05)).children[0].attributes.f64("mixer.shift"),
        0.05);
    const Tensors third = order_3(hyena_operator());
    expect_refused(third, SEQMIX_ERR_INVALID_ARGUMENT, "hyena: option 'filter_layout' is missing");
    planned(third, option("filter_layout", std::string("channel_major")));
    const Tensors computed = without(hyena_operator(), "filter_fn.pos_emb.z");
    expect_refused(computed, SEQMIX_ERR_MISSING_TENSOR, "l_max cannot be told");
    EXPECT_EQ(
        planned(computed, option("l_max", int64_t{30})).children[0].attributes.i64("mixer.l_max"),
        30);
    expect_refused(without(hyena_operator(), "out_proj.bias"), SEQMIX_ERR_MISSING_TENSOR,
                   "hyena: 1 tensors are missing: 'out_proj.bias'");
    expect_refused(with(hyena_operator(), {"short_filter.weight", {12, 3}}), SEQMIX_ERR_SHAPE,
                   "tensor 'short_filter.weight' has another shape, expected (3D,1,K)");
    expect_refused(with(hyena_operator(), {"head.weight", {4}}), SEQMIX_ERR_UNKNOWN_SLOT,
                   "'head.weight'");
}

// D 6, heads of 2, N 8.
Tensors h3_operator() {
    Tensors tensors = {{"ssm_k_D", {6}},
                       {"D", {3}},
                       {"ssm_k_kernel.kernel.B", {6, 8}},
                       {"ssm_k_kernel.kernel.C", {1, 6, 8}},
                       {"kernel.kernel.C", {1, 3, 4, 2}},
                       {"kernel.kernel.log_dt", {3}},
                       {"kernel.kernel.B", {3, 4, 2}},
                       {"kernel.kernel.inv_A_real", {3, 4}},
                       {"kernel.kernel.A_imag", {3, 4}}};
    for (const std::string map : {"q_proj", "k_proj", "v_proj", "output_linear"}) {
        tensors.push_back({map + ".weight", {6, 6}});
        tensors.push_back({map + ".bias", {6}});
    }
    return tensors;
}

TEST(OperatorSchemes, PlanH3Alone) {
    const StackSpec spec = planned(h3_operator());
    EXPECT_EQ(spec.scheme, "h3");
    const Attributes& block = spec.children[0].attributes;
    EXPECT_EQ(block.i64("mixer.head_dim"), 2);
    EXPECT_EQ(block.i64("mixer.d_state"), 8);
    EXPECT_EQ(block.str("mixer.disc"), "bilinear");
    EXPECT_TRUE(takes(spec.children[0], "mixer.ssm.C", "kernel.kernel.C"));
    EXPECT_EQ(planned(h3_operator(), option("discretization", std::string("zoh")))
                  .children[0]
                  .attributes.str("mixer.disc"),
              "zoh");
    expect_refused(without(h3_operator(), "kernel.kernel.B"), SEQMIX_ERR_MISSING_TENSOR,
                   "h3: 1 tensors are missing: 'kernel.kernel.B'");
    expect_refused(with(h3_operator(), {"ssm_k_kernel.kernel.B", {6, 7}}), SEQMIX_ERR_SHAPE,
                   "ssm_k_kernel.kernel");
    Tensors heads = h3_operator();
    for (NamedShape& tensor : heads) {
        for (int64_t& size : tensor.shape) {
            if (size == 3) size = 4;
        }
    }
    expect_refused(heads, SEQMIX_ERR_SHAPE, "expected a divisor of d_model 6");
    Tensors modes = h3_operator();
    for (NamedShape& tensor : modes) {
        for (int64_t& size : tensor.shape) {
            if (size == 4) size = 5;
        }
    }
    expect_refused(modes, SEQMIX_ERR_SHAPE, "expected half of d_state 8");
    expect_refused(h3_operator(), SEQMIX_ERR_UNKNOWN_ATTRIBUTE, "no option 'shift'",
                   option("shift", 0.05));
}

// ------------------------------------------------------------------ made by others

TEST(SignalSchemes, PlanFilesOfOthers) {
    const struct {
        const char* path;
        const char* scheme;
        size_t children;
        const char* mixer;
    } rows[] = {{"data/s4-smnist/s4_smnist_ckpt.pth", "s4_classifier", 7, "s4"},
                {"data/s4d-cifar10/ethorondor_ckpt.pth", "s4_classifier", 7, "s4d"},
                {"golden/s4-op-block-dplr/state_dict.pt", "s4_block", 1, "s4"},
                {"golden/s4-op-block-diag-ckpt/model.ckpt", "s4_block", 1, "s4d"},
                {"golden/s4-op-s4d-minimal/state_dict.pt", "s4_block", 1, "s4d"},
                {"golden/longconv-op-hyena-order2/state_dict.pt", "hyena", 1, "hyena"},
                {"golden/longconv-op-h3/state_dict.pt", "h3", 1, "h3"},
                {"golden/longconv-op-hyenadna-hf", "hyenadna", 7, "hyena"},
                {"golden/longconv-op-hyenadna-original", "hyenadna", 7, "hyena"}};
    for (const auto& row : rows) {
        SEQMIX_NEED_SHARED(row.path);
        SCOPED_TRACE(row.path);
        Checkpoint checkpoint;
        StackSpec spec;
        ASSERT_TRUE(seqmix::open_checkpoint(shared_path(row.path), checkpoint).ok()) << message();
        ASSERT_TRUE(seqmix::plan_stack(checkpoint, {}, spec).ok()) << message();
        EXPECT_EQ(spec.scheme, row.scheme);
        ASSERT_EQ(spec.children.size(), row.children);
        EXPECT_EQ(spec.children[row.children == 1 ? 0 : 1].attributes.str("mixer"), row.mixer);
    }
    SEQMIX_NEED_SHARED("data/ckconv");
    Checkpoint checkpoint;
    StackSpec spec;
    ASSERT_TRUE(
        seqmix::open_checkpoint(shared_path("data/ckconv/ckcnn_smnist_30.pt"), checkpoint).ok());
    ASSERT_TRUE(seqmix::plan_stack(checkpoint, {"auto", false, option("omega_0", 31.0)}, spec).ok())
        << message();
    EXPECT_EQ(spec.attributes.i64("d_model"), 30);
    EXPECT_EQ(spec.attributes.i64("d_input"), 1);
    // 784 is not in the file.
    EXPECT_EQ(spec.children[0].attributes.i64("train_length"), 0);
}

}  // namespace
