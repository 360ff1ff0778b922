// Cauchy sums over conjugate pairs, hot loops. The equations are in cauchy.h.
//
// Lanes are points, two vectors of them at a time; coefficients are broadcast. Per pair and vector: 3
// operations for X, 2 for X^2 + Y^2, 2 of Newton after the processor's guess of the reciprocal, 1 or 2
// products, and 4 for each sum: 12 for one sum, 25 for the four that share the reciprocal.
#include "primitives/cauchy/kernel.h"

#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kVectors = kWidth == 16 ? 2 : 1;  // of points; what the registers hold

// 1/x within 2e-7 for any normal x whose reciprocal is one.
SEQMIX_INLINE Vec inverse(Vec x) {
#if SEQMIX_ISA_LEVEL == 2
    return reciprocal_fast(x);
#else
    return set1(1.0f) / x;
#endif
}

template <int kSums>
SEQMIX_INLINE void sum_points(const CauchyArgs& a, int64_t first, int vectors) {
    constexpr int kRecord = 3 + 4 * kSums;
    Vec tau[kVectors], square[kVectors];
    Vec re[kSums][kVectors], im[kSums][kVectors], tail[kVectors];
    unroll<kVectors>([&](auto v) SEQMIX_INLINE_LAMBDA {
        const int64_t at = first + v * kWidth;
        // Lanes without a point: any tau does.
        tau[v] = v < vectors ? load_n(a.tau + at, a.points - at) : zero();
        square[v] = tau[v] * tau[v];
        tail[v] = zero();
        unroll<kSums>([&](auto s) SEQMIX_INLINE_LAMBDA { re[s][v] = im[s][v] = zero(); });
    });
    const float* record = a.records;
    for (int64_t n = 0; n < a.pairs; ++n, record += kRecord) {
        const Vec b = set1(record[0]), a2 = set1(record[1]), four_a2 = set1(record[2]);
        unroll<kVectors>([&](auto v) SEQMIX_INLINE_LAMBDA {
            // (b - tau)(b + tau): b^2 - tau^2 would cancel next to a resonance.
            const Vec x = fma(b - tau[v], b + tau[v], a2);
            const Vec inv = inverse(fma(x, x, four_a2 * square[v]));
            const Vec xi = x * inv;
            if constexpr (kSums == 1) {
                re[0][v] = fma(set1(record[3]), xi, re[0][v]);
                tail[v] = fma(set1(record[4]), inv, tail[v]);
                im[0][v] = fma(set1(record[5]), xi, fma(set1(record[6]), inv, im[0][v]));
            } else {
                const Vec t = square[v] * inv;
                unroll<kSums>([&](auto s) SEQMIX_INLINE_LAMBDA {
                    const float* c = record + 3 + 4 * s;
                    re[s][v] = fma(set1(c[0]), xi, fma(set1(c[1]), t, re[s][v]));
                    im[s][v] = fma(set1(c[2]), xi, fma(set1(c[3]), inv, im[s][v]));
                });
            }
        });
    }
    unroll<kVectors>([&](auto v) SEQMIX_INLINE_LAMBDA {
        const int64_t at = first + v * kWidth;
        if (v >= vectors) return;
        unroll<kSums>([&](auto s) SEQMIX_INLINE_LAMBDA {
            const Vec real = kSums == 1 ? fma(tail[v], square[v], re[s][v]) : re[s][v];
            store_n(a.re + s * a.stride + at, real, a.points - at);
            store_n(a.im + s * a.stride + at, im[s][v] * tau[v], a.points - at);
        });
    });
}

template <int kSums>
void cauchy_as(const CauchyArgs& args) {
    const CauchyArgs a = args;
    int64_t first = 0;
    for (; first + kVectors * kWidth <= a.points; first += kVectors * kWidth) {
        sum_points<kSums>(a, first, kVectors);
    }
    if (first < a.points) {
        sum_points<kSums>(a, first, static_cast<int>((a.points - first + kWidth - 1) / kWidth));
    }
}

void cauchy(const CauchyArgs& a) { a.sums == 1 ? cauchy_as<1>(a) : cauchy_as<4>(a); }

struct Z {
    Vec re, im;
};
SEQMIX_INLINE Z operator*(Z a, Z b) {
    return {fms(a.re, b.re, a.im * b.im), fma(a.re, b.im, a.im * b.re)};
}
SEQMIX_INLINE Z operator-(Z a, Z b) { return {a.re - b.re, a.im - b.im}; }
SEQMIX_INLINE Z operator+(Z a, Z b) { return {a.re + b.re, a.im + b.im}; }
SEQMIX_INLINE Z operator/(Z a, Z b) {
    const Vec inv = set1(1.0f) / fma(b.re, b.re, b.im * b.im);
    return {fma(a.re, b.re, a.im * b.im) * inv, fms(a.im, b.re, a.re * b.im) * inv};
}

// (1 + i tau/2) (BC - BQ (I + PQ)^-1 PC).
void dplr(const DplrArgs& a) {
    const Z one = {set1(1.0f), zero()};
    for (int64_t first = 0; first < a.points; first += kWidth) {
        const int64_t n = a.points - first;
        const auto plane = [&](int i) SEQMIX_INLINE_LAMBDA {
            return Z{load_n(a.plane_re + i * a.stride + first, n),
                     load_n(a.plane_im + i * a.stride + first, n)};
        };
        Z k = plane(0);
        if (a.rank == 1) {
            k = k - plane(1) * plane(2) / (one + plane(3));
        } else if (a.rank == 2) {
            const Z b1 = plane(1), b2 = plane(2), c1 = plane(3), c2 = plane(4);
            const Z r11 = one + plane(5), r12 = plane(6), r21 = plane(7), r22 = one + plane(8);
            const Z top = b1 * (r22 * c1 - r21 * c2) + b2 * (r11 * c2 - r12 * c1);
            k = k - top / (r11 * r22 - r12 * r21);
        }
        const Vec half = load_n(a.tau + first, n) * set1(0.5f);
        store_n(a.re + first, fnma(half, k.im, k.re), n);
        store_n(a.im + first, fma(half, k.re, k.im), n);
    }
}

}  // namespace

extern const CauchyKernels cauchy_kernels;
const CauchyKernels cauchy_kernels = {kWidth, cauchy, dplr};

}  // namespace seqmix::SEQMIX_ISA
