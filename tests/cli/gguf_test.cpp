// The vocabulary of a GGUF file against the same one from the file that it was made of, and vocabularies that
// are not known here.
#include "cli/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/byte_pair.h"
#include "cli/common.h"
#include "support/gguf.h"
#include "support/shared_data.h"
#include "unit/checkpoint_files.h"

namespace seqmix_cli {
namespace {

using seqmix_test::GgufFile;
using seqmix_test::read_bytes;
using seqmix_test::shared_path;

std::unique_ptr<const Tokenizer> open(const GgufFile& file, int64_t vocab, std::string* why) {
    const seqmix_test::TempFolder folder;
    return read_gguf_tokenizer(folder.write("model.gguf", file.bytes()), vocab, why);
}

void expect_unknown(const GgufFile& file, const std::string& part) {
    std::string why;
    EXPECT_EQ(open(file, 300, &why), nullptr) << part;
    EXPECT_NE(why.find(part), std::string::npos) << why;
}

std::vector<uint64_t> float_words(const std::vector<float>& values) {
    std::vector<uint64_t> words;
    for (const float value : values) words.push_back(seqmix_test::float_bits(value));
    return words;
}

// ------------------------------------------------------------------ pieces with scores

// tokenizer.bin of llama2.c as a converter writes it.
struct LlamaKeys {
    std::vector<std::string> tokens;
    std::vector<float> scores;
    std::vector<uint64_t> types;

