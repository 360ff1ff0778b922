// Kernel table of the Fourier transforms; what they compute, the layouts and how they are put
// together is in fft.h. All functions work on one block of `lanes` <= width channels, or on one
// channel where said so.
//
// Work: points, each a vector of real parts and a vector of imaginary parts, (points, 2, width).
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// One pass over blocks of `points` consecutive points: radix-R DFTs of legs points / R apart.
template <typename Real>
struct FftPass {
    int64_t radix, points;
    const Real* forward;  // (blocks, twiddles of a DFT, 2): one set for all DFTs of a block
    const Real* inverse;  // (points / radix, twiddles of a DFT, 2): one set for all blocks
};

// A transform of n = product of the radices. After the forward passes frequency k is at
// position[k], after the inverse ones everything is in order.
template <typename Real>
struct FftTables {
    static constexpr int kMostPasses = 32;
    int64_t n;
    int passes;
    FftPass<Real> pass[kMostPasses];
    const int32_t* position;  // (n); null: the order is natural, or nobody asks
    // Lengths with prime factors above 7 are convolutions of a smooth length (Bluestein 1970):
    const FftTables* smooth;  // null: none
    const Real* chirp;        // (n, 2): exp(-pi i t^2 / n)
    const Real* spectrum;     // (smooth->n, 2): of the conjugate chirp, in the passes' order, / n
};

// Rows t of `lanes` channels, re[t * stride + d]. Rows from re_rows (im_rows) on are not there: zero
// when read, not written.
template <typename Real>
struct FftInput {
    const Real *re, *im;
    ptrdiff_t stride;
    int64_t re_rows, im_rows;
};
template <typename Real>
struct FftOutput {
    Real *re, *im;
    ptrdiff_t stride;
    int64_t re_rows, im_rows;
    bool streamed = false;  // f32, by convolve: past the caches, where rows are aligned to vectors
};

// Frequencies k and N-k of an N-point transform whose points are x[2t] + i x[2t+1].
template <typename Real>
struct FftPair {
    int32_t a, b;           // their positions
    int32_t k;              // 0 .. N/2
    Real half_re, half_im;  // exp(-pi i k / N)
};

// A transform along the lanes: n = rows * columns; column c of the rows is the points c, c +
// columns, ... The rows are transformed as so many channels, then DFTs of `columns` points join
// them.
template <typename Real>
struct FftJoin {
    FftTables<Real> rows;
    int64_t columns;
    const Real* twiddles;  // (ceil(rows / width), twiddles of a DFT, 2, width)
};

// One channel, dense.
template <typename Real>
struct FftPlanes {
    Real *re, *im;
};

template <typename Real>
struct FftLevel {
    int width;
    int most_radix;  // of the passes
    // Rows to work, in the order of the passes (natural with Bluestein).
    void (*forward)(const FftTables<Real>&, const FftInput<Real>&, int64_t lanes, Real* work);
    // Back, times scale; work is lost.
    void (*inverse)(const FftTables<Real>&, Real* work, const FftOutput<Real>&, int64_t lanes,
                    Real scale);
    // Frequencies in order, from and to work.
    void (*take)(const FftTables<Real>&, const Real* work, const FftOutput<Real>&, int64_t lanes);
    void (*put)(const FftTables<Real>&, const FftInput<Real>&, int64_t lanes, Real* work);
    // The same for the half spectrum of 2N reals packed into N points. put is not scaled: the
    // points are twice those of the packed reals.
    void (*take_half)(const FftPair<Real>*, int64_t n, const Real* work, const FftOutput<Real>&,
                      int64_t lanes);
    void (*put_half)(const FftPair<Real>*, int64_t n, const FftInput<Real>&, int64_t lanes,
                     Real* work);
    // A filter for `convolve`, (N/2 + 1, 2 complex, width), from work; and y = filter * x by rows
    // packed as above. N is smooth, the order of the pairs the kernel's own.
    void (*make_filter)(const FftTables<Real>&, const Real* work, Real scale, Real* filter);
    void (*convolve)(const FftTables<Real>&, const Real* filter, const FftInput<Real>& x,
                     const FftOutput<Real>& y, int64_t lanes, Real* work);
    // One channel in planes: out[k] = DFT of in, in order; rows.n points of work.
    void (*join)(const FftJoin<Real>&, const Real* re, const Real* im, Real* work, Real* out_re,
                 Real* out_im);
    // Between the half spectrum X (N+1) and the packed points Z (N), as take_half and put_half, and
    // V = filter * Z with a filter (4, N): the parts of P and of G. c, s: (N) exp(-pi i k / N).
    void (*take_half_one)(int64_t n, const Real* c, const Real* s, const FftPlanes<Real>& z,
                          const FftPlanes<Real>& x);
    void (*put_half_one)(int64_t n, const Real* c, const Real* s, const FftPlanes<Real>& x,
                         const FftPlanes<Real>& z);
    void (*multiply_one)(int64_t n, const Real* c, const Real* s, const Real* filter,
                         const FftPlanes<Real>& z, const FftPlanes<Real>& v);
    // x[2t], x[2t+1] and planes.
    void (*split_one)(int64_t n, const Real* x, const FftPlanes<Real>& z);
    void (*merge_one)(int64_t n, const FftPlanes<Real>& z, Real scale, Real* x);
};

struct FftKernels {
    FftLevel<float> f32;
    FftLevel<double> f64;
};

SEQMIX_DECLARE_KERNELS(FftKernels, fft_kernels)

}  // namespace seqmix
