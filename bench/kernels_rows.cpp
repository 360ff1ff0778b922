// Convolution kernels of 256 channels of 32 conjugate pairs, L = 16384: Cauchy sums, the whole kernel of a
// DPLR system, Vandermonde products. One thread.
#include "kernels_rows.h"

#include <benchmark/benchmark.h>

#include <cmath>
#include <complex>
#include <memory>
#include <vector>

#include "plain/kernels.h"
#include "primitives/cauchy/cauchy.h"
#include "primitives/vandermonde/vandermonde.h"
#include "support/rows.h"

namespace seqmix::bench {

namespace {

using Complex = std::complex<double>;

constexpr int64_t kChannels = 256, kPairs = 32, kLength = 16384, kNodes = kLength / 2;
constexpr double kUpdates = static_cast<double>(kChannels * kPairs);

double number(uint32_t* state) {
    *state = *state * 1664525u + 1013904223u;
    return static_cast<double>(*state >> 8) * 0x1p-23 - 1.0;
}

struct Data {
    std::vector<CauchyPoles> systems;
    std::vector<std::vector<float>> records;  // of one sum
    std::vector<std::complex<float>> z, w, v, out;
    std::vector<double> parts;  // w_re w_im c_re c_im of a channel
    std::vector<float> K;
    Array<float> re, im, scratch;
    std::unique_ptr<const DplrKernel> plan;

    explicit Data(Isa isa) {
        uint32_t seed = 1;
        for (int64_t h = 0; h < kChannels; ++h) {
            const double dt = 1e-3 * std::pow(100.0, static_cast<double>(h) / kChannels);
            CauchyPoles system;
            system.numerators.resize(4);
            for (int64_t n = 0; n < kPairs; ++n) {
                const double omega = 1300.0 * std::pow(0.8, static_cast<double>(n));
                system.poles.push_back(dt * Complex(-0.5, -omega));
                for (auto& numerator : system.numerators) {
                    numerator.push_back(dt * Complex(number(&seed), number(&seed)));
                }
            }
            records.push_back(system.records(0, 1));
            for (int64_t n = 0; n < kPairs; ++n) {
                const auto i = static_cast<size_t>(n);
                w.emplace_back(system.poles[i]);
                v.emplace_back(system.numerators[0][i]);
            }
            systems.push_back(std::move(system));
        }
        for (int64_t n = 0; n < kPairs; ++n) {  // the same for all channels, far from overflow
            const Complex power = std::exp(systems[0].poles[static_cast<size_t>(n)]);
            parts.push_back(power.real());
        }
        for (int64_t n = 0; n < kPairs; ++n) {
            parts.push_back(std::exp(systems[0].poles[static_cast<size_t>(n)]).imag());
        }
        for (int64_t n = 0; n < 2 * kPairs; ++n) {
            parts.push_back(number(&seed));
        }
        plan = std::make_unique<const DplrKernel>(
            kLength, 1, *SEQMIX_SELECT_KERNELS(isa, cauchy_kernels),
            *SEQMIX_SELECT_KERNELS(isa, fft_kernels), Allocator());
        for (int64_t m = 0; m < kNodes; ++m) {
            z.emplace_back(0.0f, plan->tau()[m]);
        }
        out.resize(static_cast<size_t>(kLength));
        K.resize(static_cast<size_t>(kLength));
        re = Array<float>(kNodes, {});
        im = Array<float>(kNodes, {});
        scratch = Array<float>(std::max(plan->scratch(), vandermonde_scratch(kLength, kPairs)), {});
    }
    VandermondeArgs vandermonde() {
        double* p = parts.data();
        return {kLength,        kPairs,         p,        p + kPairs,
                p + 2 * kPairs, p + 3 * kPairs, K.data(), scratch.data()};
    }
};

}  // namespace

void add_kernel_rows(const std::string& name, Isa isa) {
    const std::string shape = "/L16384_H256_N64";
    // 11 operations for a pair and a vector of nodes; each node is written once.
    const double sums = kUpdates * kNodes;
    add_row({.name = "cauchy/" + name + shape,
             .isa = name,
             .work = {.flops = 2 * 11 * sums,
                      .slots_avx512 = 11 * sums / 16,
                      .slots_avx2 = 11 * sums / 8},
             .make = [isa] {
                 const auto d = std::make_shared<Data>(isa);
                 const CauchyKernels* kernels = SEQMIX_SELECT_KERNELS(isa, cauchy_kernels);
                 Job job;
                 job.run = [d, kernels] {
                     for (const std::vector<float>& records : d->records) {
                         kernels->cauchy({kNodes, kPairs, 1, d->plan->tau(), records.data(),
                                          d->re.data(), d->im.data(), kNodes});
                         benchmark::DoNotOptimize(d->re.data());
                     }
                 };
                 job.plain = [d] {
                     for (int64_t h = 0; h < kChannels; ++h) {
                         std::fill_n(d->out.begin(), kNodes, 0.0f);
                         plain::cauchy(kNodes, kPairs, d->z.data(), d->w.data() + h * kPairs,
                                       d->v.data() + h * kPairs, d->out.data());
                         benchmark::DoNotOptimize(d->out.data());
                     }
                 };
                 return job;
             }});
    // 26 for the four sums that share a reciprocal, and one inverse real transform of L points.
    const double flops = kChannels * 2.5 * kLength * 14.0;
    add_row({.name = "dplr_kernel/" + name + shape,
             .isa = name,
             .work = {.flops = 2 * 26 * sums + flops,
                      .slots_avx512 = 26 * sums / 16 + flops / 32,
                      .slots_avx2 = 26 * sums / 8 + flops / 16},
             .make = [isa] {
                 const auto d = std::make_shared<Data>(isa);
                 Job job;
                 job.run = [d] {
                     for (const CauchyPoles& system : d->systems) {
                         d->plan->run(system, d->K.data(), d->scratch.data());
                         benchmark::DoNotOptimize(d->K.data());
                     }
                 };
                 return job;
             }});
    const double products = 2 * kUpdates * kLength;
    add_row(
        {.name = "vandermonde/" + name + shape,
         .isa = name,
         .work = {.flops = 2 * products, .slots_avx512 = products / 16, .slots_avx2 = products / 8},
         .make = [isa] {
             const auto d = std::make_shared<Data>(isa);
             const VandermondeKernels* kernels = SEQMIX_SELECT_KERNELS(isa, vandermonde_kernels);
             Job job;
             job.run = [d, kernels] {
                 for (int64_t h = 0; h < kChannels; ++h) {
                     kernels->vandermonde(d->vandermonde());
                     benchmark::DoNotOptimize(d->K.data());
                 }
             };
             job.plain = [d] {
                 std::vector<std::complex<float>> w, c;
                 const double* p = d->parts.data();
                 for (int64_t n = 0; n < kPairs; ++n) {
                     w.emplace_back(static_cast<float>(p[n]), static_cast<float>(p[kPairs + n]));
                     c.emplace_back(static_cast<float>(p[2 * kPairs + n]),
                                    static_cast<float>(p[3 * kPairs + n]));
                 }
                 for (int64_t h = 0; h < kChannels; ++h) {
                     std::fill(d->K.begin(), d->K.end(), 0.0f);
                     plain::vandermonde(kLength, kPairs, w.data(), c.data(), d->K.data());
                     benchmark::DoNotOptimize(d->K.data());
                 }
             };
             return job;
         }});
}

}  // namespace seqmix::bench
