// Fourier transforms, hot loops. The equations, layouts and choices are in fft.h, the DFTs of single
// butterflies in simd/dft.h.
//
// The passes are in place. Blocks that do not fit in the first-level cache are finished one after
// the other, pass by pass inside (depth first), so that every pass over a block that fits in some
// cache finds it there. The first pass reads the caller's rows and the last one writes them: nothing
// is copied, and rows that are not there (padding) cost no memory.
// size: one object per level, and every function is one of its passes.
#include "primitives/fft/kernel.h"

#include "simd/dft.h"
#include "simd/unroll.h"
#include "simd/vec_f64.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr int64_t kCacheBytes = 32 * 1024;  // of 32 or 48 KB, the rest for twiddles

template <typename Real>
using VecOf = typename LanesOf<Real>::V;
template <typename Real>
constexpr int kLanes = VecOf<Real>::kWidth;
template <typename Real>
constexpr int kPoint = 2 * kLanes<Real>;  // elements of a point

template <typename Real>
SEQMIX_INLINE Complex<VecOf<Real>> load_point(const Real* p) {
    return {load(p), load(p + kLanes<Real>)};
}
template <typename Real>
SEQMIX_INLINE void store_point(Real* p, Complex<VecOf<Real>> x) {
    store(p, x.re);
    store(p + kLanes<Real>, x.im);
}
// The inverse transform is the forward one with the two parts exchanged.
template <typename Real>
SEQMIX_INLINE Complex<VecOf<Real>> load_swapped(const Real* p) {
    return {load(p + kLanes<Real>), load(p)};
}
template <typename Real>
SEQMIX_INLINE void store_swapped(Real* p, Complex<VecOf<Real>> x) {
    store(p + kLanes<Real>, x.re);
    store(p, x.im);
}

template <typename Real>
SEQMIX_INLINE Complex<VecOf<Real>> load_row(const FftInput<Real>& in, int64_t t, int64_t lanes) {
    using V = VecOf<Real>;
    const Real* re = in.re + t * in.stride;
    const Real* im = in.im + t * in.stride;
    if (lanes == V::kWidth) {
        return {t < in.re_rows ? load(re) : set1(Real{0}),
                t < in.im_rows ? load(im) : set1(Real{0})};
    }
    return {t < in.re_rows ? load_n(re, lanes) : set1(Real{0}),
            t < in.im_rows ? load_n(im, lanes) : set1(Real{0})};
}
template <typename Real>
SEQMIX_INLINE void store_row(const FftOutput<Real>& out, int64_t t, int64_t lanes,
                             Complex<VecOf<Real>> x) {
    using V = VecOf<Real>;
    Real* re = out.re + t * out.stride;
    Real* im = out.im + t * out.stride;
    if (lanes == V::kWidth) {
        if (t < out.re_rows) store(re, x.re);
        if (t < out.im_rows) store(im, x.im);
    } else {
        if (t < out.re_rows) store_n(re, x.re, lanes);
        if (t < out.im_rows) store_n(im, x.im, lanes);
    }
}

template <typename Real>
SEQMIX_INLINE Complex<VecOf<Real>> broadcast(const Real* w) {
    return {set1(w[0]), set1(w[1])};
}

template <int R, typename V, typename Real>
SEQMIX_INLINE void broadcast_all(Complex<V>* w, const Real* from) {
    unroll<dft_twiddles(R)>([&](auto i) SEQMIX_INLINE_LAMBDA { w[i] = broadcast(from + 2 * i); });
}

// Blocks first .. first + blocks - 1 of a pass, at work.
template <int R, typename Real>
void forward_pass(const FftPass<Real>& pass, int64_t first, int64_t blocks, Real* work) {
    using V = VecOf<Real>;
    constexpr int count = dft_twiddles(R);
    const int64_t legs = pass.points / R, leg = legs * kPoint<Real>;
    const Real* twiddles = pass.forward + first * 2 * count;
    for (int64_t b = 0; b < blocks; ++b) {
        Complex<V> w[count + 1];
        broadcast_all<R>(w, twiddles);
        twiddles += 2 * count;
        for (int64_t j = 0; j < legs; ++j) {
            Real* p = work + j * kPoint<Real>;
            Complex<V> x[R];
            unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA { x[i] = load_point(p + i * leg); });
            dft<R, false>(x, w);
            unroll<R>([&](auto i)
                          SEQMIX_INLINE_LAMBDA { store_point(p + dft_output(R, i) * leg, x[i]); });
        }
        work += R * leg;
    }
}

