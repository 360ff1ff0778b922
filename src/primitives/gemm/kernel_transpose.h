// How gemm's kernels read a matrix stored in rows: square tiles transposed in registers, and panels
// made of them. Part of kernel.cpp.
#pragma once

#include "base/isa_safe.h"
#include "simd/load_transposed.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t vectors(int64_t n) { return (n + kWidth - 1) / kWidth; }
SEQMIX_INLINE const unsigned char* bytes_of(const float* p) {
    return reinterpret_cast<const unsigned char*>(p);
}

// A tile is kWidth rows of 32-bit words, transposed: kWidth words of one f32 or two bf16 each, or a
// block of q8_0, whose words hold four. f16 and i8 are widened on the way: taking words apart costs more
// shuffles than it saves.
template <WeightType kType>
struct Tile {
    Vec words[kWidth];
};
template <>
struct Tile<WeightType::q8_0> {
    Vec words[kQ8Block / 4];
    Vec factors;
};
template <WeightType kType>
constexpr int64_t kSize = weight_bytes(kType, 1);
template <>
constexpr int64_t kSize<WeightType::q8_0> = kQ8Bytes;  // of a block
template <WeightType kType>
constexpr int kTileColumns = kType == WeightType::bf16   ? 2 * kWidth
                             : kType == WeightType::q8_0 ? static_cast<int>(kQ8Block)
                                                         : kWidth;
template <WeightType kType>
constexpr int64_t kTileBytesOf = weight_bytes(kType, kTileColumns<kType>);
// Rows are more streams than the hardware follows: fetch this far ahead in each.
constexpr int64_t kAheadBytes = 256;

template <WeightType kType>
SEQMIX_INLINE Vec load_widened(const unsigned char* p) {
    if constexpr (kType == WeightType::i8) {
        int8_t lanes[kWidth];
        __builtin_memcpy(lanes, p, sizeof lanes);
        return load_i8_n(lanes, kWidth);
    } else {
        uint16_t lanes[kWidth];
        __builtin_memcpy(lanes, p, sizeof lanes);
        return load_f16(lanes);
    }
}

SEQMIX_INLINE Vec load_factors(const unsigned char* p, ptrdiff_t step) {
    uint16_t factors[kWidth];
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        __builtin_memcpy(factors + r, p + r * step, sizeof factors[r]);
    }
    return load_f16(factors);
}

// Byte i of each word, signed.
SEQMIX_INLINE IVec byte_of(IVec words, int i) {
    switch (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? i : 3 - i) {
        case 0: return shift_right<24>(shift_left<24>(words));
        case 1: return shift_right<24>(shift_left<16>(words));
        case 2: return shift_right<24>(shift_left<8>(words));
        default: return shift_right<24>(words);
    }
}

// A tile whose first row and column are at p; column<kType>(tile, j) lane r is then its column j.
template <WeightType kType>
SEQMIX_INLINE void load_tile(const unsigned char* p, ptrdiff_t step, Tile<kType>& tile) {
    if constexpr (kType == WeightType::f16 || kType == WeightType::i8) {
#pragma GCC unroll 16
        for (int r = 0; r < kWidth; ++r) {
            tile.words[r] = load_widened<kType>(p + r * step);
        }
        transpose(tile.words);
    } else if constexpr (kType == WeightType::q8_0) {
        tile.factors = load_factors(p, step);
        load_transposed(p + kQ8Bytes - kQ8Block, step, tile.words);
    } else {
        load_transposed(p, step, tile.words);
    }
}
template <WeightType kType>
SEQMIX_INLINE Vec column(const Tile<kType>& tile, int j) {
    if constexpr (kType == WeightType::bf16) {
        constexpr int kLow = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1;
        const IVec pair = bits_of(tile.words[j / 2]);
        return from_bits(j % 2 == kLow ? shift_left<16>(pair) : pair & iset1(-65536));
    } else if constexpr (kType == WeightType::q8_0) {  // exact: 11 bits times 8
        return to_float(byte_of(bits_of(tile.words[j / 4]), j % 4)) * tile.factors;
    } else {
        return tile.words[j];
    }
}

// A tile at the edge of a matrix, where only some rows and some bytes of a row exist, by way of the
// stack: nothing else is read. The other rows give lanes that are never stored, the other bytes are 0.
template <WeightType kType>
void load_edge_tile(const unsigned char* p, ptrdiff_t step, int64_t rows, int64_t bytes,
                    Tile<kType>& tile) {
    constexpr int64_t whole = kTileBytesOf<kType>;
    unsigned char copy[kWidth * whole] = {};
    for (int64_t r = 0; r < min_of(rows, kWidth); ++r) {
        if (bytes >= whole) {
            __builtin_memcpy(copy + r * whole, p + r * step, whole);
        } else {
            for (int64_t i = 0; i < bytes; ++i) {
                copy[r * whole + i] = p[r * step + i];
            }
        }
    }
    load_tile<kType>(copy, whole, tile);
}

// Fetches what will be read kAheadBytes after p, where `left` bytes of its row remain: in the same
// rows or, past their end, in those `down` bytes below.
SEQMIX_INLINE void prefetch_tile(const unsigned char* p, ptrdiff_t step, int64_t left,
                                 ptrdiff_t down) {
    const unsigned char* at = p + kAheadBytes + (kAheadBytes < left ? 0 : down - left);
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        __builtin_prefetch(at + r * step);
    }
}

// n rows of so many bytes to a panel [k][vectors(n) * kWidth] of f32; lanes beyond n hold 0. With kType
// f32 the rows may be words of any kind: the last is filled up with zeros.
template <WeightType kType>
void pack_as(const unsigned char* w, ptrdiff_t step, int64_t n, int64_t bytes, float* panel) {
    constexpr int columns = kTileColumns<kType>;
    constexpr int64_t whole = kTileBytesOf<kType>;
    const int64_t stride = vectors(n) * kWidth;
    for (int64_t first = 0; first < n; first += kWidth) {
        const unsigned char* p = w + first * step;
        const int64_t rows = n - first;
        float* out = panel + first;
        int64_t left = bytes;
        for (; left >= whole; left -= whole) {
            Tile<kType> tile;
            if (rows >= kWidth) {
                load_tile<kType>(p, step, tile);
                prefetch_tile(p, step, left, kWidth * step);
            } else {
                load_edge_tile<kType>(p, step, rows, whole, tile);
            }
#pragma GCC unroll 32
            for (int j = 0; j < columns; ++j) {
                store(out + j * stride, column<kType>(tile, j));
            }
            p += whole;
            out += columns * stride;
        }
        if (left > 0) {
            const auto some = static_cast<int>((left + kSize<kType> - 1) / kSize<kType>);
            Tile<kType> tile;
            load_edge_tile<kType>(p, step, rows, left, tile);
            for (int j = 0; j < some; ++j) {
                store(out + j * stride, column<kType>(tile, j));
            }
        }
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
