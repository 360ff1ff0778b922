#include "models/schemes/mamba_config.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "contract/schema.h"
#include "models/schemes/stack_spec.h"

namespace seqmix {
namespace {

constexpr const char* kSource = "config.json";

constexpr std::string_view kSsmKeys[] = {
    "layer",  "d_state", "d_conv",  "expand",   "dt_rank",       "bias",         "conv_bias",
    "dt_min", "dt_max",  "dt_init", "dt_scale", "dt_init_floor", "use_fast_path"};

Status get_size(const Json& object, const char* key, int64_t limit,
                std::optional<ConfigSize>& out) {
    std::optional<int64_t> value;
    SEQMIX_TRY(get_int(object, kSource, key, value));
    if (!value) {
        return {};
    }
    if (*value < 1 || *value > limit) {
        return fail(*value < 1 ? SEQMIX_ERR_BAD_FORMAT : SEQMIX_ERR_LIMIT, kSource, ": '", key,
                    "' is ", *value, ", expected 1 to ", limit);
    }
    out = ConfigSize{*value, key};
    return {};
}

Status get_epsilon(const Json& object, const char* key, double* out) {
    std::optional<double> value;
    SEQMIX_TRY(get_float(object, kSource, key, value));
    if (!value) {
        return {};
    }
    if (!(*value >= 0 && *value <= 1)) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", key, "' is ", *value,
                    ", expected 0 to 1");
    }
    *out = *value;
    return {};
}

// d_inner = int(expand * d_model), as both code bases compute it.
Status get_inner(const Json& object, const MambaConfig& config, std::optional<ConfigSize>& out) {
    std::optional<double> expand;
    SEQMIX_TRY(get_float(object, kSource, "expand", expand));
    if (!expand || !config.d_model) {
        return {};
    }
    const double inner = *expand * static_cast<double>(config.d_model->value);
    if (!(inner >= 1 && inner <= static_cast<double>(kMaxSize))) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": 'expand' is ", *expand, " and '",
                    config.d_model->key, "' ", config.d_model->value,
                    ", which gives no inner width from 1 to ", kMaxSize);
    }
    out = ConfigSize{static_cast<int64_t>(inner), "expand"};
    return {};
}

// A number, or "auto" = ceil(d_model / 16).
Status get_rank(const Json& object, const char* key, MambaConfig& config) {
    const auto* text = find_as<std::string>(object, key);
    if (text == nullptr) {
        return get_size(object, key, kMaxSize, config.dt_rank);
    }
    if (*text != "auto") {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", key,
                    "' must be an integer or 'auto', got ", in_quotes(*text, 40));
    }
    if (config.d_model) {
        config.dt_rank = ConfigSize{(config.d_model->value + 15) / 16, key};
    }
    return {};
}

Status get_object(const Json& object, const char* key, const Json** out) {
    *out = find_member(object, key);
    if (*out != nullptr && (*out)->get_if<Json::Object>() == nullptr) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", key, "' must be an object, got ",
                    describe(**out));
    }
    return {};
}

Status get_vocab_multiple(const Json& config, MambaConfig& out) {
    std::optional<ConfigSize> multiple;
    SEQMIX_TRY(get_size(config, "pad_vocab_size_multiple", kMaxSize, multiple));
    if (multiple) {
        out.vocab_multiple = multiple->value;
    }
    return {};
}

Status read_mamba_ssm(const Json& config, MambaConfig& out) {
    SEQMIX_TRY(get_size(config, "vocab_size", kMaxSize, out.vocab_size));
    SEQMIX_TRY(get_size(config, "d_model", kMaxSize, out.d_model));
    SEQMIX_TRY(get_size(config, "n_layer", kMaxLayers, out.n_layer));
    SEQMIX_TRY(get_bool(config, kSource, "tie_embeddings", out.tied));
    SEQMIX_TRY(get_bool(config, kSource, "rms_norm", out.rms_norm));
    out.vocab_multiple = 8;
    SEQMIX_TRY(get_vocab_multiple(config, out));
    const Json* ssm = nullptr;
    SEQMIX_TRY(get_object(config, "ssm_cfg", &ssm));
    if (ssm == nullptr) {
        return {};
    }
    SEQMIX_TRY(get_size(*ssm, "d_state", kMaxSize, out.d_state));
    SEQMIX_TRY(get_size(*ssm, "d_conv", kMaxSize, out.d_conv));
    SEQMIX_TRY(get_inner(*ssm, out, out.d_inner));
    SEQMIX_TRY(get_rank(*ssm, "dt_rank", out));
    SEQMIX_TRY(get_bool(*ssm, kSource, "bias", out.bias));
    return get_bool(*ssm, kSource, "conv_bias", out.conv_bias);
}

