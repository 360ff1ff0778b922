// The definition of correct for gemm: y = act(x w^T + bias) + residual in double, plain loops.
// x: (M,K) and w: (N,K) row-major with strides in elements, y: (M,N); bias (N) and residual (M,N)
// may be null. activation: 0 none, 1 silu, 2 softplus.
#pragma once

#include <cstddef>
#include <cstdint>

namespace seqmix::reference {

void gemm(int64_t m, int64_t n, int64_t k, const double* x, ptrdiff_t x_stride, const double* w,
          ptrdiff_t w_stride, const double* bias, const double* residual, ptrdiff_t residual_stride,
          int32_t activation, double* y, ptrdiff_t y_stride);

}  // namespace seqmix::reference
