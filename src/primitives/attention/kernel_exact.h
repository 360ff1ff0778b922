// Tiles of queries in f32, whatever type keys and values are stored in. For each block of keys and each
// panel: scores, edges and masks, the running maximum, powers, products. Part of kernel.cpp.
#pragma once

#include "primitives/attention/kernel_panels.h"
#include "primitives/attention/kernel_tiles.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kPanelRows = kVecs * kWidth;
constexpr int64_t kMostRows = kPanels * kPanelRows;

void load_queries(const AttentionArgs& a, const Panel& p) {
    for (int64_t v = 0; v < p.vecs; ++v) {
        const int64_t live = p.rows - v * kWidth;
        const float* q = a.q + (p.first + v * kWidth) * a.q_stride;
        for (int64_t d = 0; d < a.dk; d += kWidth) {
            Vec tile[kWidth];
            for (int r = 0; r < kWidth; ++r) {
                tile[r] = r < live ? load_n(q + r * a.q_stride + d, a.dk - d) * set1(score_scale(a))
                                   : zero();
            }
            transpose(tile);
            for (int r = 0; r < kWidth && d + r < a.dk; ++r) {
                store(p.q + ((d + r) * p.vecs + v) * kWidth, tile[r]);
            }
        }
    }
}

// s = 2^(s - maximum); the running maximum and sum go on. Returns whether a maximum rose; `factors`
// is by how much what was summed before shrinks.
template <int kCount>
bool powers(const Block& b, const Panel& p, float* s, float* factors) {
    Vec most[kCount], sum[kCount];
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) most[v] = load(p.most + v * kWidth);
    for (int64_t j = 0; j < b.count; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
            most[v] = max(most[v], load(s + (j * kCount + v) * kWidth));
        }
    }
    bool rose = false;
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
        const Vec before = load(p.most + v * kWidth);
        rose = rose || any(gt(most[v], before));
        store(p.most + v * kWidth, most[v]);
        // A row that has seen nothing: every power below is that of -inf, 0.
        most[v] = select(eq(most[v], hidden()), zero(), most[v]);
        const Vec factor = exp2_fast(before - most[v], set1(1.0f));
        store(factors + v * kWidth, factor);
        sum[v] = load(p.sum + v * kWidth) * factor;
    }
    for (int64_t j = 0; j < b.count; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
            float* at = s + (j * kCount + v) * kWidth;
            const Vec x = exp2_fast(load(at) - most[v], set1(1.0f));
            sum[v] = sum[v] + x;
            store(at, x);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) store(p.sum + v * kWidth, sum[v]);
    return rose;
}

// ------------------------------------------------------------------ blocks

template <int kCount>
void panel_block(const AttentionArgs& a, Panel& p, Block& whole, const Next& next, float* s) {
    const int64_t last = p.position + (p.rows - 1) * a.position_step;
    Block b = whole;
    // Not the keys behind those that the last row sees: 32 of a causal panel's, on average.
    if (a.right >= 0 && b.count > last + a.right + 1 - b.first) {
        b.count = last + a.right + 1 - b.first;
    }
    const int64_t end = b.first + b.count - 1;
    if (b.count <= 0 || (a.left >= 0 && end < p.position - a.left)) {
        return;  // no row sees a key of it
    }
    const bool edge = a.mask != nullptr || (a.right >= 0 && end > p.position + a.right) ||
                      (a.left >= 0 && b.first < last - a.left);
    scores<kCount>(b.count, a.dk, b.k, b.k_stride, p.q, s, next.k);
    if (a.softcap > 0 || a.slopes != nullptr || a.bias != nullptr) adjust_scores(a, p, b, s);
    if (edge) hide_scores(a, p, b, s);
    float factors[kVecs * kWidth];
    const bool rose = powers<kCount>(b, p, s, factors);
    const float* before = p.fresh ? nullptr : p.out;
    // A hidden key's value times 0 is 0 if it is finite.
    if (edge && !whole.all_finite(a.dv)) {
        values<kCount, true>(b.count, a.dv, b.v, b.v_stride, s, rose ? factors : nullptr, before,
                             p.out, next.v);
    } else {
        values<kCount, false>(b.count, a.dv, b.v, b.v_stride, s, rose ? factors : nullptr, before,
                              p.out, next.v);
    }
    p.fresh = false;
}

struct Memory {
    Panel panels[kPanels];
    int64_t count = 0;
    float *s, *k, *v;
};

void tile_block(const AttentionArgs& a, const Source& source, Memory& m) {
    // Where panels share them, dense: rows some kilobytes apart evict each other.
    Block b = source.block(a, m.count > 1, m.k, m.v);
    for (int64_t i = 0; i < m.count; ++i) {
        Panel& p = m.panels[i];
        const Next next = source.next(a, i, m.count);
        if (p.vecs == 1) {
            panel_block<1>(a, p, b, next, m.s);
        } else if (kVecs == 2 || p.vecs == 2) {
            panel_block<2>(a, p, b, next, m.s);
        } else {
            panel_block<kVecs>(a, p, b, next, m.s);
        }
    }
}

// Rows [row, row + rows) of the call, at most kMostRows.
void attend_tile(const AttentionArgs& a, int64_t row, int64_t rows) {
    Memory m;
    Taker take = {a.scratch};
    for (int64_t r = 0; r < rows; r += kPanelRows) {
        Panel& p = m.panels[m.count++];
        p.begin(a, row + r, rows - r < kPanelRows ? rows - r : kPanelRows, a.dk, a.dv, take);
        load_queries(a, p);
    }
    m.s = take(kAttentionKeyBlock * kPanelRows);
    m.k = take(kAttentionKeyBlock * a.dk);
    m.v = take(kAttentionKeyBlock * a.dv);
    for_blocks(a, row, rows, [&](const Source& source) { tile_block(a, source, m); });
    for (int64_t i = 0; i < m.count; ++i) store_outputs(a, m.panels[i]);
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
