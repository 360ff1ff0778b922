// Kernel table of Cauchy sums over conjugate pairs; equations are in cauchy.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// A record of a pair: b, a^2, 4 a^2, and for each sum -2p, -4aq, 2q, -4ap, where a + ib is the pole,
// p = a vr + b vi and q = vr.
struct CauchyArgs {
    int64_t points, pairs;
    int32_t sums;          // 1 or 4
    const float* tau;      // (points)
    const float* records;  // (pairs, 3 + 4 sums)
    float *re, *im;        // (sums, points), planes `stride` apart
    ptrdiff_t stride;
};

// planes: as `cauchy` leaves them, in the order BC, then BQ_r, then P_r C, then P_r Q_s.
struct DplrArgs {
    int64_t points;
    int32_t rank;  // 0, 1, 2
    const float* tau;
    const float *plane_re, *plane_im;
    ptrdiff_t stride;
    float *re, *im;  // (points): the spectrum
};

struct CauchyKernels {
    int32_t width;
    void (*cauchy)(const CauchyArgs&);
    void (*dplr)(const DplrArgs&);
};

SEQMIX_DECLARE_KERNELS(CauchyKernels, cauchy_kernels)

}  // namespace seqmix
