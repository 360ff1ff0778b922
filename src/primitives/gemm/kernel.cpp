// Kernels of gemm (contract in gemm.h). All of them read weights where they lie, row by row: nothing
// is kept in another layout, so a mapped file is as good as a copy.
//
// Words: where x is rounded to the type of bf16 or i8 weights (kernel_dot.h), a step multiplies pairs or
// quads of elements; otherwise a word is one f32.
//
// Three ways, by the rows of x, with equal bits. In each a register tile multiplies a *panel*, whose
// columns are vectors, with *rows*, whose elements are broadcast:
// - many rows: a block of weights is widened and transposed to a panel in scratch, once for all rows;
// - thin x, weights that are words already: x becomes the panel and the weights are the rows, so nothing is done to
//   them but to read them: transposing took a third of the time at 16 rows. The lanes of a sum are
//   then rows of x, and finished sums are transposed;
// - few rows, whose lanes would be mostly idle: tiles of weights are transposed in registers and
//   feed the sums at once. Quads, whose sums are exact in any order, have bytes of k in the lanes instead.
// Sums that are not finished wait in scratch between blocks of K, exactly.
#include "primitives/gemm/kernel.h"

#include "base/isa_safe.h"
#include "primitives/gemm/kernel_blocks.h"
#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_few_rows.h"
#include "primitives/gemm/kernel_multiply.h"
#include "primitives/gemm/kernel_quads.h"
#include "primitives/gemm/kernel_thin.h"
#include "primitives/gemm/kernel_tiles.h"
#include "primitives/gemm/kernel_transpose.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

SEQMIX_INLINE float* aligned(float* p) {
    const uintptr_t line = sizeof(float) * kLineFloats;
    return p + (line - reinterpret_cast<uintptr_t>(p) % line) % line / sizeof(float);
}

// ---- many rows ----

// `row` bytes from row to row, `bytes` of each.
template <Words kWords>
void pack(const unsigned char* w, ptrdiff_t row, WeightType w_type, int64_t n, int64_t bytes,
          float* panel) {
    if (kWords != Words::f32 || w_type == WeightType::f32) {
        pack_as<WeightType::f32>(w, row, n, bytes, panel);
    } else if (w_type == WeightType::bf16) {
        pack_as<WeightType::bf16>(w, row, n, bytes, panel);
    } else if (w_type == WeightType::f16) {
        pack_as<WeightType::f16>(w, row, n, bytes, panel);
    } else if (w_type == WeightType::q8_0) {
        pack_as<WeightType::q8_0>(w, row, n, bytes, panel);
    } else {
        pack_as<WeightType::i8>(w, row, n, bytes, panel);
    }
}

// Rows m0 .. m0 + rows of x times a panel of weights: outputs n0 .. n0 + n, words k0 .. k0 + depth of k.
struct Block {
    int64_t m0, rows, n0, n, k, k0, depth;
    const unsigned char* x;     // of row m0, word k0
    ptrdiff_t x_step;           // bytes
    const RowScale* scales;     // of row m0 on; null unless words are quads
    const float* panel;         // the weights, packed
    float* sums;                // [rows][vectors(n) * kWidth]
    const unsigned char* next;  // the next panel's weights, to be fetched meanwhile; or null
    ptrdiff_t step;             // bytes between rows of weights
    // Rows of x to be fetched at the next steps: the first (-1: none), and how many for each tile.
    int64_t next_x, next_x_rows;
};

