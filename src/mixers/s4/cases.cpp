// Cases of s4d, s4 and dss: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// One step of one channel: 8 operations of the FMA pipes per mode (12 with one column of P, 16 with
// two); 2 flops each. A record of `parts` floats per mode is read, the state is read and written.
constexpr Work recurrence(double tokens, double d, double modes, double rank, double parts) {
    const double slots = tokens * d * modes * (8 + 4 * rank);
    return {.flops = 2 * slots,
            .bytes = 4 * (d * modes * (parts + 4) + 2 * tokens * d),
            .slots_avx512 = slots / 16,
            .slots_avx2 = slots / 8};
}

// With the gated map after it: 2 d by d.
constexpr Work with_output(Work core, double tokens, double d) {
    core.flops += tokens * 4 * d * d;
    core.bytes += 4 * 2 * d * d;
    core.slots_avx512 += tokens * 2 * d * d / 16;
    core.slots_avx2 += tokens * 2 * d * d / 8;
    return core;
}

}  // namespace

extern const MixerCases s4d_cases;
const MixerCases s4d_cases = {
    .type = "s4d",
    .symbols = {},
    .cases =
        {
            {.name = "lin_glu",
             .attributes = R"({"d_model":19,"d_state":16})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}}},
            {.name = "bare_bilinear",
             .attributes = R"({"d_model":33,"d_state":10,"n_ssm":3,"discretization":"bilinear",)"
                           R"("init":"inv","activation":"none","output":"none"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .core_is_output = true},
            {.name = "two_channels_modes_in_lanes",
             .attributes = R"({"d_model":2,"d_state":64,"activation":"none","output":"none"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .core_is_output = true},
            {.name = "outputs_without_b_and_skip",
             .attributes = R"({"d_model":6,"d_state":8,"channels":3,"dt_tie":false,"n_ssm":2,)"
                           R"("dt_transform":"softplus","output":"linear"})",
             .shapes = {{2, 7}, {2, 64}},
             .absent = {"kernel.B", "D"}},
            {.name = "one_channel_outputs",
             .attributes = R"({"d_model":1,"d_state":6,"channels":3,"imag_sign":"positive",)"
                           R"("output":"none","init":"legs"})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "real",
             .attributes = R"({"d_model":18,"d_state":5,"real":true,"init":"real",)"
                           R"("real_transform":"softplus"})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "poles",
             .attributes = R"({"d_model":17,"d_state":12,"parameters":"poles","rate":0.5,)"
                           R"("init":"quad"})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "softmax",
             .attributes = R"({"d_model":9,"d_state":8,"discretization":"dss","kernel_length":64,)"
                           R"("init":"rand"})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "bf16",
             .attributes = R"({"d_model":24,"d_state":16})",
             .shapes = {{2, 7}, {2, 64}},
             .weights = "bf16"},
            {.name = "reverse",
             .attributes = R"({"d_model":20,"d_state":16,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "bidirectional",
             .attributes = R"({"d_model":18,"d_state":8,"bidirectional":true,"channels":2,)"
                           R"("kernel_length":80,"activation":"none","output":"none"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 80}, {1, 81}},
             .core_is_output = true,
             .whole_input = true},
        },
    .sweeps =
        {
            {.name = "width", .attributes = R"({"d_model":$,"d_state":6,"n_ssm":1})"},
            {.name = "modes",
             .attributes = R"({"d_model":3,"d_state":$,"real":true,"init":"real"})"},
        },
    .long_runs = {{.name = "steps of 1e-3",
                   .attributes = R"({"d_model":3,"d_state":16,"activation":"none","output":"none",)"
                                 R"("dt_min":0.001,"dt_max":0.0011})",
                   .shapes = {{1, 65536}}},
                  {.name = "steps of 1e-3, channels in lanes",
                   .attributes = R"({"d_model":5,"d_state":16,"activation":"none","output":"none",)"
                                 R"("dt_min":0.001,"dt_max":0.0011})",
                   .shapes = {{1, 65536}}}},
    .blocks = {16},
    .lanes = "d_inner",
    .benches =
        {
            {.name = "B1_T1_D256_N64",
             .phase = "decode",
             .attributes = R"({"d_model":256,"d_state":64,"activation":"none","output":"none"})",
             .shape = {1, 1},
             .work = recurrence(1, 256, 32, 0, 6),
             .limit = Limit::copy},
            {.name = "B1_T1024_D256_N64",
             .attributes = R"({"d_model":256,"d_state":64,"activation":"none","output":"none"})",
             .shape = {1, 1024},
             .work = recurrence(1024, 256, 32, 0, 6)},
            {.name = "B1_T1024_D128_N64_glu",
             .attributes = R"({"d_model":128,"d_state":64})",
             .shape = {1, 1024},
             .work = with_output(recurrence(1024, 128, 32, 0, 6), 1024, 128)},
            {.name = "B1_T128_D1_N64",
             .attributes = R"({"d_model":1,"d_state":64,"activation":"none","output":"none"})",
             .shape = {1, 128},
             .work = recurrence(128, 1, 32, 0, 6)},
            {.name = "B1_T128_D4_N64",
             .attributes = R"({"d_model":4,"d_state":64,"activation":"none","output":"none"})",
             .shape = {1, 128},
             .work = recurrence(128, 4, 32, 0, 6)},
        },
};

extern const MixerCases s4_cases;
const MixerCases s4_cases = {
    .type = "s4",
    .cases =
        {
            {.name = "legs_glu",
             .attributes = R"({"d_model":19,"d_state":16})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}}},
            {.name = "legs64_folded",
             .attributes = R"({"d_model":18,"d_state":64,"n_ssm":2,"l_kernel":100,)"
                           R"("activation":"none","output":"none"})",
             .shapes = {{2, 7}, {2, 64}, {1, 513}},
             .core_is_output = true},
            {.name = "legt_rank2",
             .attributes = R"({"d_model":6,"d_state":8,"rank":2,"init":"legt","channels":2,)"
                           R"("dt_transform":"softplus","output":"linear"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}},
             .absent = {"D"}},
            {.name = "fout_modes_in_lanes",
             .attributes = R"({"d_model":3,"d_state":38,"init":"fout","activation":"none",)"
                           R"("output":"none"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .core_is_output = true},
            {.name = "legt_modes_in_lanes",
             .attributes = R"({"d_model":2,"d_state":10,"rank":2,"init":"legt","channels":2,)"
                           R"("rate":2})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "hippo_bf16",
             .attributes = R"({"d_model":24,"d_state":16,"n_ssm":2,"init":"hippo"})",
             .shapes = {{2, 7}, {2, 64}},
             .weights = "bf16"},
            {.name = "bidirectional_rank2",
             .attributes = R"({"d_model":19,"d_state":8,"bidirectional":true,"rank":2,)"
                           R"("init":"legt","kernel_length":80,"l_kernel":80})",
             .shapes = {{2, 7}, {2, 64}, {1, 81}},
             .whole_input = true},
            {.name = "bidirectional_legs_rate",
             .attributes =
                 R"({"d_model":3,"d_state":16,"bidirectional":true,"rate":2,)"
                 R"("kernel_length":64,"l_kernel":50,"activation":"none","output":"none"})",
             .shapes = {{2, 7}, {2, 64}, {1, 81}},
             .core_is_output = true,
             .whole_input = true},
            {.name = "bidirectional_legs_rank2",
             .attributes = R"({"d_model":17,"d_state":8,"bidirectional":true,"rank":2,)"
                           R"("kernel_length":70,"dt_min":0.05})",
             .shapes = {{2, 7}, {2, 64}, {1, 70}},
             .whole_input = true},
            {.name = "lagt_reverse",
             .attributes = R"({"d_model":20,"d_state":16,"init":"lagt","reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
        },
    .sweeps =
        {
            {.name = "width", .attributes = R"({"d_model":$,"d_state":6})"},
            {.name = "modes", .attributes = R"({"d_model":2,"d_state":@})"},
        },
    .long_runs = {{.name = "steps of 1e-3",
                   .attributes = R"({"d_model":5,"d_state":16,"activation":"none",)"
                                 R"("output":"none","dt_min":0.001,"dt_max":0.0011})",
                   .shapes = {{1, 65536}}}},
    .blocks = {16},
    .lanes = "d_inner",
    .benches =
        {
            {.name = "B1_T1_D256_N64",
             .phase = "decode",
             .attributes = R"({"d_model":256,"d_state":64,"activation":"none","output":"none"})",
             .shape = {1, 1},
             .work = recurrence(1, 256, 32, 1, 11),
             .limit = Limit::copy},
            {.name = "B1_T784_D128_N64_glu",
             .attributes = R"({"d_model":128,"d_state":64})",
             .shape = {1, 784},
             .work = with_output(recurrence(784, 128, 32, 1, 11), 784, 128)},
        },
};

extern const MixerCases dss_cases;
const MixerCases dss_cases = {
    .type = "dss",
    .cases =
        {
            {.name = "exp",
             .attributes = R"({"d_model":19,"d_state":9})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "softmax",
             .attributes = R"({"d_model":5,"d_state":8,"version":"softmax","kernel_length":64,)"
                           R"("output":"linear"})",
             .shapes = {{2, 7}, {2, 64}},
             .absent = {"D"}},
            {.name = "exp_re_im_modes_in_lanes",
             .attributes = R"({"d_model":2,"d_state":24,"version":"exp-re-im","activation":"none",)"
                           R"("output":"none","channels":2})",
             .shapes = {{2, 7}, {2, 64}},
             .core_is_output = true},
            {.name = "no_scale_reverse",
             .attributes = R"({"d_model":7,"d_state":4,"version":"exp-no-scale","reverse":true})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "clip",
             .attributes = R"({"d_model":7,"d_state":4,"version":"clip"})",
             .shapes = {{2, 7}, {2, 64}}},
        },
    .sweeps = {{.name = "width and modes", .attributes = R"({"d_model":$,"d_state":$})"}},
    .long_runs = {{.name = "steps of 1e-3",
                   .attributes = R"({"d_model":3,"d_state":8,"activation":"none",)"
                                 R"("output":"none","dt_min":0.001,"dt_max":0.0011})",
                   .shapes = {{1, 65536}}}},
    .blocks = {16},
    .lanes = "d_inner",
};

}  // namespace seqmix::mixers
