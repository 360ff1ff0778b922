// What attention's layers share: sizes, projections, the cache, and the pass over a step.
#pragma once

#include "contract/linear.h"
#include "mixers/attention/cache.h"
#include "mixers/attention/kernel.h"
#include "mixers/attention/rotary.h"
#include "primitives/norm/kernel.h"

namespace seqmix::mixers {

// Slots and state tensors of every type of the folder.
enum : int32_t {
    kX = 0,
    kY = 1,
    kQkv = 2,  // each weight is followed by its bias
    kQ = 4,
    kK = 6,
    kV = 8,
    kOut = 10,
    kQNorm = 12,
    kKNorm = 13,
    kBiasTable = 14,
    kFactorTable = 15,
    kKeysState = 30
};

struct AttentionPlan : Plan {
    int64_t D, H, Hk, dk, dv;
    bool causal, fused, qk_norm, alibi;
    double scale, softcap, norm_eps;
    int64_t distances = 0;  // of urpe: tables have entries for -distances < j - i < distances
    CacheSizes cache;
    Rotary rotary;

    int64_t q_width() const { return H * dk; }
    int64_t o_width() const { return H * dv; }
    int64_t z_width() const { return H * dk + Hk * (dk + dv); }  // columns q, k, v of a token
    int64_t kernel_floats = 0;                                   // scratch of a worker, any level
};

struct AttentionBound : Bound {
    const AttentionPlan* plan;
    const AttentionKernels* attention;
    const UrpeKernels* urpe;
    const NormKernels* norm;
    const RopeKernels* rope;
    Linear maps[3], out;  // of q, k, v; where they are fused the first is all
    Array<float> q_norm, k_norm, slopes;
    Array<float> bias, factor;  // (H, 2 distances - 1), by j - i
    Array<double> q_norm64, k_norm64, slopes64, bias64, factor64;
    const Weights* weights;
    Allocator allocator;
};

// d_model and heads from the attributes, and all sizes that the tables' symbols name.
Status describe_heads(const char* type, const Attributes& given, AttentionPlan& plan);
// Once the slots are there: those that the attributes switch off go, and the state without a past.
void finish_plan(const Attributes& given, AttentionPlan& plan);

Status bind_layer(const BindCall& call, AttentionBound& bound);
size_t layer_scratch(const Plan& plan, const StepShape& step);
void run_layer(const Bound& bound, const Call& call);
void run_layer_reference(const Bound& bound, const Call& call);
LaneInfo layer_lanes(const Plan& plan);
void layer_materialize(const Bound& bound, const MaterializeCall& call);
void layer_init(const Plan& plan, const Slot& slot, Random& random, double* out);
int64_t layer_state_rows(const Plan& plan, size_t tensor, int64_t position, int64_t tokens);

}  // namespace seqmix::mixers
