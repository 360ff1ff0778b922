// block: one layer of a model, y = x + mixer(norm(x)), or norm(x + mixer(x)); norm and residual are
// optional. The mixer is any registered one; its attributes, weights and state tensors keep their names behind "mixer." and
// their slot numbers behind 100.
#include <algorithm>
#include <vector>

#include "contract/recurrent.h"
#include "primitives/elementwise/kernel.h"
#include "primitives/norm/reference.h"
#include "runtime/layer.h"
#include "runtime/registry.h"

namespace seqmix::mixers {

extern const Mixer norm_mixer, mlp_mixer;

namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kNormWeight = 2,
    kNormBias = 3,
    kNormMean = 4,
    kNormVariance = 5,
    kMixer = 100
};

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"norm", AttributeType::str, "rms", 0, 0, "rms|layer|batch|none",
     "normalisation before the mixer"},
    {"norm_eps", AttributeType::f64, "1e-5", 0, 1, nullptr, "epsilon of the norm"},
    {"norm_bias", AttributeType::boolean, "true", 0, 0, nullptr, "a LayerNorm has a bias"},
    {"postnorm", AttributeType::boolean, "false", 0, 0, nullptr,
     "y = norm(x + mixer(x)): the norm comes last"},
    {"residual", AttributeType::boolean, "true", 0, 0, nullptr, "x is added to the mixer's output"},
    {"mixer", AttributeType::str, nullptr, 0, 0, nullptr,
     "type of the mixer, or mlp; its attributes follow as mixer.<name>, d_model is the block's"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kNormWeight, "norm.weight", Role::weight, false, kWeight, "(D)", "scale of the norm"},
    {kNormBias, "norm.bias", Role::weight, false, kWeight, "(D)",
     "shift of a LayerNorm or BatchNorm"},
    {kNormMean, "norm.running_mean", Role::weight, false, kWeight, "(D)", "BatchNorm's mean"},
    {kNormVariance, "norm.running_var", Role::weight, false, kWeight, "(D)",
     "BatchNorm's variance"},
};
constexpr Schema kSchema = {
    "block", "One layer of a model: norm, mixer, residual", "",  false, kAttributes, kSlots,
    {},      {.stateful = true, .materialize = true},       512,
};

struct BlockPlan : Plan {
    int64_t D;
    bool residual, postnorm;
    std::unique_ptr<Plan> norm;  // null = none
    std::unique_ptr<Plan> inner;
};

struct BlockBound : Bound {
    const BlockPlan* plan;
    const ElementwiseKernels* kernels;
    Allocator allocator;
    std::unique_ptr<Bound> norm, inner;
    // The inner mixers' weights, renumbered; they outlive the bounds that read them.
    std::unique_ptr<Weights> norm_weights, inner_weights;
};

// A block's weights as its norm or mixer numbers them.
class Renumbered : public Weights {
  public:
    Renumbered(const Weights& weights, int32_t offset) : weights_(weights), offset_(offset) {}
    Weight get(int32_t slot, int32_t index) const override {
        return weights_.get(slot + offset_, index);
    }

  private:
    const Weights& weights_;
    int32_t offset_;
};

