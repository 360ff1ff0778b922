// The kernel of CKConv: a sine network of the position, with weight norm.
//
//   x = sin(w0 (W1 p + b1)), x = sin(w0 (W2 x + b2)), k = W3 x + b3,   W = g v / |v| by rows
//
// Positions are -1 ... p_max in equal steps; p_max is 1 at the training length L_t. At another length
// L, rho = round(L_t / L) or 1 / round(L / L_t) (halves to even) scales the kernel, p_max is chosen so
// that steps are rho times those of L_t, and where rho < 1 the interior is smoothed by a Gaussian.
// In double: sine arguments reach 50 to 104 in published models.
#pragma once

#include <cstdint>

namespace seqmix {

struct CkKernelNet {
    int64_t hidden, channels;    // h; C = Cout Cin, row o Cin + i
    double omega;                // w0
    const double *v1, *g1, *b1;  // (h,1), (h), (h)
    const double *v2, *g2, *b2;  // (h,h), (h), (h)
    const double *v3, *g3, *b3;  // (C,h), (C), (C)
};

struct CkLength {
    double rho, p_max;
    int64_t smoothing;  // 1 / rho where rho < 1: half of the smoothing's width; else 0
};
CkLength ck_length(int64_t length, int64_t train_length);

// Doubles of scratch.
int64_t ck_kernel_scratch(int64_t hidden, int64_t channels, int64_t length);
// k: (C, L), scaled (and smoothed).
void ck_kernel(const CkKernelNet& net, int64_t length, int64_t train_length, double* k,
               double* scratch);

}  // namespace seqmix
