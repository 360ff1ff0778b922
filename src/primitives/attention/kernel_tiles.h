// The two register tiles of attention: scores and weighted values. Part of kernel.cpp.
//
// Both have kRows by kVecs sums in registers, vectors of queries from memory and one element
// broadcast for each row of the tile.
#pragma once

#include "primitives/attention/kernel_blocks.h"
#include "simd/row_pointers.h"
#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

#if SEQMIX_ISA_LEVEL == 2
constexpr int kVecs = 3, kRows = 8, kPanels = 16;
#elif SEQMIX_ISA_LEVEL == 1
constexpr int kVecs = 2, kRows = 6, kPanels = 32;
#else
constexpr int kVecs = 2, kRows = 4, kPanels = 32;
#endif

SEQMIX_INLINE Vec broadcast(const unsigned char* p) {
    float element;
    __builtin_memcpy(&element, p, sizeof element);
    return set1(element);
}

// s[r] = sum_d k[r][d] q[d]: kTile keys, kCount vectors of queries.
template <int kTile, int kCount>
__attribute__((noinline)) void score_tile(int64_t dk, const float* k, ptrdiff_t k_stride,
                                          const float* q, float* s) {
    Vec acc[kTile][kCount];
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) acc[r][v] = zero();
    }
    RowPointers<kTile> rows(reinterpret_cast<const unsigned char*>(k),
                            k_stride * static_cast<ptrdiff_t>(sizeof(float)));
    for (int64_t d = 0; d < dk; ++d, q += kCount * kWidth) {
        Vec b[kCount];
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) b[v] = load(q + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kTile; ++r) {
            const Vec x = broadcast(rows.at(r));
#pragma GCC unroll 4
            for (int v = 0; v < kCount; ++v) acc[r][v] = fma(x, b[v], acc[r][v]);
        }
        rows.advance(sizeof(float));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) store(s + (r * kCount + v) * kWidth, acc[r][v]);
    }
}

// s: (keys, kCount) vectors.
template <int kCount>
void scores(int64_t keys, int64_t dk, const float* k, ptrdiff_t k_stride, const float* q, float* s,
            Ahead ahead) {
    ahead.at_once = (ahead.rows * kRows + keys - 1) / keys;
    int64_t j = 0;
    for (; j + kRows <= keys; j += kRows) {
        ahead.fetch();
        score_tile<kRows, kCount>(dk, k + j * k_stride, k_stride, q, s + j * kCount * kWidth);
    }
    for (; j < keys; ++j) {
        score_tile<1, kCount>(dk, k + j * k_stride, k_stride, q, s + j * kCount * kWidth);
    }
}

// out[d] = before[d] factors + sum_j w[j] v[j][d]: kTile columns of the values. kGuard: a weight of 0
// hides its value, whatever that is.
template <int kTile, int kCount, bool kGuard>
__attribute__((noinline)) void value_tile(int64_t keys, const float* v, ptrdiff_t v_stride,
                                          const float* w, const float* factors, const float* before,
                                          float* out) {
    Vec acc[kTile][kCount];
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) {
            acc[r][i] = before != nullptr ? load(before + (r * kCount + i) * kWidth) : zero();
        }
    }
    if (factors != nullptr) {
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) {
            const Vec factor = load(factors + i * kWidth);
#pragma GCC unroll 8
            for (int r = 0; r < kTile; ++r) acc[r][i] = acc[r][i] * factor;
        }
    }
    const auto* at = reinterpret_cast<const unsigned char*>(v);
    const ptrdiff_t step = v_stride * static_cast<ptrdiff_t>(sizeof(float));
    for (int64_t j = 0; j < keys; ++j, w += kCount * kWidth, at += step) {
        Vec b[kCount];
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) b[i] = load(w + i * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kTile; ++r) {
            const Vec x = broadcast(at + r * ptrdiff_t{sizeof(float)});
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) {
                const Vec sum = fma(x, b[i], acc[r][i]);
                acc[r][i] = kGuard ? select(eq(b[i], zero()), acc[r][i], sum) : sum;
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) store(out + (r * kCount + i) * kWidth, acc[r][i]);
    }
}

// before, out: (dv, kCount) vectors; before null: from 0.
template <int kCount, bool kGuard>
void values(int64_t keys, int64_t dv, const float* v, ptrdiff_t v_stride, const float* w,
            const float* factors, const float* before, float* out, Ahead ahead) {
    ahead.at_once = (ahead.rows * kRows + dv - 1) / dv;
    int64_t d = 0;
    const auto at = [&]() SEQMIX_INLINE_LAMBDA {
        return before == nullptr ? nullptr : before + d * kCount * kWidth;
    };
    for (; d + kRows <= dv; d += kRows) {
        ahead.fetch();
        value_tile<kRows, kCount, kGuard>(keys, v + d, v_stride, w, factors, at(),
                                          out + d * kCount * kWidth);
    }
    for (; d < dv; ++d) {
        value_tile<1, kCount, kGuard>(keys, v + d, v_stride, w, factors, at(),
                                      out + d * kCount * kWidth);
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
