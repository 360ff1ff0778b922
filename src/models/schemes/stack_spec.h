// What a checkpoint becomes: a list of layers, each with its attributes and the tensors of the file
// that fill its slots. Made from names and shapes; of values, only lengths that are kept as tensors.
//
// Children and their slots (shapes as stored; letters of src/README.md, R = dt_rank):
//   embedding  type embedding  vocab_size, d_model                   weight (V,D)
//   positions  type positions  max_tokens, d_model                   weight (P,D)
//   encoder    type linear     d_in, d_out, bias                     weight (out,in), bias
//   block      type block      d_model, norm, norm_eps, residual,    norm.weight, norm.bias (D),
//                              mixer, mixer.*                        mixer.*
//   norm       type norm       d_model, kind, eps                    weight, bias (D)
//   pool       type pool       d_model, kind
//   head       type linear     d_in, d_out, bias                     weight (out,in), bias
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "contract/attributes.h"
#include "models/formats/checkpoint.h"

namespace seqmix {

constexpr int64_t kMaxLayers = 10'000;

struct WeightRef {
    std::string slot;              // of the child: "mixer.A_log"
    std::string tensor;            // in Checkpoint::tensors
    std::vector<int64_t> reshape;  // empty: as stored
    bool transposed = false;       // stored (in,out) for a slot (out,in)
    bool log_of_negative = false;  // stored -exp(w) for a slot w: A of Mamba for A_log
};

struct ChildSpec {
    std::string role;
    std::string type;
    Attributes attributes;
    std::vector<WeightRef> weights;
    std::vector<std::string> missing;  // slots without a tensor
};

struct StackSpec {
    std::string format;
    std::string scheme;
    // vocab_size, d_model, d_input, n_classes (0 where there is none), tied (the head's weight is
    // the embedding's).
    Attributes attributes;
    std::vector<ChildSpec> children;      // in order of execution
    std::vector<std::string> missing;     // names that the scheme expects and the file lacks
    std::vector<std::string> unexpected;  // names in the file that the scheme does not know
    std::vector<std::string> ignored;     // buffers that hold nothing a model needs

    size_t add_child(const char* role, const char* type) {
        children.emplace_back();
        children.back().role = role;
        children.back().type = type;
        return children.size() - 1;
    }
};

struct PlanOptions {
    std::string scheme = "auto";
    bool lenient = false;
    Attributes scheme_options;  // what the chosen scheme asks for (schemes/options.h)
};

// Finds the naming scheme ("auto", or one by name), takes the sizes from the tensors, checks them
// against config.json, and lists the children. Missing or unexpected names are errors
// (SEQMIX_ERR_MISSING_TENSOR, SEQMIX_ERR_UNKNOWN_SLOT) unless `lenient`; the lists in `out` are
// complete either way. What the library cannot run is SEQMIX_ERR_UNSUPPORTED by name.
Status plan_stack(const Checkpoint& checkpoint, const PlanOptions& options, StackSpec& out);

}  // namespace seqmix
