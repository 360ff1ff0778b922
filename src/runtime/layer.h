// The layer handle and what is behind it. A layer is planned (sizes), then bound (weights); a stack
// is a bound layer with children. Everything here is immutable once made.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/json_writer.h"
#include "contract/mixer.h"
#include "runtime/context.h"

namespace seqmix {

// Weights of a layer, by slot: copies, or the caller's memory, or a mapped file that `keep` holds.
class WeightStore : public Weights {
  public:
    struct Entry {
        int32_t slot;
        int32_t index;
        Weight weight;
        Array<std::byte> copy;
    };
    Weight get(int32_t slot, int32_t index = 0) const override;
    // Hash over each slot's name, dtype, shape and 1,024 evenly spaced elements.
    uint64_t id(const Plan& plan) const;

    std::vector<Entry> entries;
    std::vector<std::shared_ptr<const void>> keep;
};

struct LayerCore {
    std::shared_ptr<const Plan> plan;
    std::shared_ptr<const WeightStore> weights;  // null for a plan
    std::shared_ptr<const Bound> bound;          // null for a plan, or an incomplete checkpoint
    std::string role;                            // of a stack's child
    std::vector<std::shared_ptr<const LayerCore>> children;
    std::string info;         // JSON; a plan has it only where it is handed out
    std::string missing;      // why an incomplete checkpoint cannot run; empty = it can
    int64_t step_tokens = 0;  // most packed tokens of a step; no chunk is longer

    const Mixer& mixer() const { return *plan->mixer; }
    const char* type() const { return plan->mixer->schema->type; }
    uint64_t weights_id() const;
    uint64_t weight_bytes() const;
    int64_t parameters() const;
    bool stateful() const { return plan->capabilities.stateful; }
};

// Gives a core its plan, with steps and chunks of as many tokens as keep what a call takes, copies of
// its tensors included, within 24 MB: well inside the 64 MB promised. Depends on the plan only, so the
// cut is the same for any number of threads.
void set_plan(LayerCore* core, std::shared_ptr<Plan> plan, bool real64);
// Fingerprint of type and resolved attributes, children included.
uint64_t config_fingerprint(const LayerCore& core);
// Attributes of a schema filled with defaults and checked.
Status resolve_attributes(const Schema& schema, const Attributes& given, Attributes* resolved);

// Plan, bind and wrap; the pieces of seqmix_layer_plan and seqmix_layer_bind. `role` is that of a
// stack's child, else empty.
Status plan_layer(const Mixer& mixer, const Attributes& given, Isa isa, std::string role,
                  std::shared_ptr<LayerCore>* core);
Status bind_layer(const LayerCore& planned, std::shared_ptr<const WeightStore> weights,
                  Allocator allocator, Isa isa, WeightFormat format,
                  std::shared_ptr<LayerCore>* core);
// Every required weight is there.
Status check_weights(const Plan& plan, const WeightStore& weights);
// `tensor` (C order or any strides) into the store, checked against the slot.
Status add_weight(const Plan& plan, const seqmix_arg& arg, Allocator allocator, WeightStore* store);
// The shape that a slot accepts, or -1.
int32_t match_weight_shape(const Slot& slot, Dims shape);

const AttributeSpec* find_attribute(const Schema& schema, std::string_view name);  // or null
// The value that an attribute has when none is given (the schema has one).
AttributeValue default_value(const AttributeSpec& spec);

// The layer's info, and its members alone for who has more to add.
std::string layer_info_json(const LayerCore& core, Isa isa);
void write_layer_info(const LayerCore& core, Isa isa, JsonWriter& out);
void write_attributes(const Attributes& attributes, JsonWriter& out);

}  // namespace seqmix

struct seqmix_layer {
    seqmix_layer(seqmix::Ref<seqmix_context> ctx, std::shared_ptr<const seqmix::LayerCore> c)
        : context(std::move(ctx)), core(std::move(c)) {}

    std::atomic<int64_t> references{1};
    seqmix::Ref<seqmix_context> context;
    std::shared_ptr<const seqmix::LayerCore> core;

    seqmix::Allocator own_allocator() const { return context->allocator; }
    bool real64() const { return context->isa == seqmix::Isa::reference; }
};

namespace seqmix {
// The calls themselves (forward.cpp, materialize.cpp, init.cpp).
Status forward(const seqmix_layer& layer, seqmix_state* state, const seqmix_arg* args, size_t n,
               const seqmix_forward_options* options);
Status prepare(const seqmix_layer& layer, int64_t max_batch, int64_t max_tokens,
               int64_t concurrent_calls);
uint64_t scratch_bytes(const LayerCore& core, bool real64, size_t workers, int64_t rows,
                       int64_t tokens);
Status materialize(const seqmix_layer& layer, const seqmix_arg* args, size_t n,
                   const seqmix_materialize_options& options, const seqmix_tensor* M,
                   const seqmix_tensor* v, const seqmix_tensor* y_core);
Status init_weights(const LayerCore& core, uint64_t seed, const seqmix_arg* args, size_t n);
Status get_weight(const LayerCore& core, int32_t slot, int32_t index, const seqmix_tensor& tensor);
}  // namespace seqmix
