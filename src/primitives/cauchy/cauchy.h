// Cauchy sums at the roots of unity, and the convolution kernel of a diagonal-plus-low-rank system by
// its generating function.
//
//   R_ab(omega) = sum over both conjugate halves of v_n / (i tau - dt lambda_n),   v = dt a_n b_n
//   i tau = 2 (1 - omega) / (1 + omega),  omega = exp(-2 pi i m / L),  tau = 2 tan(pi m / L)
//   k^(omega) = (1 + i tau/2) (R_BC - R_BQ (I + R_PQ)^-1 R_PC),  Q = conj(P),  K = irfft(k^)
//
// Source: Gu, Goel and Re 2022, S4, appendix C.3, bilinear. C is there C (I - A^L), which makes the L
// values of K the whole generating function. Stated in tau, which is real and made in double, nothing
// is singular but omega = -1 itself, where k^ is sum Re v_BC over one half (1/(1 + omega) in f32 costs
// 3.5e-3 of max|K| at L = 16384, this form 4e-7).
//
// A pair: with dt lambda = a + ib, p = a vr + b vi, q = vr, X = a^2 + (b - tau)(b + tau), Y = -2 a tau
//   v/(i tau - dt lambda) + its conjugate half = 2 (-p + i tau q) (X - iY) / (X^2 + Y^2)
// so that everything but the sums is shared by all v.
//
// f32, split planes; lanes are points. One channel at a time; parallel over channels by the caller.
#pragma once

#include <complex>
#include <vector>

#include "primitives/cauchy/kernel.h"
#include "primitives/fft/fft.h"

namespace seqmix {

// The poles of a channel and what stands above them, one of each conjugate pair, all times dt.
struct CauchyPoles {
    using Complex = std::complex<double>;
    std::vector<Complex> poles;                    // (pairs)
    std::vector<std::vector<Complex>> numerators;  // sums of (pairs)
    // Records for sums [first, first + count), count 1 or 4.
    std::vector<float> records(size_t first, size_t count) const;
};

// Kernels of length L for systems of one rank.
class DplrKernel {
  public:
    DplrKernel(int64_t length, int64_t rank, const CauchyKernels& kernels, const FftKernels& fft,
               Allocator allocator);

    int64_t length() const { return length_; }
    int64_t sums() const { return (1 + rank_) * (1 + rank_); }
    int64_t scratch() const;  // floats
    // `system` has sums() numerators in the order of DplrArgs. K: (length). scratch at a cache line.
    void run(const CauchyPoles& system, float* K, float* scratch) const;
    // tau of the points below omega = -1, for benches and tests.
    const float* tau() const { return tau_.data(); }
    int64_t points() const { return tau_.size(); }

  private:
    int64_t length_, rank_;
    const CauchyKernels* kernels_;
    Array<float> tau_;
    RealFft<float> fft_;
};

}  // namespace seqmix
