// CKConv: a dense causal convolution whose kernel, as long as the input, is a small network of the
// position; and the residual block of two of them that CKCNN is made of.
//
//   ckconv    y_o[t] = bias_o + sum_i sum_{lag <= t} k[o][i][T-1-lag] x_i[t-lag]      position T-1 (+1) is now
//   ckblock   h = relu(norm1(conv1 x)), h = relu(norm2(conv2 h)), y = relu(h + s)
//             s = x, or a linear map of x where the widths differ; norm: one group over channels and
//             time, biased variance, eps 1e-12, an affine map per channel
//
// Source: Romero et al. 2022, CKConv; dwromero/ckconv (ckconv/nn, models/ckcnn.py), whose FFT is wrong
// at odd lengths, where the sum counts. The kernel net is kernel.h's.
//
// The kernel depends on the length of the input, so inputs come whole (and the norm looks at all of
// it): there is no state. For T = train_length (the net's own length) spectra are made once; for
// another T in the call, in double as there. Parallel over channels, frequencies and rows. f32
// transforms; beyond 4 train_length tokens direct sums.
#pragma once
