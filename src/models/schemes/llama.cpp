// Models like Llama: RMSNorm, rotary attention with grouped heads, SwiGLU. Three sets of names:
//
//   transformers  model.embed_tokens  model.layers.{L}.{input_layernorm,self_attn.{q,k,v,o}_proj,
//                 post_attention_layernorm,mlp.{gate,up,down}_proj}  model.norm  lm_head
//   Meta's        tok_embeddings  layers.{L}.{attention_norm,attention.{wq,wk,wv,wo},ffn_norm,
//                 feed_forward.{w1,w3,w2}}  norm  output: what llama2.c's files get here
//   llama.cpp's   token_embd  blk.{L}.{attn_norm,attn_{q,k,v,output} or attn_{qkv,output},ffn_norm,
//                 ffn_{gate,up,down}}  output_norm  output  rope_freqs: of GGUF files
//
// The first has q and k in rows for pairs (i, i + d/2), the others for pairs (2i, 2i + 1). A layer is two
// blocks: x + attention(norm x), then x + mlp(norm x).
#include <cmath>
#include <cstdlib>
#include <string>

#include "contract/schema.h"
#include "models/formats/json.h"
#include "models/schemes/gguf_keys.h"
#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr const char* kLlama = "llama";
constexpr const char* kMeta = "llama2c";
constexpr const char* kGguf = "gguf_llama";
constexpr const char* kSource = "config.json";

// Names of one of the sets, after the prefix.
struct Names {
    const char *embedding, *norm, *head, *layers;
    const char *attention_norm, *q, *k, *v, *o, *mlp_norm, *gate, *up, *down;
};
constexpr Names kTransformers = {"embed_tokens.weight",     "norm.weight",
                                 "lm_head.weight",          "layers.",
                                 ".input_layernorm.weight", ".self_attn.q_proj",
                                 ".self_attn.k_proj",       ".self_attn.v_proj",
                                 ".self_attn.o_proj",       ".post_attention_layernorm.weight",
                                 ".mlp.gate_proj",          ".mlp.up_proj",
                                 ".mlp.down_proj"};
constexpr Names kMetas = {
    "tok_embeddings.weight",  "norm.weight",      "output.weight",    "layers.",
    ".attention_norm.weight", ".attention.wq",    ".attention.wk",    ".attention.wv",
    ".attention.wo",          ".ffn_norm.weight", ".feed_forward.w1", ".feed_forward.w3",
    ".feed_forward.w2"};
constexpr Names kLlamaCpps = {"token_embd.weight", "output_norm.weight",
                              "output.weight",     "blk.",
                              ".attn_norm.weight", ".attn_q",
                              ".attn_k",           ".attn_v",
                              ".attn_output",      ".ffn_norm.weight",
                              ".ffn_gate",         ".ffn_up",
                              ".ffn_down"};
constexpr const char* kFusedQkv = ".attn_qkv";  // llama.cpp's alone
constexpr const char* kRopeFactors = "rope_freqs.weight";

constexpr const char* kPrefixes[] = {"model.", ""};

const char* find_prefix(const TensorNames& names) {
    for (const char* prefix : kPrefixes) {
        const std::string layers = std::string(prefix) + "layers.";
        if (names.has_in_layers(layers, ".self_attn.q_proj.weight") &&
            names.has_in_layers(layers, ".input_layernorm.weight") &&
            names.has_in_layers(layers, ".mlp.gate_proj.weight")) {
            return prefix;
        }
    }
    return nullptr;
}

struct Facts {
    const char* scheme;
    const Names* names;
    std::string prefix;
    int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0, max_tokens = 2048;
    bool qkv_bias = false, out_bias = false, mlp_bias = false, tied = false, fused = false;
    double norm_eps = 1e-6;
    Attributes rotary;               // mixer.rotary, mixer.rope_*
    const GgufKeys* keys = nullptr;  // of a GGUF file
};

// ------------------------------------------------------------------ config.json of transformers

Status get_size(const Json& config, const char* key, int64_t* out) {
    std::optional<int64_t> value;
    SEQMIX_TRY(get_int(config, kSource, key, value));
    if (value && (*value < 1 || *value > kMaxSize)) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", key, "' is ", *value, ", expected 1 to ",
                    kMaxSize);
    }
    *out = value.value_or(*out);
    return {};
}

