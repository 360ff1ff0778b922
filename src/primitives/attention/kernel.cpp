// Blocked attention, hot loops. The equation and the plan are in attention.h.
//
// A tile is up to kPanels panels of up to kVecs vectors of queries. For each block of keys and each
// panel: scores (key by query) from the transposed queries, edges and masks, the running maximum,
// powers, and products with the values (value column by query). Scratch: attention_scratch().
#include "primitives/attention/kernel.h"

#include "primitives/attention/kernel_tiles.h"
#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kPanelRows = kVecs * kWidth;
constexpr int64_t kTileRows = kPanels * kPanelRows;
static_assert(kTileRows <= kMostAttentionRows && kPanelRows <= 48);
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

SEQMIX_INLINE Vec hidden() { return -from_bits(iset1(0x7f800000)); }

// Queries of a panel on their way; `vecs` of the arrays' vectors are in use.
struct Panel {
    int64_t rows, vecs;
    int64_t position;   // of its first row
    int64_t first;      // row of the call
    float *q, *out;     // (dk, vecs), (dv, vecs) vectors
    float *most, *sum;  // (vecs)
    bool fresh;         // has seen no key
};

struct Block {
    int64_t first, count;  // keys
    const float *k, *v;
    ptrdiff_t k_stride, v_stride;
    bool finite;  // values, where some rows do not see some keys
};

// ------------------------------------------------------------------ in and out

SEQMIX_INLINE float per_row(const float* values, ptrdiff_t step, int64_t row) {
    return values[row * step];
}