// The first pass: one block, no twiddles, from rows. kRows: inputs that are there, all channels of
// them, the others are zero; 0: asked for each. The tests cost a quarter of this pass, and half of
// the inputs of a padded convolution are zero.
template <int R, int kRows, typename Real>
void forward_rows(const FftInput<Real>& in, int64_t legs, int64_t lanes, Real* work) {
    using V = VecOf<Real>;
    for (int64_t j = 0; j < legs; ++j) {
        Complex<V> x[R];
        unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA {
            const int64_t t = j + i * legs;
            if constexpr (kRows == 0) {
                x[i] = load_row(in, t, lanes);
            } else if constexpr (decltype(i)::value < kRows) {
                x[i] = {load(in.re + t * in.stride), load(in.im + t * in.stride)};
            }
        });
        if constexpr (kRows != 0 && kRows < R) {
            dft_half(x);
        } else {
            dft<R, true>(x, x);
        }
        unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA {
            store_point(work + (j + dft_output(R, i) * legs) * kPoint<Real>, x[i]);
        });
    }
}

// Whether just the first `rows` inputs of every DFT are there, with all their channels.
template <typename Rows>
SEQMIX_INLINE bool whole_rows(const Rows& rows, int64_t count, int64_t legs, int64_t n) {
    const int64_t end = count * legs;
    return end == n ? rows.re_rows >= n && rows.im_rows >= n
                    : rows.re_rows == end && rows.im_rows == end;
}

template <int R, typename Real>
void first_pass(const FftInput<Real>& in, int64_t legs, int64_t lanes, Real* work) {
    const bool whole = lanes == kLanes<Real>;
    if (whole && whole_rows(in, R, legs, R * legs)) {
        forward_rows<R, R>(in, legs, lanes, work);
        return;
    }
    if constexpr (R > 1 && is_power_of_two(R)) {
        if (whole && whole_rows(in, R / 2, legs, R * legs)) {
            forward_rows<R, R / 2>(in, legs, lanes, work);
            return;
        }
    }
    forward_rows<R, 0>(in, legs, lanes, work);
}

template <int R, bool kUnit, typename Real>
void inverse_pass(const FftPass<Real>& pass, int64_t blocks, Real* work) {
    using V = VecOf<Real>;
    constexpr int count = dft_twiddles(R);
    const int64_t legs = pass.points / R, leg = legs * kPoint<Real>;
    for (int64_t b = 0; b < blocks; ++b) {
        for (int64_t j = 0; j < legs; ++j) {
            Real* p = work + j * kPoint<Real>;
            Complex<V> w[count + 1], x[R];
            if constexpr (!kUnit) broadcast_all<R>(w, pass.inverse + j * 2 * count);
            unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA { x[i] = load_swapped(p + i * leg); });
            dft<R, kUnit>(x, w);
            unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA {
                store_swapped(p + dft_output(R, i) * leg, x[i]);
            });
        }
        work += R * leg;
    }
}

template <bool kStreamed, typename Real>
SEQMIX_INLINE void store_as(Real* p, VecOf<Real> v) {
    if constexpr (kStreamed) {
        store_streamed(p, v);
    } else {
        store(p, v);
    }
}

// The last one, to rows: kRows as in forward_rows.
template <int R, int kRows, bool kStreamed, typename Real>
void inverse_rows(const FftPass<Real>& pass, const Real* work, const FftOutput<Real>& out,
                  int64_t lanes, Real scale) {
    using V = VecOf<Real>;
    constexpr int count = dft_twiddles(R);
    const int64_t legs = pass.points / R, leg = legs * kPoint<Real>;
    const V factor = set1(scale);
    for (int64_t j = 0; j < legs; ++j) {
        const Real* p = work + j * kPoint<Real>;
        Complex<V> w[count + 1], x[R];
        broadcast_all<R>(w, pass.inverse + j * 2 * count);
        unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA { x[i] = load_swapped(p + i * leg); });
        dft<R, false>(x, w);
        unroll<R>([&](auto i) SEQMIX_INLINE_LAMBDA {
            constexpr int q = dft_output(R, decltype(i)::value);
            const int64_t t = j + q * legs;
            const Complex<V> y = {x[i].im * factor, x[i].re * factor};
            if constexpr (kRows == 0) {
                store_row(out, t, lanes, y);
            } else if constexpr (q < kRows) {
                store_as<kStreamed>(out.re + t * out.stride, y.re);
                store_as<kStreamed>(out.im + t * out.stride, y.im);
            }
        });
    }
    if constexpr (kStreamed) end_streamed();
}

