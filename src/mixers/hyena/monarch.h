// M2's sequence mixer: one gated long convolution with an implicit filter, in one or both directions,
// and a second one past the gates.
//
//   x1, x2, v = split(short_filter(in_proj(x))),  g = v * x1
//   y = out_proj(x2 * (k conv g + bias * g) [+ k2 conv x + bias2 * x])
//
// bidirectional: the reverse filter is a network of its own with the forward one's frequencies, and is
// combined by pad-flip (its first tap meets the next token); inputs then come whole, without state.
// The networks are filter.h's.
//
// Source: Fu et al. 2023, Monarch Mixer; HazyResearch/m2 bert/src/mm. The causal form zero-pads, as
// the code does. Parallel over channels and rows. f32.
#pragma once
