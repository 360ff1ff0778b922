// Products of spectra for CKConv; kernel.h says which. Output channels are the lanes: the matrices are
// read once and decide the time, 8 bytes of them a complex product.
#include "mixers/ckconv/kernel.h"

#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

void multiply(int64_t bins, int64_t in, int64_t out, const float* x_re, const float* x_im,
              const float* h_re, const float* h_im, float* y_re, float* y_im) {
    for (int64_t f = 0; f < bins; ++f) {
        for (int64_t o = 0; o < out; o += kWidth) {
            const Mask mask = first_n(out - o);
            Vec re = zero(), im = zero();
            for (int64_t i = 0; i < in; ++i) {
                const Vec a = set1(x_re[f * in + i]), b = set1(x_im[f * in + i]);
                const Vec c = load_m(h_re + (f * in + i) * out + o, mask);
                const Vec d = load_m(h_im + (f * in + i) * out + o, mask);
                re = fnma(b, d, fma(a, c, re));
                im = fma(b, c, fma(a, d, im));
            }
            store_m(y_re + f * out + o, re, mask);
            store_m(y_im + f * out + o, im, mask);
        }
    }
}

}  // namespace

extern const CkConvKernels ckconv_kernels;
const CkConvKernels ckconv_kernels = {multiply};

}  // namespace seqmix::SEQMIX_ISA
