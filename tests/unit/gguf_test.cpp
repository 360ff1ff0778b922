// GGUF files: where tensors lie and what they hold, which model they make, and every rule broken once.
#include "models/formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "../support/gguf.h"
#include "models/formats/checkpoint.h"
#include "models/formats/json.h"
#include "models/schemes/stack_spec.h"

namespace {

using namespace seqmix_test;
using seqmix::Coding;
using seqmix::DType;
using seqmix::TensorFile;
using testing::ElementsAre;
using testing::HasSubstr;

std::string message() { return seqmix::error_text::get(); }

seqmix_status parse(const std::string& bytes, TensorFile* out) {
    // Of its own size, so that a sanitizer sees a read beyond it.
    const std::vector<char> copy(bytes.begin(), bytes.end());
    return seqmix::parse_gguf(copy.data(), copy.size(), "a.gguf", *out).code();
}

// One line that names the file, and the parts in it; nothing is given out.
void expect_refused(const std::string& bytes, seqmix_status status, const std::string& part) {
    TensorFile file;
    EXPECT_EQ(parse(bytes, &file), status) << part;
    EXPECT_THAT(message(), testing::AllOf(testing::StartsWith("GGUF: "), HasSubstr(part),
                                          testing::EndsWith(" in a.gguf")));
    EXPECT_EQ(message().find('\n'), std::string::npos);
    EXPECT_TRUE(file.tensors.empty());
}
void expect_bad(const GgufFile& file, const std::string& part) {
    expect_refused(file.bytes(), SEQMIX_ERR_BAD_FORMAT, part);
}

seqmix_status plan(const GgufFile& file, seqmix::StackSpec* spec) {
    const std::string bytes = file.bytes();
    seqmix::Checkpoint checkpoint;
    const seqmix::Status opened =
        seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), {}, checkpoint);
    EXPECT_TRUE(opened.ok()) << message();
    if (!opened.ok()) return opened.code();
    EXPECT_EQ(checkpoint.format, "GGUF");
    return seqmix::plan_stack(checkpoint, {}, *spec).code();
}
void expect_no_model(const GgufFile& file, seqmix_status status, const std::string& part) {
    seqmix::StackSpec spec;
    EXPECT_EQ(plan(file, &spec), status) << part;
    EXPECT_THAT(message(), HasSubstr(part));
}

// ------------------------------------------------------------------ the container

TEST(Gguf, TensorsLieWhereTheFileSays) {
    for (const uint32_t version : {2u, 3u}) {
        for (const uint32_t alignment : {1u, 32u, 256u}) {
            GgufFile made;
            made.version = version;
            made.alignment = alignment;
            made.key("general.architecture", "none")
                .key("general.alignment", static_cast<int>(alignment));
            made.tensor("a", {2, 3}, GgufType::f32, {1, 2, 3, 4, 5, 6});
            made.tensor("b", {3}, GgufType::f16, {1, -2, 0.5f});
            made.tensor("c", {1, 1, 2, 1}, GgufType::bf16, {1, -2});
            made.tensor("d", {2, 32}, GgufType::q8_0, gguf_noise(64));
            const std::string bytes = made.bytes();
            TensorFile file;
            ASSERT_TRUE(seqmix::parse_gguf(bytes.data(), bytes.size(), "", file).ok()) << message();
            ASSERT_EQ(file.tensors.size(), 4u);
            const char* data = bytes.data() + made.header().size();
            const auto padded = [&](size_t size) {
                return (size + alignment - 1) / alignment * alignment;
            };
            const struct {
                const char* name;
                std::vector<int64_t> shape;
                DType dtype;
                const char* text;
                size_t bytes;
            } rows[] = {{"a", {2, 3}, DType::f32, "F32", 24},
                        {"b", {3}, DType::f16, "F16", 6},
                        {"c", {1, 1, 2, 1}, DType::bf16, "BF16", 4},
                        {"d", {2, 32}, DType::f32, "Q8_0", 68}};
            for (const auto& row : rows) {
                const seqmix::StoredTensor& tensor = file.tensors.at(row.name);
                EXPECT_EQ(tensor.shape, row.shape);
                EXPECT_EQ(tensor.dtype, row.dtype);
                EXPECT_STREQ(tensor.dtype_text, row.text);
                EXPECT_EQ(tensor.bytes, row.bytes);
                EXPECT_EQ(tensor.data, data) << row.name;
                EXPECT_EQ(tensor.coding,
                          std::string(row.text) == "Q8_0" ? Coding::q8_0 : Coding::plain);
                data += padded(row.bytes);
            }
            EXPECT_EQ(std::memcmp(file.tensors.at("a").data, made.tensors[0].data.data(), 24), 0);
        }
    }
}

