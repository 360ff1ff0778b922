// The angles of rotary position embedding as checkpoints describe them: theta, a partial rotary
// dimension, and the scalings of long contexts, made in double when a layer is created.
//
//   f_i = theta^(-2i/r), i < r/2; a token at position p turns pair i by p f_i
//   linear    f_i / factor
//   dynamic   from position M on, theta (factor n/M - factor + 1)^(r/(r-2)) with n = p + 1
//   llama3    by wavelength: kept, divided by factor, or between
//   yarn      by number of turns within M tokens, likewise; cosines and sines times s
//   longrope  f_i / short_factor_i up to position M, f_i / long_factor_i from there on; times s
//
// Sources: Su et al. 2021; Peng et al. 2023 (YaRN) with NTK-aware scaling; Llama 3.1; Ding et al. 2024
// (LongRoPE). What depends on the length (dynamic, longrope) depends on the token's own position: the
// numbers of decoding token by token, however the input is cut.
#pragma once

#include <vector>

#include "contract/mixer.h"
#include "primitives/rope/rope.h"

namespace seqmix::mixers {

class Rotary {
  public:
    // Reads the attributes `rotary`, `rotary_dim` and `rope_*`. `heads` is the width of a head.
    Status read(const char* type, const Attributes& attributes, int64_t head_dim);

    int64_t pairs() const { return static_cast<int64_t>(frequencies_.size()); }  // 0: no rotation
    bool interleaved() const { return interleaved_; }
    double scale() const { return scale_; }
    // Of a token at `position`, (pairs); `room` has pairs() elements and may hold the result.
    const double* frequencies(int64_t position, double* room) const;
    // cosine, sine: (tokens, pairs) dense.
    void angles(const RopeKernels& kernels, int64_t tokens, const int64_t* positions, float* cosine,
                float* sine, double* room) const;
    void angles_reference(int64_t tokens, const int64_t* positions, double* cosine, double* sine,
                          double* room) const;

  private:
    enum class Scaling : uint8_t { none, linear, dynamic, llama3, yarn, longrope };
    Status read_scaling(const char* type, const Attributes& attributes);
    void scale_llama3(const Attributes& attributes);
    void scale_yarn(const Attributes& attributes);
    Status read_longrope(const char* type, const Attributes& attributes);

    Scaling scaling_ = Scaling::none;
    bool interleaved_ = false;
    double scale_ = 1, theta_ = 10000, factor_ = 1;
    int64_t original_ = 0;  // M
    std::vector<double> frequencies_, long_frequencies_;
};

}  // namespace seqmix::mixers
