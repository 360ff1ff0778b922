#include "mixers/long_conv/long_conv.h"

#include <algorithm>

#include "contract/long_filter.h"
#include "contract/recurrent.h"
#include "mixers/long_conv/shared.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kInGate = 1,
    kOutGate = 2,
    kY = 3,
    kFilter = 4,
    kAfter = 5,
    kSkip = 6,
    kPast = 30
};

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "channels D"},
    {"taps", AttributeType::i64, nullptr, 1, LongConvStream::kMostTaps, nullptr,
     "taps K of the filter"},
    {"after_taps", AttributeType::i64, "0", 0, LongConvStream::kMostTaps, nullptr,
     "taps of the anti-causal filter; 0 = taps"},
    {"sides", AttributeType::str, "causal", 0, 0, "causal|conjugate|pad_flip",
     "conjugate: filter_after[0] meets the current token, as filter[0]; pad_flip: the next one"},
    {"skip", AttributeType::boolean, "true", 0, 0, nullptr,
     "the input itself is added, times skip"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kInGate, "in_gate", Role::input, true, kReal, "(B,T,D)", "factor of the input"},
    {kOutGate, "out_gate", Role::input, true, kReal, "(B,T,D)", "factor of the output"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kFilter, "filter", Role::weight, false, kWeight, "(D,K)",
     "taps; tap 0 meets the current token"},
    {kAfter, "filter_after", Role::weight, false, kWeight, "(D,K2)", "anti-causal taps"},
    {kSkip, "skip", Role::weight, false, kWeight, "(D)", "factor of the input itself"},
};
constexpr auto kStates = LongFilters::states(kPast);
constexpr Schema kSchema = {
    "long_conv",
    "Long depthwise convolution with an explicit filter, with optional skip and gates",
    "Fu et al. 2023, Simple Hardware-Efficient Long Convolutions; Li et al. 2022, SGConv",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .constant_state = false, .reversible = true, .materialize = true},
    kWholeSequence,
};

struct LayerPlan : LongConvPlan {
    std::unique_ptr<const LongFilterSizes> filters;  // causal
    TwoSidedSizes two_sided;                         // or
};

