#include "mixers/aaren/aaren.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "contract/linear.h"
#include "mixers/aaren/kernel.h"
#include "mixers/aaren/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kQuery = 2,
    kK = 3,  // weight, bias
    kV = 5,
    kOut = 7,
    kMaximum = 30
};
enum : size_t { kM = 0, kU = 1, kW = 2 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"n_heads", AttributeType::i64, nullptr, 1, 65536, nullptr, "heads H, each with its query"},
    {"head_dim", AttributeType::i64, "0", 0, 65536, nullptr,
     "width of a query and key head; 0 = d_model / n_heads"},
    {"v_head_dim", AttributeType::i64, "0", 0, 65536, nullptr, "of a value head; 0 = head_dim"},
    {"kv_bias", AttributeType::boolean, "true", 0, 0, nullptr, "k and v have a bias"},
    {"out_bias", AttributeType::boolean, "true", 0, 0, nullptr, "the output map has a bias"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kQuery, "query", Role::weight, false, kWeight, "(H,dk)", "the learned queries"},
    {kK, "k.weight", Role::weight, false, kWeight, "(k_width,D)", "map of keys, head by head"},
    {kK + 1, "k.bias", Role::weight, false, kWeight, "(k_width)", "its bias"},
    {kV, "v.weight", Role::weight, false, kWeight, "(v_width,D)", "map of values"},
    {kV + 1, "v.bias", Role::weight, false, kWeight, "(v_width)", "its bias"},
    {kOut, "out.weight", Role::weight, false, kWeight, "(D,v_width)", "output map"},
    {kOut + 1, "out.bias", Role::weight, false, kWeight, "(D)", "its bias"},
};
constexpr StateSpec kStates[] = {
    {kMaximum, "maximum", "(H)", false, "m: the largest score so far"},
    {kMaximum + 1, "total", "(H)", false, "u: sum of e^(s-m); 0 before the first token"},
    {kMaximum + 2, "weighted", "(H,dv)", false, "w: sum of e^(s-m) v"},
};
constexpr Schema kSchema = {
    "aaren",
    "Attention as a recurrent network: learned queries, constant state",
    "Feng et al. 2024, Attention as an RNN",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .materialize = true},
    512,
};

struct AarenPlan : Plan {
    int64_t D, H, dk, dv;
    double scale;
    int64_t v_width() const { return H * dv; }
};

struct AarenBound : Bound {
    const AarenPlan* plan;
    const AarenKernels* kernels;
    Linear scores, k, v, out;  // k at level reference, scores elsewhere
    Array<float> score_weight, score_bias;
    Array<double> query64;
    const Weights* weights;
    Allocator allocator;
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<AarenPlan>();
    plan->attributes = given;
    plan->D = given.i64("d_model");
    plan->H = given.i64("n_heads");
    const auto size = [&](const char* name, int64_t otherwise) {
        const int64_t value = given.i64(name) == 0 ? otherwise : given.i64(name);
        plan->attributes.set(name, value);
        return value;
    };
    if (given.i64("head_dim") == 0 && plan->D % plan->H != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": n_heads is ", plan->H,
                    ", expected a divisor of d_model = ", plan->D, ", or head_dim");
    }
    plan->dk = size("head_dim", plan->D / plan->H);
    plan->dv = size("v_head_dim", plan->dk);
    plan->scale = 1 / std::sqrt(static_cast<double>(plan->dk));
    plan->sizes = {{"D", plan->D},
                   {"H", plan->H},
                   {"dk", plan->dk},
                   {"dv", plan->dv},
                   {"k_width", plan->H * plan->dk},
                   {"v_width", plan->v_width()}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (!given.flag("kv_bias")) {
        remove_slot(*plan, "k.bias");
        remove_slot(*plan, "v.bias");
    }
    if (!given.flag("out_bias")) remove_slot(*plan, "out.bias");
    out = std::move(plan);
    return Status();
}

