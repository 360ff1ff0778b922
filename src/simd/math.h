// Elementary functions on Vec: exp2 exp log log1p softplus sigmoid silu tanh erf gelu rsqrt sincos, and
// exp2_fast, softplus_fast, silu_fast for inner loops. Polynomials are minimax fits of our own (Remez exchange in 40
// digits); the fitted range and error stand beside the coefficients.
//
// Largest error over all f32 arguments, in units of the last place of the exact result (the strided
// sweep of tests/unit/simd_test.cpp asserts these at every level; measured in brackets):
//   exp2      1.5 (1.13)   exp      1.5 (0.98)   log   1.5 (1.12)   log1p on [0,1]  2.0 (1.69)
//   softplus  2.5 (1.86)   sigmoid  3.0 (2.08)   silu  3.0 (2.35)   tanh            2.0 (1.28)
//   rsqrt     1.5 (1.48)
//   exp2_fast(a, b)  2e-7 + 4.2e-8 (|ab| + 1) relative; softplus_fast, silu_fast  3e-7 + 8e-8 |x|
//   erf       1.2e-7 absolute, gelu  1.2e-7 |x|
//   sincos    1.5e-7 absolute (1.1e-7); |x| <= 1e5 by polynomial, beyond that libm lane by lane
// All results below 2^-125 in magnitude may come out as 0 or off by up to 2^-125: FTZ and DAZ may
// be on. NaN gives NaN everywhere. Infinities give the limits, except silu(-inf), which is -1.4e-36
// (the argument is clamped at -87), and sincos (NaN).
#pragma once

#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// 2^(ab) for inner loops. A whole ab gives an exact power, and decays just below 1 are right to half
// a unit: no bias over long sequences.
#if SEQMIX_ISA_LEVEL == 2
// With y = ab + 1/2, n = floor(y) is the nearest whole number, which vscalefps takes from y by
// itself, and vreduceps leaves f = y - n: nothing to subtract, no bounds to check. 2^(f-1/2), degree
// 5 on [0,1], exactly 1 and of the right slope at 1/2: 9.9e-8. Rejected: n = floor(ab), f = ab - n
// costs the same, but decays just below 1 then come from f just below 1, where vreduceps rounds down
// and the polynomial's steps round on one side; 4e-5 of the largest state over 65536 tokens at
// decays of 1-1e-4, even where the polynomial is right at 1. The nearest whole number of ab costs a
// subtraction, 8 % of the scan, and is not more accurate. A table of 32 powers and degree 2 would
// cost as much as this and err by 2e-7.
//
// Several at once take each step together, in this order: left to themselves, compilers put them one
// after the other, and a core's scheduler (97 operations) is full before it has seen enough chains of
// nine dependent operations (scan 5 % slower under clang 19).
template <int kCount>
SEQMIX_INLINE void exp2_fast(Vec a, const Vec (&b)[kCount], Vec (&p)[kCount]) {
    constexpr float kPolynomial[] = {0.0394648053f, 0.169817194f, 0.490132689f, 0.707106769f};
    Vec y[kCount], f[kCount];
    unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA { y[i] = fma(a, b[i], set1(0.5f)); });
    keep_together(y);
    unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA { f[i] = floor_fraction(y[i]); });
    keep_together(f);
    unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA {
        p[i] = fma(set1(0.00132035278f), f[i], set1(0.00637161452f));
    });
    keep_together(p);
    unroll<4>([&](auto step) SEQMIX_INLINE_LAMBDA {
        unroll<kCount>(
            [&](auto i) SEQMIX_INLINE_LAMBDA { p[i] = fma(p[i], f[i], set1(kPolynomial[step])); });
        keep_together(p);
    });
    unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA { p[i] = scale_exp2(p[i], y[i]); });
    keep_together(p);
}
SEQMIX_INLINE Vec exp2_fast(Vec a, Vec b) {
    const Vec power[1] = {b};
    Vec p[1];
    exp2_fast(a, power, p);
    return p[0];
}
#else
// ab = n + r with r in [-1/2,1/2]: adding 1.5 * 2^23 + 126 leaves the exponent field of 2^(n-1) in
// the low bits, and the missing 2 is in the coefficients, so that n = 128 does not overflow early.
// Degree 5: 9.2e-8. The bounds give 0 and inf by the exponent fields 0 and 254.
SEQMIX_INLINE Vec exp2_fast(Vec a, Vec b) {
    const Vec bounded = max(set1(-126.0f), min(set1(128.0f), a * b));
    const Vec magic = set1(12582912.0f + 126.0f);
    const Vec shifted = bounded + magic;
    const Vec r = bounded - (shifted - magic);
    Vec p = fma(set1(2 * 0.0013264732f), r, set1(2 * 0.00967151206f));
    p = fma(p, r, set1(2 * 0.0555073358f));
    p = fma(p, r, set1(2 * 0.240222424f));
    p = fma(p, r, set1(2 * 0.693147004f));
    p = fma(p, r, set1(2.0f));
    return p * from_bits(shift_left<23>(bits_of(shifted)));
}
template <int kCount>
SEQMIX_INLINE void exp2_fast(Vec a, const Vec (&b)[kCount], Vec (&p)[kCount]) {
    unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA { p[i] = exp2_fast(a, b[i]); });
}
#endif

