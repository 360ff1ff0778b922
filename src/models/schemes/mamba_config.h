// The two dialects of a Mamba's config.json: mamba_ssm's (d_model, n_layer, ssm_cfg) and
// transformers' (hidden_size, num_hidden_layers). Published files may hold keys of both.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "models/formats/json.h"

namespace seqmix {

enum class Dialect : uint8_t { mamba_ssm, transformers };

// A size and the key that gives it.
struct ConfigSize {
    int64_t value = 0;
    std::string key;
};

// The layers that are attention in place of Mamba (attn_layer_idx, attn_cfg), as mamba_ssm has them.
struct MambaAttention {
    std::vector<int64_t> layers;  // rising
    int64_t heads = 0, kv_heads = 0, head_dim = 0, rotary_dim = 0, max_tokens = 32768;
    bool qkv_bias = true, out_bias = true, interleaved = false;
    double rotary_base = 10000, scale = 0;  // 0: head_dim^(-1/2)
    bool has(int64_t layer) const;
};

// What config.json says; empty where it is silent, or absent altogether.
struct MambaConfig {
    std::optional<ConfigSize> vocab_size, d_model, n_layer, d_inner, d_state, d_conv, dt_rank;
    std::optional<bool> bias, conv_bias, tied, rms_norm;
    int64_t vocab_multiple = 1;  // the embedding may have vocab_size rounded up to this
    double norm_eps = 1e-5;
    MambaAttention attention;
    double inner_norm_eps = 1e-6;
};

// What no scheme can run, refused with SEQMIX_ERR_UNSUPPORTED by the key's name.
Status refuse_unsupported(const Json& config);

Status read_mamba_config(const Json& config, Dialect dialect, MambaConfig& out);

// "" when absent or no string.
std::string model_type(const Json& config);

}  // namespace seqmix