struct LayerBound : Bound {
    const LayerPlan* plan;
    const LongConvKernels* kernels;
    LongFilters filters;        // causal
    TwoSidedFilters two_sided;  // or
    Array<double> k64, after64, skip64;
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<LayerPlan>();
    read_long_conv(given, *plan);
    // Symbols of the state, also where it will be dropped.
    plan->filters = std::make_unique<const LongFilterSizes>(1, plan->D, plan->K);
    plan->filters->add_symbols(plan->sizes);
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (plan->sides == LongConvSides::causal) {
        remove_slot(*plan, "filter_after");
    } else {
        drop_state(*plan);
        plan->two_sided = TwoSidedSizes(plan->shape());
    }
    if (!given.flag("skip")) remove_slot(*plan, "skip");
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<LayerBound>();
    const auto& plan = static_cast<const LayerPlan&>(call.plan);
    bound->plan = &plan;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, long_conv_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("long_conv", call.isa);
    bound->k64 = weight_f64(call.weights.get(kFilter), call.allocator);
    bound->after64 = weight_f64(call.weights.get(kAfter), call.allocator);
    bound->skip64 = weight_f64(call.weights.get(kSkip), call.allocator);
    if (plan.sides == LongConvSides::causal) {
        bound->filters.bind(*plan.filters, bound->k64.data(), bound->skip64.data(), 0, call);
    } else {
        bound->two_sided.bind(plan.two_sided, 1, bound->k64.data(), bound->after64.data(),
                              bound->skip64.data(), call);
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const LayerPlan&>(base);
    const size_t gated =
        Scratch::round_up(static_cast<size_t>(step.tokens * plan.D) * (step.real64 ? 8 : 4));
    if (plan.sides == LongConvSides::causal) return gated + plan.filters->scratch_bytes(step);
    return gated + (step.real64 ? 0 : plan.two_sided.scratch_bytes(step.workers));
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const LayerBound&>(base);
    const LayerPlan& plan = *bound.plan;
    const int64_t D = plan.D;
    Scratch scratch = call.scratch;
    float* gated = scratch.take<float>(call.tokens * D);
    const Matrix &x = call.slot(kX), &y = call.slot(kY), &in_gate = call.slot(kInGate),
                 &out_gate = call.slot(kOutGate);
    const float* v = x.as<float>();
    ptrdiff_t v_stride = x.stride;
    if (in_gate) {
        gate_tokens(call, *bound.kernels, D, v, v_stride, in_gate.as<float>(), in_gate.stride,
                    gated, D);
        v = gated;
        v_stride = D;
    }
    if (plan.sides == LongConvSides::causal) {
        auto* work = scratch.take<std::byte>(static_cast<int64_t>(
            plan.filters->scratch_bytes({call.tokens, call.rows, call.runner.workers, false})));
        bound.filters.run(call, 0, v, v_stride, y.as<float>(), y.stride, work);
    } else {
        auto* work = scratch.take<std::byte>(
            static_cast<int64_t>(plan.two_sided.scratch_bytes(call.runner.workers)));
        bound.two_sided.run(call, 0, v, v_stride, y.as<float>(), y.stride, work);
    }
    if (out_gate) {
        gate_tokens(call, *bound.kernels, D, y.as<float>(), y.stride, out_gate.as<float>(),
                    out_gate.stride, y.as<float>(), y.stride);
    }
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const LayerBound&>(base);
    const LayerPlan& plan = *bound.plan;
    const int64_t D = plan.D;
    Scratch scratch = call.scratch;
    double* v = scratch.take<double>(call.tokens * D);
    const auto* x = call.slot(kX).as<double>();
    const auto* in_gate = call.slot(kInGate).as<double>();
    const auto* out_gate = call.slot(kOutGate).as<double>();
    auto* y = call.slot(kY).as<double>();
    for (int64_t i = 0; i < call.tokens * D; ++i) {
        v[i] = in_gate != nullptr ? x[i] * in_gate[i] : x[i];
    }
    if (plan.sides == LongConvSides::causal) {
        auto* work = scratch.take<std::byte>(static_cast<int64_t>(
            plan.filters->scratch_bytes({call.tokens, call.rows, call.runner.workers, true})));
        bound.filters.run_reference(call, 0, v, y, work);
    } else {
        bound.two_sided.run_reference(call, 0, v, y);
    }
    for (int64_t i = 0; i < call.tokens * D && out_gate != nullptr; ++i) y[i] *= out_gate[i];
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const LayerPlan&>(plan).D, 1}; }

void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& bound = static_cast<const LayerBound&>(base);
    long_conv_matrix(*bound.plan, call, call.slots[kX].as<double>(),
                     call.slots[kInGate].as<double>(), bound.k64.data(), bound.after64.data(),
                     bound.skip64.data());
}

// Safari's long_conv_kernel: 0.02 N(0,1) exp(-(j / L) (H/2)^(i/H)); the skip is N(0,1).
void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const LayerPlan&>(base);
    const auto D = static_cast<double>(plan.D);
    if (slot.slot == kSkip) {
        for (int64_t d = 0; d < plan.D; ++d) out[d] = random.normal();
        return;
    }
    const int64_t taps = slot.slot == kFilter ? plan.K : plan.after;
    for (int64_t d = 0; d < plan.D; ++d) {
        const double rate =
            portable_exp(static_cast<double>(d) / D * portable_log(std::max(D / 2, 1.0)));
        for (int64_t j = 0; j < taps; ++j) {
            const double at = static_cast<double>(j) / static_cast<double>(taps);
            out[d * taps + j] = 0.02 * random.normal() * portable_exp(-at * rate);
        }
    }
}

int64_t state_rows(const Plan& base, size_t tensor, int64_t position, int64_t tokens) {
    return static_cast<const LayerPlan&>(base).filters->state_rows(tensor, position, tokens);
}

}  // namespace

extern const Mixer long_conv_mixer;
const Mixer long_conv_mixer = {&kSchema, describe,    bind, scratch, run,       run_reference,
                               lanes,    materialize, init, nullptr, state_rows};

}  // namespace seqmix::mixers
