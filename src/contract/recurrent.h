// Helpers for mixers that recur along time independently per channel.
#pragma once

#include <algorithm>

#include "contract/mixer.h"

namespace seqmix {

// Calls fn(run, first_channel, channels, group) for every row run and every block of channels; no
// block crosses a group. Pieces depend on shapes only.
template <class Fn>
void for_each_channel_block(const Call& call, int64_t channels, int64_t groups, int64_t block,
                            Fn&& fn) {
    const int64_t per_group = channels / groups;
    const int64_t blocks = (per_group + block - 1) / block;
    call.parallel_for(call.run_count * groups * blocks, [&](int64_t piece, size_t) {
        const int64_t run = piece / (groups * blocks);
        const int64_t group = piece / blocks % groups;
        const int64_t first = piece % blocks * block;
        fn(call.runs[run], group * per_group + first, std::min(block, per_group - first), group);
    });
}

// Sets columns [first, first + count) of a (rows, columns) state row to zero.
template <class T>
void zero_columns(T* state, int64_t rows, int64_t columns, int64_t first, int64_t count) {
    for (int64_t r = 0; r < rows; ++r) {
        std::fill_n(state + r * columns + first, count, T{0});
    }
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
