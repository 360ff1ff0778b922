// Tiles of a matrix in memory, transposed on the way into registers.
#pragma once

#include "base/isa_safe.h"
#include "simd/row_pointers.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

#if SEQMIX_ISA_LEVEL >= 1
SEQMIX_INLINE __m128 load_piece(const unsigned char* p) {
    return _mm_loadu_ps(reinterpret_cast<const float*>(p));
}
#endif

// tile[j] lane r = 32-bit word j of the row at p + r * step bytes, for the first kWords of each row, a
// multiple of 4 and of the width or half of it. Loads that put 128-bit pieces into their lanes leave half
// of the shuffles of transpose().
template <int kWords>
SEQMIX_INLINE void load_transposed(const unsigned char* p, ptrdiff_t step, Vec (&tile)[kWords]) {
#if SEQMIX_ISA_LEVEL == 2
    const RowPointers<kWidth> rows(p, step);
#pragma GCC unroll 16
    for (int i = 0; i < kWords; ++i) {
        const int row = i % 4, at = i / 4 * 16;
        __m512 v = _mm512_castps128_ps512(load_piece(rows.at(row) + at));
        v = _mm512_mask_broadcast_f32x4(v, 0x00f0, load_piece(rows.at(row + 4) + at));
        v = _mm512_mask_broadcast_f32x4(v, 0x0f00, load_piece(rows.at(row + 8) + at));
        tile[i].v = _mm512_mask_broadcast_f32x4(v, 0xf000, load_piece(rows.at(row + 12) + at));
    }
#pragma GCC unroll 4
    for (int i = 0; i < kWords; i += 4) {
        transpose_quad(tile[i].v, tile[i + 1].v, tile[i + 2].v, tile[i + 3].v);
    }
#elif SEQMIX_ISA_LEVEL == 1
    const RowPointers<kWidth> rows(p, step);
#pragma GCC unroll 8
    for (int i = 0; i < kWords; ++i) {
        const int row = i % 4, at = i / 4 * 16;
        tile[i].v = _mm256_insertf128_ps(_mm256_castps128_ps256(load_piece(rows.at(row) + at)),
                                         load_piece(rows.at(row + 4) + at), 1);
    }
#pragma GCC unroll 2
    for (int i = 0; i < kWords; i += 4) {
        transpose_quad(tile[i].v, tile[i + 1].v, tile[i + 2].v, tile[i + 3].v);
    }
#else
#pragma GCC unroll 16
    for (int i = 0; i < kWords; i += kWidth) {
        Vec square[kWidth];
        for (int r = 0; r < kWidth; ++r) {
            float words[kWidth];
            __builtin_memcpy(words, p + r * step + i * 4, sizeof words);
            square[r] = load(words);
        }
        transpose(square);
        for (int r = 0; r < kWidth; ++r) tile[i + r] = square[r];
    }
#endif
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
