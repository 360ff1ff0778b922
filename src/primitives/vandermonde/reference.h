// Sums of complex exponentials in double precision, from the definition. It shares nothing with the
// kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Re sum_n c_n exp(l z_n). z, c: (modes,2).
double vandermonde(int64_t l, int64_t modes, const double* z, const double* c);

}  // namespace seqmix::reference