template <typename Real>
bool rows_are_streamed(const FftOutput<Real>& out) {
    constexpr size_t vector = sizeof(Real) * kLanes<Real>;
    return out.streamed && out.stride % kLanes<Real> == 0 &&
           reinterpret_cast<uintptr_t>(out.re) % vector == 0 &&
           reinterpret_cast<uintptr_t>(out.im) % vector == 0;
}

template <int R, typename Real>
void last_pass(const FftPass<Real>& pass, const Real* work, const FftOutput<Real>& out,
               int64_t lanes, Real scale) {
    const bool whole = lanes == kLanes<Real>;
    const int64_t legs = pass.points / R;
    if (whole && whole_rows(out, R, legs, pass.points)) {
        inverse_rows<R, R, false>(pass, work, out, lanes, scale);
        return;
    }
    if constexpr (R > 1 && is_power_of_two(R)) {
        if (whole && whole_rows(out, R / 2, legs, pass.points)) {
            if constexpr (sizeof(Real) == sizeof(float)) {
                if (rows_are_streamed(out)) {
                    inverse_rows<R, R / 2, true>(pass, work, out, lanes, scale);
                    return;
                }
            }
            inverse_rows<R, R / 2, false>(pass, work, out, lanes, scale);
            return;
        }
    }
    inverse_rows<R, 0, false>(pass, work, out, lanes, scale);
}

template <typename Body>
SEQMIX_INLINE void with_radix(int64_t radix, const Body& body) {
    switch (radix) {
        case 1: body(Index<1>{}); break;
        case 2: body(Index<2>{}); break;
        case 3: body(Index<3>{}); break;
        case 4: body(Index<4>{}); break;
        case 5: body(Index<5>{}); break;
        case 7: body(Index<7>{}); break;
        case 8: body(Index<8>{}); break;
        default: SEQMIX_DCHECK(false);
    }
}

// Passes i, i+1, ... on block `block` of pass i.
template <typename Real>
void forward_from(const FftTables<Real>& t, int i, int64_t block, Real* work) {
    const int64_t points = t.pass[i].points;
    const bool deeper = points * kPoint<Real> * int64_t{sizeof(Real)} > kCacheBytes;
    for (int k = i; k < (deeper ? i + 1 : t.passes); ++k) {
        const FftPass<Real>& pass = t.pass[k];
        const int64_t blocks = points / pass.points;
        with_radix(pass.radix, [&](auto r) SEQMIX_INLINE_LAMBDA {
            forward_pass<decltype(r)::value>(pass, block * blocks, blocks, work);
        });
    }
    if (deeper && i + 1 < t.passes) {
        const int64_t radix = t.pass[i].radix, part = points / radix;
        for (int64_t q = 0; q < radix; ++q) {
            forward_from(t, i + 1, block * radix + q, work + q * part * kPoint<Real>);
        }
    }
}

// Passes ..., i+1, i on a block of pass i.
template <typename Real>
void inverse_from(const FftTables<Real>& t, int i, Real* work) {
    const int64_t points = t.pass[i].points;
    const bool deeper = points * kPoint<Real> * int64_t{sizeof(Real)} > kCacheBytes;
    if (deeper && i + 1 < t.passes) {
        const int64_t radix = t.pass[i].radix, part = points / radix;
        for (int64_t q = 0; q < radix; ++q) {
            inverse_from(t, i + 1, work + q * part * kPoint<Real>);
        }
    }
    for (int k = deeper ? i : t.passes - 1; k >= i; --k) {
        const FftPass<Real>& pass = t.pass[k];
        const int64_t blocks = points / pass.points;
        with_radix(pass.radix, [&](auto r) SEQMIX_INLINE_LAMBDA {
            if (pass.points == pass.radix) {
                inverse_pass<decltype(r)::value, true>(pass, blocks, work);
            } else {
                inverse_pass<decltype(r)::value, false>(pass, blocks, work);
            }
        });
    }
}

