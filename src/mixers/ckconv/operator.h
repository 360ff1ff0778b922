// One CKConv inside a layer: its weights bound, run over the whole inputs of a step.
#pragma once

#include "contract/mixer.h"
#include "mixers/ckconv/kernel.h"
#include "mixers/ckconv/siren.h"
#include "primitives/fft/fft.h"

namespace seqmix::mixers {

// Weight slots of one convolution, from `first` on: v, g, bias of the three layers, then the bias.
constexpr int32_t kCkWeights = 10;

struct CkSizes {
    int64_t in, out, hidden, train_length;
    double omega;
    int64_t largest = 0;  // points of the largest transform; inputs of half of it go by transforms
    int64_t fft_scratch = 0;

    CkSizes(int64_t in_width, int64_t out_width, int64_t hidden_width, int64_t length, double w0);
    // Bytes of scratch for inputs of up to `tokens` tokens.
    size_t scratch_bytes(int64_t tokens, size_t workers, bool real64) const;
};

class CkConv {
  public:
    void bind(const CkSizes& sizes, int32_t first_slot, const BindCall& call);
    // x (T,in), y (T,out) of one row, with token strides. scratch: scratch_bytes of at least T tokens.
    void run(const Call& call, int64_t tokens, const float* x, ptrdiff_t x_stride, float* y,
             ptrdiff_t y_stride, Scratch scratch) const;
    void run_reference(int64_t tokens, const double* x, double* y, Scratch scratch) const;  // dense

  private:
    const RealFft<float>* transform(int64_t tokens) const;  // null: too long
    void make_spectra(const Call* call, int64_t tokens, const RealFft<float>& fft, double* k,
                      double* net_scratch, float* taps, float* spectra, float* work) const;

    const CkSizes* sizes_ = nullptr;
    const CkConvKernels* kernels_ = nullptr;
    Array<double> weights_[kCkWeights];
    CkKernelNet net_{};
    std::vector<std::unique_ptr<const RealFft<float>>> ffts_;  // rising
    Array<float> spectra_;  // (2, bins, in, out) at the training length
};

}  // namespace seqmix::mixers
