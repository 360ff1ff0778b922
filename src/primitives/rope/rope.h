// Rotary position embedding, in two steps: cosines and sines of a run of tokens, made once for all
// heads, and the rotation of pairs of columns.
//
//   angle[t][i] = position[t] frequency[i],  i < P = r/2 pairs of a rotary dimension r <= head width
//   (a, b) -> (a cos - b sin, b cos + a sin), cos and sin times `scale`
//   halves (GPT-NeoX, transformers): pair i is columns (i, i + r/2)
//   interleaved (GPT-J, llama2.c):   pair i is columns (2i, 2i + 1)
//
// Columns from r on pass through. Sources: Su et al. 2021 (RoFormer), equation 34. Scalings of long
// contexts (linear, NTK, llama3, yarn, longrope) are other frequencies, and yarn's attention factor is
// `scale`: whoever binds a layer makes them, in double.
//
// Precision: the angle is a product in double, less its whole turns, so that cosines and sines are
// within 5e-7 at any position up to 2^28. Other implementations multiply in f32 and are off by 6e-8 of
// the angle: by 6e-3 at token 100,000.
// Parallel over tokens and heads, by the caller; a row's bits do not depend on the others. No scratch.
#pragma once

#include "primitives/rope/kernel.h"

namespace seqmix {

// frequency[i] = theta^(-2i/r), i < r/2.
void rope_frequencies(double theta, int64_t rotary_dim, double* frequencies);

}  // namespace seqmix
