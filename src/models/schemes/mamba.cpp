// Mamba-1 language models: the names of mamba_ssm, of transformers, and of FalconMamba, whose dt, B
// and C pass an RMS normalisation without weights.
//
//   backbone.embedding.weight (transformers: embeddings)   backbone.layers.{L}.norm.*
//   backbone.layers.{L}.mixer.*   backbone.norm_f.*   lm_head.weight (absent: the embedding's)
//
// Layers that config.json calls attention (attn_layer_idx) have mixer.{in_proj,out_proj} only.
#include <string>
#include <utility>

#include "contract/schema.h"
#include "models/formats/json.h"
#include "models/schemes/mamba_config.h"
#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr std::string_view kLayers = "backbone.layers.";

// Decisions that fix which names there must be.
struct Outline {
    std::string embedding;
    int64_t layers = 0;
    bool layer_norm = false;
    bool tied = false;
    MambaMixer mixer;
    MambaAttention attention;
    int64_t attention_width = 0;  // of a head
};

const char* scheme_name(MambaFlavour flavour) {
    switch (flavour) {
        case MambaFlavour::mamba_ssm: return "mamba_ssm";
        case MambaFlavour::mamba_hf: return "mamba_hf";
        case MambaFlavour::falcon_mamba: return "falcon_mamba";
    }
    return "";
}

Status read_config(MambaFlavour flavour, const Json* config, MambaConfig& out) {
    if (config == nullptr) {
        return {};
    }
    const bool own_dialect =
        find_member(*config, "d_model") != nullptr || find_member(*config, "n_layer") != nullptr;
    const bool other_dialect = find_member(*config, "hidden_size") != nullptr ||
                               find_member(*config, "num_hidden_layers") != nullptr;
    // The names of mamba_ssm come with either dialect: transformers renames the embedding on load.
    const bool ssm = flavour == MambaFlavour::mamba_ssm && (own_dialect || !other_dialect);
    return read_mamba_config(*config, ssm ? Dialect::mamba_ssm : Dialect::transformers, out);
}

Status count_layers(const char* scheme, const TensorNames& names, const MambaConfig& config,
                    bool lenient, int64_t* layers) {
    SEQMIX_TRY(names.count_layers(kLayers, layers));
    if (config.n_layer && config.n_layer->value != *layers) {
        if (!lenient) {
            return fail(SEQMIX_ERR_SHAPE, scheme, ": the tensors have ", *layers,
                        " layers (1 + the largest index), but config.json gives ",
                        config.n_layer->value, " by '", config.n_layer->key, "'");
        }
        *layers = config.n_layer->value;
    }
    return {};
}

Outline make_outline(MambaFlavour flavour, const TensorNames& names, const MambaConfig& config) {
    Outline outline;
    const bool singular = names.has("backbone.embedding.weight");
    const bool plural = names.has("backbone.embeddings.weight");
    const bool use_singular =
        flavour == MambaFlavour::mamba_ssm ? !plural || singular : singular && !plural;
    outline.embedding = use_singular ? "backbone.embedding.weight" : "backbone.embeddings.weight";
    outline.layer_norm = config.rms_norm ? !*config.rms_norm
                                         : names.has("backbone.norm_f.bias") ||
                                               names.has_in_layers(kLayers, ".norm.bias");
    // A head in the file is used even where config.json calls it tied: the two are then equal.
    outline.tied = !names.has("lm_head.weight") && config.tied.value_or(true);
    // Attention's maps have the same names: with such layers, the first that is none tells.
    int64_t first = 0;
    while (config.attention.has(first)) ++first;
    const auto has = [&](const std::string& end) {
        return config.attention.layers.empty()
                   ? names.has_in_layers(kLayers, end)
                   : names.has(std::string(kLayers) + std::to_string(first) + end);
    };
    outline.mixer.bias =
        config.bias.value_or(has(".mixer.in_proj.bias") || has(".mixer.out_proj.bias"));
    outline.mixer.conv_bias =
        config.conv_bias.value_or(names.has_in_layers(kLayers, ".mixer.conv1d.bias"));
    if (flavour == MambaFlavour::falcon_mamba) {
        outline.mixer.inner_norm = "rms";
        outline.mixer.inner_norm_eps = config.inner_norm_eps;
    }
    return outline;
}

