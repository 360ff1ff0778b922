#include "primitives/cauchy/reference.h"

#include <cmath>

namespace seqmix::reference {

void cauchy_sum(int64_t m, int64_t L, int64_t pairs, const double* poles, const double* v,
                double* r) {
    const double angle =
        -2 * 3.14159265358979323846 * static_cast<double>(m) / static_cast<double>(L);
    const double c = std::cos(angle), s = std::sin(angle);
    // 2 (1 - omega) / (1 + omega), as complex numbers.
    const double below = (1 + c) * (1 + c) + s * s;
    const double z_re = 2 * ((1 - c) * (1 + c) - s * s) / below;
    const double z_im = 2 * (-s * (1 + c) - (1 - c) * s) / below;
    r[0] = r[1] = 0;
    for (int64_t n = 0; n < pairs; ++n) {
        for (double half = 1; half >= -1; half -= 2) {
            const double d_re = z_re - poles[2 * n], d_im = z_im - half * poles[2 * n + 1];
            const double v_re = v[2 * n], v_im = half * v[2 * n + 1];
            const double size = d_re * d_re + d_im * d_im;
            r[0] += (v_re * d_re + v_im * d_im) / size;
            r[1] += (v_im * d_re - v_re * d_im) / size;
        }
    }
}

}  // namespace seqmix::reference