// Values are scale times q, exactly, whatever the scale.
TEST(Gguf, Q8IsWidenedExactly) {
    for (const int scale : {0x0001, 0x03ff, 0x0400, 0x3c00, 0x3555, 0x7bff, 0xb555, 0x0000}) {
        std::string block;
        append_number(block, static_cast<uint64_t>(scale), 2);
        for (int i = 0; i < 32; ++i) block.push_back(static_cast<char>(i * 8 - 128));
        float values[32];
        const seqmix::Coded coded{block.data(), DType::f32, seqmix::Coding::q8_0};
        coded.read(0, 32, values);
        const int exponent = scale >> 10 & 31;
        const double size = exponent == 0 ? std::ldexp(scale & 1023, -24)
                                          : std::ldexp((scale & 1023) + 1024, exponent - 25);
        for (int i = 0; i < 32; ++i) {
            const double want = (scale & 0x8000 ? -size : size) * (i * 8 - 128);
            EXPECT_EQ(static_cast<double>(values[i]), want) << scale << " " << i;
        }
    }
}

TEST(Gguf, HalvesAreRoundedToTheNearest) {
    const struct {
        float value;
        uint16_t bits;
    } rows[] = {{0, 0},
                {1, 0x3c00},
                {-2, 0xc000},
                {65504, 0x7bff},
                {0x1p-24f, 0x0001},
                {0x1.8p-24f, 0x0002},
                {0x1p-25f, 0},
                {0x1p-14f, 0x0400},
                {0x1.ff8p-15f, 0x03ff},
                {0x1.ffcp-15f, 0x0400},
                {1 + 0x1p-11f, 0x3c00},
                {1 + 0x3p-11f, 0x3c02}};
    for (const auto& row : rows) EXPECT_EQ(half_bits(row.value), row.bits) << row.value;
}

TEST(Gguf, KeysOfEveryType) {
    GgufFile made;
    made.key("general.architecture", "none");
    const std::string ff(8, '\xff');
    const struct {
        uint32_t type;
        size_t size;
        seqmix::Json want;
    } rows[] = {{0, 1, seqmix::Json(uint64_t{255})},        {1, 1, seqmix::Json(int64_t{-1})},
                {2, 2, seqmix::Json(uint64_t{65535})},      {3, 2, seqmix::Json(int64_t{-1})},
                {4, 4, seqmix::Json(uint64_t{4294967295})}, {5, 4, seqmix::Json(int64_t{-1})},
                {10, 8, seqmix::Json(UINT64_MAX)},          {11, 8, seqmix::Json(int64_t{-1})}};
    for (const auto& row : rows) {
        made.raw_key("type " + std::to_string(row.type), row.type, ff.substr(0, row.size));
        made.numbers("array " + std::to_string(row.type), row.type, row.size, {1, 2, 3});
    }
    made.key("real", 0.5f).key("yes", true).key("no", false).texts("words", {"a", "", "bc"});
    made.raw_key("double", 12, std::string("\0\0\0\0\0\0\xe0\x3f", 8));
    const std::string bytes = made.bytes();
    TensorFile file;
    ASSERT_TRUE(seqmix::parse_gguf(bytes.data(), bytes.size(), "", file).ok()) << message();
    ASSERT_NE(file.config, nullptr);
    const auto& keys = *file.config->get_if<seqmix::Json::Object>();
    EXPECT_EQ(keys.size(), 2u * std::size(rows) + 6);
    for (const auto& row : rows) {
        EXPECT_EQ(keys.at("type " + std::to_string(row.type)), row.want) << row.type;
        EXPECT_THAT(*keys.at("array " + std::to_string(row.type)).get_if<std::string>(),
                    testing::StartsWith("an array of 3 "));
    }
    EXPECT_EQ(keys.at("real"), seqmix::Json(0.5));
    EXPECT_EQ(keys.at("double"), seqmix::Json(0.5));
    EXPECT_EQ(keys.at("yes"), seqmix::Json(true));
    EXPECT_EQ(keys.at("no"), seqmix::Json(false));
    EXPECT_EQ(keys.at("words"), seqmix::Json(std::string("an array of 3 text")));
}