// mamba_ssm's MHA: rows of in_proj are those of q, k, v.
void expect_attention(const Outline& outline, const std::string& prefix, size_t child,
                      NameTable& table) {
    const MambaAttention& attention = outline.attention;
    const int64_t q = attention.heads * outline.attention_width;
    const int64_t kv = attention.kv_heads * outline.attention_width;
    const char* rows = table.keep(std::to_string(q + 2 * kv));
    table.expect(child, prefix + "in_proj.weight", "mixer.qkv.weight",
                 table.keep(std::string(rows) + ",D"));
    table.expect(child, prefix + "out_proj.weight", "mixer.out.weight",
                 table.keep("D," + std::to_string(q)));
    if (attention.qkv_bias) {
        table.expect(child, prefix + "in_proj.bias", "mixer.qkv.bias", rows);
    }
    if (attention.out_bias) {
        table.expect(child, prefix + "out_proj.bias", "mixer.out.bias", "D");
    }
}

void set_attention_attributes(const Outline& outline, Attributes& attributes) {
    const MambaAttention& attention = outline.attention;
    attributes.set("mixer", std::string("attention"));
    attributes.set("mixer.n_heads", attention.heads);
    attributes.set("mixer.n_kv_heads", attention.kv_heads);
    attributes.set("mixer.head_dim", outline.attention_width);
    attributes.set("mixer.max_tokens", attention.max_tokens);
    attributes.set("mixer.qkv", std::string("fused"));
    attributes.set("mixer.qkv_bias", attention.qkv_bias);
    attributes.set("mixer.out_bias", attention.out_bias);
    attributes.set("mixer.scale", attention.scale);
    if (attention.rotary_dim > 0) {
        attributes.set("mixer.rotary", std::string(attention.interleaved ? "interleaved" : "half"));
        attributes.set("mixer.rotary_dim", attention.rotary_dim);
        attributes.set("mixer.rope_theta", attention.rotary_base);
    }
}

void expect_names(const Outline& outline, NameTable& table, StackSpec& out) {
    size_t child = out.add_child("embedding", "embedding");
    table.expect(child, outline.embedding, "weight", "V,D");
    for (int64_t layer = 0; layer < outline.layers; ++layer) {
        const std::string prefix = std::string(kLayers) + std::to_string(layer) + ".";
        child = out.add_child("block", "block");
        table.expect(child, prefix + "norm.weight", "norm.weight", "D");
        if (outline.layer_norm) {
            table.expect(child, prefix + "norm.bias", "norm.bias", "D");
        }
        if (outline.attention.has(layer)) {
            expect_attention(outline, prefix + "mixer.", child, table);
            continue;
        }
        expect_mixer(table, child, prefix + "mixer.", outline.mixer);
        // FalconMamba's unit weights for its fused kernel: buffers, not saved by current versions.
        table.ignore(prefix + "mixer.b_c_rms");
        table.ignore(prefix + "mixer.dt_rms");
    }
    child = out.add_child("norm", "norm");
    table.expect(child, "backbone.norm_f.weight", "weight", "D");
    if (outline.layer_norm) {
        table.expect(child, "backbone.norm_f.bias", "bias", "D");
    }
    child = out.add_child("head", "linear");
    table.expect(child, outline.tied ? outline.embedding : "lm_head.weight", "weight", "V,D");
}

// The width of a head follows from the embedding's, unless it is given.
Status outline_attention(MambaFlavour flavour, TensorNames& names, const MambaConfig& config,
                         Outline& outline) {
    const MambaAttention& attention = outline.attention = config.attention;
    if (attention.layers.empty()) {
        return {};
    }
    const TensorNames::Entry* embedding = names.find(outline.embedding);
    const int64_t d_model = embedding != nullptr && embedding->tensor->shape.size() == 2
                                ? embedding->tensor->shape[1]
                                : attention.heads;
    outline.attention_width =
        attention.head_dim > 0 ? attention.head_dim : d_model / attention.heads;
    const bool divides = attention.head_dim > 0 || d_model % attention.heads == 0;
    if (!divides || attention.heads % attention.kv_heads != 0 ||
        outline.attention_width > kMaxSize / (3 * attention.heads)) {
        return fail(SEQMIX_ERR_SHAPE, scheme_name(flavour), ": attn_cfg has ", attention.heads,
                    " heads, ", attention.kv_heads, " of keys, for a width of ", d_model,
                    ", expected numbers that divide one another");
    }
    return {};
}

Status check_sizes(const MambaConfig& config, NameTable& table) {
    const std::pair<char, const std::optional<ConfigSize>*> sizes[] = {
        {'D', &config.d_model}, {'E', &config.d_inner}, {'N', &config.d_state},
        {'K', &config.d_conv},  {'R', &config.dt_rank}, {'V', &config.vocab_size},
    };
    for (const auto& [letter, size] : sizes) {
        if (!*size) {
            continue;
        }
        int64_t value = (*size)->value;
        if (letter == 'V') {
            const int64_t multiple = config.vocab_multiple;
            const int64_t padded = (value + multiple - 1) / multiple * multiple;
            value = table.size('V') == padded ? padded : value;
        }
        SEQMIX_TRY(table.cross_check(letter, (*size)->key, value));
        table.set_default(letter, value);
    }
    return {};
}

