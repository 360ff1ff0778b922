// Blocked attention. The equation and the plan are in attention.h. Scratch: attention_scratch().
#include "primitives/attention/kernel.h"

#include "primitives/attention/kernel_few_rows.h"
#if defined(SEQMIX_DOT) || defined(SEQMIX_TILES)
#include "primitives/attention/kernel_rounded.h"
#else
#include "primitives/attention/kernel_exact.h"
#endif

namespace seqmix::SEQMIX_ISA {
namespace {

// At most kFewRows.
void attend_few(const AttentionArgs& a, int64_t row, int64_t rows) {
    Query queries[kFewRows];
    Taker take = {a.scratch};
    for (int64_t r = 0; r < rows; ++r)
        queries[r].load(a, row + r, take(a.dk + kWidth), take(a.dv + kWidth));
    float* s = take(kAttentionKeyBlock);
    float* k = take(kAttentionKeyBlock * a.dk);
    float* v = take(kAttentionKeyBlock * a.dv);
    for_blocks(a, row, rows, [&](const Source& source) {
        const Block b = source.block(a, false, k, v);
        for (int64_t r = 0; r < rows; ++r)
            query_block(a, queries[r], b, source.next(a, r, rows), s);
    });
    for (int64_t r = 0; r < rows; ++r) queries[r].store(a, row + r);
}

void attend(const AttentionArgs& a);
constexpr AttentionKernels kKernels = {kPanelRows, kMostRows, kRounds, attend};

void attend(const AttentionArgs& a) {
    const int64_t tile = attention_tile_rows(kKernels, a.dk, a.dv);
    for (int64_t row = 0; row < a.rows; row += tile) {
        const int64_t rows = a.rows - row < tile ? a.rows - row : tile;
        if (rows <= kFewRows && !a.tiles) {
            attend_few(a, row, rows);
        } else {
            attend_tile(a, row, rows);
        }
    }
}

}  // namespace

extern const AttentionKernels attention_kernels = kKernels;

}  // namespace seqmix::SEQMIX_ISA
