// gemm with so few rows of x that a lane for each would be mostly idle: the lanes are outputs, and
// tiles of weights are transposed in registers and feed the sums at once. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_transpose.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// A tile takes kWidth registers, the sums one for each row.
constexpr int64_t kDirectRows = kWidth >= 16 ? 8 : 4;

template <int kRows>
SEQMIX_INLINE void feed(const Vec w, const float* x, ptrdiff_t x_stride, Vec (&acc)[kRows]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        acc[r] = fma(set1(x[r * x_stride]), w, acc[r]);
    }
}

// kRows rows from m0 on; outputs n0 .. n0 + kVecs * kWidth, the last vector as far as it exists.
template <WeightType kType, int kRows, int kVecs>
void direct_block(const GemmArgs& args, int64_t m0, int64_t n0, float* sums) {
    constexpr int columns = kTileColumns<kType>;
    const ptrdiff_t step = args.w_stride * kSize<kType>;
    const unsigned char* w = static_cast<const unsigned char*>(args.w) + n0 * step;
    const float* x = args.x + m0 * args.x_stride;
    const int64_t rows = args.n - n0;
    Vec acc[kVecs][kRows];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            acc[v][r] = zero();
        }
    }
    int64_t left = args.k;
    for (; left >= columns; left -= columns) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            const unsigned char* p = w + v * kWidth * step;
            Vec tile[kWidth];
            if (rows >= (v + 1) * kWidth) {
                load_tile<kType>(p, step, tile);
                prefetch_tile(p, step, left * kSize<kType>, kVecs * kWidth * step);
            } else {
                load_edge_tile<kType>(p, step, rows - v * kWidth, columns, tile);
            }
#pragma GCC unroll 32
            for (int j = 0; j < columns; ++j) {
                feed<kRows>(column<kType>(tile, j), x + j, args.x_stride, acc[v]);
            }
        }
        w += columns * kSize<kType>;
        x += columns;
    }
    if (left > 0) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            Vec tile[kWidth];
            load_edge_tile<kType>(w + v * kWidth * step, step, rows - v * kWidth, left, tile);
            for (int j = 0; j < static_cast<int>(left); ++j) {
                feed<kRows>(column<kType>(tile, j), x + j, args.x_stride, acc[v]);
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
    finish(args, m0, kRows, n0, min_of(stride, args.n - n0), sums, stride);
}

template <WeightType kType, int kRows>
void direct_rows(const GemmArgs& args, int64_t m0, int64_t rows, float* sums) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            direct_rows<kType, kRows - 1>(args, m0, rows, sums);
            return;
        }
    }
    // Two vectors of outputs, where they fit into registers, hide each other's latency.
    int64_t n0 = 0;
    if constexpr (kRows <= 4) {
        for (; n0 + kWidth < args.n; n0 += 2 * kWidth) {
            direct_block<kType, kRows, 2>(args, m0, n0, sums);
        }
    }
    for (; n0 < args.n; n0 += kWidth) {
        direct_block<kType, kRows, 1>(args, m0, n0, sums);
    }
}

void multiply_direct(const GemmArgs& args, int64_t m0, int64_t rows, float* sums) {
    switch (args.w_type) {
        case WeightType::f32:
            direct_rows<WeightType::f32, kDirectRows>(args, m0, rows, sums);
            break;
        case WeightType::bf16:
            direct_rows<WeightType::bf16, kDirectRows>(args, m0, rows, sums);
            break;
        case WeightType::f16:
            direct_rows<WeightType::f16, kDirectRows>(args, m0, rows, sums);
            break;
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