void load_queries(const AttentionArgs& a, const Panel& p, float scale) {
    for (int64_t v = 0; v < p.vecs; ++v) {
        const int64_t live = p.rows - v * kWidth;
        const float* q = a.q + (p.first + v * kWidth) * a.q_stride;
        for (int64_t d = 0; d < a.dk; d += kWidth) {
            Vec tile[kWidth];
            for (int r = 0; r < kWidth; ++r) {
                tile[r] =
                    r < live ? load_n(q + r * a.q_stride + d, a.dk - d) * set1(scale) : zero();
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
                sinks[r] = per_row(a.sinks, a.sinks_step, row + r) * kLog2e;
            }
            const Vec sink = load(sinks), next = max(most, sink);
            const Vec base = select(eq(next, hidden()), zero(), next);
            factor = exp2_fast(most - base, set1(1.0f));
            sum = fma(sum, factor, exp2_fast(sink - base, set1(1.0f)));
            most = next;
        }
        if (a.lse != nullptr) {
            float lse[kWidth];
            store(lse, fma(most, set1(kLn2), log(sum)));
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
            if (a.slopes != nullptr) slopes[r] = per_row(a.slopes, a.slopes_step, row + r) * kLog2e;
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
void panel_block(const AttentionArgs& a, Panel& p, const Block& b, float* s) {
    const int64_t last = p.position + (p.rows - 1) * a.position_step, end = b.first + b.count - 1;
    if ((a.right >= 0 && b.first > last + a.right) || (a.left >= 0 && end < p.position - a.left)) {
        return;  // no row sees a key of it
    }
    const bool edge = a.mask != nullptr || (a.right >= 0 && end > p.position + a.right) ||
                      (a.left >= 0 && b.first < last - a.left);
    scores<kCount>(b.count, a.dk, b.k, b.k_stride, p.q, s);
    if (a.softcap > 0 || a.slopes != nullptr || a.bias != nullptr) adjust_scores(a, p, b, s);
    if (edge) hide_scores(a, p, b, s);
    float factors[kVecs * kWidth];
    const bool rose = powers<kCount>(b, p, s, factors);
    const float* before = p.fresh ? nullptr : p.out;
    if (edge && !b.finite) {
        values<kCount, true>(b.count, a.dv, b.v, b.v_stride, s, rose ? factors : nullptr, before,
                             p.out);
    } else {
        values<kCount, false>(b.count, a.dv, b.v, b.v_stride, s, rose ? factors : nullptr, before,
                              p.out);
    }
    p.fresh = false;
}

// Rows of 16-bit elements as f32, dense.
void widen(const void* from, ptrdiff_t stride, WeightType type, int64_t rows, int64_t width,
           float* to) {
    const auto* p = static_cast<const uint16_t*>(from);
    for (int64_t r = 0; r < rows; ++r, p += stride, to += width) {
        for (int64_t d = 0; d < width; d += kWidth) {
            const int64_t n = width - d;
            store_n(to + d, type == WeightType::bf16 ? load_bf16_n(p + d, n) : load_f16_n(p + d, n),
                    n);
        }
    }
}

bool all_finite(const float* v, ptrdiff_t stride, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t d = 0; d < width; d += kWidth) {
            const Vec x = load_n(v + r * stride + d, width - d);
            if (!all(eq(x - x, zero()))) return false;
        }
    }
    return true;
}

struct Memory {
    Panel panels[kPanels];
    int64_t count = 0;
    float *s, *k, *v;
};

void attend_block(const AttentionArgs& a, const AttentionKeys& run, int64_t first, int64_t count,
                  Memory& m) {
    const int64_t from = first - run.first;
    Block b = {first, count, nullptr, nullptr, run.k_stride, run.v_stride, true};
    if (a.type == WeightType::f32) {
        b.k = static_cast<const float*>(run.k) + from * run.k_stride;
        b.v = static_cast<const float*>(run.v) + from * run.v_stride;
    } else {
        widen(static_cast<const uint16_t*>(run.k) + from * run.k_stride, run.k_stride, a.type,
              count, a.dk, m.k);
        widen(static_cast<const uint16_t*>(run.v) + from * run.v_stride, run.v_stride, a.type,
              count, a.dv, m.v);
        b.k = m.k;
        b.v = m.v;
        b.k_stride = a.dk;
        b.v_stride = a.dv;
    }
    // A hidden key's value times 0 is 0 if it is finite.
    if (a.mask != nullptr || a.left >= 0 || a.right >= 0) {
        b.finite = all_finite(b.v, b.v_stride, count, a.dv);
    }
    for (int64_t i = 0; i < m.count; ++i) {
        Panel& p = m.panels[i];
        if (p.vecs == 1) {
            panel_block<1>(a, p, b, m.s);
        } else if (kVecs == 2 || p.vecs == 2) {
            panel_block<2>(a, p, b, m.s);
        } else {
            panel_block<kVecs>(a, p, b, m.s);
        }
    }
}

// Rows [row, row + rows) of the call, at most kTileRows.
void attend_tile(const AttentionArgs& a, int64_t row, int64_t rows) {
    Memory m;
    float* at = a.scratch;
    const auto take = [&](int64_t floats) SEQMIX_INLINE_LAMBDA {
        float* taken = at;
        at += (floats + 15) / 16 * 16;
        return taken;
    };
    const float scale = a.softcap > 0 ? a.scale / a.softcap : a.scale * kLog2e;
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
        load_queries(a, p, scale);
    }
    m.s = take(kAttentionKeyBlock * kPanelRows);
    m.k = take(kAttentionKeyBlock * a.dk);
    m.v = take(kAttentionKeyBlock * a.dv);
    const int64_t position = a.position + row * a.position_step;
    const int64_t last = position + (rows - 1) * a.position_step;
    for (int64_t i = 0; i < a.run_count; ++i) {
        const AttentionKeys& run = a.runs[i];
        int64_t first = run.first, end = run.first + run.count;
        if (a.left >= 0 && first < position - a.left) first = position - a.left;
        if (a.right >= 0 && end > last + a.right + 1) end = last + a.right + 1;
        while (first < end) {
            const int64_t next = (first / kAttentionKeyBlock + 1) * kAttentionKeyBlock;
            const int64_t stop = next < end ? next : end;
            attend_block(a, run, first, stop - first, m);
            first = stop;
        }
    }
    for (int64_t i = 0; i < m.count; ++i) store_outputs(a, m.panels[i]);
}

void attend(const AttentionArgs& a) {
    for (int64_t row = 0; row < a.rows; row += kTileRows) {
        attend_tile(a, row, a.rows - row < kTileRows ? a.rows - row : kTileRows);
    }
}

}  // namespace

extern const AttentionKernels attention_kernels = {kTileRows, attend};

}  // namespace seqmix::SEQMIX_ISA
