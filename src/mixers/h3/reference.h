// H3 in double by plain loops.
#pragma once

#include <cstdint>

namespace seqmix::reference {

struct H3 {
    int64_t T, D, d, N, M;  // d: head width; N: taps of the shift SSM; M: modes of the diagonal one
    bool bilinear;
    const double *q, *k, *v;                     // (T,D)
    const double *shift_B, *shift_C, *shift_D;   // (D,N), (D,N), (D)
    const double *A_re, *A_im, *log_dt, *B, *C;  // (H,M), (H,M), (H), (H,M,2), (H,M,2)
    const double* skip;                          // (H)
    double* window;                              // (N-1,D) in and out, oldest first
    double* x;                                   // (M,2,d d H) in and out
    double* y;                                   // (T,D)
};

// Taps of the shift SSM of a channel: out (N), tap l meets k[t-l]; D_k is in tap 0.
void h3_shift_taps(const H3& p, int64_t channel, double* taps);
// Discretised mode m of head h: a, b (re, im).
void h3_mode(const H3& p, int64_t h, int64_t m, double a[2], double b[2]);
void h3(const H3& p);

}  // namespace seqmix::reference
