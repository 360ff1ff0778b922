// Primitives below the mixers, called as the library calls them: gemm at the shapes of a Mamba model
// of 130 million parameters, cut into work items and run by the library's own pool; norms,
// elementwise maps and Fourier transforms on one thread. Products with few rows take turns in copies of the weights that no
// cache holds ("cold").
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "base/cpu.h"
#include "base/isa.h"
#include "base/memory.h"
#include "kernels_rows.h"
#include "long_conv_rows.h"
#include "parallel/executor.h"
#include "plain/fft.h"
#include "plain/gemm.h"
#include "primitives/elementwise/kernel.h"
#include "primitives/fft/fft.h"
#include "primitives/gemm/gemm.h"
#include "primitives/norm/kernel.h"
#include "seqmix/seqmix.h"
#include "support/limits.h"
#include "support/rows.h"

namespace seqmix::bench {

namespace {

// The library's own memory, scratch: at a cache line, large blocks in huge pages.
template <typename T>
struct OwnMemory {
    using value_type = T;
    OwnMemory() = default;
    template <typename U>
    explicit OwnMemory(const OwnMemory<U>&) {}
    T* allocate(size_t n) { return static_cast<T*>(Allocator().allocate(n * sizeof(T))); }
    void deallocate(T* p, size_t n) { Allocator().release(p, n * sizeof(T)); }
    bool operator==(const OwnMemory&) const = default;
};
using Floats = std::vector<float, OwnMemory<float>>;

// Memory of weights: at a cache line, in pages of the usual size, as a mapped file is.
template <typename T>
struct FileMemory : OwnMemory<T> {
    template <typename U>
    struct rebind {
        using other = FileMemory<U>;
    };
    T* allocate(size_t n) {
        return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64}));
    }
    void deallocate(T* p, size_t) { ::operator delete (p, std::align_val_t{64}); }
};
using WeightBytes = std::vector<unsigned char, FileMemory<unsigned char>>;

Floats numbers(int64_t count) {
    Floats values(static_cast<size_t>(count));
    uint32_t state = 12345;
    for (float& value : values) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    return values;
}

struct GemmShape {
    const char* what;
    int64_t n, k;
};

const GemmShape kGemms[] = {
    {"in_proj", 3072, 768}, {"out_proj", 768, 1536}, {"lm_head", 50280, 768},
    {"x_proj", 80, 1536},   {"dt_proj", 1536, 48},
};

// A product, its data, and the copies of its weights that runs take turns in.
class Gemm {
  public:
    Gemm(const GemmKernels& kernels, WeightType type, int64_t m, int64_t n, int64_t k, bool cold)
        : kernels_(kernels), executor_(arguments().threads) {
        x_ = numbers(m * k);
        y_.resize(static_cast<size_t>(m * n));
        args_.m = m;
        args_.n = n;
        args_.k = k;
        args_.x = x_.data();
        args_.x_stride = k;
        args_.w_stride = k;
        args_.w_type = type;
        scales_.assign(static_cast<size_t>(n), 1.0f / 127);
        args_.w_scale = scales_.data();
        sums_.resize(static_cast<size_t>(n));
        args_.w_sums = sums_.data();
        args_.rounded = type == WeightType::bf16 || type == WeightType::i8;
        args_.y = y_.data();
        args_.y_stride = n;
        split_ = gemm_split(m, n, k, kernels, executor_.workers());
        const Floats values = numbers(n * k);
        const auto count = static_cast<int64_t>(values.size());
        size_ = static_cast<size_t>(weight_bytes(type, count));
        const size_t copies =
            cold ? std::max(size_t{1},
                            static_cast<size_t>(cold_region() / static_cast<double>(size_)))
                 : 1;
        total_ = size_ * copies;
        WeightBytes& all = storage();
        if (all.size() < total_) {
            all.resize(total_);
        }
        for (size_t i = 0; i < values.size(); ++i) {
            uint32_t bits;
            std::memcpy(&bits, &values[i], sizeof bits);
            const auto q = static_cast<int8_t>(std::lrintf(values[i] * 127));
            if (type == WeightType::q8_0) {
                constexpr uint16_t factor = 0x2008;  // 1 / 127 in f16
                unsigned char* block = &all[i / kQ8Block * kQ8Bytes];
                std::memcpy(block, &factor, sizeof factor);
                std::memcpy(block + sizeof factor + i % kQ8Block, &q, sizeof q);
                continue;
            }
            const auto element = static_cast<size_t>(weight_bytes(type, 1));
            bits >>= type == WeightType::bf16 ? 16 : 0;  // little-endian, as the levels benched are
            std::memcpy(&all[i * element],
                        type == WeightType::i8 ? static_cast<const void*>(&q) : &bits, element);
            sums_[i / static_cast<size_t>(k)] += type == WeightType::i8 ? q : 0;
        }
        for (size_t i = 1; i < copies; ++i) {
            std::copy_n(all.begin(), size_, all.begin() + static_cast<ptrdiff_t>(i * size_));
        }
        part_ = (kernels.scratch_floats + 15) / 16 * 16;
        scratch_.resize(static_cast<size_t>(part_) * executor_.workers());
        executor_.start();
    }
    void run() {
        next_ += size_;
        next_ = next_ == total_ ? 0 : next_;
        args_.w = storage().data() + next_;
        executor_.run(
            static_cast<size_t>(split_.items()),
            [](void* self, size_t item, size_t worker) {
                static_cast<Gemm*>(self)->run_item(static_cast<int64_t>(item), worker);
            },
            this);
        benchmark::DoNotOptimize(y_.data());
    }
    float* y() { return y_.data(); }
    const float* x() const { return x_.data(); }

