// A language model taken apart: its children, which of them are blocks, and driving them in turn.
#pragma once

#include <string>
#include <vector>

#include "capi.h"

namespace seqmix_test {

class ModelParts {
  public:
    explicit ModelParts(const Layer& model) {
        for (size_t i = 0; i < seqmix_layer_child_count(model.get()); ++i) {
            children_.push_back(child(model, i));
            if (find_slot(children_.back(), "mixer.ssm_state") >= 0) {
                blocks_.push_back(i);
            }
        }
        if (blocks_.empty()) {
            throw std::runtime_error("the model has no child with the state mixer.ssm_state");
        }
    }
    size_t blocks() const { return blocks_.size(); }
    size_t block_child(size_t i) const { return blocks_.at(i); }
    const Layer& block(size_t i) const { return children_.at(block_child(i)); }
    size_t norm_child() const { return blocks_.back() + 1; }
    const std::vector<Layer>& children() const { return children_; }

  private:
    std::vector<Layer> children_;
    std::vector<size_t> blocks_;
};

// What each child gives, all from and into its part of `state`. `dtype` is what passes between them.
inline std::vector<Tensor> run_children(const ModelParts& parts, const State& state,
                                        const Tensor& tokens, DType dtype) {
    std::vector<Tensor> outputs;
    for (size_t i = 0; i < parts.children().size(); ++i) {
        const State view = child(state, i);
        outputs.push_back(run(parts.children()[i], view, i == 0 ? tokens : outputs.back(),
                              first_slot(parts.children()[i], SEQMIX_ROLE_OUTPUT), dtype));
    }
    return outputs;
}

// The bytes of one row's state tensors, over all children of a stack.
inline Bits tensor_row_bits(const Layer& layer, const State& state, int64_t batch, int64_t row) {
    Bits bits;
    for (size_t i = 0; i < seqmix_layer_child_count(layer.get()); ++i) {
        bits += tensor_row_bits(child(layer, i), child(state, i), batch, row);
    }
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (info.role == SEQMIX_ROLE_STATE) {
            bits += get_state(layer, state, info.name, batch, DType::f64).slice(0, row, 1).bits();
        }
    }
    return bits;
}

// The same with the position.
inline Bits row_bits(const Layer& layer, const State& state, int64_t batch, int64_t row) {
    return Bits(std::to_string(position(state, row)) + ";" +
                tensor_row_bits(layer, state, batch, row));
}

}  // namespace seqmix_test
