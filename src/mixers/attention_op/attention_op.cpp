#include "mixers/attention_op/attention_op.h"

#include <cmath>

#include "contract/mixer.h"
#include "primitives/attention/attention.h"
#include "primitives/attention/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kQ = 0, kK, kV, kBias, kMask, kAlibi, kSink, kY, kLse, kKScale, kVScale };

constexpr DTypeSet kKeys = kWeight | dtype_bit(DType::i8);
constexpr DTypeSet kTruth = dtype_bit(DType::boolean) | dtype_bit(DType::u8);

constexpr AttributeSpec kAttributes[] = {
    {"heads", AttributeType::i64, nullptr, 1, 1 << 16, nullptr, "query heads H"},
    {"kv_heads", AttributeType::i64, "0", 0, 1 << 16, nullptr,
     "heads Hk of keys and values, a divisor of H; 0: H"},
    {"head_dim", AttributeType::i64, nullptr, 1, 1 << 16, nullptr, "width dk of queries and keys"},
    {"value_dim", AttributeType::i64, "0", 0, 1 << 16, nullptr, "width dv of values; 0: dk"},
    {"scale", AttributeType::f64, "0", 0, 0, nullptr, "of q.k; 0: 1/sqrt(dk)"},
    {"causal", AttributeType::boolean, "false", 0, 0, nullptr,
     "no key behind the query's position"},
    {"align", AttributeType::str, "end", 0, 0, "end|start",
     "position of query t: t + Lk - Lq, or t; of a row's true lengths"},
    {"offset", AttributeType::i64, "0", -(1LL << 40), 1LL << 40, nullptr, "added to the positions"},
    {"window_left", AttributeType::i64, "-1", -1, 1LL << 40, nullptr,
     "keys seen before the position; -1: all"},
    {"window_right", AttributeType::i64, "-1", -1, 1LL << 40, nullptr,
     "keys seen behind the position; -1: all; causal: 0"},
    {"softcap", AttributeType::f64, "0", 0, 1e30, nullptr,
     "c: scores become c tanh(score / c), before bias and masks; 0: not"},
};
constexpr SlotSpec kSlots[] = {
    {kQ, "q", Role::input, false, kReal, "(B,T,H,dk)", "queries"},
    {kK, "k", Role::input, false, kKeys, "(B,Tk,Hk,dk)", "keys; head h reads h / (H / Hk)"},
    {kV, "v", Role::input, false, kKeys, "(B,Tk,Hk,dv)", "values, of the keys' dtype"},
    {kBias, "bias", Role::input, true, kSingle, "(B,H,T,Tk)|(T,Tk)",
     "added to the scores; stride 0 repeats it over rows or heads"},
    {kMask, "mask", Role::input, true, kTruth, "(B,H,T,Tk)|(T,Tk)",
     "false hides a key; stride 0 repeats it"},
    {kAlibi, "alibi", Role::input, true, kReal, "(H)",
     "slopes: -slope |position - key| is added to the scores"},
    {kSink, "sink", Role::input, true, kReal, "(H)", "a logit without a value, in the denominator"},
    {kY, "y", Role::output, false, kReal, "(B,T,H,dv)", "output; 0 where a query sees no key"},
    {kLse, "lse", Role::output, true, kReal, "(B,T,H)",
     "log of the denominator; -inf where a query sees no key"},
    {kKScale, "k_scale", Role::input, true, kSingle, "(B,Tk,Hk)",
     "factor of each stored key; i8 keys need it"},
    {kVScale, "v_scale", Role::input, true, kSingle, "(B,Tk,Hk)", "of each stored value, likewise"},
};
constexpr Schema kSchema = {
    .type = "attention_op",
    .doc = "Exact attention of queries over the keys and values of a source",
    .source = "Dao et al. 2022, FlashAttention; Zhang et al. 2023, CAB",
    .operation = true,
    .attributes = kAttributes,
    .slots = kSlots,
    .states = {},
    .capabilities = {.causal = false, .materialize = true},
    // Four tiles of queries of the usual heads: a step's end costs threads little.
    .chunk = 3072,
    .kinds = "raw|capped|masked",
};

// ------------------------------------------------------------------ describe, bind

