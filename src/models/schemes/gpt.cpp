// GPT-2 and what has its names: transformers' files, whose matrices are stored (in,out), and minGPT,
// nanoGPT and makemore, whose are (out,in). The shape of c_attn beside the width of wte tells.
//
//   wte, wpe  h.{L}.{ln_1,attn.c_attn,attn.c_proj,ln_2,mlp.c_fc,mlp.c_proj}  ln_f  (prefix transformer.)
//   lm_head.weight (never prefixed; absent: wte's)
//
// A layer is two blocks: x + attention(ln_1 x), then x + mlp(ln_2 x). Without a config.json the option
// `n_head` is required and `gelu` is tanh's unless it says exact.
#include <cmath>
#include <string>

#include "models/formats/json.h"
#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr const char* kScheme = "gpt2";
constexpr const char* kSource = "config.json";
constexpr const char* kPrefixes[] = {"transformer.", ""};
constexpr const char* kTelling[] = {".attn.c_attn.weight", ".mlp.c_fc.weight"};

const char* find_prefix(const TensorNames& names) {
    for (const char* prefix : kPrefixes) {
        for (const char* end : kTelling) {
            if (names.has_in_layers(std::string(prefix) + "h.", end)) {
                return prefix;
            }
        }
    }
    return nullptr;
}

struct GptFacts {
    std::string prefix;
    int64_t layers = 0, heads = 0;
    bool transposed = false;  // stored (in,out)
    bool qkv_bias = false, out_bias = false, mlp_bias = false, norm_bias = false, tied = false;
    double norm_eps = 1e-5;
    bool scaled = true, by_layer = false;  // scores
    std::string activation = "gelu_tanh";
};

Status read_activation(const std::string& name, std::string* out) {
    const struct {
        const char* name;
        const char* activation;
    } known[] = {{"gelu_new", "gelu_tanh"}, {"gelu_pytorch_tanh", "gelu_tanh"},
                 {"gelu", "gelu"},          {"relu", "relu"},
                 {"silu", "silu"},          {"swish", "silu"}};
    for (const auto& row : known) {
        if (name == row.name) {
            *out = row.activation;
            return {};
        }
    }
    return fail(SEQMIX_ERR_UNSUPPORTED, kScheme, ": config.json 'activation_function' is ",
                in_quotes(name), ", expected gelu_new, gelu_pytorch_tanh, gelu, relu or silu");
}

Status read_config(const Json& config, GptFacts* facts) {
    std::optional<int64_t> heads;
    std::optional<double> eps;
    std::optional<bool> scaled, by_layer, cross;
    std::optional<std::string> activation;
    SEQMIX_TRY(get_int(config, kSource, "n_head", heads));
    SEQMIX_TRY(get_float(config, kSource, "layer_norm_epsilon", eps));
    SEQMIX_TRY(get_bool(config, kSource, "scale_attn_weights", scaled));
    SEQMIX_TRY(get_bool(config, kSource, "scale_attn_by_inverse_layer_idx", by_layer));
    SEQMIX_TRY(get_bool(config, kSource, "add_cross_attention", cross));
    SEQMIX_TRY(get_string(config, kSource, "activation_function", activation));
    if (cross.value_or(false)) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kScheme,
                    ": config.json 'add_cross_attention' is true, expected false");
    }
    if (eps && !(*eps >= 0 && *eps <= 1)) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": 'layer_norm_epsilon' is ", *eps,
                    ", expected 0 to 1");
    }
    facts->heads = heads.value_or(0);
    facts->norm_eps = eps.value_or(facts->norm_eps);
    facts->scaled = scaled.value_or(true);
    facts->by_layer = by_layer.value_or(false);
    return activation ? read_activation(*activation, &facts->activation) : Status();
}

