// Vandermonde products, hot loops. The form is in vandermonde.h.
//
// Lanes are points of a block. A tile is kRows blocks by kColumns vectors, in registers over all modes:
// its loads are one vector and one scalar for several multiply-adds. Tables cost some 250 operations a
// mode for every 128 points of a block and every block, a fifth of the product at L = 16384.
#include "primitives/vandermonde/kernel.h"

#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kBlock = kVandermondeBlock;
constexpr int kColumns = kWidth == 16 ? 4 : 2;
constexpr int kRows = kWidth == 16 ? 6 : 4;

// Powers w^0 .. w^(kBlock-1) of one mode: the first half times w^(half), by doubling.
SEQMIX_INLINE void powers(double w_re, double w_im, double* re, double* im) {
    re[0] = 1.0;
    im[0] = 0.0;
    double s_re = w_re, s_im = w_im;
    for (int64_t k = 1; k < kBlock; k *= 2) {
        for (int64_t j = 0; j < k; ++j) {
            re[k + j] = re[j] * s_re - im[j] * s_im;
            im[k + j] = re[j] * s_im + im[j] * s_re;
        }
        const double next = s_re * s_re - s_im * s_im;
        s_im = 2 * s_re * s_im;
        s_re = next;
    }
}

// table: (2 modes, kBlock), Re w^j and -Im w^j; leaves w^kBlock in q_re, q_im.
void make_powers(const VandermondeArgs& a, double* work, float* table, double* q_re, double* q_im) {
    double *re = work, *im = work + kBlock;
    for (int64_t n = 0; n < a.modes; ++n) {
        powers(a.w_re[n], a.w_im[n], re, im);
        float* line = table + 2 * n * kBlock;
        for (int64_t j = 0; j < kBlock; ++j) line[j] = static_cast<float>(re[j]);
        for (int64_t j = 0; j < kBlock; ++j) line[kBlock + j] = static_cast<float>(-im[j]);
        const double last_re = re[kBlock - 1], last_im = im[kBlock - 1];
        q_re[n] = last_re * a.w_re[n] - last_im * a.w_im[n];
        q_im[n] = last_re * a.w_im[n] + last_im * a.w_re[n];
    }
}

// starts: (blocks, 2 modes), Re and Im of c w^(i kBlock), modes' real parts first.
void make_starts(const VandermondeArgs& a, int64_t blocks, const double* q_re, const double* q_im,
                 double* re, double* im, float* starts) {
    const int64_t modes = a.modes;
    for (int64_t n = 0; n < modes; ++n) {
        re[n] = a.c_re[n];
        im[n] = a.c_im[n];
    }
    for (int64_t i = 0; i < blocks; ++i, starts += 2 * modes) {
        for (int64_t n = 0; n < modes; ++n) {
            starts[n] = static_cast<float>(re[n]);
            starts[modes + n] = static_cast<float>(im[n]);
            const double next = re[n] * q_re[n] - im[n] * q_im[n];
            im[n] = re[n] * q_im[n] + im[n] * q_re[n];
            re[n] = next;
        }
    }
}

// Blocks [i, i + rows) by kColumns vectors from point j on.
SEQMIX_INLINE void tile(const VandermondeArgs& a, const float* table, const float* starts,
                        int64_t i, int rows, int64_t j) {
    Vec sum[kRows][kColumns];
    unroll<kRows>([&](auto r) SEQMIX_INLINE_LAMBDA {
        unroll<kColumns>([&](auto c) SEQMIX_INLINE_LAMBDA { sum[r][c] = zero(); });
    });
    const float* start[kRows];
    unroll<kRows>([&](auto r) SEQMIX_INLINE_LAMBDA {
        start[r] = starts + (i + (r < rows ? int{r} : 0)) * 2 * a.modes;
    });
    for (int64_t n = 0; n < a.modes; ++n) {
        unroll<2>([&](auto part) SEQMIX_INLINE_LAMBDA {
            const float* line = table + (2 * n + part) * kBlock + j;
            Vec w[kColumns];
            unroll<kColumns>([&](auto c) SEQMIX_INLINE_LAMBDA { w[c] = load(line + c * kWidth); });
            unroll<kRows>([&](auto r) SEQMIX_INLINE_LAMBDA {
                const Vec s = set1(start[r][part * a.modes + n]);
                unroll<kColumns>([&](auto c)
                                     SEQMIX_INLINE_LAMBDA { sum[r][c] = fma(s, w[c], sum[r][c]); });
            });
        });
    }
    unroll<kRows>([&](auto r) SEQMIX_INLINE_LAMBDA {
        if (r >= rows) return;
        unroll<kColumns>([&](auto c) SEQMIX_INLINE_LAMBDA {
            const int64_t at = (i + r) * kBlock + j + c * kWidth;
            store_n(a.K + at, sum[r][c], a.length - at);
        });
    });
}

void vandermonde(const VandermondeArgs& args) {
    const VandermondeArgs a = args;
    const int64_t blocks = (a.length + kBlock - 1) / kBlock;
    float* table = a.scratch;
    float* starts = table + 2 * a.modes * kBlock;
    // At a line: doubles behind the tables.
    float* end = starts + (2 * a.modes * blocks + 15) / 16 * 16;
    auto* work = reinterpret_cast<double*>(end);
    double *q_re = work + 2 * kBlock, *q_im = q_re + a.modes, *re = q_im + a.modes,
           *im = re + a.modes;
    make_powers(a, work, table, q_re, q_im);
    make_starts(a, blocks, q_re, q_im, re, im, starts);
    for (int64_t i = 0; i < blocks; i += kRows) {
        const int rows = static_cast<int>(blocks - i < kRows ? blocks - i : kRows);
        for (int64_t j = 0; j < kBlock; j += kColumns * kWidth) {
            tile(a, table, starts, i, rows, j);
        }
    }
}

}  // namespace

extern const VandermondeKernels vandermonde_kernels;
const VandermondeKernels vandermonde_kernels = {kWidth, vandermonde};

}  // namespace seqmix::SEQMIX_ISA
