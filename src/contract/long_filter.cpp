#include "contract/long_filter.h"

#include <algorithm>

#include "primitives/long_conv/reference.h"

namespace seqmix {
LongFilterSizes::LongFilterSizes(int64_t filter_count, int64_t channel_count, int64_t tap_count)
    : filters(filter_count),
      channels(channel_count),
      taps(tap_count),
      stream({.channels = channel_count, .taps = tap_count, .length = tap_count}) {
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        scratch_floats = std::max(
            scratch_floats,
            LongConvStream::scratch_size({.channels = channels, .taps = taps, .length = taps},
                                         SEQMIX_SELECT_KERNELS(isa, fft_kernels)->f32.width));
    }
}

void LongFilterSizes::add_symbols(std::map<std::string, int64_t, std::less<>>& sizes) const {
    sizes["filters"] = filters;
    sizes["past_rows"] = stream.ring_rows;
    sizes["past_width"] = filters * channels;
    sizes["cache"] = filters * stream.cache_size;
    sizes["windows"] = stream.windows;
    sizes["bins"] = filters * stream.window_size;
}

int64_t LongFilterSizes::state_rows(size_t i, int64_t position, int64_t tokens) const {
    if (i == 0) return std::min(stream.ring_rows, position + tokens);
    return stream.by_blocks(position, tokens) ? stream.windows_used(position + tokens) : 0;
}

size_t LongFilterSizes::scratch_part(bool real64) const {
    return Scratch::round_up(real64 ? static_cast<size_t>((taps - 1) * channels) * sizeof(double)
                                    : static_cast<size_t>(scratch_floats) * sizeof(float));
}
size_t LongFilterSizes::scratch_bytes(const StepShape& step) const {
    return scratch_part(step.real64) * step.workers;
}

void LongFilters::bind(const LongFilterSizes& sizes, const double* k, const double* skip,
                       size_t first_state, const BindCall& call) {
    sizes_ = &sizes;
    first_state_ = first_state;
    const int64_t F = sizes.filters, D = sizes.channels, K = sizes.taps;
    if (call.isa == Isa::reference) {
        taps64_ = Array<double>(F * D * K, call.allocator);
        std::copy_n(k, taps64_.size(), taps64_.data());
        for (int64_t i = 0; skip != nullptr && i < F * D; ++i) taps64_[i * K] += skip[i];
        return;
    }
    Array<float> rows(K * D, call.allocator);
    for (int64_t f = 0; f < F; ++f) {
        for (int64_t d = 0; d < D; ++d) {
            const double* from = k + (f * D + d) * K;
            for (int64_t j = 0; j < K; ++j) rows[j * D + d] = static_cast<float>(from[j]);
            if (skip != nullptr) rows[d] = static_cast<float>(from[0] + skip[f * D + d]);
        }
        streams_.push_back(std::make_unique<const LongConvStream>(
            LongConvShape{.channels = D, .taps = K, .length = K}, rows.data(),
            *SEQMIX_SELECT_KERNELS(call.isa, fft_kernels),
            *SEQMIX_SELECT_KERNELS(call.isa, long_conv_kernels), call.allocator));
    }
}

// The clock of a run's row when its tokens are done.
template <class T>
int64_t LongFilters::clock_after(const Call& call, const RowRun& run, int64_t f) const {
    const LongConvStream::Sizes& sizes = sizes_->stream;
    auto clock = static_cast<int64_t>(call.state<T>(first_state_ + 1, run.state_row)[f]);
    for (int64_t s = run.first; s < run.first + run.count; ++s) {
        clock = sizes.next_clock(call.segments[s].reset ? 0 : clock, call.segments[s].count);
    }
    return clock;
}

template <class T>
void LongFilters::move_clocks(const Call& call, int64_t f) const {
    for (int64_t r = 0; r < call.run_count; ++r) {
        const RowRun& run = call.runs[r];
        call.state<T>(first_state_ + 1, run.state_row)[f] =
            static_cast<T>(clock_after<T>(call, run, f));
    }
}

