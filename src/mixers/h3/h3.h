// H3: a shift SSM and a diagonal SSM between products of queries, keys and values.
//
//   q, k, v = linear maps of x
//   k' = sum_{l < N} K_l k[t-l] + D_k k,  K_l = sum_j B_j C_{j+l}         shift SSM, an FIR of N taps
//   kv[d1,d2] = k'[d1] v[d2] per head,  y = SSM(kv) + D kv                one SSM a head
//   o[d2] = sum_{d1} q[d1] y[d1,d2],  out = out_proj(o)
//
// The diagonal SSM has N/2 complex modes, A = -exp(inv_A_real) + i A_imag, dt = exp(log_dt), and is
// y = 2 Re sum C x, x <- a x + b u with b times the stored B (the stored C holds B once more),
// bilinear or zero-order hold. Heads are the slower axis of q, k and v ("h d") and the faster one of
// o ("d h"), as in the code's forward.
//
// Source: Fu et al. 2023, Hungry Hungry Hippos, algorithm 1; HazyResearch/safari h3.py,
// ss_kernel_shift.py, ss_kernel_diag.py.
// It runs as a recurrence (primitives/diagonal_scan) whatever the number of tokens: the same numbers as
// the convolution, with a state of constant size. Parallel over blocks of channels and rows. f32.
#pragma once
