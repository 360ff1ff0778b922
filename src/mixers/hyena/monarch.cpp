#include "mixers/hyena/monarch.h"

#include <algorithm>
#include <cmath>

#include "contract/linear.h"
#include "contract/long_filter.h"
#include "contract/recurrent.h"
#include "contract/short_conv.h"
#include "mixers/hyena/filter.h"
#include "mixers/hyena/reference.h"
#include "mixers/hyena/shared.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kInProj = 2,
    kInProjBias = 3,
    kShort = 4,
    kShortBias = 5,
    kOutProj = 6,
    kOutProjBias = 7,
    kFilter = 10,    // kNet slots each: of the gated convolution and of the residual one, then of
    kResidual = 20,  // their reverse filters
    kFilterReverse = 30,
    kResidualReverse = 40,
    kConvState = 60,
    kPast = 61
};
// Slots of a network from its first on; a reverse one has neither frequencies nor bias.
constexpr int32_t kNetIn = 0, kNetInBias = 1, kNetInner = 2 /* weight, bias, weight, bias */,
                  kNetOut = 6, kNetFreq = 7, kNetBias = 8, kNetEnd = 9;
enum : size_t { kWindow = 0, kFilterState = 1 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"l_max", AttributeType::i64, nullptr, 1, LongConvStream::kMostTaps, nullptr,
     "taps K of the filters, which depend on it"},
    {"bidirectional", AttributeType::boolean, "false", 0, 0, nullptr,
     "a second filter reads what comes after; takes whole inputs"},
    {"residual", AttributeType::boolean, "true", 0, 0, nullptr,
     "a convolution of the input itself is added after the gates"},
    {"short_filter_order", AttributeType::i64, "3", 1, 4096, nullptr, "taps S of the short filter"},
    {"filter_order", AttributeType::i64, "128", 1, 65536, nullptr,
     "hidden width O of the filter networks"},
    {"emb_dim", AttributeType::i64, "5", 3, 65535, nullptr, "features of a position, odd"},
    {"w", AttributeType::f64, "10", 0, 0, nullptr, "frequency of the sines at the start"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
#define SEQMIX_FILTER_NET(first, name)                                                           \
    {first + kNetIn,                                                                             \
     name ".in.weight",                                                                          \
     Role::weight,                                                                               \
     false,                                                                                      \
     kWeight,                                                                                    \
     "(O,emb_dim)",                                                                              \
     "first layer of a filter network"},                                                         \
        {first + kNetInBias, name ".in.bias", Role::weight, false, kWeight, "(O)", "its bias"},  \
        {first + kNetInner + 0, name ".inner0.weight", Role::weight, false, kWeight, "(O,O)",    \
         "inner layer"},                                                                         \
        {first + kNetInner + 1,                                                                  \
         name ".inner0.bias",                                                                    \
         Role::weight,                                                                           \
         false,                                                                                  \
         kWeight,                                                                                \
         "(O)",                                                                                  \
         "its bias"},                                                                            \
        {first + kNetInner + 2, name ".inner1.weight", Role::weight, false, kWeight, "(O,O)",    \
         "inner layer"},                                                                         \
        {first + kNetInner + 3,                                                                  \
         name ".inner1.bias",                                                                    \
         Role::weight,                                                                           \
         false,                                                                                  \
         kWeight,                                                                                \
         "(O)",                                                                                  \
         "its bias"},                                                                            \
    {                                                                                            \
        first + kNetOut, name ".out.weight", Role::weight, false, kWeight, "(D,O)", "last layer" \
    }
#define SEQMIX_FILTER_SCALES(first, name)                                    \
    {first + kNetFreq,                                                       \
     name ".freq",                                                           \
     Role::weight,                                                           \
     false,                                                                  \
     kWeight,                                                                \
     "(O)|(1,O)",                                                            \
     "frequencies of the sines, of the reverse network too"},                \
    {                                                                        \
        first + kNetBias, name ".bias", Role::weight, false, kWeight, "(D)", \
            "factor of the convolution's input itself"                       \
    }
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kInProj, "in_proj.weight", Role::weight, false, kWeight, "(E,D)", "rows of x1, x2, v"},
    {kInProjBias, "in_proj.bias", Role::weight, false, kWeight, "(E)", "bias of in_proj"},
    {kShort, "short_filter.weight", Role::weight, false, kWeight, "(E,1,S)|(E,S)",
     "taps; tap S-1 meets the current token"},
    {kShortBias, "short_filter.bias", Role::weight, false, kWeight, "(E)",
     "bias of the short filter"},
    {kOutProj, "out_proj.weight", Role::weight, false, kWeight, "(D,D)", "output projection"},
    {kOutProjBias, "out_proj.bias", Role::weight, false, kWeight, "(D)", "bias of out_proj"},
    SEQMIX_FILTER_NET(kFilter, "filter"),
    SEQMIX_FILTER_SCALES(kFilter, "filter"),
    SEQMIX_FILTER_NET(kResidual, "residual"),
    SEQMIX_FILTER_SCALES(kResidual, "residual"),
    SEQMIX_FILTER_NET(kFilterReverse, "filter_reverse"),
    SEQMIX_FILTER_NET(kResidualReverse, "residual_reverse"),
};
constexpr StateSpec kStates[] = {
    {kConvState, "conv_state", "(S-1,E)", false,
     "the last inputs of the short filter, oldest first"},
    LongFilters::states(kPast)[0],
    LongFilters::states(kPast)[1],
    LongFilters::states(kPast)[2],
    LongFilters::states(kPast)[3],
};
constexpr Schema kSchema = {
    "monarch",
    "M2's sequence mixer: a gated long convolution with an implicit filter, one- or two-sided",
    "Fu et al. 2023, Monarch Mixer; HazyResearch/m2",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .constant_state = false, .reversible = true, .materialize = true},
    kWholeSequence,
};

