// Vec at level avx512 (F BW DQ VL, with FMA and F16C): 16 lanes. See vec.h for the vocabulary.
#pragma once

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a use of an
// uninitialised variable.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "base/isa_safe.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kWidth = 16;

struct Vec {
    static constexpr int kWidth = 16;
    __m512 v;
};
struct IVec {
    __m512i v;
};
struct Mask {
    __mmask16 m;
};

SEQMIX_INLINE Mask first_n(int64_t n) {
    if (n >= kWidth) return {static_cast<__mmask16>(0xffff)};
    if (n <= 0) return {static_cast<__mmask16>(0)};
    return {static_cast<__mmask16>((1u << static_cast<unsigned>(n)) - 1u)};
}

SEQMIX_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
SEQMIX_INLINE Vec load_m(const float* p, Mask m) { return {_mm512_maskz_loadu_ps(m.m, p)}; }
SEQMIX_INLINE Vec load_n(const float* p, int64_t n) { return load_m(p, first_n(n)); }
SEQMIX_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
SEQMIX_INLINE void store_m(float* p, Vec a, Mask m) { _mm512_mask_storeu_ps(p, m.m, a.v); }
SEQMIX_INLINE void store_n(float* p, Vec a, int64_t n) { store_m(p, a, first_n(n)); }

SEQMIX_INLINE void store_streamed(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
SEQMIX_INLINE void end_streamed() { _mm_sfence(); }

SEQMIX_INLINE Vec set1(float x) { return {_mm512_set1_ps(x)}; }
SEQMIX_INLINE Vec zero() { return {_mm512_setzero_ps()}; }

SEQMIX_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec operator-(Vec a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
SEQMIX_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec fms(Vec a, Vec b, Vec c) { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
SEQMIX_INLINE Vec abs(Vec a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
SEQMIX_INLINE Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }

// 1 / a within 1.3e-7 (relative) for |a| in [1, 2^126): 14 bits and one Newton step, shorter
// than the division.
SEQMIX_INLINE Vec reciprocal_fast(Vec a) {
    const __m512 guess = _mm512_rcp14_ps(a.v);
    const __m512 error = _mm512_fnmadd_ps(guess, a.v, _mm512_set1_ps(1.0f));
    return {_mm512_fmadd_ps(guess, error, guess)};
}

SEQMIX_INLINE Mask lt(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
SEQMIX_INLINE Mask le(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
SEQMIX_INLINE Mask gt(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
SEQMIX_INLINE Mask ge(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
SEQMIX_INLINE Mask eq(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
SEQMIX_INLINE bool any(Mask m) { return m.m != 0; }
SEQMIX_INLINE bool all(Mask m) { return m.m == 0xffff; }
SEQMIX_INLINE Vec select(Mask m, Vec a, Vec b) { return {_mm512_mask_blend_ps(m.m, b.v, a.v)}; }

SEQMIX_INLINE float reduce_add(Vec a) {
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
SEQMIX_INLINE float reduce_max(Vec a) {
    __m256 s = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

SEQMIX_INLINE Vec widen_bf16(__m256i h) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))};
}
SEQMIX_INLINE Vec load_bf16(const uint16_t* p) {
    return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
SEQMIX_INLINE Vec load_bf16_n(const uint16_t* p, int64_t n) {
    return widen_bf16(_mm256_maskz_loadu_epi16(first_n(n).m, p));
}
SEQMIX_INLINE Vec load_f16(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
SEQMIX_INLINE Vec load_f16_n(const uint16_t* p, int64_t n) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_n(n).m, p))};
}
SEQMIX_INLINE Vec load_i8_n(const int8_t* p, int64_t n) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_n(n).m, p)))};
}