template <Words kWords, int kVecs>
void multiply_block(const GemmArgs& args, const Block& b) {
    constexpr ptrdiff_t stride = kVecs * kWidth;
    const bool last = b.k0 + b.depth == b.k;
    const bool straight = last && b.n == stride && is_plain(args);
    const ptrdiff_t x_step = b.x_step;
    const unsigned char* x = b.x;
    const int64_t next_rows = (b.n * kTileRows + b.rows - 1) / b.rows;  // for each tile
    Ahead ahead{};
    ahead.w = b.next != nullptr ? b.next : x;
    // Words that are not kept are not known yet.
    ahead.x = b.next_x < 0 ? x : x + b.next_x * x_step + (last ? -b.k0 : b.depth) * 4;
    ahead.w_step = b.step;
    ahead.x_step = x_step;
    for (int64_t r = 0; r < b.rows; r += kTileRows) {
        const int64_t count = min_of(kTileRows, b.rows - r);
        float* partial = b.sums + r * stride;
        float* out = straight ? args.y + (b.m0 + r) * args.y_stride + b.n0 : partial;
        multiply_rows<kWords, kTileRows, kVecs, false>(count, b.depth, x, x_step, b.panel,
                                                       b.k0 == 0 ? nullptr : partial, stride, out,
                                                       straight ? args.y_stride : stride, ahead);
        ahead.w += next_rows * b.step;
        ahead.x += (b.next_x < 0 ? kTileRows : b.next_x_rows) * x_step;
        if (last && !straight) {
            const RowScale* scales = b.scales == nullptr ? nullptr : b.scales + r;
            finish(args, {b.m0 + r, count, b.n0, b.n, partial, stride, scales});
        }
        x += kTileRows * x_step;
    }
}

template <Words kWords, int kVecs = 1>
void multiply_panel(const GemmArgs& args, const Block& block) {
    if constexpr (kVecs < kPanelVecs) {
        if (vectors(block.n) > kVecs) {
            multiply_panel<kWords, kVecs + 1>(args, block);
            return;
        }
    }
    multiply_block<kWords, kVecs>(args, block);
}

template <Words kWords>
void multiply_many(const GemmArgs& args, int64_t m0, int64_t rows, const Buffers& buffers) {
    const int64_t row_bytes = weight_bytes(args.w_type, args.k);
    // Bytes of a row of weights for so many words of x, all but the last ones whole blocks.
    const auto bytes = [&](int64_t words) {
        return kWords != Words::f32 ? words * 4 : weight_bytes(args.w_type, words);
    };
    const auto* weights = static_cast<const unsigned char*>(args.w);
    Block b{};
    b.m0 = m0;
    b.rows = rows;
    b.k = kWords != Words::f32 ? (row_bytes + 3) / 4 : args.k;
    b.panel = buffers.panel;
    b.step = weight_bytes(args.w_type, args.w_stride);
    b.x_step = args.x_stride * 4;
    auto* words = reinterpret_cast<unsigned char*>(buffers.words);
    const bool kept = rows <= kept_rows(b.k);  // all words of x, at once
    if constexpr (kWords != Words::f32) {
        b.x_step = (kept ? kept_stride(b.k) : kWordsStride) * 4;
        if constexpr (kWords == Words::quads) {
            b.scales = buffers.scales;
            scale_rows<kWords>(args, m0, rows, buffers.scales);
        }
        if (kept) {
            round_rows<kWords>(args, m0, rows, 0, args.k, b.scales, words, b.x_step);
        }
    }
    for (int64_t begin = 0; begin < args.n; begin += kBlockN) {
        const int64_t end = min_of(begin + kBlockN, args.n);
        b.k0 = 0;
        do {  // once where K is 0: the epilogue of empty sums
            b.depth = min_of(kBlockK, b.k - b.k0);
            if constexpr (kWords != Words::f32) {
                const int64_t first = b.k0 * kPerWord<kWords>;
                const int64_t count = min_of(b.depth * kPerWord<kWords>, args.k - first);
                if (!kept) {
                    round_rows<kWords>(args, m0, rows, first, count, b.scales, words, b.x_step);
                }
                b.x = words + (kept ? b.k0 * 4 : 0);
            } else {
                b.x = bytes_of(args.x + m0 * args.x_stride + b.k0);
            }
            for (b.n0 = begin; b.n0 < end; b.n0 += kPanelLanes) {
                b.n = min_of(kPanelLanes, end - b.n0);
                const unsigned char* w = weights + b.n0 * b.step + bytes(b.k0);
                b.next = b.n0 + b.n < end       ? w + kPanelLanes * b.step
                         : b.k0 + b.depth < b.k ? weights + begin * b.step + bytes(b.k0 + b.depth)
                         : end < args.n         ? weights + end * b.step
                                                : nullptr;
                b.sums = buffers.sums + (b.n0 - begin) * rows;
                // Each panel of the block fetches its share of x.
                const int64_t panels = (end - begin + kPanelLanes - 1) / kPanelLanes;
                b.next_x_rows = (kTileRows + panels - 1) / panels;
                b.next_x = kWords != Words::f32 && !kept
                               ? -1
                               : (b.n0 - begin) / kPanelLanes * (rows / kTileRows) * b.next_x_rows;
                pack<kWords>(w, b.step, args.w_type, b.n,
                             min_of(bytes(b.depth), row_bytes - bytes(b.k0)), buffers.panel);
                multiply_panel<kWords>(args, b);
            }
            b.k0 += b.depth;
        } while (b.k0 < b.k);
    }
}

