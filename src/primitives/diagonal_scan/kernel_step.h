// One token of a vector of modes, for kernel.cpp (lanes are channels) and kernel_modes.h (lanes are modes).
#pragma once

#include "primitives/diagonal_scan/kernel.h"
#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// Parts of a record, in vectors.
template <int kRank, bool kSigns>
struct Parts {
    static constexpr int s = 0, dr = kSigns ? 1 : 0, di = dr + 1, br = dr + 2, bi = dr + 3;
    static constexpr int w = dr + 4;  // wr wi gr gi
    static constexpr int c = w + 4 * kRank;
};

// What a pass over the modes adds up: the output 0, and the next token's feedback.
template <int kRank>
struct Sums {
    Vec y;
    Vec v[kRank > 0 ? kRank : 1];
};

// One mode (or one vector of modes), re + i im, takes the input u and the feedback v.
template <int kRank, bool kSigns, typename Part>
SEQMIX_INLINE void advance(const Part& part, Vec& re, Vec& im, Vec u, const Vec* v,
                           Sums<kRank>& sums) {
    using P = Parts<kRank, kSigns>;
    Vec in_re = part(P::br) * u, in_im = part(P::bi) * u;
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA {
        in_re = fma(part(P::w + 4 * r + 2), v[r], in_re);
        in_im = fma(part(P::w + 4 * r + 3), v[r], in_im);
    });
    // s x + (d x + b u + g v): what is added is small where d is, and so is its rounding.
    in_re = fma(part(P::dr), re, fnma(part(P::di), im, in_re));
    in_im = fma(part(P::dr), im, fma(part(P::di), re, in_im));
    re = kSigns ? fma(part(P::s), re, in_re) : re + in_re;
    im = kSigns ? fma(part(P::s), im, in_im) : im + in_im;
    sums.y = fnma(part(P::c + 1), im, fma(part(P::c), re, sums.y));
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA {
        const int w = P::w + 4 * r;
        sums.v[r] = fnma(part(w + 1), im, fma(part(w), re, sums.v[r]));
    });
}

// The same in memory; x: re, and im a line further.
template <int kRank, bool kSigns>
SEQMIX_INLINE void update(const float* record, float* x, ptrdiff_t line, Vec u, const Vec* v,
                          Sums<kRank>& sums) {
    Vec re = load(x), im = load(x + line);
    advance<kRank, kSigns>([&](int i) SEQMIX_INLINE_LAMBDA { return load(record + i * kWidth); },
                           re, im, u, v, sums);
    store(x, re);
    store(x + line, im);
}

template <int kRank>
SEQMIX_INLINE Sums<kRank> no_sums() {
    Sums<kRank> sums;
    sums.y = zero();
    for (Vec& v : sums.v) v = zero();
    return sums;
}

// All modes, a state of 2 vectors lines apart. Every other one adds to sums of its own.
template <int kRank, bool kSigns>
SEQMIX_INLINE Sums<kRank> update_all(const float* record, int64_t parts, int64_t vectors, float* x,
                                     ptrdiff_t line, Vec u, const Vec* v) {
    Sums<kRank> even = no_sums<kRank>(), odd = no_sums<kRank>();
    int64_t n = 0;
    for (; n + 4 <= vectors; n += 4) {
        unroll<4>([&](auto i) SEQMIX_INLINE_LAMBDA {
            update<kRank, kSigns>(record + i * parts * kWidth, x + 2 * i * line, line, u, v,
                                  i % 2 == 0 ? even : odd);
        });
        record += 4 * parts * kWidth;
        x += 8 * line;
    }
    for (; n < vectors; ++n) {
        update<kRank, kSigns>(record, x, line, u, v, even);
        record += parts * kWidth;
        x += 2 * line;
    }
    even.y = even.y + odd.y;
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA { even.v[r] = even.v[r] + odd.v[r]; });
    return even;
}

// sum re(coefficient x) of the state as it is, in update_all's order: a cut between two tokens changes
// no bit. `at` is the first of the two parts.
SEQMIX_INLINE Vec project(const float* record, int64_t parts, int64_t at, int64_t vectors,
                          const float* x, ptrdiff_t line) {
    Vec even = zero(), odd = zero();
    const auto add = [&](int64_t n, Vec& sum) SEQMIX_INLINE_LAMBDA {
        const float* p = record + (n * parts + at) * kWidth;
        const float* state = x + 2 * n * line;
        sum = fnma(load(p + kWidth), load(state + line), fma(load(p), load(state), sum));
    };
    int64_t n = 0;
    for (; n + 4 <= vectors; n += 4) {
        unroll<4>([&](auto i) SEQMIX_INLINE_LAMBDA { add(n + i, i % 2 == 0 ? even : odd); });
    }
    for (; n < vectors; ++n) add(n, even);
    return even + odd;
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
