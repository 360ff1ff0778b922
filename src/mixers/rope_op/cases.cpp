// Cases of rope_op: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Four multiplications and two additions a pair; the input and the output move.
constexpr Work rope(double b, double t, double h, double d) {
    return {.flops = 3 * b * t * h * d, .bytes = 8 * b * t * h * d};
}

}  // namespace

extern const MixerCases rope_op_cases;
const MixerCases rope_op_cases = {
    .type = "rope_op",
    .ranges = {{"inv_freq", 0.0, 1.0}},
    .cases =
        {
            {.name = "halves",
             .attributes = R"({"heads":3,"head_dim":18})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 600}},
             .absent = {"cos", "sin", "inv_freq"}},
            {.name = "interleaved",
             .attributes = R"({"heads":2,"head_dim":64,"interleaved":true,"theta":500000})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 600}},
             .absent = {"cos", "sin", "inv_freq"}},
            {.name = "partial",
             .attributes = R"({"heads":2,"head_dim":21,"rotary_dim":10})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}},
             .absent = {"cos", "sin"}},
            {.name = "tables",
             .attributes = R"({"heads":2,"head_dim":24,"rotary_dim":14,"interleaved":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}},
             .absent = {"inv_freq"}},
        },
    .sweeps =
        {
            {.name = "widths",
             .attributes = R"({"heads":1,"head_dim":@})",
             .absent = {"cos", "sin", "inv_freq"}},
            {.name = "heads",
             .attributes = R"({"heads":$,"head_dim":12,"rotary_dim":6,"interleaved":true})",
             .absent = {"cos", "sin", "inv_freq"}},
        },
    .benches =
        {
            {.name = "B1_T2048_H12_d64",
             .attributes = R"({"heads":12,"head_dim":64})",
             .shape = {1, 2048},
             .absent = {"cos", "sin", "inv_freq"},
             .work = rope(1, 2048, 12, 64),
             .limit = Limit::copy},
            {.name = "B1_T2048_H12_d64_interleaved",
             .attributes = R"({"heads":12,"head_dim":64,"interleaved":true})",
             .shape = {1, 2048},
             .absent = {"cos", "sin", "inv_freq"},
             .work = rope(1, 2048, 12, 64),
             .limit = Limit::copy},
        },
};

}  // namespace seqmix::mixers
