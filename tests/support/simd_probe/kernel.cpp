#include "kernel.h"

#include "simd/math.h"
#include "simd/unroll.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

template <typename Function>
SEQMIX_INLINE void map(const float* in, float* out, int64_t n, const Function& function) {
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) store(out + i, function(load(in + i)));
    if (i < n) store_n(out + i, function(load_n(in + i, n - i)), n - i);
}

#define SEQMIX_PROBE_MAP(name, expression)                                      \
    void probe_##name(const float* in, float* out, int64_t n) {                 \
        map(in, out, n, [](Vec x) SEQMIX_INLINE_LAMBDA { return expression; }); \
    }
SEQMIX_PROBE_MAP(exp2_fast, exp2_fast(x, set1(1.0f)))
SEQMIX_PROBE_MAP(softplus_fast, softplus_fast(x))
SEQMIX_PROBE_MAP(silu_fast, silu_fast(x))
SEQMIX_PROBE_MAP(exp2, exp2(x))
SEQMIX_PROBE_MAP(exp, exp(x))
SEQMIX_PROBE_MAP(log, log(x))
SEQMIX_PROBE_MAP(log1p_unit, log1p_unit(x))
SEQMIX_PROBE_MAP(softplus, softplus(x))
SEQMIX_PROBE_MAP(sigmoid, sigmoid(x))
SEQMIX_PROBE_MAP(silu, silu(x))
SEQMIX_PROBE_MAP(tanh, tanh(x))
SEQMIX_PROBE_MAP(erf, erf(x))
SEQMIX_PROBE_MAP(gelu, gelu(x))
SEQMIX_PROBE_MAP(rsqrt, rsqrt(x))
SEQMIX_PROBE_MAP(sqrt, sqrt(x))
SEQMIX_PROBE_MAP(reciprocal_fast, reciprocal_fast(x))
SEQMIX_PROBE_MAP(round_nearest, round_nearest(x))
SEQMIX_PROBE_MAP(negate, -x)
SEQMIX_PROBE_MAP(abs, abs(x))
#undef SEQMIX_PROBE_MAP

template <bool kSine>
void probe_sincos(const float* in, float* out, int64_t n) {
    map(in, out, n, [](Vec x) SEQMIX_INLINE_LAMBDA {
        Vec s, c;
        sincos(x, s, c);
        return kSine ? s : c;
    });
}

void probe_load_bf16(const uint16_t* in, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) store(out + i, load_bf16(in + i));
    if (i < n) store_n(out + i, load_bf16_n(in + i, n - i), n - i);
}
void probe_load_f16(const uint16_t* in, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) store(out + i, load_f16(in + i));
    if (i < n) store_n(out + i, load_f16_n(in + i, n - i), n - i);
}
void probe_load_n(const float* in, float* out, int64_t n) { store(out, load_n(in, n)); }
void probe_store_n(const float* in, float* out, int64_t n) { store_n(out, load(in), n); }
void probe_load_m(const float* in, float* out, int64_t n) { store(out, load_m(in, first_n(n))); }
void probe_store_m(const float* in, float* out, int64_t n) { store_m(out, load(in), first_n(n)); }
void probe_load_bf16_n(const uint16_t* in, float* out, int64_t n) {
    store(out, load_bf16_n(in, n));
}
void probe_load_f16_n(const uint16_t* in, float* out, int64_t n) { store(out, load_f16_n(in, n)); }

void probe_transpose(const float* in, float* out) {
    Vec tile[kWidth];
    unroll<kWidth>([&](auto i) SEQMIX_INLINE_LAMBDA { tile[i] = load(in + i * kWidth); });
    store(out + kWidth * kWidth, reverse(tile[0]));
    transpose(tile);
    unroll<kWidth>([&](auto i) SEQMIX_INLINE_LAMBDA { store(out + i * kWidth, tile[i]); });
}
void probe_scale_exp2(const float* a, const float* e, float* out) {
    store(out, scale_exp2(load(a), load(e)));
}
void probe_arithmetic(const float* pa, const float* pb, const float* pc, float* out) {
    const Vec a = load(pa);
    const Vec b = load(pb);
    const Vec c = load(pc);
    const Vec results[] = {a + b,
                           a - b,
                           a * b,
                           a / b,
                           fma(a, b, c),
                           fms(a, b, c),
                           fnma(a, b, c),
                           min(a, b),
                           max(a, b),
                           select(lt(a, b), a, b),
                           select(le(a, b), a, b),
                           select(gt(a, b), a, b),
                           select(ge(a, b), a, b),
                           select(eq(a, b), a, b)};
    unroll<14>([&](auto i) SEQMIX_INLINE_LAMBDA { store(out + i * kWidth, results[i]); });
}
void probe_reduce(const float* a, float* out) {
    const Mask positive = gt(load(a), zero());
    out[0] = reduce_add(load(a));
    out[1] = reduce_max(load(a));
    out[2] = any(positive) ? 1.0f : 0.0f;
    out[3] = all(positive) ? 1.0f : 0.0f;
}

}  // namespace

extern const SimdProbeKernels simd_probe_kernels;
const SimdProbeKernels simd_probe_kernels = {kWidth,
                                             probe_exp2_fast,
                                             probe_softplus_fast,
                                             probe_silu_fast,
                                             probe_exp2,
                                             probe_exp,
                                             probe_log,
                                             probe_log1p_unit,
                                             probe_softplus,
                                             probe_sigmoid,
                                             probe_silu,
                                             probe_tanh,
                                             probe_erf,
                                             probe_gelu,
                                             probe_rsqrt,
                                             probe_sqrt,
                                             probe_sincos<true>,
                                             probe_sincos<false>,
                                             probe_reciprocal_fast,
                                             probe_round_nearest,
                                             probe_negate,
                                             probe_abs,
                                             probe_load_bf16,
                                             probe_load_f16,
                                             probe_load_n,
                                             probe_store_n,
                                             probe_load_m,
                                             probe_store_m,
                                             probe_load_bf16_n,
                                             probe_load_f16_n,
                                             probe_transpose,
                                             probe_scale_exp2,
                                             probe_arithmetic,
                                             probe_reduce};

}  // namespace seqmix::SEQMIX_ISA
