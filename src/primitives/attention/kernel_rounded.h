// Tiles of queries with operands rounded to bf16 (attention.h, numerics). Each block of keys is packed once
// for all panels of a tile: scores, edges and masks, the maximum, powers as words, products with values.
// Sums come by from the second-level cache once a block, a block's words (32 KB of heads of 64) once a panel:
// blocks of 64 keys reach 0.85 of the speed, of 256 0.88. Without gain: multiplying the next panel's
// keys between the powers of this one (0.95 to 1). Part of kernel.cpp.
#pragma once

#include "primitives/attention/kernel_panels.h"
#include "primitives/attention/kernel_powers.h"
#include "primitives/attention/kernel_words.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kVecs = 2;
constexpr int kPanels = 48;
constexpr int64_t kPanelRows = kVecs * kWidth;
constexpr int64_t kMostRows = kPanels * kPanelRows;
constexpr int64_t kBlock = kRoundedBlock;
static_assert(kBlock % kChunk == 0);
// A maximum goes on unchanged while scores are above it by less: powers up to 2^8 cost nothing, and what
// was summed before is seldom multiplied.
constexpr float kSlack = 8;

// Keys base .. base + kBlock as words, those that are there in [first, end). Values that are not
// finite are packed as 0 and added one by one.
struct PackedKeys {
    int64_t base, first, end;
    unsigned char *k, *v;  // tiles (keys, dk) and (dv, keys)
    bool whole;            // all of [first, end) is there
    bool finite;
    bool there[kBlock];
    bool odd[kBlock];  // has a value that is not finite
};

// A key as it is stored.
struct StoredKey {
    const unsigned char *k = nullptr, *v = nullptr;
    const float *k_scale = nullptr, *v_scale = nullptr;
};

StoredKey find_key(const AttentionArgs& a, int64_t key) {
    const int64_t size = key_bytes(a.type);
    StoredKey found;
    for (int64_t i = 0; i < a.run_count; ++i) {
        const AttentionKeys& run = a.runs[i];
        const int64_t at = key - run.first;
        if (at < 0 || at >= run.count) continue;
        found.k = static_cast<const unsigned char*>(run.k) + at * run.k_stride * size;
        found.v = static_cast<const unsigned char*>(run.v) + at * run.v_stride * size;
        if (run.k_scales != nullptr) found.k_scale = run.k_scales + at * run.k_scale_stride;
        if (run.v_scales != nullptr) found.v_scale = run.v_scales + at * run.v_scale_stride;
    }
    return found;
}

// The keys that are packed next, fetched a few at a time while panels are worked off.
struct KeysAhead {
    int64_t next, end, at_once;
    void fetch(const AttentionArgs& a) {
        const int64_t size = key_bytes(a.type);
        for (int64_t n = next + at_once < end ? next + at_once : end; next < n; ++next) {
            const StoredKey key = find_key(a, next);
            for (int64_t i = 0; i < a.dk * size; i += 64) __builtin_prefetch(key.k + i, 0, 2);
            for (int64_t i = 0; i < a.dv * size; i += 64) __builtin_prefetch(key.v + i, 0, 2);
        }
    }
};

// ------------------------------------------------------------------ packing

void pack_queries(const AttentionArgs& a, const Panel& p) {
    const float sign = query_scale(a);
    for (int64_t v = 0; v < p.vecs; ++v) {
        const int64_t live = p.rows - v * kWidth;
        const float* q = a.q + (p.first + v * kWidth) * a.q_stride;
        for (int64_t c = 0; c < chunks_of(a.dk); ++c) {
            Vec tile[kWidth];
#pragma GCC unroll 16
            for (int r = 0; r < kWidth; ++r) {
                const auto* row = reinterpret_cast<const unsigned char*>(q + r * a.q_stride);
                tile[r] = r < live
                              ? from_bits({load_words(row, KeyType::f32, &sign, c * kChunk, a.dk)})
                              : zero();
            }
            transpose(tile);
#pragma GCC unroll 16
            for (int j = 0; j < kTile; ++j) {
                store(p.q + ((c * kTile + j) * p.vecs + v) * kWidth, tile[j]);
            }
        }
    }
}

// Halves that are infinite or no number become 0; says whether there were any.
SEQMIX_INLINE bool drop_not_finite(__m512i& words) {
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    const __mmask32 odd = _mm512_cmpeq_epi16_mask(_mm512_and_si512(words, exponent), exponent);
    words = _mm512_mask_mov_epi16(words, odd, _mm512_setzero_si512());
    return odd != 0;
}