TEST(Gguf, NoPrefixOfAFileIsOne) {
    GgufFile made = small_gguf_mamba();
    made.texts("tokenizer.ggml.tokens", {"a", "b"}).numbers("tokenizer.ggml.scores", 6, 4, {0, 0});
    const std::string bytes = made.bytes();
    TensorFile file;
    ASSERT_EQ(parse(bytes, &file), SEQMIX_OK) << message();
    // The last tensor's padding may be missing.
    const size_t end = bytes.size() - (32 - made.tensors.back().data.size() % 32) % 32;
    for (size_t size = 0; size < end; size += size < 2048 ? 1 : 61) {
        TensorFile none;
        EXPECT_NE(parse(bytes.substr(0, size), &none), SEQMIX_OK) << size;
        EXPECT_TRUE(none.tensors.empty());
    }
    TensorFile again;
    EXPECT_EQ(parse(bytes.substr(0, end), &again), SEQMIX_OK) << message();
    expect_refused(bytes + std::string(32, '\0'), SEQMIX_ERR_BAD_FORMAT,
                   "bytes follow the last tensor");
}

TEST(Gguf, RefusesOtherVersions) {
    GgufFile made = small_gguf_mamba();
    const std::string rest = made.bytes().substr(8);
    for (const auto& [version, part] : std::vector<std::pair<std::string, const char*>>{
             {std::string("\1\0\0\0", 4), "version 1, expected 2 or 3"},
             {std::string("\4\0\0\0", 4), "version 4, expected 2 or 3"},
             {std::string("\0\0\0\0", 4), "version 0, expected 2 or 3"},
             {std::string("\0\0\0\3", 4), "big-endian"}}) {
        expect_refused("GGUF" + version + rest, SEQMIX_ERR_UNSUPPORTED, part);
    }
    EXPECT_TRUE(seqmix::is_gguf("GGUF"));
    EXPECT_FALSE(seqmix::is_gguf("GGU"));
    expect_refused("GGML" + rest, SEQMIX_ERR_BAD_FORMAT, "does not begin with 'GGUF'");
}

