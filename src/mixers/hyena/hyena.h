// The Hyena operator: long convolutions with implicit filters, between gates.
//
//   u = short_filter(in_proj(x))  (n+1) D channels, causal, no activation; x_0, ..., x_{n-1}, v = split(u)
//   for i = n-1, ..., 1:  v = v * x_i,  v = k_o conv v + bias_o * v,  o = n-1-i
//   y = out_proj(v * x_0)
//
// so order n has n-1 long filters, and each gate comes before its convolution (the code; the paper has
// n filters and gates after them). The filters are a small network of the position (filter.h), made
// once, in double, for l_max positions: their values depend on l_max, which is therefore fixed. A
// stream may go on beyond l_max tokens; what is further back is then not seen.
//
// Source: Poli et al. 2023, Hyena Hierarchy; HazyResearch/safari src/models/sequence/hyena.py,
// standalone_hyena.py and hyena-dna. The tensor of the filters' channels is read order-major
// (standalone files, HyenaDNA) or channel-major (full module): equal shapes, another meaning from
// order 3 on.
// Parallel over output blocks (projections), channels and rows (convolutions). f32; scratch 2 (n+1) D
// floats a token. State: inputs of the short filter and, growing with the stream, of the long ones.
#pragma once
