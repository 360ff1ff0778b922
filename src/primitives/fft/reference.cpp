#include "primitives/fft/reference.h"

#include <cmath>

namespace seqmix::reference {
namespace {

struct Sum {
    double sum = 0, lost = 0;
    void add(double x) {
        const double next = sum + x;
        lost += std::fabs(sum) >= std::fabs(x) ? (sum - next) + x : (x - next) + sum;
        sum = next;
    }
    double value() const { return sum + lost; }
};

// cos and sin of 2 pi m / n, 0 <= m < n: by quarters, each from an angle in [-pi/4, pi/4].
void unit(int64_t m, int64_t n, double* c, double* s) {
    const int64_t quarter = (4 * m + n / 2) / n;  // nearest
    const double angle =
        1.57079632679489661923 * static_cast<double>(4 * m - quarter * n) / static_cast<double>(n);
    const double x = std::cos(angle), y = std::sin(angle);
    switch (quarter % 4) {
        case 0: *c = x, *s = y; break;
        case 1: *c = -y, *s = x; break;
        case 2: *c = -x, *s = -y; break;
        default: *c = y, *s = -x; break;
    }
}

}  // namespace

void dft_bin(int64_t n, const double* re, const double* im, int64_t k, bool inverse, double* out_re,
             double* out_im) {
    Sum sum_re, sum_im;
    int64_t m = 0;  // k t mod n
    for (int64_t t = 0; t < n; ++t) {
        double c, s;
        unit(m, n, &c, &s);
        if (!inverse) s = -s;
        sum_re.add(re[t] * c);
        sum_im.add(re[t] * s);
        if (im != nullptr) {
            sum_re.add(-im[t] * s);
            sum_im.add(im[t] * c);
        }
        m += k;
        if (m >= n) m -= n;
    }
    *out_re = sum_re.value();
    *out_im = sum_im.value();
}

void dft(int64_t n, const double* re, const double* im, bool inverse, double* out_re,
         double* out_im) {
    for (int64_t k = 0; k < n; ++k) {
        dft_bin(n, re, im, k, inverse, out_re + k, out_im + k);
    }
}

}  // namespace seqmix::reference
