// Models around S4 and S4D, in the names of state-spaces/s4 (third and fourth version, and the minimal
// S4D module):
//
//   s4_classifier   encoder, s4_layers.{i}.*, norms.{i}, decoder: the classifier or regressor of the
//                   repository's example, u = norm(u + block(u)), the mean over time, a linear map
//   s4_model        what the repository's training saves: encoder.0 (a linear map, or an embedding, which
//                   has no bias), model.layers.{i}.{layer,norm.norm}, model.norm.norm where norms come
//                   before blocks, decoder.0.output_transform
//   s4_block        one block alone: layer.kernel.*, layer.D, output_linear.0, also behind
//                   model.layers.0.layer.; no norm, no residual, no head
//
// The kernel's names decide between the forms; A_imag has the other sign in the older two. Norms are
// LayerNorm, or BatchNorm where the file has running statistics. What the files do not say: prenorm of
// the classifier (u + block(norm(u)), default false), discretization (of diagonal kernels, default
// zoh), dt_transform (default exp), head of the model (logits of the mean over time, of the last token
// or of all; default mean).
#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

enum class S4Form : uint8_t { v4, v3, minimal };

// Where a block's tensors are, from its prefix on.
struct S4Layout {
    S4Form form;
    const char* inner;   // before D
    const char* kernel;  // before C
};

constexpr S4Layout kLayouts[] = {
    {S4Form::v4, "layer.", "layer.kernel."},
    {S4Form::v3, "", "kernel.kernel."},
    {S4Form::minimal, "", "kernel."},
};

struct S4Options {
    bool prenorm = false;
    std::string discretization = "zoh", dt_transform = "exp";
};

// One block's decisions: which tensors there are.
struct S4Block {
    std::string prefix;
    const S4Layout* layout = nullptr;
    bool low_rank = false, folded = false, bias = true, output = true;
    int64_t l_kernel = 0;
    std::string real;  // v3: inv_w_real or log_w_real
};

const S4Layout* find_layout(const TensorNames& names, const std::string& prefix) {
    for (const S4Layout& layout : kLayouts) {
        const std::string kernel = prefix + layout.kernel;
        const bool found = layout.form == S4Form::v4
                               ? names.has(kernel + "inv_dt") || names.has(kernel + "A_real")
                           : layout.form == S4Form::v3
                               ? names.has(kernel + "log_dt") || names.has(kernel + "w_imag")
                               : names.has(kernel + "log_A_real") || names.has(kernel + "log_dt");
        if (found) {
            return &layout;
        }
    }
    return nullptr;
}

Status read_block(const char* scheme, TensorNames& names, const std::string& prefix,
                  S4Block* block) {
    block->prefix = prefix;
    block->layout = find_layout(names, prefix);
    if (block->layout == nullptr) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, scheme, ": tensor ",
                    in_quotes(names.stored(prefix + "layer.kernel.inv_dt")), " is missing");
    }
    const std::string kernel = prefix + block->layout->kernel;
    block->low_rank = names.has(kernel + "P");
    block->real = names.has(kernel + "log_w_real") ? "log_w_real" : "inv_w_real";
    const std::string output = prefix + "output_linear.0.";
    block->output = names.has(output + "weight");
    block->bias = names.has(output + "bias");
    // How long the kernel was that C is folded for; 0 or absent: C is C itself.
    const char* length = block->layout->form == S4Form::v3 ? "L" : "l_kernel";
    return names.read_integer(scheme, kernel + length, &block->l_kernel);
}