struct MonarchPlan : Plan {
    int64_t D, K, S, O, emb, E, filters;  // filters: 1, or 2 with the residual one
    bool bidirectional;
    double w;
    std::unique_ptr<const LongFilterSizes> sizes_of_filters;
    TwoSidedSizes two_sided;  // bidirectional
};

constexpr int32_t kLastWeight = kResidualReverse + kNetEnd;

struct MonarchBound : Bound {
    const MonarchPlan* plan;
    const LongConvKernels* kernels;
    Linear in_proj, out_proj;
    ShortConv short_filter;
    Array<double> short64, short_bias64;
    LongFilters filters;        // causal
    TwoSidedFilters two_sided;  // bidirectional
    const Weights* weights;
    Allocator allocator;
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<MonarchPlan>();
    plan->attributes = given;
    plan->D = given.i64("d_model");
    plan->K = given.i64("l_max");
    plan->S = given.i64("short_filter_order");
    plan->O = given.i64("filter_order");
    plan->emb = given.i64("emb_dim");
    plan->E = 3 * plan->D;
    plan->filters = given.flag("residual") ? 2 : 1;
    plan->bidirectional = given.flag("bidirectional");
    plan->w = given.f64("w");
    if (plan->emb % 2 == 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "monarch: emb_dim is ", plan->emb,
                    ", expected an odd number");
    }
    plan->sizes = {
        {"D", plan->D}, {"S", plan->S}, {"O", plan->O}, {"E", plan->E}, {"emb_dim", plan->emb}};
    plan->sizes_of_filters =
        std::make_unique<const LongFilterSizes>(plan->filters, plan->D, plan->K);
    plan->sizes_of_filters->add_symbols(plan->sizes);
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    const auto drop = [&](int32_t first, int32_t end) {
        std::erase_if(plan->slots, [&](const Slot& slot) {
            return slot.role == Role::weight && slot.slot >= first && slot.slot < end;
        });
    };
    if (!plan->bidirectional) drop(kFilterReverse, kLastWeight);
    if (plan->filters == 1) {
        drop(kResidual, kFilterReverse);
        drop(kResidualReverse, kLastWeight);
    }
    if (plan->bidirectional) {
        plan->states.clear();
        std::erase_if(plan->slots, [](const Slot& slot) { return slot.role == Role::state; });
        plan->capabilities.stateful = plan->capabilities.causal = false;
        plan->capabilities.constant_state = true;
        plan->two_sided = TwoSidedSizes({.channels = plan->D,
                                         .taps = plan->K,
                                         .after = plan->K,
                                         .length = plan->K,
                                         .sides = LongConvSides::pad_flip});
    }
    out = std::move(plan);
    return Status();
}

