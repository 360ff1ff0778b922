// HiPPO matrices and their normal-plus-low-rank form, in double.
//
//   x' = A x + B u (LegS: x' = (A x + B u) / t),   A + sum_r P_r P_r^T = c I + skew-symmetric
//
// so that a unitary V diagonalises the left side, A = V (diag(lambda) - P~ P~*) V*, P~ = V* P, B~ = V* B.
// Sources: Gu, Dao, Ermon, Rudra and Re 2020, HiPPO (LegS, LegT, LagT); Gu, Johnson, Timalsina, Rudra and Re
// 2022, How to train your HiPPO (FouT, FouD); Gu, Goel and Re 2022, S4, appendix C.1 (NPLR). LegT and FouT
// have windows of length 2, as in the authors' later code.
//
// Eigenvectors' phases are arbitrary; here they make B~ real and positive.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace seqmix::hippo {

using Complex = std::complex<double>;

enum class Measure : uint8_t { legs, legt, lagt, fout, foud };

struct Transition {
    std::vector<double> A;  // (n,n)
    std::vector<double> B;  // (n)
};
Transition transition(Measure measure, int64_t n);

// Columns of P: 1, or 2 for LegT (odd entries, then even ones), none for FouD.
int64_t rank(Measure measure);
std::vector<double> low_rank(Measure measure, int64_t n);  // (rank,n)

// The half with negative imaginary parts, ascending (the largest frequency first): n/2 modes, n even.
struct Modes {
    std::vector<Complex> lambda, B;  // (n/2)
    std::vector<Complex> P;          // (rank,n/2)
};
// false: the eigenvalues could not be found.
bool modes(Measure measure, int64_t n, Modes* out);

}  // namespace seqmix::hippo
