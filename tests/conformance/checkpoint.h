// A small random checkpoint in transformers' Mamba dialect: config.json and model.safetensors in a
// temporary folder that goes with the object.
#pragma once

#include <string>

#include "tensors.h"

namespace seqmix::conformance {

class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

// `config` is the text of config.json; tensors are stored as `type`, 1-d parameters of the scan and
// the norms as f32. The same config, type and seed give the same bytes.
void write_checkpoint(const std::string& folder, const std::string& config, Type type,
                      uint64_t seed);

}  // namespace seqmix::conformance