struct AttentionPlan : Plan {
    int64_t H, Hk, dk, dv;
    double scale, softcap;
    int64_t left, right, offset;
    bool align_end;
    int64_t group() const { return H / Hk; }
    // Of target token 0 of a row.
    int64_t position(const SourceRow& row) const {
        return offset + (align_end ? row.count - row.target_count : 0);
    }
};

struct AttentionBound : Bound {
    const AttentionPlan* plan;
    const AttentionKernels *kernels, *rounding;  // the latter where all operands are bf16
    const AttentionKernels& of(const Call& call) const {
        const bool bf16 = call.slot(kQ).given == DType::bf16 &&
                          call.source(kK).dtype == DType::bf16 && !call.source(kKScale) &&
                          !call.source(kVScale);
        return bf16 ? *rounding : *kernels;
    }
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<AttentionPlan>();
    Attributes attributes = given;
    plan->H = given.i64("heads");
    plan->Hk = given.i64("kv_heads") != 0 ? given.i64("kv_heads") : plan->H;
    plan->dk = given.i64("head_dim");
    plan->dv = given.i64("value_dim") != 0 ? given.i64("value_dim") : plan->dk;
    if (plan->H % plan->Hk != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": attribute 'kv_heads' is ",
                    plan->Hk, ", expected a divisor of the ", plan->H, " heads");
    }
    const double scale = given.f64("scale");
    plan->scale = scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(plan->dk));
    plan->softcap = given.f64("softcap");
    plan->left = given.i64("window_left");
    plan->right = given.flag("causal") ? 0 : given.i64("window_right");
    plan->offset = given.i64("offset");
    plan->align_end = given.str("align") == "end";
    attributes.set("kv_heads", plan->Hk);
    attributes.set("value_dim", plan->dv);
    attributes.set("scale", plan->scale);
    plan->attributes = std::move(attributes);
    plan->sizes = {{"H", plan->H}, {"Hk", plan->Hk}, {"dk", plan->dk}, {"dv", plan->dv}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<AttentionBound>();
    bound->plan = &static_cast<const AttentionPlan&>(call.plan);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, attention_kernels);
    bound->rounding = rounding_attention_kernels(call.isa);
    bound->kernel_name = SEQMIX_KERNEL_NAME("attention", call.isa);
    out = std::move(bound);
    return Status();
}

Status check(const Plan&, const DType* given) {
    if (given[kK] != given[kV]) {
        return fail(SEQMIX_ERR_DTYPE, kSchema.type, ": tensor 'v' is ", dtype_name(given[kV]),
                    ", expected ", dtype_name(given[kK]), " as 'k'");
    }
    for (const int32_t scale : {kKScale, kVScale}) {
        if (given[kK] == DType::i8 && given[scale] == DType::unknown) {
            return fail(SEQMIX_ERR_MISSING_TENSOR, kSchema.type, ": tensor '",
                        scale == kKScale ? "k_scale" : "v_scale",
                        "' is missing, expected (B,Tk,Hk) with keys and values of i8");
        }
    }
    return Status();
}

// ------------------------------------------------------------------ run

// What a call says of pairs of tokens, for a row, its token t and a head: of the source's token 0.
struct PairSlot {
    const std::byte* data = nullptr;
    ptrdiff_t token_stride = 0, head_stride = 0;
    PairSlot() = default;
    PairSlot(const Source& slot, const SourceRow& row, int64_t t, int64_t h) {
        if (!slot || row.count == 0) {
            return;
        }
        const bool shared = slot.variant == 1;  // (T,Tk)
        t += row.target_first;
        data = shared ? slot.at(t, row.first) : slot.at(row.batch, h, t, row.first);
        token_stride = slot.strides[shared ? 0 : 2];
        head_stride = shared ? 0 : slot.strides[1];
    }
};

// Queries of one segment that share a reading of the keys.
struct Tile {
    int64_t segment, first, count;
};

// Doubles of a worker at level reference: keys, values, a query's bias and mask.
struct ReferenceMemory {
    double *k, *v, *bias;
    unsigned char* mask;
    static int64_t count(const AttentionPlan& plan, int64_t source) {
        return source * (plan.dk + plan.dv + 2);
    }
    ReferenceMemory(const AttentionPlan& plan, int64_t source, double* memory)
        : k(memory),
          v(k + source * plan.dk),
          bias(v + source * plan.dv),
          mask(reinterpret_cast<unsigned char*>(bias + source)) {}
};

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const AttentionPlan&>(base);
    const auto workers = static_cast<int64_t>(step.workers);
    if (step.real64) {
        return Scratch::round_up(sizeof(double) *
                                 static_cast<size_t>(ReferenceMemory::count(plan, step.source))) *
               step.workers;
    }
    const int64_t most = most_attention_scratch(plan.dk, plan.dv);
    return Scratch::round_up(sizeof(Tile) * static_cast<size_t>(step.tokens)) +
           static_cast<size_t>(workers) *
               Scratch::round_up(sizeof(float) * static_cast<size_t>(most));
}