Status read_facts(const Checkpoint& checkpoint, TensorNames& names, SchemeOptions& options,
                  GptFacts* facts) {
    const char* prefix = find_prefix(names);
    facts->prefix = prefix == nullptr ? kPrefixes[0] : prefix;
    const std::string layers = facts->prefix + "h.";
    SEQMIX_TRY(names.count_layers(layers, &facts->layers));
    facts->tied = !names.has("lm_head.weight");
    facts->qkv_bias = names.has_in_layers(layers, ".attn.c_attn.bias");
    facts->out_bias = names.has_in_layers(layers, ".attn.c_proj.bias");
    facts->mlp_bias = names.has_in_layers(layers, ".mlp.c_fc.bias");
    facts->norm_bias =
        names.has_in_layers(layers, ".ln_1.bias") || names.has(facts->prefix + "ln_f.bias");
    const TensorNames::Entry* wte = names.find(facts->prefix + "wte.weight");
    const TensorNames::Entry* first = names.find(layers + "0.attn.c_attn.weight");
    facts->transposed = wte != nullptr && first != nullptr && wte->tensor->shape.size() == 2 &&
                        first->tensor->shape.size() == 2 &&
                        first->tensor->shape[0] == wte->tensor->shape[1];
    if (checkpoint.config != nullptr) {
        SEQMIX_TRY(read_config(*checkpoint.config, facts));
    }
    std::optional<int64_t> heads;
    SEQMIX_TRY(options.positive(kScheme, "n_head", &heads));
    facts->heads = heads.value_or(facts->heads);
    if (facts->heads < 1) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kScheme,
                    ": the number of heads is not in the file; the option 'n_head' gives it");
    }
    std::string gelu;
    SEQMIX_TRY(options.choice(kScheme, "gelu", "tanh|exact", &gelu));
    if (!gelu.empty()) {
        facts->activation = gelu == "exact" ? "gelu" : "gelu_tanh";
    }
    return {};
}

Status check_config(const Json* config, const GptFacts& facts, NameTable& table) {
    const int64_t D = table.size('D');
    if (D % facts.heads != 0) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": ", table.origin('D'), ", which ", facts.heads,
                    " heads do not divide");
    }
    if (config == nullptr) {
        return {};
    }
    const struct {
        const char* key;
        char letter;
    } rows[] = {{"n_embd", 'D'}, {"vocab_size", 'V'}, {"n_positions", 'L'}, {"n_inner", 'J'}};
    for (const auto& row : rows) {
        std::optional<int64_t> value;
        SEQMIX_TRY(get_int(*config, kSource, row.key, value));
        if (value) {
            SEQMIX_TRY(table.cross_check(row.letter, row.key, *value));
        }
    }
    std::optional<int64_t> layers;
    SEQMIX_TRY(get_int(*config, kSource, "n_layer", layers));
    if (layers && *layers != facts.layers) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": the tensors have ", facts.layers,
                    " layers (1 + the largest index), but config.json gives ", *layers,
                    " by 'n_layer'");
    }
    return {};
}

void expect_layer(const GptFacts& facts, int64_t layer, NameTable& table, StackSpec& out) {
    const std::string prefix = facts.prefix + "h." + std::to_string(layer) + ".";
    const auto map = [&](size_t child, const std::string& name, const std::string& slot,
                         const char* in_out, const char* out_in, const char* bias) {
        table.expect(child, prefix + name + ".weight", "mixer." + slot + ".weight",
                     facts.transposed ? in_out : out_in);
        if (bias != nullptr) {
            table.expect(child, prefix + name + ".bias", "mixer." + slot + ".bias", bias);
        }
    };
    const auto norm = [&](size_t child, const char* name) {
        table.expect(child, prefix + name + ".weight", "norm.weight", "D");
        if (facts.norm_bias) {
            table.expect(child, prefix + name + ".bias", "norm.bias", "D");
        }
    };
    size_t child = out.add_child("block", "block");
    norm(child, "ln_1");
    map(child, "attn.c_attn", "qkv", "D,3D", "3D,D", facts.qkv_bias ? "3D" : nullptr);
    map(child, "attn.c_proj", "out", "D,D", "D,D", facts.out_bias ? "D" : nullptr);
    table.ignore(prefix + "attn.bias");  // the causal mask
    table.ignore(prefix + "attn.masked_bias");
    child = out.add_child("block", "block");
    norm(child, "ln_2");
    map(child, "mlp.c_fc", "fc1", "D,J", "J,D", facts.mlp_bias ? "J" : nullptr);
    map(child, "mlp.c_proj", "fc2", "J,D", "D,J", facts.mlp_bias ? "D" : nullptr);
}

