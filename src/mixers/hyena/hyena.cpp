#include "mixers/hyena/hyena.h"

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

constexpr int64_t kMostInner = 4;
enum : int32_t {
    kX = 0,
    kY = 1,
    kInProj = 2,
    kInProjBias = 3,
    kShort = 4,
    kShortBias = 5,
    kOutProj = 6,
    kOutProjBias = 7,
    kFilterBias = 8,
    kFilterIn = 9,
    kFilterInBias = 10,
    kInner = 11,  // weight, bias, of up to kMostInner layers
    kFilterOut = 19,
    kFreq = 20,
    kDeltas = 21,
    kFeatures = 22,
    kTimes = 23,
    kConvState = 30,
    kPast = 31
};
enum : size_t { kWindow = 0, kFilterState = 1 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"l_max", AttributeType::i64, nullptr, 1, LongConvStream::kMostTaps, nullptr,
     "taps K of the filters, which depend on it"},
    {"order", AttributeType::i64, "2", 2, 16, nullptr, "n: gates; there are n-1 long filters"},
    {"short_filter_order", AttributeType::i64, "3", 1, 4096, nullptr, "taps S of the short filter"},
    {"filter_order", AttributeType::i64, "64", 1, 65536, nullptr,
     "hidden width O of the filter network"},
    {"emb_dim", AttributeType::i64, "3", 3, 65535, nullptr, "features of a position, odd"},
    {"num_inner_mlps", AttributeType::i64, "2", 0, kMostInner, nullptr,
     "layers O to O of the filter network"},
    {"w", AttributeType::f64, "1", 0, 0, nullptr, "frequency of its sines at the start"},
    {"modulate", AttributeType::boolean, "true", 0, 0, nullptr, "filters decay exponentially"},
    {"shift", AttributeType::f64, "0", 0, 0, nullptr, "added to the decay (HyenaDNA: 0.05)"},
    {"normalized", AttributeType::boolean, "false", 0, 0, nullptr,
     "divide by the sum of magnitudes over the channels at each tap"},
    {"filter_layout", AttributeType::str, "order_major", 0, 0, "order_major|channel_major",
     "of the channels of all filters"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kInProj, "in_proj.weight", Role::weight, false, kWeight, "(E,D)",
     "rows of x_0, ..., x_{n-1}, v"},
    {kInProjBias, "in_proj.bias", Role::weight, false, kWeight, "(E)", "bias of in_proj"},
    {kShort, "short_filter.weight", Role::weight, false, kWeight, "(E,1,S)|(E,S)",
     "taps; tap S-1 meets the current token"},
    {kShortBias, "short_filter.bias", Role::weight, false, kWeight, "(E)",
     "bias of the short filter"},
    {kOutProj, "out_proj.weight", Role::weight, false, kWeight, "(D,D)", "output projection"},
    {kOutProjBias, "out_proj.bias", Role::weight, false, kWeight, "(D)", "bias of out_proj"},
    {kFilterBias, "filter.bias", Role::weight, false, kWeight, "(C)",
     "factor of a long convolution's input itself"},
    {kFilterIn, "filter.in.weight", Role::weight, false, kWeight, "(O,emb_dim)",
     "first layer of the filter network"},
    {kFilterInBias, "filter.in.bias", Role::weight, false, kWeight, "(O)", "its bias"},
    {kInner + 0, "filter.inner0.weight", Role::weight, false, kWeight, "(O,O)", "inner layer"},
    {kInner + 1, "filter.inner0.bias", Role::weight, false, kWeight, "(O)", "its bias"},
    {kInner + 2, "filter.inner1.weight", Role::weight, false, kWeight, "(O,O)", "inner layer"},
    {kInner + 3, "filter.inner1.bias", Role::weight, false, kWeight, "(O)", "its bias"},
    {kInner + 4, "filter.inner2.weight", Role::weight, false, kWeight, "(O,O)", "inner layer"},
    {kInner + 5, "filter.inner2.bias", Role::weight, false, kWeight, "(O)", "its bias"},
    {kInner + 6, "filter.inner3.weight", Role::weight, false, kWeight, "(O,O)", "inner layer"},
    {kInner + 7, "filter.inner3.bias", Role::weight, false, kWeight, "(O)", "its bias"},
    {kFilterOut, "filter.out.weight", Role::weight, false, kWeight, "(C,O)",
     "last layer: channels of all filters, see filter_layout"},
    {kFreq, "filter.freq", Role::weight, false, kWeight, "(O)|(1,O)", "frequencies of the sines"},
    {kDeltas, "filter.deltas", Role::weight, true, kWeight, "(C)|(1,1,C)",
     "decay rates; absent: spread evenly"},
    {kFeatures, "filter.z", Role::weight, true, kWeight, "(K,emb_dim)|(1,K,emb_dim)",
     "features of the positions, where they were learned; absent: computed"},
    {kTimes, "filter.t", Role::weight, true, kWeight, "(K)|(1,K,1)",
     "t / (K-1) as it was stored; absent: computed"},
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
    "hyena",
    "Hyena operator: gated long convolutions with implicit filters",
    "Poli et al. 2023, Hyena Hierarchy; HazyResearch/safari",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .constant_state = false, .reversible = true, .materialize = true},
    kWholeSequence,
};

