#include "mixers/attention/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

double score(const AttentionQuery& p, int64_t j) {
    const double* k = p.k + (p.lines > 0 ? j % p.lines : j) * p.k_stride;
    double s = 0;
    for (int64_t d = 0; d < p.dk; ++d) {
        s += p.q[d] * k[d];
    }
    s *= p.scale;
    if (p.softcap > 0) {
        s = p.softcap * std::tanh(s / p.softcap);
    }
    s -= p.slope * std::fabs(static_cast<double>(p.position - j));
    return p.bias != nullptr ? s + p.bias[j - p.position] : s;
}

}  // namespace

void attention_query(const AttentionQuery& p) {
    double most = -HUGE_VAL, total = 0;
    for (int64_t j = p.first; j < p.end; ++j) {
        most = std::fmax(most, score(p, j));
    }
    for (int64_t d = 0; d < p.dv; ++d) {
        p.y[d] = 0;
    }
    for (int64_t j = p.first; j < p.end; ++j) {
        total += std::exp(score(p, j) - most);
    }
    for (int64_t j = p.first; j < p.end; ++j) {
        const double* v = p.v + (p.lines > 0 ? j % p.lines : j) * p.v_stride;
        double weight = std::exp(score(p, j) - most) / total;
        if (p.factor != nullptr) {
            weight *= p.factor[j - p.position];
        }
        if (p.weights != nullptr) {
            p.weights[j] = weight;
        }
        for (int64_t d = 0; d < p.dv; ++d) {
            p.y[d] += weight * v[d];
        }
    }
}

}  // namespace seqmix::reference
