// Configs: what setters keep, JSON, and how attributes are checked when a layer is planned.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "../support/capi.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StrEq;

class ConfigTest : public testing::Test {
  protected:
    Context context_ = make_context();

    seqmix_status try_plan(const char* type, const Config& config) {
        Layer layer;
        const seqmix_status status =
            seqmix_layer_plan(context_.get(), type, config.get(), layer.out());
        EXPECT_EQ(static_cast<bool>(layer), status == SEQMIX_OK);
        return status;
    }
    nlohmann::json attributes(const char* type, const Config& config) {
        const Layer layer = plan(context_, type, config);
        const char* text = nullptr;
        check(seqmix_layer_info(layer.get(), &text), "seqmix_layer_info");
        return nlohmann::json::parse(text).at("attributes");
    }
    static seqmix_status set_json(const Config& config, const char* text) {
        return seqmix_config_set_json(config.get(), text);
    }
    // What a valid plan of causal_conv1d_op needs.
    static Config convolution() { return Config().set("d_model", 6).set("width", 4); }
};

TEST_F(ConfigTest, SettersReachThePlan) {
    const auto a = attributes("mamba", SmallMamba::config()
                                           .set("conv_bias", false)
                                           .set("inner_norm", "rms")
                                           .set("inner_norm_eps", 1e-3));
    EXPECT_EQ(a.at("d_model"), SmallMamba::kD);
    EXPECT_EQ(a.at("d_inner"), SmallMamba::kE);
    EXPECT_EQ(a.at("conv_bias"), false);
    EXPECT_EQ(a.at("inner_norm"), "rms");
    EXPECT_EQ(a.at("inner_norm_eps"), 1e-3);
}

TEST_F(ConfigTest, SettingAgainReplaces) {
    EXPECT_EQ(attributes("causal_conv1d_op", convolution().set("width", 3)).at("width"), 3);
    // Another type too: the last one counts.
    EXPECT_STATUS(SEQMIX_ERR_ATTRIBUTE_TYPE,
                  try_plan("causal_conv1d_op", convolution().set("width", "three")));
    EXPECT_STATUS(SEQMIX_OK, try_plan("causal_conv1d_op",
                                      convolution().set("width", "three").set("width", 3)));
}

TEST_F(ConfigTest, KeysAndValuesAreCopied) {
    std::string key = "width", text = "rms";
    Config config = convolution();
    config.set(key.c_str(), 2);
    Config mamba = SmallMamba::config();
    mamba.set("inner_norm", text.c_str());
    key = "xxxxx";
    text = "xxx";
    EXPECT_EQ(attributes("causal_conv1d_op", config).at("width"), 2);
    EXPECT_EQ(attributes("mamba", mamba).at("inner_norm"), "rms");
    std::string json = R"({"d_model":5,"width":3})";
    Config from_json;
    EXPECT_STATUS(SEQMIX_OK, set_json(from_json, json.c_str()));
    json.assign(json.size(), ' ');
    EXPECT_EQ(attributes("causal_conv1d_op", from_json).at("d_model"), 5);
}

TEST_F(ConfigTest, ClonesAreIndependent) {
    Config config = convolution();
    seqmix_config* copy = nullptr;
    ASSERT_EQ(seqmix_config_clone(config.get(), &copy), SEQMIX_OK);
    check(seqmix_config_set_i64(copy, "width", 2), "set");
    config.set("d_model", 9);
    Layer layer;
    ASSERT_EQ(seqmix_layer_plan(context_.get(), "causal_conv1d_op", copy, layer.out()), SEQMIX_OK);
    const char* text = nullptr;
    check(seqmix_layer_info(layer.get(), &text), "seqmix_layer_info");
    const auto a = nlohmann::json::parse(text).at("attributes");
    EXPECT_EQ(a.at("d_model"), 6);
    EXPECT_EQ(a.at("width"), 2);
    seqmix_config_destroy(copy);
    EXPECT_EQ(attributes("causal_conv1d_op", config).at("width"), 4);
    EXPECT_EQ(attributes("causal_conv1d_op", config).at("d_model"), 9);
}

TEST_F(ConfigTest, AConfigMayGoBeforeTheLayer) {
    Layer layer;
    {
        const Config config = convolution();
        layer = plan(context_, "causal_conv1d_op", config);
    }
    EXPECT_GT(seqmix_layer_slot_count(layer.get()), 0u);
}

TEST_F(ConfigTest, JsonSetsEveryKey) {
    Config config;
    EXPECT_STATUS(SEQMIX_OK, set_json(config, R"({"d_model": 6, "width": 3, "silu": true})"));
    const auto a = attributes("causal_conv1d_op", config);
    EXPECT_EQ(a.at("d_model"), 6);
    EXPECT_EQ(a.at("width"), 3);
    EXPECT_EQ(a.at("silu"), true);
    EXPECT_STATUS(SEQMIX_OK, set_json(config, R"({"silu": false})"));  // adds to what is there
    EXPECT_EQ(attributes("causal_conv1d_op", config).at("silu"), false);
    EXPECT_EQ(attributes("causal_conv1d_op", config).at("width"), 3);
    EXPECT_STATUS(SEQMIX_OK, set_json(config, "{}"));
    Config mamba;
    EXPECT_STATUS(SEQMIX_OK, set_json(mamba, R"({"d_model":8,"inner_norm":"rms",
                                                 "inner_norm_eps":0.001})"));
    EXPECT_EQ(attributes("mamba", mamba).at("inner_norm_eps"), 1e-3);
    // Any string that JSON can write.
    EXPECT_STATUS(SEQMIX_OK, set_json(mamba, R"({"inner_norm":"\u0072\u006d\u0073"})"));
    EXPECT_EQ(attributes("mamba", mamba).at("inner_norm"), "rms");
}

