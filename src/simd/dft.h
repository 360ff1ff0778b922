// DFTs of 1, 2, 3, 4, 5, 7, 8 and 16 points on complex vectors held in registers, with a twiddle
// factor on each input:
//
//   y[q] = sum_p g^p x[p] exp(-2 pi i p q / R),   g on the unit circle
//
// In the terms of polynomials this is the residue of x modulo the R roots of z^R = g^R, which is
// how powers of two are done: log2 R levels of a +- w b, each level halving the polynomials (Fiduccia
// 1972; Bernstein, "Multidigit multiplication for mathematicians", 2001). A pair costs 6 instructions
// with a fused multiply-add: 2 each for the parts of s = a + w b, and a - w b = 2a - s. That is 72
// for 8 points with all twiddles (nominally 5 * 8 * 3 = 120 operations) where a plain 8-point DFT
// and 7 products need 80, and it reads R/2 twiddles where those need R - 1. Without a fused
// multiply-add the product is made first: 10 a pair.
//
// Twiddles of R = 2^l: entry 0 is g^(R/2); entries 2^(k-1) + h, 0 <= h < 2^(k-1), 1 <= k < l, are
// g^(R/2^(k+1)) exp(-2 pi i rev(h) / 2^(k+1)) with rev the reversal of k-1 bits; pairs with an odd
// index use these times -i. Twiddles of odd R: g^1 .. g^(R-1).
//
// kUnit: g = 1, no twiddles are read. Outputs of powers of two come in bit-reversed order.
#pragma once

#include "simd/unroll.h"
#include "simd/vec_f64.h"

