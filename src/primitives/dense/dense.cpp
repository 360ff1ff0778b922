#include "primitives/dense/dense.h"

#include <algorithm>
#include <cmath>
#include <utility>

// lapacke.h would bring C's complex.h, whose `I` is a macro.
#define lapack_complex_double std::complex<double>
#define lapack_complex_float std::complex<float>
#include <lapacke.h>

namespace seqmix::dense {

// Not LAPACKE_zheev, which copies into memory of its own: OpenBLAS 0.3.21 (Debian 12) multiplies a matrix
// by a vector reading up to a column and a half beyond the matrix, which ends the process where a page
// ends. Here columns follow that are nobody's. In columns, the memory of `a` is its conjugate.
bool eigen_hermitian(int64_t n, std::vector<Complex>& a, std::vector<double>& values) {
    const auto size = static_cast<lapack_int>(n);
    const auto padding = static_cast<size_t>(8 * n + 64), N = static_cast<size_t>(n);
    constexpr size_t kBlock = 64;
    std::vector<Complex> vectors(a), work((kBlock + 1) * N + padding);
    vectors.resize(N * N + padding);
    std::vector<double> real_work(3 * N + padding);
    values.resize(N);
    if (LAPACKE_zheev_work(LAPACK_COL_MAJOR, 'V', 'L', size, vectors.data(), size, values.data(),
                           work.data(), static_cast<lapack_int>((kBlock + 1) * N),
                           real_work.data()) != 0) {
        return false;
    }
    for (size_t i = 0; i < N; ++i) {
        for (size_t j = 0; j < N; ++j) {
            a[i * N + j] = std::conj(vectors[j * N + i]);
        }
    }
    return true;
}

bool solve(int64_t n, std::vector<double>& a, int64_t columns, std::vector<double>& b) {
    const auto size = static_cast<lapack_int>(n), count = static_cast<lapack_int>(columns);
    std::vector<lapack_int> pivots(static_cast<size_t>(n));
    return LAPACKE_dgesv(LAPACK_ROW_MAJOR, size, count, a.data(), size, pivots.data(), b.data(),
                         count) == 0;
}

void multiply(int64_t n, const std::vector<double>& a, const std::vector<double>& b,
              std::vector<double>& c) {
    c.assign(a.size(), 0.0);
    for (int64_t i = 0; i < n; ++i) {
        double* line = c.data() + i * n;
        for (int64_t k = 0; k < n; ++k) {
            const double factor = a[static_cast<size_t>(i * n + k)];
            const double* other = b.data() + k * n;
            for (int64_t j = 0; j < n; ++j) {
                line[j] += factor * other[j];
            }
        }
    }
}

std::vector<double> power(int64_t n, std::vector<double> a, int64_t exponent) {
    std::vector<double> result(a.size(), 0.0), next;
    for (int64_t i = 0; i < n; ++i) {
        result[static_cast<size_t>(i * n + i)] = 1.0;
    }
    for (bool first = true; exponent > 0; exponent /= 2) {
        if (exponent % 2 != 0) {
            if (first) {
                result = a;
            } else {
                multiply(n, result, a, next);
                std::swap(result, next);
            }
            first = false;
        }
        if (exponent > 1) {
            multiply(n, a, a, next);
            std::swap(a, next);
        }
    }
    return result;
}

std::vector<double> exponential(int64_t n, std::vector<double> a) {
    double norm = 0.0;  // largest row sum
    for (int64_t i = 0; i < n; ++i) {
        double sum = 0.0;
        for (int64_t j = 0; j < n; ++j) {
            sum += std::fabs(a[static_cast<size_t>(i * n + j)]);
        }
        norm = std::max(norm, sum);
    }
    int squarings = 0;
    std::frexp(norm, &squarings);
    squarings = std::max(squarings + 1, 0);  // norm / 2^s <= 1/2
    const double scale = std::ldexp(1.0, -squarings);
    for (double& value : a) {
        value *= scale;
    }
    std::vector<double> result = power(n, a, 0), term = result, next;
    for (int k = 1; k <= 16; ++k) {  // 0.5^17 / 17! is 2e-20
        multiply(n, term, a, next);
        for (size_t i = 0; i < next.size(); ++i) {
            next[i] /= k;
            result[i] += next[i];
        }
        std::swap(term, next);
    }
    for (int s = 0; s < squarings; ++s) {
        multiply(n, result, result, next);
        std::swap(result, next);
    }
    return result;
}

}  // namespace seqmix::dense