struct HyenaPlan : Plan {
    int64_t D, K, n, S, O, emb, inner, E, C;  // E = (n+1) D, C = (n-1) D
    bool modulate, normalized, order_major;
    double shift, w;
    std::unique_ptr<const LongFilterSizes> filters;
    int64_t scratch_tokens(bool) const { return 2 * E; }  // elements a token
};

struct Weights64 : WeightsF64 {
    Weights64(const Weights& weights, Allocator allocator)
        : WeightsF64(weights, kInProj, kTimes, allocator) {}
};

HyenaProjection projection(const HyenaPlan& plan, const Weights64& w) {
    return {plan.D, plan.E, plan.S, w[kInProj], w[kInProjBias], w[kShort], w[kShortBias]};
}

struct HyenaBound : Bound {
    const HyenaPlan* plan;
    const LongConvKernels* kernels;
    Linear in_proj, out_proj;
    ShortConv short_filter;
    LongFilters filters;
    std::unique_ptr<const Weights64> weights64;  // level reference
    const Weights* weights;
    Allocator allocator;
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<HyenaPlan>();
    plan->attributes = given;
    plan->D = given.i64("d_model");
    plan->K = given.i64("l_max");
    plan->n = given.i64("order");
    plan->S = given.i64("short_filter_order");
    plan->O = given.i64("filter_order");
    plan->emb = given.i64("emb_dim");
    plan->inner = given.i64("num_inner_mlps");
    plan->E = (plan->n + 1) * plan->D;
    plan->C = (plan->n - 1) * plan->D;
    plan->modulate = given.flag("modulate");
    plan->normalized = given.flag("normalized");
    plan->order_major = given.str("filter_layout") == "order_major";
    plan->shift = given.f64("shift");
    plan->w = given.f64("w");
    if (plan->emb % 2 == 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "hyena: emb_dim is ", plan->emb,
                    ", expected an odd number");
    }
    plan->sizes = {{"D", plan->D}, {"K", plan->K}, {"S", plan->S},        {"O", plan->O},
                   {"E", plan->E}, {"C", plan->C}, {"emb_dim", plan->emb}};
    plan->filters = std::make_unique<const LongFilterSizes>(plan->n - 1, plan->D, plan->K);
    plan->filters->add_symbols(plan->sizes);
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    for (int64_t i = plan->inner; i < kMostInner; ++i) {
        const std::string name = "filter.inner" + std::to_string(i);
        remove_slot(*plan, name + ".weight");
        remove_slot(*plan, name + ".bias");
    }
    if (!plan->modulate) {
        remove_slot(*plan, "filter.deltas");
        remove_slot(*plan, "filter.t");
    }
    out = std::move(plan);
    return Status();
}

