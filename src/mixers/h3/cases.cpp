// Cases of h3: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Four products D D, the shift's N taps, and N/2 complex modes of 9 operations a channel and token.
constexpr Work h3(double t, double d, double n) {
    return {.flops = t * (8 * d * d + 2 * d * n + 9 * d * n),
            .bytes = 4 * (t * 2 * d + 4 * d * d + 6 * d * n)};
}

}  // namespace

extern const MixerCases h3_cases;
const MixerCases h3_cases = {
    .type = "h3",
    .ranges = {{"ssm.log_dt", -5.0, -2.0}},
    .cases =
        {
            {.name = "n8",
             .attributes = R"({"d_model":18,"d_state":8})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "n64_zoh",
             .attributes = R"({"d_model":16,"d_state":64,"disc":"zoh"})",
             .shapes = {{2, 7}, {2, 64}, {1, 1100}}},
            {.name = "heads_of_3",
             .attributes = R"({"d_model":12,"head_dim":3,"d_state":6})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}}},
            {.name = "one_channel",
             .attributes = R"({"d_model":1,"d_state":2})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "reverse",
             .attributes = R"({"d_model":8,"d_state":4,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
        },
    .sweeps = {{.name = "channels", .attributes = R"({"d_model":$,"d_state":4})"},
               {.name = "heads", .attributes = R"({"d_model":@,"head_dim":4,"d_state":2})"}},
    .long_runs = {{.name = "n4",
                   .attributes = R"({"d_model":2,"d_state":4})",
                   .shapes = {{1, 65536}}}},
    .blocks = {16, 64, 128},
    .lanes = "d_model",
    .benches =
        {
            {.name = "B1_T2048_D768_N64",
             .attributes = R"({"d_model":768})",
             .shape = {1, 2048},
             .work = h3(2048, 768, 64)},
        },
};

}  // namespace seqmix::mixers
