// Tokenizers against ids of the package `tokenizers`, and against files that are not what they claim.
#include "cli/byte_pair.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "support/shared_data.h"

namespace seqmix_cli {
namespace {

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

#ifdef SEQMIX_CLI_UTF8PROC

std::vector<int64_t> encode(const Tokenizer& tokenizer, std::string_view text) {
    return tokenizer.encode(text, true);
}

std::string decode(const Tokenizer& tokenizer, const std::vector<int64_t>& ids) {
    CharacterStream stream;
    std::string text;
    for (const int64_t id : ids) {
        text += stream.put(tokenizer.decode(id, -1));
    }
    return text + stream.end();
}

BytePair neox() {
    const std::string path = seqmix_test::shared_path("data/tokenizers/20B_tokenizer.json");
    return BytePair(read(path), path);
}

TEST(BytePair, GptNeoXCases) {
    SEQMIX_NEED_SHARED("data/tokenizers/20B_tokenizer.json");
    SEQMIX_NEED_SHARED("golden/tokenizer/cases.json");
    const BytePair tokenizer = neox();
    const Json cases = Json::parse(read(seqmix_test::shared_path("golden/tokenizer/cases.json")));
    int passed = 0;
    for (const Json& one : cases["cases"]) {
        const auto text = one["text"].get<std::string>();
        const auto ids = one["ids"].get<std::vector<int64_t>>();
        EXPECT_EQ(encode(tokenizer, text), ids) << text;
        EXPECT_EQ(decode(tokenizer, ids), one["decoded"].get<std::string>());
        passed += HasFailure() ? 0 : 1;
    }
    EXPECT_EQ(passed, 400);
    EXPECT_EQ(tokenizer.end(), 0);
}

TEST(BytePair, TwoHundredThousandCharacters) {
    SEQMIX_NEED_SHARED("data/tokenizers/20B_tokenizer.json");
    SEQMIX_NEED_SHARED("golden/tokenizer/shakespeare200k.u16");
    SEQMIX_NEED_SHARED("data/text/tinyshakespeare.txt");
    const std::string text =
        read(seqmix_test::shared_path("data/text/tinyshakespeare.txt")).substr(0, 200000);
    const std::string bytes =
        read(seqmix_test::shared_path("golden/tokenizer/shakespeare200k.u16"));
    std::vector<int64_t> want;
    for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
        want.push_back(static_cast<unsigned char>(bytes[i]) |
                       static_cast<unsigned char>(bytes[i + 1]) << 8);
    }
    ASSERT_GT(want.size(), 50000U);
    const BytePair tokenizer = neox();
    EXPECT_EQ(encode(tokenizer, text), want);
    EXPECT_EQ(decode(tokenizer, want), text);
}

// Made by tools/golden/llama_bpe.py with the package.
TEST(BytePair, Llama3Cases) {
    const std::string folder = seqmix_test::source_dir() + "/tests/golden/llama_bpe/";
    const std::string content = read(folder + "tokenizer.json");
    const BytePair tokenizer(content, "tokenizer.json");
    const Json cases = Json::parse(read(folder + "cases.json"));
    int passed = 0;
    for (const Json& one : cases) {
        const auto text = one[0].get<std::string>();
        const auto ids = one[1].get<std::vector<int64_t>>();
        EXPECT_EQ(tokenizer.encode(text, true), ids) << one[0].dump();
        ASSERT_FALSE(ids.empty());
        EXPECT_EQ(tokenizer.encode(text, false),
                  std::vector<int64_t>(ids.begin() + 1, ids.end()));  // no mark inside a document
        passed += HasFailure() ? 0 : 1;
    }
    EXPECT_EQ(passed, 1209);
    EXPECT_EQ(tokenizer.end(), 1);
    // Another pattern is not this one, and a template that does more is refused.
    Json other = Json::parse(content);
    Json& pattern = other["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
    pattern = pattern.get<std::string>() + "|x";
    EXPECT_THROW(BytePair(other.dump(), "other.json"), Failure);
    other = Json::parse(content);
    Json& single = other["post_processor"]["processors"][1]["single"];
    single.push_back(single[0]);
    EXPECT_THROW(BytePair(other.dump(), "other.json"), Failure);
}

// All bytes, and the words "ab", "abc" and " ab".
Json small_file() {
    Json vocab = Json::object(), merges = Json::array();
    int id = 0;
    for (int byte = 0, next = 0x100; byte < 256; ++byte) {
        const bool itself = (byte >= 33 && byte <= 126) || (byte >= 0xa1 && byte != 0xad);
        const int code = itself ? byte : next++;
        std::string token;
        if (code < 0x80) {
            token = std::string(1, static_cast<char>(code));
        } else {
            token = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
        }
        vocab[token] = id++;
    }
    for (const char* word : {"ab", "abc",
                             "\xc4\xa0"
                             "ab"}) {
        vocab[word] = id++;
    }
    merges = {"a b", "ab c", "\xc4\xa0 ab"};
    return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
            {"added_tokens", Json::array()}};
}

BytePair made(const Json& file) { return BytePair(file.dump(), "small.json"); }

TEST(BytePair, MergesAndAddedTokens) {
    Json file = small_file();
    file["added_tokens"] = {{{"id", 300}, {"content", "<x>"}, {"special", true}},
                            {{"id", 301}, {"content", "<x>y"}, {"special", false}}};
    const BytePair tokenizer = made(file);
    EXPECT_EQ(encode(tokenizer, "ab abcab"), (std::vector<int64_t>{256, 32, 257, 256}));
    // The longest of the leftmost.
    EXPECT_EQ(encode(tokenizer, "a<x>y<x>b"), (std::vector<int64_t>{'a', 301, 300, 'b'}));
    EXPECT_EQ(decode(tokenizer, {'a', 301, 300, 'b', 1000, -1}), "a<x>y<x>b");
    EXPECT_EQ(tokenizer.end(), -1);
    EXPECT_EQ(tokenizer.size(), 302);
    file["pre_tokenizer"]["add_prefix_space"] = true;
    EXPECT_EQ(encode(made(file), "ab"), (std::vector<int64_t>{258}));
    EXPECT_EQ(encode(made(file), "\nab"), encode(made(small_file()), "\nab"));
    file["model"]["merges"] = Json::array(
        {Json::array({"a", "b"}), Json::array({"ab", "c"})});  // as newer files have them
    EXPECT_EQ(encode(made(file), "abcabc").size(), 3U);
    file["model"]["ignore_merges"] = true;
    EXPECT_EQ(encode(made(file), "ab"), (std::vector<int64_t>{258}));
}

TEST(BytePair, LongWords) {
    Json file = small_file();
    file["model"]["vocab"]["aa"] = 259;
    file["model"]["vocab"]["aaaa"] = 260;
    file["model"]["merges"] = {"a a", "aa aa"};
    const std::vector<int64_t> ids = encode(made(file), std::string(1000003, 'a'));
    ASSERT_EQ(ids.size(), 250002U);
    EXPECT_EQ(ids[0], 260);
    EXPECT_EQ(ids[250000], 259);
    EXPECT_EQ(ids[250001], 'a');
}

TEST(BytePair, TextsThatAreNotUtf8) {
    const BytePair tokenizer = made(small_file());
    for (const char* text : {"a\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80"}) {
        EXPECT_THROW(encode(tokenizer, text), Failure) << text;
    }
    EXPECT_EQ(encode(tokenizer, std::string_view("a\0b", 3)).size(), 3U);
}

void expect_refused(const Json& file, const std::string& says) {
    try {
        made(file);
        ADD_FAILURE() << "accepted, expected: " << says;
    } catch (const Failure& failure) {
        EXPECT_NE(std::string(failure.what()).find(says), std::string::npos) << failure.what();
        EXPECT_NE(std::string(failure.what()).find("small.json"), std::string::npos);
    }
}

TEST(BytePair, WhatIsNotSupportedIsRefusedByName) {
    const auto changed = [](const char* pointer, const Json& value) {
        Json file = small_file();
        file[Json::json_pointer(pointer)] = value;
        return file;
    };
    expect_refused(changed("/model/type", "Unigram"), "Unigram");
    expect_refused(changed("/model/dropout", 0.1), "dropout");
    expect_refused(changed("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix");
    expect_refused(changed("/normalizer", {{"type", "Lowercase"}}), "Lowercase");
    expect_refused(changed("/pre_tokenizer", {{"type", "Metaspace"}}), "Metaspace");
    expect_refused(changed("/pre_tokenizer/use_regex", false), "GPT-2's pattern");
    expect_refused(changed("/post_processor", {{"type", "TemplateProcessing"}}),
                   "TemplateProcessing");
    expect_refused(changed("/decoder", {{"type", "WordPiece"}}), "WordPiece");
    expect_refused(changed("/added_tokens", {{{"id", 300}, {"content", "<x>"}, {"lstrip", true}}}),
                   "lstrip");
    expect_refused(changed("/added_tokens", {{{"id", -1}, {"content", "<x>"}}}), "id");
    expect_refused(changed("/added_tokens", {{{"id", 1}, {"content", ""}}}), "added token");
    expect_refused(changed("/added_tokens", {{{"id", "a"}, {"content", "b"}}}), "id");
    expect_refused(changed("/model/vocab/ab", 1e9), "id");
    expect_refused(changed("/model/vocab/ab", int64_t{1} << 40), "id");
    expect_refused(changed("/model/merges/0", "a q z"), "merge 0");
    expect_refused(changed("/model/merges/1", 7), "merge 1");
    expect_refused(changed("/model/vocab", Json::array()), "vocab");
    Json file = small_file();
    file["model"]["vocab"].erase("a");
    expect_refused(file, "byte 97");
    for (const char* text : {"", "[]", "{", "{\"model\":1}", "null"}) {
        EXPECT_THROW(BytePair(text, "small.json"), Failure) << text;
    }
}

// Every truncation, and many flips: refused, or a tokenizer that still gives back what it took.
TEST(BytePair, DamagedFiles) {
    const std::string whole = small_file().dump();
    for (size_t size = 0; size < whole.size(); size += 7) {
        EXPECT_THROW(BytePair(whole.substr(0, size), "x"), Failure);
    }
    uint32_t random = 1;
    for (int i = 0; i < 2000; ++i) {
        std::string damaged = whole;
        random = random * 1664525 + 1013904223;
        damaged[random % damaged.size()] ^= static_cast<char>(1 << (random >> 29));
        try {
            const BytePair tokenizer(damaged, "x");
            decode(tokenizer, encode(tokenizer, "ab abc \xc3\xa9"));
        } catch (const Failure&) {
        }
    }
}

#endif

TEST(CharacterStream, WholeCharactersOnly) {
    CharacterStream stream;
    EXPECT_EQ(stream.put("a\xf0\x9f"), "a");
    EXPECT_EQ(stream.put("\x8e"), "");
    EXPECT_EQ(stream.put("\x89z"), "\xf0\x9f\x8e\x89z");
    EXPECT_EQ(stream.put("\xe2\x82"), "");
    EXPECT_EQ(stream.put("x"), "\xef\xbf\xbdx");
    EXPECT_EQ(stream.put("\xc3"), "");
    EXPECT_EQ(stream.end(), "\xef\xbf\xbd");
    EXPECT_EQ(stream.end(), "");
}

// As Python's bytes.decode("utf-8", "replace").
TEST(CharacterStream, WhatIsNoCharacter) {
    const auto decoded = [](std::string_view bytes) {
        CharacterStream stream;
        std::string text;
        for (const char byte : bytes) {
            text += stream.put({&byte, 1});
        }
        return text + stream.end();
    };
    const std::string r = "\xef\xbf\xbd";
    EXPECT_EQ(decoded("\xff\xfe"), r + r);
    EXPECT_EQ(decoded("\xc0\x80"), r + r);
    EXPECT_EQ(decoded("\xe0\x80\x80"), r + r + r);
    EXPECT_EQ(decoded("\xed\xa0\x80"), r + r + r);
    EXPECT_EQ(decoded("\xf0\x9f\x8e"
                      "a"),
              r + "a");
    EXPECT_EQ(decoded("\xf4\x90\x80\x80"), r + r + r + r);
    EXPECT_EQ(decoded("\xe2\x82\xac\xf4\x8f\xbf\xbf"), "\xe2\x82\xac\xf4\x8f\xbf\xbf");
}

}  // namespace
}  // namespace seqmix_cli
