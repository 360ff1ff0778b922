// Kernels of elementwise (contract in kernel.h).
#include "primitives/elementwise/kernel.h"

#include "base/isa_safe.h"
#include "simd/load_transposed.h"
#include "simd/math.h"
#include "simd/row_pointers.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

void add(int64_t rows, int64_t width, const float* a, ptrdiff_t a_stride, const float* b,
         ptrdiff_t b_stride, float* y, ptrdiff_t y_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            store_n(y + i, load_n(a + i, n) + load_n(b + i, n), n);
        }
        a += a_stride;
        b += b_stride;
        y += y_stride;
    }
}

void mul_silu(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, const float* z,
              ptrdiff_t z_stride, float* y, ptrdiff_t y_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            store_n(y + i, load_n(x + i, n) * silu(load_n(z + i, n)), n);
        }
        x += x_stride;
        z += z_stride;
        y += y_stride;
    }
}

void gelu_rows(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* y,
               ptrdiff_t y_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            store_n(y + i, gelu(load_n(x + i, n)), n);
        }
        x += x_stride;
        y += y_stride;
    }
}

// (1 + tanh u) / 2 = sigmoid(2u).
void gelu_tanh(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* y,
               ptrdiff_t y_stride) {
    const Vec linear = set1(1.5957691216057308f);  // 2 sqrt(2/pi)
    const Vec cubic = set1(1.5957691216057308f * 0.044715f);
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            const Vec v = load_n(x + i, n);
            store_n(y + i, v * sigmoid(v * fma(v * v, cubic, linear)), n);
        }
        x += x_stride;
        y += y_stride;
    }
}

void glu(int64_t rows, int64_t width, const float* a, ptrdiff_t a_stride, const float* b,
         ptrdiff_t b_stride, float* y, ptrdiff_t y_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            store_n(y + i, load_n(a + i, n) * sigmoid(load_n(b + i, n)), n);
        }
        a += a_stride;
        b += b_stride;
        y += y_stride;
    }
}

void softplus_rows(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* y,
                   ptrdiff_t y_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            store_n(y + i, softplus(load_n(x + i, n)), n);
        }
        x += x_stride;
        y += y_stride;
    }
}

void sum_rows(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* acc) {
    for (int64_t i = 0; i < width; i += kWidth) {
        const int64_t n = width - i;
        Vec sum = load_n(acc + i, n);
        const float* column = x + i;
        for (int64_t r = 0; r < rows; ++r) {
            sum = sum + load_n(column, n);
            column += x_stride;
        }
        store_n(acc + i, sum, n);
    }
}

void scale(int64_t width, const float* x, float factor, float* y) {
    for (int64_t i = 0; i < width; i += kWidth) {
        store_n(y + i, load_n(x + i, width - i) * set1(factor), width - i);
    }
}

// Storage may start at any byte: tails and 16-bit elements are copied to the stack first.
template <WeightType kType>
void widen_as(int64_t rows, int64_t width, const unsigned char* x, ptrdiff_t row_bytes, float* y,
              ptrdiff_t y_stride) {
    constexpr int64_t size = weight_bytes(kType, 1);
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; i += kWidth) {
            const int64_t n = width - i;
            unsigned char bytes[kWidth * size] = {};
            if (n >= kWidth) {
                __builtin_memcpy(bytes, x + i * size, sizeof bytes);
            } else {
                for (int64_t b = 0; b < n * size; ++b) {
                    bytes[b] = x[i * size + b];
                }
            }
            if constexpr (kType == WeightType::f32) {
                float lanes[kWidth];
                __builtin_memcpy(lanes, bytes, sizeof lanes);
                store_n(y + i, load(lanes), n);
            } else if constexpr (kType == WeightType::i8) {
                int8_t lanes[kWidth];
                __builtin_memcpy(lanes, bytes, sizeof lanes);
                store_n(y + i, load_i8_n(lanes, kWidth), n);
            } else {
                uint16_t lanes[kWidth];
                __builtin_memcpy(lanes, bytes, sizeof lanes);
                store_n(y + i, kType == WeightType::bf16 ? load_bf16(lanes) : load_f16(lanes), n);
            }
        }
        x += row_bytes;
        y += y_stride;
    }
}

void widen(int64_t rows, int64_t width, const void* x, ptrdiff_t x_stride, WeightType type,
           float* y, ptrdiff_t y_stride) {
    const auto* from = static_cast<const unsigned char*>(x);
    const ptrdiff_t step = weight_bytes(type, x_stride);
    switch (type) {
        case WeightType::f32:
            return widen_as<WeightType::f32>(rows, width, from, step, y, y_stride);
        case WeightType::bf16:
            return widen_as<WeightType::bf16>(rows, width, from, step, y, y_stride);
        case WeightType::f16:
            return widen_as<WeightType::f16>(rows, width, from, step, y, y_stride);
        case WeightType::i8: return widen_as<WeightType::i8>(rows, width, from, step, y, y_stride);
        case WeightType::q8_0: return;  // gemm's alone
    }
}

