// What `convert` writes: safetensors, one file, the names of the original, matrices in the type that
// they are multiplied in. Its conventions, beyond those of safetensors:
//
//   NAME I8 (..., columns) with NAME_scale F32 (..., 1)   q and a factor for each row, as others keep
//                         int8 matrices (compressed-tensors); the file shows one tensor NAME
//   metadata seqmix.weights  "bf16" or "int8": how linear maps multiply (WeightFormat), as if the
//                         original had been opened with it
//   metadata seqmix.turned   a JSON array of names: matrices that the original has as (in,out), here
//                         (out,in), as they are used
//   metadata seqmix.config   a JSON object: what the original said of its model inside its file (GGUF's keys)
//
// The input may be hostile, as everywhere; failures are SEQMIX_ERR_BAD_FORMAT.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

constexpr const char* kWeightsKey = "seqmix.weights";
constexpr const char* kTurnedKey = "seqmix.turned";
constexpr const char* kConfigKey = "seqmix.config";
constexpr const char* kFactorsSuffix = "_scale";

// Applies them to what parse_safetensors gave; `source` names the file in messages.
Status read_converted(std::string_view source, TensorFile& file);

// How the file's metadata say that its matrices are multiplied; `stored` where they say nothing.
Status read_weight_format(const Metadata& metadata, WeightFormat* out);

// The metadata of a converted file: those of the original and the keys above. `config`: of an original
// that has it inside its file, else null.
Metadata converted_metadata(const Metadata& original, WeightFormat format,
                            const std::vector<std::string>& turned, const Json* config);

}  // namespace seqmix
