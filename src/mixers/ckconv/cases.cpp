// Cases of ckconv and ckblock: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

extern const MixerCases ckconv_cases;
const MixerCases ckconv_cases = {
    .type = "ckconv",
    .symbols = {{"h", "hidden"}},
    .cases =
        {
            {.name = "own_length",
             .attributes = R"({"d_in":3,"d_out":18,"hidden":8,"omega_0":30,"train_length":64})",
             .shapes = {{2, 64}, {1, 1}, {2, 7}}},
            {.name = "any_length",
             .attributes = R"({"d_in":1,"d_out":5,"hidden":4,"omega_0":20})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 257}}},
            {.name = "other_lengths",
             .attributes = R"({"d_in":2,"d_out":3,"hidden":8,"omega_0":10,"train_length":31})",
             .shapes = {{2, 9}, {1, 62}, {1, 100}}},
            {.name = "too_long_for_transforms",
             .attributes = R"({"d_in":2,"d_out":2,"hidden":4,"omega_0":5,"train_length":8})",
             .shapes = {{1, 1100}}},
        },
    .sweeps = {{.name = "outputs",
                .attributes = R"({"d_in":2,"d_out":$,"hidden":4,"omega_0":10,"train_length":5})"},
               {.name = "inputs", .attributes = R"({"d_in":$,"d_out":3,"hidden":$,"omega_0":10})"}},
    .spreads = true,
};

extern const MixerCases ckblock_cases;
const MixerCases ckblock_cases = {
    .type = "ckblock",
    .symbols = {{"h", "hidden"}},
    .ranges = {{"norm1.weight", 0.5, 1.5},
               {"norm1.bias", -0.5, 0.5},
               {"norm2.weight", 0.5, 1.5},
               {"norm2.bias", -0.5, 0.5}},
    .cases =
        {
            {.name = "same_width",
             .attributes = R"({"d_in":18,"d_out":18,"hidden":8,"omega_0":30,"train_length":64})",
             .shapes = {{2, 64}, {2, 7}, {1, 33}}},
            {.name = "shortcut",
             .attributes = R"({"d_in":2,"d_out":5,"hidden":8,"omega_0":10,"train_length":20})",
             .shapes = {{2, 20}, {1, 40}, {2, 10}}},
        },
    .sweeps = {{.name = "outputs",
                .attributes = R"({"d_in":2,"d_out":$,"hidden":4,"omega_0":10,"train_length":5})"}},
    .spreads = true,
};

}  // namespace seqmix::mixers
