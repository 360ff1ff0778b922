// The plain attention that `vs_plain` compares with: frozen, f32, libm, three passes over a row of
// scores; compiled -O3 -march=native by the compiler under test.
#pragma once

#include <cstdint>

namespace seqmix::plain {

// y[t][h] = sum_s softmax_s(q[t][h] . k[s][h] / sqrt(d)) v[s][h], over s <= t where causal.
// q, k, v, y: (T,H,d); scores: (T), for the row at hand.
void attention(int64_t T, int64_t H, int64_t d, bool causal, const float* q, const float* k,
               const float* v, float* scores, float* y);

}  // namespace seqmix::plain
