// The discrete Fourier transform in double precision by its definition: the definition of correct.
// It shares nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// *out_re + i *out_im = sum_t (re[t] + i im[t]) exp(-+ 2 pi i k t / n): one frequency, in O(n); plus
// for the inverse, which is not scaled. im may be null. Sums are compensated (Neumaier 1974), so
// that long ones are as good as short ones.
void dft_bin(int64_t n, const double* re, const double* im, int64_t k, bool inverse, double* out_re,
             double* out_im);

// All frequencies, in O(n^2). The outputs are not the inputs.
void dft(int64_t n, const double* re, const double* im, bool inverse, double* out_re,
         double* out_im);

}  // namespace seqmix::reference
