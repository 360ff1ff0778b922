#include "mixers/mamba/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

double dot(const double* a, const double* b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// In place: v / sqrt(mean(v^2) + eps) * weight.
void rms(double* v, int64_t n, const double* weight, double eps) {
    const double scale = 1 / std::sqrt(dot(v, v, n) / static_cast<double>(n) + eps);
    for (int64_t i = 0; i < n; ++i) {
        v[i] *= scale * (weight != nullptr ? weight[i] : 1);
    }
}

}  // namespace

void mamba_token(const MambaRef& p, int64_t t, const MambaToken& out) {
    const double* u = p.u + t * p.D;
    for (int64_t e = 0; e < p.E; ++e) {
        const double x =
            dot(p.in_proj + e * p.D, u, p.D) + (p.in_proj_bias != nullptr ? p.in_proj_bias[e] : 0);
        out.z[e] = dot(p.in_proj + (p.E + e) * p.D, u, p.D) +
                   (p.in_proj_bias != nullptr ? p.in_proj_bias[p.E + e] : 0);
        double sum = p.conv_bias != nullptr ? p.conv_bias[e] : 0;
        for (int64_t k = 0; k < p.K - 1; ++k) {
            sum += p.conv[e * p.K + k] * p.window[k * p.E + e];
        }
        sum += p.conv[e * p.K + p.K - 1] * x;
        for (int64_t k = 0; k + 2 < p.K; ++k) {
            p.window[k * p.E + e] = p.window[(k + 1) * p.E + e];
        }
        if (p.K > 1) {
            p.window[(p.K - 2) * p.E + e] = x;
        }
        out.x[e] = silu(sum);
    }
    for (int64_t i = 0; i < p.R + 2 * p.N; ++i) {
        out.scratch[i] = dot(p.x_proj + i * p.E, out.x, p.E);
    }
    double *dt = out.scratch, *B = dt + p.R, *C = B + p.N;
    if (p.inner_norm) {
        rms(dt, p.R, p.dt_norm, p.inner_norm_eps);
        rms(B, p.N, p.b_norm, p.inner_norm_eps);
        rms(C, p.N, p.c_norm, p.inner_norm_eps);
    }
    for (int64_t n = 0; n < p.N; ++n) {
        out.B[n] = B[n];
        out.C[n] = C[n];
    }
    for (int64_t e = 0; e < p.E; ++e) {
        out.dt[e] = softplus(dot(p.dt_proj + e * p.R, dt, p.R) + p.dt_proj_bias[e]);
    }
}

void mamba(const MambaRef& p) {
    double* buffer = p.scratch;
    double* gated = buffer + 3 * p.E;
    MambaToken token{buffer,           buffer + p.E,           buffer + 2 * p.E,
                     buffer + 4 * p.E, buffer + 4 * p.E + p.N, buffer + 4 * p.E + 2 * p.N};
    for (int64_t t = 0; t < p.T; ++t) {
        mamba_token(p, t, token);
        for (int64_t e = 0; e < p.E; ++e) {
            double y = p.skip[e] * token.x[e];
            for (int64_t n = 0; n < p.N; ++n) {
                double& h = p.h[e * p.N + n];
                h = std::exp(token.dt[e] * -std::exp(p.A_log[e * p.N + n])) * h +
                    token.dt[e] * token.B[n] * token.x[e];
                y += token.C[n] * h;
            }
            gated[e] = y * silu(token.z[e]);
        }
        for (int64_t d = 0; d < p.D; ++d) {
            p.y[t * p.D + d] = dot(p.out_proj + d * p.E, gated, p.E) +
                               (p.out_proj_bias != nullptr ? p.out_proj_bias[d] : 0);
        }
    }
}

}  // namespace seqmix::reference
