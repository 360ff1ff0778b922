// M2's channel mixer: an MLP whose maps are block-diagonal.
//
//   h = A x,  g = gelu(h[:I]) * h[I:]  (not gated: gelu(h)),  y = B g + b
//
// A and B are N blocks on the diagonal: block n maps columns [n P, (n+1) P) of its input to rows
// [n U, (n+1) U) of its output, P and U the N-th parts of the widths. One is 1/N of the dense map in
// weights and work. A has no bias. GELU is exact.
//
// Source: Fu et al. 2023, Monarch Mixer; HazyResearch/m2 bert/src/bert_layers.py (BertMLP,
// BertGatedLinearUnitMLP) with mm/blockdiag_linear.py. Its residual and LayerNorm are the block's
// (postnorm). Widths that N does not divide, which the code pads, are refused.
// Parallel over outputs of a block (products) and rows. f32, weights as stored. Stateless.
#pragma once
