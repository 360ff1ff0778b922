// Rotary position embedding in double precision: the definition of correct. It shares nothing with the
// kernels. Arrays are dense.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// cosine, sine: (tokens, pairs); positions: (tokens); frequencies: (pairs), radians a token.
void rope_angles(int64_t tokens, int64_t pairs, const int64_t* positions, const double* frequencies,
                 double scale, double* cosine, double* sine);

// x, y: (tokens, heads, width), y may be x; cosine, sine: (tokens, pairs), 2 pairs <= width.
void rope(int64_t tokens, int64_t heads, int64_t width, int64_t pairs, bool interleaved,
          const double* cosine, const double* sine, const double* x, double* y);

}  // namespace seqmix::reference
