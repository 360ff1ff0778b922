// Kernels of rotary position embedding (contract in kernel.h, equation in rope.h).
#include "primitives/rope/kernel.h"

#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr double kTurn = 6.283185307179586, kTurns = 1 / kTurn;

// The angle less its whole turns, in [-pi, pi]. Adding 1.5 2^52 leaves no fraction.
SEQMIX_INLINE float angle_in_turn(double position, double frequency) {
    constexpr double kMagic = 6755399441055744.0;
    const double turns = position * frequency * kTurns;
    return static_cast<float>((turns - ((turns + kMagic) - kMagic)) * kTurn);
}

void angles(const RopeAngles& a) {
    const Vec scale = set1(a.scale);
    for (int64_t t = 0; t < a.tokens; ++t) {
        const auto position = static_cast<double>(
            a.positions != nullptr ? a.positions[t] : a.position + t * a.position_step);
        for (int64_t i = 0; i < a.pairs; i += kWidth) {
            const int64_t n = a.pairs - i < kWidth ? a.pairs - i : kWidth;
            float angle[kWidth] = {};
            for (int64_t r = 0; r < n; ++r) {
                angle[r] = angle_in_turn(position, a.frequencies[i + r]);
            }
            Vec sine, cosine;
            sincos(load(angle), sine, cosine);
            store_n(a.cosine + t * a.stride + i, cosine * scale, n);
            store_n(a.sine + t * a.stride + i, sine * scale, n);
        }
    }
}

SEQMIX_INLINE void turn(Vec cosine, Vec sine, Vec& a, Vec& b) {
    const Vec x = a;
    a = fnma(b, sine, x * cosine);
    b = fma(x, sine, b * cosine);
}

SEQMIX_INLINE void rotate_halves(int64_t pairs, const float* cosine, const float* sine,
                                 const float* x, float* y) {
    for (int64_t i = 0; i < pairs; i += kWidth) {
        const Mask live = first_n(pairs - i);
        Vec a = load_m(x + i, live), b = load_m(x + pairs + i, live);
        turn(load_m(cosine + i, live), load_m(sine + i, live), a, b);
        store_m(y + i, a, live);
        store_m(y + pairs + i, b, live);
    }
}

SEQMIX_INLINE void rotate_interleaved(int64_t pairs, const float* cosine, const float* sine,
                                      const float* x, float* y) {
    for (int64_t i = 0; i < pairs; i += kWidth) {
        const int64_t n = pairs - i < kWidth ? pairs - i : kWidth;
        float even[kWidth] = {}, odd[kWidth] = {};
        for (int64_t r = 0; r < n; ++r) {
            even[r] = x[2 * (i + r)];
            odd[r] = x[2 * (i + r) + 1];
        }
        Vec a = load(even), b = load(odd);
        turn(load_n(cosine + i, n), load_n(sine + i, n), a, b);
        store(even, a);
        store(odd, b);
        for (int64_t r = 0; r < n; ++r) {
            y[2 * (i + r)] = even[r];
            y[2 * (i + r) + 1] = odd[r];
        }
    }
}

void rotate(const RopeArgs& args) {
    for (int64_t t = 0; t < args.tokens; ++t) {
        const float* cosine = args.cosine + t * args.angle_stride;
        const float* sine = args.sine + t * args.angle_stride;
        for (int64_t h = 0; h < args.heads; ++h) {
            const float* x = args.x + t * args.x_stride + h * args.x_head_stride;
            float* y = args.y + t * args.y_stride + h * args.y_head_stride;
            if (args.interleaved) {
                rotate_interleaved(args.pairs, cosine, sine, x, y);
            } else {
                rotate_halves(args.pairs, cosine, sine, x, y);
            }
            for (int64_t d = 2 * args.pairs; y != x && d < args.width; d += kWidth) {
                store_n(y + d, load_n(x + d, args.width - d), args.width - d);
            }
        }
    }
}

}  // namespace

extern const RopeKernels rope_kernels = {kWidth, angles, rotate};

}  // namespace seqmix::SEQMIX_ISA
