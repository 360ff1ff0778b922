// Discrete Fourier transforms of any length, f32 and f64, and the circular convolution by them.
//
//   X[k] = sum_t x[t] exp(-2 pi i k t / n),     x[t] = 1/n sum_k X[k] exp(2 pi i k t / n)
//
// Sources. Passes: Cooley and Tukey 1965 in place, radices 8, 4, 2, 7, 5, 3 (the butterflies and
// their source: simd/dft.h). Other lengths: Bluestein 1970, as a convolution of a smooth length. A
// real signal of even length as n/2 complex points x[2t] + i x[2t+1]: Cooley, Lewis and Welch 1970.
// One channel: Bailey 1990, in four steps.
//
// Layout. As everywhere in the library channels are contiguous, x[t * stride + d], and lanes are
// channels: a butterfly is whole vectors, twiddles are scalars, nothing is shuffled. Inside, a point
// is a vector of real parts followed by one of imaginary parts: one stream of memory per leg, two
// neighbouring lines with 16 lanes (two planes would double the streams and the pages).
//
// Order. The passes leave frequencies in digit-reversed order and the inverse ones start from it:
// in place, half the working set of a self-sorting (Stockham) transform, which matters since the
// points of 16 channels fill the cache 16 times sooner. The convolution never needs the order; where
// it is wanted the rows are put in order while they are unpacked, whole lines at a time.
// Both directions multiply by twiddles before the butterflies. Forward, a block of points has one
// set of twiddles (the residue tree of simd/dft.h): they stay in registers and their table is small.
//
// Few channels. Lanes that have no channel are wasted; where fewer than half of the columns that the
// lanes could hold are channels, each channel is transformed alone, the lanes along time: columns
// of n / width rows as so many channels, transposed once, and joined by one last butterfly. The
// choice depends on n, the number of channels and the level only.
//
// Convolution with a filter h, zero-padded by the row counts: with E, O the spectra of the even and
// odd x, P, Q those of h, Z = E + i O and w = exp(-2 pi i k / N), N = n/2, the even and odd outputs
// are E P + w O Q and O P + E Q, so that the packed product is
//   V[k] = Z[k] P + i/2 Q ((Z[k] + Z'[k]) - w (Z[k] - Z'[k])),     Z'[k] = conj(Z[N-k])
// and needs neither unpacking nor the twiddles of the real transform. Pairs k, N-k need no table
// either: digit reversal keeps them in opposite order in parts of the work array, and w is a twiddle
// of the last pass.
//
// Numerics. Twiddles are computed in double and rounded once. The error of a transform (root mean
// square, relative) is below 0.3 eps (log2(n) + 3), with Bluestein 0.5 eps (log2(n) + 3); the bound is
// tests/unit/fft_test.cpp's.
//
// Plans are immutable: any number of threads may share one. Making one measures nothing and costs
// about 2 n sines. Running allocates nothing: each worker brings scratch(channels) elements, aligned
// to a cache line. Parallel over channels (by multiples of 16) and batch rows, by the caller.
#pragma once

#include <memory>

#include "base/memory.h"
#include "primitives/fft/kernel.h"

namespace seqmix {

constexpr int64_t kMostFftPoints = int64_t{1} << 30;

// What a plan is made for; tables for the rest are left out, and the rest is not asked for. At a
// million points they are several megabytes each.
struct FftUse {
    bool order = true;  // frequencies in order: forward and inverse; else convolutions alone
    bool alone = true;  // channels that are transformed one by one (Fft::alone)
};

// The tables of a smooth length, and their memory.
template <typename Real>
struct FftTablesOwner {
    FftTables<Real> tables = {};
    Array<Real> twiddles;
    Array<int32_t> positions;
};

// Complex transforms of n points, 1 <= n <= kMostFftPoints.
template <typename Real>
class Fft {
  public:
    Fft(int64_t n, const FftKernels& kernels, Allocator allocator, FftUse use = {});

    int64_t n() const { return tables_.tables.n; }
    int64_t scratch(int64_t channels) const;  // elements

