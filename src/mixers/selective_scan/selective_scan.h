// selective_scan_op: the selective scan of Mamba as an operation on the caller's tensors, what people
// call selective_scan_fn (one token: selective_state_update).
//
//   dt = softplus(delta + delta_bias);  h[n] = exp(dt A[n]) h[n] + dt B[n] u
//   y = sum_n C[n] h[n] + D u;  y *= silu(z)
//
// Shapes and numerics: primitives/selective_scan/selective_scan.h, whose kernel runs here.
// B and C are constant (D,N), per token (B,T,N), or per group of channels (B,T,G,N).
// Parallel over rows and channel blocks; f32; scratch: transposed A, and constant B and C.
#pragma once
