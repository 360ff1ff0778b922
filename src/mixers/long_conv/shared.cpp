#include "mixers/long_conv/shared.h"

#include <algorithm>

#include "primitives/long_conv/reference.h"

namespace seqmix::mixers {

void read_long_conv(const Attributes& given, LongConvPlan& plan) {
    plan.attributes = given;
    plan.D = given.i64("d_model");
    plan.K = given.i64("taps");
    plan.sides = given.str("sides") == "causal"      ? LongConvSides::causal
                 : given.str("sides") == "conjugate" ? LongConvSides::conjugate
                                                     : LongConvSides::pad_flip;
    plan.after = 0;
    if (plan.sides != LongConvSides::causal) {
        plan.after = given.i64("after_taps") != 0 ? given.i64("after_taps") : plan.K;
        plan.attributes.set("after_taps", plan.after);
    }
    plan.sizes = {{"D", plan.D}, {"K", plan.K}, {"K2", plan.after}};
}

void drop_state(Plan& plan) {
    plan.states.clear();
    std::erase_if(plan.slots, [](const Slot& slot) {
        return slot.role == Role::state || slot.role == Role::state_in ||
               slot.role == Role::state_out;
    });
    plan.capabilities.stateful = false;
    plan.capabilities.constant_state = true;
    plan.capabilities.causal = false;
}

void long_conv_segment(const LongConvPlan& plan, const LongConvSegment& s) {
    const int64_t D = plan.D, count = s.tokens * D;
    for (int64_t i = 0; i < count; ++i)
        s.v[i] = s.in_gate != nullptr ? s.x[i] * s.in_gate[i] : s.x[i];
    reference::long_conv({.tokens = s.tokens,
                          .channels = D,
                          .taps = plan.K,
                          .k = s.k,
                          .after_taps = plan.after,
                          .after = s.after,
                          .after_from_next = plan.sides == LongConvSides::pad_flip,
                          .past = s.past,
                          .past_rows = s.past_rows,
                          .x = s.v,
                          .y = s.y});
    for (int64_t i = 0; i < count; ++i) {
        if (s.skip != nullptr) s.y[i] += s.skip[i % D] * s.v[i];
        if (s.out_gate != nullptr) s.y[i] *= s.out_gate[i];
    }
}

void long_conv_matrix(const LongConvPlan& plan, const MaterializeCall& call, const double* x,
                      const double* in_gate, const double* k, const double* after,
                      const double* skip) {
    const int64_t T = call.tokens, D = plan.D;
    const int64_t next = plan.sides == LongConvSides::pad_flip ? 1 : 0;
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t d = call.lane_first + l;
        const auto v = [&](int64_t t) {
            return in_gate != nullptr ? x[t * D + d] * in_gate[t * D + d] : x[t * D + d];
        };
        for (int64_t t = 0; t < T; ++t) call.operand[l * T + t] = v(t);
        for (int64_t i = 0; i < call.count; ++i) {
            double core = 0;
            for (int64_t j = 0; j < T; ++j) {
                const int64_t lag = call.first + i - j, ahead = -lag - next;
                double tap = lag >= 0 && lag < plan.K ? k[d * plan.K + lag] : 0.0;
                if (ahead >= 0 && ahead < plan.after) tap += after[d * plan.after + ahead];
                if (lag == 0 && skip != nullptr) tap += skip[d];
                call.matrix[(l * call.count + i) * T + j] = tap;
                core += tap * v(j);
            }
            call.core[l * call.count + i] = core;
        }
    }
}

}  // namespace seqmix::mixers
