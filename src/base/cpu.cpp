#include "base/cpu.h"

#include <thread>

namespace seqmix {

bool isa_available(Isa isa) {
    switch (isa) {
        case Isa::reference:
        case Isa::generic: return true;
        case Isa::avx2:
#ifdef SEQMIX_HAVE_AVX2
            // The builtins check xgetbv too: the operating system must save the registers.
            // Every CPU with AVX2 has F16C, which older compilers cannot ask for.
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
            return false;
#endif
        case Isa::avx512:
#ifdef SEQMIX_HAVE_AVX512
            return isa_available(Isa::avx2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
#else
            return false;
#endif
    }
    return false;
}

Isa best_isa() {
    for (const Isa isa : {Isa::avx512, Isa::avx2}) {
        if (isa_available(isa)) {
            return isa;
        }
    }
    return Isa::generic;
}

bool dot_available() {
#ifdef SEQMIX_HAVE_AVX512
    return isa_available(Isa::avx512) && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

int32_t cpu_count() {
    const unsigned count = std::thread::hardware_concurrency();
    return count == 0 ? 1 : static_cast<int32_t>(count);
}

}  // namespace seqmix
