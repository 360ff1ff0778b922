#include "mixers/_template/reference.h"

#include <cmath>

namespace seqmix::reference {

// h_t = a h_{t-1} + (1 - a) x_t, y_t = h_t
// CHANGE: the paper's equation, one token after the other, as it is printed. Nothing clever: every
// level is compared with this. It includes its own header and <cmath> only.
void integrate_template(const TemplateRef& p) {
    for (int64_t t = 0; t < p.T; ++t) {
        for (int64_t d = 0; d < p.D; ++d) {
            const double a = 1.0 / (1.0 + std::exp(-p.decay_logit[d]));
            p.h[d] = a * p.h[d] + (1.0 - a) * p.x[t * p.D + d];
            p.y[t * p.D + d] = p.h[d];
        }
    }
}

}  // namespace seqmix::reference