KeyType key_type(DType dtype) {
    return dtype == DType::bf16  ? KeyType::bf16
           : dtype == DType::f16 ? KeyType::f16
           : dtype == DType::i8  ? KeyType::i8
                                 : KeyType::f32;
}

// One head (from its first, all heads of a group) of one tile.
void attend(const AttentionBound& bound, const Call& call, const Tile& tile, int64_t h,
            bool whole_group, float* memory) {
    const AttentionPlan& plan = *bound.plan;
    const AttentionKernels& kernels = bound.of(call);
    const Segment& segment = call.segments[tile.segment];
    const SourceRow& row = call.source_rows[segment.row];
    const Matrix &q = call.slot(kQ), &y = call.slot(kY), &lse = call.slot(kLse);
    const Source &k = call.source(kK), &v = call.source(kV);
    const int64_t token = segment.first + tile.first, t = segment.begin + tile.first;
    const int64_t group = h / plan.group();
    const Source &k_scale = call.source(kKScale), &v_scale = call.source(kVScale);
    // A source without tokens may have no address.
    const auto first = [&](const Source& slot) {
        return slot && row.count > 0 ? slot.at(row.batch, row.first, group) : nullptr;
    };
    const AttentionKeys keys = {0,
                                row.count,
                                first(k),
                                static_cast<ptrdiff_t>(k.strides[1]),
                                first(v),
                                static_cast<ptrdiff_t>(v.strides[1]),
                                reinterpret_cast<const float*>(first(k_scale)),
                                static_cast<ptrdiff_t>(k_scale.strides[1]),
                                reinterpret_cast<const float*>(first(v_scale)),
                                static_cast<ptrdiff_t>(v_scale.strides[1])};
    const PairSlot bias(call.source(kBias), row, t, h), mask(call.source(kMask), row, t, h);
    AttentionArgs a{};
    a.rows = whole_group ? plan.group() : tile.count;
    a.dk = plan.dk;
    a.dv = plan.dv;
    a.q = q.as<float>() + token * q.stride + h * plan.dk;
    a.q_stride = whole_group ? plan.dk : q.stride;
    a.type = key_type(k.dtype);
    a.runs = &keys;
    a.run_count = row.count > 0 ? 1 : 0;
    a.scale = static_cast<float>(plan.scale);
    a.softcap = static_cast<float>(plan.softcap);
    a.position = plan.position(row) + t;
    a.position_step = whole_group ? 0 : 1;
    a.left = plan.left;
    a.right = plan.right;
    a.slopes = call.slot(kAlibi) ? call.slot(kAlibi).as<float>() + h : nullptr;
    a.sinks = call.slot(kSink) ? call.slot(kSink).as<float>() + h : nullptr;
    a.slopes_step = a.sinks_step = whole_group ? 1 : 0;
    a.bias = reinterpret_cast<const float*>(bias.data);
    a.bias_stride = whole_group ? bias.head_stride : bias.token_stride;
    a.mask = reinterpret_cast<const unsigned char*>(mask.data);
    a.mask_stride = whole_group ? mask.head_stride : mask.token_stride;
    a.y = y.as<float>() + token * y.stride + h * plan.dv;
    a.y_stride = whole_group ? plan.dv : y.stride;
    a.lse = lse ? lse.as<float>() + token * lse.stride + h : nullptr;
    a.lse_stride = whole_group ? 1 : lse.stride;
    a.scratch = memory;
    kernels.attend(a);
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const AttentionBound&>(base);
    const AttentionPlan& plan = *bound.plan;
    const AttentionKernels& kernels = bound.of(call);
    const int64_t most = attention_tile_rows(kernels, plan.dk, plan.dv);
    Scratch scratch = call.scratch;
    Tile* tiles = scratch.take<Tile>(call.tokens);
    int64_t count = 0;
    for (int64_t s = 0; s < call.segment_count; ++s) {
        const int64_t tokens = call.segments[s].count;
        for (int64_t first = 0; first < tokens; first += most) {
            tiles[count++] = {s, first, std::min(most, tokens - first)};
        }
    }
    const auto floats = static_cast<int64_t>(
        Scratch::round_up(sizeof(float) *
                          static_cast<size_t>(attention_scratch(kernels, plan.dk, plan.dv))) /
        sizeof(float));
    float* memory = scratch.take<float>(floats * static_cast<int64_t>(call.runner.workers));
    // The last tiles first: where a query sees the keys before it, they are the longest.
    call.parallel_for(count * plan.H, [&](int64_t piece, size_t worker) {
        const Tile& tile = tiles[count - 1 - piece / plan.H];
        const int64_t h = piece % plan.H;
        // A token alone, as in decoding: the heads of a group read their keys once.
        const bool whole_group = tile.count == 1 && call.segments[tile.segment].count == 1;
        if (whole_group && h % plan.group() != 0) {
            return;
        }
        attend(bound, call, tile, h, whole_group, memory + static_cast<int64_t>(worker) * floats);
    });
}

