// Primitives below the mixers, called as the library calls them: gemm at the shapes of a Mamba block
// of 130 million parameters; norms, elementwise maps and Fourier transforms, on one thread.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <vector>

#include "base/isa.h"
#include "parallel/executor.h"
#include "plain/fft.h"
#include "plain/gemm.h"
#include "primitives/elementwise/kernel.h"
#include "primitives/fft/fft.h"
#include "primitives/gemm/gemm.h"
#include "primitives/norm/kernel.h"
#include "seqmix/seqmix.h"
#include "support/rows.h"

namespace seqmix::bench {

namespace {

std::vector<float> numbers(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    uint32_t state = 12345;
    for (float& value : values) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    return values;
}

struct GemmShape {
    const char* what;
    int64_t m, n, k;
};

const GemmShape kGemms[] = {
    {"in_proj", 512, 3072, 768}, {"out_proj", 512, 768, 1536}, {"x_proj", 512, 80, 1536},
    {"dt_proj", 512, 1536, 48},  {"in_proj", 16, 3072, 768},   {"out_proj", 16, 768, 1536},
    {"x_proj", 16, 80, 1536},    {"dt_proj", 16, 1536, 48},    {"in_proj", 8, 3072, 768},
    {"in_proj", 1, 3072, 768},   {"lm_head", 1, 50280, 768},   {"odd", 511, 509, 503},
};

// As a layer runs it: item after item, each on the worker that is free.
void add_gemm(const std::string& isa_name, const GemmKernels& kernels, const GemmShape& shape) {
    const auto m = static_cast<double>(shape.m), n = static_cast<double>(shape.n),
               k = static_cast<double>(shape.k);
    const bool few_rows = shape.m < 4;
    add_row({.name = "gemm/" + isa_name + "/" + shape.what + "_M" + std::to_string(shape.m) + "_N" +
                     std::to_string(shape.n) + "_K" + std::to_string(shape.k),
             .isa = isa_name,
             .work = {.flops = 2 * m * n * k, .bytes = 4 * (n * k + m * k + m * n)},
             .limit = few_rows ? Limit::read : Limit::fma,
             .make = [shape, few_rows, kernels = &kernels] {
                 struct Data {
                     std::vector<float> x, w, y, scratch;
                     Executor executor{arguments().threads};
                 };
                 const auto data = std::make_shared<Data>();
                 data->x = numbers(shape.m * shape.k);
                 data->w = numbers(shape.n * shape.k);
                 data->y = numbers(shape.m * shape.n);
                 data->scratch.resize(static_cast<size_t>(kernels->scratch_floats) *
                                      data->executor.workers());
                 GemmArgs args{};
                 args.m = shape.m;
                 args.n = shape.n;
                 args.k = shape.k;
                 args.x = data->x.data();
                 args.x_stride = shape.k;
                 args.w = data->w.data();
                 args.w_stride = shape.k;
                 args.y = data->y.data();
                 args.y_stride = shape.n;
                 args.scratch = data->scratch.data();
                 Job job;
                 job.run = [data, args, kernels] {
                     const auto item = [&](size_t i, size_t worker) {
                         GemmArgs mine = args;
                         mine.scratch += static_cast<int64_t>(worker) * kernels->scratch_floats;
                         gemm_work_item(mine, *kernels, static_cast<int64_t>(i));
                     };
                     const auto task = [](void* arg, size_t i, size_t worker) {
                         (*static_cast<decltype(item)*>(arg))(i, worker);
                     };
                     const int64_t items = gemm_work_items(args.m, args.n, args.k, *kernels);
                     data->executor.run(static_cast<size_t>(items), task,
                                        const_cast<void*>(static_cast<const void*>(&item)));
                     benchmark::DoNotOptimize(data->y.data());
                 };
                 if (!few_rows) {
                     const auto transposed =
                         std::make_shared<std::vector<float>>(numbers(shape.n * shape.k));
                     job.plain = [data, transposed, shape] {
                         plain::gemm(shape.m, shape.n, shape.k, data->x.data(), transposed->data(),
                                     data->y.data());
                         benchmark::DoNotOptimize(data->y.data());
                     };
                 }
                 return job;
             }});
}

struct Maps {
    std::vector<float> a, b, y;
};

void add_map(const std::string& name, const std::string& isa, double flops, double arrays,
             int64_t rows, int64_t width, std::function<void(Maps&)> run) {
    const auto count = static_cast<double>(rows * width);
    add_row(
        {.name = name + "/" + isa + "/B1_T" + std::to_string(rows) + "_D" + std::to_string(width),
         .isa = isa,
         .work = {.flops = flops * count, .bytes = 4 * arrays * count},
         .limit = Limit::copy,
         .make = [=] {
             const auto data = std::make_shared<Maps>();
             data->a = numbers(rows * width);
             data->b = numbers(rows * width);
             data->y = numbers(rows * width);
             return Job{.run = [data, run] { run(*data); }, .plain = {}};
         }});
}

void add_maps(const std::string& isa, const ElementwiseKernels& maps, const NormKernels& norms) {
    constexpr int64_t kRows = 2048, kWidth = 768;
    add_map("softplus", isa, 30, 2, kRows, kWidth, [&maps](Maps& d) {
        maps.softplus(kRows, kWidth, d.a.data(), kWidth, d.y.data(), kWidth);
    });
    add_map("mul_silu", isa, 25, 3, kRows, kWidth, [&maps](Maps& d) {
        maps.mul_silu(kRows, kWidth, d.a.data(), kWidth, d.b.data(), kWidth, d.y.data(), kWidth);
    });
    add_map("add", isa, 1, 3, kRows, kWidth, [&maps](Maps& d) {
        maps.add(kRows, kWidth, d.a.data(), kWidth, d.b.data(), kWidth, d.y.data(), kWidth);
    });
    add_map("transpose", isa, 0, 2, kRows, kWidth, [&maps](Maps& d) {
        maps.transpose(kRows, kWidth, d.a.data(), 1, kRows, d.y.data(), kWidth, 1);
    });
    const auto norm = [](Maps& d) {
        NormArgs args{};
        args.rows = kRows;
        args.width = kWidth;
        args.x = d.a.data();
        args.x_stride = kWidth;
        args.weight = d.b.data();
        args.eps = 1e-5f;
        args.y = d.y.data();
        args.y_stride = kWidth;
        return args;
    };
    add_map("rms_norm", isa, 4, 2, kRows, kWidth,
            [&norms, norm](Maps& d) { norms.rms_norm(norm(d)); });
    add_map("layer_norm", isa, 6, 2, kRows, kWidth,
            [&norms, norm](Maps& d) { norms.layer_norm(norm(d)); });
}

// A transform of n points of D channels, 5 n log2 n operations each and half of that for reals; the
// plain one has every channel dense. A convolution of T inputs with T taps: two real transforms of
// n = 2T and 6 T for the product.
enum class FftKind { complex, real, convolve };

struct FftData {
    FftData(int64_t n, const FftKernels& kernels) : complex(n, kernels, {}), real(n, kernels, {}) {}
    Fft<float> complex;
    RealFft<float> real;
    Array<float> x, y, filter, scratch;
    std::vector<std::complex<float>> roots, plain, tmp;
};

void add_fft(const std::string& isa, const FftKernels& kernels, FftKind kind, int64_t n,
             int64_t D) {
    const double points = static_cast<double>(n * D), log = std::log2(static_cast<double>(n));
    const char* names[] = {"complex", "real", "convolve"};
    const double flops[] = {5 * points * log, 2.5 * points * log, 5 * points * log + 3 * points};
    const double bytes[] = {16 * points, 8 * points, 4 * points};
    const auto k = static_cast<size_t>(kind);
    add_row({.name = "fft/" + isa + "/" + names[k] + "/n" + std::to_string(n) + "_D" +
                     std::to_string(D),
             .isa = isa,
             .work = {.flops = flops[k], .bytes = bytes[k]},
             .tokens = kind == FftKind::convolve ? points / 2 : 0,
             .make = [kind, n, D, kernels = &kernels] {
                 const auto d = std::make_shared<FftData>(n, *kernels);
                 const std::vector<float> values = numbers(2 * n * D);
                 d->x = Array<float>(2 * n * D, {});
                 std::copy(values.begin(), values.end(), d->x.data());
                 d->y = Array<float>(2 * n * D + 4 * D, {});
                 d->scratch = Array<float>(std::max(d->complex.scratch(D), d->real.scratch(D)), {});
                 d->roots = plain::fft_roots(n);
                 d->plain.resize(static_cast<size_t>(n));
                 d->tmp.resize(static_cast<size_t>(n));
                 if (kind == FftKind::convolve) {
                     d->filter = Array<float>(d->real.filter_size(D), {});
                     d->real.make_filter(d->x.data(), n / 2, D, D, d->filter.data(),
                                         d->scratch.data());
                 }
                 Job job;
                 job.run = [d, kind, n, D] {
                     const float* x = d->x.data();
                     float* y = d->y.data();
                     const int64_t plane = kind == FftKind::complex ? n * D : (n / 2 + 1) * D;
                     const FftOutput<float> out = {y, y + plane, D, plane / D, plane / D};
                     if (kind == FftKind::complex) {
                         d->complex.forward({x, x + n * D, D, n, n}, out, D, d->scratch.data());
                     } else if (kind == FftKind::real) {
                         d->real.forward(x, n, D, out, D, d->scratch.data());
                     } else {
                         d->real.convolve(x, n / 2, D, d->filter.data(), y, n / 2, D, D,
                                          d->scratch.data());
                     }
                     benchmark::DoNotOptimize(y);
                 };
                 if (kind == FftKind::complex) {
                     job.plain = [d, n, D] {
                         for (int64_t i = 0; i < D; ++i) {
                             std::fill(d->plain.begin(), d->plain.end(), 1.0f);
                             plain::fft(n, d->plain.data(), d->roots.data(), d->tmp.data());
                             benchmark::DoNotOptimize(d->plain.data());
                         }
                     };
                 }
                 return job;
             }});
}

bool available(const char* isa) {
    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.threads = 1;
    options.isa = isa;
    seqmix_context* context = nullptr;
    const bool ok = seqmix_context_create(&options, &context) == SEQMIX_OK;
    seqmix_context_release(context);
    return ok;
}

}  // namespace

}  // namespace seqmix::bench

int main(int argc, char** argv) {
    using namespace seqmix;
    const bool one_thread = bench::parse_arguments(argc, argv).threads == 1;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        const char* name = isa_name(isa);
        if (!bench::wanted(name) || !bench::available(name)) {
            continue;
        }
        for (const bench::GemmShape& shape : bench::kGemms) {
            bench::add_gemm(name, *SEQMIX_SELECT_KERNELS(isa, gemm_kernels), shape);
        }
        if (!one_thread) {
            continue;  // maps have no work items of their own
        }
        bench::add_maps(name, *SEQMIX_SELECT_KERNELS(isa, elementwise_kernels),
                        *SEQMIX_SELECT_KERNELS(isa, norm_kernels));
        for (const auto kind :
             {bench::FftKind::complex, bench::FftKind::real, bench::FftKind::convolve}) {
            for (const int64_t n : {256, 1024, 4096, 16384, 65536}) {
                for (const int64_t channels : {1, 16, 256}) {
                    bench::add_fft(name, *SEQMIX_SELECT_KERNELS(isa, fft_kernels), kind, n,
                                   channels);
                }
            }
        }
    }
    return bench::run_rows();
}
