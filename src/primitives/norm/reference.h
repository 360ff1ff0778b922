// The definition of correct for norm, in double. x, y: (rows, D) dense; weight, bias: (D) or null.
#pragma once

#include <cstdint>

namespace seqmix::reference {

void rms_norm(int64_t rows, int64_t width, const double* x, const double* weight,
              const double* bias, double eps, double* y);
void layer_norm(int64_t rows, int64_t width, const double* x, const double* weight,
                const double* bias, double eps, double* y);
// y = (x - mean) / sqrt(variance + eps) * weight + bias; mean, variance: (D), of the training.
void batch_norm(int64_t rows, int64_t width, const double* x, const double* weight,
                const double* bias, const double* mean, const double* variance, double eps,
                double* y);

}  // namespace seqmix::reference