void run_reference(const Bound& base, const Call& call) {
    const AttentionPlan& plan = *static_cast<const AttentionBound&>(base).plan;
    const Matrix &q = call.slot(kQ), &y = call.slot(kY), &lse = call.slot(kLse);
    const Source &k = call.source(kK), &v = call.source(kV);
    const Source &bias = call.source(kBias), &mask = call.source(kMask);
    int64_t most = 0;
    for (int64_t s = 0; s < call.segment_count; ++s) {
        most = std::max(most, call.source_rows[call.segments[s].row].count);
    }
    Scratch scratch = call.scratch;
    const auto each = static_cast<int64_t>(
        Scratch::round_up(sizeof(double) *
                          static_cast<size_t>(ReferenceMemory::count(plan, most))) /
        sizeof(double));
    double* memory = scratch.take<double>(each * static_cast<int64_t>(call.runner.workers));
    call.parallel_for(call.segment_count * plan.H, [&](int64_t piece, size_t worker) {
        const Segment& segment = call.segments[piece / plan.H];
        const SourceRow& row = call.source_rows[segment.row];
        const int64_t h = piece % plan.H, group = h / plan.group();
        const ReferenceMemory own(plan, most, memory + static_cast<int64_t>(worker) * each);
        for (int64_t s = 0; s < row.count; ++s) {
            const auto scale = [&](const Source& slot) {
                return slot ? element_to_f64(slot.at(row.batch, row.first + s, group), slot.dtype)
                            : 1.0;
            };
            const double k_scale = scale(call.source(kKScale));
            const double v_scale = scale(call.source(kVScale));
            for (int64_t d = 0; d < plan.dk; ++d) {
                own.k[s * plan.dk + d] =
                    k_scale * element_to_f64(k.at(row.batch, row.first + s, group, d), k.dtype);
            }
            for (int64_t d = 0; d < plan.dv; ++d) {
                own.v[s * plan.dv + d] =
                    v_scale * element_to_f64(v.at(row.batch, row.first + s, group, d), v.dtype);
            }
        }
        for (int64_t i = 0; i < segment.count; ++i) {
            const int64_t t = segment.begin + i, token = segment.first + i;
            for (int64_t s = 0; s < row.count; ++s) {
                const auto pair = [&](const Source& slot) {
                    const int64_t at = row.target_first + t, from = row.first + s;
                    return element_to_f64(
                        slot.variant == 1 ? slot.at(at, from) : slot.at(row.batch, h, at, from),
                        slot.dtype);
                };
                own.bias[s] = bias ? pair(bias) : 0.0;
                own.mask[s] = mask && pair(mask) == 0.0 ? 0 : 1;
            }
            reference::AttentionRef ref = {
                1,     row.count, plan.dk, plan.dv, q.as<double>() + token * q.stride + h * plan.dk,
                own.k, own.v};
            ref.scale = plan.scale;
            ref.softcap = plan.softcap;
            ref.position = plan.position(row) + t;
            ref.left = plan.left;
            ref.right = plan.right;
            ref.slope = call.slot(kAlibi) ? call.slot(kAlibi).as<double>()[h] : 0.0;
            ref.sink = call.slot(kSink) ? call.slot(kSink).as<double>() + h : nullptr;
            ref.bias = own.bias;
            ref.mask = own.mask;
            ref.y = y.as<double>() + token * y.stride + h * plan.dv;
            ref.lse = lse ? lse.as<double>() + token * lse.stride + h : nullptr;
            reference::attention(ref);
        }
    });
}