template <typename Real>
void forward_smooth(const FftTables<Real>& t, const FftInput<Real>& in, int64_t lanes, Real* work) {
    const int64_t radix = t.pass[0].radix, part = t.n / radix;
    with_radix(radix, [&](auto r) SEQMIX_INLINE_LAMBDA {
        first_pass<decltype(r)::value>(in, part, lanes, work);
    });
    if (t.passes > 1) {
        for (int64_t q = 0; q < radix; ++q) {
            forward_from(t, 1, q, work + q * part * kPoint<Real>);
        }
    }
}

template <typename Real>
void inverse_smooth(const FftTables<Real>& t, Real* work, const FftOutput<Real>& out, int64_t lanes,
                    Real scale) {
    const int64_t radix = t.pass[0].radix, part = t.n / radix;
    if (t.passes > 1) {
        for (int64_t q = 0; q < radix; ++q) {
            inverse_from(t, 1, work + q * part * kPoint<Real>);
        }
    }
    with_radix(radix, [&](auto r) SEQMIX_INLINE_LAMBDA {
        last_pass<decltype(r)::value>(t.pass[0], work, out, lanes, scale);
    });
}

// X[k] = c[k] sum_t (x[t] c[t]) conj(c[k-t]), c[t] = exp(-pi i t^2 / n): 2 k t = k^2 + t^2 - (k-t)^2.
template <typename Real>
void bluestein(const FftTables<Real>& t, const FftInput<Real>& in, int64_t lanes, Real* work) {
    constexpr int point = kPoint<Real>, width = kLanes<Real>;
    for (int64_t i = 0; i < t.n; ++i) {
        store_point(work + i * point, multiply(load_row(in, i, lanes), broadcast(t.chirp + 2 * i)));
    }
    const FftTables<Real>& smooth = *t.smooth;
    forward_smooth(smooth, {work, work + width, point, t.n, t.n}, width, work);
    for (int64_t i = 0; i < smooth.n; ++i) {
        Real* p = work + i * point;
        store_point(p, multiply(load_point(p), broadcast(t.spectrum + 2 * i)));
    }
    inverse_smooth(smooth, work, {work, work + width, point, t.n, t.n}, width, Real{1});
    for (int64_t i = 0; i < t.n; ++i) {
        Real* p = work + i * point;
        store_point(p, multiply(load_point(p), broadcast(t.chirp + 2 * i)));
    }
}

template <typename Real>
void forward(const FftTables<Real>& t, const FftInput<Real>& in, int64_t lanes, Real* work) {
    if (t.smooth != nullptr) {
        bluestein(t, in, lanes, work);
    } else {
        forward_smooth(t, in, lanes, work);
    }
}

template <typename Real>
void inverse(const FftTables<Real>& t, Real* work, const FftOutput<Real>& out, int64_t lanes,
             Real scale) {
    constexpr int point = kPoint<Real>, width = kLanes<Real>;
    if (t.smooth == nullptr) {
        inverse_smooth(t, work, out, lanes, scale);
        return;
    }
    bluestein(t, {work + width, work, point, t.n, t.n}, width, work);
    for (int64_t i = 0; i < t.n; ++i) {
        const Complex<VecOf<Real>> x = load_swapped(work + i * point);
        store_row(out, i, lanes, {x.re * set1(scale), x.im * set1(scale)});
    }
}

template <typename Real>
SEQMIX_INLINE int64_t position(const FftTables<Real>& t, int64_t k) {
    return t.position != nullptr ? t.position[k] : k;
}

template <typename Real>
void take(const FftTables<Real>& t, const Real* work, const FftOutput<Real>& out, int64_t lanes) {
    for (int64_t k = 0; k < t.n; ++k) {
        store_row(out, k, lanes, load_point(work + position(t, k) * kPoint<Real>));
    }
}

template <typename Real>
void put(const FftTables<Real>& t, const FftInput<Real>& in, int64_t lanes, Real* work) {
    for (int64_t k = 0; k < t.n; ++k) {
        store_point(work + position(t, k) * kPoint<Real>, load_row(in, k, lanes));
    }
}

// Z[k] and conj(Z[N-k]), as sum and difference.
template <typename Real>
SEQMIX_INLINE void load_pair(const Real* a, const Real* b, Complex<VecOf<Real>>& sum,
                             Complex<VecOf<Real>>& difference) {
    const Complex<VecOf<Real>> p = load_point(a), q = load_point(b);
    sum = {p.re + q.re, p.im - q.im};
    difference = {p.re - q.re, p.im + q.im};
}

