// Selective scan (S6), the kernel's contract.
//
//   dt[t,d]   = delta[t,d] + delta_bias[d];  softplus(dt) = log(1 + e^dt) where asked, dt above 20
//   h[t,d,n]  = exp(dt[t,d] A[d,n]) h[t-1,d,n] + dt[t,d] B[t,n] u[t,d]
//   y[t,d]    = sum_n C[t,n] h[t,d,n] + D[d] u[t,d];  then y *= silu(z[t,d]) where there is a z
//
// B and C are per token (one group of channels per call) or constant per channel, (N,D).
// Source: Gu & Dao 2023, "Mamba", section 3 (algorithm 2). The paper writes the zero-order hold for
// B; the equation above is the authors' code, which trained models need: Euler's rule for the input
// and the exponential for the state.
// Independent over rows, channels and states; sequential in time. A run may be cut anywhere: h is
// read at entry and written at exit. Nothing is divided by products of decays, so exp(dt A) may
// underflow.
// Numerics: f32 throughout; 2^x within 2.5e-7, beside what rounding x makes; y sums even n and odd n
// apart, both in order. Cuts of time do not change results. A state of f32 keeps about
// 6e-8 / (1 - decay) relative accuracy under constant input, the recurrence's own limit.
// Signed A, delta of either sign and any finite size are right, up to overflow.
// kernel.h has the argument struct and the table, reference.h the definition in double.
#pragma once

#include "primitives/selective_scan/kernel.h"
