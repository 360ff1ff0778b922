#include "mixers/hippo/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

constexpr double kPi = 3.14159265358979323846;

double odd(int64_t n) { return static_cast<double>(2 * n + 1); }

double A(HippoMeasure measure, int64_t n, int64_t k) {
    const double r = std::sqrt(odd(n) * odd(k));
    const auto b = [](int64_t i) { return i % 2 != 0 ? 0.0 : i == 0 ? 1.0 : std::sqrt(2.0); };
    switch (measure) {
        case HippoMeasure::legs: return n > k ? -r : n == k ? -static_cast<double>(n + 1) : 0.0;
        case HippoMeasure::legt: return -0.5 * r * (k <= n || (k - n) % 2 == 0 ? 1 : -1);
        case HippoMeasure::lagt: return n > k ? -1.0 : n == k ? -0.5 : 0.0;
        case HippoMeasure::fout: {
            double turn = 0;  // of the pair (2j, 2j+1)
            if (n % 2 == 0 && k == n + 1) turn = -0.5 * static_cast<double>(n);
            if (k % 2 == 0 && n == k + 1) turn = 0.5 * static_cast<double>(k);
            return kPi * turn - b(n) * b(k);
        }
    }
    return 0;
}

double B(HippoMeasure measure, int64_t n) {
    switch (measure) {
        case HippoMeasure::legs: return std::sqrt(odd(n));
        case HippoMeasure::legt: return 0.5 * std::sqrt(odd(n));
        case HippoMeasure::lagt: return 1.0;
        case HippoMeasure::fout: return n % 2 != 0 ? 0.0 : n == 0 ? 1.0 : std::sqrt(2.0);
    }
    return 0;
}

void multiply(int64_t n, const double* a, const double* b, double* c) {
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            c[i * n + j] = 0;
            for (int64_t k = 0; k < n; ++k) c[i * n + j] += a[i * n + k] * b[k * n + j];
        }
    }
}

// exp of the square m of size n by Taylor's series and squaring, in place; two more squares of work.
void exponential(int64_t n, double* m, double* term, double* next) {
    double norm = 0;
    for (int64_t i = 0; i < n * n; ++i) norm += std::fabs(m[i]);
    int squarings = 0;
    for (; norm > 0.5; norm /= 2) ++squarings;
    for (int64_t i = 0; i < n * n; ++i) m[i] = std::ldexp(m[i], -squarings);
    double* sum = term + n * n;  // the third square of work
    for (int64_t i = 0; i < n * n; ++i) sum[i] = term[i] = i % (n + 1) == 0 ? 1 : 0;
    for (int k = 1; k <= 18; ++k) {
        multiply(n, term, m, next);
        for (int64_t i = 0; i < n * n; ++i) sum[i] += term[i] = next[i] / k;
    }
    for (int s = 0; s < squarings; ++s) {
        multiply(n, sum, sum, next);
        for (int64_t i = 0; i < n * n; ++i) sum[i] = next[i];
    }
    for (int64_t i = 0; i < n * n; ++i) m[i] = sum[i];
}

// (N, N+1): the discrete A, and B as the last column.
void discretise(const HippoRef& p, double step, double* out) {
    const int64_t N = p.N, n = N + 1;
    if (p.hold) {  // exp of [[A, B], [0, 0]] step
        double* m = out;
        for (int64_t i = 0; i < n * n; ++i) {
            const int64_t r = i / n, k = i % n;
            m[i] = r == N ? 0 : step * (k == N ? B(p.measure, r) : A(p.measure, r, k));
        }
        exponential(n, m, m + n * n, m + 3 * n * n);
        return;
    }
    // (I - alpha step A) X = [I + (1 - alpha) step A, step B], by Gauss without pivoting: diagonally
    // dominated by I where steps are small, triangular for LegS.
    double* left = out + n * n;
    for (int64_t i = 0; i < N; ++i) {
        for (int64_t k = 0; k < N; ++k) {
            const double one = i == k ? 1 : 0, a = A(p.measure, i, k);
            left[i * N + k] = one - p.alpha * step * a;
            out[i * n + k] = one + (1 - p.alpha) * step * a;
        }
        out[i * n + N] = step * B(p.measure, i);
    }
    for (int64_t i = 0; i < N; ++i) {
        for (int64_t r = 0; r < N; ++r) {
            const double f = left[r * N + i] / left[i * N + i];
            if (r == i || f == 0) continue;
            for (int64_t k = i; k < N; ++k) left[r * N + k] -= f * left[i * N + k];
            for (int64_t k = 0; k < n; ++k) out[r * n + k] -= f * out[i * n + k];
        }
    }
    for (int64_t i = 0; i < N; ++i) {
        for (int64_t k = 0; k < n; ++k) out[i * n + k] /= left[i * N + i];
    }
}

}  // namespace

int64_t hippo_scratch(int64_t N) { return 4 * (N + 1) * (N + 1) + N; }

void hippo(const HippoRef& p) {
    const int64_t N = p.N, n = N + 1;
    double *matrix = p.work, *next = p.work + 4 * n * n;
    const bool legs = p.measure == HippoMeasure::legs;
    if (!legs) discretise(p, p.dt, matrix);
    for (int64_t t = 0; t < p.T; ++t) {
        const double elapsed = p.clock + static_cast<double>(t);
        if (legs && elapsed > 0) {
            discretise(p, p.hold ? std::log1p(1 / elapsed) : 1 / elapsed, matrix);
        }
        for (int64_t d = 0; d < p.D; ++d) {
            const double u = p.x[t * p.D + d];
            for (int64_t i = 0; i < N; ++i) {
                next[i] = (i == 0 ? 1 : 0) * u;
                if (legs && elapsed == 0) continue;
                next[i] = matrix[i * n + N] * u;
                for (int64_t k = 0; k < N; ++k) next[i] += matrix[i * n + k] * p.c[k * p.D + d];
            }
            for (int64_t i = 0; i < N; ++i) p.y[(t * p.D + d) * N + i] = p.c[i * p.D + d] = next[i];
        }
    }
}

}  // namespace seqmix::reference