// X[k] = (Z[k] + conj Z[N-k]) / 2 - i/2 exp(-pi i k / N) (Z[k] - conj Z[N-k]), X[N-k] with + and
// conjugate.
template <typename Real>
void take_half(const FftPair<Real>* pairs, int64_t n, const Real* work, const FftOutput<Real>& out,
               int64_t lanes) {
    using V = VecOf<Real>;
    const V half = set1(Real{0.5});
    for (int64_t i = 0; i <= n / 2; ++i) {
        const FftPair<Real>& pair = pairs[i];
        Complex<V> sum, difference;
        load_pair(work + pair.a * kPoint<Real>, work + pair.b * kPoint<Real>, sum, difference);
        const Complex<V> turned =
            multiply(difference, {set1(pair.half_re), set1(pair.half_im)});  // times -i below
        store_row(out, pair.k, lanes, {half * (sum.re + turned.im), half * (sum.im - turned.re)});
        store_row(out, n - pair.k, lanes,
                  {half * (sum.re - turned.im), half * (turned.re * set1(Real{-1}) - sum.im)});
    }
}

// 2 Z[k] = X[k] + conj X[N-k] + i exp(pi i k / N) (X[k] - conj X[N-k]), and 2 Z[N-k].
template <typename Real>
void put_half(const FftPair<Real>* pairs, int64_t n, const FftInput<Real>& in, int64_t lanes,
              Real* work) {
    using V = VecOf<Real>;
    const V zero = set1(Real{0});
    for (int64_t i = 0; i <= n / 2; ++i) {
        const FftPair<Real>& pair = pairs[i];
        Complex<V> p = load_row(in, pair.k, lanes), q = load_row(in, n - pair.k, lanes);
        if (pair.k == 0) p.im = q.im = zero;  // of a real signal
        const Complex<V> sum = {p.re + q.re, p.im - q.im};
        const Complex<V> difference = {p.re - q.re, p.im + q.im};
        const Complex<V> w = {set1(pair.half_re), set1(-pair.half_im)};
        const Complex<V> turned = multiply(difference, w);
        store_point(work + pair.b * kPoint<Real>, {sum.re + turned.im, turned.re - sum.im});
        store_point(work + pair.a * kPoint<Real>, {sum.re - turned.im, sum.im + turned.re});
    }
}

// exp(-2 pi i d / R).
template <int R>
constexpr double root_re(int d) {
    if constexpr (is_power_of_two(R)) {
        constexpr double eighths[8] = {1,  0.70710678118654752440,  0, -0.70710678118654752440,
                                       -1, -0.70710678118654752440, 0, 0.70710678118654752440};
        return eighths[d * (8 / R)];
    } else {
        return Circle<R>::c[d];
    }
}
template <int R>
constexpr double root_im(int d) {
    if constexpr (is_power_of_two(R)) {
        return root_re<8>((d * (8 / R) + 2) % 8);
    } else {
        return -Circle<R>::s[d];
    }
}

// Where the partner N - k of a frequency k is. The parts q and R - q of block 0 of a pass hold each
// other's partners, in opposite order, but for part 0, which is block 0 of the next pass: no table.
// Calls body(begin, end, mirror) for the points begin <= p < end, whose partners are mirror - p.
template <typename Real, typename Body>
SEQMIX_INLINE void with_part(const FftPass<Real>& pass, int64_t q, const Body& body) {
    const int64_t part = pass.points / pass.radix, begin = q * part;
    body(begin, begin + (2 * q == pass.radix ? (part + 1) / 2 : part), pass.points + part - 1);
}
// Part 0 of the first pass.
template <typename Real, typename Body>
SEQMIX_INLINE void with_part_0(const FftTables<Real>& t, const Body& body) {
    for (int i = 1; i < t.passes; ++i) {
        for (int64_t q = 1; q <= t.pass[i].radix / 2; ++q) with_part(t.pass[i], q, body);
    }
    body(0, 1, 0);
}
template <typename Real, typename Body>
SEQMIX_INLINE void with_all_parts(const FftTables<Real>& t, const Body& body) {
    with_part_0(t, body);
    for (int64_t q = 1; q <= t.pass[0].radix / 2; ++q) with_part(t.pass[0], q, body);
}

