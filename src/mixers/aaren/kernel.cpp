// Aaren's recurrence (contract in kernel.h). Of the two powers of a token one is 1: the other is that of
// minus the distance between its score and the maximum so far.
#include "mixers/aaren/kernel.h"

#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

void scan(const AarenArgs& a) {
    float m = *a.m, u = *a.u;
    bool empty = u == 0;
    for (int64_t t = 0; t < a.tokens; t += kWidth) {
        const int64_t count = a.tokens - t < kWidth ? a.tokens - t : kWidth;
        float power[kWidth] = {};
        bool rises[kWidth] = {};
        for (int64_t i = 0; i < count; ++i) {
            const float s = a.s[(t + i) * a.s_stride];
            // What is not a number rises too, and stays.
            rises[i] = empty || !(s <= m);
            power[i] = empty ? -__builtin_inff() : rises[i] ? m - s : s - m;
            m = rises[i] ? s : m;
            empty = false;
        }
        store(power, exp(load(power)));
        for (int64_t i = 0; i < count; ++i) {
            const float old = rises[i] ? power[i] : 1.0f, fresh = rises[i] ? 1.0f : power[i];
            const float* v = a.v + (t + i) * a.v_stride;
            float* y = a.y + (t + i) * a.y_stride;
            u = u * old + fresh;
            const Vec keep = set1(old), add = set1(fresh), part = set1(1.0f / u);
            for (int64_t d = 0; d < a.dv; d += kWidth) {
                const Mask live = first_n(a.dv - d);
                const Vec w = fma(load_m(v + d, live), add, load_m(a.w + d, live) * keep);
                store_m(a.w + d, w, live);
                store_m(y + d, w * part, live);
            }
        }
    }
    *a.m = m;
    *a.u = u;
}

}  // namespace

extern const AarenKernels aaren_kernels = {scan};

}  // namespace seqmix::SEQMIX_ISA
