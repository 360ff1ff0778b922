// Selective scan, hot loops. The equation is in selective_scan.h.
//
// Lanes are channels. A call copies what belongs to a block of kWidth channels (A, the state,
// constant B and C) into one record per state, in the scratch, and goes over the input in tiles of
// kTile tokens: for each block softplus over the tile, the recurrence with the records in the L1
// cache, then the gate, so that the latency of softplus and silu is not in the recurrence.
// A is multiplied by log2(e), so that the decay is one 2^x. Accumulation f32.
// Per 16 updates at avx512: 9 operations of the FMA pipes, one vreduceps, one vscalefps; per 16
// channels of a token some 42 more. Where all share two pipes (Intel's server cores) that is 5.5
// and 21 cycles; measured 6.0 for the recurrence alone, 6.8 and 21 for everything in the L2 cache.
//
// What decides is how the input arrives. While the recurrence works on a tile, it asks for the
// lines of the next one, row by row: then the hardware's streams run ahead, and 50 MB cost little.
// D1536 N16 T2048, fused, ms of the same run on a core with two 512-bit pipes (since then 1.5 ms
// less by shorter exp2_fast, softplus_fast and silu_fast):
//   tiles of 8 tokens by 1536 channels 8.1, by 768 8.4, by 256 9.8; 16 tokens by 1536 8.8, 32 10.9
//   without these requests 20; column by column (a block's next tile) 13 to 25; four lines of one
//   array, then of the next: 15 % more
// Wider than 768 would leave nothing to a second thread; what it costs is page walks (with huge
// pages 1 %).
// Tried in vain (within 2 %): states in registers, a group of 16 at a time, instead of records; two
// or four states side by side in the source (eight: 8 % slower under g++ 12), 16 unrolled; tiles of
// 4 or 12 tokens; requests two tiles ahead, into L1, for writing; requests for the next records; u
// from its row, not copied; whole blocks and tiles as cases of their own.
#include "primitives/selective_scan/kernel.h"

#include "simd/math.h"
#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kTile = 8;       // tokens; two tiles of 768 channels and their records fit 1 MB
constexpr int64_t kFewTokens = 4;  // fewer are not worth the records
constexpr float kLog2e = 1.44269502f;

// The lanes of a block that exist; whole blocks skip the masks (slow stores on some AVX2 cores).
struct Lanes {
    Mask mask;
    bool whole;
};
SEQMIX_INLINE Lanes lanes_at(const SelectiveScanArgs& a, int64_t c) {
    return {first_n(a.channels - c), a.channels - c >= kWidth};
}
SEQMIX_INLINE Vec load_lanes(const float* p, Lanes lanes) {
    return lanes.whole ? load(p) : load_m(p, lanes.mask);
}
SEQMIX_INLINE Vec load_optional(const float* p, int64_t c, Lanes lanes) {
    return p != nullptr ? load_lanes(p + c, lanes) : zero();
}
SEQMIX_INLINE void store_lanes(float* p, Vec a, Lanes lanes) {
    if (lanes.whole) {
        store(p, a);
    } else {
        store_m(p, a, lanes.mask);
    }
}

SEQMIX_INLINE Vec step_size(const SelectiveScanArgs& a, Vec delta, Vec bias) {
    const Vec dt = delta + bias;
    return a.softplus ? softplus_fast(dt) : dt;
}

// One state's update; `A` is times log2(e).
SEQMIX_INLINE Vec next_state(Vec dt, Vec A, Vec h, Vec dtu, Vec b) {
    return fma(exp2_fast(dt, A), h, dtu * b);
}

// A block's tile. All inputs but z are read before its first y is written, and each z is read
// before its y: y may be u, delta or z.
struct Tile {
    alignas(64) float dt[kTile * kWidth];
    alignas(64) float u[kTile * kWidth];  // then y
};

SEQMIX_INLINE void prepare(const SelectiveScanArgs& a, int64_t first, int64_t count, int64_t c,
                           Lanes lanes, Tile& tile) {
    const float* u = a.u + first * a.u_stride + c;
    const float* delta = a.delta + first * a.delta_stride + c;
    const Vec bias = load_optional(a.delta_bias, c, lanes);
    for (int64_t t = 0; t < count; ++t) {
        store(tile.dt + t * kWidth, step_size(a, load_lanes(delta, lanes), bias));
        store(tile.u + t * kWidth, load_lanes(u, lanes));
        u += a.u_stride;
        delta += a.delta_stride;
    }
}

SEQMIX_INLINE void finish(const SelectiveScanArgs& a, int64_t first, int64_t count, int64_t c,
                          Lanes lanes, const Tile& tile) {
    const float* z = a.z != nullptr ? a.z + first * a.z_stride + c : nullptr;
    float* out = a.y + first * a.y_stride + c;
    for (int64_t t = 0; t < count; ++t) {
        Vec y = load(tile.u + t * kWidth);
        if (z != nullptr) y = y * silu_fast(load_lanes(z + t * a.z_stride, lanes));
        store_lanes(out + t * a.y_stride, y, lanes);
    }
}

