#include "primitives/cauchy/cauchy.h"

#include <algorithm>
#include <cmath>

namespace seqmix {

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int64_t kBlock = 512;  // points whose planes stay in the first-level cache

}  // namespace

std::vector<float> CauchyPoles::records(size_t first, size_t count) const {
    std::vector<float> out;
    out.reserve(poles.size() * (3 + 4 * count));
    const auto put = [&](double value) { out.push_back(static_cast<float>(value)); };
    for (size_t n = 0; n < poles.size(); ++n) {
        const double a = poles[n].real(), b = poles[n].imag();
        put(b);
        put(a * a);
        put(4 * a * a);
        for (size_t s = first; s < first + count; ++s) {
            const Complex v = s < numerators.size() ? numerators[s][n] : Complex();
            const double p = a * v.real() + b * v.imag(), q = v.real();
            put(-2 * p);
            put(-4 * a * q);
            put(2 * q);
            put(-4 * a * p);
        }
    }
    return out;
}

DplrKernel::DplrKernel(int64_t length, int64_t rank, const CauchyKernels& kernels,
                       const FftKernels& fft, Allocator allocator)
    : length_(length),
      rank_(rank),
      kernels_(&kernels),
      tau_((length + 1) / 2, allocator),
      fft_(length, fft, allocator) {
    for (int64_t m = 0; m < tau_.size(); ++m) {
        tau_[m] = static_cast<float>(
            2 * std::tan(kPi * static_cast<double>(m) / static_cast<double>(length)));
    }
}

int64_t DplrKernel::scratch() const {
    const int64_t spectrum = (length_ / 2 + 1 + 15) / 16 * 16;
    return 2 * 12 * kBlock + 2 * spectrum + fft_.scratch(1);
}

void DplrKernel::run(const CauchyPoles& system, float* K, float* scratch) const {
    const int64_t spectrum = (length_ / 2 + 1 + 15) / 16 * 16;
    float *plane_re = scratch, *plane_im = plane_re + 12 * kBlock, *re = plane_im + 12 * kBlock,
          *im = re + spectrum, *work = im + spectrum;
    // Four sums at a time share a reciprocal; of the nine of rank 2 the last is alone.
    const int64_t groups = rank_ == 0 ? 1 : (sums() + 3) / 4;
    std::vector<std::vector<float>> records;
    const auto group_sums = [&](int64_t g) { return rank_ == 0 || 4 * g + 1 == sums() ? 1 : 4; };
    for (int64_t g = 0; g < groups; ++g) {
        records.push_back(
            system.records(static_cast<size_t>(4 * g), static_cast<size_t>(group_sums(g))));
    }
    for (int64_t first = 0; first < points(); first += kBlock) {
        const int64_t count = std::min(kBlock, points() - first);
        for (int64_t g = 0; g < groups; ++g) {
            CauchyArgs args{};
            args.points = count;
            args.pairs = static_cast<int64_t>(system.poles.size());
            args.sums = group_sums(g);
            args.tau = tau_.data() + first;
            args.records = records[static_cast<size_t>(g)].data();
            args.re = plane_re + 4 * g * kBlock;
            args.im = plane_im + 4 * g * kBlock;
            args.stride = kBlock;
            kernels_->cauchy(args);
        }
        DplrArgs args{};
        args.points = count;
        args.rank = static_cast<int32_t>(rank_);
        args.tau = tau_.data() + first;
        args.plane_re = plane_re;
        args.plane_im = plane_im;
        args.stride = kBlock;
        args.re = re + first;
        args.im = im + first;
        kernels_->dplr(args);
    }
    if (length_ % 2 == 0) {  // omega = -1
        double sum = 0.0;
        for (const auto& v : system.numerators[0]) {
            sum += v.real();
        }
        re[length_ / 2] = static_cast<float>(sum);
        im[length_ / 2] = 0.0f;
    }
    const int64_t rows = length_ / 2 + 1;
    fft_.inverse({re, im, 1, rows, rows}, K, length_, 1, 1, work);
}

}  // namespace seqmix
