// The .bin files of llama2.c: a header of seven numbers, then f32 matrices without names. Version 0 has
// no magic: a file is one if its numbers make sense and give exactly its size. Source:
// github.com/karpathy/llama2.c, export.py.
//
// The input may be hostile: sizes are checked before anything is made from them. The tensors get the
// names of Meta's own files (tok_embeddings.weight, layers.0.attention.wq.weight, ...), layer by layer,
// and point into the file. Metadata: n_heads, n_kv_heads, max_seq_len.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

// Whether the bytes begin as version 1 or 2, or are version 0 from the first to the last.
bool is_llama2c(std::string_view bytes);

// A whole file in memory; as parse_safetensors. Version 2 (int8) is SEQMIX_ERR_UNSUPPORTED.
Status parse_llama2c(const void* data, size_t size, std::string_view source, TensorFile& out);

}  // namespace seqmix
