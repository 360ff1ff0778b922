// Cauchy sums and the spectrum of a diagonal-plus-low-rank kernel in double precision, from the
// definition at the roots of unity. It shares nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// r (2): sum over both conjugate halves of v_n / (2 (1 - omega)/(1 + omega) - pole_n), omega =
// exp(-2 pi i m / L), m < L/2. poles, v: (pairs,2).
void cauchy_sum(int64_t m, int64_t L, int64_t pairs, const double* poles, const double* v,
                double* r);

}  // namespace seqmix::reference
