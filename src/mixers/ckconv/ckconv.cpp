#include "mixers/ckconv/ckconv.h"

#include <algorithm>
#include <cmath>

#include "contract/linear.h"
#include "mixers/ckconv/operator.h"
#include "mixers/ckconv/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kConv1 = 2,   // kCkWeights slots
    kConv2 = 12,  // the same
    kNorm1 = 22,  // weight, bias
    kNorm2 = 24,
    kShortcut = 26,
    kShortcutBias = 27
};

#define SEQMIX_CK_ATTRIBUTES                                                                         \
    {"d_in", AttributeType::i64, nullptr, 1, 65536, nullptr, "width Cin of the input"},              \
        {"d_out", AttributeType::i64, nullptr, 1, 65536, nullptr, "width Cout of the output"},       \
        {"hidden", AttributeType::i64, "32", 1, 65536, nullptr, "hidden width h of the kernel net"}, \
        {"omega_0", AttributeType::f64, nullptr, 0, 0, nullptr, "frequency of its sines"}, {         \
        "train_length", AttributeType::i64, "0", 0, int64_t{1} << 20, nullptr,                       \
            "tokens of the inputs it was trained on; 0: those of each input"                         \
    }
#define SEQMIX_CK_SLOTS(first, name, in)                                                           \
    {first + 0,                                                                                    \
     name "kernel.0.v",                                                                            \
     Role::weight,                                                                                 \
     false,                                                                                        \
     kWeight,                                                                                      \
     "(h,1)|(h,1,1)",                                                                              \
     "directions of the first layer of the kernel net"},                                           \
        {first + 1, name "kernel.0.g", Role::weight,       false,                                  \
         kWeight,   "(h)|(h,1,1)",     "norms of its rows"},                                       \
        {first + 2, name "kernel.0.bias", Role::weight, false, kWeight, "(h)", "its bias"},        \
        {first + 3, name "kernel.1.v", Role::weight,  false,                                       \
         kWeight,   "(h,h)|(h,h,1)",   "second layer"},                                            \
        {first + 4, name "kernel.1.g", Role::weight,       false,                                  \
         kWeight,   "(h)|(h,1,1)",     "norms of its rows"},                                       \
        {first + 5, name "kernel.1.bias", Role::weight, false, kWeight, "(h)", "its bias"},        \
        {first + 6,                                                                                \
         name "kernel.2.v",                                                                        \
         Role::weight,                                                                             \
         false,                                                                                    \
         kWeight,                                                                                  \
         "(" in ",h)|(" in ",h,1)",                                                                \
         "third layer: row o Cin + i gives the kernel from i to o"},                               \
        {first + 7, name "kernel.2.g",       Role::weight,       false,                            \
         kWeight,   "(" in ")|(" in ",1,1)", "norms of its rows"},                                 \
        {first + 8, name "kernel.2.bias", Role::weight, false, kWeight, "(" in ")", "its bias"}, { \
        first + 9, name "bias", Role::weight, false, kWeight, "(Cout)", "bias of the convolution"  \
    }

constexpr AttributeSpec kAttributes[] = {SEQMIX_CK_ATTRIBUTES};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,Cin)", "input, whole"},
    {kY, "y", Role::output, false, kReal, "(B,T,Cout)", "output"},
    SEQMIX_CK_SLOTS(kConv1, "", "C1"),
};
constexpr SlotSpec kBlockSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,Cin)", "input, whole"},
    {kY, "y", Role::output, false, kReal, "(B,T,Cout)", "output"},
    SEQMIX_CK_SLOTS(kConv1, "conv1.", "C1"),
    SEQMIX_CK_SLOTS(kConv2, "conv2.", "C2"),
    {kNorm1 + 0, "norm1.weight", Role::weight, false, kWeight, "(Cout)", "scale after the norm"},
    {kNorm1 + 1, "norm1.bias", Role::weight, false, kWeight, "(Cout)", "and bias"},
    {kNorm2 + 0, "norm2.weight", Role::weight, false, kWeight, "(Cout)", "scale after the norm"},
    {kNorm2 + 1, "norm2.bias", Role::weight, false, kWeight, "(Cout)", "and bias"},
    {kShortcut, "shortcut.weight", Role::weight, false, kWeight, "(Cout,Cin)|(Cout,Cin,1)",
     "map of x where the widths differ"},
    {kShortcutBias, "shortcut.bias", Role::weight, false, kWeight, "(Cout)", "its bias"},
};
constexpr Schema kSchema = {
    "ckconv",
    "Dense causal convolution, as long as its input, with an implicit kernel",
    "Romero et al. 2022, CKConv; dwromero/ckconv",
    false,
    kAttributes,
    kSlots,
    {},
    {.causal = false},
    kWholeSequence,
};
constexpr Schema kBlockSchema = {
    "ckblock",
    "Residual block of two CKConvs with norms over channels and time",
    "Romero et al. 2022, CKConv; dwromero/ckconv models/ckcnn.py",
    false,
    kAttributes,
    kBlockSlots,
    {},
    {.causal = false},
    kWholeSequence,
};

