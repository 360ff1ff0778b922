// Products of bf16 pairs: both operands as words of two elements. Part of kernel.cpp, where it rounds.
//
// The left operand (keys, or columns of values) is tiles of 16 rows by 16 words, 1 KB each and dense;
// the right one (queries, or weights) is (words, kVecs) vectors, a query to a lane. Sums are (rows,
// kVecs) vectors.
#pragma once

#include "primitives/attention/kernel_blocks.h"
#include "simd/load_transposed.h"
#ifdef SEQMIX_TILES
#include "simd/amx.h"
#endif

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kTile = 16;          // rows of a tile, and its words in a row
constexpr int64_t kChunk = 2 * kTile;  // elements of a row of a tile
constexpr int64_t kTileFloats = kTile * kTile;
constexpr int64_t kTileBytes = 4 * kTileFloats;
static_assert(kTile == kWidth);

constexpr int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }
constexpr int64_t tiles_of(int64_t n) { return (n + kTile - 1) / kTile; }

// ------------------------------------------------------------------ products

#ifdef SEQMIX_TILES

// kTiles tiles of rows, `apart` bytes from each other.
template <int kTiles, int kVecs>
SEQMIX_INLINE void multiply_tiles(const unsigned char* a, ptrdiff_t apart, int64_t chunks,
                                  const float* b, bool add, float* c) {
    constexpr ptrdiff_t kStep = kVecs * kTile * 4, kBelow = kTile * kVecs * kTile;
    if (add) {
        _tile_loadd(0, c, kStep);
        if constexpr (kVecs > 1) _tile_loadd(1, c + kTile, kStep);
        if constexpr (kTiles > 1) _tile_loadd(2, c + kBelow, kStep);
        if constexpr (kTiles > 1 && kVecs > 1) _tile_loadd(3, c + kBelow + kTile, kStep);
    } else {
        _tile_zero(0);
        if constexpr (kVecs > 1) _tile_zero(1);
        if constexpr (kTiles > 1) _tile_zero(2);
        if constexpr (kTiles > 1 && kVecs > 1) _tile_zero(3);
    }
    for (int64_t i = 0; i < chunks; ++i, a += kTileBytes, b += kTile * kVecs * kTile) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, kStep);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (kVecs > 1) {
            _tile_loadd(7, b + kTile, kStep);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (kTiles > 1) {
            _tile_loadd(5, a + apart, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
        if constexpr (kTiles > 1 && kVecs > 1) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, kStep);
    if constexpr (kVecs > 1) _tile_stored(1, c + kTile, kStep);
    if constexpr (kTiles > 1) _tile_stored(2, c + kBelow, kStep);
    if constexpr (kTiles > 1 && kVecs > 1) _tile_stored(3, c + kBelow + kTile, kStep);
}

#else

// kRows rows of one tile: as many sums as registers hold beside the vectors they meet.
template <int kRows, int kVecs>
__attribute__((noinline)) void multiply_rows(const unsigned char* a, int64_t chunks, const float* b,
                                             bool add, float* c) {
    __m512 sum[kRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < kVecs; ++v) {
            sum[r][v] = add ? load(c + (r * kVecs + v) * kTile).v : _mm512_setzero_ps();
        }
    }
    for (int64_t i = 0; i < chunks; ++i, a += kTileBytes) {
        const unsigned char* word = a;
        for (int64_t w = 0; w < kTile; ++w, word += 4, b += kVecs * kTile) {
            __m512bh x[kVecs];
#pragma GCC unroll 2
            for (int v = 0; v < kVecs; ++v) x[v] = (__m512bh)load(b + v * kTile).v;
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
                int32_t pair;
                __builtin_memcpy(&pair, word + r * 64, sizeof pair);
                const auto y = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 2
                for (int v = 0; v < kVecs; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], y, x[v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < kVecs; ++v) store(c + (r * kVecs + v) * kTile, {sum[r][v]});
    }
}

template <int kTiles, int kVecs>
SEQMIX_INLINE void multiply_tiles(const unsigned char* a, ptrdiff_t apart, int64_t chunks,
                                  const float* b, bool add, float* c) {
    constexpr int kRows = 8;
    for (int t = 0; t < kTiles; ++t) {
        for (int r = 0; r < kTile; r += kRows) {
            multiply_rows<kRows, kVecs>(a + t * apart + r * 64, chunks, b, add,
                                        c + (t * kTile + r) * kVecs * kTile);
        }
    }
}

#endif

// c (16 tiles, kVecs) = (itself or 0) + a b over `chunks` chunks.
template <int kVecs>
void multiply(int64_t tiles, const unsigned char* a, ptrdiff_t apart, int64_t chunks,
              const float* b, bool add, float* c) {
    for (; tiles > 1; tiles -= 2, a += 2 * apart, c += 2 * kTile * kVecs * kTile) {
        multiply_tiles<2, kVecs>(a, apart, chunks, b, add, c);
    }
    if (tiles > 0) multiply_tiles<1, kVecs>(a, apart, chunks, b, add, c);
}

// ------------------------------------------------------------------ operands

// Elements d .. d + 32 of a row, those at `width` and beyond 0, rounded: words of a tile's row.
SEQMIX_INLINE __m512i load_words(const unsigned char* row, KeyType type, const float* scale,
                                 int64_t d, int64_t width) {
    const int64_t n = width - d, after = n - kWidth;
    if (type == KeyType::bf16 && scale == nullptr) {
        const __mmask32 there = n >= kChunk ? ~__mmask32{0} : (__mmask32{1} << n) - 1;
        return _mm512_maskz_loadu_epi16(there, row + 2 * d);
    }
    const auto* wide = reinterpret_cast<const float*>(row) + d;
    const auto* half = reinterpret_cast<const uint16_t*>(row) + d;
    const auto* byte = reinterpret_cast<const int8_t*>(row) + d;
    Vec low, high;
    if (type == KeyType::f32) {
        low = load_n(wide, n);
        high = load_n(wide + kWidth, after);
    } else if (type == KeyType::bf16) {
        low = load_bf16_n(half, n);
        high = load_bf16_n(half + kWidth, after);
    } else if (type == KeyType::f16) {
        low = load_f16_n(half, n);
        high = load_f16_n(half + kWidth, after);
    } else {
        low = load_i8_n(byte, n);
        high = load_i8_n(byte + kWidth, after);
    }
    const Vec factor = set1(scale != nullptr ? *scale : 1.0f);
    return (__m512i)_mm512_cvtne2ps_pbh((high * factor).v, (low * factor).v);
}

// Words whose halves are the same elements of a (the lower ones) and of b, the first and last 16.
struct Pairs {
    __m512i first, last;
};
SEQMIX_INLINE Pairs interleave(__m512i a, __m512i b) {
    const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
    const __m512i front = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    const __m512i back = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    return {_mm512_permutex2var_epi64(low, front, high),
            _mm512_permutex2var_epi64(low, back, high)};
}

// f32 of the same queries for two keys, rounded (nearest, ties away from zero), as words.
SEQMIX_INLINE Vec round_pair(Vec first, Vec second) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i a = _mm512_add_epi32(bits_of(first).v, half);
    const __m512i b = _mm512_add_epi32(bits_of(second).v, half);
    return from_bits({_mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(a, 16), b)});
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