// ---- entry ----

void multiply_exactly(const GemmArgs& args, int64_t m0, int64_t rows, const Buffers& buffers) {
    if (rows <= kDirectRows) {
        multiply_direct(args, m0, rows, buffers.sums);
    } else if (can_be_thin<Words::f32>(args, rows)) {
        multiply_thin<Words::f32>(args, m0, rows, buffers);
    } else {
        multiply_many<Words::f32>(args, m0, rows, buffers);
    }
}

#ifdef SEQMIX_ROUNDS
template <Words kWords>
void multiply_rounded(const GemmArgs& args, int64_t m0, int64_t rows, const Buffers& buffers) {
    if (kWords == Words::quads && can_be_quads(args, rows, kWordsFloats)) {
        multiply_quads(args, m0, rows, buffers.words, buffers.scales);
        return;
    }
#ifdef SEQMIX_TILES
    const TileRegisters registers;
    multiply_in_tiles<kWords>(args, m0, rows, buffers);
#else
    if (kWords == Words::pairs && rows <= kDirectRows &&
        rows * args.k <= (kWordsFloats - rows) * 2) {
        multiply_direct_pairs(args, m0, rows, buffers.words, buffers.sums);
    } else if (can_be_thin<kWords>(args, rows)) {
        multiply_thin<kWords>(args, m0, rows, buffers);
    } else {
        const int64_t fit = kept_rows((args.k + kPerWord<kWords> - 1) / kPerWord<kWords>);
        const int64_t most = fit < kLeastKept ? rows : fit;
        for (int64_t r = 0; r < rows; r += most) {
            multiply_many<kWords>(args, m0 + r, min_of(most, rows - r), buffers);
        }
    }
#endif
}
#endif

void gemm(const GemmArgs& args) {
    Buffers buffers{};
    buffers.panel = aligned(args.scratch);
    buffers.sums = buffers.panel + kPanelFloats;
    buffers.words = buffers.sums + max_of(kBlockM * kBlockN, kThinN * kPanelLanes);
    buffers.scales = reinterpret_cast<RowScale*>(buffers.words + kWordsFloats);
    auto multiply = multiply_exactly;
#ifdef SEQMIX_ROUNDS
    const Words words = words_of(args);
    if (words != Words::f32) {
        multiply =
            words == Words::pairs ? multiply_rounded<Words::pairs> : multiply_rounded<Words::quads>;
    }
#endif
    for (int64_t m0 = 0; m0 < args.m; m0 += kBlockM) {
        multiply(args, m0, min_of(kBlockM, args.m - m0), buffers);
    }
}

}  // namespace

const GemmKernels gemm_kernels = {kWidth,    kTileRows, kPanelLanes,    kBlockM, kItemN,
                                  kThinRows, kThinN,    kScratchFloats, kRounds, gemm};

}  // namespace seqmix::SEQMIX_ISA