// Degree 6 on [-1/2,1/2]: 2e-9.
SEQMIX_INLINE Vec exp2(Vec x) {
    const Vec bounded = max(set1(-151.0f), min(set1(129.0f), x));
    const Vec n = round_nearest(bounded);
    const Vec r = bounded - n;
    Vec p = fma(set1(0.000153533736f), r, set1(0.00133988739f));
    p = fma(p, r, set1(0.00961843692f));
    p = fma(p, r, set1(0.0555033237f));
    p = fma(p, r, set1(0.240226477f));
    p = fma(p, r, set1(0.693147182f));
    p = fma(p, r, set1(1.0f));
    return scale_exp2(p, n);
}

// x = n log(2) + r; log(2) in two parts, the first of 10 bits, so that n times it is exact.
// 1 + r + r^2 q(r), q of degree 4 on |r| <= log(2)/2: 3.1e-9.
SEQMIX_INLINE Vec exp(Vec x) {
    const Vec bounded = max(set1(-105.0f), min(set1(89.0f), x));
    const Vec n = round_nearest(bounded * set1(1.44269502f));
    const Vec r = fnma(n, set1(-0.000212194440f), fnma(n, set1(0.693359375f), bounded));
    Vec q = fma(set1(0.00138145976f), r, set1(0.00836871658f));
    q = fma(q, r, set1(0.041668389f));
    q = fma(q, r, set1(0.166665211f));
    q = fma(q, r, set1(0.49999994f));
    const Vec p = fma(q, r * r, r) + set1(1.0f);
    return scale_exp2(p, n);
}

// log(1+f) - f on [sqrt(1/2)-1, sqrt(2)-1]: f^2 (-1/2 + f q(f)), q of degree 6, 3.2e-8 relative to
// the logarithm.
SEQMIX_INLINE Vec log_tail(Vec f) {
    Vec q = fma(set1(0.0870161504f), f, set1(-0.142685533f));
    q = fma(q, f, set1(0.149148569f));
    q = fma(q, f, set1(-0.165774673f));
    q = fma(q, f, set1(0.199630454f));
    q = fma(q, f, set1(-0.250013411f));
    q = fma(q, f, set1(0.333339125f));
    return f * f * fma(q, f, set1(-0.5f));
}

