// The instruction set levels that kernels are compiled for, in rising order.
#pragma once

#include <cstdint>

namespace seqmix {

enum class Isa : int32_t { reference = 0, generic = 1, avx2 = 2, avx512 = 3 };

inline const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::reference: return "reference";
        case Isa::generic: return "generic";
        case Isa::avx2: return "avx2";
        case Isa::avx512: return "avx512";
    }
    return "unknown";
}

// Sets *isa and returns true when `name` is one of the four names; null is none of them.
inline bool parse_isa(const char* name, Isa* isa) {
    if (name == nullptr) return false;
    const Isa all[] = {Isa::reference, Isa::generic, Isa::avx2, Isa::avx512};
    for (const Isa candidate : all) {
        const char* a = name;
        const char* b = isa_name(candidate);
        while (*a != '\0' && *a == *b) {
            ++a;
            ++b;
        }
        if (*a == *b) {
            *isa = candidate;
            return true;
        }
    }
    return false;
}

}  // namespace seqmix