TEST(Gguf, RefusesDamagedKeys) {
    const auto with = [](uint32_t type, const std::string& value) {
        return small_gguf_mamba().raw_key("k", type, value);
    };
    const auto number = [](uint64_t value, size_t size) {
        std::string bytes;
        append_number(bytes, value, size);
        return bytes;
    };
    expect_bad(with(13, ""), "key 'k' has the unknown type 13");
    expect_bad(with(7, "\2"), "key 'k' is a bool of 2, expected 0 or 1");
    expect_bad(with(9, number(9, 4) + number(1, 8)), "key 'k' is an array of arrays");
    expect_bad(with(9, number(99, 4) + number(1, 8)), "key 'k' has the unknown type 99");
    for (const uint64_t count : {uint64_t{1} << 20, uint64_t{1} << 61, UINT64_MAX}) {
        expect_bad(with(8, number(count, 8)), "ends inside key 'k'");
        expect_bad(with(9, number(10, 4) + number(count, 8)), "ends inside key 'k'");
        expect_bad(with(9, number(8, 4) + number(count, 8)), "ends inside key 'k'");
    }
    expect_bad(small_gguf_mamba().key("k", 1).key("k", 2), "key 'k' is there twice");
    expect_bad(small_gguf_mamba().key("", 1), "has a name of 0 bytes");
    expect_bad(small_gguf_mamba().key(std::string(65536, 'k'), 1), "has a name of 65536 bytes");
    expect_bad(small_gguf_mamba().remove_key("general.architecture"),
               "no key 'general.architecture'");
    expect_bad(small_gguf_mamba().remove_key("general.architecture").key("general.architecture", 1),
               "no key 'general.architecture' that is a text");
    for (const int alignment : {0, 3, 48, -1}) {
        expect_bad(small_gguf_mamba().key("general.alignment", alignment),
                   "key 'general.alignment' is");
    }
    expect_bad(small_gguf_mamba().key("general.alignment", "32"), "expected an integer from 0");
    expect_bad(small_gguf_mamba().raw_key("general.alignment", 1, "\xe0"),
               "is -32, expected an integer");
    expect_refused(small_gguf_mamba().key("split.count", 3).bytes(), SEQMIX_ERR_UNSUPPORTED,
                   "one of 3 files ('split.count')");
    // More keys or tensors than there are.
    for (const size_t place : {size_t{8}, size_t{16}}) {
        for (const uint64_t count : {uint64_t{40}, uint64_t{1} << 40, UINT64_MAX}) {
            std::string bytes = small_gguf_mamba().bytes();
            bytes.replace(place, 8, number(count, 8));
            TensorFile file;
            EXPECT_EQ(parse(bytes, &file), SEQMIX_ERR_BAD_FORMAT) << place << " " << count;
        }
    }
}

TEST(Gguf, RefusesDamagedTensors) {
    const auto with = [](const GgufTensor& tensor) {
        GgufFile file = small_gguf_mamba();
        file.tensors.push_back(tensor);
        return file;
    };
    const std::string data(64, '\0');
    expect_bad(with({"t", {}, 0, data}), "tensor 't' has 0 axes, expected 1 to 4");
    expect_bad(with({"t", {1, 1, 1, 1, 16}, 0, data}), "tensor 't' has 5 axes, expected 1 to 4");
    expect_bad(with({"t", {16, 0}, 0, data}), "tensor 't' has an axis of 0");
    expect_bad(with({"t", {UINT64_MAX}, 0, data}), "tensor 't' has an axis of");
    expect_bad(with({"t", {uint64_t{1} << 62, 4}, 0, data}), "number of elements overflows");
    expect_bad(with({"t", {uint64_t{1} << 62}, 0, data}), "number of elements overflows");
    // A later 0 would not excuse an overflow, and in blocks fewer bytes than values are counted.
    expect_bad(with({"t", {uint64_t{1} << 61, 1}, 8, data}), "number of elements overflows");
    expect_bad(with({"t", {uint64_t{1} << 50}, 0, data}), "but the file holds");
    expect_bad(with({"t", {33}, 8, data}),
               "tensor 't' has rows of 33, expected a multiple of 32 for Q8_0");
    expect_bad(with({"t", {16, 2}, 8, data}), "tensor 't' has rows of 16");
    expect_bad(with({"output_norm.weight", {16}, 0, data}),
               "tensor 'output_norm.weight' is there twice");
    expect_bad(with({"", {16}, 0, data}), "has a name of 0 bytes");
    expect_bad(with({std::string(64, 'n'), {16}, 0, data}),
               "has a name of 64 bytes, expected 1 to 63");
    // Offsets: over the one before, behind a hole, at no multiple, outside the file.
    for (const uint64_t offset : {uint64_t{0}, uint64_t{1} << 20, uint64_t{33}, UINT64_MAX}) {
        GgufTensor tensor{"t", {16}, 0, data};
        tensor.offset = offset;
        expect_bad(with(tensor), "tensor 't' begins at " + std::to_string(offset) + ", expected");
    }
    GgufFile shorter = small_gguf_mamba();
    shorter.tensors.back().data.resize(32);
    expect_bad(shorter, "tensor 'output_norm.weight' has 128 bytes from");
    const struct {
        uint32_t number;
        const char* name;
    } types[] = {{2, "Q4_0 (2)"},      {12, "Q4_K (12)"},
                 {14, "Q6_K (14)"},    {26, "I32 (26)"},
                 {28, "F64 (28)"},     {23, "IQ4_XS (23)"},
                 {29, "IQ1_M (29)"},   {39, "MXFP4 (39)"},
                 {40, "unknown (40)"}, {UINT32_MAX, "unknown (4294967295)"}};
    for (const auto& type : types) {
        expect_refused(with({"t", {256}, type.number, data}).bytes(), SEQMIX_ERR_UNSUPPORTED,
                       std::string("tensor 't' is of type ") + type.name +
                           ", expected F32, F16, BF16 or Q8_0");
    }
}

