#include "contract/linear.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "primitives/gemm/reference.h"

namespace seqmix {
namespace {

int64_t scratch_floats() {
    int64_t most = 0;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        most = std::max(most, SEQMIX_SELECT_KERNELS(isa, gemm_kernels)->scratch_floats);
    }
    for (const Rounding rounding : {Rounding::dot, Rounding::tiles}) {
        most = std::max(
            most,
            SEQMIX_SELECT_ROUNDING_KERNELS(rounding, Isa::generic, gemm_kernels)->scratch_floats);
    }
    return (most + 15) / 16 * 16;  // no cache line is shared between workers
}

}  // namespace

void Linear::make_bf16(const Weight& weight, Allocator allocator) {
    bf16_ = Array<uint16_t>(out_ * in_, allocator);
    Array<float> row(in_, allocator);
    for (int64_t n = 0; n < out_; ++n) {
        weight.read(n * in_, in_, row.data());
        for (int64_t k = 0; k < in_; ++k) {
            bf16_[n * in_ + k] = f32_to_bf16(row[k]);
        }
    }
}

void Linear::make_int8(const Weight& weight, Allocator allocator) {
    scale_ = Array<float>(out_, allocator);
    if (weight.coding == Coding::i8_rows && weight.row == in_) {
        std::memcpy(scale_.data(), weight.factors, scale_.bytes());
        weight_ = weight.data;
    } else {
        int8_ = Array<int8_t>(out_ * in_, allocator);
        Array<float> row(in_, allocator);
        for (int64_t n = 0; n < out_; ++n) {
            weight.read(n * in_, in_, row.data());
            const RowFactor by = row_factor(row.data(), in_);
            scale_[n] = by.factor;
            for (int64_t k = 0; k < in_; ++k) {
                int8_[n * in_ + k] = to_int8(row[k], by);
            }
        }
        weight_ = int8_.data();
    }
    sums_ = Array<int32_t>(out_, allocator);
    const auto* q = static_cast<const int8_t*>(weight_);
    for (int64_t n = 0; n < out_; ++n) {
        uint32_t sum = 0;  // read up to K = 65536, where it fits
        for (int64_t k = 0; k < in_; ++k) {
            sum += static_cast<uint32_t>(q[n * in_ + k]);
        }
        sums_[n] = static_cast<int32_t>(sum);
    }
}

void Linear::bind(const Weight& weight, const Weight& bias, int64_t out, int64_t in,
                  const BindCall& call) {
    out_ = out;
    in_ = in;
    if (call.isa == Isa::reference) {
        weight64_ = ::seqmix::weight_f64(weight, call.allocator);
        bias64_ = ::seqmix::weight_f64(bias, call.allocator);
        return;
    }
    bias_ = weight_f32(bias, call.allocator);
    kernels_ = SEQMIX_SELECT_KERNELS(call.isa, gemm_kernels);
    if (call.matrices != nullptr) {
        call.matrices->push_back({weight.data, in});
    }
    const bool stored = call.format == WeightFormat::stored;
    const bool int8 = call.format == WeightFormat::int8 ||
                      (stored && weight.coding == Coding::i8_rows && weight.row == in);
    if (stored && !int8) {
        weight_ = weight.data;
        if (weight.coding == Coding::q8_0 && in % kQ8Block == 0) {
            type_ = WeightType::q8_0;
        } else if (weight.coding != Coding::plain || !weight_type(weight.dtype, &type_)) {
            widened_ = ::seqmix::weight_f32(weight, call.allocator);
            weight_ = widened_.data();
            type_ = WeightType::f32;
        }
        return;
    }
    type_ = int8 ? WeightType::i8 : WeightType::bf16;
    if (int8) {
        make_int8(weight, call.allocator);
    } else if (weight.dtype == DType::bf16) {
        weight_ = weight.data;
    } else {
        make_bf16(weight, call.allocator);
        weight_ = bf16_.data();
    }
    const Rounding rounding = best_rounding(call.isa);
    if (int8 || bf16_rounding_pays(rounding)) {
        kernels_ = SEQMIX_SELECT_ROUNDING_KERNELS(rounding, call.isa, gemm_kernels);
        rounds_ = kernels_->rounds;
    }
}

void Linear::run(const Call& call, int64_t tokens, const float* x, ptrdiff_t x_stride, float* y,
                 ptrdiff_t y_stride, float* scratch) const {
    GemmArgs args{};
    args.m = tokens;
    args.n = out_;
    args.k = in_;
    args.x = x;
    args.x_stride = x_stride;
    args.w = weight_;
    args.w_stride = in_;
    args.w_type = type_;
    args.w_scale = scale_.data();
    args.w_sums = sums_.data();
    args.rounded = rounds_;
    args.y = y;
    args.y_stride = y_stride;
    args.epilogue.bias = bias_.data();
    const GemmSplit split = gemm_split(tokens, out_, in_, *kernels_, call.runner.workers);
    const int64_t part = scratch_floats();
    call.parallel_for(split.items(), [&](int64_t item, size_t worker) {
        GemmArgs mine = args;
        mine.scratch = scratch + static_cast<int64_t>(worker) * part;
        gemm_work_item(mine, *kernels_, split, item);
    });
}

void Linear::run_reference(int64_t tokens, const double* x, ptrdiff_t x_stride, double* y,
                           ptrdiff_t y_stride) const {
    reference::gemm(tokens, out_, in_, x, x_stride, weight64_.data(), in_, bias64_.data(), nullptr,
                    0, 0, y, y_stride);
}

size_t Linear::scratch_bytes(size_t workers) {
    return Scratch::round_up(static_cast<size_t>(scratch_floats()) * sizeof(float) * workers);
}

}  // namespace seqmix
