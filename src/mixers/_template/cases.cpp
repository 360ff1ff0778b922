// Cases of template: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Of one token and channel: a subtraction and a multiply-add. x and y move once, the gain and the
// state are read and written per call.
// CHANGE: the operations of your equation, counted.
constexpr Work integrator(double b, double t, double d) {
    return {.flops = 3 * b * t * d, .bytes = 4 * (2 * b * t * d + d + 2 * b * d)};
}

}  // namespace

// CHANGE: contract/cases.h says what the fields mean. Needed: `cases`; one of `sweeps` (for types that
// do not come from a checkpoint); one of `long_runs` (for types with a state); `lanes` and
// core_is_output (for types with `materialize`).
extern const MixerCases template_cases;
const MixerCases template_cases = {
    .type = "template",
    .ranges = {{"decay_logit", -2.0, 4.0}},
    .cases =
        {
            {.name = "d19",
             .attributes = R"({"d_model":19})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {1, 1100}}},
            {.name = "d1531", .attributes = R"({"d_model":1531})", .shapes = {{1, 7}, {2, 3}}},
            {.name = "bf16",
             .attributes = R"({"d_model":24})",
             .shapes = {{2, 7}, {2, 64}},
             .weights = "bf16"},
            {.name = "reverse",
             .attributes = R"({"d_model":34,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {1, 1100}}},
        },
    .sweeps = {{.name = "channels", .attributes = R"({"d_model":$})"}},
    .long_runs = {{.name = "decay near 1",
                   .attributes = R"({"d_model":3})",
                   .shapes = {{1, 65536}},
                   .ranges = {{"decay_logit", 6.0, 9.0}}}},
    .blocks = {16, 64},
    .benches =
        {
            {.name = "B1_T2048_D1536",
             .attributes = R"({"d_model":1536})",
             .shape = {1, 2048},
             .work = integrator(1, 2048, 1536),
             .limit = Limit::copy},
            {.name = "B1_T1_D1536",
             .phase = "decode",
             .attributes = R"({"d_model":1536})",
             .shape = {1, 1},
             .work = integrator(1, 1, 1536),
             .limit = Limit::copy},
        },
};

}  // namespace seqmix::mixers