void expect_block(NameTable& table, size_t child, const S4Block& block) {
    const std::string kernel = block.prefix + block.layout->kernel;
    const auto expect = [&](const std::string& name, const char* slot, const char* shape) {
        table.expect(child, name, std::string("mixer.") + slot, shape);
    };
    // First those that give one size each, so that a message blames the tensor that disagrees.
    expect(block.prefix + block.layout->inner + "D", "D",
           block.layout->form == S4Form::minimal ? "D" : "G,D");
    switch (block.layout->form) {
        case S4Form::v4:
            expect(kernel + "A_real", "kernel.A_real", "S,M");
            expect(kernel + "A_imag", "kernel.A_imag", "S,M");
            expect(kernel + "inv_dt", "kernel.inv_dt", "D,T");
            break;
        case S4Form::v3:
            expect(kernel + block.real, "kernel.A_real", "S,M");
            expect(kernel + "w_imag", "kernel.A_imag", "S,M");
            expect(kernel + "log_dt", "kernel.inv_dt", "D");
            break;
        case S4Form::minimal:
            expect(kernel + "log_A_real", "kernel.A_real", "S,M");
            expect(kernel + "A_imag", "kernel.A_imag", "S,M");
            expect(kernel + "log_dt", "kernel.inv_dt", "D");
            expect(kernel + "C", "kernel.C", "D,M,2");
            break;
    }
    if (block.layout->form != S4Form::minimal) {
        expect(kernel + "C", "kernel.C", "H,D,M,2");
        expect(kernel + "B", "kernel.B", "1,S,M,2");
        if (block.low_rank) {
            expect(kernel + "P", "kernel.P", "Q,S,M,2");
        }
    }
    if (block.output) {
        expect(block.prefix + "output_linear.0.weight", "output_linear.weight",
               block.layout->form == S4Form::minimal ? "O,F,1" : "O,F");
    }
    if (block.bias) {
        expect(block.prefix + "output_linear.0.bias", "output_linear.bias", "O");
    }
    // Buffers of older files; their sizes depend on the longest sequence of the training.
    for (const char* buffer : {"omega", "z"}) {
        table.ignore(kernel + buffer);
    }
}

Status set_block(const char* scheme, const NameTable& table, const S4Options& options,
                 const S4Block& block, Attributes& attributes) {
    const int64_t D = table.size('D'), M = table.size('M');
    const bool minimal = block.layout->form == S4Form::minimal;
    const int64_t outputs = minimal ? 1 : table.size('G'), kernels = minimal ? 1 : table.size('H');
    if (kernels != outputs && kernels != 2 * outputs) {
        return fail(SEQMIX_ERR_SHAPE, scheme, ": ", table.origin('H'), " and ", table.origin('G'),
                    ", expected as many, or twice as many (bidirectional)");
    }
    if (block.output && table.size('O') != D && table.size('O') != 2 * D) {
        return fail(SEQMIX_ERR_SHAPE, scheme, ": ", table.origin('O'), ", expected ", D, " or ",
                    2 * D);
    }
    if (block.output && table.size('F') != outputs * D) {
        return fail(SEQMIX_ERR_SHAPE, scheme, ": ", table.origin('F'), ", expected ", outputs * D);
    }
    if (block.output && !block.bias) {
        return fail(SEQMIX_ERR_UNSUPPORTED, scheme, ": an output_linear without a bias");
    }
    attributes.set("d_model", D);
    attributes.set("mixer", std::string(block.low_rank ? "s4" : "s4d"));
    attributes.set("mixer.d_state", 2 * M);
    attributes.set("mixer.n_ssm", table.size('S'));
    attributes.set("mixer.channels", outputs);
    attributes.set("mixer.bidirectional", kernels != outputs);
    attributes.set("mixer.dt_transform", options.dt_transform);
    attributes.set("mixer.imag_sign",
                   std::string(block.layout->form == S4Form::v4 ? "negative" : "positive"));
    attributes.set("mixer.output", std::string(!block.output              ? "none"
                                               : table.size('O') == 2 * D ? "glu"
                                                                          : "linear"));
    if (block.low_rank) {
        attributes.set("mixer.rank", table.size('Q'));
        attributes.set("mixer.l_kernel", block.l_kernel);
        if (block.l_kernel > 0) {
            attributes.set("mixer.kernel_length", block.l_kernel);
        }
    } else {
        attributes.set("mixer.discretization", options.discretization);
        if (block.layout->form == S4Form::v4 && table.size('T') > 1) {
            attributes.set("mixer.dt_tie", false);
        }
    }
    return {};
}

Status read_options(const char* scheme, SchemeOptions& given, bool with_norm, S4Options* out) {
    if (with_norm) {
        SEQMIX_TRY(given.flag(scheme, "prenorm", &out->prenorm));
    }
    SEQMIX_TRY(given.choice(scheme, "discretization", "zoh|bilinear|dss", &out->discretization));
    return given.choice(scheme, "dt_transform", "exp|softplus", &out->dt_transform);
}

constexpr const char* kLayers = "s4_layers.";
constexpr const char* kModelLayers = "model.layers.";
constexpr const char* kLightning = "model.layers.0.layer.";
constexpr double kNormEps = 1e-5;  // torch's default for both norms