SEQMIX_INLINE Vec log(Vec x) {
    const Mask small = lt(x, set1(1.17549435e-38f));
    const Vec scaled = select(small, x * set1(8388608.0f), x);
    const IVec root = iset1(0x3f3504f3);  // sqrt(1/2): mantissas in [sqrt(1/2), sqrt(2))
    const IVec shifted = bits_of(scaled) - root;
    const Vec m = from_bits((shifted & iset1(0x007fffff)) + root);
    const Vec e = to_float(shift_right<23>(shifted)) - select(small, set1(23.0f), zero());
    const Vec f = m - set1(1.0f);
    const Vec tail = fma(e, set1(-0.000212194440f), log_tail(f));
    Vec y = fma(e, set1(0.693359375f), f + tail);
    const Vec infinity = from_bits(iset1(0x7f800000));
    y = select(lt(x, infinity), y, x);  // inf and NaN
    y = select(eq(x, zero()), -infinity, y);
    return select(lt(x, zero()), from_bits(iset1(0x7fc00000)), y);
}

// log(1+t) for t in [0,1].
SEQMIX_INLINE Vec log1p_unit(Vec t) {
    const Mask upper = gt(t, set1(0.414213562f));
    const Vec f = select(upper, fma(t, set1(0.5f), set1(-0.5f)), t);  // (1+t)/2 - 1
    const Vec base = select(upper, set1(0.693147182f), zero());
    return base + (f + log_tail(f));
}

// log(1+e^x) = max(x,0) + log(1+e^-|x|). Above 20 the second term is under half a unit in the last
// place: the identity that the definition asks for there comes out by itself.
SEQMIX_INLINE Vec softplus(Vec x) { return max(x, zero()) + log1p_unit(exp(-abs(x))); }

// softplus and silu for inner loops: half the operations. What |x| adds to the error is about what
// half a unit of x does to the result. log(1+t)/t on [0,1], degree 8: 3e-8.
SEQMIX_INLINE Vec softplus_fast(Vec x) {
    const Vec t = exp2_fast(abs(x), set1(-1.44269502f));
    Vec q = fma(set1(0.00523295727f), t, set1(-0.029506417f));
    q = fma(q, t, set1(0.078228105f));
    q = fma(q, t, set1(-0.136634521f));
    q = fma(q, t, set1(0.191061177f));
    q = fma(q, t, set1(-0.248430157f));
    q = fma(q, t, set1(0.333191022f));
    q = fma(q, t, set1(-0.499994936f));
    q = fma(q, t, set1(0.99999997f));
    return fma(q, t, max(x, zero()));
}
SEQMIX_INLINE Vec silu_fast(Vec x) {
    const Vec bounded = max(set1(-87.0f), x);
    return bounded * reciprocal_fast(set1(1.0f) + exp2_fast(bounded, set1(-1.44269502f)));
}

SEQMIX_INLINE Vec sigmoid(Vec x) {
    const Vec floor = set1(-87.0f);  // keeps 1 + e^-x finite and the reciprocal normal
    const Vec s = reciprocal_fast(set1(1.0f) + exp(-max(floor, x)));
    return select(lt(x, floor), zero(), s);
}

SEQMIX_INLINE Vec silu(Vec x) {
    const Vec bounded = max(set1(-87.0f), x);
    return bounded * reciprocal_fast(set1(1.0f) + exp(-bounded));
}

// Odd polynomial of degree 11 below 0.625 (4.2e-9), 1 - 2/(1+e^2x) above.
SEQMIX_INLINE Vec tanh(Vec x) {
    const Vec a = abs(x);
    const Vec t = a * a;
    Vec p = fma(set1(-0.00571469544f), t, set1(0.0206485819f));
    p = fma(p, t, set1(-0.0537429154f));
    p = fma(p, t, set1(0.133314848f));
    p = fma(p, t, set1(-0.333332837f));
    const Vec low = fma(p * t, a, a);
    const Vec bounded = min(set1(20.0f), a);
    const Vec high =
        fnma(set1(2.0f), reciprocal_fast(set1(1.0f) + exp(bounded + bounded)), set1(1.0f));
    const Vec y = select(lt(a, set1(0.625f)), low, high);
    return from_bits(bits_of(y) | (bits_of(x) & iset1(INT32_MIN)));
}

