// gemm of i8 weights with few rows of rounded x: the lanes are bytes of k, by VNNI. Sums of quads are
// exact in any order, so nothing is transposed, and the weights are read as they lie, one after the
// other. Part of kernel.cpp.
#pragma once

#ifdef SEQMIX_ROUNDS

#include "primitives/gemm/kernel_dot.h"
#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_transpose.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kMostQuadRows = 8;
constexpr int64_t kVectorBytes = int64_t{kWidth} * 4;
// So far ahead are weights fetched: the hardware follows a page at a time.
constexpr int64_t kQuadsAhead = 4096;

// x as bytes: rows of whole vectors.
constexpr int64_t quads_stride(int64_t k) {
    return (k + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
}

// kOutputs rows of weights, from w on, with kRows rows of x; sums[r][output] are vectors of lanes.
template <int kRows, int kOutputs>
SEQMIX_INLINE void sum_quads(const unsigned char* w, ptrdiff_t step, int64_t k,
                             const unsigned char* x, ptrdiff_t x_step, ptrdiff_t ahead,
                             float* sums) {
    __m512i acc[kRows][kOutputs];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < kOutputs; ++i) {
            acc[r][i] = _mm512_setzero_si512();
        }
    }
    const auto add = [&](int64_t at, __mmask64 mask) SEQMIX_INLINE_LAMBDA {
        __m512i row[kOutputs];
#pragma GCC unroll 4
        for (int i = 0; i < kOutputs; ++i) {
            row[i] = _mm512_maskz_loadu_epi8(mask, w + i * step + at);
            __builtin_prefetch(w + i * step + at + ahead);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const __m512i quads = _mm512_loadu_si512(x + r * x_step + at);
#pragma GCC unroll 4
            for (int i = 0; i < kOutputs; ++i) {
                acc[r][i] = _mm512_dpbusd_epi32(acc[r][i], quads, row[i]);
            }
        }
    };
    int64_t at = 0;
    for (; at + kVectorBytes <= k; at += kVectorBytes) {
        add(at, ~__mmask64{0});
    }
    if (at < k) {
        add(at, ~__mmask64{0} >> (kVectorBytes - (k - at)));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int i = 0; i < kOutputs; ++i) {
            _mm512_storeu_si512(sums + (r * kWidth + i) * kWidth, acc[r][i]);
        }
    }
}

template <int kRows>
void quads_rows(const GemmArgs& args, int64_t m0, int64_t rows, const unsigned char* x,
                const RowScale* scales) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            quads_rows<kRows - 1>(args, m0, rows, x, scales);
            return;
        }
    }
    constexpr int kOutputs = kRows <= 4 ? 4 : 2;
    const auto* weights = static_cast<const unsigned char*>(args.w);
    const ptrdiff_t step = args.w_stride, x_step = quads_stride(args.k);
    const ptrdiff_t ahead = (kQuadsAhead / (kOutputs * args.k + 1) + 1) * kOutputs * step;
    for (int64_t n0 = 0; n0 < args.n; n0 += kWidth) {
        const int64_t n = min_of(kWidth, args.n - n0);
        float lanes[kRows * kWidth * kWidth];
        const unsigned char* w = weights + n0 * step;
        int64_t i = 0;
        for (; i + kOutputs <= n; i += kOutputs) {
            sum_quads<kRows, kOutputs>(w + i * step, step, args.k, x, x_step, ahead,
                                       lanes + i * kWidth);
        }
        for (; i < n; ++i) {
            sum_quads<kRows, 1>(w + i * step, step, args.k, x, x_step, ahead, lanes + i * kWidth);
        }
        for (; i < kWidth; ++i) {  // outputs that are not there
            for (int r = 0; r < kRows; ++r) {
                store(lanes + (r * kWidth + i) * kWidth, zero());
            }
        }
        float sums[kRows * kWidth];
        for (int r = 0; r < kRows; ++r) {
            Vec tile[kWidth];
            load_transposed(bytes_of(lanes + r * kWidth * kWidth), kVectorBytes, tile);
            IVec sum = bits_of(tile[0]);
#pragma GCC unroll 16
            for (int j = 1; j < kWidth; ++j) {
                sum = sum + bits_of(tile[j]);
            }
            store(sums + r * kWidth, from_bits(sum));
        }
        finish(args, {m0, kRows, n0, n, sums, kWidth, scales});
    }
}

bool can_be_quads(const GemmArgs& args, int64_t rows, int64_t words) {
    return rows <= kMostQuadRows && rows * quads_stride(args.k) <= words * 4;
}

void multiply_quads(const GemmArgs& args, int64_t m0, int64_t rows, float* words,
                    RowScale* scales) {
    auto* x = reinterpret_cast<unsigned char*>(words);
    scale_rows<Words::quads>(args, m0, rows, scales);
    round_rows<Words::quads>(args, m0, rows, 0, args.k, scales, x, quads_stride(args.k));
    quads_rows<kMostQuadRows>(args, m0, rows, x, scales);
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA

#endif  // SEQMIX_ROUNDS