// ------------------------------------------------------------------ models

TEST(Gguf, MambaBecomesAStack) {
    GgufFile made = small_gguf_mamba(GgufType::q8_0);
    seqmix::StackSpec spec;
    ASSERT_EQ(plan(made, &spec), SEQMIX_OK) << message();
    EXPECT_EQ(spec.scheme, "gguf_mamba");
    EXPECT_EQ(spec.format, "GGUF");
    EXPECT_TRUE(spec.attributes.flag("tied"));
    ASSERT_EQ(spec.children.size(), 4u);
    const seqmix::Attributes& block = spec.children[1].attributes;
    EXPECT_EQ(block.i64("mixer.d_inner"), 64);
    EXPECT_EQ(block.i64("mixer.d_state"), 2);
    EXPECT_EQ(block.i64("mixer.d_conv"), 3);
    EXPECT_EQ(block.i64("mixer.dt_rank"), 1);
    EXPECT_EQ(block.str("mixer.inner_norm"), "none");
    EXPECT_FLOAT_EQ(static_cast<float>(block.f64("norm_eps")), 1e-5f);
    int turned = 0;
    for (const seqmix::WeightRef& ref : spec.children[1].weights) {
        EXPECT_EQ(ref.log_of_negative, ref.tensor == "blk.0.ssm_a");
        turned += ref.log_of_negative ? 1 : 0;
    }
    EXPECT_EQ(turned, 1);
    made.key("mamba.ssm.dt_b_c_rms", true);
    ASSERT_EQ(plan(made, &spec), SEQMIX_OK) << message();
    EXPECT_EQ(spec.children[1].attributes.str("mixer.inner_norm"), "rms");
    made.tensor("output.weight", {8, 32}, GgufType::f16, gguf_noise(8 * 32));
    ASSERT_EQ(plan(made, &spec), SEQMIX_OK) << message();
    EXPECT_FALSE(spec.attributes.flag("tied"));
}

TEST(Gguf, LlamaBecomesAStack) {
    for (const bool fused : {false, true}) {
        seqmix::StackSpec spec;
        ASSERT_EQ(plan(small_gguf_llama(fused), &spec), SEQMIX_OK) << message();
        EXPECT_EQ(spec.scheme, "gguf_llama");
        EXPECT_FALSE(spec.attributes.flag("tied"));
        ASSERT_EQ(spec.children.size(), 5u);
        const seqmix::Attributes& attention = spec.children[1].attributes;
        EXPECT_EQ(attention.i64("mixer.n_heads"), 4);
        EXPECT_EQ(attention.i64("mixer.n_kv_heads"), 2);
        EXPECT_EQ(attention.i64("mixer.head_dim"), 8);
        EXPECT_EQ(attention.i64("mixer.max_tokens"), 64);
        EXPECT_EQ(attention.str("mixer.rotary"), "interleaved");
        EXPECT_EQ(attention.str("mixer.qkv"), fused ? "fused" : "separate");
        EXPECT_EQ(attention.f64("mixer.rope_theta"), 10000);
        EXPECT_EQ(attention.find("mixer.rope_scaling"), nullptr);
        EXPECT_EQ(spec.children[2].attributes.i64("mixer.d_hidden"), 64);
    }
}

