// Cases of selective_scan_op: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

// Operation counts, per state update (one token, one channel, one state), in instructions for the
// FMA pipes. AVX-512, 9 for 16 updates: the exponent dt*A (1), a polynomial of degree 5 (5), dt*u*B
// (1), h = a*h + that (1), y += C*h (1). vreduceps and vscalefps issue beside them or, on Intel's
// cores, in the same two pipes: 11 there, and of_limit can reach 0.82. AVX2, 13 for 8:
// the reduction takes 2 (add the rounding constant, subtract), clamping 2.
constexpr double kSlotsPerUpdate16 = 9.0 / 16, kSlotsPerUpdate8 = 13.0 / 8;
// Per (token, channel) of the fused form: softplus 16 (exp 6, log1p 8, maximum and sum 2), gate 13
// (bound 1, exp 6, 1 + it, reciprocal with a Newton step 3, products 2), skip 1, bias 1, dt*u 1.
constexpr double kFusedSlots = 32;

// exp counted as 8 flops (product, and the polynomial as 5 multiply-adds less its constant).
constexpr double kFlopsPerUpdate = 16;

constexpr Work scan(double b, double t, double d, double n, bool fused) {
    const double updates = b * t * d * n, elements = b * t * d;
    return {.flops = updates * kFlopsPerUpdate + (fused ? elements * 2 * kFusedSlots : 0),
            // u, delta, y (and z) once, B and C once, the state in and out.
            .bytes = 4 * (elements * (fused ? 4 : 3) + 2 * b * t * n + 2 * b * d * n),
            .slots_avx512 = updates * kSlotsPerUpdate16 + (fused ? elements * kFusedSlots / 16 : 0),
            .slots_avx2 = updates * kSlotsPerUpdate8 + (fused ? elements * kFusedSlots / 8 : 0)};
}

const std::vector<const char*> kPlain = {"D", "z", "delta_bias"};

BenchShape fused(const char* name, const char* attributes, int64_t b, int64_t t, int64_t d,
                 int64_t n) {
    return {.name = name,
            .phase = t == 1 ? "decode" : "prefill",
            .attributes = attributes,
            .shape = {b, t},
            .alternatives = {{"B", 1}, {"C", 1}},
            .work = scan(static_cast<double>(b), static_cast<double>(t), static_cast<double>(d),
                         static_cast<double>(n), true),
            .plain = {"scan", d, n}};
}

}  // namespace

