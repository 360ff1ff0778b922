#include "mixers/rope_op/rope_op.h"

#include "contract/mixer.h"
#include "primitives/rope/reference.h"
#include "primitives/rope/rope.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kCos, kSin, kInvFreq, kY };

constexpr AttributeSpec kAttributes[] = {
    {"heads", AttributeType::i64, nullptr, 1, 1 << 16, nullptr, "heads H"},
    {"head_dim", AttributeType::i64, nullptr, 1, 1 << 16, nullptr, "width d of a head"},
    {"rotary_dim", AttributeType::i64, "0", 0, 1 << 16, nullptr,
     "columns r that are rotated, an even number; 0: d"},
    {"theta", AttributeType::f64, "10000", 1e-30, 1e30, nullptr, "base of the frequencies"},
    {"interleaved", AttributeType::boolean, "false", 0, 0, nullptr,
     "pairs of columns (2i, 2i+1); else (i, i + r/2)"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,H,d)", "input"},
    {kCos, "cos", Role::input, true, kReal, "(B,T,P)", "cosines, P = r/2; with sin"},
    {kSin, "sin", Role::input, true, kReal, "(B,T,P)", "sines"},
    {kInvFreq, "inv_freq", Role::input, true, kReal, "(P)", "radians a token, in place of theta's"},
    {kY, "y", Role::output, false, kReal, "(B,T,H,d)", "output"},
};
constexpr Schema kSchema = {
    .type = "rope_op",
    .doc = "Rotary position embedding of queries or keys",
    .source = "Su et al. 2021, RoFormer, equation 34",
    .operation = true,
    .attributes = kAttributes,
    .slots = kSlots,
    .states = {},
    // A call that goes on with a sequence says so by `positions`: cut calls are not the whole one.
    .capabilities = {.causal = false},
    .chunk = 512,
    .positions = true,
};

struct RopePlan : Plan {
    int64_t H, d, P;
    bool interleaved;
};

struct RopeBound : Bound {
    const RopePlan* plan;
    const RopeKernels* kernels;
    Array<double> frequencies;  // (P)
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<RopePlan>();
    Attributes attributes = given;
    plan->H = given.i64("heads");
    plan->d = given.i64("head_dim");
    const int64_t rotary = given.i64("rotary_dim") != 0 ? given.i64("rotary_dim") : plan->d;
    if (rotary > plan->d || rotary % 2 != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": attribute 'rotary_dim' is ",
                    rotary, ", expected an even number up to ", plan->d);
    }
    plan->P = rotary / 2;
    plan->interleaved = given.flag("interleaved");
    attributes.set("rotary_dim", rotary);
    plan->attributes = std::move(attributes);
    plan->sizes = {{"H", plan->H}, {"d", plan->d}, {"P", plan->P}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<RopeBound>();
    bound->plan = &static_cast<const RopePlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, rope_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("rope", call.isa);
    bound->frequencies = Array<double>(bound->plan->P, call.allocator);
    rope_frequencies(call.plan.attributes.f64("theta"), 2 * bound->plan->P,
                     bound->frequencies.data());
    out = std::move(bound);
    return Status();
}

Status check(const Plan&, const DType* given) {
    if ((given[kCos] == DType::unknown) == (given[kSin] == DType::unknown)) {
        return Status();
    }
    return fail(SEQMIX_ERR_MISSING_TENSOR, kSchema.type, ": tensor '",
                given[kCos] == DType::unknown ? "cos" : "sin",
                "' is missing, expected both of cos and sin or none");
}

constexpr int64_t kBlock = 32;  // tokens whose angles are made at once

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const RopePlan&>(base);
    const auto bytes = [](int64_t count, size_t size) {
        return Scratch::round_up(static_cast<size_t>(count) * size);
    };
    const size_t shared = bytes(step.tokens, sizeof(int64_t)) + bytes(plan.P, sizeof(double));
    return step.real64 ? shared + 2 * bytes(step.tokens * plan.P, sizeof(double))
                       : shared + step.workers * bytes(2 * kBlock * plan.P, sizeof(float));
}

