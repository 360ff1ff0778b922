#include "scan.h"

#include <cmath>

namespace seqmix::plain {

void selective_scan(int64_t T, int64_t D, int64_t N, const float* u, const float* delta,
                    const float* bias, const float* A, const float* B, const float* C,
                    const float* skip, const float* z, float* h, float* y) {
    for (int64_t t = 0; t < T; ++t) {
        for (int64_t d = 0; d < D; ++d) {
            const float dt = log1pf(expf(delta[t * D + d] + bias[d]));
            const float x = u[t * D + d];
            float sum = 0.0f;
            for (int64_t n = 0; n < N; ++n) {
                float& state = h[d * N + n];
                state = expf(dt * A[d * N + n]) * state + dt * B[t * N + n] * x;
                sum += C[t * N + n] * state;
            }
            const float gate = z[t * D + d];
            y[t * D + d] = (sum + skip[d] * x) * (gate / (1.0f + expf(-gate)));
        }
    }
}

}  // namespace seqmix::plain
