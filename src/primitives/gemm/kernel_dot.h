// Products in the weights' own type: a step of a chain multiplies words, which hold one f32, two bf16
// or four i8 elements of a row. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel.h"
#include "primitives/gemm/kernel_transpose.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// SEQMIX_DOT: by AVX512-BF16 and VNNI. SEQMIX_TILES: by AMX (kernel_tiles.h).
#if defined(SEQMIX_DOT) || defined(SEQMIX_TILES)
#define SEQMIX_ROUNDS
constexpr bool kRounds = true;
#else
constexpr bool kRounds = false;
#endif

// The elements of a word. VNNI wants x unsigned: q + 128 in place of q, for AMX as well.
enum class Words { f32, pairs, quads };
template <Words kWords>
constexpr int64_t kPerWord = kWords == Words::f32     ? 1
                             : kWords == Words::pairs ? 2
                                                      : 4;
// Sums of 255 * 127 fit into int32.
constexpr int64_t kMostQuads = 65536;
// Of a row of x; below, the inverse of its scale overflows.
constexpr float kLeastLargest = 0x1p-100f;

#ifdef SEQMIX_ROUNDS
Words words_of(const GemmArgs& args) {
    if (args.rounded && args.w_type == WeightType::bf16) {
        return Words::pairs;
    }
    if (args.rounded && args.w_type == WeightType::i8 && args.k <= kMostQuads) {
        return Words::quads;
    }
    return Words::f32;
}
#endif

#ifdef SEQMIX_DOT
// acc + row * panel, summed over the elements of the word. Sums of quads are int32.
template <Words kWords, bool kRowsAreWeights>
SEQMIX_INLINE Vec step(Vec row, Vec panel, Vec acc) {
    if constexpr (kWords == Words::pairs) {
        return {_mm512_dpbf16_ps(acc.v, (__m512bh)row.v, (__m512bh)panel.v)};
    } else if constexpr (kWords == Words::quads) {
        const IVec x = bits_of(kRowsAreWeights ? panel : row);
        const IVec w = bits_of(kRowsAreWeights ? row : panel);
        return from_bits({_mm512_dpbusd_epi32(bits_of(acc).v, x.v, w.v)});
    } else {
        return fma(row, panel, acc);
    }
}
#else
template <Words kWords, bool kRowsAreWeights>
SEQMIX_INLINE Vec step(Vec row, Vec panel, Vec acc) {
    static_assert(kWords == Words::f32);
    return fma(row, panel, acc);
}
#endif

// What turns the quads of a row into numbers.
struct RowScale {
    float scale, inverse;
};

// Of rows m0 .. m0 + rows of x. A row with a NaN has a NaN for its scale, one with an infinity that.
template <Words kWords>
void scale_rows(const GemmArgs& args, int64_t m0, int64_t rows, RowScale* scales);

// Elements k0 .. k0 + count of rows of x as words, each row step bytes after the one before; the last
// word is filled up with zeros.
template <Words kWords>
void round_rows(const GemmArgs& args, int64_t m0, int64_t rows, int64_t k0, int64_t count,
                const RowScale* scales, unsigned char* out, ptrdiff_t step);

#ifdef SEQMIX_ROUNDS
template <Words kWords>
void scale_rows(const GemmArgs& args, int64_t m0, int64_t rows, RowScale* scales) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int64_t r = 0; r < rows; ++r) {
        const float* x = args.x + (m0 + r) * args.x_stride;
        __m512i most = _mm512_setzero_si512();  // bits of magnitudes are ordered as these are
        int64_t k = 0;
        for (; k + kWidth <= args.k; k += kWidth) {
            most = _mm512_max_epi32(most, _mm512_and_si512(bits_of(load(x + k)).v, magnitude));
        }
        most = _mm512_max_epi32(most,
                                _mm512_and_si512(bits_of(load_n(x + k, args.k - k)).v, magnitude));
        const int32_t bits = _mm512_reduce_max_epi32(most);
        float largest;
        __builtin_memcpy(&largest, &bits, sizeof largest);
        const bool none = largest < kLeastLargest;
        scales[r] = {none ? 0.0f : largest / 127.0f, none ? 0.0f : 127.0f / largest};
    }
}

template <Words kWords>
void round_rows(const GemmArgs& args, int64_t m0, int64_t rows, int64_t k0, int64_t count,
                const RowScale* scales, unsigned char* out, ptrdiff_t step) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* x = args.x + (m0 + r) * args.x_stride + k0;
        if constexpr (kWords == Words::pairs) {
            for (int64_t k = 0; k < count; k += 2 * kWidth) {
                const __m512 low = load_n(x + k, count - k).v;
                const __m512 high = load_n(x + k + kWidth, count - k - kWidth).v;
                const auto pairs = (__m512i)_mm512_cvtne2ps_pbh(high, low);
                const int64_t words = (count - k + 1) / 2;
                _mm512_mask_storeu_epi32(out + k * 2, first_n(words).m, pairs);
            }
        } else {
            const __m512 inverse = _mm512_set1_ps(scales[r].inverse);
            for (int64_t k = 0; k < count; k += kWidth) {
                const __m512 value = _mm512_mul_ps(load_n(x + k, count - k).v, inverse);
                __m128i q = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(value));
                q = _mm_xor_si128(q, _mm_set1_epi8(-128));
                const int64_t words = (count - k + 3) / 4;
                _mm_mask_storeu_epi32(out + k, static_cast<__mmask8>(first_n(words).m & 0xf), q);
            }
        }
        out += step;
    }
}
#endif

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
