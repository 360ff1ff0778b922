// Products of rounded operands by AMX: y^T = W x^T in tiles of 16 outputs x 16 rows of x, over chunks of
// 64 bytes of k. The weights are the left operand, read where they lie; x is packed once for all of
// them. Part of kernel.cpp.
#pragma once

#ifdef SEQMIX_TILES

#include "primitives/gemm/kernel_blocks.h"
#include "primitives/gemm/kernel_dot.h"
#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_thin.h"
#include "simd/amx.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// Two tiles of outputs (or one) as the left operand: the first chunk of the first row, and distances.
// Chunks from `whole` on, and all of them at the last outputs, lie in `edge` as tiles.
struct TileWeights {
    const unsigned char* w;
    ptrdiff_t row;
    int64_t whole;
    const unsigned char* edge;
};

#define SEQMIX_MULTIPLY_TILES(sums, w, x)       \
    do {                                        \
        if constexpr (kWords == Words::pairs) { \
            _tile_dpbf16ps(sums, w, x);         \
        } else {                                \
            _tile_dpbsud(sums, w, x);           \
        }                                       \
    } while (0)

// A block of sums, 32 outputs x 32 rows of x: its first kN x kM tiles = (themselves or 0) + W x^T.
template <Words kWords, int kN, int kM>
void multiply_pairs(const TileWeights& weights, int64_t chunks, const unsigned char* x, bool add,
                    float* sums) {
    constexpr ptrdiff_t step = kPair * kTile * 4;
    const ptrdiff_t x_group = chunks * kTileBytes;
    float* below = sums + kTile * kPair * kTile;
    if (add) {
        _tile_loadd(0, sums, step);
        if constexpr (kM > 1) _tile_loadd(1, sums + kTile, step);
        if constexpr (kN > 1) _tile_loadd(2, below, step);
        if constexpr (kN > 1 && kM > 1) _tile_loadd(3, below + kTile, step);
    } else {
        _tile_zero(0);
        if constexpr (kM > 1) _tile_zero(1);
        if constexpr (kN > 1) _tile_zero(2);
        if constexpr (kN > 1 && kM > 1) _tile_zero(3);
    }
    const unsigned char* w = weights.w;
    ptrdiff_t row = weights.row, chunk = kChunk;
    for (int64_t c = 0; c < chunks; ++c) {
        if (c == weights.whole) {
            w = weights.edge;
            row = kChunk;
            chunk = kPair * kTileBytes;
        }
        _tile_loadd(4, w, row);
        if constexpr (kN > 1) _tile_loadd(5, w + kTile * row, row);
        _tile_loadd(6, x, kChunk);
        if constexpr (kM > 1) _tile_loadd(7, x + x_group, kChunk);
        SEQMIX_MULTIPLY_TILES(0, 4, 6);
        if constexpr (kM > 1) SEQMIX_MULTIPLY_TILES(1, 4, 7);
        if constexpr (kN > 1) SEQMIX_MULTIPLY_TILES(2, 5, 6);
        if constexpr (kN > 1 && kM > 1) SEQMIX_MULTIPLY_TILES(3, 5, 7);
        w += chunk;
        x += kTileBytes;
    }
    _tile_stored(0, sums, step);
    if constexpr (kM > 1) _tile_stored(1, sums + kTile, step);
    if constexpr (kN > 1) _tile_stored(2, below, step);
    if constexpr (kN > 1 && kM > 1) _tile_stored(3, below + kTile, step);
}
#undef SEQMIX_MULTIPLY_TILES

template <Words kWords>
void multiply_block_of_tiles(int64_t outputs, int64_t rows, const TileWeights& weights,
                             int64_t chunks, const unsigned char* x, bool add, float* sums) {
    if (outputs > kTile && rows > kTile) {
        multiply_pairs<kWords, 2, 2>(weights, chunks, x, add, sums);
    } else if (outputs > kTile) {
        multiply_pairs<kWords, 2, 1>(weights, chunks, x, add, sums);
    } else if (rows > kTile) {
        multiply_pairs<kWords, 1, 2>(weights, chunks, x, add, sums);
    } else {
        multiply_pairs<kWords, 1, 1>(weights, chunks, x, add, sums);
    }
}

// Elements k0 .. k0 + count of rows m0 .. m0 + rows of x as tiles [group of 16 rows][chunk], each
// transposed: a row of words for 16 rows of x. With the first elements, the scales of quads.
template <Words kWords>
void pack_tiles(const GemmArgs& args, int64_t m0, int64_t rows, int64_t k0, int64_t count,
                int64_t chunks, RowScale* scales, float* rounded, float* packed) {
    auto* words = reinterpret_cast<unsigned char*>(rounded);
    constexpr ptrdiff_t step = kRowsWords * 4;
    // Words that no element reaches: the rest of the last chunk.
    const int64_t filled = (count + kPerWord<kWords> - 1) / kPerWord<kWords>;
    for (int64_t r = 0; r < kTile; ++r) {
        for (int64_t i = filled; i < chunks * kTile; ++i) {
            rounded[r * kRowsWords + i] = 0.0f;
        }
    }
    for (int64_t group = 0; group < rows; group += kTile) {
        const int64_t some = min_of(kTile, rows - group);
        if (kWords == Words::quads && k0 == 0) {
            scale_rows<kWords>(args, m0 + group, some, scales + group);
        }
        round_rows<kWords>(args, m0 + group, some, k0, count,
                           scales == nullptr ? nullptr : scales + group, words, step);
        // Rows that are not there keep what was there: their columns of y are not stored.
        for (int64_t c = 0; c < chunks; ++c) {
            Vec tile[kWidth];
            load_transposed(words + c * kChunk, step, tile);
#pragma GCC unroll 16
            for (int j = 0; j < kWidth; ++j) {
                store(packed + j * kTile, tile[j]);
            }
            packed += kTileFloats;
        }
    }
}

