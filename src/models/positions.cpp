// positions: y[t] = x[t] + weight[p], p the token's number in its sequence: learned positions. State: p of
// the next token.
#include <algorithm>

#include "contract/mixer.h"
#include "primitives/elementwise/kernel.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kY = 1, kWeightSlot = 2, kClock = 30 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"max_tokens", AttributeType::i64, nullptr, 1, kMaxSize, nullptr,
     "rows P of the table, and most tokens of a sequence"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "input plus position"},
    {kWeightSlot, "weight", Role::weight, false, kWeight, "(P,D)", "the table"},
};
constexpr StateSpec kStates[] = {
    {kClock, "clock", "(1)", false, "the next token's number in its sequence"},
};
constexpr Schema kSchema = {
    "positions",
    "Learned embedding of positions, added to the tokens",
    "Gehring et al. 2017; Radford et al. 2019, GPT-2",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true},
    512,
};

struct PositionsPlan : Plan {
    int64_t D, P;
};

struct PositionsBound : Bound {
    const PositionsPlan* plan;
    const ElementwiseKernels* kernels;
    Array<float> table;
    Array<double> table64;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<PositionsPlan>();
    plan->D = attributes.i64("d_model");
    plan->P = attributes.i64("max_tokens");
    plan->sizes = {{"D", plan->D}, {"P", plan->P}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    plan->max_tokens = plan->P;
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<PositionsBound>();
    bound->plan = &static_cast<const PositionsPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("positions", call.isa);
    const Weight table = call.weights.get(kWeightSlot);
    if (call.isa == Isa::reference) {
        bound->table64 = weight_f64(table, call.allocator);
    } else {
        bound->table = weight_f32(table, call.allocator);
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan&, const StepShape&) { return 0; }

void add(const PositionsBound& bound, int64_t count, int64_t position, const float* x,
         ptrdiff_t x_stride, float* y, ptrdiff_t y_stride) {
    const int64_t D = bound.plan->D;
    bound.kernels->add(count, D, x, x_stride, bound.table.data() + position * D, D, y, y_stride);
}

void add(const PositionsBound& bound, int64_t count, int64_t position, const double* x,
         ptrdiff_t x_stride, double* y, ptrdiff_t y_stride) {
    const int64_t D = bound.plan->D;
    for (int64_t t = 0; t < count; ++t) {
        for (int64_t d = 0; d < D; ++d) {
            y[t * y_stride + d] = x[t * x_stride + d] + bound.table64[(position + t) * D + d];
        }
    }
}

template <class T>
void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const PositionsBound&>(base);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& row = call.runs[r];
        T* clock = call.state<T>(0, row.state_row);
        for (int64_t s = row.first; s < row.first + row.count; ++s) {
            const Segment& segment = call.segments[s];
            // Whatever a caller has set stays inside the table.
            const int64_t room = bound.plan->P - segment.count;
            const int64_t position = segment.reset || !(*clock > 0)  ? 0
                                     : *clock < static_cast<T>(room) ? static_cast<int64_t>(*clock)
                                                                     : room;
            add(bound, segment.count, position, x.as<T>() + segment.first * x.stride, x.stride,
                y.as<T>() + segment.first * y.stride, y.stride);
            *clock = static_cast<T>(position + segment.count);
        }
    });
}

void init(const Plan& plan, const Slot&, Random& random, double* out) {
    const auto& p = static_cast<const PositionsPlan&>(plan);
    for (int64_t i = 0; i < p.P * p.D; ++i) {
        out[i] = 0.02 * random.normal();
    }
}

}  // namespace

extern const Mixer positions_mixer;
const Mixer positions_mixer = {&kSchema,    describe, bind,    scratch, run<float>,
                               run<double>, nullptr,  nullptr, init,    nullptr};

}  // namespace seqmix::mixers
