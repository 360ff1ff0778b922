#include "mixers/attention/attention.h"

#include "mixers/attention/layer.h"

namespace seqmix::mixers {
namespace {

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"n_heads", AttributeType::i64, nullptr, 1, 65536, nullptr, "query heads H"},
    {"n_kv_heads", AttributeType::i64, "0", 0, 65536, nullptr,
     "heads of keys and values, a divisor of n_heads; 0 = n_heads"},
    {"head_dim", AttributeType::i64, "0", 0, 65536, nullptr,
     "width of a query and key head; 0 = d_model / n_heads"},
    {"v_head_dim", AttributeType::i64, "0", 0, 65536, nullptr, "of a value head; 0 = head_dim"},
    {"causal", AttributeType::boolean, "true", 0, 0, nullptr,
     "tokens see those before them; false: all of the input, which is then a whole sequence"},
    {"window", AttributeType::i64, "0", 0, 1 << 20, nullptr,
     "keys that a token sees, itself included; 0 = all before it"},
    {"max_tokens", AttributeType::i64, "4096", 1, kMaxSize, nullptr,
     "most tokens of a sequence, without a window"},
    {"qkv", AttributeType::str, "separate", 0, 0, "separate|fused",
     "one map each, or one whose rows are those of q, k, v"},
    {"qkv_bias", AttributeType::boolean, "false", 0, 0, nullptr, "q, k and v have a bias"},
    {"out_bias", AttributeType::boolean, "false", 0, 0, nullptr, "the output map has a bias"},
    {"qk_norm", AttributeType::str, "none", 0, 0, "none|rms", "norm of each query and key head"},
    {"qk_norm_eps", AttributeType::f64, "1e-6", 0, 1, nullptr, "its epsilon"},
    {"scale", AttributeType::f64, "0", 0, 1e6, nullptr, "of the scores; 0 = head_dim^(-1/2)"},
    {"softcap", AttributeType::f64, "0", 0, 1e6, nullptr,
     "scores s become c tanh(s / c); 0 = they do not"},
    {"alibi", AttributeType::boolean, "false", 0, 0, nullptr,
     "scores less slope |i - j|, with the slopes of its authors"},
    {"rotary", AttributeType::str, "none", 0, 0, "none|half|interleaved",
     "rotary embedding: pairs (i, i + r/2), or (2i, 2i + 1)"},
    {"rotary_dim", AttributeType::i64, "0", 0, 65536, nullptr,
     "columns r of a head that are rotated; 0 = head_dim"},
    {"rope_theta", AttributeType::f64, "10000", 1, 1e30, nullptr, "base of the frequencies"},
    {"rope_scaling", AttributeType::str, "none", 0, 0, "none|linear|dynamic|llama3|yarn|longrope",
     "of the frequencies, for long contexts"},
    {"rope_factor", AttributeType::f64, "1", 1e-6, 1e9, nullptr, "of the scaling"},
    {"rope_original_length", AttributeType::i64, "0", 0, kMaxSize, nullptr,
     "tokens M that the model was trained on before it was scaled"},
    {"rope_low_freq_factor", AttributeType::f64, "1", 0, 1e9, nullptr, "of llama3"},
    {"rope_high_freq_factor", AttributeType::f64, "4", 0, 1e9, nullptr, "of llama3, above the low"},
    {"rope_beta_fast", AttributeType::f64, "32", 1e-9, 1e9, nullptr, "of yarn: turns within M"},
    {"rope_beta_slow", AttributeType::f64, "1", 1e-9, 1e9, nullptr, "of yarn: turns within M"},
    {"rope_truncate", AttributeType::boolean, "true", 0, 0, nullptr,
     "of yarn: borders are whole pairs"},
    {"rope_attention_factor", AttributeType::f64, "0", 0, 1e9, nullptr,
     "of yarn and longrope: factor of cosines and sines; 0 = made from the others"},
    {"rope_mscale", AttributeType::f64, "0", 0, 1e9, nullptr, "of yarn"},
    {"rope_mscale_all_dim", AttributeType::f64, "0", 0, 1e9, nullptr, "of yarn"},
    {"rope_short_factors", AttributeType::f64s, "", 0, 0, nullptr,
     "of longrope: divisors of the frequencies up to token M"},
    {"rope_long_factors", AttributeType::f64s, "", 0, 0, nullptr, "of longrope: beyond it"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kQkv, "qkv.weight", Role::weight, false, kWeight, "(z_width,D)", "rows of q, k, v"},
    {kQkv + 1, "qkv.bias", Role::weight, false, kWeight, "(z_width)", "its bias"},
    {kQ, "q.weight", Role::weight, false, kWeight, "(q_width,D)", "map of queries, head by head"},
    {kQ + 1, "q.bias", Role::weight, false, kWeight, "(q_width)", "its bias"},
    {kK, "k.weight", Role::weight, false, kWeight, "(k_width,D)", "map of keys"},
    {kK + 1, "k.bias", Role::weight, false, kWeight, "(k_width)", "its bias"},
    {kV, "v.weight", Role::weight, false, kWeight, "(v_width,D)", "map of values"},
    {kV + 1, "v.bias", Role::weight, false, kWeight, "(v_width)", "its bias"},
    {kOut, "out.weight", Role::weight, false, kWeight, "(D,o_width)", "output map"},
    {kOut + 1, "out.bias", Role::weight, false, kWeight, "(D)", "its bias"},
    {kQNorm, "q_norm.weight", Role::weight, false, kWeight, "(dk)", "scale of the norm of q"},
    {kKNorm, "k_norm.weight", Role::weight, false, kWeight, "(dk)", "scale of the norm of k"},
};
constexpr auto kStates = CachePass::states(kKeysState);
constexpr Schema kSchema = {
    "attention",
    "Softmax attention with projections, QK norm, rotary embedding, cache of keys and values",
    "Vaswani et al. 2017; Dao et al. 2022, FlashAttention; Su et al. 2021, RoFormer",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .constant_state = false, .materialize = true},
    512,
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<AttentionPlan>();
    SEQMIX_TRY(describe_heads(kSchema.type, given, *plan));
    const int64_t window = given.i64("window");
    if (window > 0 && !plan->causal) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": window is ", window,
                    " and causal is false, expected a window of causal attention only");
    }
    if (given.f64("rope_low_freq_factor") >= given.f64("rope_high_freq_factor")) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, kSchema.type, ": rope_low_freq_factor is ",
                    given.f64("rope_low_freq_factor"), ", expected below rope_high_freq_factor");
    }
    plan->softcap = given.f64("softcap");
    plan->alibi = given.flag("alibi");
    plan->qk_norm = given.str("qk_norm") == "rms";
    plan->norm_eps = given.f64("qk_norm_eps");
    SEQMIX_TRY(plan->rotary.read(kSchema.type, given, plan->dk));
    plan->cache =
        CacheSizes::make(plan->Hk * plan->dk, plan->Hk * plan->dv, window, given.i64("max_tokens"));
    plan->sizes["past"] = plan->cache.lines;
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    plan->max_tokens = window > 0 || !plan->causal ? 0 : plan->cache.lines;
    if (!plan->qk_norm) {
        remove_slot(*plan, "q_norm.weight");
        remove_slot(*plan, "k_norm.weight");
    }
    finish_plan(given, *plan);
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<AttentionBound>();
    bound->kernel_name = SEQMIX_KERNEL_NAME("attention", call.isa);
    SEQMIX_TRY(bind_layer(call, *bound));
    out = std::move(bound);
    return Status();
}

}  // namespace

extern const Mixer attention_mixer;
const Mixer attention_mixer = {
    &kSchema,    describe,          bind,       layer_scratch, run_layer,       run_layer_reference,
    layer_lanes, layer_materialize, layer_init, nullptr,       layer_state_rows};

}  // namespace seqmix::mixers
