// Schemas: every type describes itself in JSON, and slot numbers are what they have always been.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "../support/capi.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;

std::vector<std::string> types() {
    std::vector<std::string> names;
    for (size_t i = 0; i < seqmix_type_count(); ++i) {
        names.push_back(seqmix_type_name(i));
    }
    return names;
}

json schema(const std::string& type) {
    const char* text = nullptr;
    check(seqmix_type_schema(type.c_str(), &text), "seqmix_type_schema");
    return json::parse(text);
}

bool is_operation(const std::string& type) {
    return type.size() > 3 && type.compare(type.size() - 3, 3, "_op") == 0;
}

TEST(Schema, TypesAreListedOnce) {
    const std::vector<std::string> names = types();
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
    for (const char* expected : {"causal_conv1d_op", "selective_scan_op", "mamba", "stack"}) {
        EXPECT_THAT(names, Contains(expected));
    }
    EXPECT_EQ(seqmix_type_name(names.size()), nullptr);
    EXPECT_EQ(seqmix_type_name(SIZE_MAX), nullptr);
}

TEST(Schema, EveryTypeDescribesItself) {
    const std::set<std::string> attribute_types = {"bool", "i64", "f64", "str", "i64s", "f64s"};
    const std::set<std::string> roles = {"input",    "output",    "weight", "state",
                                         "state_in", "state_out", "control"};
    for (const std::string& type : types()) {
        SCOPED_TRACE(type);
        const json s = schema(type);
        EXPECT_EQ(s.at("type"), type);
        EXPECT_FALSE(s.at("doc").get<std::string>().empty());
        ASSERT_TRUE(s.at("attributes").is_array());
        ASSERT_TRUE(s.at("tensors").is_array());
        ASSERT_TRUE(s.at("state").is_array());
        EXPECT_TRUE(s.contains("chunk"));
        ASSERT_TRUE(s.at("capabilities").is_object());
        for (const char* name : {"causal", "stateful", "reversible", "materialize"}) {
            EXPECT_TRUE(s.at("capabilities").at(name).is_boolean()) << name;
        }
        std::set<std::string> names;
        for (const json& a : s.at("attributes")) {
            SCOPED_TRACE(a.dump());
            EXPECT_TRUE(names.insert(a.at("name").get<std::string>()).second);
            EXPECT_EQ(attribute_types.count(a.at("type").get<std::string>()), 1u);
            EXPECT_FALSE(a.at("doc").get<std::string>().empty());
            EXPECT_TRUE(a.contains("default") || a.contains("required"));
            EXPECT_TRUE(a.contains("since"));
        }
        std::set<int32_t> numbers;
        std::set<std::string> slots;
        json tensors = s.at("tensors");
        tensors.insert(tensors.end(), s.at("state").begin(), s.at("state").end());
        for (const json& t : tensors) {
            SCOPED_TRACE(t.dump());
            EXPECT_TRUE(slots.insert(t.at("name").get<std::string>()).second);
            EXPECT_TRUE(numbers.insert(t.at("slot").get<int32_t>()).second);
            EXPECT_EQ(roles.count(t.at("role").get<std::string>()), 1u);
            EXPECT_EQ(t.at("shape").get<std::string>().front(), '(');
            EXPECT_FALSE(t.at("dtypes").empty());
            EXPECT_TRUE(t.at("optional").is_boolean());
            EXPECT_FALSE(t.at("doc").get<std::string>().empty());
            // The number that seqmix_type_slot gives.
            int32_t slot = -1;
            EXPECT_STATUS(
                SEQMIX_OK,
                seqmix_type_slot(type.c_str(), t.at("name").get<std::string>().c_str(), &slot));
            EXPECT_EQ(slot, t.at("slot").get<int32_t>());
        }
    }
}

TEST(Schema, JsonIsStatic) {
    const char *first = nullptr, *second = nullptr;
    ASSERT_EQ(seqmix_type_schema("mamba", &first), SEQMIX_OK);
    ASSERT_EQ(seqmix_type_schema("mamba", &second), SEQMIX_OK);
    EXPECT_EQ(first, second);
}

