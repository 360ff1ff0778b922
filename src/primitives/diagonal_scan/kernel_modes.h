// The recurrence of one channel with modes in the lanes, for a few channels (audio). Lanes' sums are left to
// tiles of kWidth tokens, but for the feedback, which the next token needs.
#pragma once

#include "primitives/diagonal_scan/kernel_step.h"

namespace seqmix::SEQMIX_ISA {
namespace {

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

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
