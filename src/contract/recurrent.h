// Helpers for mixers that recur along time independently per channel.
#pragma once

#include <algorithm>

#include "contract/mixer.h"

namespace seqmix {

// Sets columns [first, first + count) of a (rows, columns) state row to zero.
template <class T>
void zero_columns(T* state, int64_t rows, int64_t columns, int64_t first, int64_t count) {
    for (int64_t r = 0; r < rows; ++r) {
        std::fill_n(state + r * columns + first, count, T{0});
    }
}

// The loop of everything that recurs per channel. For every row run and block of channels (none
// crosses a group), and for the run's segments in order: starts the block's columns of state tensor
// `state`, kept (state_rows, channels), from zero where the segment says so, then calls
// fn(segment, first_channel, channels, group, columns, worker) with `columns` at the block's first
// column.
// Pieces depend on shapes only.
template <class Fn>
void for_each_channel_block(const Call& call, size_t state, int64_t state_rows, int64_t channels,
                            int64_t groups, int64_t block, Fn&& fn) {
    const int64_t per_group = channels / groups;
    const int64_t blocks = (per_group + block - 1) / block;
    call.parallel_for(call.run_count * groups * blocks, [&](int64_t piece, size_t worker) {
        const RowRun& run = call.runs[piece / (groups * blocks)];
        const int64_t group = piece / blocks % groups;
        const int64_t offset = piece % blocks * block;
        const int64_t first = group * per_group + offset;
        const int64_t count = std::min(block, per_group - offset);
        float* rows = call.state<float>(state, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                zero_columns(rows, state_rows, channels, first, count);
            }
            fn(segment, first, count, group, rows + first, static_cast<int64_t>(worker));
        }
    });
}

// (rows, columns) -> (columns, rows).
template <class T>
void transpose_dense(const T* from, int64_t rows, int64_t columns, T* to) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) {
            to[c * rows + r] = from[r * columns + c];
        }
    }
}

}  // namespace seqmix
