// What hyena and monarch share at level reference, and for their mixing matrices.
#pragma once

#include <vector>

#include "contract/mixer.h"

namespace seqmix::mixers {

struct HyenaProjection {
    int64_t D, E, S;              // width, channels after in_proj, taps of the short filter
    const double *W, *b;          // in_proj (E,D), (E)
    const double *taps, *shifts;  // short filter (E,S), (E)
};

// u (T,E) of the segments of a step from z = in_proj(x), (T,E): through the windows of the rows, the
// state tensor `state`, or, where `empty` (S-1,E) is given, from zeros in every segment.
void hyena_short_filters(const HyenaProjection& p, const Call& call, size_t state, double* empty,
                         const double* z, double* u);
// The same of one row from its start, with in_proj.
std::vector<double> hyena_project(const HyenaProjection& p, int64_t tokens, const double* x);

}  // namespace seqmix::mixers
