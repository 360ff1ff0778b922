// The Hyena operator around its long convolutions, in double by plain loops; they themselves are
// primitives/long_conv's reference.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// y (T, out) = x (T, in) W^T + b.
void hyena_linear(int64_t tokens, int64_t in, int64_t out, const double* x, const double* W,
                  const double* b, double* y);
// u (T,C): causal depthwise convolution of z (T,C) with taps (C,S), tap S-1 on the current token, and
// bias. window (S-1,C): the inputs before, oldest first; on return the last S-1.
void hyena_short_filter(int64_t tokens, int64_t channels, int64_t taps, const double* z,
                        const double* W, const double* b, double* window, double* u);
// v (T,D) = a (T,D) * columns [at, at + D) of u (T,width).
void hyena_gate(int64_t tokens, int64_t channels, const double* a, const double* u, int64_t width,
                int64_t at, double* v);

}  // namespace seqmix::reference