// The filter of the network at `first` with the frequencies of the network at `scales`, to k (D,K).
void make_filter(const MonarchPlan& plan, const Weights& weights, Allocator allocator,
                 int32_t first, int32_t scales, double* k) {
    const WeightsF64 w(weights, first, first + kNetOut, allocator);
    const Array<double> freq = weight_f64(weights.get(scales + kNetFreq), allocator);
    HyenaFilter filter{};
    filter.taps = plan.K;
    filter.channels = plan.D;
    filter.features = plan.emb;
    filter.hidden = plan.O;
    filter.inner = 2;
    filter.modulate = true;
    filter.W_in = w[first + kNetIn];
    filter.b_in = w[first + kNetInBias];
    filter.W = {w[first + kNetInner], w[first + kNetInner + 2]};
    filter.b = {w[first + kNetInner + 1], w[first + kNetInner + 3]};
    filter.W_out = w[first + kNetOut];
    filter.freq = freq.data();
    hyena_filter(filter, k);
}

// The gated convolution's filters and the residual one's: k (F,D,K), the reverse ones after them where
// there are any, and biases (F,D).
struct Filters64 {
    Array<double> k, after, bias;
    Filters64(const MonarchPlan& plan, const Weights& weights, Allocator allocator)
        : k(plan.filters * plan.D * plan.K, allocator), bias(plan.filters * plan.D, allocator) {
        const int64_t size = plan.D * plan.K;
        if (plan.bidirectional) after = Array<double>(plan.filters * size, allocator);
        for (int64_t f = 0; f < plan.filters; ++f) {
            const int32_t net = f == 0 ? kFilter : kResidual;
            make_filter(plan, weights, allocator, net, net, k.data() + f * size);
            if (plan.bidirectional) {
                make_filter(plan, weights, allocator, f == 0 ? kFilterReverse : kResidualReverse,
                            net, after.data() + f * size);
            }
            const Array<double> given = weight_f64(weights.get(net + kNetBias), allocator);
            std::copy_n(given.data(), plan.D, bias.data() + f * plan.D);
        }
    }
};

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<MonarchBound>();
    const auto& plan = static_cast<const MonarchPlan&>(call.plan);
    const auto weight = [&](int32_t slot) { return call.weights.get(slot); };
    const int64_t D = plan.D;
    bound->plan = &plan;
    bound->weights = &call.weights;
    bound->allocator = call.allocator;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, long_conv_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("monarch", call.isa);
    bound->in_proj.bind(weight(kInProj), weight(kInProjBias), plan.E, D, call);
    bound->out_proj.bind(weight(kOutProj), weight(kOutProjBias), D, D, call);
    bound->short64 = weight_f64(weight(kShort), call.allocator);
    bound->short_bias64 = weight_f64(weight(kShortBias), call.allocator);
    bound->short_filter.bind(weight(kShort), weight(kShortBias), plan.E, plan.S, call);
    const Filters64 made(plan, call.weights, call.allocator);
    if (plan.bidirectional) {
        bound->two_sided.bind(plan.two_sided, plan.filters, made.k.data(), made.after.data(),
                              made.bias.data(), call);
    } else {
        bound->filters.bind(*plan.sizes_of_filters, made.k.data(), made.bias.data(), kFilterState,
                            call);
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const MonarchPlan&>(base);
    const auto rows = [&](int64_t width) {
        return Scratch::round_up(static_cast<size_t>(step.tokens * width) * (step.real64 ? 8 : 4));
    };
    size_t size = 2 * rows(plan.E) + rows(plan.D);
    if (!step.real64) size += Linear::scratch_bytes(step.workers);
    if (!plan.bidirectional) return size + plan.sizes_of_filters->scratch_bytes(step);
    size += Scratch::round_up(static_cast<size_t>((plan.S - 1) * plan.E) * 8);  // a window
    return size + (step.real64 ? 0 : plan.two_sided.scratch_bytes(step.workers));
}

