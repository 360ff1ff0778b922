// Small dense algebra in double: eigenvalues of skew-symmetric matrices, linear systems, products, powers
// and exponentials, for layers when they are created or initialised. No forward path calls it.
//
// Matrices are row-major and dense, of a state's size: at most a few hundred.
//
// Why not LAPACK: docs/decisions.md.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace seqmix::dense {

using Complex = std::complex<double>;

// Eigenvalues (ascending) and unitary eigenvectors (columns of `vectors`) of -i S, S (n,n) real and
// skew-symmetric: Householder reflections to a skew tridiagonal form, which multiplied by powers of i is a
// symmetric one, then QR steps with Wilkinson's shift (Golub and Van Loan, Matrix Computations, 8.3).
// false: the iteration does not end (S holds what is no number).
bool eigen_skew(int64_t n, std::vector<double> S, std::vector<double>& values,
                std::vector<Complex>& vectors);
// x with a x = b by Gauss with pivoting; b (n,columns) becomes x. false: a is singular or not finite.
bool solve(int64_t n, std::vector<double> a, int64_t columns, std::vector<double>& b);
// c = a b, all (n,n).
void multiply(int64_t n, const std::vector<double>& a, const std::vector<double>& b,
              std::vector<double>& c);
// a^exponent by squaring, exponent >= 0.
std::vector<double> power(int64_t n, std::vector<double> a, int64_t exponent);
// exp(a): Taylor's series of a / 2^s, squared s times.
std::vector<double> exponential(int64_t n, std::vector<double> a);

}  // namespace seqmix::dense
