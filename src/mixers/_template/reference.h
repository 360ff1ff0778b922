// The leaky integrator in double precision: the definition of correct. It shares nothing with the
// kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Dense row-major arrays.
// CHANGE: the sizes and arrays of your equation; weights as checkpoints store them.
struct TemplateRef {
    int64_t T, D;
    const double* decay_logit;  // (D)
    const double* x;            // (T,D)
    double* h;                  // (D) in and out
    double* y;                  // (T,D)
};

void integrate_template(const TemplateRef& p);

}  // namespace seqmix::reference