// Filters (n-1,D,K) and their biases (n-1,D), in double.
void make_filters(const HyenaPlan& plan, const Weights64& w, Allocator allocator, Array<double>* k,
                  Array<double>* bias) {
    HyenaFilter filter{};
    filter.taps = plan.K;
    filter.channels = plan.C;
    filter.features = plan.emb;
    filter.hidden = plan.O;
    filter.inner = plan.inner;
    filter.modulate = plan.modulate;
    filter.normalized = plan.normalized;
    filter.shift = plan.shift;
    filter.z = w[kFeatures];
    filter.t = w[kTimes];
    filter.W_in = w[kFilterIn];
    filter.b_in = w[kFilterInBias];
    for (int32_t i = 0; i < plan.inner; ++i) {
        filter.W.push_back(w[kInner + 2 * i]);
        filter.b.push_back(w[kInner + 2 * i + 1]);
    }
    filter.W_out = w[kFilterOut];
    filter.freq = w[kFreq];
    filter.deltas = w[kDeltas];
    Array<double> channels(plan.C * plan.K, allocator);
    hyena_filter(filter, channels.data());
    *bias = Array<double>(plan.C, allocator);
    if (plan.order_major) {
        *k = std::move(channels);
        std::copy_n(w[kFilterBias], plan.C, bias->data());
        return;
    }
    *k = Array<double>(plan.C * plan.K, allocator);
    const int64_t F = plan.n - 1;
    for (int64_t o = 0; o < F; ++o) {
        for (int64_t d = 0; d < plan.D; ++d) {
            std::copy_n(channels.data() + (d * F + o) * plan.K, plan.K,
                        k->data() + (o * plan.D + d) * plan.K);
            (*bias)[o * plan.D + d] = w[kFilterBias][d * F + o];
        }
    }
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<HyenaBound>();
    const auto& plan = static_cast<const HyenaPlan&>(call.plan);
    const auto weight = [&](int32_t slot) { return call.weights.get(slot); };
    bound->plan = &plan;
    bound->weights = &call.weights;
    bound->allocator = call.allocator;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, long_conv_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("hyena", call.isa);
    auto weights64 = std::make_unique<const Weights64>(call.weights, call.allocator);
    Array<double> k, bias;
    make_filters(plan, *weights64, call.allocator, &k, &bias);
    bound->filters.bind(*plan.filters, k.data(), bias.data(), kFilterState, call);
    if (call.isa == Isa::reference) {
        bound->weights64 = std::move(weights64);
    } else {
        bound->in_proj.bind(weight(kInProj), weight(kInProjBias), plan.E, plan.D, call);
        bound->out_proj.bind(weight(kOutProj), weight(kOutProjBias), plan.D, plan.D, call);
        bound->short_filter.bind(weight(kShort), weight(kShortBias), plan.E, plan.S, call);
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const HyenaPlan&>(base);
    const size_t rows =
        Scratch::round_up(static_cast<size_t>(step.tokens * plan.E) * (step.real64 ? 8 : 4));
    return 2 * rows + plan.filters->scratch_bytes(step) +
           (step.real64 ? 0 : Linear::scratch_bytes(step.workers));
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const HyenaBound&>(base);
    const HyenaPlan& plan = *bound.plan;
    const int64_t D = plan.D, E = plan.E, T = call.tokens;
    Scratch scratch = call.scratch;
    float* z = scratch.take<float>(T * E);
    float* u = scratch.take<float>(T * E);
    auto* work = scratch.take<std::byte>(static_cast<int64_t>(
        plan.filters->scratch_bytes({T, call.rows, call.runner.workers, false})));
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const Matrix &in = call.slot(kX), &out = call.slot(kY);
    bound.in_proj.run(call, T, in.as<float>(), in.stride, z, E, gemm);
    bound.short_filter.run(call, kWindow, z, E, u, E);
    // z is free: two matrices (T,D) of it.
    float *v = z, *gated = z + T * D;
    const auto gate = [&](const float* a, ptrdiff_t a_stride, int64_t i) {
        gate_tokens(call, *bound.kernels, D, a, a_stride, u + i * D, E, gated, D);
    };
    for (int64_t i = plan.n - 1; i > 0; --i) {
        const bool first = i == plan.n - 1;
        gate(first ? u + plan.n * D : v, first ? E : D, i);
        bound.filters.run(call, plan.n - 1 - i, gated, D, v, D, work);
    }
    gate(v, D, 0);
    bound.out_proj.run(call, T, gated, D, out.as<float>(), out.stride, gemm);
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const HyenaBound&>(base);
    const HyenaPlan& plan = *bound.plan;
    const Weights64& w = *bound.weights64;
    const int64_t D = plan.D, E = plan.E, T = call.tokens, n = plan.n;
    Scratch scratch = call.scratch;
    double* z = scratch.take<double>(T * E);
    double* u = scratch.take<double>(T * E);
    auto* work = scratch.take<std::byte>(static_cast<int64_t>(
        plan.filters->scratch_bytes({T, call.rows, call.runner.workers, true})));
    reference::hyena_linear(T, D, E, call.slot(kX).as<double>(), w[kInProj], w[kInProjBias], z);
    hyena_short_filters(projection(plan, w), call, kWindow, nullptr, z, u);
    double *v = z, *gated = z + T * D;
    for (int64_t t = 0; t < T; ++t) std::copy_n(u + t * E + n * D, D, v + t * D);
    for (int64_t i = n - 1; i > 0; --i) {
        reference::hyena_gate(T, D, v, u, E, i * D, gated);
        bound.filters.run_reference(call, n - 1 - i, gated, v, work);
    }
    reference::hyena_gate(T, D, v, u, E, 0, gated);
    reference::hyena_linear(T, D, D, gated, w[kOutProj], w[kOutProjBias],
                            call.slot(kY).as<double>());
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const HyenaPlan&>(plan).D, 1}; }

