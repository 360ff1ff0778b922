#include "plain/gemm.h"

namespace seqmix::bench::plain {

void gemm(int64_t m, int64_t n, int64_t k, const float* __restrict__ x, const float* __restrict__ w,
          float* __restrict__ y) {
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            y[i * n + j] = 0.0f;
        }
        for (int64_t l = 0; l < k; ++l) {
            const float a = x[i * k + l];
            for (int64_t j = 0; j < n; ++j) {
                y[i * n + j] += a * w[l * n + j];
            }
        }
    }
}

}  // namespace seqmix::bench::plain
