// Small maps over rows that a layer needs between its matrix products and its scan.
//
// Rows have a stride in elements, of either sign, and unit stride inside a row. No lane depends on
// another, so an element's bits do not depend on the sizes. Parallel over rows (the caller cuts
// them). No scratch. An output may be one of its inputs, exactly.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

struct ElementwiseKernels {
    int32_t width;  // lanes of a vector

    // y = a + b; a, b, y: (rows, D).
    void (*add)(int64_t rows, int64_t width, const float* a, ptrdiff_t a_stride, const float* b,
                ptrdiff_t b_stride, float* y, ptrdiff_t y_stride);

    // y = x * silu(z) = x * z / (1 + exp(-z)); x, z, y: (rows, D).
    void (*mul_silu)(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride,
                     const float* z, ptrdiff_t z_stride, float* y, ptrdiff_t y_stride);

    // y = x Phi(x), the exact GELU; x, y: (rows, D).
    void (*gelu)(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* y,
                 ptrdiff_t y_stride);

    // y = x / 2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), GELU's approximation; x, y: (rows, D).
    void (*gelu_tanh)(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* y,
                      ptrdiff_t y_stride);

    // y = a / (1 + exp(-b)), the gated linear unit; a, b, y: (rows, D).
    void (*glu)(int64_t rows, int64_t width, const float* a, ptrdiff_t a_stride, const float* b,
                ptrdiff_t b_stride, float* y, ptrdiff_t y_stride);

    // y = log(1 + exp(x)); x, y: (rows, D).
    void (*softplus)(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* y,
                     ptrdiff_t y_stride);

    // acc(d) += x(0,d), then x(1,d), ...: one chain per lane in the order of rows, so cutting the
    // rows into several calls changes nothing. acc: (D), x: (rows, D). For means over tokens.
    void (*sum_rows)(int64_t rows, int64_t width, const float* x, ptrdiff_t x_stride, float* acc);

    // y(d) = x(d) * factor; x, y: (D).
    void (*scale)(int64_t width, const float* x, float factor, float* y);

    // x = exp(x) in double, relative error below 3e-16; below -708 it is 3e-308, above 709 8e307. The
    // same bits at every level. x: (n).
    void (*exp_f64)(int64_t n, double* x);

    // y = x widened to f32, exactly (i8 without its factor); x: (rows, D) of `type`, not q8_0, may start
    // at any byte; y: (rows, D).
    void (*widen)(int64_t rows, int64_t width, const void* x, ptrdiff_t x_stride, WeightType type,
                  float* y, ptrdiff_t y_stride);

    // y(r,c) = x(r,c); each side has a stride along rows and one along columns. Fast where each
    // side is contiguous along some axis: copies of rows, or tiles transposed in registers ((B,D,T)
    // views read as (T,D)); any other strides go element by element. x and y do not overlap.
    void (*transpose)(int64_t rows, int64_t cols, const float* x, ptrdiff_t x_row, ptrdiff_t x_col,
                      float* y, ptrdiff_t y_row, ptrdiff_t y_col);
};

SEQMIX_DECLARE_KERNELS(ElementwiseKernels, elementwise_kernels)

}  // namespace seqmix