Status read_transformers(const Json& config, MambaConfig& out) {
    SEQMIX_TRY(get_size(config, "vocab_size", kMaxSize, out.vocab_size));
    SEQMIX_TRY(get_size(config, "hidden_size", kMaxSize, out.d_model));
    SEQMIX_TRY(get_size(config, "num_hidden_layers", kMaxLayers, out.n_layer));
    SEQMIX_TRY(get_size(config, "state_size", kMaxSize, out.d_state));
    SEQMIX_TRY(get_size(config, "conv_kernel", kMaxSize, out.d_conv));
    // A stored width is set over the computed one, and must be: falcon-mamba-7b says expand 16, with
    // hidden_size 4096 and intermediate_size 8192.
    SEQMIX_TRY(get_size(config, "intermediate_size", kMaxSize, out.d_inner));
    if (!out.d_inner) {
        SEQMIX_TRY(get_inner(config, out, out.d_inner));
    }
    SEQMIX_TRY(get_rank(config, "time_step_rank", out));
    SEQMIX_TRY(get_bool(config, kSource, "use_bias", out.bias));
    SEQMIX_TRY(get_bool(config, kSource, "use_conv_bias", out.conv_bias));
    SEQMIX_TRY(get_bool(config, kSource, "tie_word_embeddings", out.tied));
    SEQMIX_TRY(get_vocab_multiple(config, out));
    SEQMIX_TRY(get_epsilon(config, "layer_norm_epsilon", &out.norm_eps));
    return get_epsilon(config, "mixer_rms_eps", &out.inner_norm_eps);
}

Status refuse(const char* key, const std::string& got, const char* expected);

Status get_layers(const Json& config, std::vector<int64_t>* out) {
    const Json* layers = find_member(config, "attn_layer_idx");
    if (layers == nullptr) {
        return {};
    }
    const auto* list = layers->get_if<Json::Array>();
    if (list == nullptr) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": 'attn_layer_idx' must be an array, got ",
                    describe(*layers));
    }
    for (const Json& item : *list) {
        double number = -1;
        if (!get_number(item, &number) || !(number >= 0 && number < kMaxLayers) ||
            number != std::floor(number)) {
            return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": 'attn_layer_idx' holds ", describe(item),
                        ", expected numbers of layers");
        }
        out->push_back(static_cast<int64_t>(number));
    }
    std::sort(out->begin(), out->end());
    return {};
}

// attn_cfg: the arguments of mamba_ssm's MHA.
Status get_attention(const Json& config, MambaAttention& out) {
    SEQMIX_TRY(get_layers(config, &out.layers));
    if (out.layers.empty()) {
        return {};
    }
    const Json* attention = nullptr;
    SEQMIX_TRY(get_object(config, "attn_cfg", &attention));
    if (attention == nullptr || find_member(*attention, "num_heads") == nullptr) {
        return refuse("attn_layer_idx", describe(*find_member(config, "attn_layer_idx")),
                      "an 'attn_cfg' with 'num_heads' beside it");
    }
    std::optional<ConfigSize> heads, kv_heads, head_dim, rotary, tokens;
    std::optional<int64_t> mlp, conv, rotary_dim;
    std::optional<bool> causal, qkv_bias, out_bias, interleaved;
    std::optional<double> base, scale;
    SEQMIX_TRY(get_size(*attention, "num_heads", kMaxSize, heads));
    SEQMIX_TRY(get_size(*attention, "num_heads_kv", kMaxSize, kv_heads));
    SEQMIX_TRY(get_size(*attention, "head_dim", kMaxSize, head_dim));
    SEQMIX_TRY(get_size(config, "max_position_embeddings", kMaxSize, tokens));
    SEQMIX_TRY(get_int(*attention, kSource, "rotary_emb_dim", rotary_dim));
    SEQMIX_TRY(get_int(*attention, kSource, "mlp_dim", mlp));
    SEQMIX_TRY(get_int(*attention, kSource, "d_conv", conv));
    SEQMIX_TRY(get_bool(*attention, kSource, "causal", causal));
    SEQMIX_TRY(get_bool(*attention, kSource, "qkv_proj_bias", qkv_bias));
    SEQMIX_TRY(get_bool(*attention, kSource, "out_proj_bias", out_bias));
    SEQMIX_TRY(get_bool(*attention, kSource, "rotary_emb_interleaved", interleaved));
    SEQMIX_TRY(get_float(*attention, kSource, "rotary_emb_base", base));
    SEQMIX_TRY(get_float(*attention, kSource, "softmax_scale", scale));
    if (mlp.value_or(0) != 0) return refuse("attn_cfg.mlp_dim", std::to_string(*mlp), "0");
    if (conv.value_or(0) != 0) return refuse("attn_cfg.d_conv", std::to_string(*conv), "0");
    if (!causal.value_or(false)) return refuse("attn_cfg.causal", "false", "true");
    if (rotary_dim.value_or(0) < 0 || rotary_dim.value_or(0) > kMaxSize) {
        return refuse("attn_cfg.rotary_emb_dim", std::to_string(*rotary_dim), "0 or more");
    }
    out.heads = heads->value;
    out.kv_heads = kv_heads ? kv_heads->value : out.heads;
    out.head_dim = head_dim ? head_dim->value : 0;
    out.rotary_dim = rotary_dim.value_or(0);
    out.max_tokens = tokens ? tokens->value : out.max_tokens;
    out.qkv_bias = qkv_bias.value_or(true);
    out.out_bias = out_bias.value_or(true);
    out.interleaved = interleaved.value_or(false);
    out.rotary_base = base.value_or(10000);
    out.scale = scale.value_or(0);
    return {};
}

