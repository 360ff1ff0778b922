// template: a leaky integrator with a learned decay per channel; the smallest complete mixer, to copy.
//
//   h_t = a h_{t-1} + (1 - a) x_t,  y_t = h_t,  a = sigmoid(decay_logit)
//
// Source: the exponential moving average.
// Parallel over rows and channel blocks; f32; no scratch. State: h (D) after the last token.
// CHANGE: equation, source, what runs in parallel, precision, scratch, state. This header is for
// readers and is often all comment; the folder's declarations are in reference.h and kernel.h.
#pragma once
