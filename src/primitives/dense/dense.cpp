#include "primitives/dense/dense.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace seqmix::dense {

namespace {

constexpr double kEpsilon = 2.3e-16;

size_t at(int64_t n, int64_t row, int64_t column) { return static_cast<size_t>(row * n + column); }

// S becomes Q^T S Q, skew and tridiagonal, by reflections; Q is gathered.
void reduce(int64_t n, std::vector<double>& S, std::vector<double>& Q) {
    std::vector<double> v(static_cast<size_t>(n));
    for (int64_t k = 0; k + 2 < n; ++k) {
        double size = 0.0;
        for (int64_t i = k + 1; i < n; ++i) {
            v[static_cast<size_t>(i)] = S[at(n, i, k)];
            size = std::hypot(size, v[static_cast<size_t>(i)]);
        }
        double& head = v[static_cast<size_t>(k + 1)];
        head += head < 0 ? -size : size;
        double square = 0.0;
        for (int64_t i = k + 1; i < n; ++i) {
            square += v[static_cast<size_t>(i)] * v[static_cast<size_t>(i)];
        }
        if (!(square > 0)) {
            continue;
        }
        // m (I - 2 v v^T / v^T v) for rows, or the transpose for columns.
        const auto reflect = [&](std::vector<double>& m, bool rows) {
            const auto entry = [&](int64_t line, int64_t i) -> double& {
                return rows ? m[at(n, line, i)] : m[at(n, i, line)];
            };
            for (int64_t line = 0; line < n; ++line) {
                double sum = 0.0;
                for (int64_t i = k + 1; i < n; ++i) {
                    sum += entry(line, i) * v[static_cast<size_t>(i)];
                }
                sum *= 2 / square;
                for (int64_t i = k + 1; i < n; ++i) {
                    entry(line, i) -= sum * v[static_cast<size_t>(i)];
                }
            }
        };
        reflect(S, true);
        reflect(S, false);
        reflect(Q, true);
    }
}

// Eigenvalues (into d) and vectors (columns of Z) of the symmetric tridiagonal (d, e).
bool diagonalise(int64_t n, std::vector<double>& d, std::vector<double>& e,
                 std::vector<double>& Z) {
    double norm = 0.0;
    for (const double value : e) {
        norm = std::max(norm, std::fabs(value));
    }
    const auto size = [](int64_t i) { return static_cast<size_t>(i); };
    int64_t steps = 0;
    for (int64_t high = n - 1; high > 0;) {
        int64_t low = high;
        while (low > 0) {
            const double near = std::fabs(d[size(low)]) + std::fabs(d[size(low - 1)]);
            if (std::fabs(e[size(low - 1)]) <= kEpsilon * (near + kEpsilon * norm)) {
                break;
            }
            --low;
        }
        if (low == high) {
            --high;
            continue;
        }
        if (++steps > 60 * n) {
            return false;
        }
        const double half = (d[size(high - 1)] - d[size(high)]) / 2, last = e[size(high - 1)];
        const double root = half + (half < 0 ? -1.0 : 1.0) * std::hypot(half, last);
        double x = d[size(low)] - (d[size(high)] - last * last / root), z = e[size(low)];
        for (int64_t k = low; k < high; ++k) {
            const double r = std::hypot(x, z), c = r > 0 ? x / r : 1.0, s = r > 0 ? -z / r : 0.0;
            if (k > low) {
                e[size(k - 1)] = r;
            }
            const double a = d[size(k)], b = d[size(k + 1)], off = e[size(k)];
            d[size(k)] = c * c * a - 2 * c * s * off + s * s * b;
            d[size(k + 1)] = s * s * a + 2 * c * s * off + c * c * b;
            e[size(k)] = c * s * (a - b) + (c * c - s * s) * off;
            if (k + 1 < high) {
                x = e[size(k)];
                z = -s * e[size(k + 1)];
                e[size(k + 1)] *= c;
            }
            for (int64_t i = 0; i < n; ++i) {
                double &left = Z[at(n, i, k)], &right = Z[at(n, i, k + 1)];
                const double kept = left;
                left = c * kept - s * right;
                right = s * kept + c * right;
            }
        }
    }
    return true;
}

}  // namespace

bool eigen_skew(int64_t n, std::vector<double> S, std::vector<double>& values,
                std::vector<Complex>& vectors) {
    std::vector<double> Q = power(n, S, 0), Z = Q, d(static_cast<size_t>(n)), e(d.size());
    reduce(n, S, Q);
    for (int64_t k = 0; k + 1 < n; ++k) {
        e[static_cast<size_t>(k)] = S[at(n, k + 1, k)];
    }
    if (!diagonalise(n, d, e, Z)) {
        return false;
    }
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return d[static_cast<size_t>(a)] < d[static_cast<size_t>(b)];
    });
    // -i S = Q D B D* Q^T with D = diag((-i)^k) and the symmetric B = Z diag(d) Z^T.
    const Complex turns[] = {{1, 0}, {0, -1}, {-1, 0}, {0, 1}};
    values.clear();
    vectors.assign(static_cast<size_t>(n * n), Complex());
    for (int64_t j = 0; j < n; ++j) {
        const int64_t column = order[static_cast<size_t>(j)];
        values.push_back(d[static_cast<size_t>(column)]);
        for (int64_t i = 0; i < n; ++i) {
            Complex sum;
            for (int64_t k = 0; k < n; ++k) {
                sum += turns[k % 4] * (Q[at(n, i, k)] * Z[at(n, k, column)]);
            }
            vectors[at(n, i, j)] = sum;
        }
    }
    return true;
}

bool solve(int64_t n, std::vector<double> a, int64_t columns, std::vector<double>& b) {
    for (int64_t i = 0; i < n; ++i) {
        int64_t best = i;
        for (int64_t r = i + 1; r < n; ++r) {
            best = std::fabs(a[at(n, r, i)]) > std::fabs(a[at(n, best, i)]) ? r : best;
        }
        const double pivot = a[at(n, best, i)];
        if (!(std::fabs(pivot) > 0) || !std::isfinite(pivot)) {
            return false;
        }
        const auto line = [](std::vector<double>& m, int64_t width, int64_t row) {
            return m.begin() + row * width;
        };
        if (best != i) {
            std::swap_ranges(line(a, n, i), line(a, n, i + 1), line(a, n, best));
            std::swap_ranges(line(b, columns, i), line(b, columns, i + 1), line(b, columns, best));
        }
        for (int64_t r = i + 1; r < n; ++r) {
            const double factor = a[at(n, r, i)] / pivot;
            for (int64_t j = i; j < n; ++j) {
                a[at(n, r, j)] -= factor * a[at(n, i, j)];
            }
            for (int64_t j = 0; j < columns; ++j) {
                b[at(columns, r, j)] -= factor * b[at(columns, i, j)];
            }
        }
    }
    for (int64_t i = n - 1; i >= 0; --i) {
        for (int64_t j = 0; j < columns; ++j) {
            double sum = b[at(columns, i, j)];
            for (int64_t k = i + 1; k < n; ++k) {
                sum -= a[at(n, i, k)] * b[at(columns, k, j)];
            }
            b[at(columns, i, j)] = sum / a[at(n, i, i)];
        }
    }
    return true;
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
