// pool: the mean over all tokens of a row since the state's start, given at the row's last token, or
// that last token itself. The running sum is the state, so a mean over chunks is the mean over the
// whole; the last token needs a position only.
#include <algorithm>

#include "contract/recurrent.h"
#include "primitives/elementwise/kernel.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kY = 1, kSum = 2 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"kind", AttributeType::str, "mean", 0, 0, "mean|last", "how tokens are pooled"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kSingle, "(R,D)",
     "the mean, or last token, of each row; zeros for a row without tokens", nullptr, true},
};
constexpr StateSpec kStates[] = {
    {kSum, "sum", "(D+1)", false, "sum over the tokens so far, and their number"},
};
constexpr Schema kSchema = {
    "pool",      "Mean over the tokens of a row, or its last token",
    "",          false,
    kAttributes, kSlots,
    kStates,     {.stateful = true},
    512,
};

struct PoolPlan : Plan {
    int64_t D;
    bool mean;
};

struct PoolBound : Bound {
    const PoolPlan* plan;
    const ElementwiseKernels* kernels;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<PoolPlan>();
    plan->D = attributes.i64("d_model");
    plan->sizes = {{"D", plan->D}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    plan->mean = attributes.str("kind") == "mean";
    if (!plan->mean) {
        plan->states.clear();
        remove_slot(*plan, "sum");  // positions are left
    }
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<PoolBound>();
    bound->plan = &static_cast<const PoolPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("pool", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan&, const StepShape&) { return 0; }

template <class T>
void pool_last(const Call& call, int64_t D) {
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    for (int64_t s = 0; s < call.segment_count; ++s) {
        const Segment& segment = call.segments[s];
        if (segment.last) {
            std::copy_n(x.as<T>() + (segment.first + segment.count - 1) * x.stride, D,
                        y.as<T>() + segment.row * y.stride);
        }
    }
}

// The sum is one chain over tokens per channel, so cuts of time change nothing.
template <class T>
void pool(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const PoolBound&>(base);
    const int64_t D = bound.plan->D;
    if (!bound.plan->mean) {
        return pool_last<T>(call, D);
    }
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& run = call.runs[r];
        T* sum = call.state<T>(0, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                std::fill_n(sum, D + 1, T{0});
            }
            const T* from = x.as<T>() + segment.first * x.stride;
            if constexpr (std::is_same_v<T, float>) {
                bound.kernels->sum_rows(segment.count, D, from, x.stride, sum);
            } else {
                for (int64_t t = 0; t < segment.count; ++t) {
                    for (int64_t d = 0; d < D; ++d) {
                        sum[d] += from[t * x.stride + d];
                    }
                }
            }
            sum[D] += static_cast<T>(segment.count);
            if (segment.last) {
                T* out = y.as<T>() + segment.row * y.stride;
                for (int64_t d = 0; d < D; ++d) {
                    out[d] = sum[d] / sum[D];
                }
            }
        }
    });
}

}  // namespace

extern const Mixer pool_mixer;
const Mixer pool_mixer = {&kSchema,     describe, bind,    scratch, pool<float>,
                          pool<double>, nullptr,  nullptr, nullptr, nullptr};

}  // namespace seqmix::mixers
