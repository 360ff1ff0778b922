// Vec at level generic: 4 lanes on the compiler's vector extension, for any architecture; no
// fused multiply-add (a libm call where the hardware has none). See vec.h for the vocabulary.
#pragma once

#include "base/isa_safe.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kWidth = 4;

typedef float F32Lanes __attribute__((vector_size(16)));
typedef int32_t I32Lanes __attribute__((vector_size(16)));

struct Vec {
    static constexpr int kWidth = 4;
    F32Lanes v;
};
struct IVec {
    I32Lanes v;
};
struct Mask {
    I32Lanes m;  // -1 or 0
};

SEQMIX_INLINE IVec bits_of(Vec a) { return {reinterpret_cast<I32Lanes>(a.v)}; }
SEQMIX_INLINE Vec from_bits(IVec a) { return {reinterpret_cast<F32Lanes>(a.v)}; }

SEQMIX_INLINE Mask first_n(int64_t n) {
    const int32_t count = n >= kWidth ? kWidth : (n <= 0 ? 0 : static_cast<int32_t>(n));
    const I32Lanes lane = {0, 1, 2, 3};
    const I32Lanes bound = {count, count, count, count};
    return {lane < bound};
}

SEQMIX_INLINE Vec load(const float* p) {
    Vec a;
    __builtin_memcpy(&a.v, p, sizeof a.v);
    return a;
}
SEQMIX_INLINE void store(float* p, Vec a) { __builtin_memcpy(p, &a.v, sizeof a.v); }
SEQMIX_INLINE Vec load_n(const float* p, int64_t n) {
    if (n >= kWidth) return load(p);
    return {F32Lanes{n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f}};
}
SEQMIX_INLINE void store_n(float* p, Vec a, int64_t n) {
    if (n >= kWidth) {
        store(p, a);
        return;
    }
    if (n > 0) p[0] = a.v[0];
    if (n > 1) p[1] = a.v[1];
    if (n > 2) p[2] = a.v[2];
}
SEQMIX_INLINE Vec load_m(const float* p, Mask m) {
    if (m.m[3] != 0) return load(p);
    return {F32Lanes{m.m[0] != 0 ? p[0] : 0.0f, m.m[1] != 0 ? p[1] : 0.0f,
                     m.m[2] != 0 ? p[2] : 0.0f, 0.0f}};
}
SEQMIX_INLINE void store_m(float* p, Vec a, Mask m) {
    if (m.m[3] != 0) {
        store(p, a);
        return;
    }
    if (m.m[0] != 0) p[0] = a.v[0];
    if (m.m[1] != 0) p[1] = a.v[1];
    if (m.m[2] != 0) p[2] = a.v[2];
}

SEQMIX_INLINE void store_streamed(float* p, Vec a) { store(p, a); }
SEQMIX_INLINE void end_streamed() {}

SEQMIX_INLINE Vec set1(float x) { return {F32Lanes{x, x, x, x}}; }
SEQMIX_INLINE Vec zero() { return set1(0.0f); }
SEQMIX_INLINE IVec iset1(int32_t x) { return {I32Lanes{x, x, x, x}}; }

SEQMIX_INLINE IVec operator+(IVec a, IVec b) { return {a.v + b.v}; }
SEQMIX_INLINE IVec operator-(IVec a, IVec b) { return {a.v - b.v}; }
SEQMIX_INLINE IVec operator&(IVec a, IVec b) { return {a.v & b.v}; }
SEQMIX_INLINE IVec operator|(IVec a, IVec b) { return {a.v | b.v}; }
SEQMIX_INLINE IVec operator^(IVec a, IVec b) { return {a.v ^ b.v}; }
template <int kBits>
SEQMIX_INLINE IVec shift_left(IVec a) {
    return {a.v << kBits};
}
template <int kBits>
SEQMIX_INLINE IVec shift_right(IVec a) {
    return {a.v >> kBits};
}
SEQMIX_INLINE Mask ieq(IVec a, IVec b) { return {a.v == b.v}; }

SEQMIX_INLINE Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
SEQMIX_INLINE Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
SEQMIX_INLINE Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
SEQMIX_INLINE Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
SEQMIX_INLINE Vec operator-(Vec a) { return from_bits(bits_of(a) ^ iset1(INT32_MIN)); }
SEQMIX_INLINE Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
SEQMIX_INLINE Vec fms(Vec a, Vec b, Vec c) { return {a.v * b.v - c.v}; }
SEQMIX_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }
SEQMIX_INLINE Vec abs(Vec a) { return from_bits(bits_of(a) & iset1(INT32_MAX)); }