// Where the next tile's lines are asked for: token t before `end`, channel c.
struct Ahead {
    int64_t t, end, c;
};
SEQMIX_INLINE void prefetch(const SelectiveScanArgs& a, Ahead& at) {
    if (at.t >= at.end) return;
    __builtin_prefetch(a.u + at.t * a.u_stride + at.c, 0, 2);
    __builtin_prefetch(a.delta + at.t * a.delta_stride + at.c, 0, 2);
    if (a.z != nullptr) __builtin_prefetch(a.z + at.t * a.z_stride + at.c, 0, 2);
    __builtin_prefetch(a.y + at.t * a.y_stride + at.c, 1, 2);
    at.c += kWidth;
    if (at.c >= a.channels) {
        at.c = 0;
        ++at.t;
    }
}

// A block and state's constants and state: A, h, then B and C where they are constant.
template <bool kB, bool kC>
struct Record {
    static constexpr int64_t A = 0, h = kWidth, B = 2 * kWidth, C = (kB ? 2 : 3) * kWidth;
    static constexpr int64_t size = (2 + (kB ? 0 : 1) + (kC ? 0 : 1)) * kWidth;
};

template <bool kB, bool kC>
SEQMIX_INLINE void load_records(const SelectiveScanArgs& a, int64_t c, Lanes lanes, float* record) {
    using Part = Record<kB, kC>;
    for (int64_t n = 0; n < a.states; ++n, record += Part::size) {
        store(record + Part::A, load_lanes(a.A + n * a.A_stride + c, lanes) * set1(kLog2e));
        store(record + Part::h, load_lanes(a.h + n * a.h_stride + c, lanes));
        if (!kB) store(record + Part::B, load_lanes(a.B + n * a.B_stride + c, lanes));
        if (!kC) store(record + Part::C, load_lanes(a.C + n * a.C_stride + c, lanes));
    }
}

// The recurrence of one block over a tile. Even states add to one sum, odd ones to another.
template <bool kB, bool kC>
SEQMIX_INLINE void recur(const SelectiveScanArgs& a, int64_t first, int64_t count, Vec skip,
                         float* records, Tile& tile, Ahead& ahead) {
    using Part = Record<kB, kC>;
    for (int64_t t = 0; t < count; ++t) {
        prefetch(a, ahead);
        const float* b = a.B + (kB ? (first + t) * a.B_stride : 0);
        const float* cc = a.C + (kC ? (first + t) * a.C_stride : 0);
        const Vec dt = load(tile.dt + t * kWidth);
        const Vec u = load(tile.u + t * kWidth);
        const Vec dtu = dt * u;
        Vec sum[2] = {u * skip, zero()};
        float* record = records;
        int64_t n = 0;
        // kCount states from number `first_state` of the record on, side by side.
        const auto update = [&](auto first_state, auto states) SEQMIX_INLINE_LAMBDA {
            constexpr int kCount = states.value;
            float* p = record + first_state * Part::size;
            const int64_t at = n + first_state;
            Vec A[kCount], h[kCount];
            unroll<kCount>([&](auto i)
                               SEQMIX_INLINE_LAMBDA { A[i] = load(p + i * Part::size + Part::A); });
            exp2_fast(dt, A, h);
            unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA {
                const float* own = p + i * Part::size;
                h[i] = fma(h[i], load(own + Part::h),
                           dtu * (kB ? set1(b[at + i]) : load(own + Part::B)));
            });
            unroll<kCount>([&](auto i) SEQMIX_INLINE_LAMBDA {
                float* own = p + i * Part::size;
                store(own + Part::h, h[i]);
                sum[i] = fma(kC ? set1(cc[at + i]) : load(own + Part::C), h[i], sum[i]);
            });
        };
        for (; n + 8 <= a.states; n += 8, record += 8 * Part::size) {
            unroll<4>([&](auto i)
                          SEQMIX_INLINE_LAMBDA { update(Index<2 * i.value>{}, Index<2>{}); });
        }
        for (; n + 2 <= a.states; n += 2, record += 2 * Part::size) update(Index<0>{}, Index<2>{});
        if (n < a.states) update(Index<0>{}, Index<1>{});
        store(tile.u + t * kWidth, sum[0] + sum[1]);
    }
}

