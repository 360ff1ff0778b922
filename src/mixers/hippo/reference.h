// The HiPPO memory in double precision: the definition of correct, by dense matrices and, for every token of
// LegS, a solution or an exponential. It shares nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

enum class HippoMeasure : uint8_t { legs, legt, lagt, fout };

// Dense row-major arrays.
struct HippoRef {
    int64_t T, D, N;
    HippoMeasure measure;
    bool hold;        // zero-order hold, else
    double alpha;     // generalised bilinear: 0 forward Euler, 1/2, 1 backward Euler
    double dt;        // not of LegS
    double clock;     // LegS: tokens before the first
    const double* x;  // (T,D)
    double* c;        // (N,D) in and out
    double* y;        // (T,D,N)
    double* work;     // hippo_scratch(N)
};

int64_t hippo_scratch(int64_t N);
void hippo(const HippoRef& p);

}  // namespace seqmix::reference