void pack_values(const AttentionArgs& a, const StoredKey* keys, int64_t chunk, PackedKeys& block) {
    constexpr ptrdiff_t kColumnTiles = kBlock / kChunk * kTileBytes;
    for (int64_t d = 0; d < a.dv; d += kChunk) {
        Vec first[kWidth], last[kWidth];
        for (int c = 0; c < kTile; ++c) {
            __m512i pair[2];
            for (int i = 0; i < 2; ++i) {
                const StoredKey& key = keys[2 * c + i];
                pair[i] = key.v == nullptr ? _mm512_setzero_si512()
                                           : load_words(key.v, a.type, key.v_scale, d, a.dv);
                if (drop_not_finite(pair[i])) {
                    block.finite = false;
                    block.odd[chunk * kChunk + 2 * c + i] = true;
                }
            }
            const Pairs words = interleave(pair[0], pair[1]);
            first[c] = from_bits({words.first});
            last[c] = from_bits({words.last});
        }
        unsigned char* to = block.v + d / kTile * kColumnTiles + chunk * kTileBytes;
        transpose(first);
        for (int r = 0; r < kTile; ++r) store(reinterpret_cast<float*>(to) + r * kTile, first[r]);
        if (a.dv - d <= kTile) continue;
        to += kColumnTiles;
        transpose(last);
        for (int r = 0; r < kTile; ++r) store(reinterpret_cast<float*>(to) + r * kTile, last[r]);
    }
}

// Those of [first, end).
void pack_keys(const AttentionArgs& a, int64_t first, int64_t end, PackedKeys& block) {
    const int64_t chunks = chunks_of(a.dk);
    block.first = end;
    block.end = first;
    block.finite = true;
    int64_t count = 0;
    for (int64_t j = block.base; j < end; j += kChunk) {
        StoredKey keys[kChunk];
        const int64_t at = j - block.base;
        for (int64_t r = 0; r < kChunk; ++r) {
            if (j + r >= first && j + r < end) keys[r] = find_key(a, j + r);
            const bool there = keys[r].k != nullptr;
            block.there[at + r] = there;
            block.odd[at + r] = false;
            if (there) {
                block.first = count == 0 ? j + r : block.first;
                block.end = j + r + 1;
                ++count;
            }
            unsigned char* to =
                block.k + (at + r) / kTile * chunks * kTileBytes + (at + r) % kTile * 64;
            for (int64_t c = 0; c < chunks; ++c, to += kTileBytes) {
                const __m512i words =
                    there ? load_words(keys[r].k, a.type, keys[r].k_scale, c * kChunk, a.dk)
                          : _mm512_setzero_si512();
                _mm512_storeu_si512(to, words);
            }
        }
        pack_values(a, keys, at / kChunk, block);
    }
    block.whole = count == block.end - block.first;
}

// ------------------------------------------------------------------ scores and weights

// The keys of a block that are there and in the window of a panel's rows, and the chunks that hold them.
struct Sight {
    int64_t first, end;
    int64_t from, keys;  // of the block
};

Sight look(const AttentionArgs& a, const Panel& p, const PackedKeys& block) {
    const int64_t last = p.position + (p.rows - 1) * a.position_step;
    Sight sight = {block.first, block.end, 0, 0};
    if (a.right >= 0 && sight.end > last + a.right + 1) sight.end = last + a.right + 1;
    if (a.left >= 0 && sight.first < p.position - a.left) sight.first = p.position - a.left;
    if (sight.first < sight.end) {
        sight.from = (sight.first - block.base) / kChunk * kChunk;
        sight.keys = chunks_of(sight.end - block.base - sight.from) * kChunk;
    }
    return sight;
}

