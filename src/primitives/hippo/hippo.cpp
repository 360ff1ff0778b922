#include "primitives/hippo/hippo.h"

#include <cmath>

#include "primitives/dense/dense.h"

namespace seqmix::hippo {
namespace {

constexpr double kPi = 3.14159265358979323846;

double root(int64_t n) { return std::sqrt(2.0 * static_cast<double>(n) + 1.0); }

// (1, 0, sqrt 2, 0, sqrt 2, 0, ...)
double fourier(int64_t n) { return n % 2 != 0 ? 0.0 : n == 0 ? 1.0 : std::sqrt(2.0); }

double entry(Measure measure, int64_t i, int64_t j) {
    const auto n = static_cast<double>(i);
    switch (measure) {
        case Measure::legs: return i == j ? -(n + 1) : i > j ? -root(i) * root(j) : 0.0;
        case Measure::legt: {
            const double sign = j <= i || (i - j) % 2 == 0 ? 1.0 : -1.0;
            return -0.5 * root(i) * root(j) * sign;
        }
        case Measure::lagt: return i == j ? -0.5 : i > j ? -1.0 : 0.0;
        case Measure::fout:
        case Measure::foud: {
            const double k = 0.5 * static_cast<double>(i - i % 2);
            const double turn = i - i % 2 != j - j % 2 || i == j ? 0.0 : i < j ? -k : k;
            return measure == Measure::fout ? kPi * turn - fourier(i) * fourier(j)
                                            : 2 * kPi * turn - (i == j ? 0.5 : 0.0);
        }
    }
    return 0.0;
}

double input(Measure measure, int64_t n) {
    switch (measure) {
        case Measure::legs: return root(n);
        case Measure::legt: return 0.5 * root(n);
        case Measure::lagt: return 1.0;
        case Measure::fout:
        case Measure::foud: return fourier(n);
    }
    return 0.0;
}

double column(Measure measure, int64_t r, int64_t n) {
    switch (measure) {
        case Measure::legs: return std::sqrt(static_cast<double>(n) + 0.5);
        case Measure::legt: return n % 2 != r ? root(n) / std::sqrt(2.0) : 0.0;
        case Measure::lagt: return std::sqrt(0.5);
        default: return fourier(n);
    }
}

}  // namespace

Transition transition(Measure measure, int64_t n) {
    Transition t;
    t.A.reserve(static_cast<size_t>(n * n));
    t.B.reserve(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            t.A.push_back(entry(measure, i, j));
        }
        t.B.push_back(input(measure, i));
    }
    return t;
}

int64_t rank(Measure measure) {
    return measure == Measure::legt ? 2 : measure == Measure::foud ? 0 : 1;
}

std::vector<double> low_rank(Measure measure, int64_t n) {
    std::vector<double> P;
    for (int64_t r = 0; r < rank(measure); ++r) {
        for (int64_t i = 0; i < n; ++i) {
            P.push_back(column(measure, r, i));
        }
    }
    return P;
}

bool modes(Measure measure, int64_t n, Modes* out) {
    const Transition t = transition(measure, n);
    const std::vector<double> P = low_rank(measure, n);
    const int64_t ranks = rank(measure), half = n / 2;
    // A + P P^T is c I and the skew-symmetric S.
    double c = 0.0;
    std::vector<double> S;
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            double s = t.A[static_cast<size_t>(i * n + j)];
            for (int64_t r = 0; r < ranks; ++r) {
                s += P[static_cast<size_t>(r * n + i)] * P[static_cast<size_t>(r * n + j)];
            }
            if (i == j) {
                c += s / static_cast<double>(n);
            }
            S.push_back(i == j ? 0.0 : s);
        }
    }
    std::vector<double> omega;
    std::vector<Complex> vectors;
    if (!dense::eigen_skew(n, S, omega, vectors)) {
        return false;
    }
    *out = Modes();
    for (int64_t k = 0; k < half; ++k) {
        std::vector<Complex> v;
        for (int64_t i = 0; i < n; ++i) {
            v.push_back(vectors[static_cast<size_t>(i * n + k)]);
        }
        // Fourier: frequency 0 is there twice, of the cosine 1 and the sine that is not used. The vector
        // and its conjugate must span both.
        const bool fourier_zero =
            (measure == Measure::fout || measure == Measure::foud) && k == half - 1;
        if (fourier_zero) {
            v.assign(static_cast<size_t>(n), Complex());
            v[0] = std::sqrt(0.5);
            v[1] = Complex(0.0, std::sqrt(0.5));
        }
        const auto project = [&](const double* x) {
            Complex sum;
            for (int64_t i = 0; i < n; ++i) {
                sum += std::conj(v[static_cast<size_t>(i)]) * x[i];
            }
            return sum;
        };
        const Complex b = project(t.B.data());
        const double size = std::abs(b);
        const Complex phase = size > 0 ? std::conj(b) / size : Complex(1.0);
        out->lambda.emplace_back(c, fourier_zero ? 0.0 : omega[static_cast<size_t>(k)]);
        out->B.emplace_back(size);
        for (int64_t r = 0; r < ranks; ++r) {
            out->P.push_back(project(P.data() + r * n) * phase);
        }
    }
    // (half,rank) -> (rank,half)
    if (ranks == 2) {
        std::vector<Complex> lines;
        for (int64_t r = 0; r < ranks; ++r) {
            for (int64_t k = 0; k < half; ++k) {
                lines.push_back(out->P[static_cast<size_t>(k * ranks + r)]);
            }
        }
        out->P = lines;
    }
    return true;
}

}  // namespace seqmix::hippo