Status describe_inner(const Attributes& given, BlockPlan& plan) {
    const Mixer* mixer =
        given.str("mixer") == mlp_mixer.schema->type ? &mlp_mixer : find_mixer(given.str("mixer"));
    if (mixer == nullptr || mixer->schema->operation) {
        return fail(SEQMIX_ERR_UNKNOWN_TYPE, kSchema.type, ": no mixer '", given.str("mixer"),
                    "' that a block can hold");
    }
    Attributes inner, resolved;
    if (find_attribute(*mixer->schema, "d_model") != nullptr) {
        inner.set("d_model", plan.D);  // unless given
    }
    for (const auto& [name, value] : given) {
        if (name.starts_with("mixer.")) {
            inner.set(name.substr(6), value);
        }
    }
    SEQMIX_TRY(resolve_attributes(*mixer->schema, inner, &resolved));
    SEQMIX_TRY(mixer->describe(resolved, plan.inner));
    plan.inner->mixer = mixer;
    if (plan.inner->attributes.empty()) {
        plan.inner->attributes = resolved;
    }
    const Slot* x = plan.inner->find("x");
    if (x == nullptr || x->shapes[0] != std::vector<int64_t>{kDimB, kDimT, plan.D}) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": the mixer's width differs from ",
                    "d_model = ", plan.D);
    }
    for (const auto& [name, value] : plan.inner->attributes) {
        plan.attributes.set("mixer." + name, value);
    }
    for (Slot slot : plan.inner->slots) {
        if (slot.role == Role::weight || slot.role == Role::state) {
            slot.slot += kMixer;
            slot.name = "mixer." + slot.name;
            plan.slots.push_back(std::move(slot));
        }
    }
    for (StateTensor state : plan.inner->states) {
        state.slot += kMixer;
        state.name = "mixer." + state.name;
        plan.states.push_back(std::move(state));
    }
    std::sort(plan.slots.begin(), plan.slots.end(),
              [](const Slot& a, const Slot& b) { return a.slot < b.slot; });
    plan.capabilities.stateful = plan.inner->capabilities.stateful;
    plan.capabilities.causal = plan.inner->capabilities.causal;
    plan.capabilities.constant_state = plan.inner->capabilities.constant_state;
    plan.capabilities.materialize = plan.inner->capabilities.materialize;
    plan.chunk = plan.inner->chunk;
    plan.max_tokens = plan.inner->max_tokens;
    if (mixer->schema->capabilities.reversible) {
        plan.reverse = plan.inner->attributes.flag("reverse");
    }
    return Status();
}

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<BlockPlan>();
    plan->attributes = given;
    plan->D = given.i64("d_model");
    plan->residual = given.flag("residual");
    plan->postnorm = given.flag("postnorm");
    plan->sizes = {{"D", plan->D}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    const std::string& kind = given.str("norm");
    if (kind != "none") {
        Attributes norm, resolved;
        norm.set("d_model", plan->D);
        norm.set("kind", kind);
        norm.set("eps", given.f64("norm_eps"));
        norm.set("bias", given.flag("norm_bias"));
        SEQMIX_TRY(resolve_attributes(*norm_mixer.schema, norm, &resolved));
        SEQMIX_TRY(norm_mixer.describe(resolved, plan->norm));
    } else {
        remove_slot(*plan, "norm.weight");
    }
    if (kind != "batch" && (kind != "layer" || !given.flag("norm_bias"))) {
        remove_slot(*plan, "norm.bias");
    }
    if (kind != "batch") {
        remove_slot(*plan, "norm.running_mean");
        remove_slot(*plan, "norm.running_var");
    }
    SEQMIX_TRY(describe_inner(given, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    const auto& plan = static_cast<const BlockPlan&>(call.plan);
    auto bound = std::make_unique<BlockBound>();
    bound->plan = &plan;
    bound->allocator = call.allocator;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->inner_weights = std::make_unique<Renumbered>(call.weights, kMixer);
    bound->norm_weights = std::make_unique<Renumbered>(call.weights, 0);  // same numbers
    SEQMIX_TRY(plan.inner->mixer->bind(
        {*plan.inner, *bound->inner_weights, call.allocator, call.isa, call.format, call.matrices},
        bound->inner));
    if (plan.norm != nullptr) {
        SEQMIX_TRY(norm_mixer.bind(
            {*plan.norm, *bound->norm_weights, call.allocator, call.isa, call.format, nullptr},
            bound->norm));
    }
    bound->kernel_name = bound->inner->kernel_name;
    out = std::move(bound);
    return Status();
}

constexpr int64_t kInnerSlots = 100;  // numbers below it: the mixer's matrices of a call

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const BlockPlan&>(base);
    const size_t activations = Scratch::round_up(static_cast<size_t>(step.tokens * plan.D) *
                                                 (step.real64 ? sizeof(double) : sizeof(float)));
    return Scratch::round_up(kInnerSlots * sizeof(Matrix)) + activations +
           plan.inner->mixer->scratch(*plan.inner, step);
}

void add_rows(const BlockBound& bound, const Call& call, const Matrix& x, const Matrix& y) {
    constexpr int64_t kRows = 16;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t first = piece * kRows;
        bound.kernels->add(std::min(kRows, call.tokens - first), bound.plan->D,
                           y.as<float>() + first * y.stride, y.stride,
                           x.as<float>() + first * x.stride, x.stride,
                           y.as<float>() + first * y.stride, y.stride);
    });
}