// Scores become those of the softmax: s (sight.keys, vecs).
template <int kCount>
void adjust_and_hide(const AttentionArgs& a, const Panel& p, const PackedKeys& block,
                     const Sight& sight, float* s) {
    const int64_t at = block.base + sight.from, first = sight.first, end = sight.end;
    const auto hide = [&](int64_t from, int64_t to) {
        for (int64_t i = (from - at) * kCount; i < (to - at) * kCount; ++i) {
            store(s + i * kWidth, hidden());
        }
    };
    const Block seen = {first, end - first, nullptr, nullptr, 0, 0};
    float* of_seen = s + (first - at) * kCount * kWidth;
    if (a.softcap > 0 || a.slopes != nullptr || a.bias != nullptr) {
        const Vec scale = set1(scores_scale(a));
        for (int64_t i = 0; i < seen.count * kCount; ++i) {
            store(of_seen + i * kWidth, load(of_seen + i * kWidth) * scale);
        }
        adjust_scores(a, p, seen, of_seen);
    }
    const int64_t last = p.position + (p.rows - 1) * a.position_step;
    if (a.mask != nullptr || (a.right >= 0 && end - 1 > p.position + a.right) ||
        (a.left >= 0 && first < last - a.left)) {
        hide_scores(a, p, seen, of_seen);
    }
    hide(at, first);
    hide(end, at + sight.keys);
    for (int64_t j = first; j < end && !block.whole; ++j) {
        if (!block.there[j - block.base]) hide(j, j + 1);
    }
}

// What scores are multiplied with on their way to powers.
SEQMIX_INLINE float late_scale(const AttentionArgs& a) {
    const bool adjusted = a.softcap > 0 || a.slopes != nullptr || a.bias != nullptr;
    return adjusted ? 1.0f : scores_scale(a);
}

// The running maxima, whole numbers so that factors are powers of two, exactly. Returns whether one rose;
// sums are multiplied here, `factors` is for what products have summed.
template <int kCount>
bool raise(const Panel& p, int64_t keys, Vec scale, const float* s, float* factors) {
    constexpr int kChains = 4;  // for each vector: the next needs the one before
    Vec most[kChains][kCount];
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v) most[i][v] = hidden();
    }
    for (int64_t j = 0; j < keys; j += kChains) {
#pragma GCC unroll 4
        for (int i = 0; i < kChains; ++i) {
#pragma GCC unroll 2
            for (int v = 0; v < kCount; ++v) {
                most[i][v] = max(most[i][v], load(s + ((j + i) * kCount + v) * kWidth));
            }
        }
    }
    bool rose = false;
#pragma GCC unroll 2
    for (int v = 0; v < kCount; ++v) {
        const Vec top = max(max(most[0][v], most[1][v]), max(most[2][v], most[3][v])) * scale;
        const Vec before = load(p.most + v * kWidth);
        const Mask rises = gt(top, before + set1(kSlack));
        rose = rose || any(rises);
        const Vec after = select(rises, round_nearest(top), before);
        store(p.most + v * kWidth, after);
        const Vec base = select(eq(after, hidden()), zero(), after);
        const Vec factor = select(rises, exp2_fast(before - base, set1(1.0f)), set1(1.0f));
        store(factors + v * kWidth, factor);
        store(p.sum + v * kWidth, load(p.sum + v * kWidth) * factor);
    }
    return rose;
}

// w = 2^(s - maximum) as words (keys / 2, kCount), and their sums.
template <int kCount>
void weights_of(const Panel& p, int64_t keys, Vec scale, const float* s, float* w) {
    Vec base[kCount], sum[kCount];
#pragma GCC unroll 2
    for (int v = 0; v < kCount; ++v) {
        const Vec most = load(p.most + v * kWidth);
        // A row that has seen nothing: every power is that of -inf, 0.
        base[v] = set1(0.5f) - select(eq(most, hidden()), zero(), most);
        sum[v] = load(p.sum + v * kWidth);
    }
    for (int64_t j = 0; j < keys; j += 2, w += kCount * kWidth) {
#pragma GCC unroll 2
        for (int v = 0; v < kCount; ++v, s += kWidth) {
            const Vec first = power(fma(load(s), scale, base[v]));
            const Vec second = power(fma(load(s + kCount * kWidth), scale, base[v]));
            sum[v] = sum[v] + first + second;
            store(w + v * kWidth, round_pair(first, second));
        }
        s += kCount * kWidth;
    }
#pragma GCC unroll 2
    for (int v = 0; v < kCount; ++v) store(p.sum + v * kWidth, sum[v]);
}

// ------------------------------------------------------------------ blocks

