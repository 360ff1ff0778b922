// What long_conv_op and long_conv share: sides, gates, sums in double, the mixing matrix.
#pragma once

#include "contract/mixer.h"
#include "primitives/long_conv/kernel.h"
#include "primitives/long_conv/long_conv.h"

namespace seqmix::mixers {

struct LongConvPlan : Plan {
    int64_t D, K, after;  // after: taps of the second filter, 0 where causal
    LongConvSides sides;
    LongConvShape shape() const {
        return {.channels = D, .taps = K, .after = after, .length = K, .sides = sides};
    }
};

// Reads d_model, taps, after_taps and sides. Two-sided: not causal and without a state.
void read_long_conv(const Attributes& given, LongConvPlan& plan);
void drop_state(Plan& plan);

// One segment in double: x, gates, y (T,D) dense; v (T,D) is scratch; filters (D,K), (D,after); skip
// (D) and gates may be null.
struct LongConvSegment {
    int64_t tokens;
    const double *x, *in_gate, *out_gate, *k, *after, *skip;
    const double* past;  // gated, (past_rows,D)
    int64_t past_rows;
    double *v, *y;
};
void long_conv_segment(const LongConvPlan& plan, const LongConvSegment& segment);

// M, v and y_core of the convolution with its skip, between the gates.
void long_conv_matrix(const LongConvPlan& plan, const MaterializeCall& call, const double* x,
                      const double* in_gate, const double* k, const double* after,
                      const double* skip);

}  // namespace seqmix::mixers
