// Cases of mamba, the whole block: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Per token: four products, 2 (2 D E + E (R + 2N) + R E + E D) flops, and the fused scan (see
// selective_scan/cases.cpp: 9 FMA-pipe slots per 16 updates and 32 per 16 channels) with the
// convolution (K, and 14 for SiLU, per 16 channels). Weights are read once a call.
constexpr Work mamba(double tokens, double d, double e, double n, double k, double r) {
    const double weights = 3 * d * e + e * (r + 2 * n) + r * e;
    const double channel = 32 + k + 14;
    return {.flops = tokens * (2 * weights + e * n * 16 + e * 2 * channel),
            .bytes = 4 * weights + 4 * tokens * 2 * d,
            .slots_avx512 = tokens * (weights / 16 + e * n * 9 / 16 + e * channel / 16),
            .slots_avx2 = tokens * (weights / 8 + e * n * 13 / 8 + e * channel / 8)};
}

}  // namespace

extern const MixerCases mamba_cases;
const MixerCases mamba_cases = {
    .type = "mamba",
    // Biases and D start as zeros and ones; here they must show.
    .ranges = {{"conv1d.bias", -0.5, 0.5},
               {"D", -1.5, 1.5},
               {"in_proj.bias", -0.3, 0.3},
               {"out_proj.bias", -0.3, 0.3},
               {"dt_proj.bias", -4.0, -1.0},
               {"dt_norm.weight", 0.5, 1.5},
               {"b_norm.weight", 0.5, 1.5},
               {"c_norm.weight", 0.5, 1.5}},
    .cases =
        {
            {.name = "n16",
             .attributes = R"({"d_model":24,"d_inner":48,"d_state":16,"d_conv":4,"dt_rank":2})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}}},
            {.name = "n1_biases",
             .attributes = R"({"d_model":17,"d_inner":34,"d_state":1,"d_conv":3,"dt_rank":3,)"
                           R"("bias":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "n8_no_conv_bias",
             .attributes = R"({"d_model":16,"d_inner":40,"d_state":8,"d_conv":2,"dt_rank":1,)"
                           R"("conv_bias":false})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "n24_width1",
             .attributes = R"({"d_model":9,"d_inner":18,"d_state":24,"d_conv":1,"dt_rank":5})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "n64_width9",
             .attributes = R"({"d_model":8,"d_inner":16,"d_state":64,"d_conv":9,"dt_rank":4})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}}},
            {.name = "d1531",
             .attributes = R"({"d_model":32,"d_inner":1531,"d_state":16,"d_conv":4,"dt_rank":7})",
             .shapes = {{1, 7}, {2, 3}}},
            {.name = "inner_norm_weightless",
             .attributes = R"({"d_model":24,"d_inner":48,"d_state":16,"d_conv":4,"dt_rank":6,)"
                           R"("inner_norm":"rms","inner_norm_eps":1e-6})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "inner_norm_learned",
             .attributes = R"({"d_model":20,"d_inner":33,"d_state":5,"d_conv":4,"dt_rank":3,)"
                           R"("inner_norm":"rms_learned","inner_norm_eps":1e-5})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "bf16",
             .attributes = R"({"d_model":24,"d_inner":48,"d_state":16,"d_conv":4,"dt_rank":2})",
             .shapes = {{2, 7}, {2, 64}},
             .weights = "bf16"},
            {.name = "reverse",
             .attributes = R"({"d_model":24,"d_inner":48,"d_state":16,"d_conv":4,"dt_rank":2,)"
                           R"("reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {1, 1100}}},
        },
    .sweeps =
        {
            {.name = "widths of everything",
             .attributes = R"({"d_model":$,"d_inner":$,"d_state":4,"d_conv":4,"dt_rank":2})"},
            {.name = "inner width and states",
             .attributes = R"({"d_model":6,"d_inner":@,"d_state":$,"d_conv":3,"dt_rank":2})"},
            {.name = "rank and taps",
             .attributes = R"({"d_model":6,"d_inner":10,"d_state":3,"d_conv":$,"dt_rank":$})"},
        },
    .long_runs = {{.name = "decay near 1",
                   .attributes = R"({"d_model":4,"d_inner":6,"d_state":4,"d_conv":4,"dt_rank":1})",
                   .shapes = {{1, 65536}},
                   .ranges = {{"dt_proj.bias", -8.0, -7.0}, {"A_log", -1.0, 0.0}},
                   .tolerance = {3e-5,
                                 "a state in f32 under decays of 1 - 1e-4 gathers the rounding of "
                                 "some 10,000 tokens, half a unit each"}}},
    .blocks = {16, 32, 64, 128, 256},
    .lanes = "d_inner",
    .benches =
        {
            {.name = "B1_T512_D768_E1536_N16",
             .attributes = R"({"d_model":768,"d_inner":1536,"d_state":16,"d_conv":4,"dt_rank":48})",
             .shape = {1, 512},
             .work = mamba(512, 768, 1536, 16, 4, 48)},
            {.name = "B1_T1_D768_E1536_N16",
             .phase = "decode",
             .attributes = R"({"d_model":768,"d_inner":1536,"d_state":16,"d_conv":4,"dt_rank":48})",
             .shape = {1, 1},
             .work = mamba(1, 768, 1536, 16, 4, 48),
             .limit = Limit::read},
            {.name = "B16_T1_D768_E1536_N16",
             .phase = "decode",
             .attributes = R"({"d_model":768,"d_inner":1536,"d_state":16,"d_conv":4,"dt_rank":48})",
             .shape = {16, 1},
             .work = mamba(16, 768, 1536, 16, 4, 48),
             .limit = Limit::read},
        },
};

}  // namespace seqmix::mixers
