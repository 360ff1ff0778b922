// The complex diagonal recurrence, hot loops. The equation is in diagonal_scan.h.
//
// A token is one pass over the modes: the state is updated, its part of the output is added up, and so is
// the next token's feedback w.x, which must be whole before any mode moves on. Per mode and vector 8
// operations of the FMA pipes, 4 more for each rank; loads keep pace (two a cycle). Blocks of channels copy
// the state first: its lines lie a row of channels apart, and 64 of those share too few sets of the cache.
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

// ------------------------------------------------------------------ lanes are channels

// Tokens of one block on a state whose vectors are `line` floats apart.
template <int kRank, bool kSigns>
SEQMIX_INLINE void tokens_of(const DiagonalScanArgs& a, float* x, ptrdiff_t line, Mask lanes) {
    using P = Parts<kRank, kSigns>;
    const int64_t parts = P::c + 2 * a.outputs;
    Vec v[kRank > 0 ? kRank : 1];
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA {
        v[r] = project(a.records, parts, P::w + 4 * r, a.modes, x, line);
    });
    for (int64_t t = 0; t < a.tokens; ++t) {
        const Vec u = load_m(a.u + t * a.u_stride, lanes);
        float* y = a.y + t * a.y_stride;
        const Sums<kRank> sums =
            update_all<kRank, kSigns>(a.records, parts, a.modes, x, line, u, v);
        unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA { v[r] = sums.v[r]; });
        for (int64_t o = 0; o < a.outputs; ++o) {
            Vec out = o == 0 ? sums.y : project(a.records, parts, P::c + 2 * o, a.modes, x, line);
            if (a.skip != nullptr) out = fma(load_m(a.skip + o * a.skip_stride, lanes), u, out);
            if (a.add) out = out + load_m(y + o * a.output_stride, lanes);
            store_m(y + o * a.output_stride, out, lanes);
        }
    }
}

// A copy pays from the second token on; a single one works where the state lies.
template <int kRank, bool kSigns>
void channels_as(const DiagonalScanArgs& args) {
    const DiagonalScanArgs a = args;
    const Mask lanes = first_n(a.channels);
    if (a.tokens == 1 && a.channels == kWidth) {
        tokens_of<kRank, kSigns>(a, a.x, a.x_stride, lanes);
        return;
    }
    float* x = a.scratch;
    for (int64_t i = 0; i < 2 * a.modes; ++i) {
        store(x + i * kWidth, load_m(a.x + i * a.x_stride, lanes));
    }
    tokens_of<kRank, kSigns>(a, x, kWidth, lanes);
    for (int64_t i = 0; i < 2 * a.modes; ++i) {
        store_m(a.x + i * a.x_stride, load(x + i * kWidth), lanes);
    }
}

// ------------------------------------------------------------------ lanes are modes

// Sums of the rows of a square tile.
SEQMIX_INLINE Vec row_sums(const float* tile) {
    Vec rows[kWidth];
    unroll<kWidth>([&](auto i) SEQMIX_INLINE_LAMBDA { rows[i] = load(tile + i * kWidth); });
    transpose(rows);
    for (int half = kWidth / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) rows[i] = rows[i] + rows[i + half];
    }
    return rows[0];
}

// y of a tile's tokens from the lanes' sums; the bits of a token do not depend on the others.
SEQMIX_INLINE void put_tile(const DiagonalScanArgs& a, int64_t first, int64_t count,
                            const float* tile, const float* u) {
    Vec out = row_sums(tile);
    if (a.skip != nullptr) out = fma(set1(a.skip[0]), load(u), out);
    alignas(64) float lanes[kWidth];
    store(lanes, out);
    for (int64_t t = 0; t < count; ++t) {
        float* y = a.y + (first + t) * a.y_stride;
        *y = a.add ? *y + lanes[t] : lanes[t];
    }
}