// Weights that cannot be read as whole tiles, as [chunk][pair of tiles]: chunks from `first` on of
// `outputs` rows, whose `bytes` begin at w.
void copy_edge(const unsigned char* w, ptrdiff_t row, int64_t outputs, int64_t first,
               int64_t chunks, int64_t bytes, unsigned char* edge) {
    for (int64_t c = first; c < chunks; ++c) {
        const int64_t some = min_of(kChunk, bytes - c * kChunk);
        const __mmask64 real = ~__mmask64{0} >> (kChunk - some);
        for (int64_t n = 0; n < kPair * kTile; ++n) {
            const __mmask64 mask = n < outputs ? real : 0;
            const __m512i bits = _mm512_maskz_loadu_epi8(mask, w + n * row + c * kChunk);
            _mm512_storeu_si512(edge, bits);
            edge += kChunk;
        }
    }
}

// A block of y, in blocks of x and of weights that fit: rows of y are written some hundred outputs at a
// time, for 32 at a time each line of them is in another page. Where k is longer than x is packed at
// once, sums of as many outputs as fit wait for the rest of it.
template <Words kWords>
void multiply_in_tiles(const GemmArgs& args, int64_t m0, int64_t rows, const Buffers& buffers) {
    constexpr int64_t per_chunk = kTile * kPerWord<kWords>;  // elements
    constexpr int64_t pair = kPair * kTile;
    constexpr int64_t block_floats = pair * pair;
    constexpr int64_t blocks = kBlockM * kBlockN / block_floats;  // that wait
    const int64_t size = weight_bytes(args.w_type, 1);
    const ptrdiff_t row = args.w_stride * size;
    const auto* weights = static_cast<const unsigned char*>(args.w);
    float* packed = buffers.words;
    float* rounded = packed + kPackedFloats;
    auto* edge = reinterpret_cast<unsigned char*>(rounded + kRoundedFloats);
    const auto scales_from = [&](int64_t r) {
        return kWords == Words::quads ? buffers.scales + r : nullptr;
    };
    const int64_t all = (args.k + per_chunk - 1) / per_chunk;
    const int64_t most_chunks = min_of(all, kMostChunks);
    const bool whole = most_chunks == all;
    const int64_t most_rows = all == 0 ? rows : kPackedTiles / most_chunks / kPair * pair;
    for (int64_t first = 0; first < rows; first += most_rows) {
        const int64_t m = min_of(most_rows, rows - first);
        const int64_t m_blocks = (m + pair - 1) / pair;
        int64_t outputs = all == 0 ? kPair : min_of(kPairs, kWeightTiles / most_chunks / kPair);
        outputs = (whole ? outputs : min_of(outputs, blocks / m_blocks)) * pair;
        for (int64_t begin = 0; begin < args.n; begin += outputs) {
            const int64_t end = min_of(begin + outputs, args.n);
            int64_t c0 = 0;
            do {
                const int64_t chunks = min_of(most_chunks, all - c0);
                const int64_t k0 = c0 * per_chunk;
                const int64_t count = min_of(chunks * per_chunk, args.k - k0);
                if (begin == 0 || !whole) {
                    pack_tiles<kWords>(args, m0 + first, m, k0, count, chunks, scales_from(first),
                                       rounded, packed);
                }
                TileWeights tiles[kPairs];
                unsigned char* free_edge = edge;
                for (int64_t n0 = begin; n0 < end; n0 += pair) {
                    const int64_t n = min_of(pair, end - n0);
                    TileWeights& t = tiles[(n0 - begin) / pair];
                    t = {weights + n0 * row + k0 * size, row,
                         n % kTile == 0 ? count / per_chunk : 0, free_edge};
                    copy_edge(t.w, row, n, t.whole, chunks, count * size, free_edge);
                    free_edge += (chunks - t.whole) * kPair * kTileBytes;
                }
                const bool last = c0 + chunks == all;
                float* sums = buffers.sums;
                for (int64_t r = 0; r < m; r += pair) {
                    const int64_t some = min_of(pair, m - r);
                    const auto* x = reinterpret_cast<const unsigned char*>(packed) +
                                    r / kTile * chunks * kTileBytes;
                    for (int64_t n0 = begin; n0 < end; n0 += pair) {
                        const int64_t n = min_of(pair, end - n0);
                        multiply_block_of_tiles<kWords>(n, some, tiles[(n0 - begin) / pair], chunks,
                                                        x, c0 > 0, sums);
                        if (last) {
                            finish_thin(args, {m0 + first + r, some, n0, n, sums, pair,
                                               scales_from(first + r)});
                        }
                        sums += whole ? 0 : block_floats;
                    }
                }
                c0 += chunks;
            } while (c0 < all);
        }
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA

#endif  // SEQMIX_TILES
