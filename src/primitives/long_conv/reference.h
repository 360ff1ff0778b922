// The long convolution in double precision, by its sums: the definition of correct. It shares nothing
// with the transforms.
#pragma once

#include <cstdint>

namespace seqmix::reference {

struct LongConvArgs {
    int64_t tokens, channels;
    int64_t taps;          // K
    const double* k;       // (D,K)
    int64_t after_taps;    // of k'; 0: causal
    const double* after;   // (D,after_taps)
    bool after_from_next;  // k'[0] meets the next token (pad_flip), not the current one
    const double* past;    // (past_rows,D), oldest first: inputs before x
    int64_t past_rows;
    const double* x;  // (T,D)
    double* y;        // (T,D), not x
};

// y = the sums of long_conv.h, in O(T K).
void long_conv(const LongConvArgs& args);

}  // namespace seqmix::reference
