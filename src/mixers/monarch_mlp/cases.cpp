// Cases of monarch_mlp: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

extern const MixerCases monarch_mlp_cases;
const MixerCases monarch_mlp_cases = {
    .type = "monarch_mlp",
    .ranges = {{"wo.bias", -0.5, 0.5}},
    .cases = {{.name = "gated",
               .attributes = R"({"d_model":24,"d_hidden":40})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "plain",
               .attributes = R"({"d_model":33,"d_hidden":51,"n_blocks":3,"gated":false})",
               .shapes = {{2, 7}, {2, 64}}},
              {.name = "one_block",
               .attributes = R"({"d_model":17,"d_hidden":19,"n_blocks":1})",
               .shapes = {{2, 7}}},
              {.name = "narrow_blocks",
               .attributes = R"({"d_model":16,"d_hidden":32,"n_blocks":16})",
               .shapes = {{2, 7}}},
              {.name = "bf16",
               .attributes = R"({"d_model":20,"d_hidden":36})",
               .shapes = {{2, 7}, {2, 64}},
               .weights = "bf16"}},
    .sweeps = {{.name = "widths", .attributes = R"({"d_model":$,"d_hidden":$,"n_blocks":1})"}},
    .benches = {{.name = "B1_T512_D768_I3072",
                 .attributes = R"({"d_model":768,"d_hidden":3072})",
                 .shape = {1, 512},
                 // 3 D I / N weights, all three thirds of them once a token.
                 .work = {.flops = 512.0 * 2 * 3 * 768 * 3072 / 4,
                          .bytes = 4 * (3.0 * 768 * 3072 / 4 + 2.0 * 512 * 768)}}},
};

}  // namespace seqmix::mixers
