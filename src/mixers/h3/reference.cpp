#include "mixers/h3/reference.h"

#include <cmath>
#include <complex>

namespace seqmix::reference {

void h3_shift_taps(const H3& p, int64_t channel, double* taps) {
    const double *B = p.shift_B + channel * p.N, *C = p.shift_C + channel * p.N;
    for (int64_t l = 0; l < p.N; ++l) {
        taps[l] = l == 0 ? p.shift_D[channel] : 0.0;
        for (int64_t j = 0; j + l < p.N; ++j) taps[l] += B[j] * C[j + l];
    }
}

void h3_mode(const H3& p, int64_t h, int64_t m, double a[2], double b[2]) {
    const int64_t i = h * p.M + m;
    const std::complex<double> A(-std::exp(p.A_re[i]), p.A_im[i]), B(p.B[2 * i], p.B[2 * i + 1]);
    const double dt = std::exp(p.log_dt[h]);
    const std::complex<double> z = A * dt, one(1, 0);
    const std::complex<double> a_bar = p.bilinear ? (one + z / 2.0) / (one - z / 2.0) : std::exp(z);
    const std::complex<double> b_bar =
        p.bilinear ? dt / (one - z / 2.0) * B : (a_bar - one) / A * B;
    a[0] = a_bar.real();
    a[1] = a_bar.imag();
    b[0] = b_bar.real();
    b[1] = b_bar.imag();
}

void h3(const H3& p) {
    const int64_t H = p.D / p.d, X = p.d * p.D;
    for (int64_t t = 0; t < p.T; ++t) {
        for (int64_t i = 0; i < p.D; ++i) p.y[t * p.D + i] = 0;
        for (int64_t h = 0; h < H; ++h) {
            for (int64_t d1 = 0; d1 < p.d; ++d1) {
                const int64_t channel = h * p.d + d1;
                double key = p.shift_D[channel] * p.k[t * p.D + channel];
                for (int64_t l = 0; l < p.N; ++l) {
                    double tap = 0;
                    for (int64_t j = 0; j + l < p.N; ++j) {
                        tap += p.shift_B[channel * p.N + j] * p.shift_C[channel * p.N + j + l];
                    }
                    key += tap * (l == 0 ? p.k[t * p.D + channel]
                                         : p.window[(p.N - 1 - l) * p.D + channel]);
                }
                for (int64_t d2 = 0; d2 < p.d; ++d2) {
                    const double u = key * p.v[t * p.D + h * p.d + d2];
                    double sum = p.skip[h] * u;
                    for (int64_t m = 0; m < p.M; ++m) {
                        double a[2], b[2];
                        h3_mode(p, h, m, a, b);
                        double* re = p.x + (2 * m) * X + (d1 * p.d + d2) * H + h;
                        double* im = re + X;
                        const double next = a[0] * *re - a[1] * *im + b[0] * u;
                        *im = a[0] * *im + a[1] * *re + b[1] * u;
                        *re = next;
                        const double* C = p.C + 2 * (h * p.M + m);
                        sum += 2 * (C[0] * *re - C[1] * *im);
                    }
                    p.y[t * p.D + d2 * H + h] += p.q[t * p.D + channel] * sum;
                }
            }
        }
        for (int64_t i = 0; i < p.D && p.N > 1; ++i) {
            for (int64_t j = 0; j + 2 < p.N; ++j)
                p.window[j * p.D + i] = p.window[(j + 1) * p.D + i];
            p.window[(p.N - 2) * p.D + i] = p.k[t * p.D + i];
        }
    }
}

}  // namespace seqmix::reference
