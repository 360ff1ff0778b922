#include "primitives/long_conv/stream.h"

#include <algorithm>
#include <cmath>

namespace seqmix {
namespace {

constexpr int64_t kSmall = 128;       // B1
constexpr int64_t kMostDirect = 128;  // tokens that go directly in one go
constexpr int64_t kMarker = 16;  // floats a lane before its cache; the first: its clock, plus 1

int64_t whole_lines(int64_t floats) { return (floats + 15) / 16 * 16; }
int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

}  // namespace

// B2 about a half of what makes the products an output, 4 (2 B2 / B1 + K / B2), the fewest: its
// transforms are what makes one block dearer than another.
LongConvStream::Sizes::Sizes(const LongConvShape& shape) {
    const int64_t K = shape.taps, D = shape.channels;
    ring_rows = K - 1;
    if (K <= kSmall) {
        cache_size = D * kMarker;
        return;
    }
    small = kSmall;
    near = parts(K, small) - 1;
    int64_t block = 2 * small;
    while (block < 4096 && 8 * block * block <= K * small) block *= 2;
    if (K > 4 * block) {
        large = block;
        near = 2 * large / small - 1;
        far = parts(K, large) - 2;  // partitions 2, 3, ...
        windows = (far + 4) / 2 * 2;
        window_size = 2 * (large + 1) * D;
        ring_rows = windows * large;
        near_windows = 2 * large / small;
    } else {
        near_windows = near + 2;
        ring_rows = near_windows * small;
    }
    const int64_t lane =
        small + near_windows * 2 * (small + 1) + (large > 0 ? 2 * large + 2 * (large + 1) : 0);
    cache_size = D * (kMarker + lane);
}

int64_t LongConvStream::Sizes::next_clock(int64_t clock, int64_t tokens) const {
    clock += tokens;
    if (ring_rows == 0) return 0;
    return clock < 2 * ring_rows ? clock : ring_rows + clock % ring_rows;
}

bool LongConvStream::Sizes::by_blocks(int64_t clock, int64_t tokens) const {
    return clock > 0 && (tokens < 256 || 2 * tokens < std::min(clock, ring_rows));
}

int64_t LongConvStream::Sizes::windows_used(int64_t clock) const {
    return large > 0 ? std::min(windows, clock / large) : 0;
}

struct LongConvStream::Row {
    const LongConvRowCall& call;
    int64_t group, first, lanes;
    int64_t clock;
    // Of the cache; near: what is known beforehand of a small block's outputs (small, lanes).
    float *marker{}, *near{}, *near_windows{}, *ready{}, *due{}, *bins{};
    float *stage{}, *sums{}, *work{};
};

LongConvStream::Level LongConvStream::make_level(int64_t block, int64_t first, int64_t count,
                                                 const float* k, const FftKernels& fft,
                                                 Allocator allocator) const {
    Level level;
    level.block = block;
    level.first = first;
    level.count = count;
    if (block == 0) return level;
    level.fft = std::make_unique<const RealFft<float>>(2 * block, fft, allocator);
    const int64_t D = shape_.channels, bins = level.bins();
    level.spectra = Array<float>(count * bins * D, allocator);
    Array<float> work(level.fft->scratch(whole_.lanes(0)), allocator);
    float* to = level.spectra.data();
    for (int64_t g = 0; g < whole_.groups(); ++g) {
        const int64_t lanes = whole_.lanes(g);
        for (int64_t p = first; p < first + count; ++p) {
            const int64_t rows = std::min(block, shape_.taps - p * block);
            level.fft->forward(k + p * block * D + whole_.first(g), rows, D,
                               {to, to + bins / 2 * lanes, lanes, block + 1, block + 1}, lanes,
                               work.data());
            to += bins * lanes;
        }
    }
    return level;
}

LongConvStream::LongConvStream(const LongConvShape& shape, const float* k, const FftKernels& fft,
                               const LongConvKernels& kernels, Allocator allocator)
    : shape_(shape), sizes_(shape), kernels_(&kernels), whole_(shape, fft, allocator) {
    const int64_t D = shape.channels;
    filter_ = Array<float>(whole_.filter_size(), allocator);
    Array<float> work(whole_.scratch_size(), allocator);
    for (int64_t g = 0; g < whole_.groups(); ++g) {
        whole_.make_filter(g, k + whole_.first(g), D, nullptr, 0,
                           filter_.data() + whole_.filter_at(g), work.data());
    }
    near_ = make_level(sizes_.small, 1, sizes_.near, k, fft, allocator);
    far_ = make_level(sizes_.large, 2, sizes_.far, k, fft, allocator);
    const int64_t direct = std::min(shape.taps, kSmall);
    taps_ = Array<float>(direct * D, allocator);
    std::copy_n(k, direct * D, taps_.data());
    scratch_size_ = scratch_size(shape, fft.f32.width);
}

int64_t LongConvStream::scratch_size(const LongConvShape& shape, int64_t width) {
    const Sizes sizes(shape);
    const LongConvGroups cut = {shape.channels, width};
    const int64_t block = std::max(sizes.large, kSmall), lanes = cut.lanes(0);
    const int64_t stage = whole_lines(2 * block * lanes) + whole_lines(2 * (block + 1) * lanes);
    int64_t transforms = 0;
    for (const int64_t points : {2 * sizes.small, 2 * sizes.large}) {
        for (const int64_t group : {int64_t{0}, cut.count() - 1}) {
            if (points == 0) continue;
            transforms =
                std::max(transforms, long_conv_fft_scratch(points, cut.lanes(group), width));
        }
    }
    return whole_lines(std::max(LongConv::scratch_size(shape, width), stage + transforms));
}

const float* LongConvStream::Level::spectrum(const Row& row, int64_t partition) const {
    return spectra.data() + count * bins() * row.first + (partition - first) * bins() * row.lanes;
}

void LongConvStream::run(int64_t group, const LongConvRowCall& call, float* scratch) const {
    if (call.tokens == 0) return;
    Row row{call, group, whole_.first(group), whole_.lanes(group), call.clock};
    const int64_t lane = sizes_.cache_size / shape_.channels;
    row.marker = call.cache + row.first * lane;
    row.near = row.marker + kMarker * row.lanes;
    row.near_windows = row.near + sizes_.small * row.lanes;
    row.ready = row.near_windows + sizes_.near_windows * near_.bins() * row.lanes;
    row.due = row.ready + sizes_.large * row.lanes;
    row.bins = row.due + sizes_.large * row.lanes;
    row.stage = scratch;
    const int64_t block = std::max(sizes_.large, kSmall);
    row.sums = row.stage + whole_lines(2 * block * row.lanes);
    row.work = row.sums + whole_lines(2 * (block + 1) * row.lanes);
    const int64_t end = sizes_.next_clock(call.clock, call.tokens);
    const bool room = call.window_rows >= sizes_.windows_used(end);
    if (sizes_.by_blocks(call.clock, call.tokens) && room) {
        run_blocks(row);
    } else {
        row.work = scratch;
        run_whole(row);
    }
}

void LongConvStream::reset(int64_t group, const LongConvRowCall& call) const {
    const int64_t first = whole_.first(group), lanes = whole_.lanes(group);
    for (int64_t i = 0; i < std::min(call.clock, sizes_.ring_rows); ++i) {
        std::fill_n(call.ring + i * call.ring_stride + first, lanes, 0.0f);
    }
    call.cache[first * (sizes_.cache_size / shape_.channels)] = 0;
}

void LongConvStream::run_whole(Row& row) const {
    const LongConvRowCall& call = row.call;
    const int64_t P = sizes_.ring_rows;
    const ptrdiff_t D = call.ring_stride;
    LongConvCall whole;
    whole.tokens = call.tokens;
    whole.x = call.x + row.first;
    whole.x_stride = call.x_stride;
    whole.y = call.y + row.first;
    whole.y_stride = call.y_stride;
    const int64_t rows = std::min(row.clock, shape_.taps - 1);
    if (rows > 0) {
        const int64_t end = row.clock % P, second = std::min(rows, end), older = rows - second;
        whole.past = {call.ring + (P - older) * D + row.first, older,
                      call.ring + (end - second) * D + row.first, second, D};
    }
    whole_.run(row.group, whole, filter_.data() + whole_.filter_at(row.group), row.work);
    remember(row, 0, call.tokens);
    *row.marker = 0;
}

// Tokens [from, from + count) of the call into the ring, where the clock stands.
void LongConvStream::remember(Row& row, int64_t from, int64_t count) const {
    const int64_t P = sizes_.ring_rows, skipped = std::max<int64_t>(count - P, 0);
    const float* x = row.call.x + row.first;
    for (int64_t i = skipped; i < count; ++i) {
        std::copy_n(x + (from + i) * row.call.x_stride, row.lanes,
                    row.call.ring + (row.clock + i) % P * row.call.ring_stride + row.first);
    }
}

// y = direct products with the last inputs and these, plus what is known beforehand.
void LongConvStream::direct(Row& row, int64_t from, int64_t count) const {
    const int64_t taps = std::min(shape_.taps, kSmall), P = sizes_.ring_rows;
    const int64_t lanes = row.lanes, D = shape_.channels;
    float* stage = row.stage;
    for (int64_t j = taps - 1; j > 0; --j, stage += lanes) {
        if (row.clock < j) {
            std::fill_n(stage, lanes, 0.0f);
        } else {
            std::copy_n(row.call.ring + (row.clock - j) % P * row.call.ring_stride + row.first,
                        lanes, stage);
        }
    }
    for (int64_t i = 0; i < count; ++i) {
        std::copy_n(row.call.x + (from + i) * row.call.x_stride + row.first, lanes,
                    stage + i * lanes);
    }
    const float* known = sizes_.small > 0 ? row.near + row.clock % sizes_.small * lanes : nullptr;
    float* y = row.call.y + from * row.call.y_stride + row.first;
    if (lanes > 1) {
        kernels_->fir(count, lanes, taps, stage, lanes, taps_.data() + row.first, D, known, lanes,
                      y, row.call.y_stride);
        return;
    }
    float k[kSmall];
    for (int64_t j = 0; j < taps; ++j) k[j] = taps_[j * D + row.first];
    kernels_->fir_one(count, taps, stage, k, known, row.sums);
    for (int64_t i = 0; i < count; ++i) y[i * row.call.y_stride] = row.sums[i];
}

void LongConvStream::run_blocks(Row& row) const {
    const int64_t P = sizes_.ring_rows, B = sizes_.small;
    if (B > 0 && *row.marker != static_cast<float>(row.clock + 1)) make_cache(row);
    for (int64_t t = 0; t < row.call.tokens;) {
        const int64_t room = B > 0 ? B - row.clock % B : kMostDirect;
        const int64_t count = std::min(row.call.tokens - t, room);
        direct(row, t, count);
        if (P > 0) remember(row, t, count);
        row.clock = sizes_.next_clock(row.clock, count);
        t += count;
        if (B > 0 && row.clock % B == 0) {
            transform(row, near_, row.clock);
            near_block(row, row.clock);
        }
    }
    *row.marker = static_cast<float>(row.clock + 1);
}

float* LongConvStream::window(Row& row, const Level& level, int64_t block) const {
    const int64_t size = level.bins();
    if (&level == &near_) return row.near_windows + block % sizes_.near_windows * size * row.lanes;
    return row.call.windows + block % sizes_.windows * row.call.window_stride + row.first * size;
}

// The spectrum of the two blocks before token `end`, the newer one first: outputs then are the
// first rows of the circle.
void LongConvStream::transform(Row& row, const Level& level, int64_t end) const {
    const int64_t B = level.block, P = sizes_.ring_rows, lanes = row.lanes;
    for (int64_t half = 0; half < 2; ++half) {
        const int64_t begin = end - (half + 1) * B;
        float* to = row.stage + half * B * lanes;
        if (begin < 0) {
            std::fill_n(to, B * lanes, 0.0f);
            continue;
        }
        const float* from = row.call.ring + begin % P * row.call.ring_stride + row.first;
        for (int64_t t = 0; t < B; ++t) {
            std::copy_n(from + t * row.call.ring_stride, lanes, to + t * lanes);
        }
    }
    float* to = window(row, level, end / B - 1);
    level.fft->forward(row.stage, 2 * B, lanes, {to, to + (B + 1) * lanes, lanes, B + 1, B + 1},
                       lanes, row.work);
}

void LongConvStream::back(Row& row, const Level& level, const float* bins, float* out) const {
    const int64_t B = level.block, lanes = row.lanes;
    level.fft->inverse({bins, bins + (B + 1) * lanes, lanes, B + 1, B + 1}, out, B, lanes, lanes,
                       row.work);
}

// bins += products of partitions [from, to) for the outputs of `block`, as far as there is a past.
void LongConvStream::multiply(Row& row, const Level& level, int64_t block, int64_t from, int64_t to,
                              float* bins) const {
    for (int64_t p = from; p < to && p <= block; ++p) {
        kernels_->multiply_add((level.block + 1) * row.lanes, window(row, level, block - p),
                               level.spectrum(row, p), bins);
    }
}

// At the start of a small block: what the past gives to its outputs.
void LongConvStream::near_block(Row& row, int64_t clock) const {
    const int64_t B = sizes_.small, lanes = row.lanes;
    std::fill_n(row.sums, near_.bins() * lanes, 0.0f);
    multiply(row, near_, clock / B, near_.first, near_.first + near_.count, row.sums);
    back(row, near_, row.sums, row.near);
    if (far_.block == 0) return;
    if (clock % far_.block == 0) {
        std::copy_n(row.due, far_.block * lanes, row.ready);
        far_block(row, clock);
    }
    far_share(row, clock);
    const float* ready = row.ready + clock % far_.block * lanes;
    for (int64_t i = 0; i < B * lanes; ++i) row.near[i] += ready[i];
}

// At the start of a large block: the spectrum of the one before, and new sums for the one after.
void LongConvStream::far_block(Row& row, int64_t clock) const {
    if (clock > 0) transform(row, far_, clock);
    std::fill_n(row.bins, far_.bins() * row.lanes, 0.0f);
}

// The share of a small block in the products for the next large one. The first and the last small
// block have the transforms.
void LongConvStream::far_share(Row& row, int64_t clock) const {
    const int64_t steps = far_.block / sizes_.small, step = clock % far_.block / sizes_.small;
    const int64_t idle = steps >= 4 ? 1 : 0, sharing = steps - 2 * idle;
    const int64_t at = std::clamp<int64_t>(step - idle, 0, sharing);
    const int64_t next = std::clamp<int64_t>(step + 1 - idle, 0, sharing);
    multiply(row, far_, clock / far_.block + 1, far_.first + far_.count * at / sharing,
             far_.first + far_.count * next / sharing, row.bins);
    if (step == steps - 1) back(row, far_, row.bins, row.due);
}

// Everything as run_blocks would have left it.
void LongConvStream::make_cache(Row& row) const {
    const int64_t B = sizes_.small, clock = row.clock / B * B;
    const auto transform_past = [&](const Level& level) {
        const int64_t block = row.clock / level.block;
        for (int64_t p = std::min(level.first + level.count - 1, block); p > 0; --p) {
            transform(row, level, (block - p + 1) * level.block);
        }
        return block;
    };
    transform_past(near_);
    if (far_.block > 0) {
        const int64_t block = transform_past(far_);
        std::fill_n(row.bins, far_.bins() * row.lanes, 0.0f);
        multiply(row, far_, block, far_.first, far_.first + far_.count, row.bins);
        back(row, far_, row.bins, row.due);
        std::copy_n(row.due, far_.block * row.lanes, row.ready);
        std::fill_n(row.bins, far_.bins() * row.lanes, 0.0f);
        // The shares of the small blocks before this one; near_block adds this one's.
        for (int64_t at = block * far_.block; at < clock; at += B) far_share(row, at);
    }
    near_block(row, clock);
}

}  // namespace seqmix