// Scores as a map of x: rows scale sum_d q_d K[d], in double.
void make_scores(const BindCall& call, AarenBound& bound) {
    const AarenPlan& plan = *bound.plan;
    const Array<double> q = weight_f64(call.weights.get(kQuery), call.allocator);
    const Array<double> k = weight_f64(call.weights.get(kK), call.allocator);
    const Array<double> bias = weight_f64(call.weights.get(kK + 1), call.allocator);
    bound.score_weight = Array<float>(plan.H * plan.D, call.allocator);
    bound.score_bias = Array<float>(plan.H, call.allocator);
    for (int64_t h = 0; h < plan.H; ++h) {
        const auto sum = [&](const Array<double>& of, int64_t stride, int64_t at) {
            double total = 0;
            for (int64_t d = 0; d < plan.dk; ++d) {
                total += q[h * plan.dk + d] * of[(h * plan.dk + d) * stride + at];
            }
            return static_cast<float>(total * plan.scale);
        };
        for (int64_t i = 0; i < plan.D; ++i) {
            bound.score_weight[h * plan.D + i] = sum(k, plan.D, i);
        }
        bound.score_bias[h] = bias ? sum(bias, 1, 0) : 0;
    }
    bound.scores.bind({bound.score_weight.data(), DType::f32, {plan.H, plan.D}},
                      {bound.score_bias.data(), DType::f32, {plan.H}}, plan.H, plan.D, call);
}

void bind_aaren(const BindCall& call, AarenBound& bound) {
    const auto& plan = static_cast<const AarenPlan&>(call.plan);
    const auto weight = [&](int32_t slot) { return call.weights.get(slot); };
    bound.plan = &plan;
    bound.weights = &call.weights;
    bound.allocator = call.allocator;
    bound.kernels = SEQMIX_SELECT_KERNELS(call.isa, aaren_kernels);
    bound.kernel_name = SEQMIX_KERNEL_NAME("aaren", call.isa);
    if (call.isa == Isa::reference) {
        bound.query64 = weight_f64(weight(kQuery), call.allocator);
        bound.k.bind(weight(kK), weight(kK + 1), plan.H * plan.dk, plan.D, call);
    } else {
        make_scores(call, bound);
    }
    bound.v.bind(weight(kV), weight(kV + 1), plan.v_width(), plan.D, call);
    bound.out.bind(weight(kOut), weight(kOut + 1), plan.D, plan.v_width(), call);
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<AarenBound>();
    bind_aaren(call, *bound);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const AarenPlan&>(base);
    const auto size = [&](int64_t width) {
        return Scratch::round_up(static_cast<size_t>(step.tokens * width) * (step.real64 ? 8 : 4));
    };
    const size_t values = 2 * size(plan.v_width());  // v and y
    return step.real64 ? values + size(plan.H * plan.dk)
                       : values + size(plan.H) + Linear::scratch_bytes(step.workers);
}

// fn(head, segment, m, u, w) for the segments of every row and head in order.
template <class T, class Fn>
void for_each_head(const AarenPlan& plan, const Call& call, Fn&& fn) {
    call.parallel_for(call.run_count * plan.H, [&](int64_t item, size_t) {
        const RowRun& run = call.runs[item / plan.H];
        const int64_t h = item % plan.H;
        T* m = call.state<T>(kM, run.state_row) + h;
        T* u = call.state<T>(kU, run.state_row) + h;
        T* w = call.state<T>(kW, run.state_row) + h * plan.dv;
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            if (call.segments[s].reset) {
                *m = *u = 0;
                std::fill_n(w, plan.dv, T{0});
            }
            fn(h, call.segments[s], m, u, w);
        }
    });
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const AarenBound&>(base);
    const AarenPlan& plan = *bound.plan;
    const int64_t T = call.tokens, V = plan.v_width();
    Scratch scratch = call.scratch;
    float* v = scratch.take<float>(T * V);
    float* o = scratch.take<float>(T * V);
    float* s = scratch.take<float>(T * plan.H);
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    bound.scores.run(call, T, x.as<float>(), x.stride, s, plan.H, gemm);
    bound.v.run(call, T, x.as<float>(), x.stride, v, V, gemm);
    for_each_head<float>(
        plan, call, [&](int64_t h, const Segment& segment, float* m, float* u, float* w) {
            const int64_t at = segment.first * V + h * plan.dv;
            bound.kernels->scan({segment.count, plan.dv, s + segment.first * plan.H + h, plan.H,
                                 v + at, V, m, u, w, o + at, V});
        });
    bound.out.run(call, T, o, V, y.as<float>(), y.stride, gemm);
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const AarenBound&>(base);
    const AarenPlan& plan = *bound.plan;
    const int64_t T = call.tokens, V = plan.v_width(), K = plan.H * plan.dk;
    Scratch scratch = call.scratch;
    double* v = scratch.take<double>(T * V);
    double* o = scratch.take<double>(T * V);
    double* k = scratch.take<double>(T * K);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    bound.k.run_reference(T, x.as<double>(), x.stride, k, K);
    bound.v.run_reference(T, x.as<double>(), x.stride, v, V);
    for_each_head<double>(
        plan, call, [&](int64_t h, const Segment& segment, double* m, double* u, double* w) {
            for (int64_t t = segment.first; t < segment.first + segment.count; ++t) {
                const double s = reference::aaren_score(plan.dk, bound.query64.data() + h * plan.dk,
                                                        k + t * K + h * plan.dk, plan.scale);
                const int64_t at = t * V + h * plan.dv;
                reference::aaren_token(plan.dv, s, v + at, m, u, w, o + at);
            }
        });
    bound.out.run_reference(T, o, V, y.as<double>(), y.stride);
}