TEST_F(ConfigTest, AnIntegerServesWhereARealIsAsked) {
    Config config;
    EXPECT_STATUS(SEQMIX_OK, set_json(config, R"({"d_model":8,"inner_norm_eps":1})"));
    EXPECT_STATUS(SEQMIX_OK, try_plan("mamba", config));
}

TEST_F(ConfigTest, JsonThatCannotBeReadSetsNothing) {
    for (const char* text : {"",
                             " ",
                             "{",
                             "}",
                             "[]",
                             "3",
                             "null",
                             R"("width")",
                             R"({"width":})",
                             R"({"width":3,})",
                             R"({"width":3} x)",
                             R"({"width":3}{"width":5})",
                             R"({"width":5,"deep":{"a":1}})",
                             R"({"width":5,"nothing":null})",
                             R"({"width":5,"mixed":[1,"a"]})",
                             R"({"width":5,"nested":[[1]]})",
                             R"({width:5})",
                             R"({"width":05})",
                             "{\"width\":5,\"a",
                             "{\"width\":5,\"a\":\"\xff\"}",
                             R"({"width":1e999})"}) {
        const Config config = convolution();
        EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, set_json(config, text)) << text;
        EXPECT_STRNE(seqmix_last_error(), "");
        EXPECT_EQ(attributes("causal_conv1d_op", config).at("width"), 4) << text;
    }
    const std::string deep(100000, '[');
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, set_json(Config(), ("{\"a\":" + deep).c_str()));
}

TEST_F(ConfigTest, NullArguments) {
    const Config config;
    const int64_t integers[1] = {1};
    const double reals[1] = {1};
    seqmix_config* copy = nullptr;
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_create(nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_clone(nullptr, &copy));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_clone(config.get(), nullptr));
    EXPECT_EQ(copy, nullptr);
    seqmix_config_destroy(nullptr);
    for (seqmix_config* c : {static_cast<seqmix_config*>(nullptr), config.get()}) {
        const char* key = c == nullptr ? "key" : nullptr;
        EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_i64(c, key, 1));
        EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_f64(c, key, 1));
        EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_bool(c, key, 1));
        EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_str(c, key, "v"));
        EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_i64s(c, key, integers, 1));
        EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_f64s(c, key, reals, 1));
    }
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_str(config.get(), "k", nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_i64s(config.get(), "k", nullptr, 1));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_f64s(config.get(), "k", nullptr, 1));
    EXPECT_STATUS(SEQMIX_OK, seqmix_config_set_i64s(config.get(), "k", nullptr, 0));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_json(nullptr, "{}"));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_config_set_json(config.get(), nullptr));
}

// ------------------------------------------------------------------ checks of a plan

TEST_F(ConfigTest, UnknownAttribute) {
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
                 try_plan("causal_conv1d_op", convolution().set("widht", 3)),
                 StrEq("causal_conv1d_op: unknown attribute 'widht'; did you mean 'width'?"));
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
                 try_plan("mamba", SmallMamba::config().set("d_sate", 4)),
                 StrEq("mamba: unknown attribute 'd_sate'; did you mean 'd_state'?"));
    // Not as the missing one, and before any other is looked at.
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
                 try_plan("mamba", Config().set("d_modle", 4).set("d_conv", "four")),
                 StrEq("mamba: unknown attribute 'd_modle'; did you mean 'd_model'?"));
    // The closest, and none that is far.
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, try_plan("mamba", Config().set("inner_norm_ep", 1)),
                 HasSubstr("mean 'inner_norm_eps'?"));
    for (const char* key : {"", "d", "xx", "zzzzzzzzzz", "dmodel_of_all_layers"}) {
        EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
                     try_plan("mamba", SmallMamba::config().set(key, true)),
                     AllOf(HasSubstr(std::string("mamba: unknown attribute '") + key +
                                     "', expected one of: d_model, "),
                           Not(HasSubstr("did you mean"))));
    }
    const std::string endless(100'000, 'd');
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
                  try_plan("mamba", Config().set(endless.c_str(), true)));
    // A mixer inside a block names itself.
    const Config block = Config().set("d_model", 8).set("mixer", "mamba");
    Config inner(block), outer(block);
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, try_plan("block", inner.set("mixer.d_sate", 4)),
                 StrEq("mamba: unknown attribute 'd_sate'; did you mean 'd_state'?"));
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, try_plan("block", outer.set("resdual", true)),
                 StrEq("block: unknown attribute 'resdual'; did you mean 'residual'?"));
}