TEST(Schema, ControlsHaveOneNumberInEveryType) {
    const std::map<std::string, int32_t> controls = {
        {"cu_seqlens", SEQMIX_SLOT_CU_SEQLENS},
        {"lengths", SEQMIX_SLOT_LENGTHS},
        {"rows", SEQMIX_SLOT_ROWS},
        {"seq_idx", SEQMIX_SLOT_SEQ_IDX},
    };
    for (const char* type : {"causal_conv1d_op", "selective_scan_op", "mamba", "stack"}) {
        for (const auto& [name, number] : controls) {
            if (is_operation(type) && name == "rows") {
                continue;  // rows of a state handle, which operations do not have
            }
            int32_t slot = -1;
            EXPECT_STATUS(SEQMIX_OK, seqmix_type_slot(type, name.c_str(), &slot));
            EXPECT_EQ(slot, number) << type << " " << name;
        }
    }
}

// Numbers never change: they are compiled into programs. What was published is in the schema.json of
// each folder (abi.schema says when one of them changes).
TEST(Schema, SlotNumbersAreThePublishedOnes) {
    size_t found = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(source_dir() + "/src")) {
        if (entry.path().filename() != "schema.json") {
            continue;
        }
        std::ifstream file(entry.path());
        json published = json::parse(file);
        if (!published.is_array()) {
            published = json::array({published});
        }
        for (const json& type : published) {
            ++found;
            const std::string name = type.at("type");
            for (const char* part : {"tensors", "state"}) {
                for (const json& tensor : type.at(part)) {
                    int32_t slot = -1;
                    const std::string tensor_name = tensor.at("name");
                    EXPECT_STATUS(SEQMIX_OK,
                                  seqmix_type_slot(name.c_str(), tensor_name.c_str(), &slot));
                    EXPECT_EQ(slot, tensor.at("slot").get<int32_t>()) << name << " " << tensor_name;
                }
            }
        }
    }
    EXPECT_EQ(found, types().size());
}

TEST(Schema, Refusals) {
    const char* text = "before";
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_TYPE, seqmix_type_schema("mambo", &text), HasSubstr("mambo"));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_type_schema(nullptr, &text));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_type_schema("mamba", nullptr));
    EXPECT_STREQ(text, "before");
    int32_t slot = -77;
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_TYPE, seqmix_type_slot("mambo", "x", &slot),
                 HasSubstr("mambo"));
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_SLOT, seqmix_type_slot("mamba", "xylophone", &slot),
                 testing::AllOf(HasSubstr("mamba"), HasSubstr("xylophone")));
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_SLOT, seqmix_type_slot("mamba", "", &slot));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_type_slot(nullptr, "x", &slot));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_type_slot("mamba", nullptr, &slot));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_type_slot("mamba", "x", nullptr));
    EXPECT_EQ(slot, -77);
}

// ------------------------------------------------------------------ slots of a layer

TEST(LayerSlots, AreTheSchemasWithSizes) {
    const SmallMamba mamba;
    std::map<std::string, Shape> shapes;
    for (const Layer* layer : {&mamba.planned, &mamba.layer}) {
        const bool bound = layer == &mamba.layer;
        for (const seqmix_slot_info& info : slots_of(*layer)) {
            SCOPED_TRACE(info.name);
            int32_t slot = -1;
            EXPECT_STATUS(SEQMIX_OK, seqmix_type_slot("mamba", info.name, &slot));
            EXPECT_EQ(info.slot, slot);
            EXPECT_NE(info.dtypes, 0u);
            EXPECT_GE(info.ndim, 1);
            EXPECT_EQ(info.shape_text[0], '(');
            EXPECT_NE(info.doc[0], '\0');
            EXPECT_EQ((info.flags & SEQMIX_SLOT_BOUND) != 0,
                      bound && info.role == SEQMIX_ROLE_WEIGHT);
            shapes[info.name] = Shape(info.shape, info.shape + info.ndim);
        }
    }
    const int64_t d = SmallMamba::kD, e = SmallMamba::kE, n = SmallMamba::kN;
    const int64_t k = SmallMamba::kK, r = SmallMamba::kR, B = SEQMIX_DIM_B, T = SEQMIX_DIM_T;
    EXPECT_EQ(shapes.at("x"), (Shape{B, T, d}));
    EXPECT_EQ(shapes.at("y"), (Shape{B, T, d}));
    EXPECT_EQ(shapes.at("in_proj.weight"), (Shape{2 * e, d}));
    EXPECT_EQ(shapes.at("conv1d.weight"), (Shape{e, 1, k}));  // or (E,K)
    EXPECT_EQ(shapes.at("conv1d.bias"), (Shape{e}));
    EXPECT_EQ(shapes.at("x_proj.weight"), (Shape{r + 2 * n, e}));
    EXPECT_EQ(shapes.at("dt_proj.weight"), (Shape{e, r}));
    EXPECT_EQ(shapes.at("A_log"), (Shape{e, n}));
    EXPECT_EQ(shapes.at("out_proj.weight"), (Shape{d, e}));
    EXPECT_EQ(shapes.at("conv_state").back(), e);
    EXPECT_EQ(shapes.at("ssm_state").back(), n);
    EXPECT_EQ(shapes.at("cu_seqlens"), (Shape{SEQMIX_DIM_R1}));
    EXPECT_EQ(shapes.at("lengths"), (Shape{B}));
    EXPECT_EQ(shapes.at("rows"), (Shape{SEQMIX_DIM_R}));
    EXPECT_EQ(shapes.at("seq_idx"), (Shape{B, T}));
    // Biases that the attributes switch off are not there.
    EXPECT_EQ(shapes.count("in_proj.bias"), 0u);
}

