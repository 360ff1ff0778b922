// Cases of causal_conv1d_op: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// K multiply-adds and a bias per output; SiLU as 24 more (exp, 1 + it, quotient). One output is
// read and written once: the arrays decide, not the arithmetic.
constexpr Work conv(double b, double t, double d, double k) {
    return {.flops = b * t * d * (2 * k + 25), .bytes = 4 * (2 * b * t * d + d * k)};
}

}  // namespace

extern const MixerCases causal_conv1d_op_cases;
const MixerCases causal_conv1d_op_cases = {
    .type = "causal_conv1d_op",
    .ranges = {{"x", -2.0, 2.0}},
    .cases =
        {
            {.name = "width1",
             .attributes = R"({"d_model":19,"width":1,"silu":false})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "width2",
             .attributes = R"({"d_model":24,"width":2,"silu":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "width3",
             .attributes = R"({"d_model":17,"width":3,"silu":false})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .absent = {"bias"},
             .core_is_output = true},
            {.name = "width4",
             .attributes = R"({"d_model":33,"width":4,"silu":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "width5",
             .attributes = R"({"d_model":16,"width":5,"silu":false})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "width6",
             .attributes = R"({"d_model":7,"width":6,"silu":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .absent = {"bias"}},
            {.name = "width7",
             .attributes = R"({"d_model":40,"width":7,"silu":false})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "width8",
             .attributes = R"({"d_model":5,"width":8,"silu":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "width9",
             .attributes = R"({"d_model":31,"width":9,"silu":false})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .absent = {"bias"},
             .core_is_output = true},
            {.name = "d1531",
             .attributes = R"({"d_model":1531,"width":4,"silu":true})",
             .shapes = {{1, 7}, {2, 3}}},
            {.name = "steps_shorter_than_the_window",
             .attributes = R"({"d_model":18,"width":9,"silu":true})",
             .shapes = {{3, 2}, {2, 9}, {2, 1100}}},
            {.name = "reverse",
             .attributes = R"({"d_model":34,"width":4,"silu":true,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {1, 1100}}},
            {.name = "reverse_core",
             .attributes = R"({"d_model":8,"width":5,"silu":false,"reverse":true})",
             .shapes = {{2, 7}, {2, 64}},
             .absent = {"bias"},
             .core_is_output = true},
        },
    .sweeps =
        {
            {.name = "channels", .attributes = R"({"d_model":$,"width":4,"silu":true})"},
            {.name = "channels without bias",
             .attributes = R"({"d_model":$,"width":3,"silu":false})",
             .absent = {"bias"}},
            {.name = "widths", .attributes = R"({"d_model":5,"width":$,"silu":true})"},
        },
    // Nothing decays in a window: what is tested is that it still moves after 65,536 tokens.
    .long_runs = {{.name = "width4",
                   .attributes = R"({"d_model":3,"width":4,"silu":true})",
                   .shapes = {{1, 65536}}}},
    .blocks = {16, 32, 64, 128, 256},
    .lanes = "d_model",
    .benches =
        {
            {.name = "B1_T2048_D1536_K4",
             .attributes = R"({"d_model":1536,"width":4,"silu":true})",
             .shape = {1, 2048},
             .work = conv(1, 2048, 1536, 4),
             .limit = Limit::copy,
             .plain = {"conv", 1536, 4}},
            {.name = "B1_T1_D1536_K4",
             .phase = "decode",
             .attributes = R"({"d_model":1536,"width":4,"silu":true})",
             .shape = {1, 1},
             .work = conv(1, 1, 1536, 4),
             .limit = Limit::copy},
            {.name = "B1_T2048_D1536_K9",
             .attributes = R"({"d_model":1536,"width":9,"silu":true})",
             .shape = {1, 2048},
             .work = conv(1, 2048, 1536, 9),
             .limit = Limit::copy},
            {.name = "B8_T256_D1536_K4",
             .attributes = R"({"d_model":1536,"width":4,"silu":true})",
             .shape = {8, 256},
             .work = conv(8, 256, 1536, 4),
             .limit = Limit::copy},
        },
};

}  // namespace seqmix::mixers
