// Cases of hyena and monarch: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Projections 2 D E + 2 D D, the short filter, and n-1 convolutions (long_conv/cases.cpp) a token.
constexpr Work hyena(double t, double d, double n, double log_n) {
    return {.flops = t * (2 * d * d * (n + 2) + 6 * d * (n + 1) + (n - 1) * d * (10 * log_n + 6)),
            .bytes = 4 * (t * 2 * d + d * d * (n + 2))};
}

}  // namespace

extern const MixerCases hyena_cases;
const MixerCases hyena_cases = {
    .type = "hyena",
    .cases =
        {
            {.name = "order2",
             .attributes = R"({"d_model":18,"l_max":64,"filter_order":8})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}}},
            {.name = "order3_long",
             .attributes = R"({"d_model":5,"l_max":1400,"order":3,"emb_dim":5,"filter_order":16,)"
                           R"("shift":0.05,"w":10})",
             .shapes = {{2, 33}, {1, 700}, {1, 2000}}},
            {.name = "order4_channel_major",
             .attributes = R"({"d_model":16,"l_max":100,"order":4,"filter_order":8,)"
                           R"("num_inner_mlps":0,"filter_layout":"channel_major"})",
             .shapes = {{2, 7}, {2, 64}, {1, 100}},
             .absent = {"filter.deltas", "filter.t"}},
            {.name = "normalized",
             .attributes = R"({"d_model":3,"l_max":40,"filter_order":4,"num_inner_mlps":4,)"
                           R"("normalized":true,"short_filter_order":4})",
             .shapes = {{2, 7}, {1, 40}},
             .absent = {"filter.z"}},
            {.name = "not_modulated",
             .attributes = R"({"d_model":7,"l_max":130,"filter_order":8,"modulate":false,)"
                           R"("short_filter_order":1})",
             .shapes = {{2, 7}, {1, 130}}},
            {.name = "reverse",
             .attributes = R"({"d_model":8,"l_max":50,"filter_order":8,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 50}}},
        },
    .sweeps = {{.name = "channels", .attributes = R"({"d_model":$,"l_max":40,"filter_order":8})"},
               {.name = "taps", .attributes = R"({"d_model":5,"l_max":$,"filter_order":8})"}},
    .long_runs = {{.name = "l2000",
                   .attributes = R"({"d_model":2,"l_max":2000,"filter_order":8})",
                   .shapes = {{1, 65536}}}},
    .blocks = {64, 127, 128, 256},
    .spreads = true,
    .lanes = "d_model",
    .benches =
        {
            {.name = "B1_T4096_D256",
             .attributes = R"({"d_model":256,"l_max":4096})",
             .shape = {1, 4096},
             .work = hyena(4096, 256, 2, 13)},
        },
};

extern const MixerCases monarch_cases;
const MixerCases monarch_cases = {
    .type = "monarch",
    .cases =
        {
            {.name = "causal",
             .attributes = R"({"d_model":18,"l_max":64,"filter_order":8})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}}},
            {.name = "causal_long_without_residual",
             .attributes = R"({"d_model":5,"l_max":1400,"filter_order":8,"residual":false})",
             .shapes = {{2, 33}, {1, 2000}}},
            {.name = "bidirectional",
             .attributes = R"({"d_model":18,"l_max":64,"filter_order":8,"bidirectional":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 200}},
             .whole_input = true},
            {.name = "bidirectional_without_residual",
             .attributes = R"({"d_model":3,"l_max":40,"filter_order":8,"bidirectional":true,)"
                           R"("residual":false,"emb_dim":3})",
             .shapes = {{2, 7}, {2, 40}},
             .whole_input = true},
            {.name = "reverse",
             .attributes = R"({"d_model":8,"l_max":50,"filter_order":8,"reverse":true})",
             .shapes = {{2, 7}, {2, 50}}},
        },
    .sweeps = {{.name = "channels", .attributes = R"({"d_model":$,"l_max":40,"filter_order":8})"}},
    .long_runs = {{.name = "l2000",
                   .attributes = R"({"d_model":2,"l_max":2000,"filter_order":8})",
                   .shapes = {{1, 65536}}}},
    .blocks = {64, 127, 128, 256},
    .spreads = true,
    .lanes = "d_model",
};

}  // namespace seqmix::mixers
