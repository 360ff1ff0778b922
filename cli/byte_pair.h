// Byte-level byte-pair encoding as tokenizer.json describes it (GPT-2's, GPT-NeoX's and Llama 3's kinds): text to
// ids and back, id for id what the package `tokenizers` gives. Sources: Radford et al. 2019 (GPT-2)
// for bytes, pattern and merges; the format is that of `tokenizers` 0.23.
//
// Encoding: added tokens are found in the text (the leftmost, of those the longest); what lies between
// is normalised (NFC, if the file says so) and cut by GPT-2's pattern or Llama 3's; of each piece's bytes, pairs
// merge by rising rank, leftmost first. What a file asks for beyond that is refused by name.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer.h"

namespace seqmix_cli {

class BytePair : public Tokenizer {
  public:
    // `content` of the file `path`, which messages name. Throws Failure(kCannotRead).
    BytePair(const std::string& content, const std::string& path);

    // Throws Failure(kUsage) where the text is not UTF-8. A mark is put at the beginning of a document
    // where the file says so.
    std::vector<int64_t> encode(std::string_view text, bool begins) const override;
    // The bytes of a token, which may be a part of a character; none of ids that no token has (rows
    // that a model's table is padded with).
    std::string decode(int64_t id, int64_t previous) const override;
    int64_t end() const override { return end_; }  // <|endoftext|>
    void set_end(int64_t id) { end_ = id; }        // -1: none
    void set_begin(int64_t id) { begin_ = id; }    // the same
    static const char* llama3_pattern();
    int64_t size() const { return static_cast<int64_t>(bytes_.size()); }  // 1 + the largest id

  private:
    struct Added {
        std::string content;
        int32_t id;
    };
    struct Merge {
        int32_t rank, id;
    };
    // By the first byte, the longest first.
    using AddedSet = std::vector<Added>[256];

    struct File;  // the parsed file and its name
    void read_steps(const File& file);
    bool read_begin(const nlohmann::json& step);
    std::unordered_map<std::string, int32_t> read_vocabulary(const File& file);
    void read_merges(const File& file, const std::unordered_map<std::string, int32_t>& ids);
    void read_added_tokens(const File& file);
    void set_bytes(int32_t id, const std::string& bytes);

    void encode_normalized(std::string_view text, std::vector<int64_t>& ids) const;
    void encode_piece(std::string_view piece, std::vector<int64_t>& ids) const;
    template <class Between>
    void split_added(const AddedSet& set, std::string_view text, std::vector<int64_t>& ids,
                     const Between& between) const;

    bool llama3_ = false;  // the pattern
    int64_t begin_ = -1;   // put before a document; -1: nothing
    bool nfc_ = false, prefix_space_ = false, whole_words_ = false;
    int32_t byte_ids_[256] = {};
    std::unordered_map<uint64_t, Merge> merges_;      // of a pair of ids
    std::unordered_map<std::string, int32_t> words_;  // by bytes; for whole_words_
    AddedSet raw_added_, normalized_added_;
    std::vector<std::string> bytes_;  // by id
    int64_t end_ = -1;
};

}  // namespace seqmix_cli
