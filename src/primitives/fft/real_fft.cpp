// Real transforms and convolutions on the complex transform of half the length (fft.h).
#include <algorithm>
#include <complex>
#include <vector>

#include "primitives/fft/blocks.h"
#include "primitives/fft/fft.h"

namespace seqmix {
namespace {

// std::complex multiplies with care for infinities, in a function call.
template <typename Real>
std::complex<Real> times(std::complex<Real> a, std::complex<Real> b) {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

template <typename Real>
RealFft<Real>::RealFft(int64_t n, const FftKernels& kernels, Allocator allocator)
    : n_(n), complex_(n % 2 == 0 ? n / 2 : n, kernels, allocator) {
    if (!even()) return;
    const int64_t N = n / 2, count = N / 2 + 1;
    half_turns_ = Array<Real>(2 * count, allocator);
    for (int64_t k = 0; k < count; ++k) {
        const std::complex<double> w = fft_root(k, n);
        half_turns_[2 * k] = static_cast<Real>(w.real());
        half_turns_[2 * k + 1] = static_cast<Real>(w.imag());
    }
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
        const std::complex<double> w = fft_root(k, N);
        *pair++ = {at(k),
                   at((N - k) % N),
                   static_cast<Real>(w.real()),
                   static_cast<Real>(w.imag()),
                   static_cast<int32_t>(k),
                   half_turns_[2 * k],
                   half_turns_[2 * k + 1]};
    }
}

template <typename Real>
int64_t RealFft<Real>::scratch(int64_t channels) const {
    const int64_t N = complex_.n();
    return scratch_of(complex_, channels, complex_.work_size(), 4 * N + complex_.one_size());
}

template <typename Real>
int64_t RealFft<Real>::filter_size(int64_t channels) const {
    const int64_t count = complex_.n() / 2 + 1, width = complex_.level().width;
    const int64_t rest = channels % width;
    const int64_t lanes = complex_.alone(rest) ? rest : (rest > 0 ? width : 0);
    return 4 * count * (channels / width * width + lanes);
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
void RealFft<Real>::load_one(const Real* x, int64_t rows, ptrdiff_t stride, Real* re,
                             Real* im) const {
    const FftInput<Real> in = packed_input(x, rows, stride);
    load_column(in.re, in.re_rows, in.stride, complex_.n(), re);
    load_column(in.im, in.im_rows, in.stride, complex_.n(), im);
}
template <typename Real>
void RealFft<Real>::store_one(const Real* re, const Real* im, Real scale, Real* y, int64_t rows,
                              ptrdiff_t stride) const {
    const FftOutput<Real> out = packed(y, rows, stride);
    store_column(re, scale, complex_.n(), out.re, out.re_rows, out.stride);
    store_column(im, scale, complex_.n(), out.im, out.im_rows, out.stride);
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
        Real *re = scratch, *im = re + N, *z_re = im + N, *z_im = z_re + N;
        load_one(x + d, rows, stride, re, im);
        complex_.one(re, im, z_re, z_im, z_im + N);
        const auto put = [&](int64_t k, Real real, Real imaginary) {
            if (k < to.re_rows) to.re[k * to.stride] = real;
            if (k < to.im_rows) to.im[k * to.stride] = imaginary;
        };
        if (!even()) {
            for (int64_t k = 0; k <= N / 2; ++k) put(k, z_re[k], z_im[k]);
            return;
        }
        for (int64_t k = 0; k <= N / 2; ++k) {  // as take_half
            const int64_t m = k > 0 ? N - k : 0;
            const Real sum_re = z_re[k] + z_re[m], sum_im = z_im[k] - z_im[m];
            const Real re_k = z_re[k] - z_re[m], im_k = z_im[k] + z_im[m];
            const Real c = half_turns_[2 * k], s = half_turns_[2 * k + 1];
            const Real turned_re = re_k * c - im_k * s, turned_im = re_k * s + im_k * c;
            put(k, Real{0.5} * (sum_re + turned_im), Real{0.5} * (sum_im - turned_re));
            put(N - k, Real{0.5} * (sum_re - turned_im), Real{-0.5} * (sum_im + turned_re));
        }
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
        Real *re = scratch, *im = re + N, *z_re = im + N, *z_im = z_re + N;
        if (even()) {
            for (int64_t k = 0; k <= N / 2; ++k) {  // as put_half
                const int64_t m = N - k;
                const auto get = [&](const Real* p, int64_t count, int64_t i) {
                    return i < count ? p[i * from.stride] : Real{0};
                };
                const Real a = get(from.re, from.re_rows, k), b = get(from.re, from.re_rows, m);
                const Real p = k > 0 ? get(from.im, from.im_rows, k) : Real{0};
                const Real q = k > 0 ? get(from.im, from.im_rows, m) : Real{0};
                const Real c = half_turns_[2 * k], s = -half_turns_[2 * k + 1];
                const Real turned_re = (a - b) * c - (p + q) * s;
                const Real turned_im = (a - b) * s + (p + q) * c;
                if (k > 0) {
                    re[m] = a + b + turned_im;
                    im[m] = turned_re - (p - q);
                }
                re[k] = a + b - turned_im;
                im[k] = p - q + turned_re;
            }
        } else {
            load_column(from.re, from.re_rows, from.stride, N, re);
            load_column(from.im, from.im_rows, from.stride, N, im);
            re[0] *= Real{0.5};
        }
        complex_.one(im, re, z_im, z_re, z_im + N);
        store_one(z_re, z_im, scale, y + d, rows, stride);
    };
    for_blocks(complex_, channels, block, single);
}

template <typename Real>
void RealFft<Real>::make_filter(const Real* h, int64_t rows, ptrdiff_t stride, int64_t channels,
                                Real* filter, Real* scratch) const {
    const int64_t N = complex_.n(), size = 4 * (N / 2 + 1);  // of a channel
    const FftLevel<Real>& level = complex_.level();
    const Real scale = Real{1} / static_cast<Real>(N);
    const auto block = [&](int64_t d, int64_t lanes) {
        level.forward(complex_.tables(), packed_input(h + d, rows, stride), lanes, scratch);
        level.make_filter(pairs_.data(), N, scratch, scale, filter + d * size);
    };
    const auto single = [&](int64_t d) {
        Real *re = scratch, *im = re + N, *z_re = im + N, *z_im = z_re + N, *to = filter + d * size;
        load_one(h + d, rows, stride, re, im);
        complex_.one(re, im, z_re, z_im, z_im + N);
        for (int64_t k = 0; k <= N / 2; ++k, to += 4) {  // as make_filter in kernel.cpp
            const int64_t m = k > 0 ? N - k : 0;
            to[0] = Real{0.5} * scale * (z_re[k] + z_re[m]);
            to[1] = Real{0.5} * scale * (z_im[k] - z_im[m]);
            to[2] = Real{0.25} * scale * (z_re[k] - z_re[m]);
            to[3] = Real{0.25} * scale * (z_im[k] + z_im[m]);
        }
    };
    for_blocks(complex_, channels, block, single);
}

template <typename Real>
void RealFft<Real>::convolve(const Real* x, int64_t x_rows, ptrdiff_t x_stride, const Real* filter,
                             Real* y, int64_t y_rows, ptrdiff_t y_stride, int64_t channels,
                             Real* scratch) const {
    const int64_t N = complex_.n(), size = 4 * (N / 2 + 1);  // of a channel
    const FftLevel<Real>& level = complex_.level();
    const auto block = [&](int64_t d, int64_t lanes) {
        level.convolve(complex_.tables(), pairs_.data(), filter + d * size,
                       packed_input(x + d, x_rows, x_stride), packed(y + d, y_rows, y_stride),
                       lanes, scratch);
    };
    const auto single = [&](int64_t d) {
        Real *re = scratch, *im = re + N, *z_re = im + N, *z_im = z_re + N;
        const Real* h = filter + d * size;
        load_one(x + d, x_rows, x_stride, re, im);
        complex_.one(re, im, z_re, z_im, z_im + N);
        for (int64_t k = 0; k <= N / 2; ++k, h += 4) {  // as multiply_pairs in kernel.cpp
            const int64_t m = k > 0 ? N - k : 0;
            const std::complex<Real> a(z_re[k], z_im[k]), b(z_re[m], -z_im[m]);
            // w: the square of the half turn
            const Real c = half_turns_[2 * k], s = half_turns_[2 * k + 1];
            const std::complex<Real> w(c * c - s * s, 2 * c * s);
            const std::complex<Real> p(h[0], h[1]), g(h[2], h[3]);
            const std::complex<Real> sum = a + b, turned = times(w, a - b);
            const std::complex<Real> mirrored = times(b, p) - times(g, sum + turned);
            const std::complex<Real> product = times(a, p) + times(g, sum - turned);
            z_re[m] = mirrored.real();
            z_im[m] = -mirrored.imag();
            z_re[k] = product.real();
            z_im[k] = product.imag();
        }
        complex_.one(z_im, z_re, im, re, z_im + N);
        store_one(re, im, Real{1}, y + d, y_rows, y_stride);
    };
    for_blocks(complex_, channels, block, single);
}

template class RealFft<float>;
template class RealFft<double>;

}  // namespace seqmix
