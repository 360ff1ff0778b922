#include "primitives/diagonal_scan/diagonal_scan.h"

namespace seqmix {

namespace {

constexpr int64_t kWidest = 16;  // lanes

}  // namespace

int64_t DiagonalScan::scratch_floats(int64_t modes) { return 2 * kWidest * (modes + kWidest); }

DiagonalScan::DiagonalScan(const DiagonalSystem& system, const DiagonalScanKernels& kernels,
                           Allocator allocator)
    : kernels_(&kernels),
      channels_(system.channels),
      modes_(system.modes),
      outputs_(system.outputs),
      width_(kernels.width),
      rank_(system.rank),
      few_(system.channels <= kFewChannels) {
    using Complex = DiagonalSystem::Complex;
    for (const Complex& a : system.a) {
        signs_ |= a.real() < 0;
    }
    const int64_t parts = (signs_ ? 1 : 0) + 4 + 4 * rank_ + 2 * outputs_;
    const int64_t D = channels_, M = modes_;
    // A piece has `vectors` records of parts (width) vectors; lane l of record i is mode i of channel
    // first + l, or mode i width + l of channel `first`.
    const int64_t vectors = few_ ? (M + width_ - 1) / width_ : M;
    const int64_t pieces = few_ ? D : (D + width_ - 1) / width_;
    record_floats_ = vectors * parts * width_;
    records_ = Array<float>(pieces * record_floats_, allocator);
    records_.zero();
    for (int64_t d = 0; d < D; ++d) {
        for (int64_t n = 0; n < M; ++n) {
            const int64_t lane = few_ ? n % width_ : d % width_;
            float* record =
                few_ ? records_.data() + d * record_floats_ + n / width_ * parts * width_
                     : records_.data() + d / width_ * record_floats_ + n * parts * width_;
            int64_t part = 0;
            const auto put = [&](double value) {
                record[part++ * width_ + lane] = static_cast<float>(value);
            };
            const auto put_complex = [&](Complex value) {
                put(value.real());
                put(value.imag());
            };
            const auto i = static_cast<size_t>(d * M + n);
            const bool negative = system.a[i].real() < 0;
            if (signs_) {
                put(negative ? -1.0 : 1.0);
            }
            const auto& exact = negative ? system.a_plus_one : system.a_minus_one;
            put_complex(!exact.empty() ? exact[i] : system.a[i] + (negative ? 1.0 : -1.0));
            put_complex(system.b[i]);
            for (int32_t r = 0; r < rank_; ++r) {
                put_complex(system.w[static_cast<size_t>(r * D * M) + i]);
                put_complex(system.g[static_cast<size_t>(r * D * M) + i]);
            }
            for (int64_t o = 0; o < outputs_; ++o) {
                put_complex(system.c[static_cast<size_t>(o * D * M) + i]);
            }
        }
    }
    if (!system.skip.empty()) {
        skip_ = Array<float>(outputs_ * D, allocator);
        for (int64_t i = 0; i < outputs_ * D; ++i) {
            skip_[i] = static_cast<float>(system.skip[static_cast<size_t>(i)]);
        }
    }
}

void DiagonalScan::run(const Run& run) const {
    DiagonalScanArgs args{};
    args.tokens = run.tokens;
    args.channels = run.channels;
    args.modes = modes_;
    args.outputs = outputs_;
    args.rank = rank_;
    args.signs = signs_;
    args.records = records_.data() + run.first / channel_block() * record_floats_;
    args.skip = skip_ ? skip_.data() + run.first : nullptr;
    args.skip_stride = channels_;
    args.u = run.u;
    args.u_stride = run.u_stride;
    args.y = run.y;
    args.y_stride = run.y_stride;
    args.output_stride = run.output_stride;
    args.add = run.add;
    args.x = run.x;
    args.x_stride = run.x_stride;
    args.scratch = run.scratch;
    few_ ? kernels_->modes(args) : kernels_->channels(args);
}

}  // namespace seqmix
