// What gemm does to finished sums. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

bool is_plain(const GemmEpilogue& e) {
    return e.bias == nullptr && e.residual == nullptr && e.activation == GemmActivation::none;
}

template <GemmActivation kActivation>
SEQMIX_INLINE Vec finish_vec(Vec sum, const float* bias, const float* residual, int64_t count) {
    if (bias != nullptr) {
        sum = sum + load_n(bias, count);
    }
    if constexpr (kActivation == GemmActivation::silu) {
        sum = silu(sum);
    } else if constexpr (kActivation == GemmActivation::softplus) {
        sum = softplus(sum);
    }
    if (residual != nullptr) {
        sum = sum + load_n(residual, count);
    }
    return sum;
}

// y[m0 + r][n0 + c] for r < rows, c < n from finished sums.
template <GemmActivation kActivation>
void finish_as(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
               const float* sums, ptrdiff_t stride) {
    const GemmEpilogue& e = args.epilogue;
    for (int64_t r = m0; r < m0 + rows; ++r) {
        float* y = args.y + r * args.y_stride + n0;
        const float* residual =
            e.residual == nullptr ? nullptr : e.residual + r * e.residual_stride + n0;
        for (int64_t c = 0; c < n; c += kWidth) {
            const Vec value = finish_vec<kActivation>(
                load(sums + c), e.bias == nullptr ? nullptr : e.bias + n0 + c,
                residual == nullptr ? nullptr : residual + c, n - c);
            store_n(y + c, value, n - c);
        }
        sums += stride;
    }
}

void finish(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
            const float* sums, ptrdiff_t stride) {
    switch (args.epilogue.activation) {
        case GemmActivation::none:
            finish_as<GemmActivation::none>(args, m0, rows, n0, n, sums, stride);
            break;
        case GemmActivation::silu:
            finish_as<GemmActivation::silu>(args, m0, rows, n0, n, sums, stride);
            break;
        case GemmActivation::softplus:
            finish_as<GemmActivation::softplus>(args, m0, rows, n0, n, sums, stride);
            break;
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
