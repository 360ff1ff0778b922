#include "primitives/long_conv/long_conv.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace seqmix {
namespace {

int64_t whole_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

// What an output costs where a transform of n points gives `outputs`: passes over points. Where 16
// lanes leave the second-level cache a pass costs half more.
double cost(int64_t n, int64_t outputs) {
    const double far = n > (int64_t{1} << 15) ? 1.5 : 1.0;
    const auto points = static_cast<double>(n);
    return far * points * (std::log2(points) + 3) / static_cast<double>(outputs);
}

// The largest transform: everything at once, or windows of n - overlap outputs.
int64_t top_points(int64_t overlap, int64_t single, int64_t length) {
    int64_t best = fft_convolution_length(single);
    double least = cost(best, length);
    for (int64_t n = fft_convolution_length(2 * overlap + 128);
         n < best && n <= 32 * overlap + 4096; n *= 2) {
        if (cost(n, n - overlap) < least) {
            best = n;
            least = cost(n, n - overlap);
        }
    }
    return best;
}

// Where rows of y lie so far apart that their lines have left the second-level cache before the next
// group wants to write beside them, an ordinary store waits for a line that it overwrites whole:
// written past the caches 4,096 and 16,384 tokens of 768 channels are 1.35 times as fast, 1.25 times
// with a reading of y after them; 1,024 (3 MB) lose 3 % and 8 %.
bool past_the_caches(const LongConvCall& call) {
    constexpr int64_t kLeast = (int64_t{8} << 20) / static_cast<int64_t>(sizeof(float));
    return call.tokens * std::abs(call.y_stride) > kLeast;
}

void copy_rows(int64_t rows, int64_t lanes, const float* from, ptrdiff_t stride, float* to) {
    for (int64_t t = 0; t < rows; ++t) std::copy_n(from + t * stride, lanes, to + t * lanes);
}

int64_t fft_columns(int64_t n, int64_t width) {
    int64_t columns = 1;
    for (const int64_t c : {2, 3, 4, 5, 7, 8, 16}) {
        if (c <= width && n / 2 % c == 0) columns = c;
    }
    return columns;
}
}  // namespace

int64_t long_conv_fft_scratch(int64_t n, int64_t lanes, int64_t width) {
    const int64_t N = n / 2, columns = fft_columns(n, width);
    return 2 * lanes <= columns ? 4 * (N + 1) + 2 * (N / columns) * width : 2 * N * width;
}
int64_t long_conv_fft_filter(int64_t n, int64_t lanes, int64_t width) {
    const int64_t N = n / 2;
    return 2 * lanes <= fft_columns(n, width) ? 4 * N * lanes : 4 * (N / 2 + 1) * width;
}

std::vector<LongConv::Size> LongConv::make_sizes(const LongConvShape& shape) {
    const int64_t before = shape.before(), behind = shape.behind();
    const int64_t most = std::max(before, behind);
    const int64_t length = std::max({shape.length, shape.taps, shape.after});
    std::vector<int64_t> points = {top_points(before + behind, length + most, length)};
    while (points.back() > 512) points.push_back(fft_convolution_length(points.back() / 4));
    std::vector<Size> sizes(points.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
        Size& size = sizes[i];
        size.points = points[points.size() - 1 - i];
        const bool top = i + 1 == sizes.size();
        const int64_t half = top ? size.points : size.points / 2;  // longer lags meet no token
        size.before = std::min(before, half - 1);
        size.behind = std::min(behind, half - 1);
        const bool all = size.before == before && size.behind == behind;
        // Lags may not reach around the circle.
        size.capacity = all ? size.points - most : half;
        size.lasting = top || size.points <= kLastingPoints;
    }
    return sizes;
}

LongConv::LongConv(const LongConvShape& shape, const FftKernels& kernels, Allocator allocator)
    : shape_(shape),
      width_(kernels.f32.width),
      before_(shape.before()),
      behind_(shape.behind()),
      sizes_(make_sizes(shape)) {
    for (Size& size : sizes_) {
        size.fft = std::make_unique<const RealFft<float>>(
            size.points, kernels, allocator,
            FftUse{.order = false, .alone = lanes(groups() - 1) == 1});
    }
}

int64_t LongConv::group_filter_size(const std::vector<Size>& sizes, int64_t lanes, int64_t width) {
    int64_t size = 0;
    for (const Size& s : sizes) {
        if (s.lasting) size += whole_lines(long_conv_fft_filter(s.points, lanes, width));
    }
    return size;
}

int64_t LongConv::filter_at(int64_t group) const {
    const int64_t whole = std::min(group, cut().whole()), rest = group - whole;
    return whole * group_filter_size(sizes_, width_, width_) +
           (rest > 0 ? rest * group_filter_size(sizes_, lanes(group - 1), width_) : 0);
}

int64_t LongConv::filter_size(const LongConvShape& shape, int64_t width) {
    const LongConvGroups cut = {shape.channels, width};
    const std::vector<Size> sizes = make_sizes(shape);
    int64_t size = 0;
    for (int64_t g = 0; g < cut.count(); ++g) size += group_filter_size(sizes, cut.lanes(g), width);
    return size;
}

