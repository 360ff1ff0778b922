#include "primitives/vandermonde/reference.h"

#include <cmath>

namespace seqmix::reference {

double vandermonde(int64_t l, int64_t modes, const double* z, const double* c) {
    double sum = 0;
    for (int64_t n = 0; n < modes; ++n) {
        const double t = static_cast<double>(l);
        const double angle = t * z[2 * n + 1];
        sum +=
            std::exp(t * z[2 * n]) * (c[2 * n] * std::cos(angle) - c[2 * n + 1] * std::sin(angle));
    }
    return sum;
}

}  // namespace seqmix::reference
