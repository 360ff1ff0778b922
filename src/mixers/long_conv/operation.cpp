// long_conv_op: every tensor comes with the call.
#include <algorithm>

#include "contract/long_filter.h"
#include "contract/recurrent.h"
#include "mixers/long_conv/shared.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kK = 1,
    kAfter = 2,
    kSkip = 3,
    kInGate = 4,
    kOutGate = 5,
    kY = 6,
    kPast = 10
};

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "channels D"},
    {"taps", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "taps K of the filter"},
    {"after_taps", AttributeType::i64, "0", 0, kMaxSize, nullptr,
     "taps of the anti-causal filter; 0 = taps"},
    {"sides", AttributeType::str, "causal", 0, 0, "causal|conjugate|pad_flip",
     "conjugate: k_after[0] meets the current token, as k[0]; pad_flip: the next one"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kK, "k", Role::input, false, kReal, "(D,K)", "filter; tap 0 meets the current token"},
    {kAfter, "k_after", Role::input, false, kReal, "(D,K2)", "anti-causal filter"},
    {kSkip, "skip", Role::input, true, kReal, "(D)", "factor of the input itself"},
    {kInGate, "in_gate", Role::input, true, kReal, "(B,T,D)", "factor of the input"},
    {kOutGate, "out_gate", Role::input, true, kReal, "(B,T,D)", "factor of the output"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
};
constexpr StateSpec kStates[] = {
    {kPast, "past", "(K-1,D)", false, "the last K-1 (gated) inputs, oldest first"},
};
constexpr Schema kSchema = {
    "long_conv_op",
    "Long depthwise convolution by Fourier transforms, with optional skip and gates",
    "Poli et al. 2023, Hyena; fftconv in HazyResearch/safari",
    true,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .reversible = true, .materialize = true},
    kWholeSequence,
};

struct OpPlan : LongConvPlan {
    int64_t filter_floats = 0, worker_floats = 0;  // at any level
};

struct OpBound : Bound {
    const OpPlan* plan;
    const LongConvKernels* kernels;
    std::unique_ptr<const LongConv> conv;  // null at level reference
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<OpPlan>();
    read_long_conv(given, *plan);
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (plan->sides == LongConvSides::causal) {
        remove_slot(*plan, "k_after");
    } else {
        drop_state(*plan);
    }
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        const int64_t width = SEQMIX_SELECT_KERNELS(isa, fft_kernels)->f32.width;
        plan->filter_floats =
            std::max(plan->filter_floats, LongConv::filter_size(plan->shape(), width));
        plan->worker_floats =
            std::max(plan->worker_floats, LongConv::scratch_size(plan->shape(), width));
    }
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<OpBound>();
    bound->plan = &static_cast<const OpPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, long_conv_kernels);
    if (call.isa != Isa::reference) {
        bound->conv = std::make_unique<const LongConv>(
            bound->plan->shape(), *SEQMIX_SELECT_KERNELS(call.isa, fft_kernels), call.allocator);
    }
    bound->kernel_name = SEQMIX_KERNEL_NAME("long_conv", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const OpPlan&>(base);
    const auto elements = [&](int64_t count) {
        return Scratch::round_up(static_cast<size_t>(count) * (step.real64 ? 8 : 4));
    };
    const size_t gated = elements(step.tokens * plan.D);
    if (step.real64) return gated;
    return gated + elements(plan.K * plan.D) + elements(plan.after * plan.D) +
           elements(plan.filter_floats) + step.workers * elements(plan.worker_floats);
}

// Rows of a (rows,D) window that are before its first number other than zero.
template <class T>
int64_t empty_rows(const T* window, int64_t rows, int64_t width, int64_t columns) {
    for (int64_t r = 0; r < rows; ++r) {
        const T* row = window + r * width;
        if (std::any_of(row, row + columns, [](T x) { return x != T{0}; })) return r;
    }
    return rows;
}

