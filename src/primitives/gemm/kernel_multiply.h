// The register tile of gemm: rows times a panel, sums in registers. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel_dot.h"
#include "primitives/gemm/kernel_transpose.h"
#include "simd/row_pointers.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kLineFloats = 16;  // a cache line
constexpr int64_t kOwnAheadBytes = 256;

// What is fetched into the second-level cache while a tile runs, as many bytes of each row as a tile
// reads of its own: two rows of the next panel's weights and kAheadX rows of x at the next steps. A
// line of each every 16 steps; all at once they would fill the queue that the tile's own loads need.
// Passed by reference: a copy is read as one vector, which waits for all stores before it.
constexpr int kAheadX = 4;
struct Ahead {
    const unsigned char *w, *x;
    ptrdiff_t w_step, x_step;
};

// out = in + rows panel^T for kRows rows (step bytes apart) and kVecs vectors of the panel, k words;
// in null: from 0. kOwn: the rows are weights, which come from memory and are fetched some steps ahead.
// Not inlined: among its callers' variables g++ keeps the loop's counter on the stack.
template <Words kWords, int kRows, int kVecs, bool kOwn>
__attribute__((noinline)) void multiply_tile(int64_t k, const unsigned char* first, ptrdiff_t row,
                                             const float* panel, const float* in,
                                             ptrdiff_t in_stride, float* out, ptrdiff_t out_stride,
                                             const Ahead& ahead) {
    Vec acc[kRows][kVecs];
    if (in != nullptr) {
#pragma GCC unroll 24
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                acc[r][v] = load(in + r * in_stride + v * kWidth);
            }
        }
    } else {
#pragma GCC unroll 24
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                acc[r][v] = zero();
            }
        }
    }
    RowPointers<kRows> rows(first, row);
    const unsigned char *own = nullptr, *w = ahead.w, *x = ahead.x;
    float* line = out + kRows * out_stride;
    for (int64_t left = k; left > 0;) {
        int64_t steps = min_of(left, kLineFloats);
        if constexpr (kOwn) {
            // Past the end of the rows: the next tile's.
            const ptrdiff_t bytes = left * ptrdiff_t{sizeof(float)};
            const ptrdiff_t all = k * ptrdiff_t{sizeof(float)};
            own = rows.at(0) + kOwnAheadBytes + (kOwnAheadBytes < bytes ? 0 : kRows * row - all);
        } else {
            __builtin_prefetch(w, 0, 2);
            __builtin_prefetch(w + ahead.w_step, 0, 2);
            w += kLineFloats * sizeof(float);
#pragma GCC unroll 4
            for (int i = 0; i < kAheadX; ++i) {
                __builtin_prefetch(x + i * ahead.x_step, 0, 2);
            }
            x += kLineFloats * sizeof(float);
            // Where the next tile's sums go: a store that waits for its line holds up those behind.
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                __builtin_prefetch(line + v * kWidth, 1, 3);
            }
            __builtin_prefetch(line + kVecs * kWidth - 1, 1, 3);
            line += out_stride;
        }
        left -= steps;
        for (; steps > 0; --steps) {
            if constexpr (kOwn) {
                // Two lines a step: more than the fill buffers hold would keep the panel waiting.
                __builtin_prefetch(own);
                __builtin_prefetch(own + row);
                own += 2 * row;
            }
            Vec b[kVecs];
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                b[v] = load(panel + v * kWidth);
            }
            panel += kVecs * kWidth;
#pragma GCC unroll 24
            for (int r = 0; r < kRows; ++r) {
                float element;
                __builtin_memcpy(&element, rows.at(r), sizeof element);
                const Vec a = set1(element);
#pragma GCC unroll 4
                for (int v = 0; v < kVecs; ++v) {
                    acc[r][v] = step<kWords, kOwn>(a, b[v], acc[r][v]);
                }
            }
            rows.advance(sizeof(float));
        }
    }
#pragma GCC unroll 24
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            store(out + r * out_stride + v * kWidth, acc[r][v]);
        }
    }
}

// The same for any number of rows: tiles of kRows, then of the next smaller powers of two.
template <Words kWords, int kRows, int kVecs, bool kOwn>
void multiply_rows(int64_t count, int64_t k, const unsigned char* rows, ptrdiff_t row,
                   const float* panel, const float* in, ptrdiff_t in_stride, float* out,
                   ptrdiff_t out_stride, const Ahead& ahead) {
    for (; count >= kRows; count -= kRows) {
        multiply_tile<kWords, kRows, kVecs, kOwn>(k, rows, row, panel, in, in_stride, out,
                                                  out_stride, ahead);
        rows += kRows * row;
        in = in == nullptr ? nullptr : in + kRows * in_stride;
        out += kRows * out_stride;
    }
    if constexpr (kRows > 1) {
        constexpr int kNext = kRows > 16 ? 16 : kRows > 8 ? 8 : kRows > 4 ? 4 : kRows / 2;
        if (count > 0) {
            multiply_rows<kWords, kNext, kVecs, kOwn>(count, k, rows, row, panel, in, in_stride,
                                                      out, out_stride, ahead);
        }
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
