// Small dense algebra in double: eigenvalues and solutions by LAPACK, products, powers and exponentials,
// for layers when they are created or initialised. The one place that calls LAPACK; no forward path does.
//
// Matrices are row-major and dense. Failure (a singular matrix, an iteration that does not end, no
// memory) is `false`, and outputs are then without meaning. Sizes are those of a state, at most a few
// hundred.
//
// Threads: nothing here makes any. Products are plain loops on purpose: OpenBLAS shares out a product of 64
// by 64 between threads, which busy-wait for each other; with other programs on the cores the layers of a
// test took 30 s instead of 7, and 360 s on a crowded machine. Where LAPACK is OpenBLAS's, its pool is
// there from the moment the program is loaded; that is the host's choice of LAPACK.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace seqmix::dense {

using Complex = std::complex<double>;

// Eigenvalues (ascending) and eigenvectors (columns of `a` afterwards) of the Hermitian a (n,n).
bool eigen_hermitian(int64_t n, std::vector<Complex>& a, std::vector<double>& values);
// x with a x = b; a (n,n) is lost, b (n,columns) becomes x.
bool solve(int64_t n, std::vector<double>& a, int64_t columns, std::vector<double>& b);
// c = a b, all (n,n).
void multiply(int64_t n, const std::vector<double>& a, const std::vector<double>& b,
              std::vector<double>& c);
// a^exponent by squaring, exponent >= 0.
std::vector<double> power(int64_t n, std::vector<double> a, int64_t exponent);
// exp(a): Taylor's series of a / 2^s, squared s times.
std::vector<double> exponential(int64_t n, std::vector<double> a);

}  // namespace seqmix::dense