LaneInfo lanes(const Plan& base) {
    const auto& plan = static_cast<const AarenPlan&>(base);
    return {plan.H, plan.dv};
}

// Lanes are heads: M[t,j] = e^(s_j) / sum of e^(s_i), i <= t.
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& given = static_cast<const AarenBound&>(base);
    const AarenPlan& plan = *given.plan;
    AarenBound bound;
    bind_aaren({plan, *given.weights, given.allocator, Isa::reference, WeightFormat::stored},
               bound);
    const int64_t T = call.tokens, V = plan.v_width(), K = plan.H * plan.dk;
    std::vector<double> k(static_cast<size_t>(T * K)), v(static_cast<size_t>(T * V)),
        s(static_cast<size_t>(T));
    const Matrix& x = call.slots[kX];
    bound.k.run_reference(T, x.as<double>(), x.stride, k.data(), K);
    bound.v.run_reference(T, x.as<double>(), x.stride, v.data(), V);
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t h = call.lane_first + l;
        for (int64_t t = 0; t < T; ++t) {
            s[static_cast<size_t>(t)] =
                reference::aaren_score(plan.dk, bound.query64.data() + h * plan.dk,
                                       k.data() + t * K + h * plan.dk, plan.scale);
            std::copy_n(v.data() + t * V + h * plan.dv, plan.dv,
                        call.operand + (l * T + t) * plan.dv);
        }
        for (int64_t i = 0; i < call.count; ++i) {
            const int64_t t = call.first + i;
            const double most = *std::max_element(s.begin(), s.begin() + t + 1);
            double* row = call.matrix + (l * call.count + i) * T;
            double* core = call.core + (l * call.count + i) * plan.dv;
            double total = 0;
            for (int64_t j = 0; j < T; ++j) {
                row[j] = j <= t ? std::exp(s[static_cast<size_t>(j)] - most) : 0;
                total += row[j];
            }
            std::fill_n(core, plan.dv, 0.0);
            for (int64_t j = 0; j <= t; ++j) {
                row[j] /= total;
                for (int64_t d = 0; d < plan.dv; ++d) {
                    core[d] += row[j] * call.operand[(l * T + j) * plan.dv + d];
                }
            }
        }
    }
}

void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const AarenPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    if (slot.slot == kQuery) {
        for (int64_t i = 0; i < count; ++i) out[i] = random.normal();
        return;
    }
    const double bound =
        1 / std::sqrt(static_cast<double>(slot.slot >= kOut ? plan.v_width() : plan.D));
    for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
}

}  // namespace

extern const Mixer aaren_mixer;
const Mixer aaren_mixer = {&kSchema,      describe, bind,        scratch, run,
                           run_reference, lanes,    materialize, init,    nullptr};

}  // namespace seqmix::mixers
