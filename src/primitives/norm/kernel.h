// Normalisation over the last axis, one row at a time:
//
//   rms_norm:    y = x / sqrt(mean(x^2) + eps) * weight
//   layer_norm:  y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias
//   affine:      y = x * weight + bias, what BatchNorm is once its statistics are constants
//
// Sources: Zhang and Sennrich, "Root Mean Square Layer Normalization", eq. 4; Ba, Kiros and Hinton,
// "Layer Normalization", eq. 4 (biased variance).
//
// Sums are f32, in lanes and in an order that depend on D alone, so a row gives the same bits
// whatever the number of rows. Parallel over rows (the caller cuts them). No scratch. y may be x.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

struct NormArgs {
    int64_t rows, width;
    const float* x;  // (rows, D), strides in elements
    ptrdiff_t x_stride;
    const float* weight;  // (D) or null: 1
    const float* bias;    // (D) or null: 0
    float eps;
    float* y;  // (rows, D), may be x with x's stride
    ptrdiff_t y_stride;
};

struct NormKernels {
    int32_t width;  // lanes of a vector
    void (*rms_norm)(const NormArgs& args);
    void (*layer_norm)(const NormArgs& args);
    void (*affine)(const NormArgs& args);  // with weight and bias
};

SEQMIX_DECLARE_KERNELS(NormKernels, norm_kernels)

}  // namespace seqmix
