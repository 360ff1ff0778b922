#include "mixers/ckconv/siren.h"

#include <algorithm>
#include <cmath>

namespace seqmix {
namespace {

constexpr int64_t kBlock = 32;  // positions at once, the innermost loop

// a / b to the nearest whole number, halves to even.
int64_t round_quotient(int64_t a, int64_t b) {
    const int64_t floor = a / b, twice = 2 * (a % b);
    const bool up = twice > b || (twice == b && floor % 2 != 0);
    return floor + (up ? 1 : 0);
}

// g / |v| of a row.
double row_scale(const double* v, double g, int64_t columns) {
    double sum = 0;
    for (int64_t i = 0; i < columns; ++i) sum += v[i] * v[i];
    return g / std::sqrt(sum);
}

// y (rows, kBlock) = W x + b.
void layer(int64_t rows, int64_t columns, const double* v, const double* g, const double* b,
           const double* x, double* y) {
    for (int64_t r = 0; r < rows; ++r) {
        double sum[kBlock] = {};
        for (int64_t c = 0; c < columns; ++c) {
            const double w = v[r * columns + c];
            for (int64_t t = 0; t < kBlock; ++t) sum[t] += w * x[c * kBlock + t];
        }
        const double scale = row_scale(v + r * columns, g[r], columns);
        for (int64_t t = 0; t < kBlock; ++t) y[r * kBlock + t] = scale * sum[t] + b[r];
    }
}

}  // namespace

CkLength ck_length(int64_t length, int64_t train_length) {
    if (train_length <= 1 || length == train_length) return {1, 1, 0};
    const double step = 2 / static_cast<double>(train_length - 1);
    if (train_length > length) {
        const int64_t rho = std::max<int64_t>(round_quotient(train_length, length), 1);
        const int64_t over = rho > 1 ? (train_length - 1) % rho : 0;
        return {static_cast<double>(rho), 1 - static_cast<double>(over) * step, 0};
    }
    const int64_t inverse = std::max<int64_t>(round_quotient(length, train_length), 1);
    const double rho = 1 / static_cast<double>(inverse);
    const int64_t over = inverse > 1 ? (length - 1) % inverse : 0;
    return {rho, 1 + static_cast<double>(over) * step * rho, inverse > 1 ? inverse : 0};
}

int64_t ck_kernel_scratch(int64_t hidden, int64_t channels, int64_t length) {
    return (2 * hidden + channels + 1) * kBlock + length;
}

void ck_kernel(const CkKernelNet& net, int64_t length, int64_t train_length, double* k,
               double* scratch) {
    const int64_t h = net.hidden, C = net.channels, L = length;
    const CkLength at = ck_length(L, train_length);
    double *p = scratch, *x = p + kBlock, *y = x + h * kBlock, *out = y + h * kBlock;
    const auto sines = [&](double* values) {
        for (int64_t i = 0; i < h * kBlock; ++i) values[i] = std::sin(net.omega * values[i]);
    };
    for (int64_t first = 0; first < L; first += kBlock) {
        const int64_t count = std::min(kBlock, L - first);
        for (int64_t t = 0; t < kBlock; ++t) {
            const double step = L > 1 ? (at.p_max + 1) / static_cast<double>(L - 1) : 0.0;
            p[t] = -1 + static_cast<double>(first + t) * step;
        }
        layer(h, 1, net.v1, net.g1, net.b1, p, x);
        sines(x);
        layer(h, h, net.v2, net.g2, net.b2, x, y);
        sines(y);
        layer(C, h, net.v3, net.g3, net.b3, y, out);
        for (int64_t c = 0; c < C; ++c) std::copy_n(out + c * kBlock, count, k + c * L + first);
    }
    double* raw = out + C * kBlock;
    const int64_t m = at.smoothing;
    for (int64_t c = 0; c < C; ++c) {
        double* row = k + c * L;
        if (m > 0) {
            std::copy_n(row, L, raw);
            for (int64_t t = m; t < L - m; ++t) {
                double sum = 0;
                for (int64_t j = -m; j <= m; ++j) {
                    const auto d = static_cast<double>(j);
                    sum += raw[t + j] * std::exp(-2 * d * d) /
                           (0.5 * std::sqrt(2 * 3.14159265358979323846));
                }
                row[t] = sum;
            }
        }
        for (int64_t t = 0; t < L; ++t) row[t] *= at.rho;
    }
}

}  // namespace seqmix
