#include "mixers/hyena/reference.h"

namespace seqmix::reference {

void hyena_linear(int64_t tokens, int64_t in, int64_t out, const double* x, const double* W,
                  const double* b, double* y) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t o = 0; o < out; ++o) {
            double sum = b != nullptr ? b[o] : 0.0;
            for (int64_t i = 0; i < in; ++i) sum += W[o * in + i] * x[t * in + i];
            y[t * out + o] = sum;
        }
    }
}

void hyena_short_filter(int64_t tokens, int64_t channels, int64_t taps, const double* z,
                        const double* W, const double* b, double* window, double* u) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t c = 0; c < channels; ++c) {
            double sum = b[c];
            for (int64_t j = 0; j < taps - 1; ++j)
                sum += W[c * taps + j] * window[j * channels + c];
            u[t * channels + c] = sum + W[c * taps + taps - 1] * z[t * channels + c];
            for (int64_t j = 0; j + 1 < taps - 1; ++j) {
                window[j * channels + c] = window[(j + 1) * channels + c];
            }
            if (taps > 1) window[(taps - 2) * channels + c] = z[t * channels + c];
        }
    }
}

void hyena_gate(int64_t tokens, int64_t channels, const double* a, const double* u, int64_t width,
                int64_t at, double* v) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t d = 0; d < channels; ++d) {
            v[t * channels + d] = a[t * channels + d] * u[t * width + at + d];
        }
    }
}

}  // namespace seqmix::reference
