// The plain selective scan that `vs_plain` compares with: frozen, f32, libm, one loop per index;
// compiled -O3 -march=native by the compiler under test.
#pragma once

#include <cstdint>

namespace seqmix::plain {

// for t, d, n:  h[d][n] = exp(dt A[d][n]) h[d][n] + dt B[t][n] u[t][d];  y[t][d] += C[t][n] h[d][n]
// with dt = log(1 + exp(delta[t][d] + bias[d])), and at the end of each (t,d)
// y = (y + D[d] u) z / (1 + exp(-z)).
// u, delta, z, y: (T,D); A, h: (D,N); B, C: (T,N); bias, skip: (D).
void selective_scan(int64_t T, int64_t D, int64_t N, const float* u, const float* delta,
                    const float* bias, const float* A, const float* B, const float* C,
                    const float* skip, const float* z, float* h, float* y);

}  // namespace seqmix::plain
