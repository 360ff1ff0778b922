// Matrix product with weights as checkpoints store them (Linear: [out, in]):
//
//   y(m,n) = activation( sum_k x(m,k) w(n,k) + bias(n) ) + residual(m,n)
//
// x (M,K) f32, w (N,K) f32, bf16, f16, q8_0 or i8 with a factor for each row, widened exactly; y (M,N)
// f32.
//
// Numerics. Every sum is one chain, acc = fma(x(m,k), w(n,k), acc) for k = 0, 1, ..., K-1 from
// acc = +0, in f32 (a multiplication and an addition at level generic). There is one accumulator
// per output and the lanes of a vector are outputs. So the bits of y(m,n) depend on row m of x and
// row n of w alone: not on M, N, the place of the row, threads, or which of the kernel's ways is
// taken. The error bound is that of a running sum: K/2 ulp of sum_k |x w|, sqrt(K) typical.
// The factor of an i8 row multiplies the finished sum.
//
// `rounded`, where the kernels say `rounds` (avx512 with AVX512-BF16 and VNNI, or with AMX), multiplies in
// the weights' type; elsewhere the above is done, which is more exact.
// - bf16: x is rounded to bf16 (nearest, ties to even: 2^-9 of each element). vdpbf16ps: a step of the
//   chain adds the products of k+1, then k, by one f32 fma each. AMX: of every 32 steps a chain of the
//   even and one of the odd ones, whose sum is added. Both take subnormals for 0.
// - i8: row m of x is q(m,k) x_scale(m), with x_scale = max_k |x(m,k)| / 127 and q the nearest whole
//   number (half a step: 1/254 of the row's largest). Sums of q w are exact in int32 (K <= 65536; a
//   larger K is done as above). y = (sum q w) (x_scale w_scale), so that it is not finite where the
//   row is not; a row whose largest is below 2^-100 counts as 0.
// A row's bits still depend on that row and on w alone.
//
// Parallel over blocks of (M,N), never over K. The caller runs them in any order through its
// parallel_for and gives each worker its own scratch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "primitives/gemm/kernel.h"

namespace seqmix {

// How y is cut into blocks, all of about the same size, each one item of work.
struct GemmSplit {
    int64_t m, n;             // of y
    int64_t m_step, m_items;  // rows of a block (the last ones may have fewer), blocks along M
    int64_t n_step, n_items;
    int64_t items() const { return m_items * n_items; }
};

// For so many workers (>= 1): one is given the blocks that are fastest, several also smaller ones, as
// long as an item stays worth handing out. No items where y is empty.
GemmSplit gemm_split(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels, size_t workers);

// The block of y that item 0 <= item < items() computes. The blocks tile y.
struct GemmTask {
    int64_t m_begin, m_count;
    int64_t n_begin, n_count;
};
GemmTask gemm_task(const GemmSplit& split, int64_t item);

// Computes one item. `args` describes the whole product; its scratch is the calling worker's.
void gemm_work_item(const GemmArgs& args, const GemmKernels& kernels, const GemmSplit& split,
                    int64_t item);

}  // namespace seqmix
