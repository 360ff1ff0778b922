#include "mixers/hyena/filter.h"

#include <algorithm>
#include <cmath>

namespace seqmix {

void hyena_features(int64_t t, int64_t taps, int64_t features, double* z) {
    const int64_t bands = (features - 1) / 2;
    const double w =
        2 * 3.14159265358979323846 * static_cast<double>(t) / static_cast<double>(taps);
    z[0] = taps > 1 ? static_cast<double>(t) / static_cast<double>(taps - 1) : 0.0;
    for (int64_t b = 0; b < bands; ++b) {
        const double last = static_cast<double>(bands) - 1;
        const double f = bands > 1 ? 1e-4 + (last - 1e-4) * static_cast<double>(b) / last : 1e-4;
        z[1 + b] = std::cos(f * w);
        z[1 + bands + b] = -std::sin(f * w);
    }
}

double hyena_delta(int64_t channel, int64_t channels) {
    const double slow = std::log(0.01) / 1.5, fast = std::log(0.01) / 0.3;
    if (channels == 1) return slow;
    return slow + (fast - slow) * static_cast<double>(channel) / static_cast<double>(channels - 1);
}

namespace {

constexpr int64_t kBlock = 64;  // positions at once, the innermost loop

// y (rows, kBlock) = W x + b.
void layer(int64_t rows, int64_t columns, const double* W, const double* b, const double* x,
           double* y) {
    for (int64_t r = 0; r < rows; ++r) {
        double* to = y + r * kBlock;
        std::fill_n(to, kBlock, b != nullptr ? b[r] : 0.0);
        for (int64_t c = 0; c < columns; ++c) {
            const double w = W[r * columns + c];
            const double* from = x + c * kBlock;
            for (int64_t t = 0; t < kBlock; ++t) to[t] += w * from[t];
        }
    }
}

}  // namespace

void hyena_filter(const HyenaFilter& f, double* k) {
    const auto size = [](int64_t rows) { return static_cast<size_t>(rows * kBlock); };
    const int64_t O = f.hidden, C = f.channels, K = f.taps;
    std::vector<double> z(size(f.features)), h(size(O)), next(size(O)), out(size(C)),
        one(static_cast<size_t>(f.features));
    const auto sines = [&](std::vector<double>& x) {
        for (int64_t o = 0; o < O; ++o) {
            for (int64_t t = 0; t < kBlock; ++t) {
                double& value = x[static_cast<size_t>(o * kBlock + t)];
                value = std::sin(f.freq[o] * value);
            }
        }
    };
    for (int64_t first = 0; first < K; first += kBlock) {
        const int64_t count = std::min(kBlock, K - first);
        std::fill(z.begin(), z.end(), 0.0);
        for (int64_t t = 0; t < count; ++t) {
            const double* from = one.data();
            if (f.z != nullptr) {
                from = f.z + (first + t) * f.features;
            } else {
                hyena_features(first + t, K, f.features, one.data());
            }
            for (int64_t i = 0; i < f.features; ++i)
                z[static_cast<size_t>(i * kBlock + t)] = from[i];
        }
        layer(O, f.features, f.W_in, f.b_in, z.data(), h.data());
        sines(h);
        for (size_t i = 0; i < f.W.size(); ++i) {
            layer(O, O, f.W[i], f.b[i], h.data(), next.data());
            sines(next);
            h.swap(next);
        }
        layer(C, O, f.W_out, nullptr, h.data(), out.data());
        for (int64_t t = 0; t < count; ++t) {
            const double last = static_cast<double>(std::max<int64_t>(K - 1, 1));
            const double at =
                f.t != nullptr ? f.t[first + t] : static_cast<double>(first + t) / last;
            double norm = 0;
            for (int64_t c = 0; c < C; ++c) {
                double value = out[static_cast<size_t>(c * kBlock + t)];
                if (f.modulate) {
                    const double delta = f.deltas != nullptr ? f.deltas[c] : hyena_delta(c, C);
                    value *= std::exp(-at * std::abs(delta)) + f.shift;
                }
                k[c * K + first + t] = value;
                norm += std::abs(value);
            }
            for (int64_t c = 0; f.normalized && c < C; ++c) k[c * K + first + t] /= norm;
        }
    }
}

}  // namespace seqmix