// The last `rows` rows of the window followed by v.
template <class T>
void shift_window(T* window, int64_t rows, int64_t width, int64_t columns, const T* v,
                  ptrdiff_t v_stride, int64_t tokens) {
    const int64_t fresh = std::min(rows, tokens), kept = rows - fresh;
    for (int64_t r = 0; r < kept; ++r) {
        std::copy_n(window + (r + fresh) * width, columns, window + r * width);
    }
    for (int64_t r = 0; r < fresh; ++r) {
        std::copy_n(v + (tokens - fresh + r) * v_stride, columns, window + (kept + r) * width);
    }
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const OpBound&>(base);
    const OpPlan& plan = *bound.plan;
    const LongConv& conv = *bound.conv;
    const int64_t D = plan.D, K = plan.K;
    const bool causal = plan.sides == LongConvSides::causal;
    Scratch scratch = call.scratch;
    float* gated = scratch.take<float>(call.tokens * D);
    float* k = scratch.take<float>(K * D);
    float* after = scratch.take<float>(plan.after * D);
    float* filter = scratch.take<float>(plan.filter_floats);
    const int64_t part = (plan.worker_floats + 15) / 16 * 16;
    float* work = scratch.take<float>(part * static_cast<int64_t>(call.runner.workers));
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
    transpose_dense(call.slot(kK).as<float>(), D, K, k);
    if (const auto* skip = call.slot(kSkip).as<float>(); skip != nullptr) {
        for (int64_t d = 0; d < D; ++d) k[d] += skip[d];
    }
    if (!causal) transpose_dense(call.slot(kAfter).as<float>(), D, plan.after, after);
    const int64_t groups = conv.groups();
    call.parallel_for(groups, [&](int64_t g, size_t worker) {
        const int64_t d = conv.first(g);
        conv.make_filter(g, k + d, D, after + d, D, filter + conv.filter_at(g),
                         work + static_cast<int64_t>(worker) * part);
    });
    call.parallel_for(call.run_count * groups, [&](int64_t piece, size_t worker) {
        const RowRun& run = call.runs[piece / groups];
        const int64_t g = piece % groups, d = conv.first(g), lanes = conv.lanes(g);
        float* window = causal ? call.state<float>(0, run.state_row) + d : nullptr;
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            LongConvCall one;
            one.tokens = segment.count;
            one.x = v + segment.first * v_stride + d;
            one.x_stride = v_stride;
            one.y = y.as<float>() + segment.first * y.stride + d;
            one.y_stride = y.stride;
            one.k = k + d;
            one.k_stride = D;
            one.after = after + d;
            one.after_stride = D;
            if (causal) {
                if (segment.reset) {
                    for (int64_t r = 0; r < K - 1; ++r) std::fill_n(window + r * D, lanes, 0.0f);
                }
                const int64_t empty = empty_rows(window, K - 1, D, lanes);
                one.past = {nullptr, 0, window + empty * D, K - 1 - empty, D};
            }
            conv.run(g, one, filter + conv.filter_at(g),
                     work + static_cast<int64_t>(worker) * part);
            if (causal) shift_window(window, K - 1, D, lanes, one.x, v_stride, segment.count);
        }
    });
    if (out_gate) {
        gate_tokens(call, *bound.kernels, D, y.as<float>(), y.stride, out_gate.as<float>(),
                    out_gate.stride, y.as<float>(), y.stride);
    }
}

void run_reference(const Bound& base, const Call& call) {
    const OpPlan& plan = *static_cast<const OpBound&>(base).plan;
    const int64_t D = plan.D, rows = plan.K - 1;
    const bool causal = plan.sides == LongConvSides::causal;
    Scratch scratch = call.scratch;
    double* v = scratch.take<double>(call.tokens * D);
    const auto at = [&](int32_t slot, int64_t token) {
        const auto* data = call.slot(slot).as<double>();
        return data == nullptr ? nullptr : data + token * D;
    };
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& run = call.runs[r];
        double* window = causal ? call.state<double>(0, run.state_row) : nullptr;
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset && causal) zero_columns(window, rows, D, 0, D);
            double* mine = v + segment.first * D;
            long_conv_segment(
                plan, {segment.count, at(kX, segment.first), at(kInGate, segment.first),
                       at(kOutGate, segment.first), call.slot(kK).as<double>(),
                       call.slot(kAfter).as<double>(), call.slot(kSkip).as<double>(), window,
                       causal ? rows : 0, mine, call.slot(kY).as<double>() + segment.first * D});
            if (causal) shift_window(window, rows, D, D, mine, D, segment.count);
        }
    });
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const OpPlan&>(plan).D, 1}; }

void materialize(const Bound& base, const MaterializeCall& call) {
    const auto slot = [&](int32_t number) { return call.slots[number].as<double>(); };
    long_conv_matrix(*static_cast<const OpBound&>(base).plan, call, slot(kX), slot(kInGate),
                     slot(kK), slot(kAfter), slot(kSkip));
}

}  // namespace

extern const Mixer long_conv_op_mixer;
const Mixer long_conv_op_mixer = {&kSchema,      describe, bind,        scratch, run,
                                  run_reference, lanes,    materialize, nullptr, nullptr};

}  // namespace seqmix::mixers