TEST(Gguf, LlamaBiases) {
    GgufFile made = small_gguf_llama();
    for (const auto& [name, rows] : std::vector<std::pair<std::string, uint64_t>>{
             {"attn_q", 32}, {"attn_k", 16}, {"attn_v", 16}, {"attn_output", 32}}) {
        made.tensor("blk.0." + name + ".bias", {rows}, GgufType::f32, gguf_noise(rows));
    }
    seqmix::StackSpec spec;
    ASSERT_EQ(plan(made, &spec), SEQMIX_OK) << message();
    EXPECT_TRUE(spec.children[1].attributes.flag("mixer.qkv_bias"));
    EXPECT_TRUE(spec.children[1].attributes.flag("mixer.out_bias"));
    EXPECT_FALSE(spec.children[2].attributes.flag("mixer.bias"));
}

TEST(Gguf, LlamaRotaryScalings) {
    const auto rotary = [](GgufFile& made) {
        seqmix::StackSpec spec;
        EXPECT_EQ(plan(made, &spec), SEQMIX_OK) << message();
        return spec.children.at(1).attributes;
    };
    const auto scaling = [](const seqmix::Attributes& attributes) {
        return attributes.find("mixer.rope_scaling") == nullptr
                   ? std::string("none")
                   : attributes.str("mixer.rope_scaling");
    };
    GgufFile made = small_gguf_llama();
    made.key("llama.rope.freq_base", 5e5f).key("llama.rope.scaling.factor", 4.0f);
    EXPECT_EQ(rotary(made).f64("mixer.rope_theta"), 5e5);
    EXPECT_EQ(rotary(made).f64("mixer.rope_factor"), 4);
    EXPECT_EQ(scaling(rotary(made)), "linear");  // what no type counts as
    made.key("llama.rope.scaling.type", "linear");
    EXPECT_EQ(scaling(rotary(made)), "linear");
    made.remove_key("llama.rope.scaling.type").key("llama.rope.scaling.type", "none");
    EXPECT_EQ(scaling(rotary(made)), "none");
    made.remove_key("llama.rope.scaling.type").remove_key("llama.rope.scaling.factor");
    made.key("llama.rope.scaling.factor", 0.0f);
    EXPECT_EQ(scaling(rotary(made)), "none");
    made.remove_key("llama.rope.scaling.factor").key("llama.rope.scale_linear", 2.0f);
    EXPECT_EQ(rotary(made).f64("mixer.rope_factor"), 2);
    EXPECT_EQ(scaling(rotary(made)), "linear");

    // Llama 3.1's divisors, with a factor on top.
    made.tensor("rope_freqs.weight", {4}, GgufType::f32, {1, 1, 2, 8});
    seqmix::Attributes attributes = rotary(made);
    EXPECT_EQ(scaling(attributes), "longrope");
    for (const char* name : {"mixer.rope_short_factors", "mixer.rope_long_factors"}) {
        EXPECT_THAT(std::get<std::vector<double>>(*attributes.find(name)),
                    ElementsAre(2, 2, 4, 16));
    }
    EXPECT_EQ(attributes.f64("mixer.rope_attention_factor"), 1);
    made.key("llama.rope.scaling.type", "yarn");
    expect_no_model(made, SEQMIX_ERR_UNSUPPORTED, "is yarn and tensor 'rope_freqs.weight'");
    made.tensors.back().data = gguf_values(GgufType::f32, {1, 1, -2, 8});
    made.remove_key("llama.rope.scaling.type");
    expect_no_model(made, SEQMIX_ERR_BAD_FORMAT, "'rope_freqs.weight' holds -2 at 2");
    made.tensors.pop_back();
    made.tensor("rope_freqs.weight", {3}, GgufType::f32, {1, 1, 2});
    expect_no_model(made, SEQMIX_ERR_SHAPE,
                    "'rope_freqs.weight' has shape (3) F32, expected (4) F32");
    made.tensors.pop_back();
    made.tensor("rope_freqs.weight", {4}, GgufType::f16, {1, 1, 2, 8});
    expect_no_model(made, SEQMIX_ERR_SHAPE, "expected (4) F32");

    made = small_gguf_llama();
    made.key("llama.rope.scaling.type", "yarn").key("llama.rope.scaling.factor", 16.0f);
    made.key("llama.rope.scaling.original_context_length", 16);
    made.key("llama.rope.scaling.yarn_beta_fast", 24.0f)
        .key("llama.rope.scaling.yarn_ext_factor", 1.0f);
    attributes = rotary(made);
    EXPECT_EQ(scaling(attributes), "yarn");
    EXPECT_EQ(attributes.i64("mixer.rope_original_length"), 16);
    EXPECT_EQ(attributes.f64("mixer.rope_beta_fast"), 24);
    EXPECT_NEAR(attributes.f64("mixer.rope_attention_factor"), 1.2772588722239781, 1e-12);
    made.key("llama.rope.scaling.attn_factor", 0.5f);
    EXPECT_NEAR(rotary(made).f64("mixer.rope_attention_factor"), 1.2772588722239781 / 2, 1e-12);
    made.remove_key("llama.rope.scaling.type").key("llama.rope.scaling.type", "longrope");
    expect_no_model(made, SEQMIX_ERR_UNSUPPORTED, "'llama.rope.scaling.type' is 'longrope'");
}

