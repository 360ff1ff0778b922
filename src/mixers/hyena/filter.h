// Hyena's implicit filter: K taps of C channels as a network of the position t = 0, ..., K-1.
//
//   z = [t / (K-1), cos(f_b w), ..., -sin(f_b w), ...],  w = 2 pi t / K,  f = linspace(1e-4, bands-1)
//   h = sin(freq (W_0 z + b_0)), h = sin(freq (W_i h + b_i)) ..., k = W_out h
//   k *= exp(-t / (K-1) |delta|) + shift,  delta = linspace(ln(.01) / 1.5, ln(.01) / .3) over channels
//   normalized: divided by the sum of |k| over the channels, at each t (a quirk of the code)
//
// In double: sines of large arguments cost digits, and it is done once.
#pragma once

#include <cstdint>
#include <vector>

namespace seqmix {

struct HyenaFilter {
    int64_t taps, channels;           // K, C
    int64_t features, hidden, inner;  // of z (odd, >= 3), O, layers O -> O
    bool modulate, normalized;
    double shift;
    const double* z;            // (K, features), or null: as above
    const double* t;            // (K): t / (K-1) as it was stored, or null
    const double *W_in, *b_in;  // (O, features), (O)
    std::vector<const double*> W, b;
    const double* W_out;   // (C, O)
    const double* freq;    // (O)
    const double* deltas;  // (C), or null: as above
};

// The features of position t.
void hyena_features(int64_t t, int64_t taps, int64_t features, double* z);
double hyena_delta(int64_t channel, int64_t channels);
// k: (C, K).
void hyena_filter(const HyenaFilter& filter, double* k);

}  // namespace seqmix