struct CkPlan : Plan {
    bool block;
    std::unique_ptr<const CkSizes> conv1, conv2;  // conv2: of a block
    bool shortcut() const { return block && conv1->in != conv1->out; }
};

struct CkBound : Bound {
    const CkPlan* plan;
    CkConv conv1, conv2;
    Linear shortcut;
    Array<float> norm[4];
    Array<double> norm64[4];
};

Status describe_as(bool block, const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<CkPlan>();
    plan->block = block;
    const int64_t in = given.i64("d_in"), wide = given.i64("d_out"), h = given.i64("hidden"),
                  length = given.i64("train_length");
    const double omega = given.f64("omega_0");
    plan->conv1 = std::make_unique<const CkSizes>(in, wide, h, length, omega);
    plan->sizes = {{"Cin", in}, {"Cout", wide}, {"h", h}, {"C1", wide * in}, {"C2", wide * wide}};
    if (block) plan->conv2 = std::make_unique<const CkSizes>(wide, wide, h, length, omega);
    SEQMIX_TRY(resolve_slots(block ? kBlockSchema : kSchema, *plan));
    if (block && !plan->shortcut()) {
        remove_slot(*plan, "shortcut.weight");
        remove_slot(*plan, "shortcut.bias");
    }
    out = std::move(plan);
    return Status();
}
Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    return describe_as(false, given, out);
}
Status describe_block(const Attributes& given, std::unique_ptr<Plan>& out) {
    return describe_as(true, given, out);
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<CkBound>();
    const auto& plan = static_cast<const CkPlan&>(call.plan);
    bound->plan = &plan;
    bound->kernel_name = plan.block ? SEQMIX_KERNEL_NAME("ckblock", call.isa)
                                    : SEQMIX_KERNEL_NAME("ckconv", call.isa);
    bound->conv1.bind(*plan.conv1, kConv1, call);
    if (plan.block) {
        bound->conv2.bind(*plan.conv2, kConv2, call);
        for (int32_t i = 0; i < 4; ++i) {
            bound->norm[i] = weight_f32(call.weights.get(kNorm1 + i), call.allocator);
            bound->norm64[i] = weight_f64(call.weights.get(kNorm1 + i), call.allocator);
        }
        if (plan.shortcut()) {
            bound->shortcut.bind(call.weights.get(kShortcut), call.weights.get(kShortcutBias),
                                 plan.conv1->out, plan.conv1->in, call);
        }
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const CkPlan&>(base);
    const size_t conv = plan.conv1->scratch_bytes(step.tokens, step.workers, step.real64);
    if (!plan.block) return conv;
    const size_t rows = Scratch::round_up(static_cast<size_t>(step.tokens * plan.conv1->out) *
                                          (step.real64 ? 8 : 4));
    return 2 * rows + Linear::scratch_bytes(step.workers) +
           std::max(conv, plan.conv2->scratch_bytes(step.tokens, step.workers, step.real64));
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const CkBound&>(base);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    for (int64_t s = 0; s < call.segment_count; ++s) {
        const Segment& segment = call.segments[s];
        bound.conv1.run(call, segment.count, x.as<float>() + segment.first * x.stride, x.stride,
                        y.as<float>() + segment.first * y.stride, y.stride, call.scratch);
    }
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const CkBound&>(base);
    const CkSizes& sizes = *bound.plan->conv1;
    for (int64_t s = 0; s < call.segment_count; ++s) {
        const Segment& segment = call.segments[s];
        bound.conv1.run_reference(
            segment.count, call.slot(kX).as<double>() + segment.first * sizes.in,
            call.slot(kY).as<double>() + segment.first * sizes.out, call.scratch);
    }
}

// Sums over T C numbers in double: the variance of long inputs is a small difference of large sums.
void norm_relu(int64_t tokens, int64_t channels, const float* weight, const float* bias, float* y) {
    const int64_t count = tokens * channels;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(y[i]);
    const double mean = sum / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) {
        const double d = static_cast<double>(y[i]) - mean;
        squares += d * d;
    }
    const auto scale =
        static_cast<float>(1 / std::sqrt(squares / static_cast<double>(count) + 1e-12));
    const auto middle = static_cast<float>(mean);
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t c = 0; c < channels; ++c) {
            float& value = y[t * channels + c];
            value = std::max((value - middle) * scale * weight[c] + bias[c], 0.0f);
        }
    }
}

