// Square tiles of a matrix in memory, transposed on the way into registers.
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

// tile[j] lane r = 32-bit word j of the row at p + r * step bytes. Loads that put 128-bit pieces into
// their lanes leave half of the shuffles of transpose().
SEQMIX_INLINE void load_transposed(const unsigned char* p, ptrdiff_t step, Vec (&tile)[kWidth]) {
#if SEQMIX_ISA_LEVEL == 2
    const RowPointers<kWidth> rows(p, step);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
        const int row = i % 4, at = i / 4 * 16;
        __m512 v = _mm512_castps128_ps512(load_piece(rows.at(row) + at));
        v = _mm512_mask_broadcast_f32x4(v, 0x00f0, load_piece(rows.at(row + 4) + at));
        v = _mm512_mask_broadcast_f32x4(v, 0x0f00, load_piece(rows.at(row + 8) + at));
        tile[i].v = _mm512_mask_broadcast_f32x4(v, 0xf000, load_piece(rows.at(row + 12) + at));
    }
#pragma GCC unroll 4
    for (int i = 0; i < kWidth; i += 4) {
        transpose_quad(tile[i].v, tile[i + 1].v, tile[i + 2].v, tile[i + 3].v);
    }
#elif SEQMIX_ISA_LEVEL == 1
    const RowPointers<kWidth> rows(p, step);
#pragma GCC unroll 8
    for (int i = 0; i < kWidth; ++i) {
        const int row = i % 4, at = i / 4 * 16;
        tile[i].v = _mm256_insertf128_ps(_mm256_castps128_ps256(load_piece(rows.at(row) + at)),
                                         load_piece(rows.at(row + 4) + at), 1);
    }
    transpose_quad(tile[0].v, tile[1].v, tile[2].v, tile[3].v);
    transpose_quad(tile[4].v, tile[5].v, tile[6].v, tile[7].v);
#else
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        float words[kWidth];
        __builtin_memcpy(words, p + r * step, sizeof words);
        tile[r] = load(words);
    }
    transpose(tile);
#endif
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
