// causal_conv1d_op: the short causal depthwise convolution as an operation on the caller's tensors.
//
//   y[t,d] = act(bias[d] + sum_{k<K} weight[d,k] x[t-K+1+k,d]),  act = identity or SiLU
//
// Inputs before the first token come from `state_in` (B,K-1,D), oldest first, absent = zeros;
// `state_out` is the last K-1 inputs of [state_in, x]. The kernel is primitives/conv1d.
// Source: Dao-AILab/causal-conv1d; Gu and Dao 2023, "Mamba", section 3.4.
// Parallel over rows and channel blocks; f32 accumulation; scratch: the transposed weight.
#pragma once
