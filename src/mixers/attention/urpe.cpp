// urpe: attention times a Toeplitz matrix of relative positions; the equation is in attention.h.
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
    {"max_tokens", AttributeType::i64, nullptr, 1, 1 << 20, nullptr,
     "most tokens of a sequence L, which the tables are made for"},
    {"causal", AttributeType::boolean, "true", 0, 0, nullptr,
     "tokens see those before them; false: all of the input, which is then a whole sequence"},
    {"qkv", AttributeType::str, "separate", 0, 0, "separate|fused",
     "one map each, or one whose rows are those of q, k, v"},
    {"qkv_bias", AttributeType::boolean, "true", 0, 0, nullptr, "q, k and v have a bias"},
    {"out_bias", AttributeType::boolean, "true", 0, 0, nullptr, "the output map has a bias"},
    {"scale", AttributeType::f64, "0", 0, 1e6, nullptr, "of the scores; 0 = head_dim^(-1/2)"},
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
    {kBiasTable, "bias_table", Role::weight, false, kWeight, "(distances,H)",
     "b: added to the score of key j for query i; row j - i + L - 1"},
    {kFactorTable, "factor_table", Role::weight, false, kWeight, "(distances,H)",
     "c: factor of the weight; likewise"},
};
constexpr auto kStates = CachePass::states(kKeysState);
constexpr Schema kSchema = {
    "urpe",
    "Attention times a Toeplitz matrix of relative positions",
    "Luo et al. 2022, Your Transformer May Not be as Powerful as You Expect; lsj2408/URPE",
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
    plan->softcap = 0;
    plan->alibi = plan->qk_norm = false;
    const int64_t most = given.i64("max_tokens");
    plan->distances = most;
    plan->cache = CacheSizes::make(plan->Hk * plan->dk, plan->Hk * plan->dv, 0, most);
    plan->sizes["past"] = most;
    plan->sizes["H"] = plan->H;
    plan->sizes["distances"] = 2 * most - 1;
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    plan->max_tokens = most;  // the tables end there, causal or not
    finish_plan(given, *plan);
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<AttentionBound>();
    bound->kernel_name = SEQMIX_KERNEL_NAME("urpe", call.isa);
    SEQMIX_TRY(bind_layer(call, *bound));
    out = std::move(bound);
    return Status();
}

}  // namespace

extern const Mixer urpe_mixer;
const Mixer urpe_mixer = {
    &kSchema,    describe,          bind,       layer_scratch, run_layer,       run_layer_reference,
    layer_lanes, layer_materialize, layer_init, nullptr,       layer_state_rows};

}  // namespace seqmix::mixers
