// s4, s4d, dss: linear time-invariant state-space layers.
//
//   x_t = A x_{t-1} + B u_t,  k_t = Re C x_t (twice that for conjugate pairs),  y = out(act(k + D u))
//
// A, B are discretised from the stored parameters with one step per channel:
//   s4d   diagonal; zero-order hold, or bilinear; only one of each conjugate pair is stored
//         Gu, Gupta, Goel and Re 2022, On the parameterization of diagonal state space models
//   s4    diagonal plus low rank, bilinear; C is stored as C (I - A^l_kernel) where l_kernel > 0
//         Gu, Goel and Re 2022, Efficiently modeling long sequences with structured state spaces
//   dss   diagonal, all modes stored; exp forms, or a softmax over kernel_length tokens
//         Gupta, Gu and Berant 2022, Diagonal state spaces are as effective as structured state spaces
// Channel h uses copy h mod n_ssm of lambda, B, P. `out` is a linear map with a gated linear unit.
//
// Everything about a step is made in double when a layer is bound (system.cpp) and rounded once.
// Tokens run through the recurrence of primitives/diagonal_scan, which has one feedback for each column
// of P: 8 operations of the FMA pipes per mode and token, 12 with rank 1, whatever the length.
// Parallel over rows and channel blocks. Scratch: the tokens of a step before `out`.
// State: x (D,2M), modes' real and imaginary parts in turn; M modes.
//
// bidirectional: twice the kernels, of which the second half reads from the end and does not see the
// token itself; not causal. Rows of up to kernel_length tokens are one convolution for both directions
// (primitives/long_conv) with the kernels as taps: by a Vandermonde product, or of s4 by the generating
// function (primitives/vandermonde, cauchy). Longer rows are two recurrences.
//
// This folder: s4.cpp the three schemas, layer.cpp what they share, system.cpp parameters to
// coefficients, init.cpp initial values.
#pragma once