Status read_factors(const Json& scaling, const char* key, const char* attribute, Facts* facts) {
    const auto* list = find_as<Json::Array>(scaling, key);
    std::vector<double> factors;
    for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
        double value = 0;
        if (!get_number((*list)[i], &value)) {
            return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", key, "' holds ",
                        describe((*list)[i]), ", expected numbers");
        }
        factors.push_back(value);
    }
    facts->rotary.set(attribute, std::move(factors));
    return {};
}

// The members of rope_scaling that are numbers, as attributes.
Status read_scaling(const Json& config, const Json& scaling, const std::string& kind,
                    Facts* facts) {
    const struct {
        const char* key;
        const char* attribute;
    } rows[] = {{"factor", "mixer.rope_factor"},
                {"low_freq_factor", "mixer.rope_low_freq_factor"},
                {"high_freq_factor", "mixer.rope_high_freq_factor"},
                {"beta_fast", "mixer.rope_beta_fast"},
                {"beta_slow", "mixer.rope_beta_slow"},
                {"attention_factor", "mixer.rope_attention_factor"},
                {"mscale", "mixer.rope_mscale"},
                {"mscale_all_dim", "mixer.rope_mscale_all_dim"}};
    for (const auto& row : rows) {
        std::optional<double> value;
        SEQMIX_TRY(get_float(scaling, kSource, row.key, value));
        if (value) facts->rotary.set(row.attribute, *value);
    }
    std::optional<bool> truncate;
    SEQMIX_TRY(get_bool(scaling, kSource, "truncate", truncate));
    if (truncate) facts->rotary.set("mixer.rope_truncate", *truncate);
    // A key at the top wins over the one inside; dynamic always means what the model was made for.
    int64_t original = facts->max_tokens;
    if (kind != "dynamic") {
        SEQMIX_TRY(get_size(scaling, "original_max_position_embeddings", &original));
        SEQMIX_TRY(get_size(config, "original_max_position_embeddings", &original));
    }
    facts->rotary.set("mixer.rope_original_length", original);
    if (kind != "longrope") {
        return {};
    }
    if (facts->rotary.find("mixer.rope_factor") == nullptr) {
        facts->rotary.set("mixer.rope_factor",
                          static_cast<double>(facts->max_tokens) / static_cast<double>(original));
    }
    SEQMIX_TRY(read_factors(scaling, "short_factor", "mixer.rope_short_factors", facts));
    return read_factors(scaling, "long_factor", "mixer.rope_long_factors", facts);
}

Status read_rotary(const Json& config, Facts* facts) {
    facts->rotary.set("mixer.rotary", std::string("half"));
    std::optional<double> theta, partial;
    SEQMIX_TRY(get_float(config, kSource, "rope_theta", theta));
    SEQMIX_TRY(get_float(config, kSource, "partial_rotary_factor", partial));
    if (partial.value_or(1) != 1) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kLlama, ": config.json 'partial_rotary_factor' is ",
                    *partial, ", expected 1");
    }
    const Json* scaling = find_member(config, "rope_scaling");
    scaling = scaling == nullptr ? find_member(config, "rope_parameters") : scaling;
    std::string kind = "default";
    if (scaling != nullptr) {
        if (scaling->get_if<Json::Object>() == nullptr) {
            return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": 'rope_scaling' must be an object, got ",
                        describe(*scaling));
        }
        std::optional<std::string> type, older;
        SEQMIX_TRY(get_string(*scaling, kSource, "rope_type", type));
        SEQMIX_TRY(get_string(*scaling, kSource, "type", older));
        kind = type.value_or(older.value_or(kind));
        std::optional<double> inside;
        SEQMIX_TRY(get_float(*scaling, kSource, "rope_theta", inside));
        theta = inside ? inside : theta;
    }
    facts->rotary.set("mixer.rope_theta", theta.value_or(10000));
    if (kind == "default") {
        return {};
    }
    for (const char* known : {"linear", "dynamic", "llama3", "yarn", "longrope"}) {
        if (kind == known) {
            facts->rotary.set("mixer.rope_scaling", kind);
            return read_scaling(config, *scaling, kind, facts);
        }
    }
    return fail(SEQMIX_ERR_UNSUPPORTED, kLlama, ": config.json 'rope_type' is ", in_quotes(kind),
                ", expected default, linear, dynamic, llama3, yarn or longrope");
}

