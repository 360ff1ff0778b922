#include "primitives/norm/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

// y = (x - shift) / sqrt(variance + eps) * weight + bias, for one row.
void scale_row(int64_t width, const double* x, double shift, double variance, double eps,
               const double* weight, const double* bias, double* y) {
    const double scale = 1.0 / std::sqrt(variance + eps);
    for (int64_t d = 0; d < width; ++d) {
        y[d] = (x[d] - shift) * scale * (weight != nullptr ? weight[d] : 1.0) +
               (bias != nullptr ? bias[d] : 0.0);
    }
}

}  // namespace

void rms_norm(int64_t rows, int64_t width, const double* x, const double* weight,
              const double* bias, double eps, double* y) {
    for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
        double squares = 0.0;
        for (int64_t d = 0; d < width; ++d) {
            squares += x[d] * x[d];
        }
        scale_row(width, x, 0.0, squares / static_cast<double>(width), eps, weight, bias, y);
    }
}

void layer_norm(int64_t rows, int64_t width, const double* x, const double* weight,
                const double* bias, double eps, double* y) {
    for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
        double sum = 0.0;
        for (int64_t d = 0; d < width; ++d) {
            sum += x[d];
        }
        const double mean = sum / static_cast<double>(width);
        double squares = 0.0;
        for (int64_t d = 0; d < width; ++d) {
            squares += (x[d] - mean) * (x[d] - mean);
        }
        scale_row(width, x, mean, squares / static_cast<double>(width), eps, weight, bias, y);
    }
}

void batch_norm(int64_t rows, int64_t width, const double* x, const double* weight,
                const double* bias, const double* mean, const double* variance, double eps,
                double* y) {
    for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
        for (int64_t d = 0; d < width; ++d) {
            y[d] = (x[d] - mean[d]) / std::sqrt(variance[d] + eps) * weight[d] + bias[d];
        }
    }
}

}  // namespace seqmix::reference
