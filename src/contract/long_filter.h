// Long convolutions inside a mixer: F filters of K taps over D channels each, bound once, run over
// packed tokens. Causal ones (LongFilters) with their state (primitives/long_conv/stream.h): a mixer has
// them in three lines, the state tensors of LongFilters::states, the sizes in `describe`, and
// state_rows. Two-sided ones (TwoSidedFilters) over whole segments, without a state.
//
// State of a row, at every level: `past`, a ring of inputs, (past_rows, F D), where input t of the row
// is row t mod past_rows; `clock` (F), t for the next token, kept below 2 past_rows by steps of
// past_rows. What is made from these (cache, windows) is derived.
#pragma once

#include <array>

#include "contract/mixer.h"
#include "primitives/long_conv/stream.h"

namespace seqmix {

// What a plan holds of them.
struct LongFilterSizes {
    int64_t filters = 0, channels = 0, taps = 0;
    LongConvStream::Sizes stream;
    int64_t scratch_floats = 0;  // of a worker, at any level

    LongFilterSizes(int64_t filter_count, int64_t channel_count, int64_t tap_count);
    void add_symbols(std::map<std::string, int64_t, std::less<>>& sizes) const;
    // Mixer::state_rows for state tensor i of LongFilters::states.
    int64_t state_rows(size_t i, int64_t position, int64_t tokens) const;
    // Bytes of Call::scratch that run() and run_reference() take.
    size_t scratch_bytes(const StepShape& step) const;
    size_t scratch_part(bool real64) const;  // of a worker
};

class LongFilters {
  public:
    // The state tensors; they take the slots `slot` (past) and `slot` + 1 (clock), and stand from
    // `first_state` of bind() on in the plan.
    static constexpr std::array<StateSpec, 4> states(int32_t slot) {
        return {
            {{slot, "past", "(past_rows,past_width)", false,
              "ring of the inputs of the long convolutions: input t is row t mod past_rows", true},
             {slot + 1, "clock", "(filters)", false,
              "the next token's number, less a multiple of past_rows that keeps it below "
              "2 past_rows once it has reached that"},
             {slot + 2, "cache", "(cache)", false, "", false, true},
             {slot + 3, "windows", "(windows,bins)", false, "", true, true}}};
    }
    // k: (F,D,K) in double, rounded once; skip (F,D) is added to the first taps, or null.
    void bind(const LongFilterSizes& sizes, const double* k, const double* skip, size_t first_state,
              const BindCall& call);

    // y = filter f of x, both (tokens, D) with token strides; y is not x. Every filter is run once a
    // step.
    void run(const Call& call, int64_t f, const float* x, ptrdiff_t x_stride, float* y,
             ptrdiff_t y_stride, void* scratch) const;
    void run_reference(const Call& call, int64_t f, const double* x, double* y,
                       void* scratch) const;  // dense

    const double* taps_f64(int64_t f) const {
        return taps64_.data() + f * sizes_->channels * sizes_->taps;
    }

  private:
    template <class T>
    int64_t clock_after(const Call& call, const RowRun& run, int64_t f) const;
    template <class T>
    void move_clocks(const Call& call, int64_t f) const;

    const LongFilterSizes* sizes_ = nullptr;  // of the plan
    size_t first_state_ = 0;
    std::vector<std::unique_ptr<const LongConvStream>> streams_;  // F
    Array<double> taps64_;                                        // (F,D,K), level reference
};

// What a plan holds of two-sided ones.
struct TwoSidedSizes {
    LongConvShape shape = {};
    size_t part = 0;  // bytes of scratch of a worker, at any level

    TwoSidedSizes() = default;
    explicit TwoSidedSizes(const LongConvShape& conv);
    // Bytes of Call::scratch that run() takes; run_reference() takes none.
    size_t scratch_bytes(size_t workers) const { return part * workers; }
};

class TwoSidedFilters {
  public:
    // k: (F,D,K), after: (F,D,K2) in double, rounded once; skip (F,D) is added to the first taps, or null.
    void bind(const TwoSidedSizes& sizes, int64_t filters, const double* k, const double* after,
              const double* skip, const BindCall& call);

    // y = filter f of x, both (tokens, D) with token strides; y is not x.
    void run(const Call& call, int64_t f, const float* x, ptrdiff_t x_stride, float* y,
             ptrdiff_t y_stride, void* scratch) const;
    void run_reference(const Call& call, int64_t f, const double* x, double* y) const;  // dense

  private:
    TwoSidedSizes sizes_;
    std::unique_ptr<const LongConv> conv_;
    Array<float> taps_, after_, spectra_;  // (F,K,D), (F,K2,D)
    Array<double> taps64_, after64_;       // (F,D,K), (F,D,K2), level reference
};

// y = a * b over the tokens of a step, (tokens, width) with token strides, in pieces. y may be a or b.
void gate_tokens(const Call& call, const LongConvKernels& kernels, int64_t width, const float* a,
                 ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* y,
                 ptrdiff_t y_stride);

}  // namespace seqmix
