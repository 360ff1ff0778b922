// The Mamba block in double precision: the definition of correct. It shares nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Dense row-major arrays; shapes as checkpoints store them. Nullable: biases and norm weights.
struct MambaRef {
    int64_t T, D, E, N, K, R;
    bool inner_norm;
    double inner_norm_eps;
    const double* in_proj;                    // (2E,D): x rows, then z rows
    const double* in_proj_bias;               // (2E)
    const double* conv;                       // (E,K)
    const double* conv_bias;                  // (E)
    const double* x_proj;                     // (R+2N,E): dt, B, C
    const double* dt_proj;                    // (E,R)
    const double* dt_proj_bias;               // (E)
    const double* A_log;                      // (E,N)
    const double* skip;                       // (E)
    const double* out_proj;                   // (D,E)
    const double* out_proj_bias;              // (D)
    const double *dt_norm, *b_norm, *c_norm;  // (R), (N), (N)
    const double* u;                          // (T,D) input
    double* window;                           // (K-1,E) in and out, oldest first
    double* h;                                // (E,N) in and out
    double* y;                                // (T,D) output
    double* scratch;                          // (mamba_scratch())
};

inline int64_t mamba_scratch(int64_t E, int64_t N, int64_t R) { return 4 * E + 4 * N + R; }

void mamba(const MambaRef& p);

// One token up to the recurrence: what enters it. x, z, dt: (E); B, C: (N).
struct MambaToken {
    double *x, *z, *dt, *B, *C;
    double* scratch;  // (R+2N)
};
void mamba_token(const MambaRef& p, int64_t t, const MambaToken& out);

}  // namespace seqmix::reference
