// A linear map y = x W^T + b inside a mixer: weights bound as stored, run over packed tokens.
#pragma once

#include "contract/mixer.h"
#include "primitives/gemm/gemm.h"

namespace seqmix {

class Linear {
  public:
    // weight (out,in), bias (out) or absent. The weight's memory outlives the map, which reads it where
    // it lies, blocks of q8_0 too; f64 weights are rounded to f32 once. With call.format bf16 or int8
    // the map keeps the weight in that type instead (int8: a factor for each output, the row's largest
    // / 127) and rounds x to it where the CPU can multiply so. A weight that is int8 with a factor for
    // each output is used so where it lies. Level reference keeps all in double and rounds nothing.
    void bind(const Weight& weight, const Weight& bias, int64_t out, int64_t in,
              const BindCall& call);

    // x (tokens,in) and y (tokens,out) with token strides; scratch from scratch_bytes, one part a worker.
    void run(const Call& call, int64_t tokens, const float* x, ptrdiff_t x_stride, float* y,
             ptrdiff_t y_stride, float* scratch) const;
    void run_reference(int64_t tokens, const double* x, ptrdiff_t x_stride, double* y,
                       ptrdiff_t y_stride) const;

    // Bytes of Call::scratch for any product, whatever the level: shared by all maps of a mixer.
    static size_t scratch_bytes(size_t workers);

    int64_t in() const { return in_; }
    int64_t out() const { return out_; }
    const double* weight_f64() const { return weight64_.data(); }
    const double* bias_f64() const { return bias64_.data(); }

  private:
    void make_bf16(const Weight& weight, Allocator allocator);
    void make_int8(const Weight& weight, Allocator allocator);

    int64_t out_ = 0, in_ = 0;
    const GemmKernels* kernels_ = nullptr;
    const void* weight_ = nullptr;
    WeightType type_ = WeightType::f32;
    bool rounds_ = false;
    Array<float> widened_;  // packed weights, and f64 ones, rounded
    Array<uint16_t> bf16_;
    Array<int8_t> int8_;
    Array<float> scale_;  // of int8_, for each output
    Array<int32_t> sums_;
    Array<float> bias_;
    Array<double> weight64_, bias64_;
};

}  // namespace seqmix