SEQMIX_INLINE Mask lt(Vec a, Vec b) { return {a.v < b.v}; }
SEQMIX_INLINE Mask le(Vec a, Vec b) { return {a.v <= b.v}; }
SEQMIX_INLINE Mask gt(Vec a, Vec b) { return {a.v > b.v}; }
SEQMIX_INLINE Mask ge(Vec a, Vec b) { return {a.v >= b.v}; }
SEQMIX_INLINE Mask eq(Vec a, Vec b) { return {a.v == b.v}; }
SEQMIX_INLINE bool any(Mask m) { return ((m.m[0] | m.m[1]) | (m.m[2] | m.m[3])) != 0; }
SEQMIX_INLINE bool all(Mask m) { return ((m.m[0] & m.m[1]) & (m.m[2] & m.m[3])) != 0; }
SEQMIX_INLINE Vec select(Mask m, Vec a, Vec b) {
    return from_bits({(m.m & bits_of(a).v) | (~m.m & bits_of(b).v)});
}
SEQMIX_INLINE Vec min(Vec a, Vec b) { return select(lt(a, b), a, b); }
SEQMIX_INLINE Vec max(Vec a, Vec b) { return select(gt(a, b), a, b); }
SEQMIX_INLINE Vec reciprocal_fast(Vec a) { return set1(1.0f) / a; }
SEQMIX_INLINE Vec sqrt(Vec a) {
    return {F32Lanes{__builtin_sqrtf(a.v[0]), __builtin_sqrtf(a.v[1]), __builtin_sqrtf(a.v[2]),
                     __builtin_sqrtf(a.v[3])}};
}

SEQMIX_INLINE float reduce_add(Vec a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
SEQMIX_INLINE float reduce_max(Vec a) {
    const float p = a.v[0] > a.v[2] ? a.v[0] : a.v[2];
    const float q = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
    return p > q ? p : q;
}

SEQMIX_INLINE Vec to_float(IVec a) { return {__builtin_convertvector(a.v, F32Lanes)}; }
SEQMIX_INLINE IVec load_u16(const uint16_t* p) { return {I32Lanes{p[0], p[1], p[2], p[3]}}; }
SEQMIX_INLINE IVec load_u16_n(const uint16_t* p, int64_t n) {
    if (n >= kWidth) return load_u16(p);
    return {I32Lanes{n > 0 ? p[0] : 0, n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, 0}};
}
SEQMIX_INLINE Vec widen_bf16(IVec h) { return from_bits(shift_left<16>(h)); }
// Subnormal halves are made from their integer mantissa, so that flush-to-zero modes cannot
// lose them; signalling NaNs come out quiet, as from the hardware's conversion.
SEQMIX_INLINE Vec widen_f16(IVec h) {
    const IVec magnitude = h & iset1(0x7fff);
    const IVec sign = shift_left<16>(h & iset1(0x8000));
    const IVec rebias = iset1(112 << 23);
    const IVec normal = shift_left<13>(magnitude) + rebias;
    const Vec subnormal = to_float(magnitude) * set1(5.9604644775390625e-8f);
    const IVec special = {magnitude.v > 0x7bff};
    const IVec nan = {magnitude.v > 0x7c00};
    const IVec bits = (normal + (rebias & special)) | (iset1(1 << 22) & nan);
    const Mask small = {magnitude.v < 0x400};
    return from_bits(bits_of(select(small, subnormal, from_bits(bits))) | sign);
}
SEQMIX_INLINE Vec load_bf16(const uint16_t* p) { return widen_bf16(load_u16(p)); }
SEQMIX_INLINE Vec load_bf16_n(const uint16_t* p, int64_t n) { return widen_bf16(load_u16_n(p, n)); }
SEQMIX_INLINE Vec load_f16(const uint16_t* p) { return widen_f16(load_u16(p)); }
SEQMIX_INLINE Vec load_f16_n(const uint16_t* p, int64_t n) { return widen_f16(load_u16_n(p, n)); }
SEQMIX_INLINE Vec load_i8_n(const int8_t* p, int64_t n) {
    float lanes[kWidth] = {};
    for (int64_t i = 0; i < kWidth && i < n; ++i) lanes[i] = static_cast<float>(p[i]);
    return load(lanes);
}

// Adding 2^23 to a magnitude leaves no fraction bits; larger arguments (and NaN) are integers
// already.
SEQMIX_INLINE Vec round_nearest(Vec a) {
    const Vec magic = set1(8388608.0f);
    const Vec magnitude = abs(a);
    const Vec rounded = select(lt(magnitude, magic), (magnitude + magic) - magic, magnitude);
    return from_bits(bits_of(rounded) | (bits_of(a) & iset1(INT32_MIN)));
}
SEQMIX_INLINE IVec to_int(Vec a) {  // nearest; a must fit
    return {__builtin_convertvector(round_nearest(a).v, I32Lanes)};
}
// Two factors of 2^(e/2) each: the exponent of one factor alone would not reach all of f32.
SEQMIX_INLINE Vec scale_exp2(Vec a, Vec e) {
    const Vec bounded = max(set1(-252.0f), min(set1(254.0f), round_nearest(e)));
    const IVec whole = {__builtin_convertvector(bounded.v, I32Lanes)};
    const IVec half = shift_right<1>(whole);
    const IVec bias = iset1(127);
    const Vec low = from_bits(shift_left<23>(half + bias));
    const Vec high = from_bits(shift_left<23>(whole - half + bias));
    return a * low * high;
}

SEQMIX_INLINE Vec reverse(Vec a) { return {F32Lanes{a.v[3], a.v[2], a.v[1], a.v[0]}}; }

SEQMIX_INLINE void transpose(Vec (&t)[kWidth]) {
    const F32Lanes a = t[0].v, b = t[1].v, c = t[2].v, d = t[3].v;
    t[0].v = F32Lanes{a[0], b[0], c[0], d[0]};
    t[1].v = F32Lanes{a[1], b[1], c[1], d[1]};
    t[2].v = F32Lanes{a[2], b[2], c[2], d[2]};
    t[3].v = F32Lanes{a[3], b[3], c[3], d[3]};
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
