#include "fft.h"

#include <cmath>

namespace seqmix::bench::plain {

std::vector<std::complex<float>> fft_roots(int64_t n) {
    std::vector<std::complex<float>> roots(static_cast<size_t>(n / 2));
    for (int64_t k = 0; k < n / 2; ++k) {
        const double angle = -2 * std::acos(-1.0) * static_cast<double>(k) / static_cast<double>(n);
        roots[static_cast<size_t>(k)] = {static_cast<float>(std::cos(angle)),
                                         static_cast<float>(std::sin(angle))};
    }
    return roots;
}

void fft(int64_t n, std::complex<float>* x, const std::complex<float>* roots,
         std::complex<float>* tmp) {
    std::complex<float>*from = x, *to = tmp;
    for (int64_t s = 1; s < n; s *= 2) {
        const int64_t half = n / s / 2;
        for (int64_t p = 0; p < half; ++p) {
            const float c = roots[p * s].real(), d = roots[p * s].imag();
            for (int64_t q = 0; q < s; ++q) {
                const std::complex<float> a = from[q + s * p], b = from[q + s * (p + half)];
                const std::complex<float> e = a - b;
                to[q + s * 2 * p] = a + b;
                to[q + s * (2 * p + 1)] = {e.real() * c - e.imag() * d,
                                           e.real() * d + e.imag() * c};
            }
        }
        std::swap(from, to);
    }
    if (from != x) {
        for (int64_t k = 0; k < n; ++k) x[k] = tmp[k];
    }
}

}  // namespace seqmix::bench::plain
