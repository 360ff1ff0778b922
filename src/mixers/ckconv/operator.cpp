#include "mixers/ckconv/operator.h"

#include <algorithm>

#include "mixers/ckconv/reference.h"
#include "primitives/long_conv/long_conv.h"

namespace seqmix::mixers {
namespace {

constexpr int64_t kLeastPoints = 32;
// Elements of the call's scratch for a kernel and its spectra; (K,C) taps are the transform's input.
int64_t spectra_size(int64_t points, int64_t channels) { return 2 * (points / 2 + 1) * channels; }
int64_t points_for(int64_t tokens) {
    int64_t n = kLeastPoints;
    while (n < 2 * tokens) n *= 2;
    return n;
}

}  // namespace

CkSizes::CkSizes(int64_t in_width, int64_t out_width, int64_t hidden_width, int64_t length,
                 double w0)
    : in(in_width), out(out_width), hidden(hidden_width), train_length(length), omega(w0) {
    largest = points_for(4 * std::max<int64_t>(train_length, 256));
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        const int64_t width = SEQMIX_SELECT_KERNELS(isa, fft_kernels)->f32.width;
        for (int64_t n = kLeastPoints; n <= largest; n *= 2) {
            for (int64_t lanes = 1; lanes <= width; ++lanes) {
                fft_scratch = std::max(fft_scratch, long_conv_fft_scratch(n, lanes, width));
            }
        }
    }
    fft_scratch = (fft_scratch + 15) / 16 * 16;
}

size_t CkSizes::scratch_bytes(int64_t tokens, size_t workers, bool real64) const {
    const int64_t channels = in * out;
    const auto bytes = [](int64_t count, size_t element) {
        return Scratch::round_up(static_cast<size_t>(count) * element);
    };
    size_t size =
        bytes(channels * tokens, 8) + bytes(ck_kernel_scratch(hidden, channels, tokens), 8);
    if (real64) return size;
    const int64_t points = std::min(points_for(tokens), largest);
    size += bytes(channels * tokens, 4) + bytes(spectra_size(points, channels), 4) +
            bytes(spectra_size(points, in), 4) + bytes(spectra_size(points, out), 4) +
            bytes(fft_scratch * static_cast<int64_t>(workers), 4);
    return size;
}

void CkConv::bind(const CkSizes& sizes, int32_t first_slot, const BindCall& call) {
    sizes_ = &sizes;
    for (int32_t i = 0; i < kCkWeights; ++i) {
        weights_[i] = weight_f64(call.weights.get(first_slot + i), call.allocator);
    }
    const auto w = [&](int32_t i) { return weights_[i].data(); };
    net_ = {sizes.hidden, sizes.in * sizes.out,
            sizes.omega,  w(0),
            w(1),         w(2),
            w(3),         w(4),
            w(5),         w(6),
            w(7),         w(8)};
    if (call.isa == Isa::reference) return;
    kernels_ = SEQMIX_SELECT_KERNELS(call.isa, ckconv_kernels);
    for (int64_t n = kLeastPoints; n <= sizes.largest; n *= 2) {
        ffts_.push_back(std::make_unique<const RealFft<float>>(
            n, *SEQMIX_SELECT_KERNELS(call.isa, fft_kernels), call.allocator));
    }
    const int64_t L = sizes.train_length, C = net_.channels;
    if (L == 0) return;
    const RealFft<float>& fft = *transform(L);
    Array<double> k(C * L, call.allocator);
    Array<double> net(ck_kernel_scratch(sizes.hidden, C, L), call.allocator);
    Array<float> taps(C * L, call.allocator), work(sizes.fft_scratch, call.allocator);
    spectra_ = Array<float>(spectra_size(fft.n(), C), call.allocator);
    make_spectra(nullptr, L, fft, k.data(), net.data(), taps.data(), spectra_.data(), work.data());
}

const RealFft<float>* CkConv::transform(int64_t tokens) const {
    for (const auto& fft : ffts_) {
        if (fft->n() >= 2 * tokens) return fft.get();
    }
    return nullptr;
}

