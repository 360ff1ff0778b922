// The plain loops of convolution kernels that `vs_plain` compares with: frozen, f32; compiled -O3
// -march=native by the compiler under test.
#pragma once

#include <complex>
#include <cstdint>

namespace seqmix::bench::plain {

// out[m] += v_n / (z_m - w_n) + conj(v_n) / (z_m - conj(w_n)), for every pair n and node m.
void cauchy(int64_t nodes, int64_t pairs, const std::complex<float>* z,
            const std::complex<float>* w, const std::complex<float>* v, std::complex<float>* out);

// K[l] += Re(p), p = c_n w_n^l by a running product, for every pair n.
void vandermonde(int64_t length, int64_t pairs, const std::complex<float>* w,
                 const std::complex<float>* c, float* K);

}  // namespace seqmix::bench::plain
