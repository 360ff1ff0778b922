#include "mixers/selective_scan/selective_scan.h"

#include "contract/recurrent.h"
#include "primitives/elementwise/kernel.h"
#include "primitives/selective_scan/kernel.h"
#include "primitives/selective_scan/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kU = 0,
    kDelta = 1,
    kA = 2,
    kB = 3,
    kC = 4,
    kD = 5,
    kZ = 6,
    kDeltaBias = 7,
    kY = 8,
    kState = 9
};
enum : int32_t { kConstant = 0, kPerToken = 1, kGrouped = 2 };  // alternatives of B and C

constexpr AttributeSpec kAttributes[] = {
    {"d_inner", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "channels D"},
    {"d_state", AttributeType::i64, "16", 1, 65536, nullptr, "states N of a channel"},
    {"groups", AttributeType::i64, "1", 1, kMaxSize, nullptr,
     "groups G of B and C; channel d uses group d / (D/G)"},
    {"delta_softplus", AttributeType::boolean, "true", 0, 0, nullptr,
     "apply softplus to delta + delta_bias (identity above 20)"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kU, "u", Role::input, false, kReal, "(B,T,D)", "input of the recurrence"},
    {kDelta, "delta", Role::input, false, kReal, "(B,T,D)", "step, before bias and softplus"},
    {kA, "A", Role::input, false, kReal, "(D,N)", "transition, usually negative"},
    {kB, "B", Role::input, false, kReal, "(D,N)|(B,T,N)|(B,T,G,N)", "input map"},
    {kC, "C", Role::input, false, kReal, "(D,N)|(B,T,N)|(B,T,G,N)", "output map"},
    {kD, "D", Role::input, true, kReal, "(D)", "skip"},
    {kZ, "z", Role::input, true, kReal, "(B,T,D)", "gate: y is multiplied by silu(z)"},
    {kDeltaBias, "delta_bias", Role::input, true, kReal, "(D)", "added to delta"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
};
constexpr StateSpec kStates[] = {
    {kState, "state", "(D,N)", true, "h after the last token"},
};
constexpr Schema kSchema = {
    "selective_scan_op",
    "Selective scan (S6): softplus, recurrence, skip and gate in one pass",
    "Gu and Dao 2023, Mamba, section 3.2, algorithm 2; the authors' simplified discretisation",
    true,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .reversible = true, .materialize = true},
    512,
};

struct ScanPlan : Plan {
    int64_t D, N, G;
    bool softplus;
    int64_t block() const { return selective_scan_channels(D / G, N); }
    // Floats of the kernel's scratch, for one worker.
    int64_t kernel_scratch() const { return selective_scan_scratch(block(), N, 2); }
};

struct ScanBound : Bound {
    const ScanPlan* plan;
    const SelectiveScanKernels* kernels;
    const ElementwiseKernels* maps;
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<ScanPlan>();
    plan->D = attributes.i64("d_inner");
    plan->N = attributes.i64("d_state");
    plan->G = attributes.i64("groups");
    plan->softplus = attributes.flag("delta_softplus");
    if (plan->D % plan->G != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": attribute 'groups' is ", plan->G,
                    ", expected a divisor of d_inner = ", plan->D);
    }
    plan->sizes = {{"D", plan->D}, {"N", plan->N}, {"G", plan->G}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<ScanBound>();
    bound->plan = &static_cast<const ScanPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, selective_scan_kernels);
    bound->maps = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("selective_scan", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const ScanPlan&>(base);
    if (step.real64) {  // canonical states of all rows, and B and C spread over groups
        return Scratch::round_up(static_cast<size_t>(step.rows * plan.D * plan.N) * 8) +
               2 * Scratch::round_up(static_cast<size_t>(step.tokens * plan.G * plan.N) * 8);
    }
    return 3 * Scratch::round_up(static_cast<size_t>(plan.D * plan.N) * 4) +
           step.workers * Scratch::round_up(static_cast<size_t>(plan.kernel_scratch()) * 4);
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const ScanBound&>(base);
    const ScanPlan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    // The kernel has channels in the lanes: everything (D,N) is turned around once per step.
    const auto by_state = [&](int32_t slot) {
        float* out = scratch.take<float>(plan.D * plan.N);
        bound.maps->transpose(plan.N, plan.D, call.slot(slot).as<float>(), 1, plan.N, out, plan.D,
                              1);
        return out;
    };
    const float* A = by_state(kA);
    const Matrix &b = call.slot(kB), &c = call.slot(kC);
    const float* B = b.variant == kConstant ? by_state(kB) : b.as<float>();
    const float* C = c.variant == kConstant ? by_state(kC) : c.as<float>();
    const int64_t worker_floats = plan.kernel_scratch();
    auto* kernel_scratch =
        scratch.take<float>(static_cast<int64_t>(call.runner.workers) * worker_floats);
    const auto offset = [](float* p, int64_t d) { return p == nullptr ? nullptr : p + d; };
    const auto at = [](const Matrix& m, const Segment& s, int64_t d) {
        return m ? m.as<float>() + s.first * m.stride + d : nullptr;
    };
    // Where the map of a block starts, for a constant, per-token or grouped one.
    const auto map = [&](const Matrix& m, const float* data, const Segment& s, int64_t d,
                         int64_t group) {
        return m.variant == kConstant
                   ? data + d
                   : data + s.first * m.stride + (m.variant == kGrouped ? group * plan.N : 0);
    };
    const Matrix &u = call.slot(kU), &delta = call.slot(kDelta), &z = call.slot(kZ),
                 &y = call.slot(kY);
    const auto scan_block = [&](const Segment& segment, int64_t d, int64_t channels, int64_t group,
                                float* h, int64_t worker) {
        SelectiveScanArgs args{};
        args.tokens = segment.count;
        args.channels = channels;
        args.states = plan.N;
        args.u = at(u, segment, d);
        args.u_stride = u.stride;
        args.delta = at(delta, segment, d);
        args.delta_stride = delta.stride;
        args.delta_bias = offset(call.slot(kDeltaBias).as<float>(), d);
        args.A = A + d;
        args.A_stride = plan.D;
        args.B = map(b, B, segment, d, group);
        args.B_stride = b.variant == kConstant ? plan.D : b.stride;
        args.B_per_token = b.variant != kConstant;
        args.C = map(c, C, segment, d, group);
        args.C_stride = c.variant == kConstant ? plan.D : c.stride;
        args.C_per_token = c.variant != kConstant;
        args.softplus = plan.softplus;
        args.D = offset(call.slot(kD).as<float>(), d);
        args.z = at(z, segment, d);
        args.z_stride = z.stride;
        args.h = h;
        args.h_stride = plan.D;
        args.y = at(y, segment, d);
        args.y_stride = y.stride;
        args.scratch = kernel_scratch + worker * worker_floats;
        bound.kernels->scan(args);
    };
    for_each_channel_block(call, 0, plan.N, plan.D, plan.G, plan.block(), scan_block);
}