namespace seqmix::SEQMIX_ISA {
namespace {

template <typename V>
struct Complex {
    V re, im;
};

constexpr bool is_power_of_two(int r) { return (r & (r - 1)) == 0; }
// Complex numbers among the twiddles of R points.
constexpr int dft_twiddles(int r) { return is_power_of_two(r) && r > 1 ? r / 2 : r - 1; }

// Which output the DFT leaves in x[i].
constexpr int dft_output(int r, int i) {
    if (!is_power_of_two(r)) return i;
    int reversed = 0;
    for (int bit = 1; bit < r; bit *= 2) reversed = 2 * reversed + ((i & bit) != 0 ? 1 : 0);
    return reversed;
}

template <typename V>
SEQMIX_INLINE V constant(double x) {
    if constexpr (sizeof(V) == sizeof(float) * V::kWidth) {
        return set1(static_cast<float>(x));
    } else {
        return set1(x);
    }
}

template <typename V>
SEQMIX_INLINE Complex<V> multiply(Complex<V> a, Complex<V> w) {
    return {fnma(a.im, w.im, a.re * w.re), fma(a.im, w.re, a.re * w.im)};
}

// a, b = a + w b, a - w b; with kQuarter w is multiplied by -i.
template <bool kQuarter, typename V>
SEQMIX_INLINE void turn(Complex<V>& a, Complex<V>& b, Complex<V> w) {
#if SEQMIX_ISA_LEVEL == 0
    const Complex<V> t = multiply(b, w);
    const Complex<V> p = a;
    if constexpr (kQuarter) {
        a = {p.re + t.im, p.im - t.re};
        b = {p.re - t.im, p.im + t.re};
    } else {
        a = {p.re + t.re, p.im + t.im};
        b = {p.re - t.re, p.im - t.im};
    }
#else
    const V two = constant<V>(2.0);
    Complex<V> s;
    if constexpr (kQuarter) {
        s.re = fma(w.re, b.im, fma(w.im, b.re, a.re));
        s.im = fnma(w.re, b.re, fma(w.im, b.im, a.im));
    } else {
        s.re = fnma(w.im, b.im, fma(w.re, b.re, a.re));
        s.im = fma(w.im, b.re, fma(w.re, b.im, a.im));
    }
    b = {fms(two, a.re, s.re), fms(two, a.im, s.im)};
    a = s;
#endif
}

// The same for w = 1.
template <bool kQuarter, typename V>
SEQMIX_INLINE void turn_unit(Complex<V>& a, Complex<V>& b) {
    const Complex<V> p = a, t = b;
    if constexpr (kQuarter) {
        a = {p.re + t.im, p.im - t.re};
        b = {p.re - t.im, p.im + t.re};
    } else {
        a = {p.re + t.re, p.im + t.im};
        b = {p.re - t.re, p.im - t.im};
    }
}

// The same for w = exp(-pi i / 4).
template <bool kQuarter, typename V>
SEQMIX_INLINE void turn_eighth(Complex<V>& a, Complex<V>& b) {
    const V root = constant<V>(0.70710678118654752440);
    const V sum = b.re + b.im, difference = b.im - b.re;
    const Complex<V> p = a;
    if constexpr (kQuarter) {
        a = {fma(root, difference, p.re), fnma(root, sum, p.im)};
        b = {fnma(root, difference, p.re), fma(root, sum, p.im)};
    } else {
        a = {fma(root, sum, p.re), fma(root, difference, p.im)};
        b = {fnma(root, sum, p.re), fnma(root, difference, p.im)};
    }
}

template <int R, bool kUnit, int kGroups, typename V>
SEQMIX_INLINE void dft_levels(Complex<V> (&x)[R], const Complex<V>* w) {
    if constexpr (kGroups < R) {
        constexpr int half = R / kGroups / 2;
        unroll<kGroups>([&](auto g) SEQMIX_INLINE_LAMBDA {
            constexpr bool quarter = decltype(g)::value % 2 != 0;
            constexpr bool eighth = decltype(g)::value / 2 == 1;
            static_assert(!kUnit || decltype(g)::value < 4, "radix 16 has twiddles always");
            unroll<half>([&](auto p) SEQMIX_INLINE_LAMBDA {
                constexpr int a = decltype(g)::value * 2 * half + decltype(p)::value;
                if constexpr (!kUnit) {
                    turn<quarter>(x[a], x[a + half], w[kGroups / 2 + g / 2]);
                } else if constexpr (eighth) {
                    turn_eighth<quarter>(x[a], x[a + half]);
                } else {
                    turn_unit<quarter>(x[a], x[a + half]);
                }
            });
        });
        dft_levels<R, kUnit, 2 * kGroups>(x, w);
    }
}

// Cosines and sines of 2 pi k / R for the odd radices.
template <int R>
struct Circle;
template <>
struct Circle<3> {
    static constexpr double c[3] = {1, -0.5, -0.5};
    static constexpr double s[3] = {0, 0.86602540378443864676, -0.86602540378443864676};
};
template <>
struct Circle<5> {
    static constexpr double c[5] = {1, 0.30901699437494742410, -0.80901699437494742410,
                                    -0.80901699437494742410, 0.30901699437494742410};
    static constexpr double s[5] = {0, 0.95105651629515357212, 0.58778525229247312917,
                                    -0.58778525229247312917, -0.95105651629515357212};
};
template <>
struct Circle<7> {
    static constexpr double c[7] = {1,
                                    0.62348980185873353053,
                                    -0.22252093395631440429,
                                    -0.90096886790241912624,
                                    -0.90096886790241912624,
                                    -0.22252093395631440429,
                                    0.62348980185873353053};
    static constexpr double s[7] = {0,
                                    0.78183148246802980871,
                                    0.97492791218182360702,
                                    0.43388373911755812048,
                                    -0.43388373911755812048,
                                    -0.97492791218182360702,
                                    -0.78183148246802980871};
};

// Odd R: the inputs p and R-p as sum and difference, so that sines and cosines multiply real sums:
// y[q], y[R-q] = (x0 + sum_p cos t[p]) -+ i sum_p sin s[p].
template <int R, typename V>
SEQMIX_INLINE void dft_odd(Complex<V> (&x)[R]) {
    constexpr int half = (R - 1) / 2;
    Complex<V> sum[half], difference[half];
    Complex<V> all = x[0];
    unroll<half>([&](auto j) SEQMIX_INLINE_LAMBDA {
        const Complex<V> a = x[j + 1], b = x[R - 1 - j];
        sum[j] = {a.re + b.re, a.im + b.im};
        difference[j] = {a.re - b.re, a.im - b.im};
        all = {all.re + sum[j].re, all.im + sum[j].im};
    });
    unroll<half>([&](auto j) SEQMIX_INLINE_LAMBDA {
        constexpr int q = decltype(j)::value + 1;
        Complex<V> a = x[0];
        Complex<V> b = {constant<V>(Circle<R>::s[q]) * difference[0].re,
                        constant<V>(Circle<R>::s[q]) * difference[0].im};
        unroll<half>([&](auto k) SEQMIX_INLINE_LAMBDA {
            constexpr int p = decltype(k)::value + 1;
            const V c = constant<V>(Circle<R>::c[p * q % R]);
            a = {fma(c, sum[k].re, a.re), fma(c, sum[k].im, a.im)};
            if constexpr (p > 1) {
                const V s = constant<V>(Circle<R>::s[p * q % R]);
                b = {fma(s, difference[k].re, b.re), fma(s, difference[k].im, b.im)};
            }
        });
        x[q] = {a.re + b.im, a.im - b.re};
        x[R - q] = {a.re - b.im, a.im + b.re};
    });
    x[0] = all;
}

// x: the inputs, replaced by the outputs (dft_output says which); w: dft_twiddles(R) of them.
template <int R, bool kUnit, typename V>
SEQMIX_INLINE void dft(Complex<V> (&x)[R], const Complex<V>* w) {
    if constexpr (is_power_of_two(R)) {
        dft_levels<R, kUnit, 1>(x, w);
    } else {
        if constexpr (!kUnit) {
            unroll<R - 1>([&](auto p)
                              SEQMIX_INLINE_LAMBDA { x[p + 1] = multiply(x[p + 1], w[p]); });
        }
        dft_odd<R>(x);
    }
}

// R a power of two, no twiddles, and the upper half of x is zero (not read).
template <int R, typename V>
SEQMIX_INLINE void dft_half(Complex<V> (&x)[R]) {
    unroll<R / 2>([&](auto p) SEQMIX_INLINE_LAMBDA { x[p + R / 2] = x[p]; });
    dft_levels<R, true, 2>(x, x);
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