TEST(Gguf, RefusesModelsThatItDoesNotRun) {
    for (const char* name : {"mamba2", "gpt2", "qwen2", "jamba", ""}) {
        GgufFile made = small_gguf_mamba();
        made.remove_key("general.architecture").key("general.architecture", name);
        expect_no_model(
            made, SEQMIX_ERR_UNSUPPORTED,
            std::string("'general.architecture' is '") + name + "', expected llama or mamba");
    }
    const auto llama = [](const char* key, auto value) {
        return small_gguf_llama().remove_key(key).key(key, value);
    };
    constexpr seqmix_status kNot = SEQMIX_ERR_UNSUPPORTED;
    expect_no_model(llama("llama.expert_count", 8), kNot, "'llama.expert_count' is 8");
    expect_no_model(llama("llama.attention.sliding_window", 32), kNot,
                    "'llama.attention.sliding_window'");
    expect_no_model(llama("llama.attention.clamp_kqv", 1.0f), kNot,
                    "'llama.attention.clamp_kqv' is 1");
    expect_no_model(llama("llama.attention.scale", 0.5f), kNot, "'llama.attention.scale' is 0.5");
    expect_no_model(llama("llama.logit_scale", 2.0f), kNot, "'llama.logit_scale' is 2");
    expect_no_model(llama("llama.embedding_scale", "x"), kNot, "'llama.embedding_scale' is 'x'");
    expect_no_model(llama("llama.use_parallel_residual", true), kNot,
                    "'llama.use_parallel_residual'");
    expect_no_model(llama("llama.rope.dimension_count", 4), kNot,
                    "is 4, expected the width of a head, 8");
    expect_no_model(llama("llama.attention.value_length", 4), kNot,
                    "'llama.attention.value_length' is 4");
    seqmix::StackSpec spec;
    for (const char* key : {"llama.expert_count", "llama.attention.sliding_window"}) {
        EXPECT_EQ(plan(llama(key, 0), &spec), SEQMIX_OK) << message();
    }
    EXPECT_EQ(plan(llama("llama.logit_scale", 1.0f), &spec), SEQMIX_OK) << message();
    EXPECT_EQ(plan(llama("llama.use_parallel_residual", false), &spec), SEQMIX_OK) << message();

    constexpr seqmix_status kBad = SEQMIX_ERR_BAD_FORMAT;
    expect_no_model(llama("llama.attention.head_count", "4"), kBad,
                    "'llama.attention.head_count' must be");
    expect_no_model(llama("llama.attention.head_count", 0), kBad, "is 0, expected 1 to");
    expect_no_model(small_gguf_llama().remove_key("llama.attention.head_count"), kBad,
                    "no key 'llama.attention.head_count'");
    expect_no_model(small_gguf_llama().remove_key("llama.attention.layer_norm_rms_epsilon"), kBad,
                    "no key 'llama.attention.layer_norm_rms_epsilon'");
    expect_no_model(llama("llama.attention.layer_norm_rms_epsilon", -1.0f), kBad,
                    "expected 0 to 1");
    expect_no_model(
        llama("llama.attention.layer_norm_rms_epsilon", std::numeric_limits<float>::quiet_NaN()),
        kBad, "expected 0 to 1");
    expect_no_model(small_gguf_llama()
                        .remove_key("llama.feed_forward_length")
                        .numbers("llama.feed_forward_length", 4, 4, {64}),
                    kBad, "must be an integer, got 'an array of 1 u32'");
}

