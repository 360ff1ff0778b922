// Aaren in double precision, from the paper's recurrence, for one head; shares nothing with the kernel.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// s_t = q . k_t scale.
double aaren_score(int64_t dk, const double* q, const double* k, double scale);

// One token: (m, u, w) take in the score s and the value v (dv); y (dv) = w / u. u = 0: nothing so far.
void aaren_token(int64_t dv, double s, const double* v, double* m, double* u, double* w, double* y);

}  // namespace seqmix::reference
