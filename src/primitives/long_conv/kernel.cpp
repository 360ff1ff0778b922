// Streamed long convolutions, hot loops; what they compute is in kernel.h, why in stream.h. The direct
// sums keep 8 vectors of outputs in registers and load one vector of inputs an FMA; 16 spill at level
// avx2.
#include "primitives/long_conv/kernel.h"

#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// kTokens outputs of up to kWidth channels.
template <int kTokens>
void fir_block(int64_t lanes, int64_t taps, const float* x, ptrdiff_t x_stride, const float* k,
               ptrdiff_t k_stride, const float* add, ptrdiff_t add_stride, float* y,
               ptrdiff_t y_stride) {
    Vec acc[kTokens];
    unroll<kTokens>([&](auto t) SEQMIX_INLINE_LAMBDA {
        acc[t] = add == nullptr ? zero() : load_n(add + t * add_stride, lanes);
    });
    if (lanes == kWidth) {
        for (int64_t j = 0; j < taps; ++j) {
            const Vec tap = load(k + j * k_stride);
            const float* from = x - j * x_stride;
            unroll<kTokens>([&](auto t) SEQMIX_INLINE_LAMBDA {
                acc[t] = fma(tap, load(from + t * x_stride), acc[t]);
            });
        }
    } else {
        const Mask mask = first_n(lanes);
        for (int64_t j = 0; j < taps; ++j) {
            const Vec tap = load_m(k + j * k_stride, mask);
            const float* from = x - j * x_stride;
            unroll<kTokens>([&](auto t) SEQMIX_INLINE_LAMBDA {
                acc[t] = fma(tap, load_m(from + t * x_stride, mask), acc[t]);
            });
        }
    }
    unroll<kTokens>([&](auto t) SEQMIX_INLINE_LAMBDA { store_n(y + t * y_stride, acc[t], lanes); });
}

void fir(int64_t tokens, int64_t lanes, int64_t taps, const float* x, ptrdiff_t x_stride,
         const float* k, ptrdiff_t k_stride, const float* add, ptrdiff_t add_stride, float* y,
         ptrdiff_t y_stride) {
    for (int64_t d = 0; d < lanes; d += kWidth) {
        const int64_t count = lanes - d < kWidth ? lanes - d : kWidth;
        int64_t t = 0;
        const auto block = [&](auto size) SEQMIX_INLINE_LAMBDA {
            fir_block<decltype(size)::value>(count, taps, x + t * x_stride + d, x_stride, k + d,
                                             k_stride,
                                             add == nullptr ? nullptr : add + t * add_stride + d,
                                             add_stride, y + t * y_stride + d, y_stride);
            t += size;
        };
        while (t + 8 <= tokens) block(Index<8>{});
        while (t < tokens) block(Index<1>{});
    }
}

void fir_one(int64_t tokens, int64_t taps, const float* x, const float* k, const float* add,
             float* y) {
    constexpr int kVectors = 8;
    int64_t t = 0;
    for (; t + kVectors * kWidth <= tokens; t += kVectors * kWidth) {
        Vec acc[kVectors];
        unroll<kVectors>([&](auto i) SEQMIX_INLINE_LAMBDA {
            acc[i] = add == nullptr ? zero() : load(add + t + i * kWidth);
        });
        for (int64_t j = 0; j < taps; ++j) {
            const Vec tap = set1(k[j]);
            unroll<kVectors>([&](auto i) SEQMIX_INLINE_LAMBDA {
                acc[i] = fma(tap, load(x + t - j + i * kWidth), acc[i]);
            });
        }
        unroll<kVectors>([&](auto i) SEQMIX_INLINE_LAMBDA { store(y + t + i * kWidth, acc[i]); });
    }
    for (; t < tokens; t += kWidth) {
        const Mask mask = first_n(tokens - t);
        Vec acc = add == nullptr ? zero() : load_m(add + t, mask);
        for (int64_t j = 0; j < taps; ++j) {
            acc = fma(set1(k[j]), load_m(x + t - j, mask), acc);
        }
        store_m(y + t, acc, mask);
    }
}

void multiply_add(int64_t count, const float* x, const float* h, float* acc) {
    for (int64_t i = 0; i < count; i += kWidth) {
        const Mask mask = first_n(count - i);
        const Vec x_re = load_m(x + i, mask), x_im = load_m(x + count + i, mask);
        const Vec h_re = load_m(h + i, mask), h_im = load_m(h + count + i, mask);
        const Vec re = load_m(acc + i, mask), im = load_m(acc + count + i, mask);
        store_m(acc + i, fnma(x_im, h_im, fma(x_re, h_re, re)), mask);
        store_m(acc + count + i, fma(x_im, h_re, fma(x_re, h_im, im)), mask);
    }
}

void gate(int64_t rows, int64_t width, const float* a, ptrdiff_t a_stride, const float* b,
          ptrdiff_t b_stride, float* y, ptrdiff_t y_stride) {
    for (int64_t r = 0; r < rows; ++r, a += a_stride, b += b_stride, y += y_stride) {
        int64_t d = 0;
        for (; d + kWidth <= width; d += kWidth) store(y + d, load(a + d) * load(b + d));
        const Mask mask = first_n(width - d);
        store_m(y + d, load_m(a + d, mask) * load_m(b + d, mask), mask);
    }
}

}  // namespace

extern const LongConvKernels long_conv_kernels;
const LongConvKernels long_conv_kernels = {fir, fir_one, multiply_add, gate};

}  // namespace seqmix::SEQMIX_ISA
