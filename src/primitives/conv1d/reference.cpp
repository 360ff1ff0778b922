#include "primitives/conv1d/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

// Input t of channel d; t < 0 is in the window.
double input(const Conv1dRef& p, int64_t t, int64_t d) {
    return t >= 0 ? p.x[t * p.D + d] : p.window[(t + p.K - 1) * p.D + d];
}

}  // namespace

// y[t] = act(bias + sum_k weight[k] x[t-K+1+k])
void conv1d(const Conv1dRef& p) {
    for (int64_t t = 0; t < p.T; ++t) {
        for (int64_t d = 0; d < p.D; ++d) {
            double sum = p.bias != nullptr ? p.bias[d] : 0.0;
            for (int64_t k = 0; k < p.K; ++k) {
                sum += p.weight[d * p.K + k] * input(p, t - p.K + 1 + k, d);
            }
            p.y[t * p.D + d] = p.silu ? sum / (1.0 + std::exp(-sum)) : sum;
        }
    }
    // Row i of the new window is input T-K+1+i; the old row it may come from is not yet replaced.
    for (int64_t i = 0; i + 1 < p.K; ++i) {
        for (int64_t d = 0; d < p.D; ++d) {
            p.window[i * p.D + d] = input(p, p.T - p.K + 1 + i, d);
        }
    }
}

}  // namespace seqmix::reference
