// Rows of primitives_bench: convolution kernels of state-space layers.
#pragma once

#include <string>

#include "base/isa.h"

namespace seqmix::bench {

void add_kernel_rows(const std::string& name, Isa isa);

}  // namespace seqmix::bench
