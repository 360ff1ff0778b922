// One query of an attention layer in double precision, from the equation; it shares nothing with the
// kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

struct AttentionQuery {
    int64_t dk, dv;
    const double* q;      // (dk)
    const double *k, *v;  // line l at k + l k_stride, v + l v_stride
    int64_t k_stride, v_stride;
    int64_t lines = 0;          // key j is line j mod lines; 0: line j
    int64_t first, end;         // keys that it sees
    int64_t position;           // its own
    double scale, softcap = 0;  // 0: none
    double slope = 0;           // ALiBi: -slope |position - j|
    // Urpe: added to the scores, and factors of the weights after the softmax; entry j - position.
    const double *bias = nullptr, *factor = nullptr;
    double* weights = nullptr;  // by key, or null
    double* y;                  // (dv)
};

void attention_query(const AttentionQuery& p);

}  // namespace seqmix::reference
