// A checkpoint in several files, with an index beside them: {"weight_map": {tensor: file}}.
//   model.safetensors.index.json   model-00001-of-00003.safetensors ...
//   pytorch_model.bin.index.json   pytorch_model-00001-of-00003.bin ...
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

// Tensor name -> name of a file beside the index, always NAME + `extension` without a path.
using ShardIndex = std::map<std::string, std::string, std::less<>>;
Status parse_shard_index(std::string_view text, std::string_view source, std::string_view extension,
                         ShardIndex& out);

// Reads one file; what it maps is appended to `files`.
using FileReader = Status (*)(const std::string& path, TensorFile& out, FileList& files);

// Reads all files of an index. Every tensor of the index must be in the file that it names, and no
// tensor in two files.
Status read_shards(const std::string& index_path, std::string_view extension, FileReader read,
                   TensorFile& out, FileList& files);

}  // namespace seqmix
