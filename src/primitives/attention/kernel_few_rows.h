// Attention of few queries, as in decoding: bound by reading keys and values, so nothing may take
// longer than that. Lanes are the columns of a key for its score, keys for the powers, columns of a
// value for the sums; each row goes over a block of keys on its own. Part of kernel.cpp.
#pragma once

#include "primitives/attention/kernel_blocks.h"
#include "primitives/attention/kernel_powers.h"
#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kFewRows = 4;

// s[j] = k[j] . q for kWidth keys; q is padded with zeros.
template <bool kTail>
SEQMIX_INLINE Vec score_keys(int64_t keys, int64_t dk, const float* k, ptrdiff_t k_stride,
                             const float* q) {
    Vec sum[kWidth];
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) sum[r] = zero();
    for (int64_t d = 0; d < dk; d += kWidth) {
        const Vec x = load(q + d);
        const Mask live = first_n(dk - d);
#pragma GCC unroll 16
        for (int r = 0; r < kWidth; ++r) {
            if (kTail && r >= keys) continue;
            sum[r] = fma(load_m(k + r * k_stride + d, live), x, sum[r]);
        }
    }
    transpose(sum);
#pragma GCC unroll 4
    for (int half = kWidth / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
        for (int r = 0; r < half; ++r) sum[r] = sum[r] + sum[r + half];
    }
    return sum[0];
}

// out[d] = out[d] factor + sum_j w[j] v[j][d]; a weight of 0 hides its value.
template <int kCount>
void sum_values(int64_t keys, const float* v, ptrdiff_t v_stride, const float* w, float factor,
                float* out, int64_t columns) {
    Vec sum[kCount];
    const Mask live = first_n(columns - (kCount - 1) * kWidth);
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) sum[i] = load(out + i * kWidth) * set1(factor);
    for (int64_t j = 0; j < keys; ++j, v += v_stride) {
        if (w[j] == 0) continue;
        const Vec weight = set1(w[j]);
#pragma GCC unroll 4
        for (int i = 0; i + 1 < kCount; ++i) sum[i] = fma(load(v + i * kWidth), weight, sum[i]);
        sum[kCount - 1] = fma(load_m(v + (kCount - 1) * kWidth, live), weight, sum[kCount - 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) store(out + i * kWidth, sum[i]);
}

// A query on its way; q and out are padded to whole vectors.
struct Query {
    float *q, *out;
    float most, sum;
    int64_t position;
    float slope;
    const float* bias;          // of key 0, or null
    const unsigned char* mask;  // likewise

    void load(const AttentionArgs& a, int64_t row, float* q_memory, float* out_memory) {
        q = q_memory;
        out = out_memory;
        most = -__builtin_inff();
        sum = 0;
        position = a.position + row * a.position_step;
        slope = a.slopes != nullptr ? a.slopes[row * a.slopes_step] * kLog2e : 0;
        bias = a.bias != nullptr ? a.bias + row * a.bias_stride : nullptr;
        mask = a.mask != nullptr ? a.mask + row * a.mask_stride : nullptr;
        for (int64_t d = 0; d < a.dk; d += kWidth) {
            const Vec x = load_n(a.q + row * a.q_stride + d, a.dk - d);
            SEQMIX_ISA::store(q + d, rounded(x * set1(query_scale(a))));
        }
        for (int64_t d = 0; d < a.dv; d += kWidth) SEQMIX_ISA::store(out + d, zero());
    }
    void store(const AttentionArgs& a, int64_t row) const {
        Vec top = set1(most), total = set1(sum), factor = set1(1.0f);
        if (a.sinks != nullptr)
            factor = add_sink(set1(a.sinks[row * a.sinks_step] * kLog2e), top, total);
        if (a.lse != nullptr) store_n(a.lse + row * a.lse_stride, log_sum(top, total), 1);
        factor = select(gt(total, zero()), factor / total, zero());
        for (int64_t d = 0; d < a.dv; d += kWidth) {
            store_n(a.y + row * a.y_stride + d, SEQMIX_ISA::load(out + d) * factor, a.dv - d);
        }
    }
};

// Scores of keys first, first + 1 ... in units of log 2, adjusted and hidden.
SEQMIX_INLINE Vec finish_scores(const AttentionArgs& a, const Query& row, int64_t first,
                                int64_t live, Vec s) {
    float lanes[kWidth];
    if (a.softcap > 0) s = tanh(s) * set1(a.softcap * kLog2e);
    if (a.slopes != nullptr) {
        for (int r = 0; r < kWidth; ++r) lanes[r] = static_cast<float>(row.position - first - r);
        s = fnma(abs(load(lanes)), set1(row.slope), s);
    }
    if (row.bias != nullptr) s = fma(load_n(row.bias + first, live), set1(kLog2e), s);
    if (row.mask != nullptr) {
        for (int r = 0; r < kWidth; ++r)
            lanes[r] = r < live && row.mask[first + r] != 0 ? 1.0f : 0.0f;
        s = select(eq(load(lanes), zero()), hidden(), s);
    }
    if (a.right >= 0) s = select(first_n(row.position + a.right + 1 - first), s, hidden());
    if (a.left >= 0) s = select(first_n(row.position - a.left - first), hidden(), s);
    return select(first_n(live), s, hidden());
}

// One row over one block of keys; s: kAttentionKeyBlock floats.
void query_block(const AttentionArgs& a, Query& row, const Block& b, Next next, float* s) {
    Vec most = set1(row.most);
    const Vec scale = set1(scores_scale(a));
    next.k.at_once = next.v.at_once = kWidth;
    for (int64_t j = 0; j < b.count; j += kWidth) {
        const int64_t live = b.count - j;
        const float* k = b.k + j * b.k_stride;
        next.k.fetch();
        Vec x = live >= kWidth ? score_keys<false>(live, a.dk, k, b.k_stride, row.q)
                               : score_keys<true>(live, a.dk, k, b.k_stride, row.q);
        x = finish_scores(a, row, b.first + j, live, x * scale);
        most = max(most, x);
        store(s + j, x);
    }
    const float before = row.most;
    row.most = reduce_max(most);
    if (kRounds && row.most > before) store_n(&row.most, round_nearest(set1(row.most)), 1);
    const float base = row.most == -__builtin_inff() ? 0.0f : row.most;
    Vec sum = zero();
    for (int64_t j = 0; j < b.count; j += kWidth) {
        const Vec x = weight_of(load(s + j) - set1(base));
        sum = sum + x;
        store(s + j, rounded_weight(x));
    }
    float factors[kWidth];
    store(factors, exp2_fast(set1(before - base), set1(1.0f)));
    row.sum = row.sum * factors[0] + reduce_add(sum);
    for (int64_t d = 0; d < a.dv; d += 4 * kWidth) {
        const int64_t columns = a.dv - d;
        const float* v = b.v + d;
        float* out = row.out + d;
        next.v.at_once = next.v.rows;
        next.v.fetch();
        if (columns > 3 * kWidth) {
            sum_values<4>(b.count, v, b.v_stride, s, factors[0], out, columns);
        } else if (columns > 2 * kWidth) {
            sum_values<3>(b.count, v, b.v_stride, s, factors[0], out, columns);
        } else if (columns > kWidth) {
            sum_values<2>(b.count, v, b.v_stride, s, factors[0], out, columns);
        } else {
            sum_values<1>(b.count, v, b.v_stride, s, factors[0], out, columns);
        }
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