Status read_config(const Json& config, Facts* facts) {
    int64_t layers = facts->layers, hidden = 0;
    SEQMIX_TRY(get_size(config, "num_attention_heads", &facts->heads));
    facts->kv_heads = facts->heads;
    SEQMIX_TRY(get_size(config, "num_key_value_heads", &facts->kv_heads));
    SEQMIX_TRY(get_size(config, "num_hidden_layers", &layers));
    SEQMIX_TRY(get_size(config, "max_position_embeddings", &facts->max_tokens));
    SEQMIX_TRY(get_size(config, "hidden_size", &hidden));
    SEQMIX_TRY(get_size(config, "head_dim", &facts->head_dim));
    if (layers != facts->layers) {
        return fail(SEQMIX_ERR_SHAPE, kLlama, ": the tensors have ", facts->layers,
                    " layers (1 + the largest index), but config.json gives ", layers,
                    " by 'num_hidden_layers'");
    }
    std::optional<double> eps;
    std::optional<std::string> activation;
    std::optional<bool> tied;
    SEQMIX_TRY(get_float(config, kSource, "rms_norm_eps", eps));
    SEQMIX_TRY(get_string(config, kSource, "hidden_act", activation));
    SEQMIX_TRY(get_bool(config, kSource, "tie_word_embeddings", tied));
    if (eps && !(*eps >= 0 && *eps <= 1)) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": 'rms_norm_eps' is ", *eps,
                    ", expected 0 to 1");
    }
    facts->norm_eps = eps.value_or(facts->norm_eps);
    if (activation.value_or("silu") != "silu") {
        return fail(SEQMIX_ERR_UNSUPPORTED, kLlama, ": config.json 'hidden_act' is ",
                    in_quotes(*activation), ", expected silu");
    }
    facts->tied = facts->tied && tied.value_or(false);
    return read_rotary(config, facts);
}

// ------------------------------------------------------------------ all

// A number of the file's metadata, which its reader has written.
int64_t metadata_number(const Checkpoint& checkpoint, const char* key) {
    const auto found = checkpoint.metadata.find(key);
    return found == checkpoint.metadata.end() ? 0
                                              : std::strtoll(found->second.c_str(), nullptr, 10);
}

Status check_heads(const Facts& facts, NameTable& table) {
    const int64_t D = table.size('D');
    if (facts.heads % facts.kv_heads != 0 || (facts.head_dim == 0 && D % facts.heads != 0)) {
        return fail(SEQMIX_ERR_SHAPE, facts.scheme, ": ", table.origin('D'), " with ", facts.heads,
                    " heads of which ", facts.kv_heads,
                    " have keys, expected numbers that divide one another");
    }
    return {};
}

void expect_layer(const Facts& facts, int64_t layer, int64_t head_dim, NameTable& table,
                  StackSpec& out) {
    const Names& n = *facts.names;
    const std::string prefix = facts.prefix + n.layers + std::to_string(layer);
    const char* q = table.keep(std::to_string(facts.heads * head_dim));
    const char* kv = table.keep(std::to_string(facts.kv_heads * head_dim));
    const auto map = [&](size_t child, const char* name, const char* slot, const std::string& rows,
                         const std::string& columns, bool bias) {
        table.expect(child, prefix + name + ".weight", std::string("mixer.") + slot + ".weight",
                     table.keep(rows + "," + columns));
        if (bias) {
            table.expect(child, prefix + name + ".bias", std::string("mixer.") + slot + ".bias",
                         table.keep(rows));
        }
    };
    size_t child = out.add_child("block", "block");
    table.expect(child, prefix + n.attention_norm, "norm.weight", "D");
    if (facts.fused) {
        const int64_t rows = (facts.heads + 2 * facts.kv_heads) * head_dim;
        map(child, kFusedQkv, "qkv", std::to_string(rows), "D", facts.qkv_bias);
    } else {
        map(child, n.q, "q", q, "D", facts.qkv_bias);
        map(child, n.k, "k", kv, "D", facts.qkv_bias);
        map(child, n.v, "v", kv, "D", facts.qkv_bias);
    }
    map(child, n.o, "out", "D", q, facts.out_bias);
    table.ignore(prefix + ".self_attn.rotary_emb.inv_freq");
    child = out.add_child("block", "block");
    table.expect(child, prefix + n.mlp_norm, "norm.weight", "D");
    map(child, n.gate, "gate", "J", "D", facts.mlp_bias);
    map(child, n.up, "fc1", "J", "D", facts.mlp_bias);
    map(child, n.down, "fc2", "D", "J", facts.mlp_bias);
}

