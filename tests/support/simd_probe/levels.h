// The levels that kernel tests loop over: those that the build has and this machine runs.
#pragma once

#include <vector>

#include "base/isa.h"

namespace seqmix::test {

inline std::vector<Isa> built_levels() {
    std::vector<Isa> levels = {Isa::generic};
#ifdef SEQMIX_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        levels.push_back(Isa::avx2);
    }
#endif
#ifdef SEQMIX_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        levels.push_back(Isa::avx512);
    }
#endif
    return levels;
}

}  // namespace seqmix::test
