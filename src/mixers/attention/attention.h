// attention: softmax attention of a layer's own tokens, with its projections.
//
//   q, k, v = maps of x (+ bias);  q, k = RMS norms of each head (qk_norm), then rotated (rotary.h)
//   s_ij = scale q_i . k_j;  s = c tanh(s / c) with a softcap c;  s -= slope_h |i - j| (alibi)
//   y_i  = out( sum_j softmax_j(s_ij) v_j )       over j <= i, with a window of w: i - w < j <= i
//
// urpe: the same with P = softmax(s_ij + b_{j-i}) and M = P * C, C_ij = c_{j-i}: y = out(M v). Its rows
// need not sum to one, which is what lets it learn positions.
//
// Query head h reads key head h / (H / Hk). State: keys and values (cache.h), all of them or a ring. A
// token alone reads the cache once for all heads that share a key head; two and more are taken in
// tiles (primitives/attention), whose bits do not depend on how the input was cut or packed.
// Parallel over outputs (maps), tokens (norms, rotation), heads and blocks of queries. f32 sums; with the
// context's weights in bf16 or int8, two and more tokens are multiplied in bf16 where that pays.
// Scratch: q, k, v and y of a step.
//
// Sources: Vaswani et al. 2017; Dao et al. 2022 (FlashAttention); Shazeer 2019 and Ainslie et al. 2023
// (MQA, GQA); Press et al. 2022 (ALiBi); Luo et al. 2022, Your Transformer May Not be as Powerful as
// You Expect (URPE).
#pragma once
