#include "primitives/attention/reference.h"

#include <cmath>

namespace seqmix::reference {

double attention_score(const AttentionRef& p, int64_t i, int64_t j) {
    const int64_t at = p.position + i;
    const bool visible = (p.left < 0 || j >= at - p.left) && (p.right < 0 || j <= at + p.right) &&
                         (p.mask == nullptr || p.mask[i * p.keys + j] != 0);
    if (!visible) {
        return -HUGE_VAL;
    }
    double sum = 0;
    for (int64_t d = 0; d < p.dk; ++d) {
        sum += p.q[i * p.dk + d] * p.k[j * p.dk + d];
    }
    sum *= p.scale;
    if (p.softcap > 0) {
        sum = p.softcap * std::tanh(sum / p.softcap);
    }
    sum -= p.slope * std::fabs(static_cast<double>(at - j));
    return p.bias != nullptr ? sum + p.bias[i * p.keys + j] : sum;
}

void attention(const AttentionRef& p) {
    for (int64_t i = 0; i < p.queries; ++i) {
        double most = p.sink != nullptr ? *p.sink : -HUGE_VAL;
        for (int64_t j = 0; j < p.keys; ++j) {
            most = std::fmax(most, attention_score(p, i, j));
        }
        const bool sees = most > -HUGE_VAL;
        double total = sees && p.sink != nullptr ? std::exp(*p.sink - most) : 0;
        for (int64_t d = 0; d < p.dv; ++d) {
            p.y[i * p.dv + d] = 0;
        }
        for (int64_t j = 0; j < p.keys; ++j) {
            const double s = attention_score(p, i, j), e = s > -HUGE_VAL ? std::exp(s - most) : 0;
            total += e;
            for (int64_t d = 0; d < p.dv && e > 0; ++d) {
                p.y[i * p.dv + d] += e * p.v[j * p.dv + d];
            }
            if (p.weights != nullptr) {
                p.weights[i * p.keys + j] = e;
            }
        }
        const double factor = total > 0 ? 1 / total : 0;
        for (int64_t d = 0; d < p.dv; ++d) {
            p.y[i * p.dv + d] *= factor;
        }
        for (int64_t j = 0; j < p.keys && p.weights != nullptr; ++j) {
            p.weights[i * p.keys + j] *= factor;
        }
        if (p.lse != nullptr) {
            p.lse[i] = total > 0 ? most + std::log(total) : -HUGE_VAL;
        }
    }
}

}  // namespace seqmix::reference
