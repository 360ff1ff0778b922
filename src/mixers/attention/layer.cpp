#include "mixers/attention/layer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "mixers/attention/reference.h"
#include "primitives/norm/reference.h"
#include "primitives/rope/reference.h"

namespace seqmix::mixers {
namespace {

constexpr int64_t kTokenBlock = 32;

int64_t kernel_floats(int64_t dk, int64_t dv) {
    const int64_t most = std::max(kUrpeBlock + dv, most_attention_scratch(dk, dv));
    return (most + 15) / 16 * 16;  // no cache line is shared between workers
}

// get_alibi_slopes: 2^(-8 (h+1) / H) for a power of two; else those of the largest one below, then
// every second one of twice that.
std::vector<double> alibi_slopes(int64_t heads) {
    int64_t n = 1;
    while (2 * n <= heads) n *= 2;
    std::vector<double> slopes;
    for (int64_t h = 0; h < heads; ++h) {
        const double power =
            h < n ? static_cast<double>(h + 1) / static_cast<double>(n)
                  : static_cast<double>(2 * (h - n) + 1) / static_cast<double>(2 * n);
        slopes.push_back(std::exp2(-8 * power));
    }
    return slopes;
}

// Room of a worker for the frequencies of a token.
int64_t frequency_room(const AttentionPlan& plan) { return (plan.rotary.pairs() + 7) / 8 * 8; }

// The memory of a step. The same calls measure and take.
struct Memory {
    template <class T>
    static size_t bytes(const AttentionPlan& plan, const StepShape& step) {
        const auto size = [](int64_t count, size_t element) {
            return Scratch::round_up(static_cast<size_t>(count) * element);
        };
        const int64_t T1 = step.tokens, W = static_cast<int64_t>(step.workers);
        return size(T1 * plan.z_width(), sizeof(T)) + size(T1 * plan.o_width(), sizeof(T)) +
               2 * size(T1 * plan.rotary.pairs(), sizeof(T)) +
               size(W * frequency_room(plan), sizeof(double)) + CachePass::scratch_bytes(step);
    }
};

template <class T>
struct Buffers {
    Buffers(const AttentionPlan& plan, const Call& call, Scratch& scratch)
        : z(scratch.take<T>(call.tokens * plan.z_width())),
          o(scratch.take<T>(call.tokens * plan.o_width())),
          cosine(scratch.take<T>(call.tokens * plan.rotary.pairs())),
          sine(scratch.take<T>(call.tokens * plan.rotary.pairs())),
          room(scratch.take<double>(static_cast<int64_t>(call.runner.workers) *
                                    frequency_room(plan))) {}
    T *z, *o, *cosine, *sine;
    double* room;
};

// The normalised and rotated q and k of a step, in place.
void turn_heads(const AttentionBound& bound, const Call& call, const int64_t* positions,
                const Buffers<float>& m) {
    const AttentionPlan& plan = *bound.plan;
    const int64_t E = plan.z_width(), P = plan.rotary.pairs();
    if (!plan.qk_norm && P == 0) {
        return;
    }
    call.parallel_for((call.tokens + kTokenBlock - 1) / kTokenBlock, [&](int64_t piece, size_t w) {
        const int64_t first = piece * kTokenBlock;
        const int64_t count = std::min(kTokenBlock, call.tokens - first);
        const auto normalise = [&](int64_t column, int64_t heads, const Array<float>& weight) {
            for (int64_t t = first; t < first + count; ++t) {
                float* x = m.z + t * E + column;
                bound.norm->rms_norm({heads, plan.dk, x, plan.dk, weight.data(), nullptr,
                                      static_cast<float>(plan.norm_eps), x, plan.dk});
            }
        };
        if (plan.qk_norm) {
            normalise(0, plan.H, bound.q_norm);
            normalise(plan.q_width(), plan.Hk, bound.k_norm);
        }
        if (P == 0) {
            return;
        }
        plan.rotary.angles(*bound.rope, count, positions + first, m.cosine + first * P,
                           m.sine + first * P,
                           m.room + static_cast<int64_t>(w) * frequency_room(plan));
        RopeArgs args{};
        args.tokens = count;
        args.heads = plan.H + plan.Hk;  // q and k lie side by side
        args.width = plan.dk;
        args.pairs = P;
        args.interleaved = plan.rotary.interleaved();
        args.cosine = m.cosine + first * P;
        args.sine = m.sine + first * P;
        args.angle_stride = P;
        args.x = args.y = m.z + first * E;
        args.x_stride = args.y_stride = E;
        args.x_head_stride = args.y_head_stride = plan.dk;
        bound.rope->rotate(args);
    });
}

// Which queries of a round an item of work has.
struct Item {
    int64_t first, count, head;  // tokens of the piece
};

class Attend {
  public:
    Attend(const AttentionBound& bound, const Call& call, const CachePass& pass,
           const Buffers<float>& m, float* kernel_scratch)
        : bound_(bound),
          plan_(*bound.plan),
          call_(call),
          pass_(pass),
          m_(m),
          scratch_(kernel_scratch) {}

