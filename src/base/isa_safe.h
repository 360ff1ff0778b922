// The only base header that code compiled per instruction set may include.
// Nothing here has linkage that could be merged at link time (house rule: no weak or unique
// symbol in an ISA object).
#pragma once

#include <cstddef>
#include <cstdint>

// Name of the level this translation unit is compiled for; CMake passes it for kernel*.cpp files.
#ifndef SEQMIX_ISA
#define SEQMIX_ISA generic
#endif

#if defined(__GNUC__) || defined(__clang__)
#define SEQMIX_INLINE inline __attribute__((always_inline))
#define SEQMIX_RESTRICT __restrict__
#else
#define SEQMIX_INLINE inline
#define SEQMIX_RESTRICT
#endif

// Checks inside kernels: active in debug builds, compiled out in release ones. A failing check
// traps (it is a defect of this library, never of its caller).
#ifdef SEQMIX_DEBUG
#define SEQMIX_DCHECK(condition) \
    do {                         \
        if (!(condition)) {      \
            __builtin_trap();    \
        }                        \
    } while (0)
#else
#define SEQMIX_DCHECK(condition) \
    do {                         \
    } while (0)
#endif

// Storage type of a weight matrix, as kernels see it.
namespace seqmix {
// i8 has a factor for each row.
enum class WeightType : int32_t { f32 = 0, bf16 = 1, f16 = 2, i8 = 3 };
constexpr int64_t weight_size(WeightType type) {
    return type == WeightType::f32 ? 4 : type == WeightType::i8 ? 1 : 2;
}
}  // namespace seqmix
