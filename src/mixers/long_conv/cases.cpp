// Cases of long_conv_op and long_conv: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Two real transforms of n = 2 T (2.5 n log2 n operations each) and 6 T for the product, as of a filter
// as long as the input; the input is read and the output written.
constexpr Work conv(double b, double t, double d, double log_n) {
    return {.flops = b * d * t * (10 * log_n + 6), .bytes = 4 * 2 * b * t * d};
}

}  // namespace

extern const MixerCases long_conv_op_cases;
const MixerCases long_conv_op_cases = {
    .type = "long_conv_op",
    .cases =
        {
            {.name = "k1",
             .attributes = R"({"d_model":5,"taps":1})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}}},
            {.name = "k64",
             .attributes = R"({"d_model":18,"taps":64})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}}},
            {.name = "k100_plain",
             .attributes = R"({"d_model":3,"taps":100})",
             .shapes = {{2, 9}, {2, 64}, {1, 257}},
             .absent = {"in_gate", "out_gate", "skip"},
             .core_is_output = true},
            {.name = "k700",
             .attributes = R"({"d_model":17,"taps":700})",
             .shapes = {{2, 33}, {1, 1100}}},
            {.name = "reverse",
             .attributes = R"({"d_model":9,"taps":40,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}}},
            {.name = "conjugate",
             .attributes = R"({"d_model":18,"taps":64,"sides":"conjugate"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}},
             .whole_input = true},
            {.name = "pad_flip",
             .attributes = R"({"d_model":4,"taps":50,"after_taps":70,"sides":"pad_flip"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}},
             .absent = {"in_gate", "out_gate"},
             .core_is_output = true,
             .whole_input = true},
        },
    .sweeps = {{.name = "channels", .attributes = R"({"d_model":$,"taps":40})"},
               {.name = "taps", .attributes = R"({"d_model":5,"taps":$})"}},
    .long_runs = {{.name = "k3000",
                   .attributes = R"({"d_model":2,"taps":3000})",
                   .shapes = {{1, 65536}}}},
    .blocks = {16, 64, 100, 128},
    .spreads = true,
    .lanes = "d_model",
    .benches =
        {
            {.name = "B1_T4096_D768_K4096",
             .attributes = R"({"d_model":768,"taps":4096})",
             .shape = {1, 4096},
             .absent = {"in_gate", "out_gate", "skip"},
             .work = conv(1, 4096, 768, 13)},
        },
};

extern const MixerCases long_conv_cases;
const MixerCases long_conv_cases = {
    .type = "long_conv",
    // The filter's own start is small: here it must show.
    .ranges = {{"filter", -0.5, 0.5}, {"filter_after", -0.5, 0.5}},
    .cases =
        {
            {.name = "k1",
             .attributes = R"({"d_model":5,"taps":1})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}}},
            {.name = "k64",
             .attributes = R"({"d_model":18,"taps":64})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}}},
            {.name = "k300_plain",
             .attributes = R"({"d_model":3,"taps":300,"skip":false})",
             .shapes = {{2, 9}, {2, 64}, {1, 700}},
             .absent = {"in_gate", "out_gate"},
             .core_is_output = true},
            {.name = "k1400",
             .attributes = R"({"d_model":17,"taps":1400})",
             .shapes = {{2, 33}, {1, 2100}, {1, 4200}}},
            {.name = "reverse",
             .attributes = R"({"d_model":9,"taps":40,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}}},
            {.name = "conjugate",
             .attributes = R"({"d_model":18,"taps":64,"sides":"conjugate"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}},
             .whole_input = true},
            {.name = "pad_flip",
             .attributes = R"({"d_model":4,"taps":50,"after_taps":70,"sides":"pad_flip"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 300}},
             .absent = {"in_gate", "out_gate"},
             .core_is_output = true,
             .whole_input = true},
        },
    .sweeps = {{.name = "channels", .attributes = R"({"d_model":$,"taps":40})"},
               {.name = "taps", .attributes = R"({"d_model":5,"taps":$})"}},
    .long_runs = {{.name = "k3000",
                   .attributes = R"({"d_model":2,"taps":3000})",
                   .shapes = {{1, 65536}}}},
    .blocks = {64, 127, 128, 256},
    .spreads = true,
    .lanes = "d_model",
    .benches =
        {
            {.name = "B1_T4096_D768_K4096",
             .attributes = R"({"d_model":768,"taps":4096})",
             .shape = {1, 4096},
             .absent = {"in_gate", "out_gate"},
             .work = conv(1, 4096, 768, 13)},
            {.name = "B1_T1_D768_K4096",
             .phase = "decode",
             .attributes = R"({"d_model":768,"taps":4096})",
             .shape = {1, 1},
             .absent = {"in_gate", "out_gate"},
             .work = {.flops = 2 * 768 * 200, .bytes = 4.0 * 768 * 600}},
        },
};

}  // namespace seqmix::mixers
