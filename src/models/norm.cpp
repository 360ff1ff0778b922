// norm: RMSNorm or LayerNorm of every token, or BatchNorm with the statistics of its training: a map of
// each channel, whose factor and summand are made in double. Stateless. See primitives/norm.
#include <algorithm>
#include <cmath>

#include "contract/mixer.h"
#include "primitives/norm/kernel.h"
#include "primitives/norm/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kY = 1, kWeightSlot = 2, kBias = 3, kMean = 4, kVariance = 5 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"kind", AttributeType::str, "rms", 0, 0, "rms|layer|batch",
     "RMSNorm, LayerNorm, or BatchNorm with fixed statistics"},
    {"eps", AttributeType::f64, "1e-5", 0, 1, nullptr, "added to the mean square or variance"},
    {"bias", AttributeType::boolean, "true", 0, 0, nullptr, "a LayerNorm has a bias"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kWeightSlot, "weight", Role::weight, false, kWeight, "(D)", "scale"},
    {kBias, "bias", Role::weight, false, kWeight, "(D)", "shift of a LayerNorm or BatchNorm"},
    {kMean, "running_mean", Role::weight, false, kWeight, "(D)", "BatchNorm's mean"},
    {kVariance, "running_var", Role::weight, false, kWeight, "(D)", "BatchNorm's variance"},
};
constexpr Schema kSchema = {
    "norm",
    "RMSNorm, LayerNorm or BatchNorm of every token",
    "Zhang and Sennrich 2019, eq. 4; Ba, Kiros and Hinton 2016, eq. 4; Ioffe and Szegedy 2015",
    false,
    kAttributes,
    kSlots,
    {},
    {},
    512,
};

struct NormPlan : Plan {
    int64_t D;
    double eps;
    bool layer, batch;
};

struct NormBound : Bound {
    const NormPlan* plan;
    const NormKernels* kernels;
    Array<float> weight, bias;
    Array<double> weight64, bias64, mean64, variance64;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<NormPlan>();
    plan->D = attributes.i64("d_model");
    plan->eps = attributes.f64("eps");
    plan->layer = attributes.str("kind") == "layer";
    plan->batch = attributes.str("kind") == "batch";
    plan->sizes = {{"D", plan->D}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (!plan->batch && (!plan->layer || !attributes.flag("bias"))) {
        remove_slot(*plan, "bias");
    }
    if (!plan->batch) {
        remove_slot(*plan, "running_mean");
        remove_slot(*plan, "running_var");
    }
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<NormBound>();
    bound->plan = &static_cast<const NormPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, norm_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("norm", call.isa);
    const NormPlan& plan = *bound->plan;
    if (call.isa == Isa::reference || plan.batch) {
        bound->weight64 = weight_f64(call.weights.get(kWeightSlot), call.allocator);
        bound->bias64 = weight_f64(call.weights.get(kBias), call.allocator);
    }
    if (plan.batch) {
        bound->mean64 = weight_f64(call.weights.get(kMean), call.allocator);
        bound->variance64 = weight_f64(call.weights.get(kVariance), call.allocator);
        bound->weight = Array<float>(plan.D, call.allocator);
        bound->bias = Array<float>(plan.D, call.allocator);
        for (int64_t d = 0; d < plan.D; ++d) {
            const double scale = bound->weight64[d] / std::sqrt(bound->variance64[d] + plan.eps);
            bound->weight[d] = static_cast<float>(scale);
            bound->bias[d] = static_cast<float>(bound->bias64[d] - bound->mean64[d] * scale);
        }
    } else if (call.isa != Isa::reference) {
        bound->weight = weight_f32(call.weights.get(kWeightSlot), call.allocator);
        bound->bias = weight_f32(call.weights.get(kBias), call.allocator);
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan&, const StepShape&) { return 0; }

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const NormBound&>(base);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    constexpr int64_t kRows = 16;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t first = piece * kRows;
        NormArgs args{};
        args.rows = std::min(kRows, call.tokens - first);
        args.width = bound.plan->D;
        args.x = x.as<float>() + first * x.stride;
        args.x_stride = x.stride;
        args.weight = bound.weight.data();
        args.bias = bound.bias.data();
        args.eps = static_cast<float>(bound.plan->eps);
        args.y = y.as<float>() + first * y.stride;
        args.y_stride = y.stride;
        (bound.plan->batch   ? bound.kernels->affine
         : bound.plan->layer ? bound.kernels->layer_norm
                             : bound.kernels->rms_norm)(args);
    });
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const NormBound&>(base);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    for (int64_t t = 0; t < call.tokens; ++t) {
        if (bound.plan->batch) {
            reference::batch_norm(1, bound.plan->D, x.as<double>() + t * x.stride,
                                  bound.weight64.data(), bound.bias64.data(), bound.mean64.data(),
                                  bound.variance64.data(), bound.plan->eps,
                                  y.as<double>() + t * y.stride);
            continue;
        }
        (bound.plan->layer ? reference::layer_norm : reference::rms_norm)(
            1, bound.plan->D, x.as<double>() + t * x.stride, bound.weight64.data(),
            bound.bias64.data(), bound.plan->eps, y.as<double>() + t * y.stride);
    }
}

void init(const Plan& base, const Slot& slot, Random&, double* out) {
    const bool zero = slot.slot == kBias || slot.slot == kMean;
    std::fill_n(out, static_cast<const NormPlan&>(base).D, zero ? 0.0 : 1.0);
}

}  // namespace

extern const Mixer norm_mixer;
const Mixer norm_mixer = {&kSchema,      describe, bind,    scratch, run,
                          run_reference, nullptr,  nullptr, init,    nullptr};

}  // namespace seqmix::mixers
