#include "contract/linear.h"

#include <algorithm>

#include "primitives/gemm/reference.h"

namespace seqmix {
namespace {

int64_t scratch_floats() {
    int64_t most = 0;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        most = std::max(most, SEQMIX_SELECT_KERNELS(isa, gemm_kernels)->scratch_floats);
    }
    return (most + 15) / 16 * 16;  // no cache line is shared between workers
}

}  // namespace

void Linear::bind(const Weight& weight, const Weight& bias, int64_t out, int64_t in,
                  const BindCall& call) {
    out_ = out;
    in_ = in;
    if (call.isa == Isa::reference) {
        weight64_ = ::seqmix::weight_f64(weight, call.allocator);
        bias64_ = ::seqmix::weight_f64(bias, call.allocator);
        return;
    }
    kernels_ = SEQMIX_SELECT_KERNELS(call.isa, gemm_kernels);
    bias_ = weight_f32(bias, call.allocator);
    weight_ = weight.data;
    if (!weight_type(weight.dtype, &type_)) {
        rounded_ = ::seqmix::weight_f32(weight, call.allocator);
        weight_ = rounded_.data();
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