    // Rows beyond those of `in` are zeros; only the rows of `out` are written. `out` may be `in`.
    void forward(const FftInput<Real>& in, const FftOutput<Real>& out, int64_t channels,
                 Real* scratch) const;
    void inverse(const FftInput<Real>& in, const FftOutput<Real>& out, int64_t channels,
                 Real* scratch) const;

    // For what is built on it. A block of channels in the lanes: work_size() elements of work.
    const FftLevel<Real>& level() const { return *level_; }
    const FftTables<Real>& tables() const { return tables_.tables; }
    int64_t work_size() const;
    // Whether the channels of a block of `lanes` are transformed one by one.
    bool alone(int64_t lanes) const { return 2 * lanes <= join_.columns; }
    // One channel as dense planes, in order; one_size() elements of work. The inverse, not scaled,
    // is the same with real and imaginary planes exchanged on both sides.
    void one(const Real* re, const Real* im, Real* out_re, Real* out_im, Real* work) const;
    int64_t one_size() const;

  private:
    void one_strided(const FftInput<Real>& in, const FftOutput<Real>& out, Real scale,
                     Real* scratch) const;

    const FftLevel<Real>* level_;
    FftTablesOwner<Real> tables_;
    FftTablesOwner<Real> rows_;  // one channel
    FftJoin<Real> join_ = {};
    Array<Real> join_twiddles_;
    std::unique_ptr<const Fft> smooth_;  // Bluestein
    Array<Real> chirp_, spectrum_;
};

// Transforms of n reals, half spectra of n/2 + 1 frequencies, and convolutions.
template <typename Real>
class RealFft {
  public:
    RealFft(int64_t n, const FftKernels& kernels, Allocator allocator, FftUse use = {});

    int64_t n() const { return n_; }
    int64_t scratch(int64_t channels) const;  // elements

    // x: the first `rows` of n rows. spectrum: its first rows of n/2 + 1.
    void forward(const Real* x, int64_t rows, ptrdiff_t stride, const FftOutput<Real>& spectrum,
                 int64_t channels, Real* scratch) const;
    // The imaginary parts of frequencies 0 and (n even) n/2 are not read.
    void inverse(const FftInput<Real>& spectrum, Real* y, int64_t rows, ptrdiff_t stride,
                 int64_t channels, Real* scratch) const;

    // n even and n/2 without prime factors above 7, as fft_convolution_length gives it. h:
    // (rows,channels), rows <= n; filter: filter_size(channels) elements.
    int64_t filter_size(int64_t channels) const;
    void make_filter(const Real* h, int64_t rows, ptrdiff_t stride, int64_t channels, Real* filter,
                     Real* scratch) const;
    // y = the first y_rows of the circular convolution of x, zero from x_rows on. y may be x. streamed:
    // y is written past the caches where it can.
    void convolve(const Real* x, int64_t x_rows, ptrdiff_t x_stride, const Real* filter, Real* y,
                  int64_t y_rows, ptrdiff_t y_stride, int64_t channels, Real* scratch,
                  bool streamed = false) const;

  private:
    bool even() const { return n_ % 2 == 0; }
    FftInput<Real> packed_input(const Real* x, int64_t rows, ptrdiff_t stride) const;
    FftOutput<Real> packed(Real* y, int64_t rows, ptrdiff_t stride) const;
    int64_t filter_at(int64_t d) const;
    struct OneChannel {
        FftPlanes<Real> a, b;
        Real* work;
    };
    OneChannel one_channel(Real* scratch) const;
    void load_one(const Real* x, int64_t rows, ptrdiff_t stride, const FftPlanes<Real>& z) const;
    void store_one(const FftPlanes<Real>& z, Real scale, Real* y, int64_t rows,
                   ptrdiff_t stride) const;

    int64_t n_;
    Fft<Real> complex_;            // n/2 points, n where n is odd
    Array<FftPair<Real>> pairs_;   // n even, in order: k = 0 .. n/4, in the order of memory
    Array<Real> cosines_, sines_;  // (n/2): exp(-2 pi i k / n)
};

// The least even length >= `least` that is a power of two, or 3, 5 or 7 times one.
int64_t fft_convolution_length(int64_t least);

extern template class Fft<float>;
extern template class Fft<double>;
extern template class RealFft<float>;
extern template class RealFft<double>;

}  // namespace seqmix
