// Selective scan, hot loops. The equation is in selective_scan.h.
//
// Lanes are channels; a group of up to kGroup states of each lives in registers while a tile of
// kTile tokens goes by. Softplus and delta*u before, the gate after are passes of their own over
// the tile, so that their latency is not in the recurrence. More states than a group has are more
// trips over the same tile, their sums added in the tile's y. The step is multiplied by log2(e), so
// that the decay is one 2^x. Accumulation f32; scratch: 24 KB of stack, plus 1 KB a group.
// Per 16 updates at avx512: 9 operations of the FMA pipes, one vreduceps, one vscalefps, one
// subtraction.
// A tile is wide and short (8 tokens by 1 KB of channels): taller ones cost a page and a
// conflicting cache set per token. D1536 N16 T2048 fused, calls of 256 channels, interleaved with
// the plain loop on a 2 x 512-bit FMA server core: 13 to 15 ms, 16 tokens 19 ms, without the
// prefetch 19 to 21 ms. Tiles across whole rows of 1536 channels took 10.5 to 11 ms but need 147
// KB of scratch.
#include "primitives/selective_scan/kernel.h"

#include "simd/math.h"
#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kGroup = kWidth == 16 ? 16 : 8;
constexpr int64_t kTile = 8;               // tokens
constexpr int64_t kBlocks = 256 / kWidth;  // vectors of channels: 1 KB of each row
constexpr int64_t kStep = kTile * kWidth;  // floats from one block to the next in a tile
constexpr float kLog2e = 1.44269502f;