void run_block(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const CkBound&>(base);
    const CkPlan& plan = *bound.plan;
    const int64_t C = plan.conv1->out;
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    Scratch scratch = call.scratch;
    float* first = scratch.take<float>(call.tokens * C);
    float* second = scratch.take<float>(call.tokens * C);
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    for (int64_t s = 0; s < call.segment_count; ++s) {
        const int64_t T = call.segments[s].count;
        const float* from = x.as<float>() + call.segments[s].first * x.stride;
        float* to = y.as<float>() + call.segments[s].first * y.stride;
        bound.conv1.run(call, T, from, x.stride, first, C, scratch);
        norm_relu(T, C, bound.norm[0].data(), bound.norm[1].data(), first);
        bound.conv2.run(call, T, first, C, second, C, scratch);
        norm_relu(T, C, bound.norm[2].data(), bound.norm[3].data(), second);
        const float* kept = from;
        ptrdiff_t stride = x.stride;
        if (plan.shortcut()) {
            bound.shortcut.run(call, T, from, x.stride, first, C, gemm);
            kept = first;
            stride = C;
        }
        for (int64_t t = 0; t < T; ++t) {
            for (int64_t c = 0; c < C; ++c) {
                to[t * y.stride + c] = std::max(second[t * C + c] + kept[t * stride + c], 0.0f);
            }
        }
    }
}

void run_block_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const CkBound&>(base);
    const CkPlan& plan = *bound.plan;
    const int64_t in = plan.conv1->in, C = plan.conv1->out;
    Scratch scratch = call.scratch;
    double* first = scratch.take<double>(call.tokens * C);
    double* second = scratch.take<double>(call.tokens * C);
    for (int64_t s = 0; s < call.segment_count; ++s) {
        const int64_t T = call.segments[s].count;
        const double* from = call.slot(kX).as<double>() + call.segments[s].first * in;
        double* to = call.slot(kY).as<double>() + call.segments[s].first * C;
        bound.conv1.run_reference(T, from, first, scratch);
        reference::ck_norm_relu(T, C, bound.norm64[0].data(), bound.norm64[1].data(), first);
        bound.conv2.run_reference(T, first, second, scratch);
        reference::ck_norm_relu(T, C, bound.norm64[2].data(), bound.norm64[3].data(), second);
        const double* kept = from;
        if (plan.shortcut()) {
            bound.shortcut.run_reference(T, from, in, first, C);
            kept = first;
        }
        for (int64_t i = 0; i < T * C; ++i) to[i] = std::max(second[i] + kept[i], 0.0);
    }
}

// The authors': W1 ~ U(+-1), W2, W3 ~ U(+-sqrt(6/h) / w0), biases U(+-1), the convolution's bias 0; a
// row's norm is what makes W = v.
void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const CkPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    const int64_t h = plan.conv1->hidden;
    const double range = std::sqrt(6 / static_cast<double>(h)) / std::max(plan.conv1->omega, 1e-3);
    const auto uniform = [&](double bound) {
        for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
    };
    if (slot.slot >= kNorm1 && slot.slot < kShortcut) {
        std::fill_n(out, count, slot.slot % 2 == 0 ? 1.0 : 0.0);
        return;
    }
    if (slot.slot >= kShortcut) return uniform(1 / std::sqrt(static_cast<double>(plan.conv1->in)));
    switch ((slot.slot - kConv1) % kCkWeights) {
        case 0: return uniform(1);
        case 3:
        case 6: return uniform(range);
        // What a row of such numbers has on average: norms are parameters of their own.
        case 1: std::fill_n(out, count, std::sqrt(1.0 / 3)); return;
        case 4:
        case 7: std::fill_n(out, count, range * std::sqrt(static_cast<double>(h) / 3)); return;
        case 9: std::fill_n(out, count, 0.0); return;
        default: uniform(1);
    }
}

}  // namespace

extern const Mixer ckconv_mixer;
const Mixer ckconv_mixer = {&kSchema,      describe, bind,    scratch, run,
                            run_reference, nullptr,  nullptr, init,    nullptr};
extern const Mixer ckblock_mixer;
const Mixer ckblock_mixer = {&kBlockSchema,       describe_block, bind,    scratch, run_block,
                             run_block_reference, nullptr,        nullptr, init,    nullptr};

}  // namespace seqmix::mixers
