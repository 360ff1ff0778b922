// What gemm does to finished sums. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel.h"
#include "primitives/gemm/kernel_dot.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// What finished sums are: the numbers; sums of i8 weights, to be multiplied by w_scale; or int32 sums
// of quads, to be multiplied by the row's scale too.
enum class Sums { plain, scaled, quads };

Sums sums_of(const GemmArgs& args, const RowScale* scales) {
    return args.w_type != WeightType::i8 ? Sums::plain
           : scales == nullptr           ? Sums::scaled
                                         : Sums::quads;
}

bool is_plain(const GemmArgs& args) {
    const GemmEpilogue& e = args.epilogue;
    return args.w_type != WeightType::i8 && e.bias == nullptr && e.residual == nullptr &&
           e.activation == GemmActivation::none;
}

// Sums of a row of x for count outputs from n on.
template <Sums kSums>
SEQMIX_INLINE Vec value_of(const GemmArgs& args, Vec sum, float row_scale, int64_t n,
                           int64_t count) {
    if constexpr (kSums == Sums::plain) {
        return sum;
    } else {
        const Vec scale = load_n(args.w_scale + n, count);
        if constexpr (kSums == Sums::scaled) {
            return sum * scale;
        } else {
            // As integers, in whatever type they are loaded: 128 w_sums fits, for its sum did.
            const IVec w = bits_of(load_n(reinterpret_cast<const float*>(args.w_sums + n), count));
            return to_float(bits_of(sum) - shift_left<7>(w)) * (set1(row_scale) * scale);
        }
    }
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

// A block of finished sums: y[m0 + r][n0 + c] for r < rows, c < n. scales: of row m0 on; null unless
// the sums are of quads.
struct Finished {
    int64_t m0, rows, n0, n;
    const float* sums;
    ptrdiff_t stride;
    const RowScale* scales;
};

template <Sums kSums, GemmActivation kActivation>
void finish_as(const GemmArgs& args, const Finished& block) {
    const GemmEpilogue& e = args.epilogue;
    const int64_t n0 = block.n0, n = block.n;
    const float* sums = block.sums;
    for (int64_t i = 0; i < block.rows; ++i) {
        const int64_t r = block.m0 + i;
        float* y = args.y + r * args.y_stride + n0;
        const float* residual =
            e.residual == nullptr ? nullptr : e.residual + r * e.residual_stride + n0;
        const float row_scale = kSums == Sums::quads ? block.scales[i].scale : 1.0f;
        for (int64_t c = 0; c < n; c += kWidth) {
            const Vec sum = value_of<kSums>(args, load(sums + c), row_scale, n0 + c, n - c);
            const Vec value =
                finish_vec<kActivation>(sum, e.bias == nullptr ? nullptr : e.bias + n0 + c,
                                        residual == nullptr ? nullptr : residual + c, n - c);
            store_n(y + c, value, n - c);
        }
        sums += block.stride;
    }
}

template <Sums kSums>
void finish_sums(const GemmArgs& args, const Finished& block) {
    switch (args.epilogue.activation) {
        case GemmActivation::none: finish_as<kSums, GemmActivation::none>(args, block); break;
        case GemmActivation::silu: finish_as<kSums, GemmActivation::silu>(args, block); break;
        case GemmActivation::softplus:
            finish_as<kSums, GemmActivation::softplus>(args, block);
            break;
    }
}

void finish(const GemmArgs& args, const Finished& block) {
    switch (sums_of(args, block.scales)) {
        case Sums::plain: finish_sums<Sums::plain>(args, block); break;
        case Sums::scaled: finish_sums<Sums::scaled>(args, block); break;
        case Sums::quads:
            if constexpr (kRounds) {
                finish_sums<Sums::quads>(args, block);
            }
            break;
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
