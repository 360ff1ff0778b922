// Times calls of any registered layer type. A type is driven by what its schema and slots say and by
// nothing else, so a new one shows up here without a line of code: weights from seqmix_layer_init,
// inputs from a normal distribution, parameters that come with the call (inputs without B and T) from
// (-1, 0], so that decays decay.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sampler.h"
#include "signal.h"

namespace seqmix_cli {

// The median time of one call in seconds, after one call to warm up.
double median_time(int64_t repeats, const std::function<void()>& prepare,
                   const std::function<void()>& call);

class TypeBench {
  public:
    // settings: "key=value".
    TypeBench(const ContextOptions& context, const std::string& type,
              const std::vector<std::string>& settings, int64_t batch, int64_t repeats);

    // Seconds of a call of `tokens` tokens a row from a fresh state; memory for it is made before.
    double time(int64_t tokens);
    // The same for one token a row; 0 where the type takes no steps.
    double step_time();

    // Of the state after the last time(), and of scratch for a call of that many tokens.
    uint64_t state_bytes() const { return seqmix_state_bytes(state_.get()); }
    uint64_t bytes(int32_t kind, int64_t tokens) const;

    const seqmix_layer* layer() const { return layer_.get(); }
    const seqmix_context* context() const { return context_.get(); }
    const Json& info() const { return info_; }

  private:
    struct Buffer;
    int64_t limit_of(const seqmix_slot_info& slot) const;
    Buffer buffer(const seqmix_slot_info& slot, int64_t tokens) const;
    void fill(Buffer& buffer, Generator& generator) const;

    int64_t batch_, repeats_;
    Context context_;
    Json schema_;
    Layer layer_;
    Json info_;
    State state_;
};

}  // namespace seqmix_cli
