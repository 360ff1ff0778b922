// Kernels of gemm (contract in gemm.h). All of them read weights where they lie, row by row: nothing
// is kept in another layout, so a mapped file is as good as a copy.
//
// Three ways, by the rows of x, with equal bits. In each a register tile multiplies a *panel*, whose
// columns are vectors, with *rows*, whose elements are broadcast:
// - many rows: a block of weights is widened and transposed to a panel in scratch, once for all rows;
// - thin x, f32 weights: x becomes the panel and the weights are the rows, so nothing is done to
//   them but to read them: transposing took a third of the time at 16 rows. The lanes of a sum are
//   then rows of x, and finished sums are transposed;
// - few rows, whose lanes would be mostly idle: tiles of weights are transposed in registers and
//   feed the sums at once.
// Sums that are not finished wait in scratch between blocks of K, exactly.
#include "primitives/gemm/kernel.h"

#include "base/isa_safe.h"
#include "primitives/gemm/kernel_epilogue.h"
#include "primitives/gemm/kernel_few_rows.h"
#include "primitives/gemm/kernel_multiply.h"
#include "primitives/gemm/kernel_transpose.h"
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
// Thin x is one panel, as large as one of weights: fewer lanes, more steps.
constexpr int64_t kThinRows = kPanelLanes;
constexpr int64_t kThinN = 384;       // outputs whose sums wait in the second-level cache
constexpr int64_t kThinLeastK = 128;  // below, transposing the sums costs what it saves

constexpr int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t kPanelFloats = kPanelLanes * kBlockK;
constexpr int64_t kScratchFloats =
    kPanelFloats + max_of(kBlockM * kBlockN, kThinN* kPanelLanes) + kLineFloats;

SEQMIX_INLINE float* aligned(float* p) {
    const uintptr_t line = sizeof(float) * kLineFloats;
    return p + (line - reinterpret_cast<uintptr_t>(p) % line) % line / sizeof(float);
}

// ---- many rows ----

void pack(const void* w, ptrdiff_t w_stride, WeightType w_type, int64_t n, int64_t k,
          float* panel) {
    const auto* bytes = static_cast<const unsigned char*>(w);
    switch (w_type) {
        case WeightType::f32: pack_as<WeightType::f32>(bytes, w_stride * 4, n, k, panel); break;
        case WeightType::bf16: pack_as<WeightType::bf16>(bytes, w_stride * 2, n, k, panel); break;
        case WeightType::f16: pack_as<WeightType::f16>(bytes, w_stride * 2, n, k, panel); break;
    }
}

// Rows m0 .. m0 + rows of x times a panel of weights: outputs n0 .. n0 + n, steps k0 .. k0 + depth.
struct Block {
    int64_t m0, rows, n0, n, k0, depth;
    const float* panel;           // the weights, packed
    float* sums;                  // [rows][vectors(n) * kWidth]
    const unsigned char* next;    // the next panel's weights, to be fetched meanwhile; or null
    ptrdiff_t step;               // bytes between rows of weights
    int64_t next_x, next_x_rows;  // rows of x to be fetched at the next steps: first, for each tile
};

template <int kVecs>
void multiply_block(const GemmArgs& args, const Block& b) {
    constexpr ptrdiff_t stride = kVecs * kWidth;
    const bool last = b.k0 + b.depth == args.k;
    const bool straight = last && b.n == stride && is_plain(args.epilogue);
    const ptrdiff_t x_step = args.x_stride * 4;
    const unsigned char* x = bytes_of(args.x + b.m0 * args.x_stride + b.k0);
    const int64_t next_rows = (b.n * kTileRows + b.rows - 1) / b.rows;  // for each tile
    Ahead ahead{};
    ahead.w = b.next != nullptr ? b.next : x;
    ahead.x = x + b.next_x * x_step + (last ? -b.k0 : b.depth) * 4;
    ahead.w_step = b.step;
    ahead.x_step = x_step;
    for (int64_t r = 0; r < b.rows; r += kTileRows) {
        const int64_t count = min_of(kTileRows, b.rows - r);
        float* partial = b.sums + r * stride;
        float* out = straight ? args.y + (b.m0 + r) * args.y_stride + b.n0 : partial;
        multiply_rows<kTileRows, kVecs, false>(count, b.depth, x, x_step, b.panel,
                                               b.k0 == 0 ? nullptr : partial, stride, out,
                                               straight ? args.y_stride : stride, ahead);
        ahead.w += next_rows * b.step;
        ahead.x += b.next_x_rows * x_step;
        if (last && !straight) {
            finish(args, b.m0 + r, count, b.n0, b.n, partial, stride);
        }
        x += kTileRows * x_step;
    }
}

template <int kVecs = 1>
void multiply_panel(const GemmArgs& args, const Block& block) {
    if constexpr (kVecs < kPanelVecs) {
        if (vectors(block.n) > kVecs) {
            multiply_panel<kVecs + 1>(args, block);
            return;
        }
    }
    multiply_block<kVecs>(args, block);
}