    GgufFile file() const {
        GgufFile made;
        made.key("general.architecture", "llama").key("tokenizer.ggml.model", "llama");
        made.texts("tokenizer.ggml.tokens", tokens);
        made.numbers("tokenizer.ggml.scores", 6, 4, float_words(scores));
        made.numbers("tokenizer.ggml.token_type", 5, 4, types);
        return made.key("tokenizer.ggml.bos_token_id", 1).key("tokenizer.ggml.eos_token_id", 2);
    }
};

std::string with_marks(const std::string& piece) {
    std::string text;
    for (const char c : piece) text += c == ' ' ? std::string("\xe2\x96\x81") : std::string(1, c);
    return text;
}

LlamaKeys stories_keys() {
    LlamaKeys keys;
    const std::string bytes = read_bytes(shared_path("data/stories260k/tok512.bin"));
    for (size_t at = 4; at + 8 <= bytes.size();) {
        float score = 0;
        uint32_t length = 0;
        std::memcpy(&score, bytes.data() + at, 4);
        std::memcpy(&length, bytes.data() + at + 4, 4);
        const size_t id = keys.tokens.size();
        keys.tokens.push_back(with_marks(bytes.substr(at + 8, length)));
        keys.scores.push_back(score);
        keys.types.push_back(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1);
        at += 8 + length;
    }
    keys.tokens[0] = "<unk>";
    keys.tokens[1] = "<s>";
    keys.tokens[2] = "</s>";
    return keys;
}

TEST(GgufTokenizer, PiecesAsLlama2cs) {
    SEQMIX_NEED_SHARED("data/stories260k");
    SEQMIX_NEED_SHARED("data/text/tinyshakespeare.txt");
    const auto theirs = read_llama2c_tokenizer(shared_path("data/stories260k/tok512.bin"), 512);
    std::string why;
    const auto ours = open(stories_keys().file(), 512, &why);
    ASSERT_NE(ours, nullptr) << why;
    std::vector<std::string> texts = {"",
                                      " ",
                                      "Once upon a time",
                                      "  two  spaces ",
                                      "na\xc3\xafve \xe4\xb8\xad\n",
                                      "a\xff\xfe",
                                      "<s>",
                                      "<0x41>"};
    const std::string all = read_bytes(shared_path("data/text/tinyshakespeare.txt"));
    for (size_t at = 0; at < 200'000; at += 20'000) texts.push_back(all.substr(at, 20'000));
    for (const std::string& text : texts) {
        for (const bool begins : {true, false}) {
            const std::vector<int64_t> ids = ours->encode(text, begins);
            if (text != "<s>") {  // the files call it by different names
                EXPECT_EQ(ids, theirs->encode(text, begins)) << text.substr(0, 40);
            }
            std::string back;
            int64_t previous = -1;
            for (const int64_t id : ids) {
                back += ours->decode(id, previous);
                previous = id;
            }
            EXPECT_EQ(back, text);
        }
    }
    EXPECT_EQ(ours->end(), 2);
    EXPECT_EQ(
        ours->decode(1, -1) + ours->decode(2, -1) + ours->decode(600, -1) + ours->decode(-1, -1),
        "");
}

TEST(GgufTokenizer, PiecesWithoutMarks) {
    SEQMIX_NEED_SHARED("data/stories260k");
    GgufFile file = stories_keys().file();
    file.key("tokenizer.ggml.add_bos_token", false).key("tokenizer.ggml.add_space_prefix", false);
    std::string why;
    const auto plain = open(file, 600, &why);  // rows of padding
    ASSERT_NE(plain, nullptr) << why;
    EXPECT_EQ(plain->encode("time", true), plain->encode("time", false));
}

TEST(GgufTokenizer, PiecesThatAreRefused) {
    SEQMIX_NEED_SHARED("data/stories260k");
    const LlamaKeys good = stories_keys();
    std::string why;
    EXPECT_EQ(open(good.file(), 511, &why), nullptr);
    EXPECT_NE(why.find("512 tokens, more than the model's 511"), std::string::npos) << why;
    const auto refused = [&](const LlamaKeys& keys, const char* part) {
        EXPECT_EQ(open(keys.file(), 512, &why), nullptr);
        EXPECT_NE(why.find(part), std::string::npos) << why;
    };
    LlamaKeys keys = good;
    keys.types[300] = 4;
    refused(keys, "is user-defined");
    keys = good;
    keys.types[20] = 1;
    refused(keys, "no pieces for bytes");
    keys = good;
    keys.tokens[20] = "<0xZZ>";
    refused(keys, "no pieces for bytes");
    keys = good;
    keys.scores.pop_back();
    refused(keys, "'tokenizer.ggml.scores'");
    keys = good;
    keys.types.pop_back();
    refused(keys, "'tokenizer.ggml.token_type'");
    keys = good;
    keys.scores[9] = std::numeric_limits<float>::quiet_NaN();
    refused(keys, "a score is not finite");
    EXPECT_EQ(open(good.file().key("tokenizer.ggml.add_eos_token", true), 512, &why), nullptr);
    EXPECT_NE(why.find("add_eos_token"), std::string::npos) << why;
}

// ------------------------------------------------------------------ byte pairs

#ifdef SEQMIX_CLI_UTF8PROC

TEST(GgufTokenizer, GptNeoXAsItsTokenizerJson) {
    SEQMIX_NEED_SHARED("data/tokenizers/20B_tokenizer.json");
    SEQMIX_NEED_SHARED("golden/tokenizer/cases.json");
    auto json =
        nlohmann::json::parse(read_bytes(shared_path("data/tokenizers/20B_tokenizer.json")));
    constexpr size_t kTokens = 50280;
    std::vector<std::string> tokens(kTokens);
    std::vector<uint64_t> types(kTokens, 5);
    for (size_t i = 0; i < kTokens; ++i) tokens[i] = "[PAD" + std::to_string(i) + "]";
    for (const auto& [token, id] : json["model"]["vocab"].items()) {
        tokens[id.get<size_t>()] = token;
        types[id.get<size_t>()] = 1;
    }
    for (const auto& added : json["added_tokens"]) {
        const auto id = added["id"].get<size_t>();
        tokens[id] = added["content"].get<std::string>();
        types[id] = added["special"].get<bool>() ? 3 : 4;
    }
    std::vector<std::string> merges;
    for (const auto& merge : json["model"]["merges"]) merges.push_back(merge.get<std::string>());
    GgufFile file;
    file.key("general.architecture", "mamba").key("tokenizer.ggml.model", "gpt2");
    file.key("tokenizer.ggml.pre", "mpt").texts("tokenizer.ggml.tokens", tokens);
    file.texts("tokenizer.ggml.merges", merges).numbers("tokenizer.ggml.token_type", 5, 4, types);
    file.key("tokenizer.ggml.bos_token_id", 0).key("tokenizer.ggml.eos_token_id", 0);
    std::string why;
    const auto ours = open(file, 50280, &why);
    ASSERT_NE(ours, nullptr) << why;
    EXPECT_EQ(ours->end(), 0);
    json["normalizer"] = nullptr;
    const BytePair theirs(json.dump(), "20B");
    const auto cases =
        nlohmann::json::parse(read_bytes(shared_path("golden/tokenizer/cases.json")));
    int count = 0, composed = 0;
    for (const auto& one : cases["cases"]) {
        const auto text = one["text"].get<std::string>();
        const std::vector<int64_t> ids = ours->encode(text, true);
        EXPECT_EQ(ids, theirs.encode(text, true)) << text;
        // Where a text is composed already, these are the ids of the package `tokenizers` too.
        composed += ids == one["ids"].get<std::vector<int64_t>>() ? 1 : 0;
        std::string back;
        for (const int64_t id : ids) back += ours->decode(id, -1);
        EXPECT_EQ(back, text);
        ++count;
    }
    EXPECT_EQ(count, 400);
    std::printf(
        "GPT-NeoX: %d of 400 texts with the ids of `tokenizers`, which composes characters\n",
        composed);
    EXPECT_EQ(composed, 379);
}

// Llama 3's pattern: the ids of the package's tokenizer of the same vocabulary, with the mark before a text
// unless the file says no.
TEST(GgufTokenizer, Llama3) {
    const std::string folder = seqmix_test::source_dir() + "/tests/golden/llama_bpe/";
    const auto json = nlohmann::json::parse(read_bytes(folder + "tokenizer.json"));
    std::vector<std::string> tokens(json["model"]["vocab"].size());
    std::vector<uint64_t> types(tokens.size(), 1);
    for (const auto& [token, id] : json["model"]["vocab"].items()) tokens[id.get<size_t>()] = token;
    for (const auto& added : json["added_tokens"]) types[added["id"].get<size_t>()] = 3;
    std::vector<std::string> merges;
    for (const auto& merge : json["model"]["merges"]) {
        merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
    const auto cases = nlohmann::json::parse(read_bytes(folder + "cases.json"));
    for (const bool marks : {true, false}) {
        GgufFile file;
        file.key("general.architecture", "llama").key("tokenizer.ggml.model", "gpt2");
        file.key("tokenizer.ggml.pre", "llama-bpe").texts("tokenizer.ggml.tokens", tokens);
        file.texts("tokenizer.ggml.merges", merges);
        file.numbers("tokenizer.ggml.token_type", 5, 4, types);
        file.key("tokenizer.ggml.bos_token_id", 0).key("tokenizer.ggml.eos_token_id", 1);
        if (!marks) file.key("tokenizer.ggml.add_bos_token", false);
        std::string why;
        const auto ours = open(file, static_cast<int64_t>(tokens.size()), &why);
        ASSERT_NE(ours, nullptr) << why;
        EXPECT_EQ(ours->end(), 1);
        int count = 0;
        for (const auto& one : cases) {
            auto ids = one[1].get<std::vector<int64_t>>();
            if (!marks) ids.erase(ids.begin());
            EXPECT_EQ(ours->encode(one[0].get<std::string>(), true), ids) << one[0].dump();
            ++count;
        }
        EXPECT_EQ(count, 1209);
    }
}

#endif

TEST(GgufTokenizer, OthersAreNamed) {
    GgufFile file;
    file.key("general.architecture", "mamba");
    expect_unknown(file, "the file has no vocabulary");
    file.key("tokenizer.ggml.model", "bert");
    expect_unknown(file, "'tokenizer.ggml.model' is 'bert', expected gpt2 or llama");
    file.remove_key("tokenizer.ggml.model").key("tokenizer.ggml.model", "gpt2");
    expect_unknown(file, "'tokenizer.ggml.pre' is '', expected one of gpt-2, phi-2, mpt, olmo");
    file.key("tokenizer.ggml.pre", "qwen2");
    expect_unknown(file, "'tokenizer.ggml.pre' is 'qwen2'");
    file.remove_key("tokenizer.ggml.pre").key("tokenizer.ggml.pre", "gpt-2");
    expect_unknown(file, "its vocabulary");  // without tokens for bytes
    file.key("tokenizer.ggml.add_bos_token", true);
    expect_unknown(file, "add_bos_token");
    std::string why;
    EXPECT_EQ(read_gguf_tokenizer("/nowhere/model.gguf", 300, &why), nullptr);
    EXPECT_NE(why, "");
    // Keys that end too early.
    const seqmix_test::TempFolder folder;
    const std::string bytes = file.bytes();
    for (size_t size = 0; size + 32 < bytes.size(); ++size) {
        const std::string path = folder.write("short.gguf", bytes.substr(0, size));
        EXPECT_EQ(read_gguf_tokenizer(path, 300, &why), nullptr);
    }
}

}  // namespace
}  // namespace seqmix_cli
