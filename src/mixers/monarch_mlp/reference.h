// The block-diagonal maps of monarch_mlp in double, by plain loops.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// y (T, blocks*rows) = diag(W) x (T, blocks*columns), W (blocks, rows, columns); bias may be null.
void block_diagonal(int64_t tokens, int64_t blocks, int64_t rows, int64_t columns, const double* x,
                    const double* W, const double* bias, double* y);
// g (T,I) = gelu(h[:I]) * h[I:] of h (T,2I), or gelu(h) of h (T,I).
void gelu_gate(int64_t tokens, int64_t hidden, bool gated, const double* h, double* g);

}  // namespace seqmix::reference
