// gemm with so few rows of x that a lane for each would be mostly idle: the lanes are outputs, and
// tiles of weights are transposed in registers and feed the sums at once. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_transpose.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// A tile takes kWidth registers, the sums one for each row.
constexpr int64_t kDirectRows = kWidth >= 16 ? 8 : 4;

// How weights are read: as f32 of a type, or as words of several elements.
template <WeightType kType, Words kWords>
struct DirectRead {
    static constexpr bool kWhole = kWords != Words::f32;
    static constexpr WeightType kTile =
        kWhole ? WeightType::f32 : kType;                 // a word is as wide as f32
    static constexpr int kColumns = kTileColumns<kTile>;  // elements of x that a tile meets
    static constexpr int64_t kBytes = kTileBytesOf<kTile>;
};

// The rows of x that a block meets: f32 as the caller has them, or words.
struct DirectRows {
    const float* x;
    ptrdiff_t x_stride;
    int64_t m0;
};

template <Words kWords, int kRows>
SEQMIX_INLINE void feed(const Vec w, const float* x, ptrdiff_t x_stride, Vec (&acc)[kRows]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        float element;
        __builtin_memcpy(&element, x + r * x_stride, sizeof element);
        acc[r] = step<kWords, false>(set1(element), w, acc[r]);
    }
}

// kRows rows; outputs n0 .. n0 + kVecs * kWidth, the last vector as far as it exists.
template <WeightType kType, Words kWords, int kRows, int kVecs>
void direct_block(const GemmArgs& args, const DirectRows& in, int64_t n0, float* sums) {
    using Read = DirectRead<kType, kWords>;
    constexpr WeightType tile_type = Read::kTile;
    constexpr int columns = Read::kColumns;
    const ptrdiff_t row = weight_bytes(kType, args.w_stride);
    const unsigned char* w = static_cast<const unsigned char*>(args.w) + n0 * row;
    const float* x = in.x;
    const int64_t rows = args.n - n0;
    Vec acc[kVecs][kRows];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            acc[v][r] = zero();
        }
    }
    int64_t left = weight_bytes(kType, args.k);
    for (; left >= Read::kBytes; left -= Read::kBytes) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            const unsigned char* p = w + v * kWidth * row;
            Tile<tile_type> tile;
            if (rows >= (v + 1) * kWidth) {
                load_tile<tile_type>(p, row, tile);
                prefetch_tile(p, row, left, kVecs * kWidth * row);
            } else {
                load_edge_tile<tile_type>(p, row, rows - v * kWidth, Read::kBytes, tile);
            }
#pragma GCC unroll 32
            for (int j = 0; j < columns; ++j) {
                feed<kWords>(column<tile_type>(tile, j), x + j, in.x_stride, acc[v]);
            }
        }
        w += Read::kBytes;
        x += columns;
    }
    if (left > 0) {  // not of whole blocks
        const auto some = static_cast<int>((left + kSize<tile_type> - 1) / kSize<tile_type>);
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            Tile<tile_type> tile;
            load_edge_tile<tile_type>(w + v * kWidth * row, row, rows - v * kWidth, left, tile);
            for (int j = 0; j < some; ++j) {
                feed<kWords>(column<tile_type>(tile, j), x + j, in.x_stride, acc[v]);
            }
        }
    }
    constexpr ptrdiff_t stride = kVecs * kWidth;
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            store(sums + r * stride + v * kWidth, acc[v][r]);
        }
    }
    finish(args, {in.m0, kRows, n0, min_of(stride, args.n - n0), sums, stride, nullptr});
}

template <WeightType kType, Words kWords, int kRows>
void direct_rows(const GemmArgs& args, const DirectRows& in, int64_t rows, float* sums) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            direct_rows<kType, kWords, kRows - 1>(args, in, rows, sums);
            return;
        }
    }
    // Two vectors of outputs, where they fit into registers, hide each other's latency.
    int64_t n0 = 0;
    if constexpr (kRows <= 4) {
        for (; n0 + kWidth < args.n; n0 += 2 * kWidth) {
            direct_block<kType, kWords, kRows, 2>(args, in, n0, sums);
        }
    }
    for (; n0 < args.n; n0 += kWidth) {
        direct_block<kType, kWords, kRows, 1>(args, in, n0, sums);
    }
}

void multiply_direct(const GemmArgs& args, int64_t m0, int64_t rows, float* sums) {
    const DirectRows in{args.x + m0 * args.x_stride, args.x_stride, m0};
    switch (args.w_type) {
        case WeightType::f32:
            direct_rows<WeightType::f32, Words::f32, kDirectRows>(args, in, rows, sums);
            break;
        case WeightType::bf16:
            direct_rows<WeightType::bf16, Words::f32, kDirectRows>(args, in, rows, sums);
            break;
        case WeightType::f16:
            direct_rows<WeightType::f16, Words::f32, kDirectRows>(args, in, rows, sums);
            break;
        case WeightType::i8:
            direct_rows<WeightType::i8, Words::f32, kDirectRows>(args, in, rows, sums);
            break;
        case WeightType::q8_0:
            direct_rows<WeightType::q8_0, Words::f32, kDirectRows>(args, in, rows, sums);
            break;
    }
}

#ifdef SEQMIX_DOT
// The same in pairs, which x becomes in `words` first: all of its rows at once.
void multiply_direct_pairs(const GemmArgs& args, int64_t m0, int64_t rows, float* words,
                           float* sums) {
    const ptrdiff_t stride = (args.k + 1) / 2;
    round_rows<Words::pairs>(args, m0, rows, 0, args.k, nullptr,
                             reinterpret_cast<unsigned char*>(words), stride * 4);
    const DirectRows in{words, stride, m0};
    direct_rows<WeightType::bf16, Words::pairs, kDirectRows>(args, in, rows, sums);
}
#endif

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