// Taps by lag, (T, in, out), and their spectra.
void CkConv::make_spectra(const Call* call, int64_t tokens, const RealFft<float>& fft, double* k,
                          double* net_scratch, float* taps, float* spectra, float* work) const {
    const int64_t C = net_.channels, T = tokens, bins = fft.n() / 2 + 1;
    const int64_t L = sizes_->train_length != 0 ? sizes_->train_length : T;
    ck_kernel(net_, T, L, k, net_scratch);
    for (int64_t o = 0; o < sizes_->out; ++o) {
        for (int64_t i = 0; i < sizes_->in; ++i) {
            const double* row = k + (o * sizes_->in + i) * T;
            float* to = taps + i * sizes_->out + o;
            for (int64_t lag = 0; lag < T; ++lag)
                to[lag * C] = static_cast<float>(row[T - 1 - lag]);
        }
    }
    constexpr int64_t kChannels = 16;
    const auto part = [&](int64_t piece, size_t worker) {
        const int64_t c = piece * kChannels;
        fft.forward(taps + c, T, C, {spectra + c, spectra + bins * C + c, C, bins, bins},
                    std::min(kChannels, C - c),
                    work + static_cast<int64_t>(worker) * sizes_->fft_scratch);
    };
    const int64_t pieces = (C + kChannels - 1) / kChannels;
    if (call != nullptr) {
        call->parallel_for(pieces, part);
        return;
    }
    for (int64_t piece = 0; piece < pieces; ++piece) part(piece, 0);
}

void CkConv::run(const Call& call, int64_t tokens, const float* x, ptrdiff_t x_stride, float* y,
                 ptrdiff_t y_stride, Scratch scratch) const {
    const int64_t in = sizes_->in, out = sizes_->out, C = in * out, T = tokens;
    const double* bias = weights_[kCkWeights - 1].data();
    double* k = scratch.take<double>(C * T);
    double* net = scratch.take<double>(ck_kernel_scratch(sizes_->hidden, C, T));
    const RealFft<float>* fft = transform(T);
    if (fft == nullptr) {
        ck_kernel(net_, T, sizes_->train_length != 0 ? sizes_->train_length : T, k, net);
        call.parallel_for(T, [&](int64_t t, size_t) {
            for (int64_t o = 0; o < out; ++o) {
                double sum = bias[o];
                for (int64_t i = 0; i < in; ++i) {
                    const double* row = k + (o * in + i) * T + T - 1;
                    for (int64_t lag = 0; lag <= t; ++lag) {
                        sum += row[-lag] * static_cast<double>(x[(t - lag) * x_stride + i]);
                    }
                }
                y[t * y_stride + o] = static_cast<float>(sum);
            }
        });
        return;
    }
    const int64_t bins = fft->n() / 2 + 1;
    float* taps = scratch.take<float>(C * T);
    float* made = scratch.take<float>(spectra_size(fft->n(), C));
    float* x_bins = scratch.take<float>(spectra_size(fft->n(), in));
    float* y_bins = scratch.take<float>(spectra_size(fft->n(), out));
    float* work =
        scratch.take<float>(sizes_->fft_scratch * static_cast<int64_t>(call.runner.workers));
    const float* spectra = spectra_.data();
    if (T != sizes_->train_length) {
        make_spectra(&call, T, *fft, k, net, taps, made, work);
        spectra = made;
    }
    constexpr int64_t kChannels = 16;
    const auto mine = [&](size_t worker) {
        return work + static_cast<int64_t>(worker) * sizes_->fft_scratch;
    };
    call.parallel_for((in + kChannels - 1) / kChannels, [&](int64_t piece, size_t worker) {
        const int64_t c = piece * kChannels;
        fft->forward(x + c, T, x_stride, {x_bins + c, x_bins + bins * in + c, in, bins, bins},
                     std::min(kChannels, in - c), mine(worker));
    });
    constexpr int64_t kBins = 64;
    call.parallel_for((bins + kBins - 1) / kBins, [&](int64_t piece, size_t) {
        const int64_t f = piece * kBins;
        kernels_->multiply(std::min(kBins, bins - f), in, out, x_bins + f * in,
                           x_bins + (bins + f) * in, spectra + f * C, spectra + (bins + f) * C,
                           y_bins + f * out, y_bins + (bins + f) * out);
    });
    call.parallel_for((out + kChannels - 1) / kChannels, [&](int64_t piece, size_t worker) {
        const int64_t c = piece * kChannels, count = std::min(kChannels, out - c);
        fft->inverse({y_bins + c, y_bins + bins * out + c, out, bins, bins}, y + c, T, y_stride,
                     count, mine(worker));
        for (int64_t t = 0; t < T; ++t) {
            for (int64_t o = c; o < c + count; ++o)
                y[t * y_stride + o] += static_cast<float>(bias[o]);
        }
    });
}

void CkConv::run_reference(int64_t tokens, const double* x, double* y, Scratch scratch) const {
    const int64_t C = net_.channels;
    double* k = scratch.take<double>(C * tokens);
    double* net = scratch.take<double>(ck_kernel_scratch(sizes_->hidden, C, tokens));
    ck_kernel(net_, tokens, sizes_->train_length != 0 ? sizes_->train_length : tokens, k, net);
    reference::ckconv(tokens, sizes_->in, sizes_->out, x, k, weights_[kCkWeights - 1].data(), y);
}

}  // namespace seqmix::mixers