    // All queries of the round.
    void run() const {
        const int64_t rows = tile_rows(), tiles = (pass_.longest() + rows - 1) / rows, H = plan_.H;
        call_.parallel_for(pass_.pieces() * tiles * H, [&](int64_t item, size_t worker) {
            const CachePiece& piece = pass_.piece(item / (tiles * H));
            const int64_t first = item / H % tiles * rows, head = item % H;
            const int64_t count = std::min(rows, piece.count - first);
            // One token: the heads that share a key head read the cache together.
            const bool together = piece.step && plan_.distances == 0;
            if (count <= 0 || (together && head >= plan_.Hk)) {
                return;
            }
            float* scratch = scratch_ + static_cast<int64_t>(worker) * plan_.kernel_floats;
            AttentionKeys runs[2];
            const int64_t kv = together ? head : head / group();
            const int64_t n = find_runs(piece, kv, runs);
            if (plan_.distances > 0) {
                urpe(piece, {first, count, head}, runs[0], scratch);  // no window: one run
            } else {
                attention(piece, {first, count, together ? head * group() : head}, together, runs,
                          n, scratch);
            }
        });
    }

  private:
    int64_t group() const { return plan_.H / plan_.Hk; }

    // Queries of an item: as many as share keys best, fewer where workers would have none.
    int64_t tile_rows() const {
        const int64_t panel = bound_.attention->panel_rows;
        const int64_t best = attention_tile_rows(*bound_.attention, plan_.dk, plan_.dv);
        const int64_t items = 2 * static_cast<int64_t>(call_.runner.workers);
        const int64_t all = pass_.pieces() * plan_.H * pass_.longest();
        const int64_t share = (all / std::max<int64_t>(items, 1) / panel + 1) * panel;
        return std::min(best, share);
    }

    int64_t find_runs(const CachePiece& piece, int64_t kv, AttentionKeys runs[2]) const {
        if (plan_.causal) {
            return pass_.runs(piece, kv * plan_.dk, kv * plan_.dv, runs);
        }
        const float* z = m_.z + piece.first * plan_.z_width();
        const float* k = z + plan_.q_width() + kv * plan_.dk;
        const float* v = z + plan_.q_width() + plan_.Hk * plan_.dk + kv * plan_.dv;
        runs[0] = {0, piece.count, k, plan_.z_width(), v, plan_.z_width()};
        return 1;
    }

    void attention(const CachePiece& piece, const Item& item, bool together,
                   const AttentionKeys* runs, int64_t run_count, float* scratch) const {
        const int64_t token = piece.first + item.first;
        AttentionArgs args{};
        args.rows = together ? group() : item.count;
        args.dk = plan_.dk;
        args.dv = plan_.dv;
        args.q = m_.z + token * plan_.z_width() + item.head * plan_.dk;
        args.q_stride = together ? plan_.dk : plan_.z_width();
        args.type = KeyType::f32;
        args.runs = runs;
        args.run_count = run_count;
        args.scale = static_cast<float>(plan_.scale);
        args.softcap = static_cast<float>(plan_.softcap);
        args.position = piece.position + item.first;
        args.position_step = together ? 0 : 1;
        args.left = plan_.cache.window > 0 ? plan_.cache.window - 1 : -1;
        args.right = plan_.causal ? 0 : -1;
        if (plan_.alibi) {
            args.slopes = bound_.slopes.data() + item.head;
            args.slopes_step = together ? 1 : 0;
        }
        args.y = m_.o + token * plan_.o_width() + item.head * plan_.dv;
        args.y_stride = together ? plan_.dv : plan_.o_width();
        args.scratch = scratch;
        args.tiles = !together;
        bound_.attention->attend(args);
    }