Status refuse(const char* key, const std::string& got, const char* expected) {
    return fail(SEQMIX_ERR_UNSUPPORTED, kSource, ": '", key, "' is ", got,
                ", which is not supported; expected ", expected);
}

Status refuse_ssm_cfg(const Json& config) {
    const Json* ssm = nullptr;
    SEQMIX_TRY(get_object(config, "ssm_cfg", &ssm));
    if (ssm == nullptr) {
        return {};
    }
    std::optional<std::string> layer;
    SEQMIX_TRY(get_string(*ssm, kSource, "layer", layer));
    if (layer && *layer != "Mamba1") {
        return refuse("ssm_cfg.layer", in_quotes(*layer), "'Mamba1'");
    }
    for (const auto& [key, value] : *ssm->get_if<Json::Object>()) {
        if (!value.is_null() &&
            std::find(std::begin(kSsmKeys), std::end(kSsmKeys), key) == std::end(kSsmKeys)) {
            return fail(SEQMIX_ERR_UNSUPPORTED, kSource, ": 'ssm_cfg' has ", in_quotes(key),
                        ", which Mamba-1 does not have");
        }
    }
    return {};
}

}  // namespace

std::string model_type(const Json& config) {
    const auto* text = find_as<std::string>(config, "model_type");
    return text != nullptr ? *text : std::string();
}

Status refuse_unsupported(const Json& config) {
    for (const char* key : {"text_config", "quantization_config"}) {
        if (const Json* value = find_member(config, key); value != nullptr) {
            return refuse(key, describe(*value), "none");
        }
    }
    std::optional<std::string> type, activation;
    SEQMIX_TRY(get_string(config, kSource, "model_type", type));
    if (type && *type != "mamba" && *type != "falcon_mamba") {
        return refuse("model_type", in_quotes(*type), "'mamba' or 'falcon_mamba'");
    }
    SEQMIX_TRY(get_string(config, kSource, "hidden_act", activation));
    if (activation && *activation != "silu") {
        return refuse("hidden_act", in_quotes(*activation), "'silu'");
    }
    std::optional<int64_t> intermediate;
    SEQMIX_TRY(get_int(config, kSource, "d_intermediate", intermediate));
    if (intermediate && *intermediate != 0) {
        return refuse("d_intermediate", std::to_string(*intermediate), "0");
    }
    return refuse_ssm_cfg(config);
}

bool MambaAttention::has(int64_t layer) const {
    return std::binary_search(layers.begin(), layers.end(), layer);
}

Status read_mamba_config(const Json& config, Dialect dialect, MambaConfig& out) {
    SEQMIX_TRY(get_attention(config, out.attention));
    return dialect == Dialect::mamba_ssm ? read_mamba_ssm(config, out)
                                         : read_transformers(config, out);
}

}  // namespace seqmix
