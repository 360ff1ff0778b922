// The plain transform that `vs_plain` compares with: frozen, f32; compiled -O3 -march=native by the
// compiler under test.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace seqmix::bench::plain {

// exp(-2 pi i k / n), k < n/2.
std::vector<std::complex<float>> fft_roots(int64_t n);

// x: n = 2^m dense points, replaced by their transform. Stockham's passes of radix 2, for p, q:
//   y[q + s 2p], y[q + s (2p+1)] = a + b, (a - b) root[p s],   a, b = x[q + s p], x[q + s (p + n/2s)]
// with s = 1, 2, 4 ...; tmp: n points.
void fft(int64_t n, std::complex<float>* x, const std::complex<float>* roots,
         std::complex<float>* tmp);

}  // namespace seqmix::bench::plain
