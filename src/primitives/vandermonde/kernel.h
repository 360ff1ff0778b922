// Kernel table of Vandermonde products; equation and form are in vandermonde.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

constexpr int64_t kVandermondeBlock = 128;  // powers of a table

// K_l = Re sum_n c_n w_n^l. Numbers come in double: planes of `modes`.
struct VandermondeArgs {
    int64_t length, modes;
    const double *w_re, *w_im, *c_re, *c_im;  // (modes)
    float* K;                                 // (length)
    float* scratch;  // vandermonde_scratch(length, modes) floats, at a line
};

struct VandermondeKernels {
    int32_t width;
    void (*vandermonde)(const VandermondeArgs&);
};

SEQMIX_DECLARE_KERNELS(VandermondeKernels, vandermonde_kernels)

}  // namespace seqmix
