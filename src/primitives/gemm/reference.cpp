#include "primitives/gemm/reference.h"

#include <cmath>

namespace seqmix::reference {

void gemm(int64_t m, int64_t n, int64_t k, const double* x, ptrdiff_t x_stride, const double* w,
          ptrdiff_t w_stride, const double* bias, const double* residual, ptrdiff_t residual_stride,
          int32_t activation, double* y, ptrdiff_t y_stride) {
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            double sum = 0.0;
            for (int64_t l = 0; l < k; ++l) {
                sum += x[i * x_stride + l] * w[j * w_stride + l];
            }
            if (bias != nullptr) {
                sum += bias[j];
            }
            if (activation == 1) {
                sum = sum / (1.0 + std::exp(-sum));
            } else if (activation == 2) {
                sum = sum > 0.0 ? sum + std::log1p(std::exp(-sum)) : std::log1p(std::exp(sum));
            }
            if (residual != nullptr) {
                sum += residual[i * residual_stride + j];
            }
            y[i * y_stride + j] = sum;
        }
    }
}

}  // namespace seqmix::reference
