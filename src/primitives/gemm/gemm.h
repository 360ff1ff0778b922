// Matrix product with weights as checkpoints store them (Linear: [out, in]):
//
//   y(m,n) = activation( sum_k x(m,k) w(n,k) + bias(n) ) + residual(m,n)
//
// x (M,K) f32, w (N,K) f32, bf16 or f16 widened exactly, y (M,N) f32.
//
// Numerics. Every sum is one chain, acc = fma(x(m,k), w(n,k), acc) for k = 0, 1, ..., K-1 from
// acc = +0, in f32 (a multiplication and an addition at level generic). There is one accumulator
// per output and the lanes of a vector are outputs. So the bits of y(m,n) depend on row m of x and
// row n of w alone: not on M, N, the place of the row, threads, or which of the kernel's ways is
// taken. The error bound is that of a running sum: K/2 ulp of sum_k |x w|, sqrt(K) typical.
//
// Parallel over blocks of (M,N), never over K: the items below depend on shapes only. The caller
// runs them in any order through its parallel_for and gives each worker its own scratch.
#pragma once

#include <cstdint>

#include "primitives/gemm/kernel.h"

namespace seqmix {

// The block of y that one work item computes.
struct GemmTask {
    int64_t m_begin, m_count;
    int64_t n_begin, n_count;
};

// Number of independent items of an (M,N,K) product; 0 where y is empty. About 32 or more of them
// where the product is large enough, each of about 200 kflop or more.
int64_t gemm_work_items(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels);

// The block of item 0 <= item < gemm_work_items(m, n, k, kernels). The blocks tile y.
GemmTask gemm_task(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels, int64_t item);

// Computes one item. `args` describes the whole product; its scratch is the calling worker's.
void gemm_work_item(const GemmArgs& args, const GemmKernels& kernels, int64_t item);

}  // namespace seqmix