    void urpe(const CachePiece& piece, const Item& item, const AttentionKeys& keys,
              float* scratch) const {
        const int64_t table = item.head * (2 * plan_.distances - 1) + plan_.distances - 1;
        UrpeArgs args{};
        args.dk = plan_.dk;
        args.dv = plan_.dv;
        args.k = static_cast<const float*>(keys.k);
        args.k_stride = keys.k_stride;
        args.v = static_cast<const float*>(keys.v);
        args.v_stride = keys.v_stride;
        args.scale = static_cast<float>(plan_.scale);
        args.bias = bound_.bias.data() + table;
        args.factor = bound_.factor.data() + table;
        args.scratch = scratch;
        for (int64_t i = item.first; i < item.first + item.count; ++i) {
            const int64_t token = piece.first + i;
            args.position = piece.position + i;
            args.keys = plan_.causal ? args.position + 1 : piece.count;
            args.q = m_.z + token * plan_.z_width() + item.head * plan_.dk;
            args.y = m_.o + token * plan_.o_width() + item.head * plan_.dv;
            bound_.urpe->attend(args);
        }
    }

    const AttentionBound& bound_;
    const AttentionPlan& plan_;
    const Call& call_;
    const CachePass& pass_;
    const Buffers<float>& m_;
    float* scratch_;
};

}  // namespace

// ------------------------------------------------------------------ plan

Status describe_heads(const char* type, const Attributes& given, AttentionPlan& plan) {
    plan.attributes = given;
    plan.D = given.i64("d_model");
    plan.H = given.i64("n_heads");
    const auto size = [&](const char* name, int64_t otherwise) {
        const int64_t value = given.i64(name);
        plan.attributes.set(name, value == 0 ? otherwise : value);
        return value == 0 ? otherwise : value;
    };
    plan.Hk = size("n_kv_heads", plan.H);
    if (plan.H % plan.Hk != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": n_kv_heads is ", plan.Hk,
                    ", expected a divisor of n_heads = ", plan.H);
    }
    if (given.i64("head_dim") == 0 && plan.D % plan.H != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": n_heads is ", plan.H,
                    ", expected a divisor of d_model = ", plan.D, ", or head_dim");
    }
    plan.dk = size("head_dim", plan.D / plan.H);
    plan.dv = size("v_head_dim", plan.dk);
    plan.causal = given.flag("causal");
    plan.fused = given.str("qkv") == "fused";
    plan.scale = given.f64("scale");
    plan.scale = plan.scale == 0 ? 1 / std::sqrt(static_cast<double>(plan.dk)) : plan.scale;
    plan.kernel_floats = kernel_floats(plan.dk, plan.dv);
    plan.sizes = {{"D", plan.D},
                  {"dk", plan.dk},
                  {"q_width", plan.q_width()},
                  {"k_width", plan.Hk * plan.dk},
                  {"v_width", plan.Hk * plan.dv},
                  {"o_width", plan.o_width()},
                  {"z_width", plan.z_width()}};
    return Status();
}

void finish_plan(const Attributes& given, AttentionPlan& plan) {
    for (const char* name : {"q", "k", "v", "qkv"}) {
        const bool there = (std::string_view(name) == "qkv") == plan.fused;
        if (!there) remove_slot(plan, std::string(name) + ".weight");
        if (!there || !given.flag("qkv_bias")) remove_slot(plan, std::string(name) + ".bias");
    }
    if (!given.flag("out_bias")) remove_slot(plan, "out.bias");
    if (!plan.causal) {
        plan.states.clear();
        std::erase_if(plan.slots, [](const Slot& slot) { return slot.role == Role::state; });
        plan.capabilities.stateful = false;
        plan.capabilities.causal = false;
        plan.chunk = kWholeSequence;
    } else if (plan.cache.window > 0) {
        for (StateTensor& state : plan.states) state.grows = false;
    }
    plan.capabilities.constant_state = !plan.causal || plan.cache.window > 0;
}