template <bool kB, bool kC>
SEQMIX_INLINE void scan_tiles(const SelectiveScanArgs& a) {
    using Part = Record<kB, kC>;
    const int64_t block_records = a.states * Part::size;
    const auto for_each_block = [&](auto&& body) SEQMIX_INLINE_LAMBDA {
        float* records = a.scratch;
        for (int64_t c = 0; c < a.channels; c += kWidth, records += block_records) {
            body(c, lanes_at(a, c), records);
        }
    };
    for_each_block([&](int64_t c, Lanes lanes, float* records)
                       SEQMIX_INLINE_LAMBDA { load_records<kB, kC>(a, c, lanes, records); });
    Tile tile;
    for (int64_t first = 0; first < a.tokens; first += kTile) {
        const int64_t left = a.tokens - first;
        const int64_t count = left < kTile ? left : kTile;
        Ahead ahead = {first + kTile, first + (left < 2 * kTile ? left : 2 * kTile), 0};
        for_each_block([&](int64_t c, Lanes lanes, float* records) SEQMIX_INLINE_LAMBDA {
            prepare(a, first, count, c, lanes, tile);
            recur<kB, kC>(a, first, count, load_optional(a.D, c, lanes), records, tile, ahead);
            finish(a, first, count, c, lanes, tile);
        });
    }
    for_each_block([&](int64_t c, Lanes lanes, float* records) SEQMIX_INLINE_LAMBDA {
        for (int64_t n = 0; n < a.states; ++n) {
            store_lanes(a.h + n * a.h_stride + c, load(records + n * Part::size + Part::h), lanes);
        }
    });
}

// One token of kBlocks blocks: A and h as they lie, the order of operations that of the tiles.
template <int kBlocks, bool kB, bool kC>
SEQMIX_INLINE void token(const SelectiveScanArgs& a, int64_t t, int64_t c) {
    const float* b = a.B + (kB ? t * a.B_stride : c);
    const float* cc = a.C + (kC ? t * a.C_stride : c);
    Lanes lanes[kBlocks];
    Vec dt[kBlocks], dtu[kBlocks], even[kBlocks], odd[kBlocks];
    unroll<kBlocks>([&](auto i) SEQMIX_INLINE_LAMBDA {
        const int64_t at = c + i * kWidth;
        lanes[i] = kBlocks > 1 ? Lanes{first_n(kWidth), true} : lanes_at(a, at);
        dt[i] = step_size(a, load_lanes(a.delta + t * a.delta_stride + at, lanes[i]),
                          load_optional(a.delta_bias, at, lanes[i]));
        const Vec u = load_lanes(a.u + t * a.u_stride + at, lanes[i]);
        dtu[i] = dt[i] * u;
        even[i] = u * load_optional(a.D, at, lanes[i]);
        odd[i] = zero();
    });
    const auto update = [&](int64_t n, Vec(&sum)[kBlocks]) SEQMIX_INLINE_LAMBDA {
        unroll<kBlocks>([&](auto i) SEQMIX_INLINE_LAMBDA {
            const int64_t at = i * kWidth;
            float* p = a.h + n * a.h_stride + c + at;
            const Vec A = load_lanes(a.A + n * a.A_stride + c + at, lanes[i]) * set1(kLog2e);
            const Vec h =
                next_state(dt[i], A, load_lanes(p, lanes[i]), dtu[i],
                           kB ? set1(b[n]) : load_lanes(b + n * a.B_stride + at, lanes[i]));
            store_lanes(p, h, lanes[i]);
            sum[i] =
                fma(kC ? set1(cc[n]) : load_lanes(cc + n * a.C_stride + at, lanes[i]), h, sum[i]);
        });
    };
    int64_t n = 0;
    for (; n + 2 <= a.states; n += 2) {
        update(n, even);
        update(n + 1, odd);
    }
    if (n < a.states) update(n, even);
    unroll<kBlocks>([&](auto i) SEQMIX_INLINE_LAMBDA {
        const int64_t at = c + i * kWidth;
        Vec y = even[i] + odd[i];
        if (a.z != nullptr) y = y * silu_fast(load_lanes(a.z + t * a.z_stride + at, lanes[i]));
        store_lanes(a.y + t * a.y_stride + at, y, lanes[i]);
    });
}

template <bool kB, bool kC>
SEQMIX_INLINE void scan_tokens(const SelectiveScanArgs& a) {
    constexpr int kBlocks = kWidth == 16 ? 4 : 2;  // what the registers hold
    for (int64_t t = 0; t < a.tokens; ++t) {
        int64_t c = 0;
        for (; c + kBlocks * kWidth <= a.channels; c += kBlocks * kWidth) {
            token<kBlocks, kB, kC>(a, t, c);
        }
        for (; c < a.channels; c += kWidth) token<1, kB, kC>(a, t, c);
    }
}

template <bool kB, bool kC>
void scan_as(const SelectiveScanArgs& args) {
    const SelectiveScanArgs a = args;  // no store can change it: its parts stay in registers (4 %)
    a.tokens < kFewTokens ? scan_tokens<kB, kC>(a) : scan_tiles<kB, kC>(a);
}

void scan(const SelectiveScanArgs& a) {
    if (a.B_per_token) {
        a.C_per_token ? scan_as<true, true>(a) : scan_as<true, false>(a);
    } else {
        a.C_per_token ? scan_as<false, true>(a) : scan_as<false, false>(a);
    }
}

}  // namespace

extern const SelectiveScanKernels selective_scan_kernels;
const SelectiveScanKernels selective_scan_kernels = {kWidth, scan};

}  // namespace seqmix::SEQMIX_ISA
