// stack: a whole model as a layer. Its children are layers in order of execution; its forward is the
// loop over them, step by step, and nothing that is not asked for is computed.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/schemes/stack_spec.h"
#include "runtime/layer.h"

namespace seqmix {

// The types of models.inc.
std::span<const Mixer* const> model_types();
const Mixer* find_model_type(std::string_view type);  // null if unknown

// Makes the stack of children that are planned (and bound, unless `missing` says why not).
Status make_stack(const StackSpec& spec, std::vector<std::shared_ptr<const LayerCore>> children,
                  std::string missing, Isa isa, std::shared_ptr<const LayerCore>* out);

// seqmix_layer_open: reads a checkpoint and makes its stack. The files stay mapped as long as a layer
// of it lives. Options: lenient (bool), scheme (str).
Status open_model(const std::string& path, const Attributes& options, Allocator allocator, Isa isa,
                  WeightFormat format, std::shared_ptr<const LayerCore>* out);

}  // namespace seqmix
