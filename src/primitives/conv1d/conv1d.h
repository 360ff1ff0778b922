// Short causal depthwise convolution, the kernel's contract.
//
//   y[t,d] = act(bias[d] + sum_{k<K} weight[d,k] x[t-K+1+k, d]),   act: none or silu
//
// x[-K+1 .. -1] are the window: the K-1 inputs before the run, zeros at the start of a sequence;
// the window left behind is the last K-1 of [window, x], so that a sequence may be cut anywhere,
// also into runs shorter than K-1. A run of no tokens leaves it alone.
// Source: the causal-conv1d operator used by Mamba (Gu & Dao 2023, figure 3), here for any K >= 1.
// Independent over rows and channels. f32 throughout, taps added in order from the oldest; every
// output is a function of its K inputs alone, so results do not depend on the cut.
// kernel.h has the argument struct and the table, reference.h the definition in double.
#pragma once

#include "primitives/conv1d/kernel.h"