// A norm whose tensors begin with `name`: "batch" or "layer". Slots begin with `slot`.
const char* expect_norm(const TensorNames& names, NameTable& table, size_t child,
                        const std::string& name, const std::string& slot) {
    const bool batch = names.has(name + "running_mean") || names.has(name + "running_var");
    const std::string inner = names.has(name + "ln.weight") ? name + "ln." : name;
    table.expect(child, inner + "weight", slot + "weight", "D");
    table.expect(child, inner + "bias", slot + "bias", "D");
    if (!batch) return "layer";
    table.expect(child, name + "running_mean", slot + "running_mean", "D");
    table.expect(child, name + "running_var", slot + "running_var", "D");
    table.ignore(name + "num_batches_tracked");
    return "batch";
}

void set_norm(const char* kind, bool postnorm, Attributes& block) {
    block.set("norm", std::string(kind));
    block.set("norm_eps", kNormEps);
    block.set("postnorm", postnorm);
    block.set("residual", true);
}

bool has_prefix(const TensorNames& names, std::string_view prefix) {
    return std::any_of(names.begin(), names.end(),
                       [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

// The first of `choices` that some tensor's name begins with.
const char* find_prefix(const TensorNames& names, std::initializer_list<const char*> choices) {
    for (const char* prefix : choices) {
        if (has_prefix(names, prefix)) return prefix;
    }
    return *choices.begin();
}

}  // namespace

bool is_s4_classifier(const TensorNames& names) {
    for (const char* end : {".layer.kernel.inv_dt", ".layer.kernel.C", ".kernel.kernel.log_dt",
                            ".kernel.kernel.C", ".kernel.log_A_real", ".kernel.C"}) {
        if (names.has_in_layers(kLayers, end)) {
            return true;
        }
    }
    return false;
}

bool is_s4_model(const TensorNames& names) {
    const bool around = names.has("encoder.0.weight") || names.has("encoder.weight") ||
                        names.has_in_layers(kModelLayers, ".norm.norm.weight") ||
                        names.has("decoder.0.output_transform.weight") ||
                        names.has("decoder.output_transform.weight");
    if (!around) return false;
    for (const S4Layout& layout : kLayouts) {
        for (const char* end : {"C", "inv_dt", "log_dt"}) {
            if (names.has_in_layers(kModelLayers, std::string(".layer.") + layout.kernel + end)) {
                return true;
            }
        }
    }
    return false;
}

bool is_s4_block(const TensorNames& names) {
    return find_layout(names, "") != nullptr || find_layout(names, kLightning) != nullptr;
}

Status plan_s4_classifier(TensorNames& names, bool lenient, SchemeOptions& given, StackSpec& out) {
    constexpr const char* kScheme = "s4_classifier";
    out.scheme = kScheme;
    S4Options options;
    SEQMIX_TRY(read_options(kScheme, given, true, &options));
    int64_t layers = 0;
    SEQMIX_TRY(names.count_layers(kLayers, &layers));
    const bool encoder_bias = names.has("encoder.bias"), head_bias = names.has("decoder.bias");
    NameTable table(kScheme, names);
    size_t child = out.add_child("encoder", "linear");
    table.expect(child, "encoder.weight", "weight", "D,I");
    if (encoder_bias) {
        table.expect(child, "encoder.bias", "bias", "D");
    }
    std::vector<S4Block> blocks(static_cast<size_t>(layers));
    std::vector<const char*> norms;
    for (int64_t i = 0; i < layers; ++i) {
        const std::string number = std::to_string(i);
        S4Block& block = blocks[static_cast<size_t>(i)];
        SEQMIX_TRY(read_block(kScheme, names, kLayers + number + ".", &block));
        child = out.add_child("block", "block");
        norms.push_back(expect_norm(names, table, child, "norms." + number + ".", "norm."));
        expect_block(table, child, block);
    }
    out.add_child("pool", "pool");
    child = out.add_child("head", "linear");
    table.expect(child, "decoder.weight", "weight", "C,D");
    if (head_bias) {
        table.expect(child, "decoder.bias", "bias", "C");
    }
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());

    const int64_t d_model = table.size('D');
    set_linear_attributes(table.size('I'), d_model, encoder_bias, out.children[0].attributes);
    for (size_t i = 0; i < blocks.size(); ++i) {
        Attributes& block = out.children[i + 1].attributes;
        SEQMIX_TRY(set_block(kScheme, table, options, blocks[i], block));
        set_norm(norms[i], !options.prenorm, block);
    }
    out.children[blocks.size() + 1].attributes.set("d_model", d_model);
    out.children[blocks.size() + 1].attributes.set("kind", std::string("mean"));
    set_linear_attributes(d_model, table.size('C'), head_bias, out.children.back().attributes);
    set_stack_attributes(table, false, out);
    return {};
}

Status plan_s4_model(TensorNames& names, bool lenient, SchemeOptions& given, StackSpec& out) {
    constexpr const char* kScheme = "s4_model";
    out.scheme = kScheme;
    S4Options options;
    std::string pooling = "mean";
    SEQMIX_TRY(read_options(kScheme, given, false, &options));
    SEQMIX_TRY(given.choice(kScheme, "head", "mean|last|all", &pooling));
    int64_t layers = 0;
    SEQMIX_TRY(names.count_layers(kModelLayers, &layers));
    for (const auto& [name, entry] : names) {
        if (name.starts_with("model.") && name.ends_with("norm.norm.m")) {
            return fail(
                SEQMIX_ERR_UNSUPPORTED, kScheme, ": tensor ", in_quotes(*entry.stored_name),
                " is of a LayerNorm with one scale for all channels, expected one for each");
        }
    }
    const std::string encoder = find_prefix(names, {"encoder.0.", "encoder."});
    const std::string decoder =
        find_prefix(names, {"decoder.0.output_transform.", "decoder.output_transform."});
    const bool linear = names.has(encoder + "bias"), head_bias = names.has(decoder + "bias");
    const bool prenorm = has_prefix(names, "model.norm.");
    NameTable table(kScheme, names);
    size_t child =
        linear ? out.add_child("encoder", "linear") : out.add_child("embedding", "embedding");
    table.expect(child, encoder + "weight", "weight", linear ? "D,I" : "V,D");
    if (linear) {
        table.expect(child, encoder + "bias", "bias", "D");
    }
    std::vector<S4Block> blocks(static_cast<size_t>(layers));
    std::vector<const char*> norms;
    for (int64_t i = 0; i < layers; ++i) {
        const std::string layer = kModelLayers + std::to_string(i) + ".";
        S4Block& block = blocks[static_cast<size_t>(i)];
        SEQMIX_TRY(read_block(kScheme, names, layer + "layer.", &block));
        child = out.add_child("block", "block");
        norms.push_back(expect_norm(names, table, child, layer + "norm.norm.", "norm."));
        expect_block(table, child, block);
    }
    const char* last_norm = nullptr;
    if (prenorm) {
        child = out.add_child("norm", "norm");
        last_norm = expect_norm(names, table, child, "model.norm.norm.", "");
    }
    if (pooling != "all") {
        out.add_child("pool", "pool");
    }
    child = out.add_child("head", "linear");
    table.expect(child, decoder + "weight", "weight", "C,D");
    if (head_bias) {
        table.expect(child, decoder + "bias", "bias", "C");
    }
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());

    const int64_t d_model = table.size('D');
    size_t block = 0;
    for (ChildSpec& spec : out.children) {
        Attributes& attributes = spec.attributes;
        if (spec.role == "encoder") {
            set_linear_attributes(table.size('I'), d_model, true, attributes);
        } else if (spec.role == "head") {
            set_linear_attributes(d_model, table.size('C'), head_bias, attributes);
        } else {
            attributes.set("d_model", d_model);
        }
        if (spec.role == "embedding") {
            attributes.set("vocab_size", table.size('V'));
        } else if (spec.role == "norm") {
            attributes.set("kind", std::string(last_norm));
            attributes.set("eps", kNormEps);
        } else if (spec.role == "pool") {
            attributes.set("kind", pooling);
        } else if (spec.role == "block") {
            SEQMIX_TRY(set_block(kScheme, table, options, blocks[block], attributes));
            set_norm(norms[block], !prenorm, attributes);
            ++block;
        }
    }
    set_stack_attributes(table, false, out);
    return {};
}

Status plan_s4_block(TensorNames& names, bool lenient, SchemeOptions& given, StackSpec& out) {
    constexpr const char* kScheme = "s4_block";
    out.scheme = kScheme;
    S4Options options;
    SEQMIX_TRY(read_options(kScheme, given, false, &options));
    S4Block block;
    SEQMIX_TRY(
        read_block(kScheme, names, find_layout(names, "") != nullptr ? "" : kLightning, &block));
    NameTable table(kScheme, names);
    const size_t child = out.add_child("block", "block");
    expect_block(table, child, block);
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());
    Attributes& attributes = out.children[child].attributes;
    SEQMIX_TRY(set_block(kScheme, table, options, block, attributes));
    attributes.set("norm", std::string("none"));
    attributes.set("residual", false);
    set_stack_attributes(table, false, out);
    return {};
}

}  // namespace seqmix