TEST(LayerSlots, Refusals) {
    const SmallMamba mamba;
    seqmix_slot_info info = {};
    info.struct_size = sizeof(info);
    info.slot = -77;
    const size_t count = seqmix_layer_slot_count(mamba.layer.get());
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT,
                  seqmix_layer_slot_info(mamba.layer.get(), count, &info));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT,
                  seqmix_layer_slot_info(mamba.layer.get(), SIZE_MAX, &info));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_slot_info(nullptr, 0, &info));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_slot_info(mamba.layer.get(), 0, nullptr));
    EXPECT_EQ(info.slot, -77);
    EXPECT_EQ(seqmix_layer_slot_count(nullptr), 0u);
}

// ------------------------------------------------------------------ information

TEST(Information, VersionBuildAndStatusNames) {
    EXPECT_EQ(seqmix_version(), static_cast<uint32_t>(SEQMIX_VERSION));
    EXPECT_STREQ(seqmix_version_string(), "0.1.0");
    const json build = json::parse(seqmix_build_info());
    EXPECT_EQ(build.at("version"), "0.1.0");
    EXPECT_FALSE(build.at("compiler").get<std::string>().empty());
    EXPECT_THAT(build.at("isa").get<std::vector<std::string>>(), Contains("generic"));
    EXPECT_TRUE(build.contains("debug"));
    EXPECT_STREQ(seqmix_status_name(SEQMIX_OK), "SEQMIX_OK");
    EXPECT_STREQ(seqmix_status_name(SEQMIX_ERR_SHAPE), "SEQMIX_ERR_SHAPE");
    EXPECT_STREQ(seqmix_status_name(SEQMIX_ERR_STATE_POISONED), "SEQMIX_ERR_STATE_POISONED");
    for (seqmix_status code = -28; code <= 0; ++code) {
        EXPECT_STRNE(seqmix_status_name(code), "SEQMIX_ERR_UNKNOWN") << code;
    }
    for (const seqmix_status code : {1, -29, -999, -1000, INT32_MIN, INT32_MAX}) {
        EXPECT_STREQ(seqmix_status_name(code), "SEQMIX_ERR_UNKNOWN") << code;
    }
}

TEST(Information, ContextInfo) {
    const Context context = make_context("generic", 3);
    size_t needed = 0;
    EXPECT_STATUS(SEQMIX_ERR_BUFFER_TOO_SMALL,
                  seqmix_context_info(context.get(), nullptr, 0, &needed));
    std::string text(needed, '\0');
    ASSERT_EQ(seqmix_context_info(context.get(), text.data(), needed, &needed), SEQMIX_OK);
    EXPECT_EQ(text.size(), std::strlen(text.c_str()) + 1);  // *needed counts the final zero
    const json info = json::parse(text.c_str());
    EXPECT_EQ(info.at("isa"), "generic");
    EXPECT_EQ(info.at("threads"), 3);
    EXPECT_EQ(info.at("isa_available").front(), "reference");
    EXPECT_THAT(info.at("isa_available").get<std::vector<std::string>>(), Contains("generic"));
    EXPECT_TRUE(info.contains("executor"));
}

