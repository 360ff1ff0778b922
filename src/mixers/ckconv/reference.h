// The dense causal convolution and the norm of CKCNN in double, by their sums.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// y (T,Cout) = bias + sum over i and lag of k[o][i][T-1-lag] x[t-lag][i]; x (T,Cin), k (Cout,Cin,T).
void ckconv(int64_t tokens, int64_t in, int64_t out, const double* x, const double* k,
            const double* bias, double* y);
// y = relu((y - mean) / sqrt(variance + 1e-12) * weight + bias), both over all of y (T,C).
void ck_norm_relu(int64_t tokens, int64_t channels, const double* weight, const double* bias,
                  double* y);

}  // namespace seqmix::reference
