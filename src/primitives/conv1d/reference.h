// The short causal depthwise convolution in double precision: the definition of correct. It shares
// nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Dense row-major arrays.
struct Conv1dRef {
    int64_t T, D, K;
    const double* x;       // (T,D)
    const double* weight;  // (D,K); tap K-1 meets the current token
    const double* bias;    // (D) or null
    bool silu;
    double* window;  // (K-1,D): the inputs before x, oldest first; replaced by the last K-1 of
                     // [window, x]
    double* y;       // (T,D)
};

void conv1d(const Conv1dRef& p);

}  // namespace seqmix::reference
