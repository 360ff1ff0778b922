// Primitives below the mixers, called as the library calls them: gemm at the shapes of a Mamba block
// of 130 million parameters; norms and elementwise maps, on one thread.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/isa.h"
#include "parallel/executor.h"
#include "plain/gemm.h"
#include "primitives/elementwise/kernel.h"
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
    }
    return bench::run_rows();
}