  private:
    // One for all rows, which run one after the other: taking and giving back a gigabyte each time
    // costs more than running them.
    static WeightBytes& storage() {
        static WeightBytes weights;
        return weights;
    }
    void run_item(int64_t item, size_t worker) {
        GemmArgs args = args_;
        args.scratch = scratch_.data() + static_cast<int64_t>(worker) * part_;
        gemm_work_item(args, kernels_, split_, item);
    }

    const GemmKernels& kernels_;
    Executor executor_;
    GemmArgs args_{};
    GemmSplit split_{};
    Floats x_, y_, scratch_, scales_;
    std::vector<int32_t> sums_;
    size_t size_ = 0, total_ = 0, next_ = 0;
    int64_t part_ = 0;
};

void add_gemm(const std::string& isa, const GemmKernels& kernels, WeightType type,
              const char* instructions, const char* what, int64_t m, int64_t n, int64_t k) {
    const auto rows = static_cast<double>(m), outputs = static_cast<double>(n),
               inputs = static_cast<double>(k);
    const bool cold = m < 4;
    Row row;
    const bool f32 = type == WeightType::f32;
    row.name = std::string(f32                        ? "gemm"
                           : type == WeightType::bf16 ? "gemm_bf16"
                           : type == WeightType::q8_0 ? "gemm_q8_0"
                                                      : "gemm_i8") +
               instructions + "/" + isa + "/" + what + "_M" + std::to_string(m) + "_N" +
               std::to_string(n) + "_K" + std::to_string(k);
    row.isa = isa;
    row.work = {.flops = 2 * rows * outputs * inputs,
                .bytes = static_cast<double>(weight_bytes(type, n * k)) +
                         4 * (rows * inputs + rows * outputs)};
    if (*instructions != '\0') {  // the same ports as FMA, twice or four times the elements
        row.work.slots_avx512 = rows * outputs * inputs / (type == WeightType::bf16 ? 32 : 64);
    }
    row.limit = cold ? Limit::read : Limit::fma;
    row.region = cold ? cold_region() : 0;
    row.make = [=, kernels = &kernels] {
        const auto gemm = std::make_shared<Gemm>(*kernels, type, m, n, k, cold);
        Job job{.run = [gemm] { gemm->run(); }, .plain = {}};
        // The plain loop of the head alone takes seconds.
        if (f32 && !cold && n < 10000 && arguments().threads == 1) {
            const auto transposed = std::make_shared<Floats>(numbers(n * k));
            job.plain = [=] {
                plain::gemm(m, n, k, gemm->x(), transposed->data(), gemm->y());
                benchmark::DoNotOptimize(gemm->y());
            };
        }
        return job;
    };
    add_row(std::move(row));
}

void add_gemms(const std::string& isa, const GemmKernels& kernels, WeightType type,
               const char* instructions) {
    for (const int64_t m : {int64_t{512}, int64_t{16}, int64_t{1}}) {
        for (const GemmShape& shape : kGemms) {
            const bool blocks = type != WeightType::q8_0 || shape.k % kQ8Block == 0;
            if (blocks && (isa != "generic" || m * shape.n < 10'000'000)) {  // seconds at generic
                add_gemm(isa, kernels, type, instructions, shape.what, m, shape.n, shape.k);
            }
        }
    }
    if (type != WeightType::q8_0) {
        add_gemm(isa, kernels, type, instructions, "odd", 511, 509, 503);
    }
}

struct Maps {
    Floats a, b, y;
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
                 const Floats values = numbers(2 * n * D);
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

}  // namespace

}  // namespace seqmix::bench

int main(int argc, char** argv) {
    using namespace seqmix;
    const bool alone = bench::parse_arguments(argc, argv).threads == 1;
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        const char* name = isa_name(isa);
        if (!bench::wanted(name) || bench::make_context(name) == nullptr) {
            continue;
        }
        bench::add_gemms(name, *SEQMIX_SELECT_KERNELS(isa, gemm_kernels), WeightType::f32, "");
        bench::add_gemms(name, *SEQMIX_SELECT_KERNELS(isa, gemm_kernels), WeightType::q8_0, "");
        const auto add_rounding = [&](Rounding rounding, const char* what) {
            if (isa == Isa::avx512 && rounding_available(rounding)) {
                const GemmKernels& kernels =
                    *SEQMIX_SELECT_ROUNDING_KERNELS(rounding, isa, gemm_kernels);
                bench::add_gemms(name, kernels, WeightType::bf16, what);
                bench::add_gemms(name, kernels, WeightType::i8, what);
            }
        };
        add_rounding(Rounding::dot, "_dot");
        add_rounding(Rounding::tiles, "_tiles");
        if (isa != Isa::generic) {  // seconds at level generic
            bench::add_long_convs(name, isa);
        }
        if (alone) {
            bench::add_long_conv_streams(name, isa);
            bench::add_maps(name, *SEQMIX_SELECT_KERNELS(isa, elementwise_kernels),
                            *SEQMIX_SELECT_KERNELS(isa, norm_kernels));
            bench::add_kernel_rows(name, isa);
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
    }
    return bench::run_rows();
}
