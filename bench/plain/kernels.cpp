#include "kernels.h"

namespace seqmix::bench::plain {

void cauchy(int64_t nodes, int64_t pairs, const std::complex<float>* z,
            const std::complex<float>* w, const std::complex<float>* v, std::complex<float>* out) {
    for (int64_t n = 0; n < pairs; ++n) {
        for (int64_t m = 0; m < nodes; ++m) {
            out[m] += v[n] / (z[m] - w[n]) + std::conj(v[n]) / (z[m] - std::conj(w[n]));
        }
    }
}

void vandermonde(int64_t length, int64_t pairs, const std::complex<float>* w,
                 const std::complex<float>* c, float* K) {
    for (int64_t n = 0; n < pairs; ++n) {
        std::complex<float> p = c[n];
        for (int64_t l = 0; l < length; ++l) {
            K[l] += p.real();
            p *= w[n];
        }
    }
}

}  // namespace seqmix::bench::plain