void LongFilters::run(const Call& call, int64_t f, const float* x, ptrdiff_t x_stride, float* y,
                      ptrdiff_t y_stride, void* scratch) const {
    const LongConvStream& stream = *streams_[static_cast<size_t>(f)];
    const LongConvStream::Sizes& sizes = sizes_->stream;
    const int64_t channels = sizes_->channels, filters = sizes_->filters;
    const int64_t groups = stream.groups();
    const size_t part = sizes_->scratch_part(false);
    call.parallel_for(call.run_count * groups, [&](int64_t piece, size_t worker) {
        const RowRun& run = call.runs[piece / groups];
        const int64_t group = piece % groups;
        LongConvRowCall row;
        row.x_stride = x_stride;
        row.y_stride = y_stride;
        row.ring = call.state<float>(first_state_, run.state_row) + f * channels;
        row.ring_stride = filters * channels;
        row.clock = static_cast<int64_t>(call.state<float>(first_state_ + 1, run.state_row)[f]);
        row.cache = call.state<float>(first_state_ + 2, run.state_row) + f * sizes.cache_size;
        row.windows = call.state<float>(first_state_ + 3, run.state_row) + f * sizes.window_size;
        row.window_stride = filters * sizes.window_size;
        row.window_rows = call.states[first_state_ + 3].lines;
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                stream.reset(group, row);
                row.clock = 0;
            }
            row.tokens = segment.count;
            row.x = x + segment.first * x_stride;
            row.y = y + segment.first * y_stride;
            stream.run(group, row,
                       reinterpret_cast<float*>(static_cast<std::byte*>(scratch) + worker * part));
            row.clock = sizes.next_clock(row.clock, segment.count);
        }
    });
    move_clocks<float>(call, f);
}

void LongFilters::run_reference(const Call& call, int64_t f, const double* x, double* y,
                                void* scratch) const {
    const LongConvStream::Sizes& sizes = sizes_->stream;
    const int64_t channels = sizes_->channels, taps = sizes_->taps;
    const int64_t P = sizes.ring_rows, width = sizes_->filters * channels;
    const size_t part = sizes_->scratch_part(true);
    call.parallel_for(call.run_count, [&](int64_t r, size_t worker) {
        const RowRun& run = call.runs[r];
        auto* past = reinterpret_cast<double*>(static_cast<std::byte*>(scratch) + worker * part);
        double* ring = call.state<double>(first_state_, run.state_row) + f * channels;
        auto clock = static_cast<int64_t>(call.state<double>(first_state_ + 1, run.state_row)[f]);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                for (int64_t i = 0; i < std::min(clock, P); ++i) {
                    std::fill_n(ring + i * width, channels, 0.0);
                }
                clock = 0;
            }
            const int64_t rows = std::min(clock, taps - 1);
            for (int64_t i = 0; i < rows; ++i) {
                std::copy_n(ring + (clock - rows + i) % P * width, channels, past + i * channels);
            }
            const double* from = x + segment.first * channels;
            reference::long_conv({.tokens = segment.count,
                                  .channels = channels,
                                  .taps = taps,
                                  .k = taps_f64(f),
                                  .after_taps = 0,
                                  .after = nullptr,
                                  .after_from_next = false,
                                  .past = past,
                                  .past_rows = rows,
                                  .x = from,
                                  .y = y + segment.first * channels});
            for (int64_t i = std::max<int64_t>(0, segment.count - P); i < segment.count; ++i) {
                std::copy_n(from + i * channels, channels, ring + (clock + i) % P * width);
            }
            clock = sizes.next_clock(clock, segment.count);
        }
    });
    move_clocks<double>(call, f);
}

// ------------------------------------------------------------------ two-sided

TwoSidedSizes::TwoSidedSizes(const LongConvShape& conv) : shape(conv) {
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
        const int64_t width = SEQMIX_SELECT_KERNELS(isa, fft_kernels)->f32.width;
        const auto floats = static_cast<size_t>(LongConv::scratch_size(shape, width));
        part = std::max(part, Scratch::round_up(floats * sizeof(float)));
    }
}

