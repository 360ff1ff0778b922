// Cases of aaren: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Maps to scores and values and back; the recurrence, five operations a value.
constexpr Work aaren(double tokens, double d, double heads, double values) {
    return {.flops = 2 * tokens * d * (heads + 2 * values) + 5 * tokens * values,
            .bytes = 4 * (d * (heads + 2 * values) + 2 * tokens * d)};
}

}  // namespace

extern const MixerCases aaren_cases;
const MixerCases aaren_cases = {
    .type = "aaren",
    .ranges = {{"x", -3.0, 3.0}, {"query", -3.0, 3.0}},
    .cases = {{.name = "biases",
               .attributes = R"({"d_model":24,"n_heads":4})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "other_widths",
               .attributes = R"({"d_model":10,"n_heads":3,"head_dim":5,"v_head_dim":19,)"
                             R"("kv_bias":false,"out_bias":false})",
               .shapes = {{2, 7}, {2, 33}}}},
    .sweeps = {{.name = "widths", .attributes = R"({"d_model":$,"n_heads":1})"}},
    .long_runs = {{.name = "d4",
                   .attributes = R"({"d_model":4,"n_heads":2})",
                   .shapes = {{1, 65536}},
                   .tolerance = {1e-4,
                                 "sums in f32 over 65,536 tokens of one sign: half a unit of the "
                                 "sum each, which grows with the square root of T"}}},
    .blocks = {16},
    .lanes = "n_heads",
    .lane_width = "v_head_dim",
    .benches = {{.name = "B1_T4096_D768_H12",
                 .attributes = R"({"d_model":768,"n_heads":12})",
                 .shape = {1, 4096},
                 .work = aaren(4096, 768, 12, 768)}},
};

}  // namespace seqmix::mixers
