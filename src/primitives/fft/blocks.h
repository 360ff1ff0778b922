// What fft.cpp and real_fft.cpp share: roots of unity, and the loop over channels.
#pragma once

#include <algorithm>
#include <complex>

#include "primitives/fft/fft.h"

namespace seqmix {

// exp(-2 pi i k / n), k >= 0, in double.
std::complex<double> fft_root(int64_t k, int64_t n);

template <typename Real>
FftInput<Real> shifted(FftInput<Real> rows, int64_t d) {
    // What is not there has no address: nothing is added to null.
    rows.re = rows.re_rows > 0 ? rows.re + d : nullptr;
    rows.im = rows.im_rows > 0 ? rows.im + d : rows.re;
    if (rows.re == nullptr) rows.re = rows.im;
    return rows;
}
template <typename Real>
FftOutput<Real> shifted(FftOutput<Real> rows, int64_t d) {
    rows.re = rows.re_rows > 0 ? rows.re + d : nullptr;
    rows.im = rows.im_rows > 0 ? rows.im + d : rows.re;
    if (rows.re == nullptr) rows.re = rows.im;
    return rows;
}

// One channel between strided rows and dense planes.
template <typename Real>
void load_column(const Real* x, int64_t rows, ptrdiff_t stride, int64_t n, Real* to) {
    const int64_t count = std::min(rows, n);
    for (int64_t t = 0; t < count; ++t) to[t] = x[t * stride];
    std::fill(to + count, to + n, Real{0});
}
template <typename Real>
void store_column(const Real* from, Real scale, int64_t n, Real* y, int64_t rows,
                  ptrdiff_t stride) {
    const int64_t count = std::min(rows, n);
    for (int64_t t = 0; t < count; ++t) y[t * stride] = from[t] * scale;
}

// Where planes can be the caller's own: one() reads all of its input before it writes.
template <typename Rows>
bool dense(const Rows& rows, int64_t n) {
    return rows.stride == 1 && rows.re_rows >= n && rows.im_rows >= n;
}

// block(d, lanes) for channels in the lanes, single(d) for those that are transformed alone.
template <typename Real, typename Block, typename Single>
void for_blocks(const Fft<Real>& fft, int64_t channels, const Block& block, const Single& single) {
    const int64_t width = fft.level().width;
    for (int64_t d = 0; d < channels; d += width) {
        const int64_t lanes = std::min(width, channels - d);
        if (!fft.alone(lanes)) {
            block(d, lanes);
            continue;
        }
        for (int64_t i = d; i < d + lanes; ++i) single(i);
    }
}

// The larger of the two sizes that such a loop needs.
template <typename Real>
int64_t scratch_of(const Fft<Real>& fft, int64_t channels, int64_t block, int64_t single) {
    const int64_t width = fft.level().width, rest = channels % width;
    const bool blocks = channels >= width || (rest > 0 && !fft.alone(rest));
    const bool singles = rest > 0 && fft.alone(rest);
    return std::max(blocks ? block : 0, singles ? single : 0);
}

}  // namespace seqmix
