// The plain loop that gemm is compared with (`vs_plain`); frozen, compiled -O3 -march=native.
// y(m,n) = sum_k x(m,k) w(k,n) in i-k-j order, f32. The weights are (K,N) here: this loop's best
// layout.
#pragma once

#include <cstdint>

namespace seqmix::bench::plain {

// x: (M,K), w: (K,N), y: (M,N), all dense.
void gemm(int64_t m, int64_t n, int64_t k, const float* x, const float* w, float* y);

}  // namespace seqmix::bench::plain
