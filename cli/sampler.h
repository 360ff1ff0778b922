// Choosing the next token from logits. Everything is computed in double with our own generator, so
// that the same logits and seed give the same tokens.
//
// Generator: xoshiro256** seeded by splitmix64 (Blackman and Vigna, 2018).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace seqmix_cli {

class Generator {
  public:
    explicit Generator(uint64_t seed);
    explicit Generator(const std::array<uint64_t, 4>& state) : state_(state) {}
    double uniform();  // in [0, 1), 53 bits
    double normal();
    const std::array<uint64_t, 4>& state() const { return state_; }

  private:
    uint64_t next();
    std::array<uint64_t, 4> state_;
};

struct SamplerOptions {
    double temperature = 0;  // 0: always the largest logit, the lowest id among equals
    int64_t top_k = 0;       // 0: no limit
    double top_p = 1;        // 1: no limit
};

class Sampler {
  public:
    Sampler(const SamplerOptions& options, const Generator& generator)
        : options_(options), generator_(generator) {}
    // Throws when no logit is finite.
    int64_t choose(std::span<const float> logits);
    const Generator& generator() const { return generator_; }

  private:
    SamplerOptions options_;
    Generator generator_;
    std::vector<std::pair<double, int64_t>> candidates_;  // weight, id
};

}  // namespace seqmix_cli
