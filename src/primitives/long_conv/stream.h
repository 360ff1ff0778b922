// A causal long convolution that goes on from call to call, in pieces of any size, each output as
// soon as its input is there.
//
// Equation: long_conv.h. Two ways, chosen by the numbers of tokens of the call and of the past alone:
// *whole* transforms over past and input where much comes at once, else *blocks*: a uniformly
// partitioned convolution (overlap-save) in two sizes, after Gardner 1995 with Garcia's spread of work
// (2002): taps [0, B1) directly, [B1, 2 B2) in partitions of B1 (one transform of 2 B1 a block), the
// rest in partitions of B2 (one transform of 2 B2 every B2 tokens). The products of the large
// partitions are due one large block later and are spread over its B2/B1 small ones, the transforms
// before and the one back lie in the first and the last of these: no block costs more than about
// twice another.
//
// State of a row, whatever the level: the last inputs as a ring (ring_rows(), D), input t at row
// t mod ring_rows(), and the clock, t for the next token, kept below 2 ring_rows() by steps of
// ring_rows(). From these two everything else, the cache, is made again, bit for bit, where it is
// not there (a clock of another token in it, zeros say so), in one go. A cache without room for the
// windows that the past asks for makes the call run whole.
//
// Parallel over groups: whole vectors of channels, or single channels where most lanes would be empty.
#pragma once

#include <memory>

#include "primitives/long_conv/kernel.h"
#include "primitives/long_conv/long_conv.h"

namespace seqmix {

struct LongConvRowCall {
    int64_t tokens = 0;
    const float* x = nullptr;  // (T,D), any token stride
    ptrdiff_t x_stride = 0;
    float* y = nullptr;  // (T,D), not x
    ptrdiff_t y_stride = 0;
    float* ring = nullptr;  // (ring_rows, D), as far as it is there
    ptrdiff_t ring_stride = 0;
    int64_t clock = 0;         // before the call; next_clock(clock, T) after it
    float* cache = nullptr;    // cache_size floats
    float* windows = nullptr;  // (window_rows, window_size)
    ptrdiff_t window_stride = 0;
    int64_t window_rows = 0;
};

class LongConvStream {
  public:
    // Of ring_rows(): twice this is a whole number in f32.
    static constexpr int64_t kMostTaps = int64_t{1} << 22;

    // k: (K,D) f32, dense; kept: spectra and the first taps (about 4 K floats a channel).
    LongConvStream(const LongConvShape& shape, const float* k, const FftKernels& fft,
                   const LongConvKernels& kernels, Allocator allocator);

    // Sizes that depend on the shape alone, so that they can be had before there are taps.
    struct Sizes {
        int64_t small = 0, large = 0;  // B1, B2; 0: there is no such level
        int64_t near = 0, far = 0;     // partitions of each
        int64_t near_windows = 0;      // spectra of small blocks that are kept
        int64_t ring_rows = 0;
        int64_t cache_size = 0;                // floats of a row
        int64_t windows = 0, window_size = 0;  // spectra of large blocks: rows, floats each
        explicit Sizes(const LongConvShape& shape);
        int64_t next_clock(int64_t clock, int64_t tokens) const;
        // Whether a call goes by blocks, and how many rows of windows it wants then.
        bool by_blocks(int64_t clock, int64_t tokens) const;
        int64_t windows_used(int64_t clock) const;
    };

    const Sizes& sizes() const { return sizes_; }
    int64_t groups() const { return whole_.groups(); }
    int64_t scratch_size() const { return scratch_size_; }  // floats, a worker
    // The same before there are taps.
    static int64_t scratch_size(const LongConvShape& shape, int64_t width);

    // One group of one row. The caller moves the clock when all groups are done.
    void run(int64_t group, const LongConvRowCall& call, float* scratch) const;
    // Back to the start: zeros in the ring and a cache for no clock.
    void reset(int64_t group, const LongConvRowCall& call) const;

  private:
    // A group of a row on its way: its parts of the call's memory, and scratch.
    struct Row;
    // A level of partitions: blocks of `block` tokens, spectra of 2 block points.
    struct Level {
        int64_t block = 0, first = 0, count = 0;  // partitions first .. first + count - 1
        std::unique_ptr<const RealFft<float>> fft;
        Array<float> spectra;  // (groups; count, 2, block + 1, lanes)
        int64_t bins() const { return 2 * (block + 1); }
        const float* spectrum(const Row& row, int64_t partition) const;
    };
    Level make_level(int64_t block, int64_t first, int64_t count, const float* k,
                     const FftKernels& fft, Allocator allocator) const;
    void run_whole(Row& row) const;
    void run_blocks(Row& row) const;
    void remember(Row& row, int64_t from, int64_t count) const;
    void direct(Row& row, int64_t from, int64_t count) const;
    void transform(Row& row, const Level& level, int64_t end) const;
    void back(Row& row, const Level& level, const float* bins, float* out) const;
    float* window(Row& row, const Level& level, int64_t block) const;
    void multiply(Row& row, const Level& level, int64_t block, int64_t from, int64_t to,
                  float* bins) const;
    void near_block(Row& row, int64_t clock) const;
    void far_block(Row& row, int64_t clock) const;
    void far_share(Row& row, int64_t clock) const;
    void make_cache(Row& row) const;

    LongConvShape shape_;
    Sizes sizes_;
    const LongConvKernels* kernels_;
    LongConv whole_;
    Level near_, far_;
    Array<float> filter_;  // of whole_
    Array<float> taps_;    // (first B1 taps, D)
    int64_t scratch_size_ = 0;
};

}  // namespace seqmix