// One output and few modes: state and coefficients stay in registers; in memory a token waits for the
// stores of the one before.
constexpr int kMostHeld = 4;
template <int kVectors, int kRank, bool kSigns>
void held_modes(const DiagonalScanArgs& a, float* x) {
    using P = Parts<kRank, kSigns>;
    constexpr int kParts = P::c + 2;
    Vec coefficient[kVectors][kParts], re[kVectors], im[kVectors];
    unroll<kVectors>([&](auto n) SEQMIX_INLINE_LAMBDA {
        unroll<kParts>([&](auto i) SEQMIX_INLINE_LAMBDA {
            coefficient[n][i] = load(a.records + (n * kParts + i) * kWidth);
        });
        re[n] = load(x + 2 * n * kWidth);
        im[n] = load(x + (2 * n + 1) * kWidth);
    });
    Vec v[kRank > 0 ? kRank : 1];
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA {
        Vec sum = zero();  // as in the loop: a cut changes no bit
        unroll<kVectors>([&](auto n) SEQMIX_INLINE_LAMBDA {
            const Vec* c = coefficient[n] + P::w + 4 * r;
            sum = fnma(c[1], im[n], fma(c[0], re[n], sum));
        });
        v[r] = set1(reduce_add(sum));
    });
    alignas(64) float tile[kWidth * kWidth] = {};
    alignas(64) float u[kWidth] = {};
    for (int64_t first = 0; first < a.tokens; first += kWidth) {
        const int64_t count = a.tokens - first < kWidth ? a.tokens - first : kWidth;
        for (int64_t t = 0; t < count; ++t) {
            u[t] = a.u[(first + t) * a.u_stride];
            Sums<kRank> sums = no_sums<kRank>();
            const Vec in = set1(u[t]);
            unroll<kVectors>([&](auto n) SEQMIX_INLINE_LAMBDA {
                advance<kRank, kSigns>([&](int i)
                                           SEQMIX_INLINE_LAMBDA { return coefficient[n][i]; },
                                       re[n], im[n], in, v, sums);
            });
            unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA { v[r] = set1(reduce_add(sums.v[r])); });
            store(tile + t * kWidth, sums.y);
        }
        put_tile(a, first, count, tile, u);
    }
    unroll<kVectors>([&](auto n) SEQMIX_INLINE_LAMBDA {
        store(x + 2 * n * kWidth, re[n]);
        store(x + (2 * n + 1) * kWidth, im[n]);
    });
}

// Any number of modes and outputs, in memory.
template <int kRank, bool kSigns>
void stored_modes(const DiagonalScanArgs& a, int64_t vectors, float* x) {
    using P = Parts<kRank, kSigns>;
    const int64_t parts = P::c + 2 * a.outputs;
    Vec v[kRank > 0 ? kRank : 1];
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA {
        v[r] = set1(reduce_add(project(a.records, parts, P::w + 4 * r, vectors, x, kWidth)));
    });
    for (int64_t t = 0; t < a.tokens; ++t) {
        const float u = a.u[t * a.u_stride];
        const Sums<kRank> sums =
            update_all<kRank, kSigns>(a.records, parts, vectors, x, kWidth, set1(u), v);
        unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA { v[r] = set1(reduce_add(sums.v[r])); });
        for (int64_t o = 0; o < a.outputs; ++o) {
            float out = reduce_add(
                o == 0 ? sums.y : project(a.records, parts, P::c + 2 * o, vectors, x, kWidth));
            if (a.skip != nullptr) out += a.skip[o * a.skip_stride] * u;
            float* y = a.y + t * a.y_stride + o * a.output_stride;
            *y = a.add ? *y + out : out;
        }
    }
}

template <int kRank, bool kSigns>
void modes_as(const DiagonalScanArgs& args) {
    const DiagonalScanArgs a = args;
    const int64_t vectors = (a.modes + kWidth - 1) / kWidth;
    float* x = a.scratch;
    for (int64_t i = 0; i < vectors * kWidth; ++i) {
        float* at = x + i / kWidth * 2 * kWidth + i % kWidth;
        at[0] = i < a.modes ? a.x[2 * i * a.x_stride] : 0.0f;
        at[kWidth] = i < a.modes ? a.x[(2 * i + 1) * a.x_stride] : 0.0f;
    }
    switch (a.outputs == 1 && vectors <= kMostHeld ? vectors : 0) {
        case 1: held_modes<1, kRank, kSigns>(a, x); break;
        case 2: held_modes<2, kRank, kSigns>(a, x); break;
        case 3: held_modes<3, kRank, kSigns>(a, x); break;
        case 4: held_modes<4, kRank, kSigns>(a, x); break;
        default: stored_modes<kRank, kSigns>(a, vectors, x);
    }
    for (int64_t i = 0; i < a.modes; ++i) {
        const float* at = x + i / kWidth * 2 * kWidth + i % kWidth;
        a.x[2 * i * a.x_stride] = at[0];
        a.x[(2 * i + 1) * a.x_stride] = at[kWidth];
    }
}

template <bool kModes, int kRank>
void scan_as(const DiagonalScanArgs& a) {
    const auto with = kModes ? modes_as<kRank, true> : channels_as<kRank, true>;
    const auto without = kModes ? modes_as<kRank, false> : channels_as<kRank, false>;
    (a.signs ? with : without)(a);
}

template <bool kModes>
void scan(const DiagonalScanArgs& a) {
    (a.rank == 0 ? scan_as<kModes, 0> : a.rank == 1 ? scan_as<kModes, 1> : scan_as<kModes, 2>)(a);
}

}  // namespace

extern const DiagonalScanKernels diagonal_scan_kernels;
const DiagonalScanKernels diagonal_scan_kernels = {kWidth, scan<false>, scan<true>};

}  // namespace seqmix::SEQMIX_ISA