// ---- transposition ----

void copy_rows(int64_t rows, int64_t cols, const float* x, ptrdiff_t x_row, float* y,
               ptrdiff_t y_row) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; c += kWidth) {
            store_n(y + c, load_n(x + c, cols - c), cols - c);
        }
        x += x_row;
        y += y_row;
    }
}

// y(r,c) = x(r,c) for one tile of kWidth x kWidth: x contiguous along r, y along c. Not inlined:
// compilers would keep an address for each row over the loops, on the stack.
__attribute__((noinline)) void transpose_tile(const float* x, ptrdiff_t x_col, float* y,
                                              ptrdiff_t y_row) {
    constexpr ptrdiff_t size = sizeof(float);
    Vec tile[kWidth];
    load_transposed(reinterpret_cast<const unsigned char*>(x), x_col * size, tile);
    const RowPointers<kWidth, unsigned char> rows(reinterpret_cast<unsigned char*>(y),
                                                  y_row * size);
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        store(reinterpret_cast<float*>(rows.at(r)), tile[r]);
    }
}

// The same for fewer rows or columns.
void transpose_edge(int64_t rows, int64_t cols, const float* x, ptrdiff_t x_col, float* y,
                    ptrdiff_t y_row) {
    Vec tile[kWidth];
#pragma GCC unroll 16
    for (int c = 0; c < kWidth; ++c) {
        tile[c] = c < cols ? load_n(x + c * x_col, rows) : zero();
    }
    transpose(tile);
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        if (r < rows) {
            store_n(y + r * y_row, tile[r], cols);
        }
    }
}

void transpose_tiles(int64_t rows, int64_t cols, const float* x, ptrdiff_t x_col, float* y,
                     ptrdiff_t y_row) {
    for (int64_t c = 0; c < cols; c += kWidth) {
        for (int64_t r = 0; r < rows; r += kWidth) {
            const float* from = x + r + c * x_col;
            float* to = y + r * y_row + c;
            if (rows - r >= kWidth && cols - c >= kWidth) {
                transpose_tile(from, x_col, to, y_row);
            } else {
                transpose_edge(rows - r, cols - c, from, x_col, to, y_row);
            }
        }
    }
}

void transpose_any(int64_t rows, int64_t cols, const float* x, ptrdiff_t x_row, ptrdiff_t x_col,
                   float* y, ptrdiff_t y_row, ptrdiff_t y_col) {
    if (x_col == 1 && y_col == 1) {
        copy_rows(rows, cols, x, x_row, y, y_row);
    } else if (x_row == 1 && y_row == 1) {
        copy_rows(cols, rows, x, x_col, y, y_col);
    } else if (x_row == 1 && y_col == 1) {
        transpose_tiles(rows, cols, x, x_col, y, y_row);
    } else if (x_col == 1 && y_row == 1) {
        transpose_tiles(cols, rows, x, x_row, y, y_col);
    } else {
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < cols; ++c) {
                y[r * y_row + c * y_col] = x[r * x_row + c * x_col];
            }
        }
    }
}

// exp(x) = 2^k exp(r), k the whole number nearest x / log 2, |r| < 0.35: Taylor's series to r^13. Plain
// loops, which compilers make vectors of: nothing is contracted, so all levels agree.
void exp_f64(int64_t n, double* x) {
    constexpr double kLog2e = 1.4426950408889634, kWhole = 0x1.8p52;
    constexpr double kHigh = 0x1.62e42fee00000p-1, kLow = 0x1.a39ef35793c76p-33;  // log 2
    constexpr double kSeries[] = {1.0 / 6227020800,
                                  1.0 / 479001600,
                                  1.0 / 39916800,
                                  1.0 / 3628800,
                                  1.0 / 362880,
                                  1.0 / 40320,
                                  1.0 / 5040,
                                  1.0 / 720,
                                  1.0 / 120,
                                  1.0 / 24,
                                  1.0 / 6,
                                  0.5,
                                  1.0};
    for (int64_t i = 0; i < n; ++i) {
        double v = x[i] < -708.0 ? -708.0 : x[i];
        v = v > 709.0 ? 709.0 : v;
        const double shifted = v * kLog2e + kWhole;  // k in its low bits
        const double k = shifted - kWhole;
        const double r = (v - k * kHigh) - k * kLow;
        double p = kSeries[0];
#pragma GCC unroll 16
        for (size_t j = 1; j < 13; ++j) {
            p = p * r + kSeries[j];
        }
        const auto power = (__builtin_bit_cast(uint64_t, shifted) + 1023) << 52;
        x[i] = (p * r + 1.0) * __builtin_bit_cast(double, power);
    }
}

}  // namespace

const ElementwiseKernels elementwise_kernels = {kWidth,    add,     mul_silu,      gelu_rows,
                                                gelu_tanh, glu,     softplus_rows, sum_rows,
                                                scale,     exp_f64, widen,         transpose_any};

}  // namespace seqmix::SEQMIX_ISA
