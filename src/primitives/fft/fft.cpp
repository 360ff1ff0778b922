#include "primitives/fft/fft.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <type_traits>
#include <vector>

#include "primitives/fft/blocks.h"

namespace seqmix {
namespace {

template <typename Real>
const FftLevel<Real>& level_of(const FftKernels& kernels) {
    if constexpr (std::is_same_v<Real, float>) {
        return kernels.f32;
    } else {
        return kernels.f64;
    }
}

bool power_of_two(int64_t r) { return (r & (r - 1)) == 0; }
int64_t twiddle_count(int64_t radix) { return power_of_two(radix) ? radix / 2 : radix - 1; }

// The twiddles of one DFT of simd/dft.h with g = fft_root(k, n), n a multiple of the radix: `put` gets
// them one by one.
template <typename Put>
void dft_twiddles(int64_t radix, int64_t k, int64_t n, const Put& put) {
    if (!power_of_two(radix)) {
        for (int64_t p = 1; p < radix; ++p) put(fft_root(p * k, n));
        return;
    }
    if (radix > 1) put(fft_root(radix / 2 * k, n));
    for (int64_t half = 1; 4 * half <= radix; half *= 2) {  // half = 2^(level-1)
        for (int64_t h = 0; h < half; ++h) {
            int64_t reversed = 0;
            for (int64_t bit = 1; bit < half; bit *= 2) {
                reversed = 2 * reversed + ((h & bit) != 0 ? 1 : 0);
            }
            put(fft_root(radix / (4 * half) * k + reversed * (n / (4 * half)), n));
        }
    }
}

// The largest radices first: they go over the most memory.
std::vector<int64_t> factors(int64_t n, int64_t most_radix) {
    std::vector<int64_t> list;
    for (const int64_t odd : {7, 5, 3}) {
        for (; n % odd == 0; n /= odd) list.push_back(odd);
    }
    if (!power_of_two(n)) return {};
    int64_t twos = 0;
    for (; n > 1; n /= 2) ++twos;
    int64_t eights = most_radix >= 8 ? twos / 3 : twos % 2;
    if (twos < 3) eights = 0;
    if (most_radix >= 8 && twos % 3 == 1 && eights > 0) --eights;  // 4 * 4, not 8 * 2
    twos -= 3 * eights;
    list.insert(list.end(), static_cast<size_t>(eights), 8);
    list.insert(list.end(), static_cast<size_t>(twos / 2), 4);
    if (twos % 2 != 0) list.push_back(2);
    if (list.empty()) list.push_back(1);
    std::sort(list.rbegin(), list.rend());
    return list;
}

template <typename Real>
FftTablesOwner<Real> make_tables(int64_t n, int64_t most_radix, bool positions,
                                 const Allocator& allocator) {
    FftTablesOwner<Real> made;
    FftTables<Real>& t = made.tables;
    t.n = n;
    const std::vector<int64_t> radices = factors(n, most_radix);
    t.passes = static_cast<int>(radices.size());
    int64_t size = 0;
    for (int64_t blocks = 1, i = 0; i < t.passes; ++i) {
        const int64_t radix = radices[static_cast<size_t>(i)];
        size += 2 * twiddle_count(radix) * (blocks + n / blocks / radix);
        blocks *= radix;
    }
    made.twiddles = Array<Real>(size, allocator);
    Real* at = made.twiddles.data();
    const auto put = [&](std::complex<double> w) {
        *at++ = static_cast<Real>(w.real());
        *at++ = static_cast<Real>(w.imag());
    };
    // The frequency that a block of a pass stands for: leading digits of the position, reversed.
    std::vector<int64_t> frequency = {0};
    for (int64_t blocks = 1, i = 0; i < t.passes; ++i) {
        const int64_t radix = radices[static_cast<size_t>(i)], points = n / blocks;
        FftPass<Real>& pass = t.pass[i];
        pass = {radix, points, at, nullptr};
        for (const int64_t k : frequency) dft_twiddles(radix, k, blocks * radix, put);
        pass.inverse = at;
        for (int64_t j = 0; j < points / radix; ++j) dft_twiddles(radix, j, points, put);
        std::vector<int64_t> next;
        next.reserve(static_cast<size_t>(blocks * radix));
        for (const int64_t k : frequency) {
            for (int64_t q = 0; q < radix; ++q) next.push_back(k + q * blocks);
        }
        frequency.swap(next);
        blocks *= radix;
    }
    if (!positions) return made;
    made.positions = Array<int32_t>(n, allocator);
    for (int64_t p = 0; p < n; ++p) {
        made.positions[frequency[static_cast<size_t>(p)]] = static_cast<int32_t>(p);
    }
    t.position = made.positions.data();
    return made;
}

// The least length >= `least` that is a power of two, or 3, 5 or 7 times one.
int64_t smooth_length(int64_t least) {
    int64_t best = 1;
    while (best < least) best *= 2;
    for (const int64_t odd : {3, 5, 7}) {
        int64_t length = odd;
        while (length < least) length *= 2;
        best = std::min(best, length);
    }
    return best;
}

}  // namespace

// By symmetry from an angle of at most pi/4, where the argument's own rounding costs least.
std::complex<double> fft_root(int64_t k, int64_t n) {
    k %= n;
    const bool mirrored = 2 * k > n;  // conjugate
    if (mirrored) k = n - k;
    const bool behind = 4 * k > n;  // real part negative
    // Numerators over 4n or 8n keep every step exact.
    int64_t numerator = 8 * k;  // of 8n
    if (behind) numerator = 4 * n - numerator;
    const bool steep = numerator > n;  // over pi/4
    if (steep) numerator = 2 * n - numerator;
    const double angle =
        3.14159265358979323846 * static_cast<double>(numerator) / (4.0 * static_cast<double>(n));
    double c = std::cos(angle), s = std::sin(angle);
    if (steep) std::swap(c, s);
    if (behind) c = -c;
    return {c, mirrored ? s : -s};
}

template <typename Real>
Fft<Real>::Fft(int64_t n, const FftKernels& kernels, Allocator allocator, FftUse use)
    : level_(&level_of<Real>(kernels)) {
    if (!factors(n, 8).empty()) {
        tables_ = make_tables<Real>(n, level_->most_radix, use.order, allocator);
        for (const int64_t columns : {16, 8, 7, 5, 4, 3, 2, 1}) {
            if (columns <= level_->width && n % columns == 0) {
                join_.columns = columns;
                break;
            }
        }
        const int64_t columns = join_.columns, rows = n / columns, width = level_->width;
        join_.rows.n = rows;
        if (!use.alone) return;
        rows_ = make_tables<Real>(rows, level_->most_radix, true, allocator);
        join_.rows = rows_.tables;
        const int64_t count = twiddle_count(columns), groups = (rows + width - 1) / width;
        join_twiddles_ = Array<Real>(groups * count * 2 * width, allocator);
        for (int64_t k = 0; k < groups * width; ++k) {
            Real* at = join_twiddles_.data() + k / width * count * 2 * width + k % width;
            dft_twiddles(columns, std::min(k, rows - 1), n, [&](std::complex<double> w) {
                at[0] = static_cast<Real>(w.real());
                at[width] = static_cast<Real>(w.imag());
                at += 2 * width;
            });
        }
        join_.twiddles = join_twiddles_.data();
        return;
    }
    const int64_t m = smooth_length(2 * n - 1);
    smooth_ = std::make_unique<const Fft>(m, kernels, allocator);
    join_.columns = smooth_->join_.columns;
    chirp_ = Array<Real>(2 * n, allocator);
    spectrum_ = Array<Real>(2 * m, allocator);
    // The filter is transformed in double.
    const Fft<double> exact(m, kernels, allocator);
    Array<double> filter(2 * m, allocator), work(exact.scratch(1), allocator);
    filter.zero();
    for (int64_t t = 0; t < n; ++t) {
        const std::complex<double> c = fft_root(t * t % (2 * n), 2 * n);
        chirp_[2 * t] = static_cast<Real>(c.real());
        chirp_[2 * t + 1] = static_cast<Real>(c.imag());
        const int64_t mirrored = (m - t) % m;
        filter[2 * t] = filter[2 * mirrored] = c.real() / static_cast<double>(m);
        filter[2 * t + 1] = filter[2 * mirrored + 1] = -c.imag() / static_cast<double>(m);
    }
    exact.forward({filter.data(), filter.data() + 1, 2, m, m},
                  {filter.data(), filter.data() + 1, 2, m, m}, 1, work.data());
    for (int64_t k = 0; k < m; ++k) {
        const int64_t p = smooth_->tables().position[k];
        spectrum_[2 * p] = static_cast<Real>(filter[2 * k]);
        spectrum_[2 * p + 1] = static_cast<Real>(filter[2 * k + 1]);
    }
    tables_.tables.n = n;
    tables_.tables.smooth = &smooth_->tables();
    tables_.tables.chirp = chirp_.data();
    tables_.tables.spectrum = spectrum_.data();
}

template <typename Real>
int64_t Fft<Real>::work_size() const {
    const int64_t points = smooth_ != nullptr ? smooth_->n() : n();
    return 2 * points * level_->width;
}

template <typename Real>
int64_t Fft<Real>::one_size() const {
    return smooth_ != nullptr ? 4 * smooth_->n() + smooth_->one_size()
                              : 2 * join_.rows.n * level_->width;
}

template <typename Real>
int64_t Fft<Real>::scratch(int64_t channels) const {
    return scratch_of(*this, channels, work_size(), 4 * n() + one_size());
}

template <typename Real>
void Fft<Real>::one(const Real* re, const Real* im, Real* out_re, Real* out_im, Real* work) const {
    if (smooth_ == nullptr) {
        level_->join(join_, re, im, work, out_re, out_im);
        return;
    }
    // As bluestein() in kernel.cpp.
    const int64_t m = smooth_->n();
    Real *a_re = work, *a_im = work + m, *b_re = work + 2 * m, *b_im = work + 3 * m;
    work += 4 * m;
    const auto times_chirp = [&](const Real* x_re, const Real* x_im, Real* y_re, Real* y_im) {
        for (int64_t t = 0; t < n(); ++t) {
            const Real c = chirp_[2 * t], s = chirp_[2 * t + 1], x = x_re[t], y = x_im[t];
            y_re[t] = x * c - y * s;
            y_im[t] = x * s + y * c;
        }
    };
    times_chirp(re, im, a_re, a_im);
    std::fill(a_re + n(), a_re + m, Real{0});
    std::fill(a_im + n(), a_im + m, Real{0});
    smooth_->one(a_re, a_im, b_re, b_im, work);
    const int32_t* position = smooth_->tables().position;
    for (int64_t k = 0; k < m; ++k) {
        const Real c = spectrum_[2 * position[k]], s = spectrum_[2 * position[k] + 1];
        const Real x = b_re[k], y = b_im[k];
        b_re[k] = x * c - y * s;
        b_im[k] = x * s + y * c;
    }
    smooth_->one(b_im, b_re, a_im, a_re, work);
    times_chirp(a_re, a_im, out_re, out_im);
}

template <typename Real>
void Fft<Real>::one_strided(const FftInput<Real>& in, const FftOutput<Real>& out, Real scale,
                            Real* scratch) const {
    Real *re = scratch, *im = re + n(), *y_re = im + n(), *y_im = y_re + n(), *work = y_im + n();
    const bool direct = dense(in, n());
    if (!direct) {
        load_column(in.re, in.re_rows, in.stride, n(), re);
        load_column(in.im, in.im_rows, in.stride, n(), im);
    }
    if (scale == Real{1} && dense(out, n())) {
        y_re = out.re;
        y_im = out.im;
    }
    one(direct ? in.re : re, direct ? in.im : im, y_re, y_im, work);
    if (y_re != out.re) {
        store_column(y_re, scale, n(), out.re, out.re_rows, out.stride);
        store_column(y_im, scale, n(), out.im, out.im_rows, out.stride);
    }
}

template <typename Real>
void Fft<Real>::forward(const FftInput<Real>& in, const FftOutput<Real>& out, int64_t channels,
                        Real* scratch) const {
    const auto block = [&](int64_t d, int64_t lanes) {
        level_->forward(tables(), shifted(in, d), lanes, scratch);
        level_->take(tables(), scratch, shifted(out, d), lanes);
    };
    const auto single = [&](int64_t d) {
        one_strided(shifted(in, d), shifted(out, d), Real{1}, scratch);
    };
    for_blocks(*this, channels, block, single);
}

template <typename Real>
void Fft<Real>::inverse(const FftInput<Real>& in, const FftOutput<Real>& out, int64_t channels,
                        Real* scratch) const {
    const Real scale = Real{1} / static_cast<Real>(n());
    const auto block = [&](int64_t d, int64_t lanes) {
        level_->put(tables(), shifted(in, d), lanes, scratch);
        level_->inverse(tables(), scratch, shifted(out, d), lanes, scale);
    };
    const auto single = [&](int64_t d) {
        // The inverse is the transform with the two parts exchanged.
        const FftInput<Real> from = shifted(in, d);
        const FftOutput<Real> to = shifted(out, d);
        one_strided({from.im, from.re, from.stride, from.im_rows, from.re_rows},
                    {to.im, to.re, to.stride, to.im_rows, to.re_rows}, scale, scratch);
    };
    for_blocks(*this, channels, block, single);
}

int64_t fft_convolution_length(int64_t least) { return 2 * smooth_length((least + 1) / 2); }

template class Fft<float>;
template class Fft<double>;

}  // namespace seqmix