// P and G = i Q / 2 of fft.h from H[k] = P + i Q of the packed filter.
template <typename Real>
void make_filter(const FftTables<Real>& t, const Real* work, Real scale, Real* filter) {
    using V = VecOf<Real>;
    const V half = set1(Real{0.5} * scale), quarter = set1(Real{0.25} * scale);
    with_all_parts(t, [&](int64_t begin, int64_t end, int64_t mirror) {
        for (int64_t p = begin; p < end; ++p) {
            Complex<V> sum, difference;
            load_pair(work + p * kPoint<Real>, work + (mirror - p) * kPoint<Real>, sum, difference);
            store_point(filter, {half * sum.re, half * sum.im});
            store_point(filter + kPoint<Real>, {quarter * difference.re, quarter * difference.im});
            filter += 2 * kPoint<Real>;
        }
    });
}

template <typename Real>
SEQMIX_INLINE void multiply_pair(Complex<VecOf<Real>> w, const Real* filter, Real* a, Real* b) {
    using V = VecOf<Real>;
    const Complex<V> x = load_point(a), y = load_point(b);  // y: conjugate below
    const Complex<V> sum = {x.re + y.re, x.im - y.im};
    const Complex<V> difference = {x.re - y.re, x.im + y.im};
    const Complex<V> turned = multiply(difference, w);
    const Complex<V> u = {sum.re - turned.re, sum.im - turned.im};
    const Complex<V> v = {sum.re + turned.re, sum.im + turned.im};
    const Complex<V> p = load_point(filter), g = load_point(filter + kPoint<Real>);
    // x p + g u, and the conjugate of conj(y) p - g v
    store_point(b, {fma(g.im, v.im, fnma(g.re, v.re, fma(y.im, p.im, y.re * p.re))),
                    fma(g.re, v.im, fma(g.im, v.re, fnma(y.re, p.im, y.im * p.re)))});
    store_point(a, {fnma(g.im, u.im, fma(g.re, u.re, fnma(x.im, p.im, x.re * p.re))),
                    fma(g.re, u.im, fma(g.im, u.re, fma(x.re, p.im, x.im * p.re)))});
}

// Block b of the last pass, of R points, holds the frequencies f + d N / R: its twiddles have
// g = exp(-2 pi i f / N) among them.
template <int R, typename Real>
void multiply_part(const FftPass<Real>& last, int64_t begin, int64_t end, int64_t mirror,
                   const Real* filter, Real* work) {
    using V = VecOf<Real>;
    constexpr int count = dft_twiddles(R), first = is_power_of_two(R) ? R / 4 : 0;
    for (int64_t p = begin; p < end;) {
        const int64_t block = p / R, next = block * R + R;
        Complex<V> g = {set1(Real{1}), set1(Real{0})};
        if constexpr (R > 1) g = broadcast(last.forward + (block * count + first) * 2);
        Complex<V> w[R];
        unroll<R>([&](auto d) SEQMIX_INLINE_LAMBDA {
            w[d] =
                d == 0 ? g : multiply(g, {constant<V>(root_re<R>(d)), constant<V>(root_im<R>(d))});
        });
        for (const int64_t stop = next < end ? next : end; p < stop; ++p) {
            multiply_pair(w[p - block * R], filter, work + p * kPoint<Real>,
                          work + (mirror - p) * kPoint<Real>);
            filter += 2 * kPoint<Real>;
        }
    }
}

// Parts q and R-q of the first pass are transformed, multiplied and transformed back while they are in
// the cache: three sweeps over a long work array instead of five.
template <typename Real>
void convolve(const FftTables<Real>& t, const Real* filter, const FftInput<Real>& in,
              const FftOutput<Real>& out, int64_t lanes, Real* work) {
    SEQMIX_DCHECK(t.smooth == nullptr);
    const Real one{1};
    const auto multiply_points = [&](int64_t begin, int64_t end, int64_t mirror) {
        with_radix(t.pass[t.passes - 1].radix, [&](auto r) {
            multiply_part<decltype(r)::value>(t.pass[t.passes - 1], begin, end, mirror, filter,
                                              work);
        });
        filter += (end - begin) * 2 * kPoint<Real>;
    };
    if (t.passes == 1) {
        forward_smooth(t, in, lanes, work);
        with_all_parts(t, multiply_points);
        inverse_smooth(t, work, out, lanes, one);
        return;
    }
    const int64_t radix = t.pass[0].radix, part = t.n / radix;
    with_radix(radix, [&](auto r) SEQMIX_INLINE_LAMBDA {
        first_pass<decltype(r)::value>(in, part, lanes, work);
    });
    for (int64_t q = 0; q <= radix / 2; ++q) {
        const int64_t partner = q > 0 ? radix - q : 0;
        Real* a = work + q * part * kPoint<Real>;
        Real* b = work + partner * part * kPoint<Real>;
        forward_from(t, 1, q, a);
        if (a != b) forward_from(t, 1, partner, b);
        if (q == 0) {
            with_part_0(t, multiply_points);
        } else {
            with_part(t.pass[0], q, multiply_points);
        }
        inverse_from(t, 1, a);
        if (a != b) inverse_from(t, 1, b);
    }
    with_radix(radix, [&](auto r) SEQMIX_INLINE_LAMBDA {
        last_pass<decltype(r)::value>(t.pass[0], work, out, lanes, one);
    });
}