TEST(Information, LayerInfo) {
    const SmallMamba mamba;
    for (const Layer* layer : {&mamba.planned, &mamba.layer}) {
        const char* text = nullptr;
        ASSERT_EQ(seqmix_layer_info(layer->get(), &text), SEQMIX_OK);
        const json info = json::parse(text);
        EXPECT_EQ(info.at("type"), "mamba");
        EXPECT_EQ(info.at("attributes").at("d_model"), SmallMamba::kD);
        const int64_t d = SmallMamba::kD, e = SmallMamba::kE, n = SmallMamba::kN;
        const int64_t k = SmallMamba::kK, r = SmallMamba::kR;
        const int64_t parameters =
            2 * e * d + e * k + e + (r + 2 * n) * e + e * r + e + e * n + e + d * e;
        EXPECT_EQ(info.at("parameters"), parameters);
        EXPECT_EQ(info.at("chunk"), 512);
    }
}

// Steps and chunks get shorter where tokens are wide: with chunks of 512 tokens whatever their width,
// a block of FalconMamba 7B took 85 MB.
TEST(Information, ScratchDoesNotGrowWithWidthOrLength) {
    const Context context = make_context();
    for (const int64_t width : {16, 768, 4096, 16384}) {
        for (const Layer& layer :
             {plan(context, "mamba", Config().set("d_model", width)),
              plan(context, "block", Config().set("d_model", width).set("mixer", "mamba")),
              plan(context, "selective_scan_op", Config().set("d_inner", width)),
              plan(context, "norm", Config().set("d_model", width)),
              plan(context, "linear", Config().set("d_in", width).set("d_out", width))}) {
            uint64_t bytes = 0;
            check(seqmix_layer_bytes(layer.get(), SEQMIX_BYTES_SCRATCH, 1, 1 << 20, &bytes),
                  "bytes");
            EXPECT_LE(bytes, uint64_t{32} << 20) << seqmix_layer_type(layer.get()) << " " << width;
        }
    }
}

std::set<std::string> keys(const json& object) {
    std::set<std::string> names;
    for (const auto& [name, value] : object.items()) {
        names.insert(name);
    }
    return names;
}

TEST(Information, LayerInfoOfAModel) {
    const Context context = make_context();
    const Layer model = open_model(context, source_dir() + "/models/shakespeare");
    EXPECT_STREQ(seqmix_layer_type(model.get()), "stack");
    const char* text = nullptr;
    ASSERT_EQ(seqmix_layer_info(model.get(), &text), SEQMIX_OK);
    const json info = json::parse(text);
    EXPECT_EQ(info.at("parameters"), 732544);
    EXPECT_EQ(info.at("children").size(), seqmix_layer_child_count(model.get()));
    EXPECT_TRUE(info.at("missing").empty());
    EXPECT_TRUE(info.at("unexpected").empty());
    EXPECT_FALSE(info.at("format").get<std::string>().empty());
    EXPECT_FALSE(info.at("scheme").get<std::string>().empty());
    // The keys that the header lists, here and in a child.
    EXPECT_EQ(keys(info), (std::set<std::string>{
                              "type",       "attributes", "bound",   "kernel",     "chunk",
                              "parameters", "bytes",      "isa",     "children",   "format",
                              "scheme",     "vocab_size", "d_model", "d_input",    "n_classes",
                              "tied",       "file_bytes", "missing", "unexpected", "ignored"}));
    EXPECT_EQ(keys(info.at("children").at(1)),
              (std::set<std::string>{"type", "role", "attributes", "bound", "kernel", "chunk",
                                     "parameters", "bytes"}));
    EXPECT_EQ(keys(info.at("bytes")), (std::set<std::string>{"weights", "state"}));
    EXPECT_EQ(info.at("tied"), true);
    EXPECT_EQ(info.at("n_classes"), 0);
}

TEST(Information, TheForcedKernelRuns) {
    for (const std::string& level : levels()) {
        const SmallMamba mamba(level.c_str());
        EXPECT_EQ(seqmix_layer_kernel_name(mamba.planned.get()), nullptr);
        EXPECT_STREQ(seqmix_layer_kernel_name(mamba.layer.get()), ("mamba/" + level).c_str());
    }
    EXPECT_EQ(seqmix_layer_kernel_name(nullptr), nullptr);
    EXPECT_EQ(seqmix_layer_type(nullptr), nullptr);
}

}  // namespace
