#include "primitives/long_conv/reference.h"

namespace seqmix::reference {

void long_conv(const LongConvArgs& a) {
    for (int64_t t = 0; t < a.tokens; ++t) {
        for (int64_t d = 0; d < a.channels; ++d) {
            double sum = 0;
            for (int64_t j = 0; j < a.taps && j <= t + a.past_rows; ++j) {
                const int64_t at = t - j;
                const double x = at >= 0 ? a.x[at * a.channels + d]
                                         : a.past[(a.past_rows + at) * a.channels + d];
                sum += a.k[d * a.taps + j] * x;
            }
            const int64_t next = a.after_from_next ? 1 : 0;
            for (int64_t j = 0; j < a.after_taps && t + next + j < a.tokens; ++j) {
                sum += a.after[d * a.after_taps + j] * a.x[(t + next + j) * a.channels + d];
            }
            a.y[t * a.channels + d] = sum;
        }
    }
}

}  // namespace seqmix::reference
