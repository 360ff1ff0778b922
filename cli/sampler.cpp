#include "sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "common.h"

namespace seqmix_cli {

Generator::Generator(uint64_t seed) {
    for (uint64_t& word : state_) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        word = z ^ (z >> 31);
    }
}

uint64_t Generator::next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

double Generator::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

double Generator::normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
}

int64_t Sampler::choose(std::span<const float> logits) {
    size_t best = 0;
    bool found = false;
    for (size_t i = 0; i < logits.size(); ++i) {
        if (std::isfinite(logits[i]) && (!found || logits[i] > logits[best])) {
            best = i;
            found = true;
        }
    }
    if (!found) {
        throw Failure(kFailed, "the model gave no finite logit");
    }
    if (options_.temperature <= 0) {
        return static_cast<int64_t>(best);
    }

    candidates_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
        if (std::isfinite(logits[i])) {
            const double above = static_cast<double>(logits[i]) - static_cast<double>(logits[best]);
            candidates_.emplace_back(std::exp(above / options_.temperature),
                                     static_cast<int64_t>(i));
        }
    }
    const auto heavier = [](const auto& a, const auto& b) {
        return a.first != b.first ? a.first > b.first : a.second < b.second;
    };
    std::sort(candidates_.begin(), candidates_.end(), heavier);
    if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < candidates_.size()) {
        candidates_.resize(static_cast<size_t>(options_.top_k));
    }
    double total = 0;
    for (const auto& candidate : candidates_) {
        total += candidate.first;
    }
    // The smallest set of the likeliest tokens whose probability reaches top_p.
    if (options_.top_p < 1) {
        const double wanted = options_.top_p * total;
        double kept = 0;
        size_t count = 0;
        while (count < candidates_.size() && (count == 0 || kept < wanted)) {
            kept += candidates_[count++].first;
        }
        candidates_.resize(count);
        total = kept;
    }
    double left = generator_.uniform() * total;
    for (const auto& [weight, id] : candidates_) {
        left -= weight;
        if (left < 0) {
            return id;
        }
    }
    return candidates_.back().second;
}

}  // namespace seqmix_cli
