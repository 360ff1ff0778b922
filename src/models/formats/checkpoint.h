// A checkpoint: named tensors from one or more files, and the config.json beside them.
//
// A path is a file, safetensors, torch zip, GGUF or llama2.c whatever its name, or a folder that is searched
// for model.safetensors, its index of shards, pytorch_model.bin, its index, weights.ckpt, and else for
// one file *.gguf. Other
// containers (torch files from before version 1.6, tar) are recognised and refused by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/status.h"
#include "models/formats/json.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

struct Checkpoint {
    std::string format;  // "safetensors", "torch zip", or either with " shards"; "llama2.c", "GGUF"
    TensorMap tensors;   // point into `files` and `copies`
    Metadata metadata;
    // How a converted file's matrices are multiplied (formats/converted.h).
    WeightFormat matrices = WeightFormat::stored;
    // An object: the keys of a GGUF file, else config.json; null when there is none.
    std::shared_ptr<const Json> config;
    bool config_inside = false;  // it is in the file of the tensors
    // Both to be held as long as a tensor is in use.
    FileList files;
    std::vector<std::shared_ptr<const void>> copies;
    uint64_t bytes = 0;  // of all files
};

// On failure `out` is as it was.
Status open_checkpoint(const std::string& path, Checkpoint& out);

// The same from memory, which must outlive `out`: a file and, unless its pointer is
// null, the text of a config.json.
Status open_checkpoint_in_memory(const void* data, size_t size, std::string_view config,
                                 Checkpoint& out);

}  // namespace seqmix
