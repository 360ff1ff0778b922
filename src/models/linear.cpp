// linear: y = x W^T + b for every token: encoders and heads. Stateless. Sums: primitives/gemm.
#include <cmath>

#include "contract/linear.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kY = 1, kWeightSlot = 2, kBias = 3 };

constexpr AttributeSpec kAttributes[] = {
    {"d_in", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width of x"},
    {"d_out", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width of y"},
    {"bias", AttributeType::boolean, "true", 0, 0, nullptr, "has a bias"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,I)", "input"},
    {kY, "y", Role::output, false, kSingle, "(B,T,O)", "output", nullptr, true},
    {kWeightSlot, "weight", Role::weight, false, kWeight, "(O,I)", "the matrix"},
    {kBias, "bias", Role::weight, false, kWeight, "(O)", "added to the sums"},
};
constexpr Schema kSchema = {
    "linear", "Linear map of every token", "", false, kAttributes, kSlots, {}, {}, 512,
};

struct LinearPlan : Plan {
    int64_t in, out;
};

struct LinearBound : Bound {
    Linear map;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<LinearPlan>();
    plan->in = attributes.i64("d_in");
    plan->out = attributes.i64("d_out");
    plan->sizes = {{"I", plan->in}, {"O", plan->out}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (!attributes.flag("bias")) {
        remove_slot(*plan, "bias");
    }
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    const auto& plan = static_cast<const LinearPlan&>(call.plan);
    auto bound = std::make_unique<LinearBound>();
    bound->map.bind(call.weights.get(kWeightSlot), call.weights.get(kBias), plan.out, plan.in,
                    call);
    bound->kernel_name = SEQMIX_KERNEL_NAME("linear", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan&, const StepShape& step) {
    return step.real64 ? 0 : Linear::scratch_bytes(step.workers);
}

void run(const Bound& base, const Call& call) {
    Scratch scratch = call.scratch;
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    static_cast<const LinearBound&>(base).map.run(call, call.tokens, x.as<float>(), x.stride,
                                                  y.as<float>(), y.stride, gemm);
}

void run_reference(const Bound& base, const Call& call) {
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    static_cast<const LinearBound&>(base).map.run_reference(call.tokens, x.as<double>(), x.stride,
                                                            y.as<double>(), y.stride);
}

void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const LinearPlan&>(base);
    const double bound = 1 / std::sqrt(static_cast<double>(plan.in));
    const int64_t count = slot.slot == kBias ? plan.out : plan.out * plan.in;
    for (int64_t i = 0; i < count; ++i) {
        out[i] = random.uniform(-bound, bound);
    }
}

}  // namespace

extern const Mixer linear_mixer;
const Mixer linear_mixer = {&kSchema,      describe, bind,    scratch, run,
                            run_reference, nullptr,  nullptr, init,    nullptr};

}  // namespace seqmix::mixers
