// Kernel table of blocked attention; the equation is in attention.h.
#pragma once

#include "base/isa_safe.h"
#include "primitives/kernel_table.h"

namespace seqmix {

// How keys and values are stored; i8 needs scales.
enum class KeyType : int32_t { f32, bf16, f16, i8 };

// Consecutive keys and their values, stored as AttentionArgs::type says; strides in elements.
struct AttentionKeys {
    int64_t first;  // index of the first: its position, and its column in bias and mask
    int64_t count;
    const void* k;  // (count, dk)
    ptrdiff_t k_stride;
    const void* v;  // (count, dv)
    ptrdiff_t v_stride;
    // Key j is what is stored times k_scales[j k_scale_stride], values likewise; null: as stored.
    const float* k_scales = nullptr;
    ptrdiff_t k_scale_stride = 0;
    const float* v_scales = nullptr;
    ptrdiff_t v_scale_stride = 0;
};

// One call: R queries that meet the same keys (queries of one head, or of the heads of a group), any
// R >= 1; all f32 but the keys; strides in elements. y overlaps nothing.
struct AttentionArgs {
    int64_t rows, dk, dv;
    const float* q;  // (R, dk)
    ptrdiff_t q_stride;
    KeyType type;
    const AttentionKeys* runs;  // in rising order of `first`, no two with the same key
    int64_t run_count;
    float scale;
    float softcap;                    // 0: none
    int64_t position, position_step;  // row i is at position + i position_step; step 0 or 1
    int64_t left, right;              // row at p sees keys p - left .. p + right; -1: no bound
    const float* slopes;              // ALiBi, one for each row; or null
    ptrdiff_t slopes_step;            // 0: all rows have the first
    const float* sinks;               // likewise
    ptrdiff_t sinks_step;
    const float* bias;  // (R, keys) added to the scores, or null
    ptrdiff_t bias_stride;
    const unsigned char* mask;  // (R, keys): 0 hides a key, or null
    ptrdiff_t mask_stride;
    float* y;  // (R, dv)
    ptrdiff_t y_stride;
    float* lse;  // (R), or null
    ptrdiff_t lse_stride;
    float* scratch;  // attention_scratch() floats, for this call alone
    bool tiles;      // also for up to four rows: bits do not depend on the number of rows
};

struct AttentionKernels {
    int64_t panel_rows;  // queries in the lanes at once
    int64_t most_rows;   // of a tile, a multiple
    bool rounds;         // tiles round their operands to bf16
    void (*attend)(const AttentionArgs&);
};

SEQMIX_DECLARE_KERNELS(AttentionKernels, attention_kernels)
SEQMIX_DECLARE_ROUNDING_KERNELS(AttentionKernels, attention_kernels)

constexpr int64_t kAttentionKeyBlock = 64;  // keys of a score tile
constexpr int64_t kRoundedBlock = 128;      // where operands are rounded

// Queries that share a reading of the keys (a tile): the more, the less reading, while their numbers
// stay in the L2 cache (384 KB; 576 KB where operands are rounded, for packing keys then takes longer
// than a panel's use of them). Calls of a multiple are best.
SEQMIX_INLINE int64_t attention_tile_rows(const AttentionKernels& kernels, int64_t dk, int64_t dv) {
    const int64_t floats = kernels.rounds ? 196608 : 98304, panel = kernels.panel_rows;
    const int64_t rows = floats / (dk + dv) / panel * panel;
    return rows < panel ? panel : rows < kernels.most_rows ? rows : kernels.most_rows;
}

// Floats of scratch for a call.
SEQMIX_INLINE int64_t attention_scratch(const AttentionKernels& kernels, int64_t dk, int64_t dv) {
    constexpr int64_t kLine = 16, kRowNumbers = 4;
    const int64_t rows = attention_tile_rows(kernels, dk, dv);
    const int64_t keys = kernels.rounds ? kRoundedBlock : kAttentionKeyBlock;
    return (rows + keys) * (dk + dv + 2 * kLine) + kRowNumbers * rows +
           2 * keys * (kernels.panel_rows + kLine);
}

}  // namespace seqmix