// A map as the reference wants it: constant, or (T,G,N) with shared ones repeated per group.
const double* spread(const ScanPlan& plan, const Matrix& map, int64_t tokens, double* scratch) {
    const double* data = map.as<double>();
    if (map.variant != kPerToken) {
        return data;
    }
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t g = 0; g < plan.G; ++g) {
            std::copy_n(data + t * plan.N, plan.N, scratch + (t * plan.G + g) * plan.N);
        }
    }
    return scratch;
}

reference::SelectiveScanRef reference_args(const ScanPlan& plan, const Matrix* slots,
                                           const double* B, const double* C) {
    reference::SelectiveScanRef p{};
    p.D = plan.D;
    p.N = plan.N;
    p.G = plan.G;
    p.u = slots[kU].as<double>();
    p.delta = slots[kDelta].as<double>();
    p.delta_bias = slots[kDeltaBias].as<double>();
    p.A = slots[kA].as<double>();
    p.B = B;
    p.C = C;
    p.B_per_token = slots[kB].variant != kConstant;
    p.C_per_token = slots[kC].variant != kConstant;
    p.softplus = plan.softplus;
    p.skip = slots[kD].as<double>();
    p.z = slots[kZ].as<double>();
    return p;
}

void run_reference(const Bound& base, const Call& call) {
    const ScanPlan& plan = *static_cast<const ScanBound&>(base).plan;
    Scratch scratch = call.scratch;
    double* states = scratch.take<double>(call.rows * plan.D * plan.N);
    double* spread_b = scratch.take<double>(call.tokens * plan.G * plan.N);
    double* spread_c = scratch.take<double>(call.tokens * plan.G * plan.N);
    const double* B = spread(plan, call.slot(kB), call.tokens, spread_b);
    const double* C = spread(plan, call.slot(kC), call.tokens, spread_c);
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& run = call.runs[r];
        double* kept = call.state<double>(0, run.state_row);
        double* h = states + run.state_row * plan.D * plan.N;
        transpose_dense(kept, plan.N, plan.D, h);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                std::fill_n(h, plan.D * plan.N, 0.0);
            }
            reference::SelectiveScanRef p = reference_args(plan, call.slots, B, C);
            p.T = segment.count;
            p.u += segment.first * plan.D;
            p.delta += segment.first * plan.D;
            p.B += p.B_per_token ? segment.first * plan.G * plan.N : 0;
            p.C += p.C_per_token ? segment.first * plan.G * plan.N : 0;
            p.z += p.z != nullptr ? segment.first * plan.D : 0;
            p.h = h;
            p.y = call.slot(kY).as<double>() + segment.first * plan.D;
            reference::selective_scan(p);
        }
        transpose_dense(h, plan.D, plan.N, kept);
    });
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const ScanPlan&>(plan).D, 1}; }

void materialize(const Bound& base, const MaterializeCall& call) {
    const ScanPlan& plan = *static_cast<const ScanBound&>(base).plan;
    const int64_t T = call.tokens;
    const auto elements = static_cast<size_t>(T * plan.G * plan.N);
    std::vector<double> spread_b(elements), spread_c(elements);
    reference::SelectiveScanRef p =
        reference_args(plan, call.slots, spread(plan, call.slots[kB], T, spread_b.data()),
                       spread(plan, call.slots[kC], T, spread_c.data()));
    p.T = T;
    // y_core comes from the recurrence, not from the matrix: the two check each other.
    std::vector<double> h(static_cast<size_t>(plan.D * plan.N)), y(static_cast<size_t>(T * plan.D));
    p.z = nullptr;
    p.h = h.data();
    p.y = y.data();
    reference::selective_scan(p);
    for (int64_t l = 0; l < call.lane_count; ++l) {
        reference::selective_scan_matrix(p, call.lane_first + l, call.first, call.count,
                                         call.matrix + l * call.count * T, call.operand + l * T);
        for (int64_t i = 0; i < call.count; ++i) {
            call.core[l * call.count + i] =
                y[static_cast<size_t>((call.first + i) * plan.D + call.lane_first + l)];
        }
    }
}

}  // namespace

extern const Mixer selective_scan_op_mixer;
const Mixer selective_scan_op_mixer = {&kSchema,      describe, bind,        scratch, run,
                                       run_reference, lanes,    materialize, nullptr, nullptr};

}  // namespace seqmix::mixers
