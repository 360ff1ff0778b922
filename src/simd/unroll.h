// Loops over a compile-time count, unrolled in the front end: the body sees each index as a
// constant, so arrays of Vec indexed by it become registers under every compiler (g++ 12 keeps
// arrays in memory when a loop is unrolled later).
//
//   unroll<4>([&](auto i) SEQMIX_INLINE_LAMBDA { acc[i] = fma(a, b[i], acc[i]); });
#pragma once

#include "base/isa_safe.h"

#define SEQMIX_INLINE_LAMBDA __attribute__((always_inline))

namespace seqmix::SEQMIX_ISA {
namespace {

template <int kValue>
struct Index {
    static constexpr int value = kValue;
    SEQMIX_INLINE constexpr operator int() const { return kValue; }
};

template <int kCount, int kFirst = 0, typename Body>
SEQMIX_INLINE void unroll(const Body& body) {
    if constexpr (kFirst < kCount) {
        body(Index<kFirst>{});
        unroll<kCount, kFirst + 1>(body);
    }
}

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
