// Kernels of norm (contract in kernel.h).
#include "primitives/norm/kernel.h"

#include "base/isa_safe.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// Four chains of additions hide the latency of one; the tail joins the first.
constexpr int64_t kStep = 4 * kWidth;

template <bool kSquares>
SEQMIX_INLINE Vec add_term(Vec acc, Vec v, Vec shift) {
    if constexpr (kSquares) {
        const Vec centred = v - shift;
        return fma(centred, centred, acc);
    } else {
        return acc + v;
    }
}

// Sum over a row of x, or of (x - shift)^2. Lanes beyond the row would add shift^2: masked.
template <bool kSquares>
SEQMIX_INLINE float sum_row(const float* x, int64_t width, Vec shift) {
    Vec a = zero(), b = zero(), c = zero(), d = zero();
    int64_t i = 0;
    for (; i + kStep <= width; i += kStep) {
        a = add_term<kSquares>(a, load(x + i), shift);
        b = add_term<kSquares>(b, load(x + i + kWidth), shift);
        c = add_term<kSquares>(c, load(x + i + 2 * kWidth), shift);
        d = add_term<kSquares>(d, load(x + i + 3 * kWidth), shift);
    }
    for (; i + kWidth <= width; i += kWidth) {
        a = add_term<kSquares>(a, load(x + i), shift);
    }
    if (i < width) {
        const Vec tail = add_term<kSquares>(a, load_n(x + i, width - i), shift);
        a = select(first_n(width - i), tail, a);
    }
    return reduce_add((a + b) + (c + d));
}

template <bool kWeight, bool kBias>
SEQMIX_INLINE void scale_row(const NormArgs& args, const float* x, Vec shift, Vec scale, float* y) {
    for (int64_t i = 0; i < args.width; i += kWidth) {
        const int64_t n = args.width - i;
        Vec v = (load_n(x + i, n) - shift) * scale;
        if constexpr (kWeight) {
            v = v * load_n(args.weight + i, n);
        }
        if constexpr (kBias) {
            v = v + load_n(args.bias + i, n);
        }
        store_n(y + i, v, n);
    }
}

template <bool kCentre, bool kWeight, bool kBias>
void rows_as(const NormArgs& args) {
    const float width = static_cast<float>(args.width);
    for (int64_t r = 0; r < args.rows; ++r) {
        const float* x = args.x + r * args.x_stride;
        const Vec shift = kCentre ? set1(sum_row<false>(x, args.width, zero()) / width) : zero();
        const float variance = sum_row<true>(x, args.width, shift) / width;
        const Vec scale = set1(1.0f) / sqrt(set1(variance + args.eps));
        scale_row<kWeight, kBias>(args, x, shift, scale, args.y + r * args.y_stride);
    }
}

template <bool kCentre>
void rows_of(const NormArgs& args) {
    if (args.weight != nullptr) {
        args.bias != nullptr ? rows_as<kCentre, true, true>(args)
                             : rows_as<kCentre, true, false>(args);
    } else {
        args.bias != nullptr ? rows_as<kCentre, false, true>(args)
                             : rows_as<kCentre, false, false>(args);
    }
}

void rms_norm(const NormArgs& args) { rows_of<false>(args); }
void layer_norm(const NormArgs& args) { rows_of<true>(args); }

void affine(const NormArgs& args) {
    for (int64_t r = 0; r < args.rows; ++r) {
        const float* x = args.x + r * args.x_stride;
        float* y = args.y + r * args.y_stride;
        for (int64_t i = 0; i < args.width; i += kWidth) {
            const int64_t n = args.width - i;
            const Vec scale = load_n(args.weight + i, n), shift = load_n(args.bias + i, n);
            store_n(y + i, fma(load_n(x + i, n), scale, shift), n);
        }
    }
}

}  // namespace

const NormKernels norm_kernels = {kWidth, rms_norm, layer_norm, affine};

}  // namespace seqmix::SEQMIX_ISA
