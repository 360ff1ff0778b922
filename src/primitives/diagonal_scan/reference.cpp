#include "primitives/diagonal_scan/reference.h"

namespace seqmix::reference {

void diagonal_scan(const DiagonalScanRef& p) {
    for (int64_t t = 0; t < p.T; ++t) {
        for (int64_t d = 0; d < p.D; ++d) {
            double feedback[2] = {0.0, 0.0};
            double* x = p.x + d * p.N * 2;
            for (int64_t r = 0; r < p.rank; ++r) {
                const double* w = p.w + (r * p.D + d) * p.N * 2;
                for (int64_t n = 0; n < p.N; ++n) {
                    feedback[r] += w[2 * n] * x[2 * n] - w[2 * n + 1] * x[2 * n + 1];
                }
            }
            const double u = p.u[t * p.D + d];
            for (int64_t n = 0; n < p.N; ++n) {
                const double* a = p.a + (d * p.N + n) * 2;
                const double* b = p.b + (d * p.N + n) * 2;
                double re = a[0] * x[2 * n] - a[1] * x[2 * n + 1] + b[0] * u;
                double im = a[0] * x[2 * n + 1] + a[1] * x[2 * n] + b[1] * u;
                for (int64_t r = 0; r < p.rank; ++r) {
                    const double* g = p.g + ((r * p.D + d) * p.N + n) * 2;
                    re += g[0] * feedback[r];
                    im += g[1] * feedback[r];
                }
                x[2 * n] = re;
                x[2 * n + 1] = im;
            }
            for (int64_t o = 0; o < p.outputs; ++o) {
                const double* c = p.c + (o * p.D + d) * p.N * 2;
                double y = p.skip != nullptr ? p.skip[o * p.D + d] * u : 0.0;
                for (int64_t n = 0; n < p.N; ++n) {
                    y += c[2 * n] * x[2 * n] - c[2 * n + 1] * x[2 * n + 1];
                }
                p.y[(t * p.outputs + o) * p.D + d] = y;
            }
        }
    }
}

}  // namespace seqmix::reference
