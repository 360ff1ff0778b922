// Which instruction set levels this CPU has (cpuid and xgetbv, asked once).
#pragma once

#include "base/isa.h"

namespace seqmix {

// In this build and on this CPU.
bool isa_available(Isa isa);
Isa best_isa();
// The instructions that multiply rounded operands: none, AVX512-BF16 and VNNI, or AMX.
enum class Rounding : int32_t { none, dot, tiles };
// The best at this level. The first call that finds AMX asks the kernel for its registers, once for the
// whole process (arch_prctl); where it refuses there is `dot`.
Rounding best_rounding(Isa isa);
// In this build and on this CPU.
bool rounding_available(Rounding rounding);
// Whether products of bf16 pairs are faster than widening the weights: by AMX, and by AVX512-BF16 but for
// Intel's CPUs, where vdpbf16ps has half the rate of an FMA (measured: 0.5 a cycle against 2).
bool bf16_rounding_pays(Rounding rounding);
const char* rounding_name(Rounding rounding);
// Number of CPUs this process may use, at least 1.
int32_t cpu_count();

}  // namespace seqmix
