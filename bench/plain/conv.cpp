#include "conv.h"

#include <cmath>

namespace seqmix::plain {

void conv4(int64_t T, int64_t D, const float* x, const float* weight, const float* bias, bool silu,
           float* y) {
    for (int64_t t = 0; t < T; ++t) {
        for (int64_t d = 0; d < D; ++d) {
            float s = bias[d];
            for (int64_t k = t < 3 ? 3 - t : 0; k < 4; ++k) {
                s += weight[d * 4 + k] * x[(t - 3 + k) * D + d];
            }
            y[t * D + d] = silu ? s / (1.0f + expf(-s)) : s;
        }
    }
}

}  // namespace seqmix::plain