TEST_F(ConfigTest, UnknownType) {
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_TYPE, try_plan("mambo", Config()), HasSubstr("mambo"));
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_TYPE, try_plan("", Config()), HasSubstr("''"));
}

TEST_F(ConfigTest, WrongTypeOfAttribute) {
    const auto fails = [&](const char* type, const Config& config, const char* key) {
        EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_TYPE, try_plan(type, config),
                     AllOf(HasSubstr(type), HasSubstr(key)));
    };
    fails("causal_conv1d_op", convolution().set("width", 3.5), "'width'");
    fails("causal_conv1d_op", convolution().set("width", "3"), "'width'");
    fails("causal_conv1d_op", convolution().set("width", true), "'width'");
    fails("causal_conv1d_op", convolution().set("silu", "yes"), "'silu'");
    fails("mamba", SmallMamba::config().set("inner_norm", 1), "'inner_norm'");
    fails("mamba", SmallMamba::config().set("inner_norm_eps", "small"), "'inner_norm_eps'");
    Config list = convolution();
    const int64_t values[2] = {3, 4};
    check(seqmix_config_set_i64s(list.get(), "width", values, 2), "set_i64s");
    fails("causal_conv1d_op", list, "'width'");
}

TEST_F(ConfigTest, ValueOutOfRangeMissingOrInconsistent) {
    const auto fails = [&](const char* type, const Config& config, const char* key) {
        EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_RANGE, try_plan(type, config),
                     AllOf(HasSubstr(type), HasSubstr(key)));
    };
    fails("causal_conv1d_op", convolution().set("width", 0), "'width'");
    fails("causal_conv1d_op", convolution().set("width", -1), "'width'");
    fails("causal_conv1d_op", convolution().set("d_model", 0), "'d_model'");
    fails("causal_conv1d_op", convolution().set("d_model", INT64_MIN), "'d_model'");
    fails("causal_conv1d_op", Config(), "'d_model'");
    fails("mamba", Config(), "'d_model'");
    fails("mamba", SmallMamba::config().set("inner_norm", "sometimes"), "'inner_norm'");
    fails("mamba", SmallMamba::config().set("inner_norm_eps", -1.0), "'inner_norm_eps'");
    fails("selective_scan_op", Config().set("d_inner", 6).set("d_state", 4).set("groups", 4),
          "groups");
    fails("selective_scan_op", Config().set("d_inner", 6).set("d_state", 4).set("groups", 0),
          "'groups'");
}

TEST_F(ConfigTest, HugeSizesAreRefused) {
    EXPECT_STATUS(SEQMIX_OK, try_plan("norm", Config().set("d_model", 1 << 24)));
    EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_RANGE,
                 try_plan("norm", Config().set("d_model", (1 << 24) + 1)),
                 StrEq("norm: attribute 'd_model' is 16777217, expected 1 to 16777216"));
    for (const int64_t size : {INT64_MAX, INT64_MAX / 2, int64_t{1} << 40}) {
        const seqmix_status status =
            try_plan("mamba", Config().set("d_model", size).set("d_state", size));
        EXPECT_TRUE(status == SEQMIX_ERR_ATTRIBUTE_RANGE || status == SEQMIX_ERR_LIMIT)
            << size << ": " << seqmix_status_name(status) << ": " << seqmix_last_error();
    }
}

TEST_F(ConfigTest, DefaultsOfMamba) {
    const auto a = attributes("mamba", Config().set("d_model", 40));
    EXPECT_EQ(a.at("d_inner"), 80);
    EXPECT_EQ(a.at("d_state"), 16);
    EXPECT_EQ(a.at("d_conv"), 4);
    EXPECT_EQ(a.at("dt_rank"), 3);  // ceil(40 / 16)
    EXPECT_EQ(a.at("bias"), false);
    EXPECT_EQ(a.at("conv_bias"), true);
    EXPECT_EQ(a.at("inner_norm"), "none");
}

TEST_F(ConfigTest, AMixerHasTheWidthOfItsBlock) {
    const auto block = [] { return Config().set("d_model", 8).set("mixer", "mamba"); };
    EXPECT_EQ(attributes("block", block()).at("mixer.d_model"), 8);
    EXPECT_EQ(attributes("block", block()), attributes("block", block().set("mixer.d_model", 8)));
    EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_RANGE, try_plan("block", block().set("mixer.d_model", 9)),
                 StrEq("block: the mixer's width differs from d_model = 8"));
    EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_RANGE, try_plan("block", block().set("mixer.d_model", 0)),
                 HasSubstr("'d_model' is 0"));
    EXPECT_STATUS(SEQMIX_ERR_ATTRIBUTE_TYPE, try_plan("block", block().set("mixer.d_model", "8")));
}

TEST_F(ConfigTest, NoConfigIsAllDefaults) {
    Layer layer;
    EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_RANGE,
                 seqmix_layer_plan(context_.get(), "mamba", nullptr, layer.out()),
                 HasSubstr("'d_model'"));
}

}  // namespace
