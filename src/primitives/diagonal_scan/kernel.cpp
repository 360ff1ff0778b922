// The complex diagonal recurrence, hot loops. The equation is in diagonal_scan.h.
//
// A token is one pass over the modes: the state is updated, its part of the output is added up, and so is
// the next token's feedback w.x, which must be whole before any mode moves on. Per mode and vector 8
// operations of the FMA pipes, 4 more for each rank. Blocks of channels copy the state first: its lines lie a
// row of channels apart, and 64 of those share too few sets of the cache.
#include "primitives/diagonal_scan/kernel.h"

#include "primitives/diagonal_scan/kernel_modes.h"
#include "primitives/diagonal_scan/kernel_step.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// Tokens of one block on a state whose vectors are `line` floats apart.
template <int kRank, bool kSigns>
SEQMIX_INLINE void tokens_of(const DiagonalScanArgs& a, float* x, ptrdiff_t line, Mask lanes) {
    using P = Parts<kRank, kSigns>;
    const int64_t parts = P::c + 2 * a.outputs;
    Vec v[kRank > 0 ? kRank : 1];
    unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA {
        v[r] = project(a.records, parts, P::w + 4 * r, a.modes, x, line);
    });
    for (int64_t t = 0; t < a.tokens; ++t) {
        const Vec u = load_m(a.u + t * a.u_stride, lanes);
        float* y = a.y + t * a.y_stride;
        const Sums<kRank> sums =
            update_all<kRank, kSigns>(a.records, parts, a.modes, x, line, u, v);
        unroll<kRank>([&](auto r) SEQMIX_INLINE_LAMBDA { v[r] = sums.v[r]; });
        for (int64_t o = 0; o < a.outputs; ++o) {
            Vec out = o == 0 ? sums.y : project(a.records, parts, P::c + 2 * o, a.modes, x, line);
            if (a.skip != nullptr) out = fma(load_m(a.skip + o * a.skip_stride, lanes), u, out);
            if (a.add) out = out + load_m(y + o * a.output_stride, lanes);
            store_m(y + o * a.output_stride, out, lanes);
        }
    }
}

// One output without feedback: a mode need not wait for the others, and a few of them stay in registers for
// a tile of tokens (256 channels of 32 modes: 0.83 ms for 1024 tokens, token by token 1.2).
template <bool kSigns>
SEQMIX_INLINE void tiles_of(const DiagonalScanArgs& a, float* x, ptrdiff_t line, Mask lanes) {
    using P = Parts<0, kSigns>;
    constexpr int64_t kTile = 16;
    constexpr int kModes = 3;  // 2: 10 % slower, 4: 15 % under g++
    const int64_t parts = P::c + 2 * a.outputs;
    alignas(64) float u[kTile * kWidth], y[kTile * kWidth];
    for (int64_t first = 0; first < a.tokens; first += kTile) {
        const int64_t count = a.tokens - first < kTile ? a.tokens - first : kTile;
        const Vec skip = a.skip != nullptr ? load_m(a.skip, lanes) : zero();
        for (int64_t t = 0; t < count; ++t) {
            const Vec in = load_m(a.u + (first + t) * a.u_stride, lanes);
            store(u + t * kWidth, in);
            store(y + t * kWidth, in * skip);
        }
        const auto pass = [&](auto modes, int64_t n) SEQMIX_INLINE_LAMBDA {
            constexpr int m = decltype(modes)::value;
            Vec re[m], im[m];
            const float* record = a.records + n * parts * kWidth;
            float* state = x + 2 * n * line;
            unroll<m>([&](auto i) SEQMIX_INLINE_LAMBDA {
                re[i] = load(state + 2 * i * line);
                im[i] = load(state + (2 * i + 1) * line);
            });
            for (int64_t t = 0; t < count; ++t) {
                Sums<0> sums;
                sums.y = load(y + t * kWidth);
                const Vec in = load(u + t * kWidth);
                unroll<m>([&](auto i) SEQMIX_INLINE_LAMBDA {
                    advance<0, kSigns>(
                        [&](int k) SEQMIX_INLINE_LAMBDA {
                            return load(record + (i * parts + k) * kWidth);
                        },
                        re[i], im[i], in, nullptr, sums);
                });
                store(y + t * kWidth, sums.y);
            }
            unroll<m>([&](auto i) SEQMIX_INLINE_LAMBDA {
                store(state + 2 * i * line, re[i]);
                store(state + (2 * i + 1) * line, im[i]);
            });
        };
        int64_t n = 0;
        for (; n + kModes <= a.modes; n += kModes) pass(Index<kModes>{}, n);
        for (; n < a.modes; ++n) pass(Index<1>{}, n);
        for (int64_t t = 0; t < count; ++t) {
            float* out = a.y + (first + t) * a.y_stride;
            Vec sum = load(y + t * kWidth);
            if (a.add) sum = sum + load_m(out, lanes);
            store_m(out, sum, lanes);
        }
    }
}

template <int kRank, bool kSigns>
SEQMIX_INLINE void block_of(const DiagonalScanArgs& a, float* x, ptrdiff_t line, Mask lanes) {
    if (kRank == 0 && a.outputs == 1) {
        tiles_of<kSigns>(a, x, line, lanes);
    } else {
        tokens_of<kRank, kSigns>(a, x, line, lanes);
    }
}

// A copy pays from the second token on; a single one works where the state lies.
template <int kRank, bool kSigns>
void channels_as(const DiagonalScanArgs& args) {
    const DiagonalScanArgs a = args;
    const Mask lanes = first_n(a.channels);
    if (a.tokens == 1 && a.channels == kWidth) {
        block_of<kRank, kSigns>(a, a.x, a.x_stride, lanes);
        return;
    }
    float* x = a.scratch;
    for (int64_t i = 0; i < 2 * a.modes; ++i) {
        store(x + i * kWidth, load_m(a.x + i * a.x_stride, lanes));
    }
    block_of<kRank, kSigns>(a, x, kWidth, lanes);
    for (int64_t i = 0; i < 2 * a.modes; ++i) {
        store_m(a.x + i * a.x_stride, load(x + i * kWidth), lanes);
    }
}

template <bool kModes, int kRank>
void scan_as(const DiagonalScanArgs& a) {
    const auto with = kModes ? modes_as<kRank, true> : channels_as<kRank, true>;
    const auto without = kModes ? modes_as<kRank, false> : channels_as<kRank, false>;
    (a.signs ? with : without)(a);
}

template <bool kModes>
void scan(const DiagonalScanArgs& a) {
    (a.rank == 0 ? scan_as<kModes, 0> : a.rank == 1 ? scan_as<kModes, 1> : scan_as<kModes, 2>)(a);
}

}  // namespace

extern const DiagonalScanKernels diagonal_scan_kernels;
const DiagonalScanKernels diagonal_scan_kernels = {kWidth, scan<false>, scan<true>};

}  // namespace seqmix::SEQMIX_ISA
