// Text of models that are not bytes: what `--tokenizer` and `--characters` say, a tokenizer.json
// (byte_pair.h) beside the checkpoint, or the vocabulary in a GGUF file (gguf.h).
//
// tokenizer.bin of llama2.c: u32 longest piece; then for each id f32 score, i32 length, the piece. Ids 0,
// 1, 2 are unknown, begin (and end) and an older end; 3 to 258 bytes, written <0xHH>. Source:
// github.com/karpathy/llama2.c.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace seqmix_cli {

class Tokenizer {
  public:
    virtual ~Tokenizer() = default;
    // `begins`: the text is the beginning of a document, which some vocabularies mark.
    virtual std::vector<int64_t> encode(std::string_view text, bool begins) const = 0;
    // What a token adds to the text after `previous` (-1: nothing).
    virtual std::string decode(int64_t id, int64_t previous) const = 0;
    virtual int64_t end() const { return -1; }  // the id that ends a text; -1: none
};

// Pieces with scores, SentencePiece's byte-pair encoding: neighbours join where their joint piece scores
// highest. Of llama2.c's files, and GGUF's of the kind `llama`.
struct ScoredPieces {
    ScoredPieces() { std::fill_n(bytes, 256, -1); }
    std::vector<std::string> pieces;  // with plain spaces
    std::vector<float> scores;
    std::vector<bool> silent;    // pieces without text; empty: none
    int64_t bytes[256];          // the id of each byte
    int64_t begin = 1, end = 2;  // -1: none
    bool marks_begin = true;     // a document begins with `begin`
    bool space_first = true;     // and with a space
};
std::unique_ptr<const Tokenizer> piece_tokenizer(ScoredPieces pieces);

// Id i is the i-th of the UTF-8 characters.
std::unique_ptr<const Tokenizer> character_tokenizer(const std::string& characters, int64_t vocab);
// Refuses a file that is damaged or has another number of pieces than the model.
std::unique_ptr<const Tokenizer> read_llama2c_tokenizer(const std::string& path, int64_t vocab);
// The same, or a tokenizer.json, by what the file holds.
std::unique_ptr<const Tokenizer> read_tokenizer(const std::string& path, int64_t vocab);

// Cuts bytes that come piece by piece into whole characters; what can be none becomes U+FFFD.
class CharacterStream {
  public:
    std::string put(std::string_view bytes);
    std::string end();  // what was left of an unfinished character

  private:
    std::string waiting_;
};

}  // namespace seqmix_cli