// Values that are not finite, where a weight is not 0.
void add_not_finite(const AttentionArgs& a, const Panel& p, const PackedKeys& block,
                    const Sight& sight, const float* w) {
    const int64_t size = key_bytes(a.type);
    for (int64_t j = 0; j < sight.keys; ++j) {
        if (!block.odd[sight.from + j]) continue;
        const StoredKey key = find_key(a, block.base + sight.from + j);
        for (int64_t d = 0; d < a.dv; ++d) {
            float value;
            copy_rows(key.v + d * size, 0, a.type, key.v_scale, 0, 1, 1, &value);
            if (value - value == 0) continue;
            for (int64_t v = 0; v < p.vecs; ++v) {
                const IVec pair = bits_of(load(w + (j / 2 * p.vecs + v) * kWidth));
                const Vec weight =
                    from_bits(j % 2 == 0 ? shift_left<16>(pair) : pair & iset1(-65536));
                float* out = p.out + (d * p.vecs + v) * kWidth;
                const Vec sum = load(out);
                store(out, select(eq(weight, zero()), sum, fma(weight, set1(value), sum)));
            }
        }
    }
}

template <int kCount>
void rounded_block(const AttentionArgs& a, Panel& p, const PackedKeys& block, float* s, float* w) {
    constexpr ptrdiff_t kColumnTiles = kBlock / kChunk * kTileBytes;
    const Sight sight = look(a, p, block);
    if (sight.keys == 0) return;
    const int64_t chunks = chunks_of(a.dk);
    const Vec scale = set1(late_scale(a));
    multiply<kCount>(sight.keys / kTile, block.k + sight.from / kTile * chunks * kTileBytes,
                     chunks * kTileBytes, chunks, p.q, false, s);
    adjust_and_hide<kCount>(a, p, block, sight, s);
    float factors[kCount * kWidth];
    if (raise<kCount>(p, sight.keys, scale, s, factors) && !p.fresh) {
        for (int64_t d = 0; d < a.dv; ++d) {
            for (int v = 0; v < kCount; ++v) {
                float* out = p.out + (d * kCount + v) * kWidth;
                store(out, load(out) * load(factors + v * kWidth));
            }
        }
    }
    weights_of<kCount>(p, sight.keys, scale, s, w);
    multiply<kCount>(tiles_of(a.dv), block.v + sight.from / kChunk * kTileBytes, kColumnTiles,
                     sight.keys / kChunk, w, !p.fresh, p.out);
    p.fresh = false;
    if (!block.finite) add_not_finite(a, p, block, sight, w);
}

// Rows [row, row + rows) of the call, at most kMostRows.
void attend_tile(const AttentionArgs& a, int64_t row, int64_t rows) {
#ifdef SEQMIX_TILES
    const TileRegisters registers;
#endif
    Panel panels[kPanels];
    int64_t count = 0;
    Taker take = {a.scratch};
    for (int64_t r = 0; r < rows; r += kPanelRows) {
        Panel& p = panels[count++];
        p.begin(a, row + r, rows - r < kPanelRows ? rows - r : kPanelRows, chunks_of(a.dk) * kTile,
                tiles_of(a.dv) * kTile, take);
        pack_queries(a, p);
    }
    PackedKeys block;
    block.k = reinterpret_cast<unsigned char*>(take(kBlock * chunks_of(a.dk) * kTile));
    block.v = reinterpret_cast<unsigned char*>(take(kBlock * tiles_of(a.dv) * kTile / 2));
    float* s = take(kBlock * kPanelRows);
    float* w = take(kBlock / 2 * kPanelRows);
    // The keys that any of these rows may see.
    int64_t first = 0, end = 0;
    if (a.run_count > 0) {
        const int64_t position = panels[0].position;
        const int64_t last = position + (rows - 1) * a.position_step;
        const AttentionKeys& run = a.runs[a.run_count - 1];
        first = a.runs[0].first;
        end = run.first + run.count;
        if (a.left >= 0 && first < position - a.left) first = position - a.left;
        if (a.right >= 0 && end > last + a.right + 1) end = last + a.right + 1;
    }
    for (block.base = first - first % kBlock; block.base < end; block.base += kBlock) {
        const int64_t stop = block.base + kBlock;
        pack_keys(a, first > block.base ? first : block.base, end < stop ? end : stop, block);
        KeysAhead ahead = {stop, end < stop + kBlock ? end : stop + kBlock, kBlock / count + 1};
        for (int64_t i = 0; i < count; ++i) {
            ahead.fetch(a);
            if (panels[i].vecs == 1) {
                rounded_block<1>(a, panels[i], block, s, w);
            } else {
                rounded_block<2>(a, panels[i], block, s, w);
            }
        }
    }
    for (int64_t i = 0; i < count; ++i) store_outputs(a, panels[i]);
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
