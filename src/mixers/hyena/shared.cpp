#include "mixers/hyena/shared.h"

#include "contract/recurrent.h"
#include "mixers/hyena/reference.h"

namespace seqmix::mixers {

void hyena_short_filters(const HyenaProjection& p, const Call& call, size_t state, double* empty,
                         const double* z, double* u) {
    for (int64_t r = 0; r < call.run_count; ++r) {
        const RowRun& run = call.runs[r];
        double* window = empty != nullptr ? empty : call.state<double>(state, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset || empty != nullptr) zero_columns(window, p.S - 1, p.E, 0, p.E);
            reference::hyena_short_filter(segment.count, p.E, p.S, z + segment.first * p.E, p.taps,
                                          p.shifts, window, u + segment.first * p.E);
        }
    }
}

std::vector<double> hyena_project(const HyenaProjection& p, int64_t tokens, const double* x) {
    const auto size = static_cast<size_t>(tokens * p.E);
    std::vector<double> z(size), u(size), window(static_cast<size_t>((p.S - 1) * p.E));
    reference::hyena_linear(tokens, p.D, p.E, x, p.W, p.b, z.data());
    reference::hyena_short_filter(tokens, p.E, p.S, z.data(), p.taps, p.shifts, window.data(),
                                  u.data());
    return u;
}

}  // namespace seqmix::mixers
