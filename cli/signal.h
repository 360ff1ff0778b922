// Layers that take numbers, not tokens: a model with an encoder, or any registered type with initial
// weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common.h"
#include "model.h"

namespace seqmix_cli {

// What --model, or --mixer with --set and --seed, say.
struct SignalOptions {
    std::string model;
    std::vector<std::string> open;  // key=value for seqmix_layer_open
    std::string mixer;
    std::vector<std::string> settings;  // key=value
    uint64_t seed = 1;
};

// key=value with a JSON value, or a plain word for a string: dim=64, norm=true, widths=[1,2],
// init=legs. `schema` tells which attributes are strings; null is accepted.
Json settings_json(const std::vector<std::string>& settings, const Json& schema);

// A layer of a type, with the weights of seqmix_layer_init.
Layer make_mixer(seqmix_context* context, const std::string& type,
                 const std::vector<std::string>& settings, uint64_t seed);

class Signal {
  public:
    Signal(const ContextOptions& context, const SignalOptions& options);

    const seqmix_layer* layer() const { return layer_.get(); }
    const std::string& name() const { return name_; }  // for messages
    int64_t in_width() const { return in_width_; }
    int64_t out_width() const { return out_width_; }
    // One row of outputs for a call, not one for each token.
    bool pooled() const { return pooled_; }
    bool is_stack() const { return stack_; }

    State new_state() const;  // null for layers without one
    void prepare(int64_t max_tokens) const;
    // x: (count, in_width); y: (count, out_width), or (out_width) where pooled.
    void forward(seqmix_state* state, const float* x, int64_t count, float* y,
                 const seqmix_forward_options* options = nullptr) const;

  private:
    Context context_;
    Layer layer_;
    std::string name_;
    int64_t in_width_ = 0, out_width_ = 0;
    int32_t in_slot_ = 0, out_slot_ = 0;
    bool pooled_ = false, stack_ = false;
};

}  // namespace seqmix_cli
