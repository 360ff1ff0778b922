// Attention in double precision: the definition of correct. It shares nothing with the kernels.
#pragma once

#include <cstdint>

namespace seqmix::reference {

// Dense row-major arrays of one head.
struct AttentionRef {
    int64_t queries, keys, dk, dv;
    const double* q;  // (queries, dk)
    const double* k;  // (keys, dk)
    const double* v;  // (keys, dv)
    double scale = 1, softcap = 0;
    int64_t position = 0;           // of query 0; query i is at position + i
    int64_t left = -1, right = -1;  // -1: no bound
    double slope = 0;
    const double* sink = nullptr;         // one number, or null
    const double* bias = nullptr;         // (queries, keys) or null
    const unsigned char* mask = nullptr;  // (queries, keys): 0 hides; or null
    double* y = nullptr;                  // (queries, dv)
    double* lse = nullptr;                // (queries) or null
    double* weights = nullptr;            // (queries, keys), the mixing matrix; or null
};

void attention(const AttentionRef& p);
// The score of query i and key j before the softmax; -inf where the key is hidden.
double attention_score(const AttentionRef& p, int64_t i, int64_t j);

}  // namespace seqmix::reference