// Filter f of x, (tokens, D), to y.
void long_filter(const MonarchBound& bound, const Call& call, int64_t f, const float* x,
                 ptrdiff_t x_stride, float* y, std::byte* work) {
    const MonarchPlan& plan = *bound.plan;
    if (!plan.bidirectional) {
        bound.filters.run(call, f, x, x_stride, y, plan.D, work);
        return;
    }
    bound.two_sided.run(call, f, x, x_stride, y, plan.D, work);
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MonarchBound&>(base);
    const MonarchPlan& plan = *bound.plan;
    const int64_t D = plan.D, E = plan.E, T = call.tokens;
    Scratch scratch = call.scratch;
    float* z = scratch.take<float>(T * E);
    float* u = scratch.take<float>(T * E);
    float* r = scratch.take<float>(T * D);
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    float* empty = nullptr;
    size_t bytes = 0;
    if (plan.bidirectional) {
        empty = reinterpret_cast<float*>(scratch.take<double>((plan.S - 1) * E));
        bytes = plan.two_sided.scratch_bytes(call.runner.workers);
    } else {
        bytes = plan.sizes_of_filters->scratch_bytes({T, call.rows, call.runner.workers, false});
    }
    auto* work = scratch.take<std::byte>(static_cast<int64_t>(bytes));
    const Matrix &in = call.slot(kX), &out = call.slot(kY);
    bound.in_proj.run(call, T, in.as<float>(), in.stride, z, E, gemm);
    if (plan.bidirectional) {
        bound.short_filter.run_whole(call, z, E, u, E, empty);
    } else {
        bound.short_filter.run(call, kWindow, z, E, u, E);
    }
    float *v = z, *gated = z + T * D;  // z is free
    gate_tokens(call, *bound.kernels, D, u + 2 * D, E, u, E, gated, D);
    long_filter(bound, call, 0, gated, D, v, work);
    if (plan.filters == 2) long_filter(bound, call, 1, in.as<float>(), in.stride, r, work);
    gate_tokens(call, *bound.kernels, D, v, D, u + D, E, gated, D);
    if (plan.filters == 2) {
        constexpr int64_t kRows = 64;
        call.parallel_for((T + kRows - 1) / kRows, [&](int64_t piece, size_t) {
            const int64_t first = piece * kRows * D, end = std::min(T * D, first + kRows * D);
            for (int64_t i = first; i < end; ++i) gated[i] += r[i];
        });
    }
    bound.out_proj.run(call, T, gated, D, out.as<float>(), out.stride, gemm);
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MonarchBound&>(base);
    const MonarchPlan& plan = *bound.plan;
    const int64_t D = plan.D, E = plan.E, T = call.tokens;
    Scratch scratch = call.scratch;
    double* z = scratch.take<double>(T * E);
    double* u = scratch.take<double>(T * E);
    double* r = scratch.take<double>(T * D);
    double* empty = plan.bidirectional ? scratch.take<double>((plan.S - 1) * E) : nullptr;
    auto* work =
        plan.bidirectional
            ? nullptr
            : scratch.take<std::byte>(static_cast<int64_t>(
                  plan.sizes_of_filters->scratch_bytes({T, call.rows, call.runner.workers, true})));
    const auto* x = call.slot(kX).as<double>();
    bound.in_proj.run_reference(T, x, D, z, E);
    hyena_short_filters(
        {D, E, plan.S, nullptr, nullptr, bound.short64.data(), bound.short_bias64.data()}, call,
        kWindow, empty, z, u);
    double *v = z, *gated = z + T * D;
    for (int64_t t = 0; t < T; ++t) std::copy_n(u + t * E + 2 * D, D, v + t * D);
    reference::hyena_gate(T, D, v, u, E, 0, gated);
    const auto filter = [&](int64_t f, const double* from, double* to) {
        if (plan.bidirectional) {
            bound.two_sided.run_reference(call, f, from, to);
        } else {
            bound.filters.run_reference(call, f, from, to, work);
        }
    };
    filter(0, gated, v);
    if (plan.filters == 2) filter(1, x, r);
    reference::hyena_gate(T, D, v, u, E, D, gated);
    for (int64_t i = 0; plan.filters == 2 && i < T * D; ++i) gated[i] += r[i];
    bound.out_proj.run_reference(T, gated, D, call.slot(kY).as<double>(), D);
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const MonarchPlan&>(plan).D, 1}; }

