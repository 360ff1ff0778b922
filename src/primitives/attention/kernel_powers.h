// From scores to the weights of the softmax, where operands are rounded and where not: the same numbers for
// few queries and for tiles. Part of kernel.cpp.
#pragma once

#include "primitives/attention/kernel_blocks.h"
#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// What queries are multiplied with, and what scores are on their way to powers. Where queries are rounded
// the scale comes late, its sign early: bf16 queries are not rounded again.
SEQMIX_INLINE float query_scale(const AttentionArgs& a) {
    return !kRounds ? score_scale(a) : a.scale < 0 ? -1.0f : 1.0f;
}
SEQMIX_INLINE float scores_scale(const AttentionArgs& a) {
    return kRounds ? __builtin_fabsf(score_scale(a)) : 1.0f;
}

// weight_of: 2^x, x <= 1/2. rounded_weight: what of it meets the values.
#if defined(SEQMIX_DOT) || defined(SEQMIX_TILES)
// 2^(y - 1/2) within 7.5e-5: a 25th of what rounding to bf16 does. exp2_fast is 10 to 15 % slower.
SEQMIX_INLINE Vec power(Vec y) {
    const Vec f = floor_fraction(y);
    Vec p = fma(set1(0.0551716748f), f, set1(0.159853612f));
    p = fma(p, f, set1(0.492028616f));
    p = fma(p, f, set1(0.707053903f));
    return scale_exp2(p, y);
}
SEQMIX_INLINE Vec weight_of(Vec x) { return power(x + set1(0.5f)); }
// To the nearest bf16, ties away from zero.
SEQMIX_INLINE Vec rounded_weight(Vec w) {
    return from_bits((bits_of(w) + iset1(0x8000)) & iset1(-65536));
}
#else
SEQMIX_INLINE Vec weight_of(Vec x) { return exp2_fast(x, set1(1.0f)); }
SEQMIX_INLINE Vec rounded_weight(Vec w) { return w; }
#endif

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
