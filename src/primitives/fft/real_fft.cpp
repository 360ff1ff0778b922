// Real transforms and convolutions on the complex transform of half the length (fft.h).
#include <algorithm>
#include <complex>
#include <vector>

#include "primitives/fft/blocks.h"
#include "primitives/fft/fft.h"

namespace seqmix {
template <typename Real>
RealFft<Real>::RealFft(int64_t n, const FftKernels& kernels, Allocator allocator, FftUse use)
    : n_(n), complex_(n % 2 == 0 ? n / 2 : n, kernels, allocator, use) {
    if (!even()) return;
    const int64_t N = n / 2, count = N / 2 + 1;
    if (use.alone) {
        cosines_ = Array<Real>(N, allocator);
        sines_ = Array<Real>(N, allocator);
        for (int64_t k = 0; k < N; ++k) {
            const std::complex<double> w = fft_root(k, n);
            cosines_[k] = static_cast<Real>(w.real());
            sines_[k] = static_cast<Real>(w.imag());
        }
    }
    if (!use.order) return;
    const int32_t* position = complex_.tables().position;
    const auto at = [&](int64_t k) {
        return position != nullptr ? position[k] : static_cast<int32_t>(k);
    };
    std::vector<int32_t> frequency(static_cast<size_t>(N));
    for (int64_t k = 0; k < N; ++k) frequency[static_cast<size_t>(at(k))] = static_cast<int32_t>(k);
    pairs_ = Array<FftPair<Real>>(count, allocator);
    FftPair<Real>* pair = pairs_.data();
    for (int64_t p = 0; p < N; ++p) {
        const int64_t f = frequency[static_cast<size_t>(p)], mirrored = (N - f) % N;
        if (at(mirrored) < p) continue;
        const int64_t k = std::min(f, mirrored);
        const std::complex<double> w = fft_root(k, n);
        *pair++ = {at(k), at((N - k) % N), static_cast<int32_t>(k), static_cast<Real>(w.real()),
                   static_cast<Real>(w.imag())};
    }
}

template <typename Real>
int64_t RealFft<Real>::scratch(int64_t channels) const {
    const int64_t N = complex_.n();
    return scratch_of(complex_, channels, complex_.work_size(), 4 * (N + 1) + complex_.one_size());
}

// Blocks are (N/2 + 1, 4, width), after them channels alone (4, N).
template <typename Real>
int64_t RealFft<Real>::filter_at(int64_t d) const {
    const int64_t N = complex_.n(), width = complex_.level().width;
    return d / width * width * 4 * (N / 2 + 1) + d % width * 4 * N;
}
template <typename Real>
int64_t RealFft<Real>::filter_size(int64_t channels) const {
    const int64_t width = complex_.level().width, rest = channels % width;
    return filter_at(complex_.alone(rest) ? channels : (channels + width - 1) / width * width);
}

// Point t is x[2t] + i x[2t+1], where n is odd x[t].
template <typename Real>
FftInput<Real> RealFft<Real>::packed_input(const Real* x, int64_t rows, ptrdiff_t stride) const {
    rows = std::min(rows, n_);
    if (!even()) return {x, x, stride, rows, 0};
    return {x, rows > 1 ? x + stride : x, 2 * stride, (rows + 1) / 2, rows / 2};
}
template <typename Real>
FftOutput<Real> RealFft<Real>::packed(Real* y, int64_t rows, ptrdiff_t stride) const {
    rows = std::min(rows, n_);
    if (!even()) return {y, y, stride, rows, 0};
    return {y, rows > 1 ? y + stride : y, 2 * stride, (rows + 1) / 2, rows / 2};
}

template <typename Real>
void RealFft<Real>::load_one(const Real* x, int64_t rows, ptrdiff_t stride,
                             const FftPlanes<Real>& z) const {
    const FftInput<Real> in = packed_input(x, rows, stride);
    const int64_t N = complex_.n();
    if (even() && stride == 1) {
        complex_.level().split_one(in.im_rows, x, z);
        if (in.re_rows > in.im_rows) z.re[in.im_rows] = x[2 * in.im_rows];
        std::fill(z.re + in.re_rows, z.re + N, Real{0});
        std::fill(z.im + in.im_rows, z.im + N, Real{0});
        return;
    }
    load_column(in.re, in.re_rows, in.stride, N, z.re);
    load_column(in.im, in.im_rows, in.stride, N, z.im);
}
template <typename Real>
void RealFft<Real>::store_one(const FftPlanes<Real>& z, Real scale, Real* y, int64_t rows,
                              ptrdiff_t stride) const {
    const FftOutput<Real> out = packed(y, rows, stride);
    if (even() && stride == 1) {
        complex_.level().merge_one(out.im_rows, z, scale, y);
        if (out.re_rows > out.im_rows) y[2 * out.im_rows] = z.re[out.im_rows] * scale;
        return;
    }
    store_column(z.re, scale, complex_.n(), out.re, out.re_rows, out.stride);
    store_column(z.im, scale, complex_.n(), out.im, out.im_rows, out.stride);
}

// Two pairs of planes of N + 1 elements, and what is left of the scratch.
template <typename Real>
typename RealFft<Real>::OneChannel RealFft<Real>::one_channel(Real* scratch) const {
    const int64_t size = complex_.n() + 1;
    return {
        {scratch, scratch + size}, {scratch + 2 * size, scratch + 3 * size}, scratch + 4 * size};
}

template <typename Real>
void RealFft<Real>::forward(const Real* x, int64_t rows, ptrdiff_t stride,
                            const FftOutput<Real>& spectrum, int64_t channels,
                            Real* scratch) const {
    const int64_t N = complex_.n();
    const FftLevel<Real>& level = complex_.level();
    FftOutput<Real> half = spectrum;
    half.re_rows = std::min(half.re_rows, n_ / 2 + 1);
    half.im_rows = std::min(half.im_rows, n_ / 2 + 1);
    const auto block = [&](int64_t d, int64_t lanes) {
        const FftOutput<Real> to = shifted(half, d);
        level.forward(complex_.tables(), packed_input(x + d, rows, stride), lanes, scratch);
        if (even()) {
            level.take_half(pairs_.data(), N, scratch, to, lanes);
        } else {
            level.take(complex_.tables(), scratch, to, lanes);
        }
    };
    const auto single = [&](int64_t d) {
        const FftOutput<Real> to = shifted(half, d);
        const OneChannel m = one_channel(scratch);
        load_one(x + d, rows, stride, m.a);
        complex_.one(m.a.re, m.a.im, m.b.re, m.b.im, m.work);
        if (!even()) {
            store_column(m.b.re, Real{1}, n_, to.re, to.re_rows, to.stride);
            store_column(m.b.im, Real{1}, n_, to.im, to.im_rows, to.stride);
            return;
        }
        if (dense(to, N + 1)) {
            level.take_half_one(N, cosines_.data(), sines_.data(), m.b, {to.re, to.im});
            return;
        }
        level.take_half_one(N, cosines_.data(), sines_.data(), m.b, m.a);
        store_column(m.a.re, Real{1}, n_, to.re, to.re_rows, to.stride);
        store_column(m.a.im, Real{1}, n_, to.im, to.im_rows, to.stride);
    };
    for_blocks(complex_, channels, block, single);
}

template <typename Real>
void RealFft<Real>::inverse(const FftInput<Real>& spectrum, Real* y, int64_t rows, ptrdiff_t stride,
                            int64_t channels, Real* scratch) const {
    const int64_t N = complex_.n();
    const FftLevel<Real>& level = complex_.level();
    // 2 Z of put_half; or the frequencies up to n/2 alone, of which the real part is taken twice.
    const Real scale = (even() ? Real{1} : Real{2}) / static_cast<Real>(n_);
    FftInput<Real> half = spectrum;
    half.re_rows = std::min(half.re_rows, n_ / 2 + 1);
    half.im_rows = std::min(half.im_rows, n_ / 2 + 1);
    const auto block = [&](int64_t d, int64_t lanes) {
        const FftInput<Real> from = shifted(half, d);
        if (even()) {
            level.put_half(pairs_.data(), N, from, lanes, scratch);
        } else {
            level.put(complex_.tables(), from, lanes, scratch);
            for (int64_t i = 0; i < level.width; ++i) scratch[i] *= Real{0.5};
        }
        level.inverse(complex_.tables(), scratch, packed(y + d, rows, stride), lanes, scale);
    };
    const auto single = [&](int64_t d) {
        const FftInput<Real> from = shifted(half, d);
        const OneChannel m = one_channel(scratch);
        const int64_t rows_there = even() ? N + 1 : N;
        load_column(from.re, from.re_rows, from.stride, rows_there, m.b.re);
        load_column(from.im, from.im_rows, from.stride, rows_there, m.b.im);
        if (even()) {
            level.put_half_one(N, cosines_.data(), sines_.data(), m.b, m.a);
        } else {
            m.b.re[0] *= Real{0.5};
        }
        const FftPlanes<Real>&z = even() ? m.a : m.b, &result = even() ? m.b : m.a;
        complex_.one(z.im, z.re, result.im, result.re, m.work);
        store_one(result, scale, y + d, rows, stride);
    };
    for_blocks(complex_, channels, block, single);
}

template <typename Real>
void RealFft<Real>::make_filter(const Real* h, int64_t rows, ptrdiff_t stride, int64_t channels,
                                Real* filter, Real* scratch) const {
    const int64_t N = complex_.n();
    const FftLevel<Real>& level = complex_.level();
    const Real scale = Real{1} / static_cast<Real>(N);
    const auto block = [&](int64_t d, int64_t lanes) {
        level.forward(complex_.tables(), packed_input(h + d, rows, stride), lanes, scratch);
        level.make_filter(complex_.tables(), scratch, scale, filter + filter_at(d));
    };
    const auto single = [&](int64_t d) {
        const OneChannel m = one_channel(scratch);
        load_one(h + d, rows, stride, m.a);
        complex_.one(m.a.re, m.a.im, m.b.re, m.b.im, m.work);
        const Real *re = m.b.re, *im = m.b.im;
        Real* to = filter + filter_at(d);
        for (int64_t k = 0; k < N; ++k) {
            const int64_t mirrored = k > 0 ? N - k : 0;
            to[k] = Real{0.5} * scale * (re[k] + re[mirrored]);
            to[N + k] = Real{0.5} * scale * (im[k] - im[mirrored]);
            to[2 * N + k] = Real{0.25} * scale * (re[k] - re[mirrored]);
            to[3 * N + k] = Real{0.25} * scale * (im[k] + im[mirrored]);
        }
    };
    for_blocks(complex_, channels, block, single);
}

template <typename Real>
void RealFft<Real>::convolve(const Real* x, int64_t x_rows, ptrdiff_t x_stride, const Real* filter,
                             Real* y, int64_t y_rows, ptrdiff_t y_stride, int64_t channels,
                             Real* scratch, bool streamed) const {
    const FftLevel<Real>& level = complex_.level();
    const auto block = [&](int64_t d, int64_t lanes) {
        FftOutput<Real> out = packed(y + d, y_rows, y_stride);
        out.streamed = streamed;
        level.convolve(complex_.tables(), filter + filter_at(d),
                       packed_input(x + d, x_rows, x_stride), out, lanes, scratch);
    };
    const auto single = [&](int64_t d) {
        const OneChannel m = one_channel(scratch);
        load_one(x + d, x_rows, x_stride, m.a);
        complex_.one(m.a.re, m.a.im, m.b.re, m.b.im, m.work);
        level.multiply_one(complex_.n(), cosines_.data(), sines_.data(), filter + filter_at(d), m.b,
                           m.a);
        complex_.one(m.a.im, m.a.re, m.b.im, m.b.re, m.work);
        store_one(m.b, Real{1}, y + d, y_rows, y_stride);
    };
    for_blocks(complex_, channels, block, single);
}

template class RealFft<float>;
template class RealFft<double>;

}  // namespace seqmix
