// Rows of the long convolutions, for primitives_bench.
#pragma once

#include <string>

#include "base/isa.h"

namespace seqmix::bench {

// Causal convolutions with filters as long as the input; beside FFTW where SEQMIX_FFTW names it.
void add_long_convs(const std::string& isa, Isa level);
// A filter of 2^17 taps streamed in blocks of 128.
void add_long_conv_streams(const std::string& isa, Isa level);

}  // namespace seqmix::bench