// v is the last part of u; M = diag(x_0) (K_{n-2} + bias) diag(x_1) ... (K_0 + bias) diag(x_{n-1}).
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& bound = static_cast<const HyenaBound&>(base);
    const HyenaPlan& plan = *bound.plan;
    const Weights64 w(*bound.weights, bound.allocator);
    Array<double> k, bias;
    make_filters(plan, w, bound.allocator, &k, &bias);
    const int64_t T = call.tokens, D = plan.D, E = plan.E, K = plan.K;
    const std::vector<double> u =
        hyena_project(projection(plan, w), T, call.slots[kX].as<double>());
    std::vector<double> v(static_cast<size_t>(T)), next(static_cast<size_t>(T));
    // In place: v to the operator's output, lane d.
    const auto apply = [&](int64_t d) {
        const auto gate = [&](int64_t i) {
            for (int64_t t = 0; t < T; ++t) {
                v[static_cast<size_t>(t)] *= u[static_cast<size_t>(t * E + i * D + d)];
            }
        };
        for (int64_t i = plan.n - 1; i > 0; --i) {
            gate(i);
            const int64_t channel = (plan.n - 1 - i) * D + d;
            for (int64_t t = 0; t < T; ++t) {
                double sum = bias[channel] * v[static_cast<size_t>(t)];
                for (int64_t j = 0; j <= t && j < K; ++j) {
                    sum += k[channel * K + j] * v[static_cast<size_t>(t - j)];
                }
                next[static_cast<size_t>(t)] = sum;
            }
            v.swap(next);
        }
        gate(0);
    };
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t d = call.lane_first + l;
        for (int64_t j = 0; j < T; ++j) {
            std::fill(v.begin(), v.end(), 0.0);
            v[static_cast<size_t>(j)] = 1;
            apply(d);
            for (int64_t i = 0; i < call.count; ++i) {
                call.matrix[(l * call.count + i) * T + j] = v[static_cast<size_t>(call.first + i)];
            }
        }
        for (int64_t t = 0; t < T; ++t) {
            call.operand[l * T + t] = v[static_cast<size_t>(t)] =
                u[static_cast<size_t>(t * E + plan.n * D + d)];
        }
        apply(d);
        for (int64_t i = 0; i < call.count; ++i) {
            call.core[l * call.count + i] = v[static_cast<size_t>(call.first + i)];
        }
    }
}

// Linear maps as torch's; the biases of the filters N(0,1); everything about positions as in filter.h.
void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const HyenaPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    const auto uniform = [&](int64_t fan_in) {
        const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
        for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
    };
    switch (slot.slot) {
        case kInProj:
        case kInProjBias:
        case kOutProj:
        case kOutProjBias: return uniform(plan.D);
        case kShort:
        case kShortBias: return uniform(plan.S);
        case kFilterIn:
        case kFilterInBias: return uniform(plan.emb);
        case kFilterBias:
            for (int64_t i = 0; i < count; ++i) out[i] = random.normal();
            return;
        case kFreq: std::fill_n(out, count, plan.w); return;
        case kDeltas:
            for (int64_t i = 0; i < count; ++i) out[i] = hyena_delta(i, count);
            return;
        case kTimes:
            for (int64_t t = 0; t < plan.K; ++t) {
                out[t] =
                    static_cast<double>(t) / static_cast<double>(std::max<int64_t>(plan.K - 1, 1));
            }
            return;
        case kFeatures:
            for (int64_t t = 0; t < plan.K; ++t) {
                hyena_features(t, plan.K, plan.emb, out + t * plan.emb);
            }
            return;
        default: uniform(plan.O);
    }
}

int64_t state_rows(const Plan& base, size_t tensor, int64_t position, int64_t tokens) {
    return static_cast<const HyenaPlan&>(base).filters->state_rows(tensor - kFilterState, position,
                                                                   tokens);
}

}  // namespace

extern const Mixer hyena_mixer;
const Mixer hyena_mixer = {&kSchema, describe,    bind, scratch, run,       run_reference,
                           lanes,    materialize, init, nullptr, state_rows};

}  // namespace seqmix::mixers
