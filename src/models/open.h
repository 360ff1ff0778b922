// From a checkpoint to layers: what opening a model and converting one have in common.
#pragma once

#include <memory>
#include <string>

#include "models/schemes/stack_spec.h"
#include "runtime/layer.h"

namespace seqmix {

// Opens a checkpoint and finds its children. Options as for open_model.
Status read_model(const std::string& path, const Attributes& options, Checkpoint* checkpoint,
                  StackSpec* spec);

// A tensor as its bytes are, in C order: a turned one has the shape that they have.
Weight stored_weight(const StoredTensor& tensor);

// Plans a child and finds its weights, in the order of spec.weights. They point into the checkpoint's
// files, but for copies of what a slot wants otherwise (turned, logarithms).
Status load_child(const ChildSpec& spec, const Checkpoint& checkpoint, Allocator allocator, Isa isa,
                  std::shared_ptr<LayerCore>* planned, std::shared_ptr<WeightStore>* store);

// Writes a checkpoint as one safetensors file (models/formats/converted.h) whose matrices are in
// `format`, all else as it was; `to` is replaced when the file is complete. Options as for open_model.
Status convert_model(const std::string& path, const Attributes& options, Allocator allocator,
                     WeightFormat format, const std::string& to);

}  // namespace seqmix
