// mamba: the Mamba block, from model width to model width.
//
//   x, z = in_proj(u);  x = silu(causal depthwise conv(x));  dt, B, C = x_proj(x)
//   dt, B, C = RMS norm of each (optional: FalconMamba without weights, Jamba with)
//   h = exp(softplus(dt_proj(dt)) A) h + softplus(dt_proj(dt)) B x;  y = C h + D x
//   out = out_proj(y silu(z));  A = -exp(A_log)
//
// Source: Gu and Dao 2023, "Mamba", section 3.4 and figure 3. The input is discretised by Euler
// (dt B), as in the authors' code and in every checkpoint, although the paper writes zero-order hold.
//
// One step has five phases, each parallel: in_proj | convolution | x_proj, norms | dt_proj |
// scan with softplus, skip and gate | out_proj. Matrices are multiplied as stored (f32, bf16, f16)
// with f32 sums; A, D, biases, the convolution and the state are f32.
// State: conv_state (K-1,E), the last inputs of the convolution, oldest first; ssm_state (E,N).
#pragma once
