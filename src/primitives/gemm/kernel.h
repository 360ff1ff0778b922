// Arguments and kernel table of gemm; see gemm.h for the contract. Plain data: this header is
// included by code compiled per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

enum class GemmActivation : int32_t { none = 0, silu = 1, softplus = 2 };

// Applied to the finished sums: y = activation(sum + bias) + residual.
struct GemmEpilogue {
    const float* bias;          // (N) or null
    const float* residual;      // (M,N) or null; may be y itself, with y's stride
    ptrdiff_t residual_stride;  // elements from row to row
    GemmActivation activation;
};

// y(m,n) = epilogue(sum_k x(m,k) w(n,k)). Strides in elements from row to row, of either sign.
// Value-initialise (`GemmArgs args{};`) and set what is needed.
struct GemmArgs {
    int64_t m, n, k;  // k is of whole blocks, and so is w_stride, if w is q8_0
    const float* x;   // (M,K)
    ptrdiff_t x_stride;
    const void* w;  // (N,K) of w_type; may start at any byte
    ptrdiff_t w_stride;
    WeightType w_type;
    const float* w_scale;   // (N), i8 only: the weight is w(n,k) * w_scale(n)
    const int32_t* w_sums;  // (N), i8 only: sum_k w(n,k)
    bool rounded;           // x may be rounded to the type of the weights (bf16, i8)
    float* y;               // (M,N); overlaps no input but, exactly, the residual
    ptrdiff_t y_stride;
    GemmEpilogue epilogue;
    float* scratch;  // GemmKernels::scratch_floats floats, one such buffer per worker
};

struct GemmKernels {
    int32_t width;           // lanes of a vector
    int32_t m_tile;          // rows of the register tile: cut M at multiples of it
    int64_t n_tile;          // outputs of a panel: cut N at multiples of it
    int64_t m_block;         // rows that share one packing of a panel; more are done in turn
    int64_t n_block;         // outputs that share one reading of x; more are done in turn
    int64_t thin_rows;       // up to so many rows of x are packed instead, if weights are f32
    int64_t thin_n;          // outputs that then share one packing of x
    int64_t scratch_floats;  // per worker, whatever the shapes
    bool rounds;             // `rounded` is taken up
    void (*gemm)(const GemmArgs& args);
};

SEQMIX_DECLARE_KERNELS(GemmKernels, gemm_kernels)
SEQMIX_DECLARE_ROUNDING_KERNELS(GemmKernels, gemm_kernels)

}  // namespace seqmix
