#include "mixers/_template/template.h"

#include <cmath>

#include "contract/recurrent.h"
#include "mixers/_template/kernel.h"
#include "mixers/_template/reference.h"

namespace seqmix::mixers {
namespace {

// ------------------------------------------------------------------ the schema

// Numbers of tensors, below 100, unique among slots and states, never changed once released.
// CHANGE: attributes, slots and states are tables; contract/schema.h says what the fields mean.
// `reverse` needs nothing but its line here and `.reversible`; the runtime does the rest.
enum : int32_t { kX = 0, kY = 1, kDecayLogit = 2, kState = 30 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, 1 << 24, nullptr, "channels D"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kDecayLogit, "decay_logit", Role::weight, false, kWeight, "(D)", "decay a = sigmoid of it"},
};
constexpr StateSpec kStates[] = {
    {kState, "state", "(D)", false, "h after the last token"},
};
constexpr Schema kSchema = {
    .type = "template",
    .doc = "Leaky integrator with a learned decay per channel",
    .source = "the exponential moving average",
    .operation = false,  // true for a type foo_op, whose tensors all come with the call
    .attributes = kAttributes,
    .slots = kSlots,
    .states = kStates,
    .capabilities = {.stateful = true, .reversible = true},
    .chunk = 512,  // tokens of a row in one `run`; kWholeSequence: never cut
};

// ------------------------------------------------------------------ describe: attributes -> Plan

struct TemplatePlan : Plan {
    int64_t D;
};

// CHANGE: sizes gets a value for every symbol of the tables above but B, T and R. Errors of the
// caller that the tables cannot say are found here (SEQMIX_ERR_ATTRIBUTE_RANGE).
Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<TemplatePlan>();
    plan->D = attributes.i64("d_model");
    plan->sizes = {{"D", plan->D}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

// ------------------------------------------------------------------ bind: weights -> Bound

struct TemplateBound : Bound {
    const TemplatePlan* plan;
    const TemplateKernels* kernels;
    Array<float> gain;          // (D): 1 - a
    Array<double> decay_logit;  // (D), level reference only
};

// CHANGE: copies of the weights in the kernel's layout, and in double for the reference. What is
// derived from weights is derived in double: 1 - a from a rounded to f32 would be off by 1e-4 of
// itself for a decay near 1.
// Without kernels (plain C++ in `run` at every level) drop what names `kernels` and keep kernel_name,
// which every mixer sets.
Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<TemplateBound>();
    bound->plan = &static_cast<const TemplatePlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, template_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("template", call.isa);
    Array<double> logit = weight_f64(call.weights.get(kDecayLogit), call.allocator);
    if (call.isa == Isa::reference) {
        bound->decay_logit = std::move(logit);
    } else {
        bound->gain = Array<float>(bound->plan->D, call.allocator);
        for (int64_t d = 0; d < bound->plan->D; ++d) {
            bound->gain[d] = static_cast<float>(1.0 / (1.0 + std::exp(logit[d])));
        }
    }
    out = std::move(bound);
    return Status();
}

// ------------------------------------------------------------------ run

// CHANGE: the bytes that `run` takes from call.scratch in one step, each piece through
// Scratch::round_up; step.real64 is level reference. A `run` that takes more traps.
size_t scratch(const Plan&, const StepShape&) { return 0; }

// Matrices are f32 with any token stride, also negative; the state is (state rows, channels).
void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const TemplateBound&>(base);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    for_each_channel_block(
        call, 0, 1, bound.plan->D, 1, bound.kernels->channel_block,
        [&](const Segment& segment, int64_t d, int64_t channels, int64_t, float* h, int64_t) {
            TemplateArgs args{};
            args.tokens = segment.count;
            args.channels = channels;
            args.x = x.as<float>() + segment.first * x.stride + d;
            args.x_stride = x.stride;
            args.gain = bound.gain.data() + d;
            args.h = h;
            args.y = y.as<float>() + segment.first * y.stride + d;
            args.y_stride = y.stride;
            bound.kernels->integrate(args);
        });
}

// Level reference: matrices and states are double, and matrices are dense.
void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const TemplateBound&>(base);
    const int64_t D = bound.plan->D;
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& run = call.runs[r];
        double* h = call.state<double>(0, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                zero_columns(h, 1, D, 0, D);
            }
            reference::integrate_template({segment.count, D, bound.decay_logit.data(),
                                           call.slot(kX).as<double>() + segment.first * D, h,
                                           call.slot(kY).as<double>() + segment.first * D});
        }
    });
}

// ------------------------------------------------------------------ init

// Needed by a type with weights; called for each of them. Numbers from `random` and portable_exp and
// portable_log only: equal on every machine.
// CHANGE: the authors' initialisation, by slot.slot.
void init(const Plan& base, const Slot&, Random& random, double* out) {
    const auto& plan = static_cast<const TemplatePlan&>(base);
    for (int64_t d = 0; d < plan.D; ++d) {
        out[d] = random.uniform(0.0, 4.0);  // decays from 0.5 to 0.98
    }
}

}  // namespace

// CHANGE: a type with a mixing matrix has `lanes` and `materialize` too, see contract/mixer.h.
extern const Mixer template_mixer;
const Mixer template_mixer = {
    .schema = &kSchema,
    .describe = describe,
    .bind = bind,
    .scratch = scratch,
    .run = run,
    .run_reference = run_reference,
    .lanes = nullptr,
    .materialize = nullptr,
    .init = init,
    .check = nullptr,
};

}  // namespace seqmix::mixers
