// llama2.c's .bin files: which bytes are one, where its tensors lie, and every rule broken once.
#include "models/formats/llama2c.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "../support/llama2c.h"
#include "models/formats/checkpoint.h"
#include "models/schemes/stack_spec.h"

namespace {

using namespace seqmix_test;
using seqmix::TensorFile;
using testing::HasSubstr;

std::string message() { return seqmix::error_text::get(); }

float first_float(const seqmix::StoredTensor& tensor) {
    float value = 0;
    std::memcpy(&value, tensor.data, sizeof value);
    return value;
}

TEST(Llama2c, TensorsLieWhereTheHeaderSays) {
    for (const int32_t version : {0, 1}) {
        for (const bool shared : {true, false}) {
            const std::string bytes = llama2c_bytes({}, version, shared);
            ASSERT_TRUE(seqmix::is_llama2c(bytes));
            TensorFile file;
            ASSERT_TRUE(seqmix::parse_llama2c(bytes.data(), bytes.size(), "", file).ok())
                << message();
            EXPECT_EQ(file.tensors.size(), 2u * 9 + 2 + (shared ? 0 : 1));
            EXPECT_EQ(file.tensors.count("output.weight"), shared ? 0u : 1u);
            const auto& embedding = file.tensors.at("tok_embeddings.weight");
            EXPECT_THAT(embedding.shape, testing::ElementsAre(5, 8));
            const auto& key = file.tensors.at("layers.1.attention.wk.weight");
            EXPECT_THAT(key.shape, testing::ElementsAre(4, 8));
            const auto& down = file.tensors.at("layers.0.feed_forward.w2.weight");
            EXPECT_THAT(down.shape, testing::ElementsAre(8, 6));
            // Floats before: the embedding (or the norms), then att_norm, wq of two layers, wk of one.
            const char* begin = bytes.data() + (version == 0 ? 28 : 256);
            const int64_t at = version == 0 ? 5 * 8 + 2 * 8 + 2 * 64 + 32
                                            : 2 * 8 + 2 * 8 + 8 + 5 * 8 + 2 * 64 + 32;
            EXPECT_EQ(key.data, begin + at * 4);
            EXPECT_EQ(first_float(key),
                      static_cast<float>(static_cast<double>(at % 97) / 97 - 0.5));
            for (const auto& [name, tensor] : file.tensors) {
                const auto* data = static_cast<const char*>(tensor.data);
                EXPECT_GE(data, begin) << name;
                EXPECT_LE(data + tensor.bytes, bytes.data() + bytes.size()) << name;
            }
            EXPECT_EQ(file.metadata.at("n_heads"), "4");
            EXPECT_EQ(file.metadata.at("n_kv_heads"), "2");
        }
    }
}

TEST(Llama2c, BecomesAStack) {
    const std::string bytes = llama2c_bytes({}, 0, false);
    seqmix::Checkpoint checkpoint;
    ASSERT_TRUE(seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), {}, checkpoint).ok())
        << message();
    EXPECT_EQ(checkpoint.format, "llama2.c");
    seqmix::StackSpec spec;
    ASSERT_TRUE(seqmix::plan_stack(checkpoint, {}, spec).ok()) << message();
    EXPECT_EQ(spec.scheme, "llama2c");
    EXPECT_FALSE(spec.attributes.flag("tied"));
    ASSERT_EQ(spec.children.size(), 1u + 2 * 2 + 2);
    const seqmix::Attributes& attention = spec.children[1].attributes;
    EXPECT_EQ(attention.i64("mixer.n_heads"), 4);
    EXPECT_EQ(attention.i64("mixer.n_kv_heads"), 2);
    EXPECT_EQ(attention.i64("mixer.head_dim"), 2);
    EXPECT_EQ(attention.i64("mixer.max_tokens"), 10);
    EXPECT_EQ(attention.str("mixer.rotary"), "interleaved");
    EXPECT_TRUE(spec.children[2].attributes.flag("mixer.gated"));
}

// Sizes that make no sense, or not this file.
TEST(Llama2c, IsNoneWithOtherNumbers) {
    using Field = int32_t Llama2cHeader::*;
    const Field fields[] = {&Llama2cHeader::dim,   &Llama2cHeader::hidden,   &Llama2cHeader::layers,
                            &Llama2cHeader::heads, &Llama2cHeader::kv_heads, &Llama2cHeader::vocab,
                            &Llama2cHeader::tokens};
    for (const int32_t version : {0, 1}) {
        const std::string good = llama2c_bytes({}, version);
        const size_t header = version == 0 ? 28 : 256;
        for (const Field field : fields) {
            for (const int32_t value : {0, -1, 3, 7, 1 << 24, (1 << 24) + 1, INT_MAX, INT_MIN}) {
                Llama2cHeader h;
                if (h.*field == value) continue;
                // The most tokens of version 1 change nothing in the file.
                if (version == 1 && field == &Llama2cHeader::tokens && value > 0 &&
                    value <= 1 << 24) {
                    continue;
                }
                h.*field = value;
                const std::string bytes = llama2c_header(h, version, true) + good.substr(header);
                TensorFile file;
                EXPECT_EQ(seqmix::parse_llama2c(bytes.data(), bytes.size(), "", file).code(),
                          SEQMIX_ERR_BAD_FORMAT)
                    << value;
                EXPECT_TRUE(file.tensors.empty());
                EXPECT_EQ(seqmix::is_llama2c(bytes), version == 1);
            }
        }
        for (size_t size = 0; size < good.size(); ++size) {
            const std::string bytes = good.substr(0, size);
            TensorFile file;
            EXPECT_FALSE(seqmix::parse_llama2c(bytes.data(), bytes.size(), "", file).ok()) << size;
            EXPECT_EQ(seqmix::is_llama2c(bytes), version == 1 && size >= 8) << size;
        }
        EXPECT_EQ(seqmix::is_llama2c(good + std::string(4, '\0')), version == 1);
    }
}

TEST(Llama2c, RefusesWhatItIsByName) {
    TensorFile file;
    std::string bytes = llama2c_header({}, 2, true);
    EXPECT_EQ(seqmix::parse_llama2c(bytes.data(), bytes.size(), "a.bin", file).code(),
              SEQMIX_ERR_UNSUPPORTED);
    EXPECT_THAT(message(), HasSubstr("version 2, expected 0 or 1 (2 has int8 matrices) in a.bin"));
    // Odd heads, and heads that do not share evenly.
    for (const auto& [heads, kv, part] : std::vector<std::tuple<int32_t, int32_t, const char*>>{
             {8, 2, "heads of an odd width"}, {4, 3, "n_kv_heads does not divide"}}) {
        Llama2cHeader h;
        h.heads = heads;
        h.kv_heads = kv;
        bytes = llama2c_header(h, 1, true);
        EXPECT_EQ(seqmix::parse_llama2c(bytes.data(), bytes.size(), "", file).code(),
                  SEQMIX_ERR_BAD_FORMAT);
        EXPECT_THAT(message(), HasSubstr(part));
    }
    bytes = "nothing of the kind";
    seqmix::Checkpoint checkpoint;
    EXPECT_FALSE(
        seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), {}, checkpoint).ok());
}

}  // namespace
