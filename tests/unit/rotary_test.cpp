// Angles of rotary embedding with the scalings of long contexts, against worked numbers from
// transformers (seven digits), and what attributes are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mixers/attention/rotary.h"
#include "runtime/layer.h"
#include "runtime/registry.h"

namespace seqmix::mixers {
namespace {

// Those of an attention layer with heads of 64.
Status read(const Attributes& given, Rotary* out) {
    Attributes all = given, resolved;
    all.set("d_model", int64_t{64});
    all.set("n_heads", int64_t{1});
    SEQMIX_TRY(resolve_attributes(*find_mixer("attention")->schema, all, &resolved));
    return out->read("attention", resolved, 64);
}

Attributes rope(const char* scaling) {
    Attributes given;
    given.set("rotary", std::string("half"));
    given.set("rope_theta", 5e5);
    given.set("rope_scaling", std::string(scaling));
    return given;
}

// f at i = 1, 13, 16, 20, 31, with theta 5e5, r 64, M 16384.
void expect_frequencies(const Attributes& given, int64_t position, const std::vector<double>& want,
                        double scale = 1) {
    Rotary rotary;
    ASSERT_TRUE(read(given, &rotary).ok()) << error_text::get();
    ASSERT_EQ(rotary.pairs(), 32);
    std::vector<double> room(32);
    const double* got = rotary.frequencies(position, room.data());
    const int64_t at[] = {1, 13, 16, 20, 31};
    for (size_t i = 0; i < 5; ++i) {
        EXPECT_NEAR(got[at[i]] / want[i], 1, 5e-7) << "pair " << at[i];
    }
    EXPECT_NEAR(rotary.scale(), scale, 1e-7);
}

TEST(Rotary, WorkedFrequencies) {
    const std::vector<double> plain = {.6636012, 4.839421e-3, 1.414214e-3, 2.742482e-4,
                                       3.013858e-6};
    expect_frequencies(rope("none"), 7, plain);
    std::vector<double> quarter = plain;
    for (double& f : quarter) f /= 4;
    Attributes linear = rope("linear");
    linear.set("rope_factor", 4.0);
    expect_frequencies(linear, 7, quarter);
    Attributes dynamic = rope("dynamic");
    dynamic.set("rope_factor", 2.0);
    dynamic.set("rope_original_length", int64_t{16384});
    expect_frequencies(dynamic, 16383, plain);
    expect_frequencies(dynamic, 39999,
                       {.6351883, 2.739883e-3, 7.021654e-4, 1.143008e-4, 7.762049e-7});
    Attributes llama = rope("llama3");
    llama.set("rope_factor", 8.0);
    llama.set("rope_original_length", int64_t{8192});
    expect_frequencies(llama, 7, {.6636012, 4.839421e-3, 5.248462e-4, 3.428102e-5, 3.767323e-7});
    Attributes yarn = rope("yarn");
    yarn.set("rope_factor", 16.0);
    yarn.set("rope_original_length", int64_t{4096});
    expect_frequencies(yarn, 7, {.6636012, 1.814783e-3, 8.838835e-5, 1.714051e-5, 1.883661e-7},
                       1.27725887);
}

TEST(Rotary, LongRopeTurnsAtItsLength) {
    Attributes given = rope("longrope");
    given.set("rope_original_length", int64_t{100});
    given.set("rope_factor", 16.0);
    std::vector<double> shorter(32, 2.0), longer(32, 5.0);
    given.set("rope_short_factors", shorter);
    given.set("rope_long_factors", longer);
    Rotary rotary, plain;
    ASSERT_TRUE(read(given, &rotary).ok()) << error_text::get();
    ASSERT_TRUE(read(rope("none"), &plain).ok());
    std::vector<double> room(32);
    const double f = plain.frequencies(0, room.data())[3];
    EXPECT_DOUBLE_EQ(rotary.frequencies(99, room.data())[3], f / 2);
    EXPECT_DOUBLE_EQ(rotary.frequencies(100, room.data())[3], f / 5);
    EXPECT_NEAR(rotary.scale(), std::sqrt(1 + std::log(16.0) / std::log(100.0)), 1e-12);
    given.set("rope_long_factors", std::vector<double>(31, 1.0));
    EXPECT_EQ(read(given, &rotary).code(), SEQMIX_ERR_ATTRIBUTE_RANGE);
    EXPECT_THAT(error_text::get(),
                testing::HasSubstr("rope_long_factors has 31 numbers, expected 32"));
}

TEST(Rotary, RefusesWhatMakesNoSense) {
    Rotary rotary;
    for (const char* kind : {"dynamic", "llama3", "yarn", "longrope"}) {
        EXPECT_EQ(read(rope(kind), &rotary).code(), SEQMIX_ERR_ATTRIBUTE_RANGE);
        EXPECT_THAT(error_text::get(), testing::HasSubstr("rope_original_length")) << kind;
    }
    for (const int64_t r : {7, 66}) {
        Attributes given = rope("none");
        given.set("rotary_dim", r);
        EXPECT_EQ(read(given, &rotary).code(), SEQMIX_ERR_ATTRIBUTE_RANGE);
        EXPECT_THAT(error_text::get(), testing::HasSubstr("rotary_dim is"));
    }
}

}  // namespace
}  // namespace seqmix::mixers
