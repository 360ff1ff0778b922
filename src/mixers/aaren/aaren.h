// aaren: attention as a recurrent network. The query of a head is learned, so that the softmax over all
// keys so far is a running sum of constant size.
//
//   k_t, v_t = maps of x_t (+ bias);  s_t = q . k_t / sqrt(dk) for each head
//   (m, u, w) <- (m', u e^(m-m') + e^(s_t-m'), w e^(m-m') + e^(s_t-m') v_t),  m' = max(m, s_t)
//   y_t = out(w / u)
//
// Source: Feng et al. 2024, Attention as an RNN, section 3.2. The scores are one map of x: q is multiplied
// into the keys' map when the layer is bound, in double.
// State: m, u (heads) and w (heads, dv); u = 0 before the first token. Parallel over rows and heads, one
// pass over the tokens each: results do not depend on how the input is cut. f32.
#pragma once
