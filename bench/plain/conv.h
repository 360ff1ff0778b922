// The plain convolution that `vs_plain` compares with: frozen, f32, libm; compiled
// -O3 -march=native by the compiler under test.
#pragma once

#include <cstdint>

namespace seqmix::plain {

// for t, d:  s = bias[d] + sum_{k<4} weight[d][k] x[t-3+k][d];  y[t][d] = s / (1 + exp(-s)) where
// silu is set; inputs before the first token are 0. x, y: (T,D); weight: (D,4); bias: (D).
void conv4(int64_t T, int64_t D, const float* x, const float* weight, const float* bias, bool silu,
           float* y);

}  // namespace seqmix::plain
