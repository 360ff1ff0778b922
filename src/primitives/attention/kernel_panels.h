// Panels of queries, one to a lane: their results, and what happens to their scores beside products.
// Part of kernel.cpp.
#pragma once

#include "primitives/attention/kernel_blocks.h"
#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// Queries of a panel on their way; `vecs` of the arrays' vectors are in use.
struct Panel {
    int64_t rows, vecs;
    int64_t position;   // of its first row
    int64_t first;      // row of the call
    float *q, *out;     // (dk, vecs), (dv, vecs) vectors
    float *most, *sum;  // (vecs)
    bool fresh;         // has seen no key

    // Of `count` rows of the call from `row` on, with so many vectors of q and out to each of `vecs`.
    void begin(const AttentionArgs& a, int64_t row, int64_t count, int64_t q_vectors,
               int64_t out_vectors, Taker& take) {
        rows = count;
        vecs = (rows + kWidth - 1) / kWidth;
        first = row;
        position = a.position + first * a.position_step;
        q = take(q_vectors * vecs * kWidth);
        out = take(out_vectors * vecs * kWidth);
        most = take(vecs * kWidth);
        sum = take(vecs * kWidth);
        fresh = true;
        for (int64_t v = 0; v < vecs; ++v) {
            store(most + v * kWidth, hidden());
            store(sum + v * kWidth, zero());
        }
    }
};

void store_outputs(const AttentionArgs& a, const Panel& p) {
    for (int64_t v = 0; v < p.vecs; ++v) {
        const int64_t live = p.rows - v * kWidth, row = p.first + v * kWidth;
        Vec most = load(p.most + v * kWidth), sum = load(p.sum + v * kWidth), factor = set1(1.0f);
        if (a.sinks != nullptr) {
            float sinks[kWidth] = {};
            for (int64_t r = 0; r < kWidth && r < live; ++r) {
                sinks[r] = a.sinks[(row + r) * a.sinks_step] * kLog2e;
            }
            factor = add_sink(load(sinks), most, sum);
        }
        if (a.lse != nullptr) {
            float lse[kWidth];
            store(lse, log_sum(most, sum));
            for (int64_t r = 0; r < kWidth && r < live; ++r)
                a.lse[(row + r) * a.lse_stride] = lse[r];
        }
        factor = select(gt(sum, zero()), factor / sum, zero());
        for (int64_t d = 0; d < a.dv; d += kWidth) {
            Vec tile[kWidth];
            for (int r = 0; r < kWidth; ++r) {
                const bool there = !p.fresh && d + r < a.dv;
                tile[r] = there ? load(p.out + ((d + r) * p.vecs + v) * kWidth) * factor : zero();
            }
            transpose(tile);
            for (int r = 0; r < kWidth && r < live; ++r) {
                store_n(a.y + (row + r) * a.y_stride + d, tile[r], a.dv - d);
            }
        }
    }
}

// Rows [*from, *to) of a panel see key j by the window.
SEQMIX_INLINE void seeing_rows(const AttentionArgs& a, const Panel& p, int64_t j, int64_t* from,
                               int64_t* to) {
    *from = 0;
    *to = p.rows;
    if (a.position_step == 0) {
        if ((a.right >= 0 && j > p.position + a.right) ||
            (a.left >= 0 && j < p.position - a.left)) {
            *to = 0;
        }
        return;
    }
    if (a.right >= 0 && j - a.right - p.position > 0) *from = j - a.right - p.position;
    if (a.left >= 0 && j + a.left - p.position + 1 < p.rows) *to = j + a.left - p.position + 1;
}

// What is seldom: softcap, ALiBi, bias. s: (keys, vecs) vectors.
void adjust_scores(const AttentionArgs& a, const Panel& p, const Block& b, float* s) {
    for (int64_t v = 0; v < p.vecs; ++v) {
        float slopes[kWidth] = {}, distances[kWidth] = {};
        const int64_t live = p.rows - v * kWidth, row = p.first + v * kWidth;
        for (int64_t r = 0; r < kWidth && r < live; ++r) {
            if (a.slopes != nullptr) slopes[r] = a.slopes[(row + r) * a.slopes_step] * kLog2e;
            distances[r] =
                static_cast<float>(p.position + (v * kWidth + r) * a.position_step - b.first);
        }
        for (int64_t j = 0; j < b.count; ++j) {
            float* at = s + (j * p.vecs + v) * kWidth;
            Vec x = load(at);
            if (a.softcap > 0) x = tanh(x) * set1(a.softcap * kLog2e);
            if (a.slopes != nullptr) {
                x = fnma(load(slopes), abs(load(distances) - set1(static_cast<float>(j))), x);
            }
            if (a.bias != nullptr) {
                float bias[kWidth] = {};
                for (int64_t r = 0; r < kWidth && r < live; ++r) {
                    bias[r] = a.bias[(row + r) * a.bias_stride + b.first + j];
                }
                x = fma(load(bias), set1(kLog2e), x);
            }
            store(at, x);
        }
    }
}

// Hidden scores become -inf.
void hide_scores(const AttentionArgs& a, const Panel& p, const Block& b, float* s) {
    for (int64_t j = 0; j < b.count; ++j) {
        int64_t from, to;
        seeing_rows(a, p, b.first + j, &from, &to);
        for (int64_t v = 0; v < p.vecs; ++v) {
            float* at = s + (j * p.vecs + v) * kWidth;
            const Vec inside = select(first_n(from - v * kWidth), hidden(), load(at));
            store(at, select(first_n(to - v * kWidth), inside, hidden()));
        }
        if (a.mask == nullptr) continue;
        for (int64_t r = 0; r < p.rows; ++r) {
            if (a.mask[(p.first + r) * a.mask_stride + b.first + j] == 0) {
                store_n(s + j * p.vecs * kWidth + r, hidden(), 1);
            }
        }
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
