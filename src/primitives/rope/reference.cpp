#include "primitives/rope/reference.h"

#include <cmath>

namespace seqmix::reference {

void rope_angles(int64_t tokens, int64_t pairs, const int64_t* positions, const double* frequencies,
                 double scale, double* cosine, double* sine) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < pairs; ++i) {
            const double angle = static_cast<double>(positions[t]) * frequencies[i];
            cosine[t * pairs + i] = scale * std::cos(angle);
            sine[t * pairs + i] = scale * std::sin(angle);
        }
    }
}

void rope(int64_t tokens, int64_t heads, int64_t width, int64_t pairs, bool interleaved,
          const double* cosine, const double* sine, const double* x, double* y) {
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t h = 0; h < heads; ++h, x += width, y += width) {
            for (int64_t i = 0; i < pairs; ++i) {
                const int64_t first = interleaved ? 2 * i : i;
                const int64_t second = interleaved ? 2 * i + 1 : i + pairs;
                const double a = x[first], b = x[second];
                const double c = cosine[t * pairs + i], s = sine[t * pairs + i];
                y[first] = a * c - b * s;
                y[second] = b * c + a * s;
            }
            for (int64_t d = 2 * pairs; d < width; ++d) {
                y[d] = x[d];
            }
        }
    }
}

}  // namespace seqmix::reference
