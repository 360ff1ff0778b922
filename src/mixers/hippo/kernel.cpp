// The HiPPO memory, hot loops; the equations are in hippo.h.
//
// Lanes are channels, four vectors of them side by side: the running sums of LegS are chains of
// dependent operations, and a row of a matrix meets four vectors for one scalar. The coefficients of a
// block stay in the scratch while its tokens pass.
#include "mixers/hippo/kernel.h"

#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int kGroups = static_cast<int>(kHippoVectors);
constexpr int64_t kLine = kGroups * kWidth;

struct Group {
    Vec v[kGroups];
};

SEQMIX_INLINE Group load_group(const float* p) {
    Group g;
    unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA { g.v[i] = load(p + i * kWidth); });
    return g;
}
SEQMIX_INLINE void store_group(float* p, const Group& g) {
    unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA { store(p + i * kWidth, g.v[i]); });
}
// The channels that exist; zeros elsewhere.
SEQMIX_INLINE Group read_lanes(const float* p, int64_t channels) {
    Group g;
    unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA {
        const int64_t left = channels - i * kWidth;
        g.v[i] = left > 0 ? load_n(p + i * kWidth, left) : zero();
    });
    return g;
}

void load_state(const HippoArgs& a, float* c) {
    for (int64_t n = 0; n < a.N; ++n) {
        store_group(c + n * kLine, read_lanes(a.c + n * a.c_stride, a.channels));
    }
}
void store_state(const HippoArgs& a, const float* c) {
    for (int64_t n = 0; n < a.N; ++n) {
        for (int64_t i = 0; i < a.channels; i += kWidth) {
            store_n(a.c + n * a.c_stride + i, load(c + n * kLine + i), a.channels - i);
        }
    }
}

// c (N, channels) to y (channels, N), in square tiles.
void put_output(const HippoArgs& a, const float* c, float* y) {
    for (int64_t d = 0; d < a.channels; d += kWidth) {
        for (int64_t n = 0; n < a.N; n += kWidth) {
            Vec tile[kWidth];
            for (int64_t i = 0; i < kWidth; ++i) {
                tile[i] = n + i < a.N ? load(c + (n + i) * kLine + d) : zero();
            }
            transpose(tile);
            for (int64_t i = 0; i < kWidth && d + i < a.channels; ++i) {
                store_n(y + (d + i) * a.N + n, tile[i], a.N - n);
            }
        }
    }
}

void start(const HippoArgs& a) {
    const Group u = read_lanes(a.u, a.channels);
    store_group(a.scratch, u);
    for (int64_t n = 1; n < a.N; ++n) {  // times 0: what is no number shows everywhere
        Group zeros;
        unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA { zeros.v[i] = u.v[i] * zero(); });
        store_group(a.scratch + n * kLine, zeros);
    }
    put_output(a, a.scratch, a.y);
    store_state(a, a.scratch);
}

// A = -(strictly lower r r^T + diag(n + 1)). z = (I + k1 A) c + k3 r u and (I - k2 A) c' = z in one pass.
void legs(const HippoArgs& args) {
    const HippoArgs a = args;
    float* c = a.scratch;
    load_state(a, c);
    for (int64_t t = 0; t < a.tokens; ++t) {
        const float* table = a.table + t * (a.N + 3);
        const Vec k1 = set1(table[0]), k2 = set1(table[1]), k3 = set1(table[2]);
        const Group u = read_lanes(a.u + t * a.u_stride, a.channels);
        Group in, before, after;
        unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA {
            in.v[i] = k3 * u.v[i];
            before.v[i] = after.v[i] = zero();
        });
        for (int64_t n = 0; n < a.N; ++n) {
            const Vec r = set1(a.root[n]), diagonal = set1(static_cast<float>(n + 1));
            const Vec inverse = set1(table[3 + n]);
            const Group x = load_group(c + n * kLine);
            Group next;
            unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA {
                const Vec minus_ax = fma(diagonal, x.v[i], r * before.v[i]);
                const Vec z = fma(r, in.v[i], fnma(k1, minus_ax, x.v[i]));
                next.v[i] = fnma(k2 * r, after.v[i], z) * inverse;
                before.v[i] = fma(r, x.v[i], before.v[i]);
                after.v[i] = fma(r, next.v[i], after.v[i]);
            });
            store_group(c + n * kLine, next);
        }
        put_output(a, c, a.y + t * a.y_stride);
    }
    store_state(a, c);
}

// Two rows of the matrix at a time.
void dense(const HippoArgs& args) {
    const HippoArgs a = args;
    float *c = a.scratch, *next = c + a.N * kLine;
    load_state(a, c);
    for (int64_t t = 0; t < a.tokens; ++t) {
        const Group u = read_lanes(a.u + t * a.u_stride, a.channels);
        for (int64_t n = 0; n < a.N; n += 2) {
            const int64_t other = n + 1 < a.N ? n + 1 : n;
            const float *top = a.A + n * a.N, *low = a.A + other * a.N;
            Group s, r;
            unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA {
                s.v[i] = set1(a.b[n]) * u.v[i];
                r.v[i] = set1(a.b[other]) * u.v[i];
            });
            for (int64_t m = 0; m < a.N; ++m) {
                const Group x = load_group(c + m * kLine);
                const Vec f = set1(top[m]), g = set1(low[m]);
                unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA {
                    s.v[i] = fma(f, x.v[i], s.v[i]);
                    r.v[i] = fma(g, x.v[i], r.v[i]);
                });
            }
            // Added last: what a token changes is small, and so is its rounding.
            const Group before = load_group(c + n * kLine), below = load_group(c + other * kLine);
            unroll<kGroups>([&](auto i) SEQMIX_INLINE_LAMBDA {
                s.v[i] = s.v[i] + before.v[i];
                r.v[i] = r.v[i] + below.v[i];
            });
            store_group(next + other * kLine, r);
            store_group(next + n * kLine, s);
        }
        float* swapped = c;
        c = next;
        next = swapped;
        put_output(a, c, a.y + t * a.y_stride);
    }
    store_state(a, c);
}

}  // namespace

extern const HippoKernels hippo_kernels;
const HippoKernels hippo_kernels = {kWidth, start, legs, dense};

}  // namespace seqmix::SEQMIX_ISA
