// mlp: y = W2 act(W1 x + b1) + b2 for every token, what a layer has beside its mixer. Gated (SwiGLU):
// y = W2 (act(Wg x + bg) (W1 x + b1)) + b2. Stateless. A block holds it as its mixer: x + mlp(norm(x)).
//
// Parallel over outputs (products) and rows (activation). Scratch: the hidden activations of a step.
#include <algorithm>
#include <cmath>
#include <string>

#include "contract/linear.h"
#include "primitives/elementwise/kernel.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kIn = 2,
    kInBias = 3,
    kOut = 4,
    kOutBias = 5,
    kGate = 6,
    kGateBias = 7
};

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"d_hidden", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "hidden width I"},
    {"activation", AttributeType::str, "gelu", 0, 0, "gelu|gelu_tanh|silu|relu",
     "between the maps: exact GELU, its approximation by tanh, x sigmoid(x), or max(x, 0)"},
    {"bias", AttributeType::boolean, "true", 0, 0, nullptr, "all maps have a bias"},
    {"gated", AttributeType::boolean, "false", 0, 0, nullptr,
     "the activation is that of a second map, and a factor of the first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kIn, "fc1.weight", Role::weight, false, kWeight, "(I,D)", "first map"},
    {kInBias, "fc1.bias", Role::weight, false, kWeight, "(I)", "its bias"},
    {kOut, "fc2.weight", Role::weight, false, kWeight, "(D,I)", "second map"},
    {kOutBias, "fc2.bias", Role::weight, false, kWeight, "(D)", "its bias"},
    {kGate, "gate.weight", Role::weight, false, kWeight, "(I,D)", "map of the gate"},
    {kGateBias, "gate.bias", Role::weight, false, kWeight, "(I)", "its bias"},
};
constexpr Schema kSchema = {
    "mlp",       "Two linear maps with an activation between them",
    "",          false,
    kAttributes, kSlots,
    {},          {},
    512,
};

struct MlpPlan : Plan {
    int64_t D, I;
    bool gated;
    std::string activation;
};

struct MlpBound : Bound {
    const MlpPlan* plan;
    const ElementwiseKernels* kernels;
    Linear in, gate, out;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<MlpPlan>();
    plan->D = attributes.i64("d_model");
    plan->I = attributes.i64("d_hidden");
    plan->activation = attributes.str("activation");
    plan->gated = attributes.flag("gated");
    plan->sizes = {{"D", plan->D}, {"I", plan->I}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (!attributes.flag("bias")) {
        remove_slot(*plan, "fc1.bias");
        remove_slot(*plan, "fc2.bias");
        remove_slot(*plan, "gate.bias");
    }
    if (!plan->gated) {
        remove_slot(*plan, "gate.weight");
        remove_slot(*plan, "gate.bias");
    }
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    const auto& plan = static_cast<const MlpPlan&>(call.plan);
    auto bound = std::make_unique<MlpBound>();
    bound->plan = &plan;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->in.bind(call.weights.get(kIn), call.weights.get(kInBias), plan.I, plan.D, call);
    if (plan.gated) {
        bound->gate.bind(call.weights.get(kGate), call.weights.get(kGateBias), plan.I, plan.D,
                         call);
    }
    bound->out.bind(call.weights.get(kOut), call.weights.get(kOutBias), plan.D, plan.I, call);
    bound->kernel_name = SEQMIX_KERNEL_NAME("mlp", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const MlpPlan&>(base);
    const size_t hidden = Scratch::round_up(static_cast<size_t>(step.tokens * plan.I) *
                                            (step.real64 ? sizeof(double) : sizeof(float)));
    return (plan.gated ? 2 : 1) * hidden + (step.real64 ? 0 : Linear::scratch_bytes(step.workers));
}

// Rows of hidden activations: act(x), or act(gate) x, in x's place; gate is scratch.
void activate(const MlpBound& bound, int64_t rows, float* x, float* gate) {
    const MlpPlan& plan = *bound.plan;
    const int64_t I = plan.I;
    const ElementwiseKernels& kernels = *bound.kernels;
    float* of = plan.gated ? gate : x;
    if (plan.activation == "silu") {
        if (plan.gated) {
            kernels.mul_silu(rows, I, x, I, gate, I, x, I);
            return;
        }
        kernels.glu(rows, I, x, I, x, I, x, I);  // x sigmoid(x)
    } else if (plan.activation == "relu") {
        for (int64_t i = 0; i < rows * I; ++i) of[i] = of[i] < 0 ? 0 : of[i];
    } else {
        (plan.activation == "gelu" ? kernels.gelu : kernels.gelu_tanh)(rows, I, of, I, of, I);
    }
    for (int64_t i = 0; plan.gated && i < rows * I; ++i) x[i] *= gate[i];
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MlpBound&>(base);
    const MlpPlan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    float* hidden = scratch.take<float>(call.tokens * plan.I);
    float* gate = plan.gated ? scratch.take<float>(call.tokens * plan.I) : hidden;
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    bound.in.run(call, call.tokens, x.as<float>(), x.stride, hidden, plan.I, gemm);
    if (plan.gated) {
        bound.gate.run(call, call.tokens, x.as<float>(), x.stride, gate, plan.I, gemm);
    }
    constexpr int64_t kRows = 16;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t first = piece * kRows;
        activate(bound, std::min(kRows, call.tokens - first), hidden + first * plan.I,
                 gate + first * plan.I);
    });
    bound.out.run(call, call.tokens, hidden, plan.I, y.as<float>(), y.stride, gemm);
}

double activation_reference(const std::string& kind, double v) {
    return kind == "gelu"   ? 0.5 * v * std::erfc(-v * 0.7071067811865476)
           : kind == "silu" ? v / (1 + std::exp(-v))
           : kind == "relu"
               ? (v < 0 ? 0 : v)
               : 0.5 * v * (1 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MlpBound&>(base);
    const MlpPlan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    const int64_t count = call.tokens * plan.I;
    double* hidden = scratch.take<double>(count);
    double* gate = plan.gated ? scratch.take<double>(count) : hidden;
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    bound.in.run_reference(call.tokens, x.as<double>(), x.stride, hidden, plan.I);
    if (plan.gated) {
        bound.gate.run_reference(call.tokens, x.as<double>(), x.stride, gate, plan.I);
    }
    for (int64_t i = 0; i < count; ++i) {
        const double active = activation_reference(plan.activation, gate[i]);
        hidden[i] = plan.gated ? active * hidden[i] : active;
    }
    bound.out.run_reference(call.tokens, hidden, plan.I, y.as<double>(), y.stride);
}

void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const MlpPlan&>(base);
    const bool first = slot.slot != kOut && slot.slot != kOutBias;
    const bool bias = slot.slot == kInBias || slot.slot == kOutBias || slot.slot == kGateBias;
    const double bound = 1 / std::sqrt(static_cast<double>(first ? plan.D : plan.I));
    const int64_t count = bias ? (first ? plan.I : plan.D) : plan.D * plan.I;
    for (int64_t i = 0; i < count; ++i) {
        out[i] = random.uniform(-bound, bound);
    }
}

}  // namespace

extern const Mixer mlp_mixer;
const Mixer mlp_mixer = {&kSchema,      describe, bind,    scratch, run,
                         run_reference, nullptr,  nullptr, init,    nullptr};

}  // namespace seqmix::mixers
