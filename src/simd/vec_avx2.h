// Vec at level avx2 (AVX2, FMA, F16C): 8 lanes. See vec.h for the vocabulary.
#pragma once

#include <immintrin.h>

#include "base/isa_safe.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kWidth = 8;

struct Vec {
    static constexpr int kWidth = 8;
    __m256 v;
};
struct IVec {
    __m256i v;
};
struct Mask {
    __m256 m;  // all bits of a lane, or none
};

SEQMIX_INLINE Mask first_n(int64_t n) {
    const int count = n >= kWidth ? kWidth : (n <= 0 ? 0 : static_cast<int>(n));
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane))};
}

SEQMIX_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
SEQMIX_INLINE Vec load_m(const float* p, Mask m) {
    return {_mm256_maskload_ps(p, _mm256_castps_si256(m.m))};
}
SEQMIX_INLINE Vec load_n(const float* p, int64_t n) { return load_m(p, first_n(n)); }
SEQMIX_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
SEQMIX_INLINE void store_m(float* p, Vec a, Mask m) {
    _mm256_maskstore_ps(p, _mm256_castps_si256(m.m), a.v);
}
SEQMIX_INLINE void store_n(float* p, Vec a, int64_t n) { store_m(p, a, first_n(n)); }

SEQMIX_INLINE void store_streamed(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
SEQMIX_INLINE void end_streamed() { _mm_sfence(); }

SEQMIX_INLINE Vec set1(float x) { return {_mm256_set1_ps(x)}; }
SEQMIX_INLINE Vec zero() { return {_mm256_setzero_ps()}; }

SEQMIX_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator-(Vec a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
SEQMIX_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec fms(Vec a, Vec b, Vec c) { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
SEQMIX_INLINE Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }

SEQMIX_INLINE Vec reciprocal_fast(Vec a) { return {_mm256_div_ps(_mm256_set1_ps(1.0f), a.v)}; }

SEQMIX_INLINE Mask lt(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
SEQMIX_INLINE Mask le(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
SEQMIX_INLINE Mask gt(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
SEQMIX_INLINE Mask ge(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
SEQMIX_INLINE Mask eq(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
SEQMIX_INLINE bool any(Mask m) { return _mm256_movemask_ps(m.m) != 0; }
SEQMIX_INLINE bool all(Mask m) { return _mm256_movemask_ps(m.m) == 0xff; }
SEQMIX_INLINE Vec select(Mask m, Vec a, Vec b) { return {_mm256_blendv_ps(b.v, a.v, m.m)}; }

SEQMIX_INLINE float reduce_add(Vec a) {
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
SEQMIX_INLINE float reduce_max(Vec a) {
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

// There is no masked access to 16-bit elements at this level: the tail goes through the stack.
SEQMIX_INLINE __m128i load_u16_n(const uint16_t* p, int64_t n) {
    uint16_t lanes[kWidth] = {};
    for (int i = 0; i < kWidth; ++i) {
        if (i < n) lanes[i] = p[i];
    }
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(lanes));
}
SEQMIX_INLINE Vec widen_bf16(__m128i h) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))};
}
SEQMIX_INLINE Vec load_bf16(const uint16_t* p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
SEQMIX_INLINE Vec load_bf16_n(const uint16_t* p, int64_t n) {
    return n >= kWidth ? load_bf16(p) : widen_bf16(load_u16_n(p, n));
}
SEQMIX_INLINE Vec load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
SEQMIX_INLINE Vec load_f16_n(const uint16_t* p, int64_t n) {
    if (n >= kWidth) return load_f16(p);
    return {_mm256_cvtph_ps(load_u16_n(p, n))};
}
SEQMIX_INLINE Vec load_i8_n(const int8_t* p, int64_t n) {
    int64_t lanes = 0;
    __builtin_memcpy(&lanes, p, static_cast<size_t>(n < kWidth ? n : kWidth));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(lanes)))};
}

SEQMIX_INLINE Vec round_nearest(Vec a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

SEQMIX_INLINE IVec bits_of(Vec a) { return {_mm256_castps_si256(a.v)}; }
SEQMIX_INLINE Vec from_bits(IVec a) { return {_mm256_castsi256_ps(a.v)}; }
SEQMIX_INLINE IVec iset1(int32_t x) { return {_mm256_set1_epi32(x)}; }
SEQMIX_INLINE IVec operator+(IVec a, IVec b) { return {_mm256_add_epi32(a.v, b.v)}; }
SEQMIX_INLINE IVec operator-(IVec a, IVec b) { return {_mm256_sub_epi32(a.v, b.v)}; }
SEQMIX_INLINE IVec operator&(IVec a, IVec b) { return {_mm256_and_si256(a.v, b.v)}; }
SEQMIX_INLINE IVec operator|(IVec a, IVec b) { return {_mm256_or_si256(a.v, b.v)}; }
SEQMIX_INLINE IVec operator^(IVec a, IVec b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int kBits>
SEQMIX_INLINE IVec shift_left(IVec a) {
    return {_mm256_slli_epi32(a.v, kBits)};
}
template <int kBits>
SEQMIX_INLINE IVec shift_right(IVec a) {
    return {_mm256_srai_epi32(a.v, kBits)};
}
SEQMIX_INLINE Vec to_float(IVec a) { return {_mm256_cvtepi32_ps(a.v)}; }
SEQMIX_INLINE IVec to_int(Vec a) { return {_mm256_cvtps_epi32(a.v)}; }  // nearest; a must fit
SEQMIX_INLINE Mask ieq(IVec a, IVec b) {
    return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))};
}

// Two factors of 2^(e/2) each: the exponent of one factor alone would not reach all of f32.
SEQMIX_INLINE Vec scale_exp2(Vec a, Vec e) {
    const Vec bounded = max(set1(-252.0f), min(set1(254.0f), round_nearest(e)));
    const IVec whole = to_int(bounded);
    const IVec half = shift_right<1>(whole);
    const IVec bias = iset1(127);
    const Vec low = from_bits(shift_left<23>(half + bias));
    const Vec high = from_bits(shift_left<23>(whole - half + bias));
    return a * low * high;
}

SEQMIX_INLINE Vec reverse(Vec a) {
    return {_mm256_permutevar8x32_ps(a.v, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0))};
}

SEQMIX_INLINE void transpose_quad(__m256& a, __m256& b, __m256& c, __m256& d) {
    const __m256 p = _mm256_unpacklo_ps(a, b);
    const __m256 q = _mm256_unpackhi_ps(a, b);
    const __m256 r = _mm256_unpacklo_ps(c, d);
    const __m256 s = _mm256_unpackhi_ps(c, d);
    a = _mm256_shuffle_ps(p, r, 0x44);
    b = _mm256_shuffle_ps(p, r, 0xee);
    c = _mm256_shuffle_ps(q, s, 0x44);
    d = _mm256_shuffle_ps(q, s, 0xee);
}
SEQMIX_INLINE void transpose_lanes(__m256& a, __m256& b) {
    const __m256 p = _mm256_permute2f128_ps(a, b, 0x20);
    b = _mm256_permute2f128_ps(a, b, 0x31);
    a = p;
}
SEQMIX_INLINE void transpose(Vec (&t)[kWidth]) {
    transpose_quad(t[0].v, t[1].v, t[2].v, t[3].v);
    transpose_quad(t[4].v, t[5].v, t[6].v, t[7].v);
    transpose_lanes(t[0].v, t[4].v);
    transpose_lanes(t[1].v, t[5].v);
    transpose_lanes(t[2].v, t[6].v);
    transpose_lanes(t[3].v, t[7].v);
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
