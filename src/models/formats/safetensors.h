// The safetensors container: u64 length of the header, a JSON header that names tensors with their
// dtype, shape and byte range, then the bytes. Source: github.com/huggingface/safetensors, README.
//
// The input may be hostile. Accepted is only what a careful writer makes: the ranges tile the bytes
// without hole, overlap or tail, every size follows from dtype and shape, no name occurs twice.
// Tensor data are not copied; no alignment is promised. Failures are SEQMIX_ERR_BAD_FORMAT, or
// SEQMIX_ERR_UNSUPPORTED for an element type whose size is not known.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

struct Safetensors {
    TensorMap tensors;
    Metadata metadata;
};

// A whole file in memory. `source` names it in messages and may be empty. On failure `out` is as it
// was. The result points into `data`.
Status parse_safetensors(const void* data, size_t size, std::string_view source, Safetensors& out);

// The index of a checkpoint in several files: tensor name -> name of a file beside the index.
using ShardIndex = std::map<std::string, std::string, std::less<>>;
Status parse_shard_index(std::string_view text, std::string_view source, ShardIndex& out);

// Reads one file, or all files of an index; the results point into `files`, to which the mapped
// files are appended.
using FileList = std::vector<std::shared_ptr<const MappedFile>>;
Status read_safetensors(const std::string& path, Safetensors& out, FileList& files);
Status read_safetensors_shards(const std::string& index_path, Safetensors& out, FileList& files);

}  // namespace seqmix