void multiply_many(const GemmArgs& args, int64_t m0, int64_t rows, float* panel, float* sums) {
    const int64_t size = args.w_type == WeightType::f32 ? 4 : 2;
    const auto* weights = static_cast<const unsigned char*>(args.w);
    Block b{m0, rows, 0, 0, 0, 0, panel, nullptr, nullptr, args.w_stride * size, 0, 0};
    for (int64_t begin = 0; begin < args.n; begin += kBlockN) {
        const int64_t end = min_of(begin + kBlockN, args.n);
        b.k0 = 0;
        do {  // once where K is 0: the epilogue of empty sums
            b.depth = min_of(kBlockK, args.k - b.k0);
            for (b.n0 = begin; b.n0 < end; b.n0 += kPanelLanes) {
                b.n = min_of(kPanelLanes, end - b.n0);
                const unsigned char* w = weights + b.n0 * b.step + b.k0 * size;
                b.next = b.n0 + b.n < end ? w + kPanelLanes * b.step
                         : b.k0 + b.depth < args.k
                             ? weights + begin * b.step + (b.k0 + b.depth) * size
                         : end < args.n ? weights + end * b.step
                                        : nullptr;
                b.sums = sums + (b.n0 - begin) * rows;
                // Each panel of the block fetches its share of x.
                const int64_t panels = (end - begin + kPanelLanes - 1) / kPanelLanes;
                b.next_x_rows = (kTileRows + panels - 1) / panels;
                b.next_x = (b.n0 - begin) / kPanelLanes * (rows / kTileRows) * b.next_x_rows;
                pack(w, args.w_stride, args.w_type, b.n, b.depth, panel);
                multiply_panel(args, b);
            }
            b.k0 += b.depth;
        } while (b.k0 < args.k);
    }
}

// ---- thin x ----

// y[m0 + r][n0 + c] for r < rows, c < n from finished sums [c][stride].
template <GemmActivation kActivation>
void finish_thin_as(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
                    const float* sums, ptrdiff_t stride) {
    float columns[kWidth * kWidth];
    for (int64_t c = 0; c < n; c += kWidth) {
        for (int64_t r = 0; r < rows; r += kWidth) {
            Vec tile[kWidth];
            load_transposed(bytes_of(sums + c * stride + r), stride * 4, tile);
#pragma GCC unroll 16
            for (int j = 0; j < kWidth; ++j) {
                store(columns + j * kWidth, tile[j]);
            }
            finish_as<kActivation>(args, m0 + r, min_of(kWidth, rows - r), n0 + c,
                                   min_of(kWidth, n - c), columns, kWidth);
        }
    }
}

void finish_thin(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
                 const float* sums, ptrdiff_t stride) {
    switch (args.epilogue.activation) {
        case GemmActivation::none:
            finish_thin_as<GemmActivation::none>(args, m0, rows, n0, n, sums, stride);
            break;
        case GemmActivation::silu:
            finish_thin_as<GemmActivation::silu>(args, m0, rows, n0, n, sums, stride);
            break;
        case GemmActivation::softplus:
            finish_thin_as<GemmActivation::softplus>(args, m0, rows, n0, n, sums, stride);
            break;
    }
}

template <int kVecs = 1>
void multiply_thin(const GemmArgs& args, int64_t m0, int64_t rows, float* panel, float* sums) {
    if constexpr (kVecs < kPanelVecs) {
        if (vectors(rows) > kVecs) {
            multiply_thin<kVecs + 1>(args, m0, rows, panel, sums);
            return;
        }
    }
    constexpr ptrdiff_t stride = kVecs * kWidth;
    constexpr int64_t most_k = kPanelFloats / stride;
    const ptrdiff_t step = args.w_stride * 4;
    const unsigned char* x = bytes_of(args.x + m0 * args.x_stride);
    for (int64_t n0 = 0; n0 < args.n; n0 += kThinN) {
        const int64_t n = min_of(kThinN, args.n - n0);
        const auto* w = static_cast<const unsigned char*>(args.w) + n0 * step;
        int64_t k0 = 0;
        do {
            const int64_t depth = min_of(most_k, args.k - k0);
            pack_as<WeightType::f32>(x + k0 * 4, args.x_stride * 4, rows, depth, panel);
            multiply_rows<kTileSums / kVecs, kVecs, true>(n, depth, w + k0 * 4, step, panel,
                                                          k0 == 0 ? nullptr : sums, stride, sums,
                                                          stride, {});
            k0 += depth;
        } while (k0 < args.k);
        finish_thin(args, m0, rows, n0, n, sums, stride);
    }
}

// ---- entry ----

void gemm(const GemmArgs& args) {
    float* panel = aligned(args.scratch);
    float* sums = panel + kPanelFloats;
    for (int64_t m0 = 0; m0 < args.m; m0 += kBlockM) {
        const int64_t rows = min_of(kBlockM, args.m - m0);
        if (rows <= kDirectRows) {
            multiply_direct(args, m0, rows, sums);
        } else if (rows <= kThinRows && args.k >= kThinLeastK && args.w_type == WeightType::f32) {
            multiply_thin(args, m0, rows, panel, sums);
        } else {
            multiply_many(args, m0, rows, panel, sums);
        }
    }
}

}  // namespace

const GemmKernels gemm_kernels = {kWidth,    kTileRows, kPanelLanes,    kBlockM, kBlockN,
                                  kThinRows, kThinN,    kScratchFloats, gemm};

}  // namespace seqmix::SEQMIX_ISA
