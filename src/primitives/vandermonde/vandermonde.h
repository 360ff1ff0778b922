// Sums of complex powers: K_l = Re sum_n c_n w_n^l, l = 0 .. L-1; the convolution kernel of a diagonal
// system.
//
// Source: Gu, Gupta, Goel and Re 2022, S4D, section 3.3. With l = i Q + j it is a small real product of
// matrices, of the parts of c_n (w_n^Q)^i by those of w_n^j:
//
//   K_(iQ+j) = sum_n Re(c_n w_n^(iQ)) Re(w_n^j) - Im(c_n w_n^(iQ)) Im(w_n^j)
//
// 2 multiply-adds a mode and point. Both tables are made in double and rounded once, so no phase
// drifts, however long: exp(l z) in f32 is off by 7.8e-3 at l = 16384, |z| = 9.7, a running product in
// f32 by 2.9e-4; here every factor is right to half a unit.
//
// One channel at a time; lanes are points. Parallel over channels by the caller.
#pragma once

#include "primitives/vandermonde/kernel.h"

namespace seqmix {

// Floats of scratch: the two tables, and doubles for making them.
constexpr int64_t vandermonde_scratch(int64_t length, int64_t modes) {
    const int64_t blocks = (length + kVandermondeBlock - 1) / kVandermondeBlock;
    const int64_t tables = 2 * modes * (kVandermondeBlock + blocks);
    const int64_t making = 2 * (2 * kVandermondeBlock + 4 * modes);  // doubles
    return tables + making + 64;
}

}  // namespace seqmix