int64_t layer_state_rows(const Plan& base, size_t, int64_t position, int64_t tokens) {
    return std::min(static_cast<const AttentionPlan&>(base).cache.lines, position + tokens);
}

// ------------------------------------------------------------------ bind

Status bind_layer(const BindCall& call, AttentionBound& bound) {
    const auto& plan = static_cast<const AttentionPlan&>(call.plan);
    const auto weight = [&](int32_t slot) { return call.weights.get(slot); };
    bound.plan = &plan;
    bound.weights = &call.weights;
    bound.allocator = call.allocator;
    bound.attention = call.format == WeightFormat::stored
                          ? SEQMIX_SELECT_KERNELS(call.isa, attention_kernels)
                          : rounding_attention_kernels(call.isa);
    bound.urpe = SEQMIX_SELECT_KERNELS(call.isa, urpe_kernels);
    bound.norm = SEQMIX_SELECT_KERNELS(call.isa, norm_kernels);
    bound.rope = SEQMIX_SELECT_KERNELS(call.isa, rope_kernels);
    if (plan.fused) {
        bound.maps[0].bind(weight(kQkv), weight(kQkv + 1), plan.z_width(), plan.D, call);
    } else {
        bound.maps[0].bind(weight(kQ), weight(kQ + 1), plan.q_width(), plan.D, call);
        bound.maps[1].bind(weight(kK), weight(kK + 1), plan.Hk * plan.dk, plan.D, call);
        bound.maps[2].bind(weight(kV), weight(kV + 1), plan.Hk * plan.dv, plan.D, call);
    }
    bound.out.bind(weight(kOut), weight(kOut + 1), plan.D, plan.o_width(), call);
    const std::vector<double> slopes = alibi_slopes(plan.H);
    // (entries, H) as stored; a head's entries side by side.
    const int64_t entries = 2 * plan.distances - 1;
    if (call.isa != Isa::reference) {
        bound.q_norm = weight_f32(weight(kQNorm), call.allocator);
        bound.k_norm = weight_f32(weight(kKNorm), call.allocator);
        bound.slopes = Array<float>(plan.H, call.allocator);
        std::transform(slopes.begin(), slopes.end(), bound.slopes.data(),
                       [](double slope) { return static_cast<float>(slope); });
        bound.bias = weight_f32_transposed(weight(kBiasTable), entries, plan.H, call.allocator);
        bound.factor = weight_f32_transposed(weight(kFactorTable), entries, plan.H, call.allocator);
        return Status();
    }
    bound.q_norm64 = weight_f64(weight(kQNorm), call.allocator);
    bound.k_norm64 = weight_f64(weight(kKNorm), call.allocator);
    bound.slopes64 = Array<double>(plan.H, call.allocator);
    std::copy(slopes.begin(), slopes.end(), bound.slopes64.data());
    const auto turned = [&](int32_t slot) {
        const Array<double> stored = weight_f64(weight(slot), call.allocator);
        Array<double> table(stored.size(), call.allocator);
        for (int64_t i = 0; i < stored.size(); ++i) {
            table[i % plan.H * entries + i / plan.H] = stored[i];
        }
        return table;
    };
    bound.bias64 = turned(kBiasTable);
    bound.factor64 = turned(kFactorTable);
    return Status();
}

// ------------------------------------------------------------------ run

size_t layer_scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const AttentionPlan&>(base);
    if (step.real64) {
        return Memory::bytes<double>(plan, step);
    }
    return Memory::bytes<float>(plan, step) + Linear::scratch_bytes(step.workers) +
           Scratch::round_up(step.workers * static_cast<size_t>(plan.kernel_floats) *
                             sizeof(float));
}