// ------------------------------------------------------------------ materialize

LaneInfo lanes(const Plan& base) {
    const auto& plan = static_cast<const AttentionPlan&>(base);
    return {plan.H, plan.dv};
}

// Head `group` of a (tokens, Hk, width) array, by its scales (tokens, Hk) if there are any.
std::vector<double> head_of(const Matrix& all, const Matrix& scales, int64_t tokens, int64_t heads,
                            int64_t width, int64_t group) {
    std::vector<double> head;
    for (int64_t s = 0; s < tokens; ++s) {
        const double scale = scales ? scales.as<double>()[s * heads + group] : 1.0;
        for (int64_t d = 0; d < width; ++d) {
            head.push_back(scale * all.as<double>()[(s * heads + group) * width + d]);
        }
    }
    return head;
}

// Kind 0: the weights. 1: scale q.k; 2: after the softcap; 3: after biases and masks, -inf where hidden.
// y_core is the output, whatever the kind.
void materialize(const Bound& base, const MaterializeCall& call) {
    const AttentionPlan& plan = *static_cast<const AttentionBound&>(base).plan;
    const int64_t S = call.sources;
    std::vector<double> bias(static_cast<size_t>(S));
    std::vector<unsigned char> mask(static_cast<size_t>(S));
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t h = call.lane_first + l, group = h / plan.group();
        const std::vector<double> k =
            head_of(call.slots[kK], call.slots[kKScale], S, plan.Hk, plan.dk, group);
        const std::vector<double> v =
            head_of(call.slots[kV], call.slots[kVScale], S, plan.Hk, plan.dv, group);
        std::copy(v.begin(), v.end(), call.operand + l * S * plan.dv);
        for (int64_t i = 0; i < call.count; ++i) {
            const int64_t t = call.first + i;
            const auto pairs = [&](const Matrix& slot) {
                const int64_t line = slot.variant == 1 ? t : h * call.tokens + t;
                return slot.as<double>() + line * S;
            };
            double* matrix = call.matrix + (l * call.count + i) * S;
            reference::AttentionRef ref = {1,
                                           S,
                                           plan.dk,
                                           plan.dv,
                                           call.slots[kQ].as<double>() + (t * plan.H + h) * plan.dk,
                                           k.data(),
                                           v.data()};
            ref.scale = plan.scale;
            const reference::AttentionRef raw = ref;
            ref.softcap = plan.softcap;
            const reference::AttentionRef capped = ref;
            ref.position = t + plan.position({0, 0, S, 0, call.tokens});
            ref.left = plan.left;
            ref.right = plan.right;
            ref.slope = call.slots[kAlibi] ? call.slots[kAlibi].as<double>()[h] : 0.0;
            ref.sink = call.slots[kSink] ? call.slots[kSink].as<double>() + h : nullptr;
            if (call.slots[kBias]) {
                std::copy_n(pairs(call.slots[kBias]), S, bias.data());
                ref.bias = bias.data();
            }
            if (call.slots[kMask]) {
                std::transform(pairs(call.slots[kMask]), pairs(call.slots[kMask]) + S, mask.begin(),
                               [](double x) { return x != 0 ? 1 : 0; });
                ref.mask = mask.data();
            }
            ref.y = call.core + (l * call.count + i) * plan.dv;
            ref.weights = matrix;
            reference::attention(ref);
            const reference::AttentionRef* kinds[] = {nullptr, &raw, &capped, &ref};
            for (int64_t j = 0; call.kind > 0 && j < S; ++j) {
                matrix[j] = reference::attention_score(*kinds[call.kind], 0, j);
            }
        }
    }
}

}  // namespace

extern const Mixer attention_op_mixer;
const Mixer attention_op_mixer = {
    .schema = &kSchema,
    .describe = describe,
    .bind = bind,
    .scratch = scratch,
    .run = run,
    .run_reference = run_reference,
    .lanes = lanes,
    .materialize = materialize,
    .init = nullptr,
    .check = check,
};

}  // namespace seqmix::mixers
