#include "mixers/monarch_mlp/reference.h"

#include <cmath>

namespace seqmix::reference {

void block_diagonal(int64_t tokens, int64_t blocks, int64_t rows, int64_t columns, const double* x,
                    const double* W, const double* bias, double* y) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t o = 0; o < blocks * rows; ++o) {
            const double* from = x + t * blocks * columns + o / rows * columns;
            double sum = bias != nullptr ? bias[o] : 0.0;
            for (int64_t i = 0; i < columns; ++i) sum += W[o * columns + i] * from[i];
            y[t * blocks * rows + o] = sum;
        }
    }
}

void gelu_gate(int64_t tokens, int64_t hidden, bool gated, const double* h, double* g) {
    const int64_t width = gated ? 2 * hidden : hidden;
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < hidden; ++i) {
            const double v = h[t * width + i];
            const double gelu = 0.5 * v * std::erfc(-v / std::sqrt(2.0));
            g[t * hidden + i] = gated ? gelu * h[t * width + hidden + i] : gelu;
        }
    }
}

}  // namespace seqmix::reference