void add_rows_reference(const BlockBound& bound, const Call& call, const Matrix& x,
                        const Matrix& y) {
    for (int64_t t = 0; t < call.tokens; ++t) {
        for (int64_t d = 0; d < bound.plan->D; ++d) {
            y.as<double>()[t * y.stride + d] += x.as<double>()[t * x.stride + d];
        }
    }
}

template <class T>
void run_block(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const BlockBound&>(base);
    const BlockPlan& plan = *bound.plan;
    constexpr bool kReference = std::is_same_v<T, double>;
    Call inner = call;
    Matrix* slots = inner.scratch.take<Matrix>(kInnerSlots);
    std::fill_n(slots, kInnerSlots, Matrix{});
    Matrix normed{inner.scratch.take<T>(call.tokens * plan.D), plan.D, 0};
    inner.slots = slots;
    const auto run_norm = [&](const Matrix& x, const Matrix& y) {
        slots[kX] = x;
        slots[kY] = y;
        (kReference ? norm_mixer.run_reference : norm_mixer.run)(*bound.norm, inner);
    };
    const bool before = bound.norm != nullptr && !plan.postnorm;
    if (before) {
        run_norm(call.slot(kX), normed);
    }
    slots[kX] = before ? normed : call.slot(kX);
    slots[kY] = call.slot(kY);
    const Mixer& mixer = *plan.inner->mixer;
    (kReference ? mixer.run_reference : mixer.run)(*bound.inner, inner);
    if (plan.residual) {
        (kReference ? add_rows_reference : add_rows)(bound, call, call.slot(kX), call.slot(kY));
    }
    if (bound.norm != nullptr && plan.postnorm) {
        run_norm(call.slot(kY), call.slot(kY));
    }
}

LaneInfo lanes(const Plan& base) {
    const Plan& inner = *static_cast<const BlockPlan&>(base).inner;
    return inner.mixer->lanes == nullptr ? LaneInfo{} : inner.mixer->lanes(inner);
}

// The mixer's own matrix for what the norm makes of x.
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& bound = static_cast<const BlockBound&>(base);
    const BlockPlan& plan = *bound.plan;
    std::vector<double> normed;
    std::vector<Matrix> slots(static_cast<size_t>(plan.inner->slot_limit()));
    slots[kX] = call.slots[kX];
    if (plan.norm != nullptr && !plan.postnorm) {
        normed.resize(static_cast<size_t>(call.tokens * plan.D));
        const WeightsF64 w(*bound.norm_weights, kNormWeight, kNormVariance, bound.allocator);
        const auto* x = call.slots[kX].as<double>();
        const double eps = plan.attributes.f64("norm_eps");
        if (w[kNormVariance] != nullptr) {
            reference::batch_norm(call.tokens, plan.D, x, w[kNormWeight], w[kNormBias],
                                  w[kNormMean], w[kNormVariance], eps, normed.data());
        } else {
            (plan.attributes.str("norm") == "layer" ? reference::layer_norm : reference::rms_norm)(
                call.tokens, plan.D, x, w[kNormWeight], w[kNormBias], eps, normed.data());
        }
        slots[kX] = {normed.data(), plan.D, 0};
    }
    MaterializeCall inner = call;
    inner.slots = slots.data();
    plan.inner->mixer->materialize(*bound.inner, inner);
}

void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const BlockPlan&>(base);
    if (slot.slot < kMixer) {
        const bool zero = slot.slot == kNormBias || slot.slot == kNormMean;
        std::fill_n(out, plan.D, zero ? 0.0 : 1.0);
        return;
    }
    const Slot* inner = plan.inner->find(slot.slot - kMixer);
    if (plan.inner->mixer->init != nullptr) {
        plan.inner->mixer->init(*plan.inner, *inner, random, out);
    }
}

}  // namespace

extern const Mixer block_mixer;
const Mixer block_mixer = {&kSchema,          describe, bind,        scratch, run_block<float>,
                           run_block<double>, lanes,    materialize, init,    nullptr};

}  // namespace seqmix::mixers
