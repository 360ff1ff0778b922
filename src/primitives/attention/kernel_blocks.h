// How attention's kernels go over keys and values: block by block, the next one being fetched. Part of
// kernel.cpp.
#pragma once

#include "primitives/attention/kernel.h"
#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

// Whether operands are rounded to bf16 (attention.h, numerics).
#if defined(SEQMIX_DOT) || defined(SEQMIX_TILES)
constexpr bool kRounds = true;
SEQMIX_INLINE Vec rounded(Vec x) {
    const __m512i half = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.v));
    return from_bits(shift_left<16>({half}));
}
#else
constexpr bool kRounds = false;
SEQMIX_INLINE Vec rounded(Vec x) { return x; }
#endif

SEQMIX_INLINE Vec hidden() { return -from_bits(iset1(0x7f800000)); }

// What queries are multiplied with: scores come out in units of log 2, or of the softcap.
SEQMIX_INLINE float score_scale(const AttentionArgs& a) {
    return a.softcap > 0 ? a.scale / a.softcap : a.scale * kLog2e;
}

// Scratch, at cache lines.
struct Taker {
    float* at;
    float* operator()(int64_t floats) {
        float* taken = at;
        at += (floats + 15) / 16 * 16;
        return taken;
    }
};

// The sink joins the maximum and the sum; returns by how much sums of values shrink.
SEQMIX_INLINE Vec add_sink(Vec sink, Vec& most, Vec& sum) {
    const Vec next = max(most, sink), base = select(eq(next, hidden()), zero(), next);
    const Vec factor = exp2_fast(most - base, set1(1.0f));
    sum = fma(sum, factor, exp2_fast(sink - base, set1(1.0f)));
    most = next;
    return factor;
}
SEQMIX_INLINE Vec log_sum(Vec most, Vec sum) { return fma(most, set1(kLn2), log(sum)); }

// Rows that the next block needs, fetched a few at a time: all at once they would fill the queue that
// a tile's own loads need.
struct Ahead {
    const unsigned char* at;
    ptrdiff_t step;
    int64_t bytes, rows, at_once;
    SEQMIX_INLINE void fetch() {
        for (int64_t n = rows < at_once ? rows : at_once; n > 0; --n, --rows, at += step) {
            for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
        }
    }
};
struct Next {
    Ahead k, v;
};

struct Block {
    int64_t first, count;  // keys
    const float *k, *v;
    ptrdiff_t k_stride, v_stride;
    int finite = -1;  // values: -1 not looked at

    bool all_finite(int64_t dv) {
        if (finite >= 0) return finite != 0;
        finite = 1;
        for (int64_t r = 0; r < count; ++r) {
            for (int64_t d = 0; d < dv; d += kWidth) {
                const Vec x = load_n(v + r * v_stride + d, dv - d);
                if (!all(eq(x - x, zero()))) finite = 0;
            }
        }
        return finite != 0;
    }
};

SEQMIX_INLINE int64_t key_bytes(KeyType type) {
    return type == KeyType::f32 ? 4 : type == KeyType::i8 ? 1 : 2;
}

// Rows of keys or values as f32, dense and rounded; `scales`: one for each row, scale_stride apart, or
// null.
void copy_rows(const unsigned char* from, ptrdiff_t step, KeyType type, const float* scales,
               ptrdiff_t scale_stride, int64_t rows, int64_t width, float* to) {
    for (int64_t r = 0; r < rows; ++r, from += step, to += width) {
        const auto* wide = reinterpret_cast<const float*>(from);
        const auto* half = reinterpret_cast<const uint16_t*>(from);
        const auto* byte = reinterpret_cast<const int8_t*>(from);
        const Vec scale = set1(scales != nullptr ? scales[r * scale_stride] : 1.0f);
        for (int64_t d = 0; d < width; d += kWidth) {
            const int64_t n = width - d;
            const Vec x = type == KeyType::f32    ? load_n(wide + d, n)
                          : type == KeyType::bf16 ? load_bf16_n(half + d, n)
                          : type == KeyType::f16  ? load_f16_n(half + d, n)
                                                  : load_i8_n(byte + d, n);
            store_n(to + d, rounded(x * scale), n);
        }
    }
}

// A block as it is stored, and how many keys follow that are of interest soon.
struct Source {
    int64_t first = 0, count = 0, ahead = 0;
    const unsigned char *k = nullptr, *v = nullptr;
    ptrdiff_t k_step = 0, v_step = 0, k_stride = 0, v_stride = 0;
    const float *k_scales = nullptr, *v_scales = nullptr;
    ptrdiff_t k_scale_stride = 0, v_scale_stride = 0;

    // `dense`, or where keys are not f32 as they are: a copy in the memory at k_copy and v_copy.
    Block block(const AttentionArgs& a, bool dense, float* k_copy, float* v_copy) const {
        if (a.type == KeyType::f32 && !dense && !kRounds && k_scales == nullptr &&
            v_scales == nullptr) {
            return {first,
                    count,
                    reinterpret_cast<const float*>(k),
                    reinterpret_cast<const float*>(v),
                    k_stride,
                    v_stride};
        }
        copy_rows(k, k_step, a.type, k_scales, k_scale_stride, count, a.dk, k_copy);
        copy_rows(v, v_step, a.type, v_scales, v_scale_stride, count, a.dv, v_copy);
        return {first, count, k_copy, v_copy, a.dk, a.dv};
    }
    // Part i of n.
    Next next(const AttentionArgs& a, int64_t i, int64_t n) const {
        const int64_t begin = ahead * i / n, share = ahead * (i + 1) / n - begin;
        const int64_t size = key_bytes(a.type);
        return {{k + (count + begin) * k_step, k_step, a.dk * size, share, 0},
                {v + (count + begin) * v_step, v_step, a.dv * size, share, 0}};
    }
};

// fn(source) for the blocks of keys that rows [row, row + rows) of the call may see.
template <typename Fn>
void for_blocks(const AttentionArgs& a, int64_t row, int64_t rows, const Fn& fn) {
    const int64_t position = a.position + row * a.position_step;
    const int64_t last = position + (rows - 1) * a.position_step;
    const int64_t size = key_bytes(a.type);
    for (int64_t i = 0; i < a.run_count; ++i) {
        const AttentionKeys& run = a.runs[i];
        int64_t first = run.first, end = run.first + run.count;
        if (a.left >= 0 && first < position - a.left) first = position - a.left;
        if (a.right >= 0 && end > last + a.right + 1) end = last + a.right + 1;
        while (first < end) {
            const int64_t next = (first / kAttentionKeyBlock + 1) * kAttentionKeyBlock;
            const int64_t stop = next < end ? next : end, after = end - stop;
            Source source;
            source.first = first;
            source.count = stop - first;
            source.ahead = after < kAttentionKeyBlock ? after : kAttentionKeyBlock;
            source.k_stride = run.k_stride;
            source.v_stride = run.v_stride;
            source.k_step = run.k_stride * size;
            source.v_step = run.v_stride * size;
            source.k =
                static_cast<const unsigned char*>(run.k) + (first - run.first) * source.k_step;
            source.v =
                static_cast<const unsigned char*>(run.v) + (first - run.first) * source.v_step;
            source.k_scale_stride = run.k_scale_stride;
            source.v_scale_stride = run.v_scale_stride;
            if (run.k_scales != nullptr) {
                source.k_scales = run.k_scales + (first - run.first) * run.k_scale_stride;
            }
            if (run.v_scales != nullptr) {
                source.v_scales = run.v_scales + (first - run.first) * run.v_scale_stride;
            }
            fn(source);
            first = stop;
        }
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