TEST(Gguf, RefusesKeysAndTensorsThatDisagree) {
    constexpr seqmix_status kShape = SEQMIX_ERR_SHAPE;
    const auto mamba = [](const char* key, int value) {
        return small_gguf_mamba().remove_key(key).key(key, value);
    };
    const auto llama = [](const char* key, int value) {
        return small_gguf_llama().remove_key(key).key(key, value);
    };
    for (const char* key :
         {"mamba.embedding_length", "mamba.ssm.inner_size", "mamba.ssm.state_size",
          "mamba.ssm.conv_kernel", "mamba.ssm.time_step_rank"}) {
        expect_no_model(mamba(key, 7), kShape, std::string("the file gives 7 by '") + key + "'");
    }
    expect_no_model(mamba("mamba.block_count", 2), kShape, "'mamba.block_count' is 2");
    expect_no_model(llama("llama.block_count", 2), kShape, "'llama.block_count' is 2");
    expect_no_model(llama("llama.embedding_length", 16), kShape,
                    "gives 16 by 'llama.embedding_length'");
    expect_no_model(llama("llama.feed_forward_length", 16), kShape,
                    "gives 16 by 'llama.feed_forward_length'");
    expect_no_model(llama("llama.attention.head_count_kv", 4), kShape,
                    "'blk.0.attn_k.weight' has shape");
    expect_no_model(llama("llama.attention.head_count_kv", 3), kShape,
                    "'blk.0.attn_k.weight' has shape");
    GgufFile missing = small_gguf_mamba();
    missing.find("blk.0.ssm_d").name = "blk.0.ssm_e";
    expect_no_model(missing, SEQMIX_ERR_MISSING_TENSOR,
                    "1 tensors are missing: 'blk.0.ssm_d'; 1 are unexpected: 'blk.0.ssm_e'");
    GgufFile expert = small_gguf_llama();
    expert.tensor("blk.0.ffn_gate_inp.weight", {2, 32}, GgufType::f32, gguf_noise(64));
    expect_no_model(expert, SEQMIX_ERR_UNKNOWN_SLOT, "'blk.0.ffn_gate_inp.weight'");
    expect_no_model(GgufFile().key("general.architecture", "llama"), SEQMIX_ERR_BAD_FORMAT,
                    "layer_norm_rms_epsilon");
}

}  // namespace
