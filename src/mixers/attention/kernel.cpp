// Urpe's attention (contract in kernel.h): the running softmax with a second factor on the weights that
// the sum below the fraction does not have.
#include "mixers/attention/kernel.h"

#include "simd/math.h"

namespace seqmix::SEQMIX_ISA {
namespace {

constexpr float kLog2e = 1.44269504f;

float dot(int64_t width, const float* a, const float* b) {
    Vec sum = zero();
    for (int64_t d = 0; d < width; d += kWidth) {
        sum = fma(load_n(a + d, width - d), load_n(b + d, width - d), sum);
    }
    return reduce_add(sum);
}

float power(float x) {
    float lanes[kWidth];
    store(lanes, exp2_fast(set1(x), set1(1.0f)));
    return lanes[0];
}

struct Running {
    float most = -__builtin_inff(), sum = 0;
};

// Keys [first, first + count) of one block.
void block(const UrpeArgs& a, int64_t first, int64_t count, Running& now, float* out) {
    float* s = a.scratch;
    float most = now.most;
    for (int64_t j = 0; j < count; ++j) {
        const float score = dot(a.dk, a.q, a.k + (first + j) * a.k_stride) * a.scale;
        s[j] = (score + a.bias[first + j - a.position]) * kLog2e;
        most = s[j] > most || s[j] != s[j] ? s[j] : most;
    }
    const float shrink = power(now.most - most);
    now.most = most;
    now.sum *= shrink;
    for (int64_t d = 0; d < a.dv; d += kWidth) {
        store_n(out + d, load_n(out + d, a.dv - d) * set1(shrink), a.dv - d);
    }
    for (int64_t j = 0; j < count; ++j) {
        const float weight = power(s[j] - most);
        now.sum += weight;
        const Vec x = set1(weight * a.factor[first + j - a.position]);
        const float* v = a.v + (first + j) * a.v_stride;
        for (int64_t d = 0; d < a.dv; d += kWidth) {
            const int64_t n = a.dv - d;
            store_n(out + d, fma(load_n(v + d, n), x, load_n(out + d, n)), n);
        }
    }
}

void attend(const UrpeArgs& a) {
    float* out = a.scratch + kUrpeBlock;
    Running now;
    for (int64_t d = 0; d < a.dv; ++d) out[d] = 0;
    for (int64_t first = 0; first < a.keys; first += kUrpeBlock) {
        block(a, first, a.keys - first < kUrpeBlock ? a.keys - first : kUrpeBlock, now, out);
    }
    const Vec factor = set1(1 / now.sum);
    for (int64_t d = 0; d < a.dv; d += kWidth) {
        store_n(a.y + d, load_n(out + d, a.dv - d) * factor, a.dv - d);
    }
}

}  // namespace

extern const UrpeKernels urpe_kernels = {attend};

}  // namespace seqmix::SEQMIX_ISA