// How many states the next group takes of those that are left.
SEQMIX_INLINE int64_t group_size(int64_t left) {
    if (left >= kGroup) return kGroup;
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// The lanes of a block that exist; whole blocks skip the masks (slow stores on some AVX2 cores).
struct Lanes {
    Mask mask;
    bool whole;
};
SEQMIX_INLINE Vec load_lanes(const float* p, Lanes lanes) {
    return lanes.whole ? load(p) : load_m(p, lanes.mask);
}
SEQMIX_INLINE void store_lanes(float* p, Vec a, Lanes lanes) {
    if (lanes.whole) {
        store(p, a);
    } else {
        store_m(p, a, lanes.mask);
    }
}

// (kBlocks, kTile, kWidth) each.
struct Tile {
    float dt[kBlocks * kStep];   // the step, times log2(e): its only use is in exp(dt A)
    float dtu[kBlocks * kStep];  // step times input
    float y[kBlocks * kStep];    // skip, then plus the sum over states
};

// A rectangle of the input: tokens [first, first+count), channels [c, c+channels).
struct Region {
    int64_t first, count, c, channels;
};
SEQMIX_INLINE Lanes block_lanes(const Region& r, int64_t block) {
    const int64_t left = r.channels - block * kWidth;
    return {first_n(left), left >= kWidth};
}

// The steps, their products with the input, and the skip term. Rows are read across the blocks: at
// a stride of some kilobytes single vectors down a column would share two sets of the L1 cache.
SEQMIX_INLINE void prepare(const SelectiveScanArgs& a, const Region& r, Tile& tile) {
    for (int64_t t = 0; t < r.count; ++t) {
        const float* u = a.u + (r.first + t) * a.u_stride + r.c;
        const float* delta = a.delta + (r.first + t) * a.delta_stride + r.c;
        for (int64_t i = 0; i * kWidth < r.channels; ++i) {
            const Lanes lanes = block_lanes(r, i);
            const int64_t at = i * kStep + t * kWidth;
            Vec dt = load_lanes(delta + i * kWidth, lanes);
            if (a.delta_bias != nullptr) {
                dt = dt + load_lanes(a.delta_bias + r.c + i * kWidth, lanes);
            }
            if (a.softplus) dt = softplus(dt);
            const Vec x = load_lanes(u + i * kWidth, lanes);
            const Vec skip =
                a.D != nullptr ? x * load_lanes(a.D + r.c + i * kWidth, lanes) : zero();
            store(tile.dt + at, dt * set1(kLog2e));
            store(tile.dtu + at, dt * x);
            store(tile.y + at, skip);
        }
    }
}

// Gate and output. All of the region's inputs but z have been read by now, and each z is read
// before its y is written: y may be u, delta or z.
SEQMIX_INLINE void finish(const SelectiveScanArgs& a, const Region& r, const Tile& tile) {
    for (int64_t t = 0; t < r.count; ++t) {
        const float* z = a.z != nullptr ? a.z + (r.first + t) * a.z_stride + r.c : nullptr;
        float* out = a.y + (r.first + t) * a.y_stride + r.c;
        for (int64_t i = 0; i * kWidth < r.channels; ++i) {
            const Lanes lanes = block_lanes(r, i);
            Vec y = load(tile.y + i * kStep + t * kWidth);
            if (z != nullptr) y = y * silu(load_lanes(z + i * kWidth, lanes));
            store_lanes(out + i * kWidth, y, lanes);
        }
    }
}

// Asks for one row's worth of the next region, while the recurrence leaves the memory idle.
SEQMIX_INLINE void prefetch(const SelectiveScanArgs& a, int64_t token, int64_t c) {
    __builtin_prefetch(a.u + token * a.u_stride + c, 0, 2);
    __builtin_prefetch(a.delta + token * a.delta_stride + c, 0, 2);
    if (a.z != nullptr) __builtin_prefetch(a.z + token * a.z_stride + c, 0, 2);
    __builtin_prefetch(a.y + token * a.y_stride + c, 1, 2);
}

// One vector of B or C for state `kState` of a group: the token's value in all lanes, or the
// channels' constants.
template <bool kPerToken>
SEQMIX_INLINE Vec coefficient(const float* p, int state) {
    if constexpr (kPerToken) {
        return set1(p[state]);
    } else {
        return load(p + state * kWidth);
    }
}

// All states of a region of one token. Nothing is worth keeping in registers, so rows of A and h
// are read along the channels, as they lie. The sums run in the order of groups(): same bits.
template <bool kB, bool kC>
SEQMIX_INLINE void single(const SelectiveScanArgs& a, const Region& r, Tile& tile) {
    float* odd = tile.y + kWidth;         // the second sum lives in the tile's unused token 1
    int64_t left = group_size(a.states);  // states to the end of the current group
    bool fresh = true;
    for (int64_t n = 0; n < a.states;) {
        const bool pair = left > 1;
        const bool last = left <= 2;
        const float* A0 = a.A + n * a.A_stride + r.c;
        float* h0 = a.h + n * a.h_stride + r.c;
        const float* A1 = A0 + (pair ? a.A_stride : 0);
        float* h1 = h0 + (pair ? a.h_stride : 0);
        const float* b0 = a.B + (kB ? r.first * a.B_stride + n : n * a.B_stride + r.c);
        const float* b1 = b0 + (pair ? (kB ? 1 : a.B_stride) : 0);
        const float* c0 = a.C + (kC ? r.first * a.C_stride + n : n * a.C_stride + r.c);
        const float* c1 = c0 + (pair ? (kC ? 1 : a.C_stride) : 0);
        for (int64_t i = 0; i * kWidth < r.channels; ++i) {
            const Lanes lanes = block_lanes(r, i);
            const int64_t at = i * kWidth;
            const Vec dt = load(tile.dt + i * kStep);
            const Vec dtu = load(tile.dtu + i * kStep);
            const auto next_state = [&](const float* A, const float* b,
                                        float* h) SEQMIX_INLINE_LAMBDA {
                const Vec in = kB ? set1(*b) : load_lanes(b + at, lanes);
                const Vec keep = exp2_fast(dt * load_lanes(A + at, lanes));
                const Vec next = fma(keep, load_lanes(h + at, lanes), dtu * in);
                store_lanes(h + at, next, lanes);
                return next;
            };
            Vec even_sum = load(tile.y + i * kStep);
            Vec odd_sum = fresh ? zero() : load(odd + i * kStep);
            even_sum =
                fma(kC ? set1(*c0) : load_lanes(c0 + at, lanes), next_state(A0, b0, h0), even_sum);
            if (pair) {
                odd_sum = fma(kC ? set1(*c1) : load_lanes(c1 + at, lanes), next_state(A1, b1, h1),
                              odd_sum);
            }
            store(tile.y + i * kStep, last ? even_sum + odd_sum : even_sum);
            store(odd + i * kStep, odd_sum);
        }
        n += pair ? 2 : 1;
        left -= 2;
        fresh = last;
        if (last) left = group_size(a.states - n);
    }
}

// States [n, n+kStates) of one block over the tile's tokens.
template <int kStates, bool kB, bool kC>
SEQMIX_INLINE void group(const SelectiveScanArgs& a, const Region& r, int64_t block, int64_t n,
                         const Region& next, Tile& tile) {
    const Lanes lanes = block_lanes(r, block);
    const int64_t c = r.c + block * kWidth;
    Vec h[kStates];
    float decay[kStates * kWidth];
    float constant_b[kB ? 1 : kStates * kWidth];
    float constant_c[kC ? 1 : kStates * kWidth];
    unroll<kStates>([&](auto i) SEQMIX_INLINE_LAMBDA {
        h[i] = load_lanes(a.h + (n + i) * a.h_stride + c, lanes);
        store(decay + i * kWidth, load_lanes(a.A + (n + i) * a.A_stride + c, lanes));
        if constexpr (!kB) {
            store(constant_b + i * kWidth, load_lanes(a.B + (n + i) * a.B_stride + c, lanes));
        }
        if constexpr (!kC) {
            store(constant_c + i * kWidth, load_lanes(a.C + (n + i) * a.C_stride + c, lanes));
        }
    });
    const float* b = kB ? a.B + r.first * a.B_stride + n : constant_b;
    const float* cc = kC ? a.C + r.first * a.C_stride + n : constant_c;
    const ptrdiff_t b_step = kB ? a.B_stride : 0;
    const ptrdiff_t c_step = kC ? a.C_stride : 0;
    const int64_t ahead = n == 0 && block * kWidth < next.channels ? next.count : 0;
    const float* dt_row = tile.dt + block * kStep;
    const float* dtu_row = tile.dtu + block * kStep;
    float* y_row = tile.y + block * kStep;
    for (int64_t t = 0; t < r.count; ++t) {
        if (t < ahead) prefetch(a, next.first + t, next.c + block * kWidth);
        const Vec dt = load(dt_row + t * kWidth);
        const Vec dtu = load(dtu_row + t * kWidth);
        Vec sum[2] = {load(y_row + t * kWidth), zero()};
        unroll<kStates>([&](auto i) SEQMIX_INLINE_LAMBDA {
            const Vec keep = exp2_fast(dt * load(decay + i * kWidth));
            h[i] = fma(keep, h[i], dtu * coefficient<kB>(b, i));
            sum[i % 2] = fma(coefficient<kC>(cc, i), h[i], sum[i % 2]);
        });
        store(y_row + t * kWidth, sum[0] + sum[1]);
        b += b_step;
        cc += c_step;
    }
    unroll<kStates>([&](auto i) SEQMIX_INLINE_LAMBDA {
        store_lanes(a.h + (n + i) * a.h_stride + c, h[i], lanes);
    });
}

template <bool kB, bool kC>
SEQMIX_INLINE void groups(const SelectiveScanArgs& a, const Region& r, int64_t block,
                          const Region& next, Tile& tile) {
    int64_t n = 0;
    for (; n + kGroup <= a.states; n += kGroup) group<kGroup, kB, kC>(a, r, block, n, next, tile);
    if constexpr (kGroup > 8) {
        if (n + 8 <= a.states) {
            group<8, kB, kC>(a, r, block, n, next, tile);
            n += 8;
        }
    }
    if (n + 4 <= a.states) {
        group<4, kB, kC>(a, r, block, n, next, tile);
        n += 4;
    }
    if (n + 2 <= a.states) {
        group<2, kB, kC>(a, r, block, n, next, tile);
        n += 2;
    }
    if (n < a.states) group<1, kB, kC>(a, r, block, n, next, tile);
}

SEQMIX_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The region at (first, c), empty past the end.
SEQMIX_INLINE Region region_at(const SelectiveScanArgs& a, int64_t first, int64_t c) {
    return {first, smaller(kTile, a.tokens - first), c, smaller(kBlocks * kWidth, a.channels - c)};
}

template <bool kB, bool kC>
void scan_regions(const SelectiveScanArgs& a) {
    Tile tile;
    for (int64_t first = 0; first < a.tokens; first += kTile) {
        for (int64_t c = 0; c < a.channels; c += kBlocks * kWidth) {
            const Region r = region_at(a, first, c);
            const bool last_of_row = c + kBlocks * kWidth >= a.channels;
            const Region next = last_of_row ? region_at(a, first + kTile, 0)
                                            : region_at(a, first, c + kBlocks * kWidth);
            prepare(a, r, tile);
            if (r.count == 1) {
                single<kB, kC>(a, r, tile);
            } else {
                for (int64_t block = 0; block * kWidth < r.channels; ++block) {
                    groups<kB, kC>(a, r, block, next, tile);
                }
            }
            finish(a, r, tile);
        }
    }
}

void scan(const SelectiveScanArgs& a) {
    if (a.B_per_token) {
        a.C_per_token ? scan_regions<true, true>(a) : scan_regions<true, false>(a);
    } else {
        a.C_per_token ? scan_regions<false, true>(a) : scan_regions<false, false>(a);
    }
}

}  // namespace

extern const SelectiveScanKernels selective_scan_kernels;
const SelectiveScanKernels selective_scan_kernels = {kWidth, kBlocks* kWidth, scan};

}  // namespace seqmix::SEQMIX_ISA
