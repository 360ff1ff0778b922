// The keys of a GGUF file that are about its model: "llama.block_count" by "block_count".
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "base/status.h"
#include "models/formats/json.h"
#include "models/schemes/names.h"

namespace seqmix {

class GgufKeys {
  public:
    // What parse_gguf makes; `keys` lives as long as this.
    explicit GgufKeys(const Json& keys);

    const std::string& architecture() const { return architecture_; }
    // Empty where the key is absent; another type is SEQMIX_ERR_BAD_FORMAT.
    Status number(const char* name, std::optional<double>* out) const;
    Status text(const char* name, std::optional<std::string>* out) const;
    Status flag(const char* name, std::optional<bool>* out) const;
    // From 1 to kMaxSize; `out` stays as it is where the key is absent.
    Status size(const char* name, int64_t* out) const;
    // The same, against the tensors' size.
    Status cross_check(const char* name, char letter, const NameTable& table) const;
    // The epsilon of RMS norms, which every file has.
    Status norm_eps(double* out) const;
    Status check_layers(int64_t layers) const;
    // Keys that change what the model computes, in a way that is not supported where they are neither 0
    // nor `neutral`.
    Status refuse(std::initializer_list<const char*> names, double neutral = 0) const;

  private:
    std::string full(const char* name) const { return architecture_ + "." + name; }

    const Json& keys_;
    std::string architecture_;
};

// Of the architecture `llama`, whose tensors are those of llama.cpp (schemes/llama.cpp).
Status plan_gguf_llama(const GgufKeys& keys, TensorNames& names, bool lenient, StackSpec& out);

}  // namespace seqmix