void set_attributes(const Outline& outline, const MambaConfig& config, const NameTable& table,
                    StackSpec& out) {
    const char* norm = outline.layer_norm ? "layer" : "rms";
    int64_t layer = 0;
    for (ChildSpec& child : out.children) {
        Attributes& attributes = child.attributes;
        set_token_attributes(table, norm, config.norm_eps, child);
        if (child.role == "block") {
            attributes.set("residual", true);
            if (outline.attention.has(layer++)) {
                set_attention_attributes(outline, attributes);
            } else {
                set_mixer_attributes(table, outline.mixer, attributes);
            }
        }
    }
    set_stack_attributes(table, outline.tied, out);
}

}  // namespace

Status plan_mamba(MambaFlavour flavour, const Checkpoint& checkpoint, TensorNames& names,
                  bool lenient, StackSpec& out) {
    out.scheme = scheme_name(flavour);
    MambaConfig config;
    SEQMIX_TRY(read_config(flavour, checkpoint.config.get(), config));
    Outline outline = make_outline(flavour, names, config);
    SEQMIX_TRY(count_layers(scheme_name(flavour), names, config, lenient, &outline.layers));
    SEQMIX_TRY(outline_attention(flavour, names, config, outline));
    NameTable table(scheme_name(flavour), names);
    expect_names(outline, table, out);
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(check_sizes(config, table));
    SEQMIX_TRY(table.verify());
    set_attributes(outline, config, table, out);
    return {};
}

void expect_mixer(NameTable& table, size_t child, const std::string& name_prefix,
                  const MambaMixer& mixer) {
    struct Row {
        const char* name;
        const char* shape;
        bool present;
    };
    // First those that give one size each, so that a message blames the tensor that disagrees.
    const Row rows[] = {
        {"A_log", "E,N", true},
        {"conv1d.weight", "E,1,K", true},
        {"dt_proj.weight", "E,R", true},
        {"D", "E", true},
        {"in_proj.weight", "2E,D", true},
        {"in_proj.bias", "2E", mixer.bias},
        {"conv1d.bias", "E", mixer.conv_bias},
        {"x_proj.weight", "R+2N,E", true},
        {"dt_proj.bias", "E", true},
        {"out_proj.weight", "D,E", true},
        {"out_proj.bias", "D", mixer.bias},
    };
    for (const Row& row : rows) {
        if (row.present) {
            table.expect(child, name_prefix + row.name, std::string("mixer.") + row.name,
                         row.shape);
        }
    }
}

void set_mixer_attributes(const NameTable& table, const MambaMixer& mixer, Attributes& attributes) {
    attributes.set("mixer", std::string("mamba"));
    attributes.set("mixer.d_model", table.size('D'));
    attributes.set("mixer.d_inner", table.size('E'));
    attributes.set("mixer.d_state", table.size('N'));
    attributes.set("mixer.d_conv", table.size('K'));
    attributes.set("mixer.dt_rank", table.size('R'));
    attributes.set("mixer.bias", mixer.bias);
    attributes.set("mixer.conv_bias", mixer.conv_bias);
    attributes.set("mixer.inner_norm", std::string(mixer.inner_norm));
    attributes.set("mixer.inner_norm_eps", mixer.inner_norm_eps);
}

void set_linear_attributes(int64_t d_in, int64_t d_out, bool bias, Attributes& attributes) {
    attributes.set("d_in", d_in);
    attributes.set("d_out", d_out);
    attributes.set("bias", bias);
}

void set_token_attributes(const NameTable& table, const char* norm, double eps, ChildSpec& child) {
    Attributes& attributes = child.attributes;
    if (child.role == "head") {
        set_linear_attributes(table.size('D'), table.size('V'), false, attributes);
        return;
    }
    attributes.set("d_model", table.size('D'));
    if (child.role == "embedding") {
        attributes.set("vocab_size", table.size('V'));
    } else if (child.role == "norm") {
        attributes.set("kind", std::string(norm));
        attributes.set("eps", eps);
    } else if (child.role == "block") {
        attributes.set("norm", std::string(norm));
        attributes.set("norm_eps", eps);
    }
}

void set_stack_attributes(const NameTable& table, bool tied, StackSpec& out) {
    out.attributes.set("vocab_size", table.size('V'));
    out.attributes.set("d_model", table.size('D'));
    out.attributes.set("d_input", table.size('I'));
    out.attributes.set("n_classes", table.size('C'));
    out.attributes.set("tied", tied);
}

}  // namespace seqmix