void TwoSidedFilters::bind(const TwoSidedSizes& sizes, int64_t filters, const double* k,
                           const double* after, const double* skip, const BindCall& call) {
    sizes_ = sizes;
    const LongConvShape& shape = sizes_.shape;
    const int64_t D = shape.channels, K = shape.taps, K2 = shape.after;
    if (call.isa == Isa::reference) {
        taps64_ = Array<double>(filters * D * K, call.allocator);
        after64_ = Array<double>(filters * D * K2, call.allocator);
        std::copy_n(k, taps64_.size(), taps64_.data());
        std::copy_n(after, after64_.size(), after64_.data());
        for (int64_t i = 0; skip != nullptr && i < filters * D; ++i) taps64_[i * K] += skip[i];
        return;
    }
    conv_ = std::make_unique<const LongConv>(shape, *SEQMIX_SELECT_KERNELS(call.isa, fft_kernels),
                                             call.allocator);
    taps_ = Array<float>(filters * K * D, call.allocator);
    after_ = Array<float>(filters * K2 * D, call.allocator);
    spectra_ = Array<float>(filters * conv_->filter_size(), call.allocator);
    Array<float> work(conv_->scratch_size(), call.allocator);
    for (int64_t f = 0; f < filters; ++f) {
        float *to = taps_.data() + f * K * D, *to_after = after_.data() + f * K2 * D;
        for (int64_t d = 0; d < D; ++d) {
            const double* from = k + (f * D + d) * K;
            for (int64_t j = 0; j < K; ++j) to[j * D + d] = static_cast<float>(from[j]);
            if (skip != nullptr) to[d] = static_cast<float>(from[0] + skip[f * D + d]);
            const double* from_after = after + (f * D + d) * K2;
            for (int64_t j = 0; j < K2; ++j)
                to_after[j * D + d] = static_cast<float>(from_after[j]);
        }
        float* spectra = spectra_.data() + f * conv_->filter_size();
        for (int64_t g = 0; g < conv_->groups(); ++g) {
            const int64_t d = conv_->first(g);
            conv_->make_filter(g, to + d, D, to_after + d, D, spectra + conv_->filter_at(g),
                               work.data());
        }
    }
}

void TwoSidedFilters::run(const Call& call, int64_t f, const float* x, ptrdiff_t x_stride, float* y,
                          ptrdiff_t y_stride, void* scratch) const {
    const LongConv& conv = *conv_;
    const int64_t groups = conv.groups(), D = sizes_.shape.channels;
    const float* spectra = spectra_.data() + f * conv.filter_size();
    call.parallel_for(call.segment_count * groups, [&](int64_t piece, size_t worker) {
        const Segment& segment = call.segments[piece / groups];
        const int64_t g = piece % groups, d = conv.first(g);
        LongConvCall one;
        one.tokens = segment.count;
        one.x = x + segment.first * x_stride + d;
        one.x_stride = x_stride;
        one.y = y + segment.first * y_stride + d;
        one.y_stride = y_stride;
        one.k = taps_.data() + f * sizes_.shape.taps * D + d;
        one.after = after_.data() + f * sizes_.shape.after * D + d;
        one.k_stride = one.after_stride = D;
        conv.run(g, one, spectra + conv.filter_at(g),
                 reinterpret_cast<float*>(static_cast<std::byte*>(scratch) + worker * sizes_.part));
    });
}

void TwoSidedFilters::run_reference(const Call& call, int64_t f, const double* x, double* y) const {
    const LongConvShape& shape = sizes_.shape;
    const int64_t D = shape.channels;
    call.parallel_for(call.segment_count, [&](int64_t s, size_t) {
        const Segment& segment = call.segments[s];
        reference::long_conv({.tokens = segment.count,
                              .channels = D,
                              .taps = shape.taps,
                              .k = taps64_.data() + f * D * shape.taps,
                              .after_taps = shape.after,
                              .after = after64_.data() + f * D * shape.after,
                              .after_from_next = shape.sides == LongConvSides::pad_flip,
                              .past = nullptr,
                              .past_rows = 0,
                              .x = x + segment.first * D,
                              .y = y + segment.first * D});
    });
}

void gate_tokens(const Call& call, const LongConvKernels& kernels, int64_t width, const float* a,
                 ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* y,
                 ptrdiff_t y_stride) {
    constexpr int64_t kRows = 64;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t first = piece * kRows;
        kernels.gate(std::min(kRows, call.tokens - first), width, a + first * a_stride, a_stride,
                     b + first * b_stride, b_stride, y + first * y_stride, y_stride);
    });
}

}  // namespace seqmix
