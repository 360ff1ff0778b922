// Blocked attention, hot loops. The equation and the plan are in attention.h.
//
// A tile is up to kPanels panels of up to kVecs vectors of queries. For each block of keys and each
// panel: scores, edges and masks, the running maximum, powers, products. Scratch: attention_scratch().
#include "primitives/attention/kernel.h"

#include "primitives/attention/kernel_few_rows.h"
#include "primitives/attention/kernel_tiles.h"
#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kPanelRows = kVecs * kWidth;
constexpr int64_t kMostRows = kPanels * kPanelRows;

// Queries of a panel on their way; `vecs` of the arrays' vectors are in use.
struct Panel {
    int64_t rows, vecs;
    int64_t position;   // of its first row
    int64_t first;      // row of the call
    float *q, *out;     // (dk, vecs), (dv, vecs) vectors
    float *most, *sum;  // (vecs)
    bool fresh;         // has seen no key
};

// ------------------------------------------------------------------ in and out

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

// ------------------------------------------------------------------ scores

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
        p.rows = rows - r < kPanelRows ? rows - r : kPanelRows;
        p.vecs = (p.rows + kWidth - 1) / kWidth;
        p.first = row + r;
        p.position = a.position + p.first * a.position_step;
        p.q = take(a.dk * p.vecs * kWidth);
        p.out = take(a.dv * p.vecs * kWidth);
        p.most = take(p.vecs * kWidth);
        p.sum = take(p.vecs * kWidth);
        p.fresh = true;
        for (int64_t v = 0; v < p.vecs; ++v) {
            store(p.most + v * kWidth, hidden());
            store(p.sum + v * kWidth, zero());
        }
        load_queries(a, p);
    }
    m.s = take(kAttentionKeyBlock * kPanelRows);
    m.k = take(kAttentionKeyBlock * a.dk);
    m.v = take(kAttentionKeyBlock * a.dv);
    for_blocks(a, row, rows, [&](const Source& source) { tile_block(a, source, m); });
    for (int64_t i = 0; i < m.count; ++i) store_outputs(a, m.panels[i]);
}

// At most kFewRows.
void attend_few(const AttentionArgs& a, int64_t row, int64_t rows) {
    Query queries[kFewRows];
    Taker take = {a.scratch};
    for (int64_t r = 0; r < rows; ++r)
        queries[r].load(a, row + r, take(a.dk + kWidth), take(a.dv + kWidth));
    float* s = take(kAttentionKeyBlock);
    float* k = take(kAttentionKeyBlock * a.dk);
    float* v = take(kAttentionKeyBlock * a.dv);
    for_blocks(a, row, rows, [&](const Source& source) {
        const Block b = source.block(a, false, k, v);
        for (int64_t r = 0; r < rows; ++r)
            query_block(a, queries[r], b, source.next(a, r, rows), s);
    });
    for (int64_t r = 0; r < rows; ++r) queries[r].store(a, row + r);
}

void attend(const AttentionArgs& a) {
    const int64_t tile = attention_tile_rows(kPanelRows, kMostRows, a.dk, a.dv);
    for (int64_t row = 0; row < a.rows; row += tile) {
        const int64_t rows = a.rows - row < tile ? a.rows - row : tile;
        if (rows <= kFewRows && !a.tiles) {
            attend_few(a, row, rows);
        } else {
            attend_tile(a, row, rows);
        }
    }
}

}  // namespace

extern const AttentionKernels attention_kernels = {kPanelRows, kMostRows, attend};

}  // namespace seqmix::SEQMIX_ISA
