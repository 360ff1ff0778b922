// The selective scan in double precision: the definition of correct. It shares nothing with the
// kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Dense row-major arrays; channel d belongs to group d / (D/G).
struct SelectiveScanRef {
    int64_t T, D, N, G;
    const double* u;           // (T,D)
    const double* delta;       // (T,D)
    const double* delta_bias;  // (D) or null
    const double* A;           // (D,N), usually negative
    const double* B;           // B_per_token: (T,G,N), else (D,N)
    const double* C;           // likewise
    bool B_per_token, C_per_token, softplus;
    const double* skip;  // (D), the D of the equation, or null
    const double* z;     // (T,D) or null
    double* h;           // (D,N), in and out
    double* y;           // (T,D)
};

void selective_scan(const SelectiveScanRef& p);

// The mixing matrix of one channel, rows [first, first+count), before the gate, from state 0:
//   M[i,j] = sum_n C_i[n] exp(A[n] (dt_{j+1} + .. + dt_i)) dt_j B_j[n] for j <= i, 0 above, and the
// skip on the diagonal; y_core[i] = sum_j M[i,j] v[j]. p.z, p.h and p.y are not used.
// M: (count,T); v: (T), the inputs of the channel, or null.
void selective_scan_matrix(const SelectiveScanRef& p, int64_t channel, int64_t first, int64_t count,
                           double* M, double* v);

}  // namespace seqmix::reference
