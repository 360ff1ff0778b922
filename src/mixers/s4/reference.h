// S4, S4D and DSS in double precision: the definition of correct. It shares nothing with the kernels:
// the DPLR system is discretised as a dense matrix, where the kernels use its structure.
#pragma once

#include <cstdint>

namespace seqmix::reference {

enum class S4Kind : uint8_t { diagonal, dplr, dss };
enum class S4Rule : uint8_t { zoh, bilinear, softmax, exp, exp_no_scale };
enum class S4Transform : uint8_t { none, exp, relu, sigmoid, softplus };

// Dense row-major arrays; complex numbers have a last axis of 2. Modes: M, one of each conjugate pair
// but for dss and `real`.
struct S4Ref {
    int64_t T, D, M, S, C, K, rank, step_columns, rows;  // rows: of output_linear, 0 = none
    S4Kind kind;
    S4Rule rule;
    S4Transform step_transform, real_transform, imag_transform;
    double imag_sign, rate;
    double factor;     // 2 for conjugate pairs
    double clip;       // dss: real parts are at most this
    int64_t l_kernel;  // dplr: C is C (I - A^l_kernel) where this is > 0
    int64_t length;    // softmax: normalised over so many tokens
    bool gelu, glu, bidirectional;
    const double* step;             // (D,step_columns), of dss (D,2)
    const double *A_real, *A_imag;  // (S,M)
    const double* B;                // (S,M,2), or null: 1
    const double* Cs;               // (K,D,M,2)
    const double* P;                // (rank,S,M,2)
    const double* skip;             // (C,D), or null
    const double *weight, *bias;    // (rows,C D), (rows)
    // Made by s4_prepare. a: (D,M,2), of dplr (D,M,2M,2).
    double *a, *b, *c;  // (D,M,2), (K,D,M,2)
    const double* x;    // (T,D)
    double* state;      // (2M,D): re and im of mode n are lines 2n and 2n+1
    double* y;          // (T,D) with output_linear, else (T,C,D)
    double* scratch;    // (C D + rows) of a token; bidirectional: T C D + rows + 2M D
};

int64_t s4_a_size(const S4Ref& p);           // doubles of a
int64_t s4_prepare_scratch(const S4Ref& p);  // doubles of `work`
void s4_prepare(const S4Ref& p, double* work);
int64_t s4_scratch(const S4Ref& p);
void s4(const S4Ref& p);

}  // namespace seqmix::reference
