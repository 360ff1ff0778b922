// The vocabulary of a GGUF file, the keys tokenizer.ggml.*, as a tokenizer: of the models `gpt2`
// (byte-level byte-pair encoding, where `pre` names GPT-2's pattern or Llama 3's) and `llama` (pieces with scores).
// The library has read the file already; of it, only the keys are read here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tokenizer.h"

namespace seqmix_cli {

// Null where there is no vocabulary that is known here: `why` then says what there is.
std::unique_ptr<const Tokenizer> read_gguf_tokenizer(const std::string& path, int64_t vocab,
                                                     std::string* why);

// The GGUF file that has a model's vocabulary: the checkpoint itself, or in its folder tokenizer.gguf,
// else the only *.gguf; empty where there is none.
std::string gguf_file(const std::string& checkpoint);

// Keys without tensors, as llama.cpp keeps vocabularies.
constexpr const char* kGgufVocabulary = "tokenizer.gguf";
// Writes those of a file; false where it has no vocabulary.
bool write_gguf_vocabulary(const std::string& path, const std::string& to);

}  // namespace seqmix_cli
