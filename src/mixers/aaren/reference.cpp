#include "mixers/aaren/reference.h"

#include <cmath>

namespace seqmix::reference {

double aaren_score(int64_t dk, const double* q, const double* k, double scale) {
    double sum = 0;
    for (int64_t d = 0; d < dk; ++d) {
        sum += q[d] * k[d];
    }
    return sum * scale;
}

void aaren_token(int64_t dv, double s, const double* v, double* m, double* u, double* w,
                 double* y) {
    const double most = *u == 0 ? s : std::fmax(*m, s);
    const double before = *u == 0 ? 0 : std::exp(*m - most), now = std::exp(s - most);
    *m = most;
    *u = *u * before + now;
    for (int64_t d = 0; d < dv; ++d) {
        w[d] = w[d] * before + now * v[d];
        y[d] = w[d] / *u;
    }
}

}  // namespace seqmix::reference
