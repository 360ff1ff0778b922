// f64 lanes, kWidth / 2 of them: the few operations that kernels written for both precisions need,
// under the names that vec.h gives them. LanesOf<Real>::V is the vector of a type.
#pragma once

#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

typedef double F64Lanes __attribute__((vector_size(kWidth / 2 * 8)));

struct Vec64 {
    static constexpr int kWidth = SEQMIX_ISA::kWidth / 2;
    F64Lanes v;
};

template <typename Real>
struct LanesOf;
template <>
struct LanesOf<float> {
    using V = Vec;
};
template <>
struct LanesOf<double> {
    using V = Vec64;
};

SEQMIX_INLINE Vec64 load(const double* p) {
    Vec64 a;
    __builtin_memcpy(&a.v, p, sizeof a.v);
    return a;
}
SEQMIX_INLINE void store(double* p, Vec64 a) { __builtin_memcpy(p, &a.v, sizeof a.v); }
SEQMIX_INLINE Vec64 load_n(const double* p, int64_t n) {
    if (n >= Vec64::kWidth) return load(p);
    Vec64 a = {};
    for (int i = 0; i < Vec64::kWidth; ++i) a.v[i] = i < n ? p[i] : 0.0;
    return a;
}
SEQMIX_INLINE void store_n(double* p, Vec64 a, int64_t n) {
    if (n >= Vec64::kWidth) {
        store(p, a);
        return;
    }
    for (int i = 0; i < Vec64::kWidth; ++i) {
        if (i < n) p[i] = a.v[i];
    }
}
SEQMIX_INLINE Vec64 set1(double x) {
    Vec64 a;
    for (int i = 0; i < Vec64::kWidth; ++i) a.v[i] = x;
    return a;
}

SEQMIX_INLINE Vec64 operator+(Vec64 a, Vec64 b) { return {a.v + b.v}; }
SEQMIX_INLINE Vec64 operator-(Vec64 a, Vec64 b) { return {a.v - b.v}; }
SEQMIX_INLINE Vec64 operator*(Vec64 a, Vec64 b) { return {a.v * b.v}; }
#if SEQMIX_ISA_LEVEL == 2
SEQMIX_INLINE Vec64 fma(Vec64 a, Vec64 b, Vec64 c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec64 fms(Vec64 a, Vec64 b, Vec64 c) { return {_mm512_fmsub_pd(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec64 fnma(Vec64 a, Vec64 b, Vec64 c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
#elif SEQMIX_ISA_LEVEL == 1
SEQMIX_INLINE Vec64 fma(Vec64 a, Vec64 b, Vec64 c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec64 fms(Vec64 a, Vec64 b, Vec64 c) { return {_mm256_fmsub_pd(a.v, b.v, c.v)}; }
SEQMIX_INLINE Vec64 fnma(Vec64 a, Vec64 b, Vec64 c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
#else
SEQMIX_INLINE Vec64 fma(Vec64 a, Vec64 b, Vec64 c) { return {a.v * b.v + c.v}; }
SEQMIX_INLINE Vec64 fms(Vec64 a, Vec64 b, Vec64 c) { return {a.v * b.v - c.v}; }
SEQMIX_INLINE Vec64 fnma(Vec64 a, Vec64 b, Vec64 c) { return {c.v - a.v * b.v}; }
#endif

SEQMIX_INLINE Vec64 reverse(Vec64 a) {
    Vec64 r;
    for (int i = 0; i < Vec64::kWidth; ++i) r.v[i] = a.v[Vec64::kWidth - 1 - i];
    return r;
}
SEQMIX_INLINE void transpose(Vec64 (&t)[Vec64::kWidth]) {
    constexpr int n = Vec64::kWidth;
    double rows[n][n];
    for (int i = 0; i < n; ++i) store(rows[i], t[i]);
    for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) t[i].v[j] = rows[j][i];
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
