// Cases of attention and urpe: data only. Thin on purpose: a case for each path, not for each attribute.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Maps of x to q, k, v and of y back, and the scores and sums of tokens that see `seen` keys each.
constexpr Work attention(double tokens, double seen, double d, double q, double kv) {
    return {.flops = 2 * tokens * d * (2 * q + 2 * kv) + 4 * tokens * seen * q,
            .bytes = 4 * (d * (2 * q + 2 * kv) + 2 * tokens * d + 2 * seen * kv)};
}

}  // namespace

extern const MixerCases attention_cases;
const MixerCases attention_cases = {
    .type = "attention",
    .ranges = {{"x", -2.0, 2.0}},
    .cases =
        {
            // Grouped heads of another width than d_model / H, with all that turns q and k.
            {.name = "gqa_rope_norm",
             .attributes = R"({"d_model":24,"n_heads":4,"n_kv_heads":2,"head_dim":10,)"
                           R"("v_head_dim":7,"qk_norm":"rms","rotary":"half","rotary_dim":6,)"
                           R"("max_tokens":2048})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "fused_biases",
             .attributes = R"({"d_model":18,"n_heads":3,"qkv":"fused","qkv_bias":true,)"
                           R"("out_bias":true,"rotary":"interleaved","rope_scaling":"dynamic",)"
                           R"("rope_factor":2,"rope_original_length":16,"max_tokens":2048})",
             .shapes = {{2, 7}, {2, 33}}},
            // Six heads share a key head: more than the kernel of few rows takes.
            {.name = "mqa_softcap_alibi",
             .attributes = R"({"d_model":12,"n_heads":6,"n_kv_heads":1,"head_dim":5,"softcap":2,)"
                           R"("alibi":true,"scale":0.7,"max_tokens":2048})",
             .shapes = {{2, 7}, {2, 33}}},
            {.name = "window",
             .attributes = R"({"d_model":16,"n_heads":2,"n_kv_heads":1,"window":5,)"
                           R"("rotary":"half"})",
             .shapes = {{2, 7}, {2, 200}}},
            {.name = "window_alibi",
             .attributes = R"({"d_model":8,"n_heads":2,"window":70,"alibi":true})",
             .shapes = {{1, 300}}},
            {.name = "bidirectional",
             .attributes = R"({"d_model":20,"n_heads":5,"causal":false,"qkv_bias":true,)"
                           R"("rotary":"half"})",
             .shapes = {{2, 7}, {1, 1}, {2, 70}},
             .whole_input = true},
        },
    .sweeps = {{.name = "widths", .attributes = R"({"d_model":$,"n_heads":1,"max_tokens":2048})"}},
    .long_runs = {{.name = "window",
                   .attributes = R"({"d_model":4,"n_heads":1,"window":100,"rotary":"half"})",
                   .shapes = {{1, 65536}}}},
    .blocks = {64, 128},
    .lanes = "n_heads",
    .lane_width = "v_head_dim",
    .benches =
        {
            {.name = "B1_T4096_D768_H12",
             .attributes = R"({"d_model":768,"n_heads":12})",
             .shape = {1, 4096},
             .work = attention(4096, 2048.5, 768, 768, 768)},
        },
};

extern const MixerCases urpe_cases;
const MixerCases urpe_cases = {
    .type = "urpe",
    .ranges = {{"x", -2.0, 2.0}, {"bias_table", -0.5, 0.5}, {"factor_table", -1.5, 1.5}},
    .cases =
        {
            {.name = "causal",
             .attributes = R"({"d_model":12,"n_heads":3,"n_kv_heads":1,"max_tokens":2048})",
             .shapes = {{2, 7}, {1, 1}, {2, 70}}},
            {.name = "bidirectional",
             .attributes = R"({"d_model":10,"n_heads":2,"v_head_dim":3,"causal":false,)"
                           R"("qkv":"fused","max_tokens":2048})",
             .shapes = {{2, 7}, {1, 70}},
             .whole_input = true},
        },
    .sweeps = {{.name = "widths", .attributes = R"({"d_model":$,"n_heads":1,"max_tokens":2048})"}},
    .long_runs = {{.name = "d2",
                   .attributes = R"({"d_model":2,"n_heads":1,"max_tokens":2048})",
                   .shapes = {{1, 2000}}}},
    .blocks = {64},
    .lanes = "n_heads",
    .lane_width = "v_head_dim",
};

}  // namespace seqmix::mixers
