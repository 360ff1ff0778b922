// Rows a fixed distance apart, read together by a register tile.
#pragma once

#include "base/isa_safe.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// The addresses of kRows rows: a pointer to every fourth and two distances. Opaque, or compilers keep
// a pointer for each, in vector registers and on the stack.
template <int kRows, typename Byte = const unsigned char>
struct RowPointers {
    Byte* every4[(kRows + 3) / 4];
    ptrdiff_t step, step3;

    SEQMIX_INLINE RowPointers(Byte* p, ptrdiff_t row) : step(row), step3(3 * row) {
        asm("" : "+r"(step), "+r"(step3));
#pragma GCC unroll 6
        for (int g = 0; g < (kRows + 3) / 4; ++g) {
            every4[g] = p + 4 * g * row;
            asm("" : "+r"(every4[g]));
        }
    }
    SEQMIX_INLINE Byte* at(int row) const {
        return every4[row / 4] + (row % 4 == 3 ? step3 : row % 4 * step);
    }
    SEQMIX_INLINE void advance(ptrdiff_t bytes) {
#pragma GCC unroll 6
        for (int g = 0; g < (kRows + 3) / 4; ++g) {
            every4[g] += bytes;
            asm("" : "+r"(every4[g]));
        }
    }
};

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
