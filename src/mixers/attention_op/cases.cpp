// Cases of attention_op: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Per pair of tokens that see each other, dk multiply-adds for the score and dv for the sum. Each
// array once.
constexpr Work attention(double h, double t, double s, double d, bool causal) {
    const double pairs = causal ? t * (t + 1) / 2 : t * s;
    return {.flops = 4 * h * pairs * d, .bytes = 4 * h * d * (2 * t + 2 * s)};
}

// The same of bf16 tensors: a product of pairs is two multiply-adds in a lane.
constexpr Work bf16_attention(double h, double t, double s, double d, bool causal) {
    Work work = attention(h, t, s, d, causal);
    work.bytes /= 2;
    work.slots_avx512 = work.flops / 64;
    return work;
}

constexpr const char* kSelf = R"({"heads":12,"head_dim":64})";
constexpr const char* kCausal = R"({"heads":12,"head_dim":64,"causal":true})";

}  // namespace

extern const MixerCases attention_op_cases;
const MixerCases attention_op_cases = {
    .type = "attention_op",
    .ranges = {{"q", -2.0, 2.0}, {"k", -2.0, 2.0}, {"mask", 1.0, 1.0}, {"alibi", 0.0, 0.5}},
    .cases =
        {
            {.name = "plain",
             .attributes = R"({"heads":3,"head_dim":17})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 150}},
             .absent = {"bias", "mask", "alibi", "sink", "k_scale", "v_scale"},
             .core_is_output = true},
            {.name = "causal_groups",
             .attributes = R"({"heads":6,"kv_heads":2,"head_dim":16,"value_dim":9,"causal":true})",
             .shapes = {{2, 7}, {3, 1}, {2, 64}, {1, 150}},
             .absent = {"bias", "mask", "k_scale", "v_scale"},
             .core_is_output = true},
            {.name = "one_kv_head_window",
             .attributes = R"({"heads":5,"kv_heads":1,"head_dim":8,"window_left":5,
                               "window_right":2,"softcap":3})",
             .shapes = {{2, 7}, {1, 1}, {1, 70}},
             .absent = {"bias", "mask", "sink", "k_scale", "v_scale"}},
            {.name = "align_start",
             .attributes = R"({"heads":2,"head_dim":33,"causal":true,"align":"start","scale":0.4})",
             .shapes = {{2, 7}, {1, 1}, {1, 70}},
             .absent = {"alibi", "mask", "k_scale", "v_scale"}},
            {.name = "pairs",
             .attributes = R"({"heads":4,"kv_heads":2,"head_dim":24,"causal":true})",
             .shapes = {{2, 7}, {3, 1}, {2, 64}, {1, 70}}},
            // Rows that see no key: no logarithm.
            {.name = "mask_of_the_call",
             .attributes = R"({"heads":3,"head_dim":16})",
             .shapes = {{2, 7}, {1, 1}, {1, 70}},
             .absent = {"alibi", "sink", "lse", "k_scale", "v_scale"},
             .alternatives = {{"bias", 1}},
             .ranges = {{"mask", 0.0, 1.0}}},
            {.name = "mask_of_all_rows",
             .attributes = R"({"heads":2,"head_dim":64,"window_left":40})",
             .shapes = {{2, 7}, {1, 130}},
             .absent = {"alibi", "lse", "k_scale", "v_scale"},
             .alternatives = {{"mask", 1}},
             .ranges = {{"mask", 0.0, 1.0}}},
        },
    .sweeps =
        {
            {.name = "head width",
             .attributes = R"({"heads":2,"head_dim":$,"causal":true})",
             .absent = {"bias", "mask", "k_scale", "v_scale"}},
            {.name = "value width",
             .attributes = R"({"heads":2,"head_dim":6,"value_dim":$})",
             .absent = {"alibi", "sink", "k_scale", "v_scale"}},
            {.name = "heads",
             .attributes = R"({"heads":@,"kv_heads":$,"head_dim":5,"causal":true})",
             .absent = {"bias", "mask", "k_scale", "v_scale"}},
        },
    .rounds_bf16 = true,
    .lanes = "heads",
    .lane_width = "value_dim",
    .benches =
        {
            {.name = "B1_T1024_H12_d64",
             .attributes = kSelf,
             .shape = {1, 1024},
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 1024, 1024, 64, false),
             .plain = {"attention", 12, 64}},
            {.name = "B1_T1024_H12_d64_causal",
             .attributes = kCausal,
             .shape = {1, 1024},
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 1024, 1024, 64, true)},
            {.name = "B1_T4096_H12_d64",
             .attributes = kSelf,
             .shape = {1, 4096},
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 4096, 4096, 64, false)},
            {.name = "B1_T4096_H12_d64_causal",
             .attributes = kCausal,
             .shape = {1, 4096},
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 4096, 4096, 64, true)},
            {.name = "B1_T16384_H12_d64",
             .attributes = kSelf,
             .shape = {1, 16384},
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 16384, 16384, 64, false)},
            {.name = "B1_T16384_H12_d64_causal",
             .attributes = kCausal,
             .shape = {1, 16384},
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 16384, 16384, 64, true)},
            {.name = "B1_T1024_H12_d64_bf16",
             .attributes = kSelf,
             .shape = {1, 1024},
             .bf16 = true,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = bf16_attention(12, 1024, 1024, 64, false)},
            {.name = "B1_T1024_H12_d64_bf16_causal",
             .attributes = kCausal,
             .shape = {1, 1024},
             .bf16 = true,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = bf16_attention(12, 1024, 1024, 64, true)},
            {.name = "B1_T4096_H12_d64_bf16",
             .attributes = kSelf,
             .shape = {1, 4096},
             .bf16 = true,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = bf16_attention(12, 4096, 4096, 64, false)},
            {.name = "B1_T4096_H12_d64_bf16_causal",
             .attributes = kCausal,
             .shape = {1, 4096},
             .bf16 = true,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = bf16_attention(12, 4096, 4096, 64, true)},
            {.name = "B1_T16384_H12_d64_bf16",
             .attributes = kSelf,
             .shape = {1, 16384},
             .bf16 = true,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = bf16_attention(12, 16384, 16384, 64, false)},
            {.name = "B1_T16384_H12_d64_bf16_causal",
             .attributes = kCausal,
             .shape = {1, 16384},
             .bf16 = true,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = bf16_attention(12, 16384, 16384, 64, true)},
            {.name = "B1_T1_Tk8192_H12_d64",
             .phase = "decode",
             .attributes = kCausal,
             .shape = {1, 1},
             .source = 8192,
             .absent = {"bias", "mask", "alibi", "sink", "lse", "k_scale", "v_scale"},
             .work = attention(12, 1, 8192, 64, false),
             .limit = Limit::read},
        },
};

}  // namespace seqmix::mixers