// M = diag(x2) (K + bias) diag(x1), of the gated convolution alone: v is the last part of u.
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& bound = static_cast<const MonarchBound&>(base);
    const MonarchPlan& plan = *bound.plan;
    const int64_t T = call.tokens, D = plan.D, E = plan.E, K = plan.K;
    const WeightsF64 w(*bound.weights, kInProj, kShortBias, bound.allocator);
    const Filters64 made(plan, *bound.weights, bound.allocator);
    const std::vector<double> u =
        hyena_project({D, E, plan.S, w[kInProj], w[kInProjBias], w[kShort], w[kShortBias]}, T,
                      call.slots[kX].as<double>());
    const auto at = [&](int64_t t, int64_t part, int64_t d) {
        return u[static_cast<size_t>(t * E + part * D + d)];
    };
    const auto tap = [&](int64_t d, int64_t lag) {
        double sum = lag == 0 ? made.bias[d] : 0.0;
        if (lag >= 0 && lag < K) sum += made.k[d * K + lag];
        if (plan.bidirectional && lag < 0 && -lag <= K) sum += made.after[d * K - lag - 1];
        return sum;
    };
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t d = call.lane_first + l;
        for (int64_t t = 0; t < T; ++t) call.operand[l * T + t] = at(t, 2, d);
        for (int64_t i = 0; i < call.count; ++i) {
            const int64_t t = call.first + i;
            double core = 0;
            for (int64_t j = 0; j < T; ++j) {
                const double m = at(t, 1, d) * tap(d, t - j) * at(j, 0, d);
                call.matrix[(l * call.count + i) * T + j] = m;
                core += m * at(j, 2, d);
            }
            call.core[l * call.count + i] = core;
        }
    }
}

void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const MonarchPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    const auto uniform = [&](int64_t fan_in) {
        const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
        for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
    };
    if (slot.slot < kShort || slot.slot == kOutProj || slot.slot == kOutProjBias) {
        return uniform(plan.D);
    }
    if (slot.slot < kFilter) return uniform(plan.S);
    switch (slot.slot % 10) {
        case kNetIn:
        case kNetInBias: return uniform(plan.emb);
        case kNetFreq: std::fill_n(out, count, plan.w); return;
        case kNetBias:
            for (int64_t i = 0; i < count; ++i) out[i] = random.normal();
            return;
        default: uniform(plan.O);
    }
}

int64_t state_rows(const Plan& base, size_t tensor, int64_t position, int64_t tokens) {
    return static_cast<const MonarchPlan&>(base).sizes_of_filters->state_rows(tensor - kFilterState,
                                                                              position, tokens);
}

}  // namespace

extern const Mixer monarch_mixer;
const Mixer monarch_mixer = {&kSchema, describe,    bind, scratch, run,       run_reference,
                             lanes,    materialize, init, nullptr, state_rows};

}  // namespace seqmix::mixers