extern const MixerCases selective_scan_op_cases;
const MixerCases selective_scan_op_cases = {
    .type = "selective_scan_op",
    .symbols = {{"G", "groups"}},
    // Decays from almost none to complete: dt = softplus(delta) in (0.006, 1.9), dt*A in (-15, 0).
    .ranges = {{"delta", -4.0, 1.0},
               {"delta_bias", -1.0, 0.5},
               {"A", -8.0, -0.01},
               {"D", -1.5, 1.5},
               {"z", -4.0, 4.0}},
    .cases =
        {
            {.name = "n1",
             .attributes = R"({"d_inner":24,"d_state":1,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "n8",
             .attributes = R"({"d_inner":33,"d_state":8,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "n16",
             .attributes = R"({"d_inner":40,"d_state":16,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "n24",
             .attributes = R"({"d_inner":17,"d_state":24,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "n64",
             .attributes = R"({"d_inner":9,"d_state":64,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "d1531",
             .attributes = R"({"d_inner":1531,"d_state":16,"delta_softplus":true})",
             .shapes = {{1, 7}, {2, 3}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "constant_b_c",
             .attributes = R"({"d_inner":20,"d_state":16,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
            {.name = "constant_b",
             .attributes = R"({"d_inner":19,"d_state":5,"delta_softplus":true})",
             .shapes = {{2, 7}, {2, 64}},
             .alternatives = {{"C", 1}}},
            {.name = "constant_c",
             .attributes = R"({"d_inner":19,"d_state":5,"delta_softplus":true})",
             .shapes = {{2, 7}, {2, 64}},
             .alternatives = {{"B", 1}}},
            {.name = "grouped",
             .attributes = R"({"d_inner":64,"d_state":16,"groups":4,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .alternatives = {{"B", 2}, {"C", 2}}},
            {.name = "grouped_odd",  // 13 channels in a group: no group starts at a vector
             .attributes = R"({"d_inner":39,"d_state":8,"groups":3,"delta_softplus":true})",
             .shapes = {{2, 7}, {2, 64}},
             .alternatives = {{"B", 2}, {"C", 2}}},
            {.name = "core",
             .attributes = R"({"d_inner":21,"d_state":16,"delta_softplus":false})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}},
             .absent = kPlain,
             .alternatives = {{"B", 1}, {"C", 1}},
             .ranges = {{"delta", 0.001, 0.8}},
             .core_is_output = true},
            {.name = "core_constant_skip",
             .attributes = R"({"d_inner":6,"d_state":3,"delta_softplus":true})",
             .shapes = {{2, 7}, {2, 64}},
             .absent = {"z"},
             .core_is_output = true},
            {.name = "growing",  // A of either sign: nothing may count on decay
             .attributes = R"({"d_inner":18,"d_state":16,"delta_softplus":false})",
             .shapes = {{2, 7}, {1, 33}},
             .absent = {"z"},
             .alternatives = {{"B", 1}, {"C", 1}},
             .ranges = {{"A", -1.0, 0.3}, {"delta", -0.1, 0.5}}},
            {.name = "large_delta",  // softplus is the identity above 20, decays underflow
             .attributes = R"({"d_inner":18,"d_state":16,"delta_softplus":true})",
             .shapes = {{2, 7}, {1, 33}},
             .alternatives = {{"B", 1}, {"C", 1}},
             .ranges = {{"delta", -30.0, 30.0}}},
            {.name = "reverse",
             .attributes = R"({"d_inner":34,"d_state":16,"delta_softplus":true,"reverse":true})",
             .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {1, 1100}},
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "reverse_grouped",
             .attributes =
                 R"({"d_inner":10,"d_state":4,"groups":2,"delta_softplus":true,"reverse":true})",
             .shapes = {{2, 7}, {2, 64}},
             .alternatives = {{"B", 2}, {"C", 2}}},
        },
    .sweeps =
        {
            {.name = "channels",
             .attributes = R"({"d_inner":$,"d_state":16,"delta_softplus":true})",
             .alternatives = {{"B", 1}, {"C", 1}}},
            {.name = "channels of constant B and C",
             .attributes = R"({"d_inner":$,"d_state":3,"delta_softplus":true})"},
            {.name = "states",
             .attributes = R"({"d_inner":5,"d_state":$,"delta_softplus":false})",
             .alternatives = {{"B", 1}, {"C", 1}},
             .ranges = {{"delta", 0.001, 0.8}, {"delta_bias", 0.0, 0.2}}},
            {.name = "states of two groups",
             .attributes = R"({"d_inner":18,"d_state":$,"groups":2,"delta_softplus":true})",
             .alternatives = {{"B", 2}, {"C", 2}}},
        },
    .long_runs = {{.name = "decay near 1",
                   .attributes = R"({"d_inner":3,"d_state":4,"delta_softplus":false})",
                   .shapes = {{1, 65536}},
                   .absent = {"z"},
                   .alternatives = {{"B", 1}, {"C", 1}},
                   .ranges = {{"A", -1.0, -0.1}, {"delta", 1e-4, 2e-3}, {"delta_bias", 0.0, 1e-4}},
                   .tolerance = {3e-5,
                                 "a state in f32 under decays of 1 - 1e-4 gathers the rounding of "
                                 "some 10,000 tokens, half a unit each"}},
                  {.name = "constant B and C",
                   .attributes = R"({"d_inner":3,"d_state":4,"delta_softplus":true})",
                   .shapes = {{1, 65536}},
                   .ranges = {{"A", -1.0, -0.1}, {"delta", -8.0, -6.0}, {"delta_bias", -0.5, 0.0}},
                   .tolerance = {3e-5,
                                 "a state in f32 under decays of 1 - 1e-4 gathers the rounding of "
                                 "some 10,000 tokens, half a unit each"}}},
    .blocks = {16, 32, 64, 128, 256},
    .lanes = "d_inner",
    .benches =
        {
            {.name = "B1_T2048_D1536_N16",
             .phase = "core",
             .attributes = R"({"d_inner":1536,"d_state":16,"delta_softplus":false})",
             .shape = {1, 2048},
             .absent = kPlain,
             .alternatives = {{"B", 1}, {"C", 1}},
             .work = scan(1, 2048, 1536, 16, false),
             .plain = {"scan", 1536, 16}},
            fused("B1_T2048_D1536_N16", R"({"d_inner":1536,"d_state":16,"delta_softplus":true})", 1,
                  2048, 1536, 16),
            fused("B1_T1_D1536_N16", R"({"d_inner":1536,"d_state":16,"delta_softplus":true})", 1, 1,
                  1536, 16),
            fused("B1_T2048_D1536_N1", R"({"d_inner":1536,"d_state":1,"delta_softplus":true})", 1,
                  2048, 1536, 1),
            fused("B1_T2048_D1536_N8", R"({"d_inner":1536,"d_state":8,"delta_softplus":true})", 1,
                  2048, 1536, 8),
            fused("B1_T2048_D1536_N24", R"({"d_inner":1536,"d_state":24,"delta_softplus":true})", 1,
                  2048, 1536, 24),
            fused("B1_T2048_D1536_N64", R"({"d_inner":1536,"d_state":64,"delta_softplus":true})", 1,
                  2048, 1536, 64),
            fused("B1_T2048_D1531_N16", R"({"d_inner":1531,"d_state":16,"delta_softplus":true})", 1,
                  2048, 1531, 16),
            fused("B8_T256_D1536_N16", R"({"d_inner":1536,"d_state":16,"delta_softplus":true})", 8,
                  256, 1536, 16),
            fused("B1_T65536_D64_N16", R"({"d_inner":64,"d_state":16,"delta_softplus":true})", 1,
                  65536, 64, 16),
        },
};

}  // namespace seqmix::mixers
