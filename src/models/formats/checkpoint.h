// A checkpoint: named tensors from one or more files, and the config.json beside them.
//
// A path is a safetensors file, or a folder that is searched for model.safetensors and then its
// index of shards. Other containers (torch zip, GGUF) are recognised and refused by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "models/formats/json.h"
#include "models/formats/safetensors.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

struct Checkpoint {
    std::string format;  // "safetensors" or "safetensors shards"
    TensorMap tensors;   // point into `files`
    Metadata metadata;
    std::shared_ptr<const Json> config;  // an object; null when there is no config.json
    FileList files;                      // to be held as long as a tensor is in use
    uint64_t bytes = 0;                  // of all files
};

// On failure `out` is as it was.
Status open_checkpoint(const std::string& path, Checkpoint& out);

// The same from memory, which must outlive `out`: a safetensors file and, unless its pointer is
// null, the text of a config.json.
Status open_checkpoint_in_memory(const void* data, size_t size, std::string_view config,
                                 Checkpoint& out);

}  // namespace seqmix