void run_layer(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const AttentionBound&>(base);
    const AttentionPlan& plan = *bound.plan;
    const int64_t T = call.tokens, E = plan.z_width();
    Scratch scratch = call.scratch;
    const Buffers<float> m(plan, call, scratch);
    CachePass pass(plan.cache, call, plan.causal, scratch);
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    auto* kernel_scratch =
        scratch.take<float>(static_cast<int64_t>(call.runner.workers) * plan.kernel_floats);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    int64_t column = 0;
    for (const Linear& map : bound.maps) {
        if (map.out() > 0) {
            map.run(call, T, x.as<float>(), x.stride, m.z + column, E, gemm);
        }
        column += map.out();
    }
    bool more = pass.next<float>();
    turn_heads(bound, call, pass.positions(), m);
    for (; more; more = pass.next<float>()) {
        if (plan.causal) {
            const float* k = m.z + plan.q_width();
            pass.append(k, k + plan.Hk * plan.dk, E);
        }
        Attend(bound, call, pass, m, kernel_scratch).run();
    }
    pass.finish<float>();
    bound.out.run(call, T, m.o, plan.o_width(), y.as<float>(), y.stride, gemm);
}

// ------------------------------------------------------------------ reference

namespace {

// q, k and v of tokens at `positions`, normalised and rotated: z (T,E) and angles (T,P).
void project_reference(const AttentionBound& bound, int64_t T, const double* x, ptrdiff_t x_stride,
                       const int64_t* positions, const Buffers<double>& m) {
    const AttentionPlan& plan = *bound.plan;
    const int64_t E = plan.z_width(), P = plan.rotary.pairs();
    int64_t column = 0;
    for (const Linear& map : bound.maps) {
        if (map.out() > 0) {
            map.run_reference(T, x, x_stride, m.z + column, E);
        }
        column += map.out();
    }
    plan.rotary.angles_reference(P > 0 ? T : 0, positions, m.cosine, m.sine, m.room);
    for (int64_t t = 0; t < T; ++t) {
        double *q = m.z + t * E, *k = q + plan.q_width();
        if (plan.qk_norm) {
            reference::rms_norm(plan.H, plan.dk, q, bound.q_norm64.data(), nullptr, plan.norm_eps,
                                q);
            reference::rms_norm(plan.Hk, plan.dk, k, bound.k_norm64.data(), nullptr, plan.norm_eps,
                                k);
        }
        if (P > 0) {
            reference::rope(1, plan.H + plan.Hk, plan.dk, P, plan.rotary.interleaved(),
                            m.cosine + t * P, m.sine + t * P, q, q);
        }
    }
}

// The keys that the query sees are lines of k and v, of its head's columns.
reference::AttentionQuery query_of(const AttentionBound& bound, int64_t head, int64_t position,
                                   int64_t end) {
    const AttentionPlan& plan = *bound.plan;
    reference::AttentionQuery query{};
    query.dk = plan.dk;
    query.dv = plan.dv;
    query.position = position;
    query.end = plan.causal ? position + 1 : end;
    query.first =
        plan.cache.window > 0 ? std::max<int64_t>(0, position + 1 - plan.cache.window) : 0;
    query.scale = plan.scale;
    query.softcap = plan.softcap;
    query.slope = plan.alibi ? bound.slopes64[head] : 0;
    if (plan.distances > 0) {
        const int64_t entries = 2 * plan.distances - 1;
        query.bias = bound.bias64.data() + head * entries + plan.distances - 1;
        query.factor = bound.factor64.data() + head * entries + plan.distances - 1;
    }
    return query;
}

}  // namespace

