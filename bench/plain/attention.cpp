#include "attention.h"

#include <cmath>

namespace seqmix::plain {

void attention(int64_t T, int64_t H, int64_t d, bool causal, const float* q, const float* k,
               const float* v, float* scores, float* y) {
    const float scale = 1.0f / sqrtf(static_cast<float>(d));
    for (int64_t t = 0; t < T; ++t) {
        for (int64_t h = 0; h < H; ++h) {
            const float* query = q + (t * H + h) * d;
            float* out = y + (t * H + h) * d;
            const int64_t keys = causal ? t + 1 : T;
            float most = -INFINITY;
            for (int64_t s = 0; s < keys; ++s) {
                const float* key = k + (s * H + h) * d;
                float sum = 0.0f;
                for (int64_t i = 0; i < d; ++i) {
                    sum += query[i] * key[i];
                }
                scores[s] = sum * scale;
                most = scores[s] > most ? scores[s] : most;
            }
            float total = 0.0f;
            for (int64_t s = 0; s < keys; ++s) {
                scores[s] = expf(scores[s] - most);
                total += scores[s];
            }
            for (int64_t i = 0; i < d; ++i) {
                out[i] = 0.0f;
            }
            for (int64_t s = 0; s < keys; ++s) {
                const float* value = v + (s * H + h) * d;
                const float weight = scores[s] / total;
                for (int64_t i = 0; i < d; ++i) {
                    out[i] += weight * value[i];
                }
            }
        }
    }
}

}  // namespace seqmix::plain
