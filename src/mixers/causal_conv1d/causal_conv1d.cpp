#include "mixers/causal_conv1d/causal_conv1d.h"

#include "contract/recurrent.h"
#include "primitives/conv1d/kernel.h"
#include "primitives/conv1d/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kWeightSlot = 1, kBias = 2, kY = 3, kState = 4 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "channels D"},
    {"width", AttributeType::i64, "4", 1, 4096, nullptr, "taps K"},
    {"silu", AttributeType::boolean, "true", 0, 0, nullptr, "apply SiLU to the sum"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kWeightSlot, "weight", Role::input, false, kReal, "(D,K)",
     "taps; tap K-1 meets the current token"},
    {kBias, "bias", Role::input, true, kReal, "(D)", "added before the activation"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
};
constexpr StateSpec kStates[] = {
    {kState, "state", "(K-1,D)", false, "the last K-1 inputs, oldest first"},
};
constexpr Schema kSchema = {
    "causal_conv1d_op",
    "Short causal depthwise convolution over time, with optional SiLU",
    "Gu and Dao 2023, Mamba, section 3.4; Dao-AILab/causal-conv1d",
    true,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .reversible = true, .materialize = true},
    512,
};

struct ConvPlan : Plan {
    int64_t D, K;
    bool silu;
};

struct ConvBound : Bound {
    const ConvPlan* plan;
    const Conv1dKernels* kernels;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<ConvPlan>();
    plan->D = attributes.i64("d_model");
    plan->K = attributes.i64("width");
    plan->silu = attributes.flag("silu");
    plan->sizes = {{"D", plan->D}, {"K", plan->K}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<ConvBound>();
    bound->plan = &static_cast<const ConvPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, conv1d_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("causal_conv1d", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const ConvPlan&>(base);
    return Scratch::round_up(static_cast<size_t>(plan.D * plan.K) * (step.real64 ? 0 : 4));
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const ConvBound&>(base);
    const ConvPlan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    float* taps = scratch.take<float>(plan.D * plan.K);
    transpose_dense(call.slot(kWeightSlot).as<float>(), plan.D, plan.K, taps);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    const float* bias = call.slot(kBias).as<float>();
    for_each_channel_block(
        call, 0, plan.K - 1, plan.D, 1, bound.kernels->channel_block,
        [&](const Segment& segment, int64_t d, int64_t channels, int64_t, float* window, int64_t) {
            Conv1dArgs args{};
            args.tokens = segment.count;
            args.channels = channels;
            args.width = plan.K;
            args.x = x.as<float>() + segment.first * x.stride + d;
            args.x_stride = x.stride;
            args.weight = taps + d;
            args.weight_stride = plan.D;
            args.bias = bias == nullptr ? nullptr : bias + d;
            args.silu = plan.silu;
            args.window = window;
            args.window_stride = plan.D;
            args.y = y.as<float>() + segment.first * y.stride + d;
            args.y_stride = y.stride;
            args.streamed = y.streamed;
            bound.kernels->conv(args);
        });
}

void run_reference(const Bound& base, const Call& call) {
    const ConvPlan& plan = *static_cast<const ConvBound&>(base).plan;
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& run = call.runs[r];
        double* window = call.state<double>(0, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                zero_columns(window, plan.K - 1, plan.D, 0, plan.D);
            }
            reference::conv1d(
                {segment.count, plan.D, plan.K, call.slot(kX).as<double>() + segment.first * plan.D,
                 call.slot(kWeightSlot).as<double>(), call.slot(kBias).as<double>(), plan.silu,
                 window, call.slot(kY).as<double>() + segment.first * plan.D});
        }
    });
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const ConvPlan&>(plan).D, 1}; }

// M[i,j] = weight[K-1-(i-j)] for 0 <= i-j < K: the convolution before bias and activation.
void materialize(const Bound& base, const MaterializeCall& call) {
    const ConvPlan& plan = *static_cast<const ConvBound&>(base).plan;
    const double* x = call.slots[kX].as<double>();
    const double* weight = call.slots[kWeightSlot].as<double>();
    const int64_t T = call.tokens;
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t d = call.lane_first + l;
        for (int64_t t = 0; t < T; ++t) {
            call.operand[l * T + t] = x[t * plan.D + d];
        }
        for (int64_t i = 0; i < call.count; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < T; ++j) {
                const int64_t lag = call.first + i - j;
                const double tap =
                    lag >= 0 && lag < plan.K ? weight[d * plan.K + plan.K - 1 - lag] : 0.0;
                call.matrix[(l * call.count + i) * T + j] = tap;
            }
            for (int64_t k = 0; k < plan.K; ++k) {
                const int64_t t = call.first + i - plan.K + 1 + k;
                sum += t >= 0 ? weight[d * plan.K + k] * x[t * plan.D + d] : 0.0;
            }
            call.core[l * call.count + i] = sum;
        }
    }
}

}  // namespace

extern const Mixer causal_conv1d_op_mixer;
const Mixer causal_conv1d_op_mixer = {&kSchema,      describe, bind,        scratch, run,
                                      run_reference, lanes,    materialize, nullptr, nullptr};

}  // namespace seqmix::mixers