void set_attributes(const GptFacts& facts, const NameTable& table, StackSpec& out) {
    const int64_t D = table.size('D');
    int64_t layer = 0;
    for (ChildSpec& child : out.children) {
        Attributes& attributes = child.attributes;
        set_token_attributes(table, "layer", facts.norm_eps, child);
        if (child.role == "positions") {
            attributes.set("max_tokens", table.size('L'));
        } else if (child.role == "norm") {
            attributes.set("bias", facts.norm_bias);
        } else if (child.role == "block") {
            attributes.set("norm_bias", facts.norm_bias);
            const bool attention = layer % 2 == 0;
            if (attention) {
                const int64_t head_dim = D / facts.heads, depth = layer / 2 + 1;
                attributes.set("mixer", std::string("attention"));
                attributes.set("mixer.n_heads", facts.heads);
                attributes.set("mixer.max_tokens", table.size('L'));
                attributes.set("mixer.qkv", std::string("fused"));
                attributes.set("mixer.qkv_bias", facts.qkv_bias);
                attributes.set("mixer.out_bias", facts.out_bias);
                attributes.set("mixer.scale",
                               (facts.scaled ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1.0) /
                                   (facts.by_layer ? static_cast<double>(depth) : 1.0));
            } else {
                attributes.set("mixer", std::string("mlp"));
                attributes.set("mixer.d_hidden", table.size('J'));
                attributes.set("mixer.activation", facts.activation);
                attributes.set("mixer.bias", facts.mlp_bias);
            }
            for (WeightRef& ref : child.weights) {
                ref.transposed = facts.transposed && ref.slot.starts_with("mixer.") &&
                                 ref.slot.ends_with(".weight");
            }
            ++layer;
        }
    }
    set_stack_attributes(table, facts.tied, out);
}

}  // namespace

bool is_gpt(const TensorNames& names) { return find_prefix(names) != nullptr; }

Status plan_gpt(const Checkpoint& checkpoint, TensorNames& names, bool lenient,
                SchemeOptions& options, StackSpec& out) {
    out.scheme = kScheme;
    GptFacts facts;
    SEQMIX_TRY(read_facts(checkpoint, names, options, &facts));
    NameTable table(kScheme, names);
    const std::string embedding = facts.prefix + "wte.weight";
    size_t child = out.add_child("embedding", "embedding");
    table.expect(child, embedding, "weight", "V,D");
    child = out.add_child("positions", "positions");
    table.expect(child, facts.prefix + "wpe.weight", "weight", "L,D");
    for (int64_t layer = 0; layer < facts.layers; ++layer) {
        expect_layer(facts, layer, table, out);
    }
    child = out.add_child("norm", "norm");
    table.expect(child, facts.prefix + "ln_f.weight", "weight", "D");
    if (facts.norm_bias) {
        table.expect(child, facts.prefix + "ln_f.bias", "bias", "D");
    }
    child = out.add_child("head", "linear");
    table.expect(child, facts.tied ? embedding : "lm_head.weight", "weight", "V,D");
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(table.verify());
    SEQMIX_TRY(check_config(checkpoint.config.get(), facts, table));
    set_attributes(facts, table, out);
    return {};
}

}  // namespace seqmix