void set_attributes(const Facts& facts, int64_t head_dim, const NameTable& table, StackSpec& out) {
    int64_t block = 0;
    for (ChildSpec& child : out.children) {
        Attributes& attributes = child.attributes;
        set_token_attributes(table, "rms", facts.norm_eps, child);
        if (child.role == "block") {
            if (block++ % 2 == 0) {
                attributes.set("mixer", std::string("attention"));
                attributes.set("mixer.n_heads", facts.heads);
                attributes.set("mixer.n_kv_heads", facts.kv_heads);
                attributes.set("mixer.head_dim", head_dim);
                attributes.set("mixer.max_tokens", facts.max_tokens);
                attributes.set("mixer.qkv", std::string(facts.fused ? "fused" : "separate"));
                attributes.set("mixer.qkv_bias", facts.qkv_bias);
                attributes.set("mixer.out_bias", facts.out_bias);
                for (const auto& [name, value] : facts.rotary) attributes.set(name, value);
            } else {
                attributes.set("mixer", std::string("mlp"));
                attributes.set("mixer.d_hidden", table.size('J'));
                attributes.set("mixer.activation", std::string("silu"));
                attributes.set("mixer.gated", true);
                attributes.set("mixer.bias", facts.mlp_bias);
            }
        }
    }
    set_stack_attributes(table, facts.tied, out);
}

Status plan(const Facts& facts, TensorNames& names, bool lenient, StackSpec& out) {
    const Names& n = *facts.names;
    NameTable table(facts.scheme, names);
    const std::string embedding = facts.prefix + n.embedding;
    size_t child = out.add_child("embedding", "embedding");
    table.expect(child, embedding, "weight", "V,D");
    // The width of a head follows from the embedding's, unless it is given.
    const TensorNames::Entry* entry = names.find(embedding);
    const bool sized = entry != nullptr && entry->tensor->shape.size() == 2;
    const int64_t head_dim =
        facts.head_dim > 0 ? facts.head_dim : (sized ? entry->tensor->shape[1] : 1) / facts.heads;
    if (head_dim > kMaxSize / facts.heads) {
        return fail(SEQMIX_ERR_LIMIT, facts.scheme, ": ", facts.heads, " heads of ", head_dim,
                    ", expected at most ", kMaxSize, " columns");
    }
    for (int64_t layer = 0; layer < facts.layers; ++layer) {
        expect_layer(facts, layer, head_dim, table, out);
    }
    child = out.add_child("norm", "norm");
    table.expect(child, facts.prefix + n.norm, "weight", "D");
    child = out.add_child("head", "linear");
    table.expect(child, facts.tied ? embedding : n.head, "weight", "V,D");
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    if (facts.keys != nullptr) {
        SEQMIX_TRY(facts.keys->cross_check("embedding_length", 'D', table));
        SEQMIX_TRY(facts.keys->cross_check("feed_forward_length", 'J', table));
    }
    SEQMIX_TRY(table.verify());
    SEQMIX_TRY(check_heads(facts, table));
    set_attributes(facts, head_dim, table, out);
    return {};
}

// ------------------------------------------------------------------ keys of GGUF

// Divisors of the frequencies (Llama 3.1's scaling, as llama.cpp keeps it): LongRoPE's, the same at
// every length.
Status read_rope_factors(TensorNames::Entry* entry, int64_t head_dim, double factor, Facts* facts) {
    entry->used = true;
    const StoredTensor& tensor = *entry->tensor;
    if (tensor.shape != std::vector<int64_t>{head_dim / 2} || tensor.dtype != DType::f32 ||
        tensor.coding != Coding::plain) {
        return fail(SEQMIX_ERR_SHAPE, kGguf, ": tensor ", in_quotes(*entry->stored_name),
                    " has shape ",
                    Dims{tensor.shape.data(), static_cast<int32_t>(tensor.shape.size())}, " ",
                    tensor.dtype_text, ", expected (", head_dim / 2, ") F32");
    }
    std::vector<double> divisors;
    for (int64_t i = 0; i < head_dim / 2; ++i) {
        const double value =
            element_to_f64(static_cast<const char*>(tensor.data) + i * 4, DType::f32);
        if (!(value > 0 && std::isfinite(value))) {
            return fail(SEQMIX_ERR_BAD_FORMAT, kGguf, ": tensor ", in_quotes(*entry->stored_name),
                        " holds ", value, " at ", i, ", expected divisors above 0");
        }
        divisors.push_back(value * factor);
    }
    facts->rotary.set("mixer.rope_scaling", std::string("longrope"));
    facts->rotary.set("mixer.rope_original_length", facts->max_tokens);
    facts->rotary.set("mixer.rope_attention_factor", 1.0);
    facts->rotary.set("mixer.rope_short_factors", divisors);
    facts->rotary.set("mixer.rope_long_factors", std::move(divisors));
    return {};
}

