// Exact attention in blocks, for one head: never a matrix of all queries by all keys.
//
//   s_ij  = scale q_i . k_j;  s_ij = c tanh(s_ij / c) with a softcap c
//   s_ij += -slope |p_i - j| + bias_ij
//   key j is visible to row i if p_i - left <= j <= p_i + right and the mask does not hide it
//   y_i   = sum_j e^{s_ij} v_j / (sum_j e^{s_ij} + e^sink)        over the visible keys
//   lse_i = log of that denominator
//
// p_i is the row's position among the keys: i + Lk - Lq where the last query meets the last key
// (bottom-right). Causal: right = 0. A row that sees no key (and has no sink) gives zeros and -inf.
// Sources: Dao et al. 2022 (FlashAttention) and Milakov & Gimelshein 2018 for the running softmax;
// ALiBi: Press et al. 2022; sinks: an extra logit a head without a value, taken into the maximum.
//
// Lanes are queries: elements of keys and values are broadcast, so that maxima and sums over keys need
// no work across lanes. Up to four queries, as in decoding, have lanes along the columns instead, and
// read keys and values at the memory's speed. Keys come in runs (a ring buffer is two),
// in blocks of kAttentionKeyBlock that begin at multiples of it; blocks that no row sees are skipped,
// masks are looked at where an edge crosses a block. Parallel over rows of the batch, heads and
// blocks of queries, by the caller. A row's bits do not depend on the other rows of its call, only on
// whether there are more than four, and not on that where the call asks for tiles.
// Numerics: f32 accumulation; scores in units of log 2; 2^x within 2.5e-7 (simd/math.h exp2_fast).
//
// Kernels that say `rounds` (avx512 with AVX512-BF16, or with AMX) multiply in bf16, few queries as well:
// queries, keys and values are rounded to it (nearest, ties to even: exact where they are bf16), scores
// and sums are f32 (gemm.h says in which order; subnormals of bf16 count as 0), and so is the softmax, up
// to e^s, which is rounded to nearest before it meets the values; the denominator sums it unrounded. With
// the rounded operands y is within 2^-8 of the largest |v|, lse within 1e-4 (1 + |lse|). 2^x is within
// 7.5e-5; maxima are whole powers of 2, taken anew when scores exceed the last by 2^8. A weight that
// is 0 hides its value, even one that is not finite.
// Two results over disjoint keys merge: L = log(e^L1 + e^L2), y = e^{L1-L} y1 + e^{L2-L} y2.
#pragma once

#include "base/isa.h"
#include "primitives/attention/kernel.h"

namespace seqmix {

// Those that round their operands, where a CPU at this level gains by it; else the level's own.
const AttentionKernels* rounding_attention_kernels(Isa isa);
// attention_scratch() of whichever kernels need most.
int64_t most_attention_scratch(int64_t dk, int64_t dv);

}  // namespace seqmix
