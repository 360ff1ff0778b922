// Which instruction set levels this CPU has (cpuid and xgetbv, asked once).
#pragma once

#include "base/isa.h"

namespace seqmix {

// In this build and on this CPU.
bool isa_available(Isa isa);
Isa best_isa();
// Whether avx512 has the products of rounded operands: AVX512-BF16 and AVX512-VNNI.
bool dot_available();
// Number of CPUs this process may use, at least 1.
int32_t cpu_count();

}  // namespace seqmix