// DFTs of C points across the columns of `width` rows (frequencies first .. first + width - 1 of
// the columns).
template <int C, typename Real>
void join_columns(const FftJoin<Real>& t, const Real* work, Real* out_re, Real* out_im) {
    using V = VecOf<Real>;
    constexpr int width = V::kWidth, count = dft_twiddles(C);
    const int64_t rows = t.rows.n;
    const Real* twiddles = t.twiddles;
    for (int64_t first = 0; first < rows; first += width) {
        V re[width], im[width];
        unroll<width>([&](auto i) SEQMIX_INLINE_LAMBDA {
            const int64_t k = first + i < rows ? first + i : rows - 1;
            const Real* p = work + position(t.rows, k) * kPoint<Real>;
            re[i] = load(p);
            im[i] = load(p + width);
        });
        transpose(re);
        transpose(im);
        Complex<V> x[C], w[count + 1];
        unroll<C>([&](auto i) SEQMIX_INLINE_LAMBDA { x[i] = {re[i], im[i]}; });
        unroll<count>([&](auto i)
                          SEQMIX_INLINE_LAMBDA { w[i] = load_point(twiddles + i * kPoint<Real>); });
        twiddles += count * kPoint<Real>;
        dft<C, false>(x, w);
        unroll<C>([&](auto i) SEQMIX_INLINE_LAMBDA {
            const int64_t at = first + dft_output(C, i) * rows;
            store_n(out_re + at, x[i].re, rows - first);
            store_n(out_im + at, x[i].im, rows - first);
        });
    }
}

template <typename Real>
void join(const FftJoin<Real>& t, const Real* re, const Real* im, Real* work, Real* out_re,
          Real* out_im) {
    const int64_t rows = t.rows.n;
    forward_smooth(t.rows, {re, im, t.columns, rows, rows}, t.columns, work);
    if constexpr (kLanes<Real> >= 16) {
        if (t.columns == 16) {
            join_columns<16>(t, work, out_re, out_im);
            return;
        }
    }
    with_radix(t.columns, [&](auto c) SEQMIX_INLINE_LAMBDA {
        if constexpr (decltype(c)::value <= kLanes<Real>) {
            join_columns<decltype(c)::value>(t, work, out_re, out_im);
        }
    });
}

template <typename T>
SEQMIX_INLINE T number(double x) {
    if constexpr (sizeof(T) <= sizeof(double)) {
        return static_cast<T>(x);
    } else {
        return constant<T>(x);
    }
}

// One channel: out[k] = body(at, z[k], z[n-k]) for 0 < k < n, where at(p) is p[k]. Over all k, not over
// pairs, so that what is written is not read; the last vector overlaps the one before. g++ 12 does
// not vectorise these loops by itself.
template <typename Real, typename Body>
SEQMIX_INLINE void for_mirrored(int64_t n, const FftPlanes<Real>& z, const FftPlanes<Real>& out,
                                const Body& body) {
    using V = VecOf<Real>;
    constexpr int width = V::kWidth;
    if (n <= width) {
        for (int64_t k = 1; k < n; ++k) {
            const auto at = [&](const Real* p) SEQMIX_INLINE_LAMBDA { return p[k]; };
            const Complex<Real> x = {z.re[k], z.im[k]}, y = {z.re[n - k], z.im[n - k]};
            const Complex<Real> result = body(at, x, y);
            out.re[k] = result.re;
            out.im[k] = result.im;
        }
        return;
    }
    for (int64_t k = 1; k < n; k += width) {
        if (k > n - width) k = n - width;
        const int64_t m = n - k - width + 1;
        const auto at = [&](const Real* p) SEQMIX_INLINE_LAMBDA { return load(p + k); };
        const Complex<V> x = {load(z.re + k), load(z.im + k)};
        const Complex<V> y = {reverse(load(z.re + m)), reverse(load(z.im + m))};
        const Complex<V> result = body(at, x, y);
        store(out.re + k, result.re);
        store(out.im + k, result.im);
    }
}

