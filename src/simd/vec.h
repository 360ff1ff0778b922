// One vector vocabulary for every instruction set level.
//
// Kernels are written once on `Vec` (f32 lanes, kWidth of them) and compiled once per level; the
// build passes SEQMIX_ISA (the bare name: generic, avx2, avx512) and SEQMIX_ISA_LEVEL (0, 1, 2).
// Everything here has internal linkage and is always inlined, in debug builds too, so that no
// function compiled for a higher level can win at link time.
//
//   Vec, Mask, IVec      f32 lanes; one truth value per lane; the same lanes as int32
//   load, store          any alignment
//   load_n, store_n      only the first n lanes touch memory; n <= 0 touches none and n >= kWidth
//                        is a full access; lanes >= n of a load are 0
//   first_n, load_m, store_m   the same with the mask made once, outside the loop
//   store_streamed       past the caches; p aligned to the vector. end_streamed() comes after the last
//                        one, before another thread may read
//   set1, zero, + - * /, unary -, fma(a,b,c) = a*b+c, fms(a,b,c) = a*b-c,
//                        fnma(a,b,c) = c-a*b
//                        (one rounding, except at generic: multiplication, then addition)
//   min, max             (a < b ? a : b) and (a > b ? a : b): b when either is NaN
//   abs, lt le gt ge eq -> Mask (false on NaN), any, all, select(m, a, b) = m ? a : b
//   reduce_add, reduce_max
//   load_bf16, load_f16 (and _n): 16-bit storage widened to f32, exactly (subnormals included)
//   round_nearest        to the integer, halves to even
//   floor_fraction       x - floor(x), 0 at +-inf (avx512 only: vreduceps, rounds down)
//   keep_together        an order of computation for compilers (avx512 only)
//   scale_exp2(x, e)     x * 2^e for a whole e of any size (overflow to inf, underflow to 0)
//   sqrt                 correctly rounded
//   reciprocal_fast(x)   1/x within 1.3e-7 for |x| in [1, 2^126)
//   reverse              lanes in the opposite order
//   transpose            kWidth vectors as a square tile, in registers
//   bits_of, from_bits and the integer operations that math.h needs
#pragma once

#include "base/isa_safe.h"

#ifndef SEQMIX_ISA_LEVEL
#define SEQMIX_ISA_LEVEL 0
#endif

#if SEQMIX_ISA_LEVEL == 2
#include "simd/vec_avx512.h"
#elif SEQMIX_ISA_LEVEL == 1
#include "simd/vec_avx2.h"
#elif SEQMIX_ISA_LEVEL == 0
#include "simd/vec_generic.h"
#else
#error "unknown SEQMIX_ISA_LEVEL"
#endif
