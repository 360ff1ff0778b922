// The safetensors container: u64 length of the header, a JSON header that names tensors with their
// dtype, shape and byte range, then the bytes. Source: github.com/huggingface/safetensors, README.
//
// The input may be hostile. Accepted is only what a careful writer makes: the ranges tile the bytes
// without hole, overlap or tail, every size follows from dtype and shape, no name occurs twice.
// Tensor data are not copied; no alignment is promised. Failures are SEQMIX_ERR_BAD_FORMAT, or
// SEQMIX_ERR_UNSUPPORTED for an element type whose size is not known.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

// A whole file in memory. `source` names it in messages and may be empty. On failure `out` is as it
// was. The result points into `data`.
Status parse_safetensors(const void* data, size_t size, std::string_view source, TensorFile& out);

}  // namespace seqmix
