// The complex diagonal recurrence with feedback in double precision: the definition of correct. It
// shares nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Dense row-major arrays; the last axis of 2 holds real and imaginary part.
struct DiagonalScanRef {
    int64_t T, D, N, outputs, rank;
    const double *a, *b;  // (D,N,2)
    const double* c;      // (outputs,D,N,2)
    const double *w, *g;  // (rank,D,N,2)
    const double* skip;   // (outputs,D), or null
    const double* u;      // (T,D)
    double* x;            // (D,N,2) in and out
    double* y;            // (T,outputs,D)
};

void diagonal_scan(const DiagonalScanRef& p);

}  // namespace seqmix::reference
