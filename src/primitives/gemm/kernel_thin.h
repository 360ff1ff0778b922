// gemm with thin x: x becomes the panel and the weights, words already, are the rows. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel_blocks.h"
#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_multiply.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// Rows of weights that are read in whole words.
template <Words kWords>
bool can_be_thin(const GemmArgs& args, int64_t rows) {
    const int64_t bytes = weight_bytes(args.w_type, args.k);
    return rows <= kThinRows && bytes >= kThinLeastK * 4 && bytes % 4 == 0 &&
           (kWords != Words::f32 || args.w_type == WeightType::f32);
}

// A block whose sums lie [c][stride].
void finish_thin(const GemmArgs& args, const Finished& block) {
    float columns[kWidth * kWidth];
    for (int64_t c = 0; c < block.n; c += kWidth) {
        for (int64_t r = 0; r < block.rows; r += kWidth) {
            Vec tile[kWidth];
            load_transposed(bytes_of(block.sums + c * block.stride + r), block.stride * 4, tile);
#pragma GCC unroll 16
            for (int j = 0; j < kWidth; ++j) {
                store(columns + j * kWidth, tile[j]);
            }
            finish(args, {block.m0 + r, min_of(kWidth, block.rows - r), block.n0 + c,
                          min_of(kWidth, block.n - c), columns, kWidth,
                          block.scales == nullptr ? nullptr : block.scales + r});
        }
    }
}

template <Words kWords, int kVecs = 1>
void multiply_thin(const GemmArgs& args, int64_t m0, int64_t rows, const Buffers& buffers) {
    if constexpr (kVecs < kPanelVecs) {
        if (vectors(rows) > kVecs) {
            multiply_thin<kWords, kVecs + 1>(args, m0, rows, buffers);
            return;
        }
    }
    constexpr ptrdiff_t stride = kVecs * kWidth;
    constexpr int64_t most_words = kPanelFloats / stride;
    constexpr ptrdiff_t words_step = most_words * 4;
    static_assert(!kRounds || kThinRows * most_words <= kWordsFloats || kVecs < kPanelVecs);
    const ptrdiff_t step = weight_bytes(args.w_type, args.w_stride);
    const int64_t all = args.k / kPerWord<kWords>;
    const RowScale* scales = nullptr;
    if constexpr (kWords == Words::quads) {
        scales = buffers.scales;
        scale_rows<kWords>(args, m0, rows, buffers.scales);
    }
    for (int64_t n0 = 0; n0 < args.n; n0 += kThinN) {
        const int64_t n = min_of(kThinN, args.n - n0);
        const auto* w = static_cast<const unsigned char*>(args.w) + n0 * step;
        int64_t k0 = 0;
        do {
            const int64_t depth = min_of(most_words, all - k0);
            if constexpr (kWords != Words::f32) {
                auto* words = reinterpret_cast<unsigned char*>(buffers.words);
                round_rows<kWords>(args, m0, rows, k0 * kPerWord<kWords>, depth * kPerWord<kWords>,
                                   scales, words, words_step);
                pack_as<WeightType::f32>(words, words_step, rows, depth * 4, buffers.panel);
            } else {
                const unsigned char* x = bytes_of(args.x + m0 * args.x_stride + k0);
                pack_as<WeightType::f32>(x, args.x_stride * 4, rows, depth * 4, buffers.panel);
            }
            multiply_rows<kWords, kTileSums / kVecs, kVecs, true>(
                n, depth, w + k0 * 4, step, buffers.panel, k0 == 0 ? nullptr : buffers.sums, stride,
                buffers.sums, stride, {});
            k0 += depth;
        } while (k0 < all);
        finish_thin(args, {m0, rows, n0, n, buffers.sums, stride, scales});
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
