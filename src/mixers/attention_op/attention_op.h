// Exact attention as an operation: queries of a target meet keys and values of a source, both given.
//
//   y[t,h] = sum_s softmax_s(score(q[t,h], k[s,g])) v[s,g],  g = h / (H / Hk)
//
// with the score, the masks and the sources of src/primitives/attention/attention.h. The four patterns
// (Zhang et al. 2023, CAB): noncausal self and cross (nothing set), causal self (causal), and causal
// cross in its streaming sense (causal with a source of another length; where the whole source is
// visible, causal cross is noncausal cross). `align` says where target token t stands among the Lk
// source tokens of its row: "end", at t + Lk - Lq (the last meets the last), or "start", at t; `offset`
// is added.
// Parallel over tokens in tiles, and heads. Precision: f32 sums, keys and values as they are stored; where
// q, k and v are bf16 and products of bf16 pairs pay (base/cpu.h), the weights of a sum are bf16 too.
// Scratch: a tile's queries and sums for each worker, independent of both lengths.
#pragma once
