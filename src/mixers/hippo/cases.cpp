// Cases of hippo: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// LegS by bilinear: 9 operations a coefficient. Each token's coefficients are written once.
constexpr Work legs(double tokens, double d, double n) {
    return {.flops = 15 * tokens * d * n,
            .bytes = 4 * (tokens * d * (n + 1) + 2 * d * n),
            .slots_avx512 = 9 * tokens * d * n / 16,
            .slots_avx2 = 9 * tokens * d * n / 8};
}

}  // namespace

extern const MixerCases hippo_cases;
const MixerCases hippo_cases = {
    .type = "hippo",
    .cases =
        {
            {.name = "legs_hold",
             .attributes = R"({"d_model":19,"order":6})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "legs_bilinear",
             .attributes = R"({"d_model":67,"order":9,"discretization":"bilinear"})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "legs_backward_reverse",
             .attributes = R"({"d_model":5,"order":17,"discretization":"backward","reverse":true})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "legs_forward",
             .attributes = R"({"d_model":3,"order":2,"discretization":"forward"})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "legt_hold",
             .attributes = R"({"d_model":18,"order":8,"measure":"legt","dt":0.02})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "lagt_bilinear",
             .attributes = R"({"d_model":65,"order":5,"measure":"lagt","dt":0.1,)"
                           R"("discretization":"bilinear"})",
             .shapes = {{2, 7}, {2, 64}}},
            {.name = "fout_backward",
             .attributes = R"({"d_model":7,"order":8,"measure":"fout","dt":0.05,)"
                           R"("discretization":"backward"})",
             .shapes = {{2, 7}, {2, 64}}},
        },
    .sweeps = {{.name = "width", .attributes = R"({"d_model":$,"order":3})"},
               {.name = "order",
                .attributes = R"({"d_model":2,"order":$,"measure":"legt","dt":0.01})"}},
    .long_runs = {{.name = "legs, the whole past",
                   .attributes = R"({"d_model":3,"order":4})",
                   .shapes = {{1, 65536}},
                   .tolerance = {2e-5,
                                 "weights of 1/t: c moves by less than its last place for late "
                                 "tokens, and their rounding adds up"}},
                  {.name = "legt, a long window",
                   .attributes = R"({"d_model":3,"order":4,"measure":"legt","dt":0.001})",
                   .shapes = {{1, 65536}},
                   .tolerance = {2e-5, "decays of 1 - 1e-3 gather the rounding of 1,000 tokens"}}},
    .blocks = {16, 32},
    .benches =
        {
            {.name = "B1_T256_D256_N64",
             .attributes = R"({"d_model":256,"order":64,"discretization":"bilinear"})",
             .shape = {1, 256},
             .work = legs(256, 256, 64)},
        },
};

}  // namespace seqmix::mixers
