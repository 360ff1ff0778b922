#include "primitives/attention/reference.h"

#include <cmath>
#include <limits>
#include <vector>

namespace seqmix::reference {

void attention(const AttentionRef& p) {
    constexpr double kHidden = -std::numeric_limits<double>::infinity();
    std::vector<double> s(static_cast<size_t>(p.keys));
    for (int64_t i = 0; i < p.queries; ++i) {
        const int64_t at = p.position + i;
        double most = p.sink != nullptr ? *p.sink : kHidden;
        for (int64_t j = 0; j < p.keys; ++j) {
            double sum = 0;
            for (int64_t d = 0; d < p.dk; ++d) {
                sum += p.q[i * p.dk + d] * p.k[j * p.dk + d];
            }
            sum *= p.scale;
            if (p.softcap > 0) {
                sum = p.softcap * std::tanh(sum / p.softcap);
            }
            sum -= p.slope * std::abs(static_cast<double>(at - j));
            if (p.bias != nullptr) {
                sum += p.bias[i * p.keys + j];
            }
            const bool visible = (p.left < 0 || j >= at - p.left) &&
                                 (p.right < 0 || j <= at + p.right) &&
                                 (p.mask == nullptr || p.mask[i * p.keys + j] != 0);
            s[static_cast<size_t>(j)] = visible ? sum : kHidden;
            most = std::max(most, s[static_cast<size_t>(j)]);
        }
        double total = p.sink != nullptr ? std::exp(*p.sink - most) : 0;
        for (double& x : s) {
            x = x == kHidden ? 0 : std::exp(x - most);
            total += x;
        }
        for (int64_t d = 0; d < p.dv; ++d) {
            double sum = 0;
            for (int64_t j = 0; j < p.keys; ++j) {
                sum += s[static_cast<size_t>(j)] * p.v[j * p.dv + d];
            }
            p.y[i * p.dv + d] = total > 0 ? sum / total : 0;
        }
        if (p.lse != nullptr) {
            p.lse[i] = total > 0 ? most + std::log(total) : kHidden;
        }
        if (p.weights != nullptr) {
            for (int64_t j = 0; j < p.keys; ++j) {
                p.weights[i * p.keys + j] = total > 0 ? s[static_cast<size_t>(j)] / total : 0;
            }
        }
    }
}

}  // namespace seqmix::reference