template <typename Real>
void take_half_one(int64_t n, const Real* c, const Real* s, const FftPlanes<Real>& z,
                   const FftPlanes<Real>& x) {
    x.re[0] = z.re[0] + z.im[0];
    x.re[n] = z.re[0] - z.im[0];
    x.im[0] = x.im[n] = 0;
    for_mirrored(n, z, x, [&](auto at, auto p, auto q) SEQMIX_INLINE_LAMBDA {
        const auto half = number<decltype(p.re)>(0.5);
        const auto a = p.re - q.re, b = p.im + q.im;
        return decltype(p){half * (p.re + q.re + (a * at(s) + b * at(c))),
                           half * (p.im - q.im - (a * at(c) - b * at(s)))};
    });
}

template <typename Real>
void put_half_one(int64_t n, const Real* c, const Real* s, const FftPlanes<Real>& x,
                  const FftPlanes<Real>& z) {
    z.re[0] = x.re[0] + x.re[n];
    z.im[0] = x.re[0] - x.re[n];
    for_mirrored(n, x, z, [&](auto at, auto p, auto q) SEQMIX_INLINE_LAMBDA {
        const auto a = p.re - q.re, b = p.im + q.im;
        return decltype(p){p.re + q.re - (b * at(c) - a * at(s)),
                           p.im - q.im + (a * at(c) + b * at(s))};
    });
}

template <typename Real>
void multiply_one(int64_t n, const Real* c, const Real* s, const Real* filter,
                  const FftPlanes<Real>& z, const FftPlanes<Real>& v) {
    const Real *p_re = filter, *p_im = p_re + n, *g_re = p_im + n, *g_im = g_re + n;
    const Real re = z.re[0], im = z.im[0];
    v.re[0] = re * p_re[0] - im * p_im[0] + 2 * (re * g_re[0] + im * g_im[0]);
    v.im[0] = re * p_im[0] + im * p_re[0] + 2 * (re * g_im[0] - im * g_re[0]);
    for_mirrored(n, z, v, [&](auto at, auto x, auto y) SEQMIX_INLINE_LAMBDA {
        const auto a = x.re - y.re, b = x.im + y.im;
        const auto half = at(c) * at(s);
        const auto w_re = at(c) * at(c) - at(s) * at(s), w_im = half + half;  // the square
        const auto u_re = x.re + y.re - (a * w_re - b * w_im);
        const auto u_im = x.im - y.im - (a * w_im + b * w_re);
        return decltype(x){x.re * at(p_re) - x.im * at(p_im) + (u_re * at(g_re) - u_im * at(g_im)),
                           x.re * at(p_im) + x.im * at(p_re) + (u_re * at(g_im) + u_im * at(g_re))};
    });
}

template <typename Real>
void split_one(int64_t n, const Real* x, const FftPlanes<Real>& z) {
    Real *SEQMIX_RESTRICT re = z.re, *SEQMIX_RESTRICT im = z.im;
    for (int64_t t = 0; t < n; ++t) {
        re[t] = x[2 * t];
        im[t] = x[2 * t + 1];
    }
}

template <typename Real>
void merge_one(int64_t n, const FftPlanes<Real>& z, Real scale, Real* SEQMIX_RESTRICT x) {
    const Real *re = z.re, *im = z.im;
    for (int64_t t = 0; t < n; ++t) {
        x[2 * t] = re[t] * scale;
        x[2 * t + 1] = im[t] * scale;
    }
}

// Radix 8 fits in 32 registers, radix 4 in 16 (where radix 8 spills and is as fast, within 3 %).
constexpr int kMostRadix = SEQMIX_ISA_LEVEL == 2 ? 8 : 4;

template <typename Real>
constexpr FftLevel<Real> kLevel = {
    kLanes<Real>,       kMostRadix,         forward<Real>,   inverse<Real>,
    take<Real>,         put<Real>,          take_half<Real>, put_half<Real>,
    make_filter<Real>,  convolve<Real>,     join<Real>,      take_half_one<Real>,
    put_half_one<Real>, multiply_one<Real>, split_one<Real>, merge_one<Real>,
};

}  // namespace

extern const FftKernels fft_kernels;
const FftKernels fft_kernels = {kLevel<float>, kLevel<double>};

}  // namespace seqmix::SEQMIX_ISA