// The step's positions.
const int64_t* token_positions(const Call& call, int64_t* memory) {
    if (call.token_positions != nullptr) {
        return call.token_positions;
    }
    for (int64_t s = 0; s < call.segment_count; ++s) {
        for (int64_t i = 0; i < call.segments[s].count; ++i) {
            memory[call.segments[s].first + i] = call.segments[s].begin + i;
        }
    }
    return memory;
}

// Frequencies in double, of the call or of theta.
template <class T>
const double* frequencies_of(const RopeBound& bound, const Call& call, double* memory) {
    if (!call.slot(kInvFreq)) {
        return bound.frequencies.data();
    }
    std::copy_n(call.slot(kInvFreq).as<T>(), bound.plan->P, memory);
    return memory;
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const RopeBound&>(base);
    const RopePlan& plan = *bound.plan;
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    const Matrix &cosine = call.slot(kCos), &sine = call.slot(kSin);
    Scratch scratch = call.scratch;
    const int64_t* positions = token_positions(call, scratch.take<int64_t>(call.tokens));
    const double* frequencies = frequencies_of<float>(bound, call, scratch.take<double>(plan.P));
    const auto each = static_cast<int64_t>(
        Scratch::round_up(sizeof(float) * static_cast<size_t>(2 * kBlock * plan.P)) /
        sizeof(float));
    float* memory = scratch.take<float>(each * static_cast<int64_t>(call.runner.workers));
    call.parallel_for((call.tokens + kBlock - 1) / kBlock, [&](int64_t piece, size_t worker) {
        const int64_t first = piece * kBlock;
        float* table = memory + static_cast<int64_t>(worker) * each;
        RopeArgs args{};
        args.tokens = std::min(kBlock, call.tokens - first);
        args.heads = plan.H;
        args.width = plan.d;
        args.pairs = plan.P;
        args.interleaved = plan.interleaved;
        args.x = x.as<float>() + first * x.stride;
        args.x_stride = x.stride;
        args.y = y.as<float>() + first * y.stride;
        args.y_stride = y.stride;
        args.x_head_stride = args.y_head_stride = plan.d;
        // cos and sin may lie with different strides.
        args.cosine = table;
        args.sine = table + kBlock * plan.P;
        args.angle_stride = plan.P;
        if (cosine) {
            for (int64_t t = 0; t < args.tokens; ++t) {
                std::copy_n(cosine.as<float>() + (first + t) * cosine.stride, plan.P,
                            table + t * plan.P);
                std::copy_n(sine.as<float>() + (first + t) * sine.stride, plan.P,
                            table + (kBlock + t) * plan.P);
            }
        } else {
            bound.kernels->angles({args.tokens, plan.P, frequencies, positions + first, 0, 0, 1.0f,
                                   table, table + kBlock * plan.P, plan.P});
        }
        bound.kernels->rotate(args);
    });
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const RopeBound&>(base);
    const RopePlan& plan = *bound.plan;
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    Scratch scratch = call.scratch;
    const int64_t* positions = token_positions(call, scratch.take<int64_t>(call.tokens));
    const double* frequencies = frequencies_of<double>(bound, call, scratch.take<double>(plan.P));
    double* cosine = scratch.take<double>(call.tokens * plan.P);
    double* sine = scratch.take<double>(call.tokens * plan.P);
    if (call.slot(kCos)) {
        std::copy_n(call.slot(kCos).as<double>(), call.tokens * plan.P, cosine);
        std::copy_n(call.slot(kSin).as<double>(), call.tokens * plan.P, sine);
    } else {
        reference::rope_angles(call.tokens, plan.P, positions, frequencies, 1.0, cosine, sine);
    }
    reference::rope(call.tokens, plan.H, plan.d, plan.P, plan.interleaved, cosine, sine,
                    x.as<double>(), y.as<double>());
}

}  // namespace

extern const Mixer rope_op_mixer;
const Mixer rope_op_mixer = {
    .schema = &kSchema,
    .describe = describe,
    .bind = bind,
    .scratch = scratch,
    .run = run,
    .run_reference = run_reference,
    .lanes = nullptr,
    .materialize = nullptr,
    .init = nullptr,
    .check = check,
};

}  // namespace seqmix::mixers
