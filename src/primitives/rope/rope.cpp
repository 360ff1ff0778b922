#include "primitives/rope/rope.h"

#include <cmath>

namespace seqmix {

void rope_frequencies(double theta, int64_t rotary_dim, double* frequencies) {
    for (int64_t i = 0; i < rotary_dim / 2; ++i) {
        const double power = 2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim);
        frequencies[i] = std::exp(-power * std::log(theta));
    }
}

}  // namespace seqmix