void run_layer_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const AttentionBound&>(base);
    const AttentionPlan& plan = *bound.plan;
    const int64_t E = plan.z_width(), group = plan.H / plan.Hk;
    Scratch scratch = call.scratch;
    const Buffers<double> m(plan, call, scratch);
    CachePass pass(plan.cache, call, plan.causal, scratch);
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    bool more = pass.next<double>();
    project_reference(bound, call.tokens, x.as<double>(), x.stride, pass.positions(), m);
    const double *k = m.z + plan.q_width(), *v = k + plan.Hk * plan.dk;
    for (; more; more = pass.next<double>()) {
        if (plan.causal) {
            pass.append(k, v, E);
        }
        call.parallel_for(pass.pieces() * plan.H, [&](int64_t item, size_t) {
            const CachePiece& piece = pass.piece(item / plan.H);
            const int64_t head = item % plan.H, kv = head / group;
            for (int64_t i = 0; i < piece.count; ++i) {
                reference::AttentionQuery query =
                    query_of(bound, head, piece.position + i, piece.count);
                query.q = m.z + (piece.first + i) * E + head * plan.dk;
                if (plan.causal) {
                    query.k = call.state<double>(0, piece.run->state_row) + kv * plan.dk;
                    query.v = call.state<double>(1, piece.run->state_row) + kv * plan.dv;
                    query.k_stride = plan.cache.k_width;
                    query.v_stride = plan.cache.v_width;
                    query.lines = plan.cache.lines;
                } else {
                    query.k = k + piece.first * E + kv * plan.dk;
                    query.v = v + piece.first * E + kv * plan.dv;
                    query.k_stride = query.v_stride = E;
                }
                query.y = m.o + (piece.first + i) * plan.o_width() + head * plan.dv;
                reference::attention_query(query);
            }
        });
    }
    pass.finish<double>();
    bound.out.run_reference(call.tokens, m.o, plan.o_width(), y.as<double>(), y.stride);
}

// ------------------------------------------------------------------ matrix, initial values

LaneInfo layer_lanes(const Plan& base) {
    const auto& plan = static_cast<const AttentionPlan&>(base);
    return {plan.H, plan.dv};
}

// Lanes are heads: the weights of all tokens, their values, and what goes into the output map.
void layer_materialize(const Bound& base, const MaterializeCall& call) {
    const auto& given = static_cast<const AttentionBound&>(base);
    const AttentionPlan& plan = *given.plan;
    AttentionBound bound;
    (void)bind_layer({plan, *given.weights, given.allocator, Isa::reference, WeightFormat::stored},
                     bound);
    const int64_t T = call.tokens, E = plan.z_width();
    std::vector<int64_t> positions(static_cast<size_t>(T));
    for (int64_t t = 0; t < T; ++t) positions[static_cast<size_t>(t)] = t;
    Call one;
    one.tokens = T;
    std::vector<double> memory(Memory::bytes<double>(plan, {T, 1, 1, true}) / sizeof(double));
    one.scratch =
        Scratch(reinterpret_cast<std::byte*>(memory.data()), memory.size() * sizeof(double));
    const Buffers<double> m(plan, one, one.scratch);
    const Matrix& x = call.slots[kX];
    project_reference(bound, T, x.as<double>(), x.stride, positions.data(), m);
    std::vector<double> y(static_cast<size_t>(plan.dv));
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t head = call.lane_first + l, kv = head / (plan.H / plan.Hk);
        const double* k = m.z + plan.q_width() + kv * plan.dk;
        const double* v = m.z + plan.q_width() + plan.Hk * plan.dk + kv * plan.dv;
        for (int64_t t = 0; t < T; ++t) {
            std::copy_n(v + t * E, plan.dv, call.operand + (l * T + t) * plan.dv);
        }
        for (int64_t i = 0; i < call.count; ++i) {
            const int64_t t = call.first + i;
            reference::AttentionQuery query = query_of(bound, head, t, T);
            query.q = m.z + t * E + head * plan.dk;
            query.k = k;
            query.v = v;
            query.k_stride = query.v_stride = E;
            query.weights = call.matrix + (l * call.count + i) * T;
            std::fill_n(query.weights, T, 0.0);
            query.y = y.data();
            reference::attention_query(query);
            std::copy_n(y.data(), plan.dv, call.core + (l * call.count + i) * plan.dv);
        }
    }
}

void layer_init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const AttentionPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    if (slot.slot == kQNorm || slot.slot == kKNorm || slot.slot == kFactorTable) {
        std::fill_n(out, count, 1.0);
        return;
    }
    if (slot.slot == kBiasTable) {
        for (int64_t i = 0; i < count; ++i) out[i] = 0.02 * random.normal();
        return;
    }
    const bool last = slot.slot == kOut || slot.slot == kOut + 1;
    const double bound = 1 / std::sqrt(static_cast<double>(last ? plan.o_width() : plan.D));
    for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
}

}  // namespace seqmix::mixers