// t q(t^2) below 0.8 (q of degree 5: 3.1e-9); above, 1 - exp of a polynomial of degree 6 (2.4e-9 of 1 up
// to 4.2, where 1 - erf is 2.9e-9).
SEQMIX_INLINE Vec erf(Vec x) {
    const Vec t = min(abs(x), set1(4.2f));
    const Vec z = t * t;
    Vec p = fma(set1(-0.000654961681f), z, set1(0.00508744363f));
    p = fma(p, z, set1(-0.0268221106f));
    p = fma(p, z, set1(0.112831429f));
    p = fma(p, z, set1(-0.376126051f));
    p = fma(p, z, set1(1.12837911f));
    Vec q = fma(set1(0.000207453602f), t, set1(-0.00315360609f));
    q = fma(q, t, set1(0.0226561595f));
    q = fma(q, t, set1(-0.104798652f));
    q = fma(q, t, set1(-0.636222005f));
    q = fma(q, t, set1(-1.1282289f));
    q = fma(q, t, set1(-6.59832804e-05f));
    Vec y = select(lt(t, set1(0.8f)), p * t, set1(1.0f) - exp(q));
    y = from_bits(bits_of(y) | (bits_of(x) & iset1(INT32_MIN)));
    return select(eq(x, x), y, x);  // NaN
}

// x Phi(x), by erf: the GELU of torch's default.
SEQMIX_INLINE Vec gelu(Vec x) {
    const Vec half = x * set1(0.5f);
    return fma(half, erf(x * set1(0.707106781f)), half);
}

SEQMIX_INLINE Vec rsqrt(Vec x) { return set1(1.0f) / sqrt(x); }

// pi/2 in four parts; the first three have 8 bits, so that multiples up to 2^16 are exact without a
// fused operation. Angles beyond 1e5 go to libm lane by lane: they do not occur in our layers'
// inner loops.
SEQMIX_INLINE void sincos(Vec x, Vec& sine, Vec& cosine) {
    const Vec limit = set1(1.0e5f);
    const Mask fits = le(abs(x), limit);
    const Vec safe = select(fits, x, zero());
    const Vec n = round_nearest(safe * set1(0.636619747f));
    Vec r = fnma(n, set1(1.5703125f), safe);
    r = fnma(n, set1(0.0004825592041015625f), r);
    r = fnma(n, set1(1.2665987014770508e-06f), r);
    r = fnma(n, set1(9.92093629e-10f), r);
    const Vec t = r * r;
    Vec p = fma(set1(-0.000195169778f), t, set1(0.00833217613f));
    p = fma(p, t, set1(-0.166666552f));
    const Vec s = fma(p * t, r, r);
    Vec q = fma(set1(2.44380917e-05f), t, set1(-0.00138873642f));
    q = fma(q, t, set1(0.0416666456f));
    const Vec c = fma(q, t * t, fnma(set1(0.5f), t, set1(1.0f)));
    const IVec quadrant = to_int(n);
    const Mask even = ieq(quadrant & iset1(1), iset1(0));
    const IVec sine_sign = shift_left<30>(quadrant & iset1(2));
    const IVec cosine_sign = shift_left<30>((quadrant + iset1(1)) & iset1(2));
    sine = from_bits(bits_of(select(even, s, c)) ^ sine_sign);
    cosine = from_bits(bits_of(select(even, c, s)) ^ cosine_sign);
    if (!all(fits)) {
        float angle[kWidth];
        float out_sine[kWidth];
        float out_cosine[kWidth];
        store(angle, x);
        store(out_sine, sine);
        store(out_cosine, cosine);
        for (int i = 0; i < kWidth; ++i) {
            if (!(angle[i] <= 1.0e5f && angle[i] >= -1.0e5f)) {
                const double wide = static_cast<double>(angle[i]);
                out_sine[i] = static_cast<float>(__builtin_sin(wide));
                out_cosine[i] = static_cast<float>(__builtin_cos(wide));
            }
        }
        sine = load(out_sine);
        cosine = load(out_cosine);
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
