#include "primitives/selective_scan/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

double step(const SelectiveScanRef& p, int64_t t, int64_t d) {
    double dt = p.delta[t * p.D + d];
    if (p.delta_bias != nullptr) dt += p.delta_bias[d];
    if (p.softplus && dt <= 20.0) dt = std::log1p(std::exp(dt));
    return dt;
}

double per_state(const SelectiveScanRef& p, const double* a, bool per_token, int64_t t, int64_t d,
                 int64_t n) {
    const int64_t group = d / (p.D / p.G);
    return per_token ? a[(t * p.G + group) * p.N + n] : a[d * p.N + n];
}

}  // namespace

void selective_scan(const SelectiveScanRef& p) {
    for (int64_t t = 0; t < p.T; ++t) {
        for (int64_t d = 0; d < p.D; ++d) {
            const double dt = step(p, t, d);
            const double u = p.u[t * p.D + d];
            double y = 0.0;
            for (int64_t n = 0; n < p.N; ++n) {
                const double b = per_state(p, p.B, p.B_per_token, t, d, n);
                const double c = per_state(p, p.C, p.C_per_token, t, d, n);
                double& h = p.h[d * p.N + n];
                h = std::exp(dt * p.A[d * p.N + n]) * h + dt * b * u;
                y += c * h;
            }
            if (p.skip != nullptr) y += p.skip[d] * u;
            if (p.z != nullptr) {
                const double z = p.z[t * p.D + d];
                y *= z / (1.0 + std::exp(-z));
            }
            p.y[t * p.D + d] = y;
        }
    }
}

void selective_scan_matrix(const SelectiveScanRef& p, int64_t channel, int64_t first, int64_t count,
                           double* M, double* v) {
    const int64_t d = channel;
    for (int64_t i = first; i < first + count; ++i) {
        double* row = M + (i - first) * p.T;
        for (int64_t j = i + 1; j < p.T; ++j) row[j] = 0.0;
        double sum = 0.0;  // dt_{j+1} + .. + dt_i
        for (int64_t j = i; j >= 0; --j) {
            const double dt = step(p, j, d);
            double m = 0.0;
            for (int64_t n = 0; n < p.N; ++n) {
                const double b = per_state(p, p.B, p.B_per_token, j, d, n);
                const double c = per_state(p, p.C, p.C_per_token, i, d, n);
                m += c * std::exp(p.A[d * p.N + n] * sum) * dt * b;
            }
            row[j] = m;
            sum += dt;
        }
        if (p.skip != nullptr) row[i] += p.skip[d];
    }
    if (v != nullptr) {
        for (int64_t t = 0; t < p.T; ++t) v[t] = p.u[t * p.D + d];
    }
}

}  // namespace seqmix::reference
