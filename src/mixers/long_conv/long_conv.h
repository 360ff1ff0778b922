// Long depthwise convolutions with explicit filters, as SGConv, LongConv, S4's and H3's fftconv have
// them.
//
//   v = in_gate x,   y[t] = out_gate[t] (sum_{j <= t} k[j] v[t-j] + skip v[t])        causal
//
// and with `sides` a second, anti-causal filter in one of two conventions (primitives/long_conv). All
// per channel; gates and skip are optional. Source: specification of fftconv in HazyResearch/safari
// (Hyena, H3) and state-spaces/s4 (pad-flip). f32 transforms (long_conv.h), doubles at level reference.
//
// `long_conv_op` gets its filter with the call, makes its spectra there, and hands the last K-1 inputs
// on. `long_conv` has the filter as a weight, its spectra made once, and streams by blocks
// (contract/long_filter.h). Two-sided ones take whole inputs and have no state.
// Parallel over vectors of channels and rows.
#pragma once