// Inputs of a window, or taps around the circle; a spectrum that does not last; the transform's own.
int64_t LongConv::scratch_size(const LongConvShape& shape, int64_t width, bool windows) {
    const LongConvGroups cut = {shape.channels, width};
    const std::vector<Size> sizes = make_sizes(shape);
    int64_t most = 0;
    for (const int64_t group : {int64_t{0}, cut.count() - 1}) {
        const int64_t lanes = cut.lanes(group);
        for (const Size& s : sizes) {
            const bool circle = (windows && &s == &sizes.back()) || !shape.causal();
            const int64_t filter =
                s.lasting ? 0 : whole_lines(long_conv_fft_filter(s.points, lanes, width));
            most = std::max(most, (circle ? whole_lines(s.points * lanes) : 0) + filter +
                                      long_conv_fft_scratch(s.points, lanes, width));
        }
    }
    return whole_lines(most);
}

void LongConv::make_spectrum(const Size& size, int64_t lanes, const float* k, ptrdiff_t k_stride,
                             const float* after, ptrdiff_t after_stride, float* filter,
                             float* scratch) const {
    const int64_t taps = size.before + 1;
    if (causal()) {
        size.fft->make_filter(k, taps, k_stride, lanes, filter, scratch);
        return;
    }
    // Lag -j lies at n - j.
    float* circle = scratch;
    std::fill_n(circle, size.points * lanes, 0.0f);
    copy_rows(taps, lanes, k, k_stride, circle);
    const int64_t next = shape_.sides == LongConvSides::pad_flip ? 1 : 0;
    for (int64_t j = 0; j + next <= size.behind; ++j) {
        float* row = circle + (size.points - next - j) % size.points * lanes;
        for (int64_t d = 0; d < lanes; ++d) row[d] += after[j * after_stride + d];
    }
    size.fft->make_filter(circle, size.points, lanes, lanes, filter,
                          scratch + whole_lines(size.points * lanes));
}

void LongConv::make_filter(int64_t group, const float* k, ptrdiff_t k_stride, const float* after,
                           ptrdiff_t after_stride, float* filter, float* scratch) const {
    const int64_t count = lanes(group);
    for (const Size& size : sizes_) {
        if (!size.lasting) continue;
        make_spectrum(size, count, k, k_stride, after, after_stride, filter, scratch);
        filter += whole_lines(size.fft->filter_size(count));
    }
}

void LongConv::run(int64_t group, const LongConvCall& call, const float* filter,
                   float* scratch) const {
    if (call.tokens == 0) return;
    const int64_t count = lanes(group);
    const bool windows = call.past.rows() > 0 || call.tokens > top().capacity;
    for (const Size& size : sizes_) {
        const int64_t floats = whole_lines(size.fft->filter_size(count));
        const bool made = !size.lasting && call.k != nullptr && (causal() || call.after != nullptr);
        if (windows || size.capacity < call.tokens || !(size.lasting || made)) {
            if (&size != &top() && size.lasting) filter += floats;
            continue;
        }
        if (made) {
            float* spectrum = scratch;
            scratch += floats;
            make_spectrum(size, count, call.k, call.k_stride, call.after, call.after_stride,
                          spectrum, scratch);
            filter = spectrum;
        }
        size.fft->convolve(call.x, call.tokens, call.x_stride, filter, call.y, call.tokens,
                           call.y_stride, count, scratch, past_the_caches(call));
        return;
    }
    run_windows(count, call, filter, scratch);
}

// Overlap-save, last window first: where y is x the earlier inputs are still there. A window's rows
// are turned around the circle, so that its outputs come first: x[s], ..., then (zeros and) what
// comes before s.
void LongConv::run_windows(int64_t lanes, const LongConvCall& call, const float* filter,
                           float* scratch) const {
    const RealFft<float>& fft = *top().fft;
    const int64_t n = top().points, outputs = n - before_ - behind_;
    float* window = scratch;
    float* work = scratch + whole_lines(n * lanes);
    const LongConvPast& past = call.past;
    const int64_t windows = (call.tokens + outputs - 1) / outputs;
    for (int64_t i = windows; i-- > 0;) {
        const int64_t s = i * outputs, count = std::min(outputs, call.tokens - s);
        const int64_t rows = std::min(count + behind_, call.tokens - s);
        const int64_t earlier = std::min(before_, s + past.rows());
        const float* x = call.x + s * call.x_stride;
        float* y = call.y + s * call.y_stride;
        if (earlier == 0) {
            fft.convolve(x, rows, call.x_stride, filter, y, count, call.y_stride, lanes, work);
            continue;
        }
        copy_rows(rows, lanes, x, call.x_stride, window);
        std::fill(window + rows * lanes, window + (n - earlier) * lanes, 0.0f);
        const int64_t inside = std::min(earlier, s);  // of x, the others are past
        copy_rows(inside, lanes, x - inside * call.x_stride, call.x_stride,
                  window + (n - inside) * lanes);
        const int64_t second = std::min(earlier - inside, past.second_rows);
        copy_rows(second, lanes, past.second + (past.second_rows - second) * past.stride,
                  past.stride, window + (n - inside - second) * lanes);
        const int64_t first = earlier - inside - second;
        copy_rows(first, lanes, past.first + (past.first_rows - first) * past.stride, past.stride,
                  window + (n - earlier) * lanes);
        fft.convolve(window, n, lanes, filter, y, count, call.y_stride, lanes, work);
    }
}

}  // namespace seqmix
