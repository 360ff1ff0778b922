// Sizes of what gemm keeps in registers and caches, and a worker's scratch. Part of kernel.cpp.
#pragma once

#include "primitives/gemm/kernel_dot.h"
#include "primitives/gemm/kernel_multiply.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// The register tile: 24 sums, 3 vectors of the panel and 1 element of the rows in 32 registers at 16
// lanes, 12 + 2 + 1 in 16 at 8 lanes; fewer where a product needs a register of its own.
constexpr int kPanelVecs = kWidth >= 16 ? 3 : 2;
constexpr int kTileSums = kWidth >= 16 ? 24 : kWidth >= 8 ? 12 : 8;
constexpr int kTileRows = kTileSums / kPanelVecs;
constexpr int64_t kPanelLanes = int64_t{kPanelVecs} * kWidth;
// A panel of weights (24 KB at 16 lanes, 16 KB at 8) stays in the first-level cache.
constexpr int64_t kBlockK = kWidth >= 16 ? 128 : 256;
// The sums of a block of y (384 KB) wait in the second-level cache while K goes by in blocks, whose
// part of x (256 KB at 16 lanes) is read there again for each panel.
constexpr int64_t kBlockM = 512;
constexpr int64_t kBlockN = 192;
static_assert(kBlockN % kPanelLanes == 0);
// Outputs of an item of work: x is rounded once for each.
constexpr int64_t kItemN = kRounds ? 16 * kBlockN : kBlockN;
// Thin x is one panel, as large as one of weights: fewer lanes, more steps.
constexpr int64_t kThinRows = kPanelLanes;
constexpr int64_t kThinN = 384;       // outputs whose sums wait in the second-level cache
constexpr int64_t kThinLeastK = 128;  // below, transposing the sums costs what it saves

constexpr int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t kPanelFloats = kPanelLanes * kBlockK;
// Tiles of AMX.
constexpr int64_t kTile = 16;                   // rows of a tile, and its columns of 32 bits
constexpr int64_t kChunk = 64;                  // bytes of a row of weights in a tile
constexpr int64_t kTileBytes = kTile * kChunk;  // 1 KB
constexpr int64_t kTileFloats = kTileBytes / 4;
// Four tiles of sums from two of weights and two of x: as many as registers hold.
constexpr int64_t kPair = 2;
// x for all rows and chunks of a block, in the second-level cache (1 MB of 2); its chunks at most.
constexpr int64_t kPackedTiles = 1024;
constexpr int64_t kMostChunks = 256;
constexpr int64_t kRowsWords = kMostChunks * kTile;  // words of a row of x
constexpr int64_t kPackedFloats = kPackedTiles * kTileFloats;
constexpr int64_t kRoundedFloats = kTile * kRowsWords;
// Weights that are used for all rows of x before the next ones (512 KB), in pairs of tiles.
constexpr int64_t kWeightTiles = 512;
constexpr int64_t kPairs = 32;
// Those at an edge of the matrix, filled up with zeros: one chunk of each pair, all of the last one.
constexpr int64_t kEdgeFloats = (kMostChunks + kPairs) * kPair * kTileFloats;
constexpr int64_t kTilesScratch = kPackedFloats + kRoundedFloats + kEdgeFloats;

// x as words, where it is rounded: all of it, while so many rows fit that packing weights for them pays,
// or a panel's steps. Rows at odd lines, so that a tile's do not meet in the same sets of the cache.
constexpr int64_t kLeastKept = 64;
constexpr ptrdiff_t kept_stride(int64_t words) {
    return ((words + kLineFloats - 1) / kLineFloats | 1) * kLineFloats;
}
constexpr ptrdiff_t kWordsStride = kBlockK + kLineFloats;
#ifdef SEQMIX_TILES
constexpr int64_t kWordsFloats = kTilesScratch;
#else
constexpr int64_t kWordsFloats = kRounds ? kBlockM * (3 * kBlockK + kLineFloats) : 0;  // 800 KB
#endif
constexpr int64_t kept_rows(int64_t words) {
    return kWordsFloats / kept_stride(words) / kTileRows * kTileRows;
}
constexpr int64_t kScalesFloats = kRounds ? 2 * kBlockM : 0;
constexpr int64_t kScratchFloats = kPanelFloats + max_of(kBlockM * kBlockN, kThinN* kPanelLanes) +
                                   kWordsFloats + kScalesFloats + kLineFloats;

// A worker's scratch.
struct Buffers {
    float *panel, *sums, *words;
    RowScale* scales;
};

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
