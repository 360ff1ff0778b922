// Long depthwise convolutions by Fourier transforms: linear, never circular.
//
//   y[t] = sum_{0 <= j < K, j <= t} k[j] x[t-j]                              causal
//        + sum_{j >= 0, t+j < T} k'[j] x[t+j]                                conjugate
//        + sum_{j >= 0, t+1+j < T} k'[j] x[t+1+j]                            pad_flip
//
// Two conventions for a second, anti-causal filter k' are in use and differ: `conjugate` adds the
// conjugate spectrum (safari's Hyena and H3: the current token meets k[0] and k'[0]), `pad_flip` lays
// the flipped k' behind k (S4, S4D, DSS, SGConv, M2: k'[0] meets the next token).
//
// Sources. The transforms are primitives/fft; long inputs are cut into windows (overlap-save,
// Stockham 1966). Inputs before x may be given (`past`), so that a sequence may come in pieces.
//
// Plans are immutable and hold tables only. The spectra of a filter are made once, by make_filter, into
// memory of the caller: about n floats a channel for the largest transform of n points, and a few more
// for short inputs, which meet short transforms: only the first T taps matter to T tokens. Sizes
// between (above kLastingPoints, but for the largest) make their spectra in the call if it has the
// taps.
//
// Parallel over groups of channels (the caller's loop): group g is channels [first(g), first(g) + lanes(g)). Results depend on T, past and the level, not on how groups are spread. Nothing is
// allocated by a call: each worker brings scratch_size() floats, aligned to a cache line.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "primitives/fft/fft.h"

namespace seqmix {

enum class LongConvSides { causal, conjugate, pad_flip };

struct LongConvShape {
    int64_t channels;
    int64_t taps;       // K >= 1
    int64_t after = 0;  // taps of k'; 0 where causal
    int64_t length =
        0;  // most tokens of a call, as far as known, at least K and after. Any T works.
    LongConvSides sides = LongConvSides::causal;

    bool causal() const { return sides == LongConvSides::causal || after == 0; }
    int64_t before() const { return taps - 1; }  // most lags to the past and to the future
    int64_t behind() const {
        return causal() ? 0 : sides == LongConvSides::pad_flip ? after : after - 1;
    }
};

// Channels cut for vectors of `width`: whole ones, then the rest, as single channels where most lanes
// would be empty.
struct LongConvGroups {
    int64_t channels, width;
    int64_t whole() const { return channels / width; }
    bool singles() const { return 2 * (channels % width) <= width; }
    int64_t count() const { return whole() + (singles() ? channels % width : 1); }
    int64_t first(int64_t group) const {
        return group < whole() ? group * width : whole() * width + group - whole();
    }
    int64_t lanes(int64_t group) const {
        return group < whole() ? width : singles() ? 1 : channels % width;
    }
};

// What the transform of n reals (n even, smooth) of a group takes: RealFft::scratch and filter_size
// without a plan.
int64_t long_conv_fft_scratch(int64_t n, int64_t lanes, int64_t width);
int64_t long_conv_fft_filter(int64_t n, int64_t lanes, int64_t width);

// Inputs before x, oldest first: two runs of rows (a ring), the second ends at x.
struct LongConvPast {
    const float* first = nullptr;
    int64_t first_rows = 0;
    const float* second = nullptr;
    int64_t second_rows = 0;
    ptrdiff_t stride = 0;
    int64_t rows() const { return first_rows + second_rows; }
};

// Channel 0 of a group at x and y; rows have strides in elements, of either sign.
struct LongConvCall {
    int64_t tokens = 0;
    const float* x = nullptr;  // (T, lanes)
    ptrdiff_t x_stride = 0;
    float* y = nullptr;  // (T, lanes). May be x, but not two-sided with T > length.
    ptrdiff_t y_stride = 0;
    LongConvPast past;  // causal only; none: zeros
    // The filter's taps again, (K, lanes) and (after, lanes), for transforms without lasting spectra;
    // null: those are passed over, which costs time and no accuracy.
    const float* k = nullptr;
    ptrdiff_t k_stride = 0;
    const float* after = nullptr;
    ptrdiff_t after_stride = 0;
};

class LongConv {
  public:
    // Transforms up to this size keep spectra.
    static constexpr int64_t kLastingPoints = int64_t{1} << 15;

    LongConv(const LongConvShape& shape, const FftKernels& kernels, Allocator allocator);

    const LongConvShape& shape() const { return shape_; }
    int64_t groups() const { return cut().count(); }
    int64_t first(int64_t group) const { return cut().first(group); }
    int64_t lanes(int64_t group) const { return cut().lanes(group); }

    int64_t filter_size() const { return filter_at(groups()); }  // floats, all groups
    int64_t filter_at(int64_t group) const;                      // where a group's begins
    // The same without a plan, for vectors of `width` lanes.
    static int64_t filter_size(const LongConvShape& shape, int64_t width);
    int64_t scratch_size() const { return scratch_size(shape_, width_); }  // floats, a worker
    // The same without a plan, for vectors of `width` lanes. windows: also for calls with a past or
    // with more than shape().length tokens.
    static int64_t scratch_size(const LongConvShape& shape, int64_t width, bool windows = true);

    // Spectra of one group: k (K, lanes), after (after, lanes) with strides; filter at its filter_at.
    void make_filter(int64_t group, const float* k, ptrdiff_t k_stride, const float* after,
                     ptrdiff_t after_stride, float* filter, float* scratch) const;
    void run(int64_t group, const LongConvCall& call, const float* filter, float* scratch) const;

  private:
    // A transform, the lags that its spectra hold and the most tokens (without past) that it takes.
    struct Size {
        int64_t points = 0, before = 0, behind = 0, capacity = 0;
        bool lasting = false;
        std::unique_ptr<const RealFft<float>> fft;
    };
    // Rising, without transforms.
    static std::vector<Size> make_sizes(const LongConvShape& shape);
    bool causal() const { return shape_.causal(); }
    LongConvGroups cut() const { return {shape_.channels, width_}; }
    const Size& top() const { return sizes_.back(); }
    static int64_t group_filter_size(const std::vector<Size>& sizes, int64_t lanes, int64_t width);
    void make_spectrum(const Size& size, int64_t lanes, const float* k, ptrdiff_t k_stride,
                       const float* after, ptrdiff_t after_stride, float* filter,
                       float* scratch) const;
    void run_windows(int64_t lanes, const LongConvCall& call, const float* filter,
                     float* scratch) const;

    LongConvShape shape_;
    int64_t width_ = 1;
    int64_t before_ = 0, behind_ = 0;  // lags: K - 1, and those of k'
    std::vector<Size> sizes_;          // rising
};

}  // namespace seqmix
