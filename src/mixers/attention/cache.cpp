#include "mixers/attention/cache.h"

#include <algorithm>

namespace seqmix::mixers {
namespace {

enum : size_t { kKeys = 0, kValues = 1, kClock = 2 };
constexpr int64_t kPeriod = int64_t{1} << 20;

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Whatever a caller has set.
template <class T>
int64_t read_clock(const T* clock) {
    const auto part = [](T value) {
        return value >= 0 && value < static_cast<T>(kPeriod) ? static_cast<int64_t>(value) : 0;
    };
    return part(clock[1]) * kPeriod + part(clock[0]);
}

}  // namespace

CacheSizes CacheSizes::make(int64_t k_width, int64_t v_width, int64_t window, int64_t max_tokens) {
    CacheSizes sizes;
    sizes.k_width = k_width;
    sizes.v_width = v_width;
    sizes.window = window;
    sizes.lines = max_tokens;
    sizes.piece = max_tokens;
    if (window > 0) {
        // At most twice the window is kept, so that long inputs need few rounds.
        sizes.piece = std::clamp<int64_t>(round_up(window, kAttentionKeyBlock), kAttentionKeyBlock,
                                          8 * kAttentionKeyBlock);
        sizes.lines = round_up(window - 1 + sizes.piece, kAttentionKeyBlock);
    }
    return sizes;
}

size_t CachePass::scratch_bytes(const StepShape& step) {
    return Scratch::round_up(static_cast<size_t>(step.tokens) * sizeof(int64_t)) +
           Scratch::round_up(static_cast<size_t>(step.rows) * sizeof(CachePiece));
}

CachePass::CachePass(const CacheSizes& sizes, const Call& call, bool cached, Scratch& scratch)
    : sizes_(sizes),
      call_(call),
      cached_(cached),
      positions_(scratch.take<int64_t>(call.tokens)),
      pieces_(scratch.take<CachePiece>(call.rows)) {}

template <class T>
void CachePass::find_positions() {
    const int64_t lines = !cached_ || sizes_.window > 0 ? INT64_MAX / 2 : call_.states[kKeys].lines;
    for (int64_t r = 0; r < call_.run_count; ++r) {
        const RowRun& run = call_.runs[r];
        int64_t clock = cached_ ? read_clock(call_.state<T>(kClock, run.state_row)) : 0;
        pieces_[r] = {&run, run.first, 0, 0, 0, std::min(clock, lines), false};
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call_.segments[s];
            clock = segment.reset || !cached_ ? 0 : std::min(clock, lines - segment.count);
            for (int64_t i = 0; i < segment.count; ++i) {
                positions_[segment.first + i] = clock++;
            }
        }
    }
}

// A sequence begins: nothing is left of the one before, which ended at piece.position + piece.count.
template <class T>
void CachePass::clear(const CachePiece& piece) const {
    const int64_t used = piece.position + piece.count;
    for (const size_t tensor : {kKeys, kValues}) {
        const int64_t width = tensor == kKeys ? sizes_.k_width : sizes_.v_width;
        const int64_t lines =
            std::min(used, sizes_.window > 0 ? sizes_.lines : call_.states[tensor].lines);
        std::fill_n(call_.state<T>(tensor, piece.run->state_row), lines * width, T{0});
    }
}

template <class T>
bool CachePass::next() {
    if (!started_) {
        find_positions<T>();
        started_ = true;
    }
    longest_ = 0;
    for (int64_t r = 0; r < call_.run_count; ++r) {
        CachePiece& piece = pieces_[r];
        const RowRun& run = *piece.run;
        piece.done += piece.count;
        if (piece.segment < run.first + run.count &&
            piece.done == call_.segments[piece.segment].count) {
            ++piece.segment;
            piece.done = 0;
        }
        if (piece.segment == run.first + run.count) {
            piece.count = 0;
            continue;
        }
        const Segment& segment = call_.segments[piece.segment];
        if (cached_ && segment.reset && piece.done == 0) {
            clear<T>(piece);
        }
        piece.first = segment.first + piece.done;
        piece.position = positions_[piece.first];
        piece.count = cached_ ? std::min(segment.count - piece.done, sizes_.piece) : segment.count;
        piece.step = segment.single;
        longest_ = std::max(longest_, piece.count);
    }
    return longest_ > 0;
}

template <class T>
void CachePass::append(const T* k, const T* v, ptrdiff_t stride) const {
    constexpr int64_t kRows = 32;
    const int64_t parts = (longest_ + kRows - 1) / kRows;
    call_.parallel_for(call_.run_count * parts, [&](int64_t item, size_t) {
        const CachePiece& piece = pieces_[item / parts];
        T* keys = call_.state<T>(kKeys, piece.run->state_row);
        T* values = call_.state<T>(kValues, piece.run->state_row);
        const int64_t begin = item % parts * kRows, end = std::min(begin + kRows, piece.count);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t at = line(piece.position + i);
            std::copy_n(k + (piece.first + i) * stride, sizes_.k_width, keys + at * sizes_.k_width);
            std::copy_n(v + (piece.first + i) * stride, sizes_.v_width,
                        values + at * sizes_.v_width);
        }
    });
}

template <class T>
void CachePass::finish() const {
    for (int64_t r = 0; cached_ && r < call_.run_count; ++r) {
        const RowRun& run = call_.runs[r];
        const Segment& last = call_.segments[run.first + run.count - 1];
        const int64_t clock = positions_[last.first + last.count - 1] + 1;
        T* out = call_.state<T>(kClock, run.state_row);
        const int64_t periods = clock / kPeriod;
        out[0] = static_cast<T>(clock - periods * kPeriod);
        out[1] = static_cast<T>(periods);
    }
}

int64_t CachePass::runs(const CachePiece& piece, int64_t k_column, int64_t v_column,
                        AttentionKeys out[2]) const {
    const float* keys = call_.state<float>(kKeys, piece.run->state_row) + k_column;
    const float* values = call_.state<float>(kValues, piece.run->state_row) + v_column;
    const int64_t end = piece.position + piece.count;
    const int64_t first =
        sizes_.window > 0 ? std::max<int64_t>(0, piece.position - sizes_.window + 1) : 0;
    int64_t count = 0;
    for (int64_t at = first; at < end;) {
        const int64_t begin = line(at), n = std::min(end - at, sizes_.lines - begin);
        out[count++] = {at,
                        n,
                        keys + begin * sizes_.k_width,
                        sizes_.k_width,
                        values + begin * sizes_.v_width,
                        sizes_.v_width};
        at += n;
    }
    return count;
}

template bool CachePass::next<float>();
template bool CachePass::next<double>();
template void CachePass::append(const float*, const float*, ptrdiff_t) const;
template void CachePass::append(const double*, const double*, ptrdiff_t) const;
template void CachePass::finish<float>() const;
template void CachePass::finish<double>() const;

}  // namespace seqmix::mixers
