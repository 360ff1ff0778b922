// The GGUF container of llama.cpp, versions 2 and 3: "GGUF", u32 version, u64 number of tensors, u64
// number of keys; the keys (name, u32 type, value); the tensors (name, axes fastest first, u32 type,
// u64 offset); zeros to the next multiple of the alignment; the data. All little-endian, packed.
// Source: github.com/ggml-org/ggml, docs/gguf.md.
//
// The input may be hostile. Tensors follow each other in their order, each begun at a multiple of
// `general.alignment`. Read are F32, F16, BF16, which point into the file, and Q8_0, whose blocks do
// (Coding::q8_0). Shapes are turned into C order. The file has no checksum: damage to a weight is
// another weight. Failures are SEQMIX_ERR_BAD_FORMAT, or SEQMIX_ERR_UNSUPPORTED for other versions,
// other types of tensor, and a model in several files.
//
// `out.config` is an object of the keys by their whole names ("llama.block_count"): numbers, bools
// and texts; of an array, which no scheme reads, a text that says what it is.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

bool is_gguf(std::string_view bytes);

// A whole file in memory; `source` names it in messages and may be empty. On failure `out` is as it
// was. The result points into `data`.
Status parse_gguf(const void* data, size_t size, std::string_view source, TensorFile& out);

}  // namespace seqmix
