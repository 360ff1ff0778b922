// Kernel table of aaren's recurrence, for one head of one row; the equation is in aaren.h.
//
// Lanes are columns of the values. Maxima are taken ahead for kWidth tokens at a time, so that their
// powers are one vector; a token's bits do not depend on where the tokens are cut. No scratch.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

struct AarenArgs {
    int64_t tokens, dv;
    const float* s;  // (tokens) scores
    ptrdiff_t s_stride;
    const float* v;  // (tokens, dv)
    ptrdiff_t v_stride;
    float *m, *u, *w;  // state: one number each, (dv); u = 0: empty
    float* y;          // (tokens, dv)
    ptrdiff_t y_stride;
};

struct AarenKernels {
    void (*scan)(const AarenArgs&);
};

SEQMIX_DECLARE_KERNELS(AarenKernels, aaren_kernels)

}  // namespace seqmix