SEQMIX_INLINE Vec round_nearest(Vec a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a - floor(a), rounded down, in [0,1); 0 at +-inf.
SEQMIX_INLINE Vec floor_fraction(Vec a) {
    return {_mm512_reduce_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
SEQMIX_INLINE Vec scale_exp2(Vec a, Vec e) { return {_mm512_scalef_ps(a.v, e.v)}; }

// Fixes an order for compilers: what comes before makes all of these, what comes after uses them.
SEQMIX_INLINE void keep_together(Vec (&)[1]) {}
SEQMIX_INLINE void keep_together(Vec (&a)[2]) { asm("" : "+v"(a[0].v), "+v"(a[1].v)); }

SEQMIX_INLINE IVec bits_of(Vec a) { return {_mm512_castps_si512(a.v)}; }
SEQMIX_INLINE Vec from_bits(IVec a) { return {_mm512_castsi512_ps(a.v)}; }
SEQMIX_INLINE IVec iset1(int32_t x) { return {_mm512_set1_epi32(x)}; }
SEQMIX_INLINE IVec operator+(IVec a, IVec b) { return {_mm512_add_epi32(a.v, b.v)}; }
SEQMIX_INLINE IVec operator-(IVec a, IVec b) { return {_mm512_sub_epi32(a.v, b.v)}; }
SEQMIX_INLINE IVec operator&(IVec a, IVec b) { return {_mm512_and_si512(a.v, b.v)}; }
SEQMIX_INLINE IVec operator|(IVec a, IVec b) { return {_mm512_or_si512(a.v, b.v)}; }
SEQMIX_INLINE IVec operator^(IVec a, IVec b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
SEQMIX_INLINE IVec shift_left(IVec a) {
    return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
SEQMIX_INLINE IVec shift_right(IVec a) {
    return {_mm512_srai_epi32(a.v, kBits)};
}
SEQMIX_INLINE Vec to_float(IVec a) { return {_mm512_cvtepi32_ps(a.v)}; }
SEQMIX_INLINE IVec to_int(Vec a) { return {_mm512_cvtps_epi32(a.v)}; }  // nearest; a must fit
SEQMIX_INLINE Mask ieq(IVec a, IVec b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }

SEQMIX_INLINE Vec reverse(Vec a) {
    const __m512i lanes = _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return {_mm512_permutexvar_ps(lanes, a.v)};
}

// Two rounds inside 128-bit lanes (4x4 blocks), then two rounds that move whole lanes.
SEQMIX_INLINE void transpose_quad(__m512& a, __m512& b, __m512& c, __m512& d) {
    const __m512 p = _mm512_unpacklo_ps(a, b);
    const __m512 q = _mm512_unpackhi_ps(a, b);
    const __m512 r = _mm512_unpacklo_ps(c, d);
    const __m512 s = _mm512_unpackhi_ps(c, d);
    a = _mm512_shuffle_ps(p, r, 0x44);
    b = _mm512_shuffle_ps(p, r, 0xee);
    c = _mm512_shuffle_ps(q, s, 0x44);
    d = _mm512_shuffle_ps(q, s, 0xee);
}
SEQMIX_INLINE void transpose_lanes(__m512& a, __m512& b, __m512& c, __m512& d) {
    const __m512 p = _mm512_shuffle_f32x4(a, b, 0x44);
    const __m512 q = _mm512_shuffle_f32x4(c, d, 0x44);
    const __m512 r = _mm512_shuffle_f32x4(a, b, 0xee);
    const __m512 s = _mm512_shuffle_f32x4(c, d, 0xee);
    a = _mm512_shuffle_f32x4(p, q, 0x88);
    b = _mm512_shuffle_f32x4(p, q, 0xdd);
    c = _mm512_shuffle_f32x4(r, s, 0x88);
    d = _mm512_shuffle_f32x4(r, s, 0xdd);
}
SEQMIX_INLINE void transpose(Vec (&t)[kWidth]) {
    transpose_quad(t[0].v, t[1].v, t[2].v, t[3].v);
    transpose_quad(t[4].v, t[5].v, t[6].v, t[7].v);
    transpose_quad(t[8].v, t[9].v, t[10].v, t[11].v);
    transpose_quad(t[12].v, t[13].v, t[14].v, t[15].v);
    // t[4*i+j] holds columns j, j+4, j+8, j+12 of rows 4*i..4*i+3, one 128-bit lane each.
    transpose_lanes(t[0].v, t[4].v, t[8].v, t[12].v);
    transpose_lanes(t[1].v, t[5].v, t[9].v, t[13].v);
    transpose_lanes(t[2].v, t[6].v, t[10].v, t[14].v);
    transpose_lanes(t[3].v, t[7].v, t[11].v, t[15].v);
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
