// hippo: a streaming memory of each channel's past, as coefficients of orthogonal functions.
//
//   c' = A c + B u (LegS: (A c + B u) / t),   y_t = c after token t, (D,N)
//
// Measures: LegS (the whole past, uniformly), LegT and FouT (a window of 2 time units, Legendre and Fourier),
// LagT (decaying exponentially); primitives/hippo has the matrices. Discretisation: zero-order hold, bilinear,
// forward or backward Euler. For LegT, LagT and FouT `dt` is the time unit's part that a token takes.
// LegS knows no unit: token k takes the place of t = k - 1 to k, the first one sets c = (u, 0, ...), and zero-order hold
// gives the exact projection of the signal that is constant between tokens.
// Source: Gu, Dao, Ermon, Rudra and Re 2020, HiPPO, theorems 1 and 2 and appendix B; Gu et al. 2022, How to train your
// HiPPO (FouT, zero-order hold).
//
// LegS by Euler or bilinear is O(N) a token: A is diagonal plus a triangle of rank 1, both the product and the
// solution are running sums. All else is one (N,N) product; LegS by zero-order hold makes the matrix of each token
// by a recurrence, O(N^2), without an exponential. Matrices are kept without their identity: c moves little in a
// token, and rounding 1 - 1/t would be a decay of its own, 1e-4 of c after 2,000 tokens.
// Lanes are channels; f32, matrices made in double. Parallel over rows and channel blocks.
// State: c (D,N); LegS also the clock, tokens since the start: two numbers, the second in units of 2^20.
#pragma once
