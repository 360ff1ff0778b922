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
// i8 has a factor for each row. q8_0 is ggml's: blocks of kQ8Block neighbours of a row, an f16 factor
// and then i8 each; rows are whole blocks.
enum class WeightType : int32_t { f32 = 0, bf16 = 1, f16 = 2, i8 = 3, q8_0 = 4 };
constexpr int64_t kQ8Block = 32, kQ8Bytes = 34;
// Bytes of so many elements of a row, from its begin on.
constexpr int64_t weight_bytes(WeightType type, int64_t count) {
    return type == WeightType::f32    ? count * 4
           : type == WeightType::i8   ? count
           : type == WeightType::q8_0 ? count / kQ8Block * kQ8Bytes
                                      : count * 2;
}
}  // namespace seqmix