// What else yarn has was found absent before.
Status read_yarn(const GgufKeys& keys, double factor, Facts* facts) {
    std::optional<double> attention, older, fast, slow;
    int64_t original = facts->max_tokens;
    SEQMIX_TRY(keys.size("rope.scaling.original_context_length", &original));
    SEQMIX_TRY(keys.number("rope.scaling.attn_factor", &attention));
    SEQMIX_TRY(keys.number("rope.scaling.yarn_attn_factor", &older));
    SEQMIX_TRY(keys.number("rope.scaling.yarn_beta_fast", &fast));
    SEQMIX_TRY(keys.number("rope.scaling.yarn_beta_slow", &slow));
    const double growth = factor > 1 ? 0.1 * std::log(factor) + 1 : 1.0;
    facts->rotary.set("mixer.rope_scaling", std::string("yarn"));
    facts->rotary.set("mixer.rope_original_length", original);
    facts->rotary.set("mixer.rope_attention_factor",
                      growth * attention.value_or(1) * older.value_or(1));
    if (fast) facts->rotary.set("mixer.rope_beta_fast", *fast);
    if (slow) facts->rotary.set("mixer.rope_beta_slow", *slow);
    return {};
}

Status read_rotary(const GgufKeys& keys, TensorNames& names, Facts* facts) {
    facts->rotary.set("mixer.rotary", std::string("interleaved"));
    int64_t turned = facts->head_dim;
    std::optional<double> theta, given, older;
    std::optional<std::string> kind;
    SEQMIX_TRY(keys.size("rope.dimension_count", &turned));
    SEQMIX_TRY(keys.number("rope.freq_base", &theta));
    SEQMIX_TRY(keys.text("rope.scaling.type", &kind));
    SEQMIX_TRY(keys.number("rope.scaling.factor", &given));
    SEQMIX_TRY(keys.number("rope.scale_linear", &older));
    if (turned != facts->head_dim) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kGguf, ": 'llama.rope.dimension_count' is ", turned,
                    ", expected the width of a head, ", facts->head_dim);
    }
    if (kind && *kind != "none" && *kind != "linear" && *kind != "yarn") {
        return fail(SEQMIX_ERR_UNSUPPORTED, kGguf, ": 'llama.rope.scaling.type' is ",
                    in_quotes(*kind, 40), ", expected none, linear or yarn");
    }
    const std::string scaling = kind.value_or("linear");
    double factor = given.value_or(older.value_or(1));
    factor = factor == 0 || scaling == "none" ? 1 : factor;
    facts->rotary.set("mixer.rope_theta", theta.value_or(10000));
    facts->rotary.set("mixer.rope_factor", factor);
    TensorNames::Entry* factors = names.find(kRopeFactors);
    if (scaling == "yarn" && factors != nullptr) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kGguf,
                    ": 'llama.rope.scaling.type' is yarn and tensor '", kRopeFactors,
                    "' is there, expected one of the two");
    }
    if (scaling == "yarn") return read_yarn(keys, factor, facts);
    if (factors != nullptr) return read_rope_factors(factors, facts->head_dim, factor, facts);
    if (factor != 1) facts->rotary.set("mixer.rope_scaling", std::string("linear"));
    return {};
}

