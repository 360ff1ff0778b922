// Declaring and choosing kernel tables. A folder's kernel.h ends with
//   SEQMIX_DECLARE_KERNELS(SoftmaxKernels, softmax_kernels)
// inside namespace seqmix, its kernel.cpp (compiled once per level) defines the table as its one
// external symbol, and code outside the levels picks one:
//   const SoftmaxKernels* kernels = SEQMIX_SELECT_KERNELS(isa, softmax_kernels);
// A level that the build left out gives the next lower one; `reference` gives generic, since the
// reference is not a table.
#pragma once

#include "base/isa_safe.h"

#define SEQMIX_DECLARE_KERNELS(Type, table) \
    namespace generic {                     \
    extern const Type table;                \
    }                                       \
    namespace avx2 {                        \
    extern const Type table;                \
    }                                       \
    namespace avx512 {                      \
    extern const Type table;                \
    }

// A table that is compiled twice more at avx512, for products of rounded operands: with AVX512-BF16 and
// VNNI (SEQMIX_DOT), and with AMX (SEQMIX_TILES). base/cpu.h says which a CPU has.
#define SEQMIX_DECLARE_ROUNDING_KERNELS(Type, table) \
    namespace avx512_dot {                           \
    extern const Type table;                         \
    }                                                \
    namespace avx512_tiles {                         \
    extern const Type table;                         \
    }
#ifdef SEQMIX_HAVE_AVX512
#define SEQMIX_SELECT_ROUNDING_KERNELS(rounding, isa, table)                  \
    ((rounding) == ::seqmix::Rounding::tiles ? &::seqmix::avx512_tiles::table \
     : (rounding) == ::seqmix::Rounding::dot ? &::seqmix::avx512_dot::table   \
                                             : SEQMIX_SELECT_KERNELS(isa, table))
#else
#define SEQMIX_SELECT_ROUNDING_KERNELS(rounding, isa, table) SEQMIX_SELECT_KERNELS(isa, table)
#endif

#ifdef SEQMIX_HAVE_AVX2
#define SEQMIX_TABLE_AVX2(table) (&::seqmix::avx2::table)
#else
#define SEQMIX_TABLE_AVX2(table) (&::seqmix::generic::table)
#endif

#ifdef SEQMIX_HAVE_AVX512
#define SEQMIX_TABLE_AVX512(table) (&::seqmix::avx512::table)
#else
#define SEQMIX_TABLE_AVX512(table) SEQMIX_TABLE_AVX2(table)
#endif

// Needs base/isa.h, which code compiled per level does not include.
#define SEQMIX_SELECT_KERNELS(isa, table)                        \
    ((isa) == ::seqmix::Isa::avx512 ? SEQMIX_TABLE_AVX512(table) \
     : (isa) == ::seqmix::Isa::avx2 ? SEQMIX_TABLE_AVX2(table)   \
                                    : (&::seqmix::generic::table))
