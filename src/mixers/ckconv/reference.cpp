#include "mixers/ckconv/reference.h"

#include <cmath>

namespace seqmix::reference {

void ckconv(int64_t tokens, int64_t in, int64_t out, const double* x, const double* k,
            const double* bias, double* y) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t o = 0; o < out; ++o) {
            double sum = bias[o];
            for (int64_t i = 0; i < in; ++i) {
                const double* row = k + (o * in + i) * tokens;
                for (int64_t lag = 0; lag <= t; ++lag) {
                    sum += row[tokens - 1 - lag] * x[(t - lag) * in + i];
                }
            }
            y[t * out + o] = sum;
        }
    }
}

void ck_norm_relu(int64_t tokens, int64_t channels, const double* weight, const double* bias,
                  double* y) {
    const int64_t count = tokens * channels;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < count; ++i) mean += y[i] / static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) {
        variance += (y[i] - mean) * (y[i] - mean) / static_cast<double>(count);
    }
    for (int64_t i = 0; i < count; ++i) {
        const double value =
            (y[i] - mean) / std::sqrt(variance + 1e-12) * weight[i % channels] + bias[i % channels];
        y[i] = value > 0 ? value : 0;
    }
}

}  // namespace seqmix::reference