Status read_keys(const GgufKeys& keys, TensorNames& names, Facts* facts) {
    SEQMIX_TRY(keys.check_layers(facts->layers));
    SEQMIX_TRY(keys.norm_eps(&facts->norm_eps));
    // Experts, windows, what Granite and others multiply by, and the rest of yarn.
    SEQMIX_TRY(keys.refuse({"expert_count", "attention.sliding_window", "attention.clamp_kqv",
                            "attention.scale", "attn_logit_softcapping", "final_logit_softcapping",
                            "use_parallel_residual", "rope.scaling.yarn_log_multiplier"}));
    SEQMIX_TRY(keys.refuse(
        {"logit_scale", "residual_scale", "embedding_scale", "rope.scaling.yarn_ext_factor"}, 1));
    SEQMIX_TRY(keys.size("attention.head_count", &facts->heads));
    if (facts->heads < 1) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kGguf, ": there is no key 'llama.attention.head_count'");
    }
    facts->kv_heads = facts->heads;
    SEQMIX_TRY(keys.size("attention.head_count_kv", &facts->kv_heads));
    SEQMIX_TRY(keys.size("context_length", &facts->max_tokens));
    const TensorNames::Entry* entry = names.find(kLlamaCpps.embedding);
    const bool sized = entry != nullptr && entry->tensor->shape.size() == 2;
    facts->head_dim = sized ? entry->tensor->shape[1] / facts->heads : 0;
    SEQMIX_TRY(keys.size("attention.key_length", &facts->head_dim));
    int64_t values = facts->head_dim;
    SEQMIX_TRY(keys.size("attention.value_length", &values));
    if (values != facts->head_dim) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kGguf, ": 'llama.attention.value_length' is ", values,
                    ", expected that of the keys, ", facts->head_dim);
    }
    return read_rotary(keys, names, facts);
}

}  // namespace

bool is_llama(const TensorNames& names) { return find_prefix(names) != nullptr; }
bool is_llama2c(const TensorNames& names) {
    return names.has_in_layers("layers.", ".attention.wq.weight") &&
           names.has_in_layers("layers.", ".feed_forward.w1.weight");
}

Status plan_llama(const Checkpoint& checkpoint, TensorNames& names, bool lenient, StackSpec& out) {
    out.scheme = kLlama;
    if (checkpoint.config == nullptr) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kLlama,
                    ": there is no config.json, which gives the number of heads");
    }
    const char* prefix = find_prefix(names);
    Facts facts{};
    facts.scheme = kLlama;
    facts.names = &kTransformers;
    facts.prefix = prefix == nullptr ? kPrefixes[0] : prefix;
    const std::string layers = facts.prefix + "layers.";
    SEQMIX_TRY(names.count_layers(layers, &facts.layers));
    facts.qkv_bias = names.has_in_layers(layers, ".self_attn.q_proj.bias");
    facts.out_bias = names.has_in_layers(layers, ".self_attn.o_proj.bias");
    facts.mlp_bias = names.has_in_layers(layers, ".mlp.gate_proj.bias");
    facts.tied = !names.has(kTransformers.head);
    SEQMIX_TRY(read_config(*checkpoint.config, &facts));
    if (facts.heads < 1) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, kLlama,
                    ": config.json has no 'num_attention_heads'");
    }
    return plan(facts, names, lenient, out);
}

Status plan_llama2c(const Checkpoint& checkpoint, TensorNames& names, bool lenient,
                    StackSpec& out) {
    out.scheme = kMeta;
    Facts facts{};
    facts.scheme = kMeta;
    facts.names = &kMetas;
    SEQMIX_TRY(names.count_layers(kMetas.layers, &facts.layers));
    facts.heads = metadata_number(checkpoint, "n_heads");
    facts.kv_heads = metadata_number(checkpoint, "n_kv_heads");
    facts.max_tokens = metadata_number(checkpoint, "max_seq_len");
    if (facts.heads < 1 || facts.kv_heads < 1) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kMeta, ": a file of ", checkpoint.format,
                    " that does not say n_heads, expected llama2.c's .bin");
    }
    facts.tied = !names.has(kMetas.head);
    facts.norm_eps = 1e-5;
    facts.rotary.set("mixer.rotary", std::string("interleaved"));
    return plan(facts, names, lenient, out);
}

Status plan_gguf_llama(const GgufKeys& keys, TensorNames& names, bool lenient, StackSpec& out) {
    out.scheme = kGguf;
    Facts facts{};
    facts.scheme = kGguf;
    facts.names = &kLlamaCpps;
    facts.keys = &keys;
    const char* layers = kLlamaCpps.layers;
    SEQMIX_TRY(names.count_layers(layers, &facts.layers));
    facts.fused = names.has_in_layers(layers, ".attn_qkv.weight");
    facts.qkv_bias = names.has_in_layers(layers, facts.fused ? ".attn_qkv.bias" : ".attn_q.bias");
    facts.out_bias = names.has_in_layers(layers, ".attn_output.bias");
    facts.mlp_bias = names.has_in_layers(layers, ".ffn_gate.bias");
    facts.tied = !names.has(kLlamaCpps.head);
    SEQMIX_TRY(read_keys(keys, names, &facts));
    return plan(facts, names, lenient, out);
}

}  // namespace seqmix
