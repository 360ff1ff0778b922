// size: one file, because packing and the register tiles of all row counts share their helpers and
// must agree bit for bit.
// Kernels of gemm (contract in gemm.h).
//
// A panel of w, kTileVecs vectors of outputs wide and at most kBlockK deep, is widened and
// transposed in registers to [k][outputs] in scratch; a register tile of kTileRows rows by
// kTileVecs vectors then runs down the rows of x. Sums that are not finished wait in scratch
// between blocks of K, exactly. Few rows skip the panel: the transposed tile feeds the
// accumulators directly.
#include "primitives/gemm/kernel.h"

#include "base/isa_safe.h"
#include "simd/math.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

// The register tile: 24 + 3 + 1 of 32 registers at 16 lanes, 12 + 2 + 1 of 16 at 8 lanes; fewer
// where the product needs a register of its own before it is added.
constexpr int kTileRows = kWidth >= 16 ? 8 : kWidth >= 8 ? 6 : 4;
constexpr int kTileVecs = kWidth >= 16 ? 3 : 2;
constexpr int64_t kBlockN = int64_t{kTileVecs} * kWidth;
// A packed panel (24 KB at 16 lanes, 16 KB at 8) stays in the first-level cache.
constexpr int64_t kBlockK = kWidth >= 16 ? 128 : 256;
constexpr int64_t kBlockM = 512;
// Up to this many rows, storing and reloading a panel would cost more than using it.
constexpr int64_t kDirectRows = 4;
// Weight rows are more streams than the hardware follows: fetch this far ahead in each.
constexpr int64_t kAheadBytes = 256;

constexpr int64_t kLineFloats = 16;  // a cache line, at which the panel starts
constexpr int64_t kPanelFloats = kBlockN * kBlockK;
constexpr int64_t kScratchFloats = kPanelFloats + kBlockM * kBlockN + kLineFloats;

constexpr int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t vectors(int64_t n) { return (n + kWidth - 1) / kWidth; }
SEQMIX_INLINE float* aligned(float* p) {
    const uintptr_t line = sizeof(float) * kLineFloats;
    return p + (line - reinterpret_cast<uintptr_t>(p) % line) % line / sizeof(float);
}

// ---- weights: square tiles of 32-bit words, transposed in registers ----

// A word is one f32 or two bf16. f16 is widened on the way: taking a pair apart costs more
// shuffles than it saves.
template <WeightType kType>
constexpr int64_t kSize = kType == WeightType::f32 ? 4 : 2;
template <WeightType kType>
constexpr int kTileColumns = kType == WeightType::bf16 ? 2 * kWidth : kWidth;

SEQMIX_INLINE Vec load_halves(const unsigned char* p) {
    uint16_t lanes[kWidth];
    __builtin_memcpy(lanes, p, sizeof lanes);
    return load_f16(lanes);
}

#if SEQMIX_ISA_LEVEL >= 1
SEQMIX_INLINE __m128 load_piece(const unsigned char* p) {
    return _mm_loadu_ps(reinterpret_cast<const float*>(p));
}
#endif

// tile[j] lane r = word j of the row at p + r * step bytes. Loads that put 128-bit pieces into
// their lanes leave half of the shuffles of transpose(). Rows are addressed from every fourth one:
// with a pointer for each, g++ moves them through vector registers.
SEQMIX_INLINE void load_words(const unsigned char* p, ptrdiff_t step, Vec (&tile)[kWidth]) {
#if SEQMIX_ISA_LEVEL == 2
    const unsigned char* p4 = p + 4 * step;
    const unsigned char* p8 = p4 + 4 * step;
    const unsigned char* p12 = p8 + 4 * step;
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
        const ptrdiff_t at = i % 4 * step + i / 4 * 16;
        __m512 v = _mm512_castps128_ps512(load_piece(p + at));
        v = _mm512_mask_broadcast_f32x4(v, 0x00f0, load_piece(p4 + at));
        v = _mm512_mask_broadcast_f32x4(v, 0x0f00, load_piece(p8 + at));
        tile[i].v = _mm512_mask_broadcast_f32x4(v, 0xf000, load_piece(p12 + at));
    }
#pragma GCC unroll 4
    for (int i = 0; i < kWidth; i += 4) {
        transpose_quad(tile[i].v, tile[i + 1].v, tile[i + 2].v, tile[i + 3].v);
    }
#elif SEQMIX_ISA_LEVEL == 1
    const unsigned char* p4 = p + 4 * step;
#pragma GCC unroll 8
    for (int i = 0; i < kWidth; ++i) {
        const ptrdiff_t at = i % 4 * step + i / 4 * 16;
        tile[i].v = _mm256_insertf128_ps(_mm256_castps128_ps256(load_piece(p + at)),
                                         load_piece(p4 + at), 1);
    }
    transpose_quad(tile[0].v, tile[1].v, tile[2].v, tile[3].v);
    transpose_quad(tile[4].v, tile[5].v, tile[6].v, tile[7].v);
#else
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        float words[kWidth];
        __builtin_memcpy(words, p + r * step, sizeof words);
        tile[r] = load(words);
    }
    transpose(tile);
#endif
}

// A tile whose first row and column are at p; column<kType>(tile, j) lane r is then its column j.
template <WeightType kType>
SEQMIX_INLINE void load_tile(const unsigned char* p, ptrdiff_t step, Vec (&tile)[kWidth]) {
    if constexpr (kType == WeightType::f16) {
#pragma GCC unroll 16
        for (int r = 0; r < kWidth; ++r) {
            tile[r] = load_halves(p + r * step);
        }
        transpose(tile);
    } else {
        load_words(p, step, tile);
    }
}
template <WeightType kType>
SEQMIX_INLINE Vec column(const Vec (&tile)[kWidth], int j) {
    if constexpr (kType == WeightType::bf16) {
        constexpr int kLow = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1;
        const IVec pair = bits_of(tile[j / 2]);
        return from_bits(j % 2 == kLow ? shift_left<16>(pair) : pair & iset1(-65536));
    } else {
        return tile[j];
    }
}

// A tile at the edge of w, where only some rows and columns exist, by way of the stack: nothing
// else is read. The other rows give lanes that are never stored, the other columns are not used.
template <WeightType kType>
void load_edge_tile(const unsigned char* p, ptrdiff_t step, int64_t rows, int64_t columns,
                    Vec (&tile)[kWidth]) {
    constexpr int64_t bytes = kTileColumns<kType> * kSize<kType>;
    unsigned char copy[kWidth * bytes] = {};
    for (int64_t r = 0; r < min_of(rows, kWidth); ++r) {
        if (columns >= kTileColumns<kType>) {
            __builtin_memcpy(copy + r * bytes, p + r * step, bytes);
        } else {
            for (int64_t i = 0; i < columns * kSize<kType>; ++i) {
                copy[r * bytes + i] = p[r * step + i];
            }
        }
    }
    load_tile<kType>(copy, bytes, tile);
}

// Fetches what will be read kAheadBytes after p, where `left` bytes of its row remain: in the same
// rows or, past their end, in those `down` bytes below.
SEQMIX_INLINE void prefetch_tile(const unsigned char* p, ptrdiff_t step, int64_t left,
                                 ptrdiff_t down) {
    const unsigned char* at = p + kAheadBytes + (kAheadBytes < left ? 0 : down - left);
#pragma GCC unroll 16
    for (int r = 0; r < kWidth; ++r) {
        __builtin_prefetch(at + r * step);
    }
}

// ---- packing: w (n,k) to panel [k][vectors(n) * kWidth] ----

template <WeightType kType>
void pack_as(const unsigned char* w, ptrdiff_t step, int64_t n, int64_t k, float* panel) {
    constexpr int columns = kTileColumns<kType>;
    const int64_t stride = vectors(n) * kWidth;
    for (int64_t first = 0; first < n; first += kWidth) {
        const unsigned char* p = w + first * step;
        const int64_t rows = n - first;
        float* out = panel + first;
        int64_t left = k;
        for (; left >= columns; left -= columns) {
            Vec tile[kWidth];
            if (rows >= kWidth) {
                load_tile<kType>(p, step, tile);
                prefetch_tile(p, step, left * kSize<kType>, kWidth * step);
            } else {
                load_edge_tile<kType>(p, step, rows, columns, tile);
            }
#pragma GCC unroll 32
            for (int j = 0; j < columns; ++j) {
                store(out + j * stride, column<kType>(tile, j));
            }
            p += columns * kSize<kType>;
            out += columns * stride;
        }
        if (left > 0) {
            Vec tile[kWidth];
            load_edge_tile<kType>(p, step, rows, left, tile);
            for (int j = 0; j < static_cast<int>(left); ++j) {
                store(out + j * stride, column<kType>(tile, j));
            }
        }
    }
}

void pack(const void* w, ptrdiff_t w_stride, WeightType w_type, int64_t n, int64_t k,
          float* panel) {
    const auto* bytes = static_cast<const unsigned char*>(w);
    switch (w_type) {
        case WeightType::f32: pack_as<WeightType::f32>(bytes, w_stride * 4, n, k, panel); break;
        case WeightType::bf16: pack_as<WeightType::bf16>(bytes, w_stride * 2, n, k, panel); break;
        case WeightType::f16: pack_as<WeightType::f16>(bytes, w_stride * 2, n, k, panel); break;
    }
}

// ---- the register tile ----

// out = in + x panel^T for kRows rows and kVecs vectors of outputs, k steps; in null: from 0.
// Fetching the next tile of x ahead was tried: within 3 % either way.
template <int kRows, int kVecs>
void multiply_tile(int64_t k, const float* x, ptrdiff_t x_stride, const float* panel,
                   const float* in, ptrdiff_t in_stride, float* out, ptrdiff_t out_stride) {
    Vec acc[kRows][kVecs];
    if (in != nullptr) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                acc[r][v] = load(in + r * in_stride + v * kWidth);
            }
        }
    } else {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                acc[r][v] = zero();
            }
        }
    }
    for (int64_t l = 0; l < k; ++l) {
        Vec b[kVecs];
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            b[v] = load(panel + v * kWidth);
        }
        panel += kVecs * kWidth;
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Vec a = set1(x[r * x_stride + l]);
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) {
                acc[r][v] = fma(a, b[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            store(out + r * out_stride + v * kWidth, acc[r][v]);
        }
    }
}

// The same for any number of rows <= kRows.
template <int kRows, int kVecs>
void multiply_rows(int64_t rows, int64_t k, const float* x, ptrdiff_t x_stride, const float* panel,
                   const float* in, ptrdiff_t in_stride, float* out, ptrdiff_t out_stride) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            multiply_rows<kRows - 1, kVecs>(rows, k, x, x_stride, panel, in, in_stride, out,
                                            out_stride);
            return;
        }
    }
    multiply_tile<kRows, kVecs>(k, x, x_stride, panel, in, in_stride, out, out_stride);
}

// ---- epilogue ----

bool is_plain(const GemmEpilogue& e) {
    return e.bias == nullptr && e.residual == nullptr && e.activation == GemmActivation::none;
}

template <GemmActivation kActivation>
SEQMIX_INLINE Vec finish_vec(Vec sum, const float* bias, const float* residual, int64_t count) {
    if (bias != nullptr) {
        sum = sum + load_n(bias, count);
    }
    if constexpr (kActivation == GemmActivation::silu) {
        sum = silu(sum);
    } else if constexpr (kActivation == GemmActivation::softplus) {
        sum = softplus(sum);
    }
    if (residual != nullptr) {
        sum = sum + load_n(residual, count);
    }
    return sum;
}

// y[m0 + r][n0 + c] for r < rows, c < n from finished sums.
template <GemmActivation kActivation>
void finish_as(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
               const float* sums, ptrdiff_t stride) {
    const GemmEpilogue& e = args.epilogue;
    for (int64_t r = m0; r < m0 + rows; ++r) {
        float* y = args.y + r * args.y_stride + n0;
        const float* residual =
            e.residual == nullptr ? nullptr : e.residual + r * e.residual_stride + n0;
        for (int64_t c = 0; c < n; c += kWidth) {
            const Vec value = finish_vec<kActivation>(
                load(sums + c), e.bias == nullptr ? nullptr : e.bias + n0 + c,
                residual == nullptr ? nullptr : residual + c, n - c);
            store_n(y + c, value, n - c);
        }
        sums += stride;
    }
}

void finish(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
            const float* sums, ptrdiff_t stride) {
    switch (args.epilogue.activation) {
        case GemmActivation::none:
            finish_as<GemmActivation::none>(args, m0, rows, n0, n, sums, stride);
            break;
        case GemmActivation::silu:
            finish_as<GemmActivation::silu>(args, m0, rows, n0, n, sums, stride);
            break;
        case GemmActivation::softplus:
            finish_as<GemmActivation::softplus>(args, m0, rows, n0, n, sums, stride);
            break;
    }
}

// ---- one panel: outputs n0 .. n0 + n of rows m0 .. m0 + rows ----

// Columns k0 .. k0 + depth of x times a packed panel of that depth, for all rows of the block.
template <int kVecs>
void multiply_block(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
                    int64_t k0, int64_t depth, const float* panel, float* sums) {
    constexpr ptrdiff_t stride = kVecs * kWidth;
    const bool last = k0 + depth == args.k;
    const bool straight = last && n == stride && is_plain(args.epilogue);
    for (int64_t r = 0; r < rows; r += kTileRows) {
        const int64_t count = min_of(kTileRows, rows - r);
        const float* x = args.x + (m0 + r) * args.x_stride + k0;
        float* partial = sums + r * stride;
        float* out = straight ? args.y + (m0 + r) * args.y_stride + n0 : partial;
        multiply_rows<kTileRows, kVecs>(count, depth, x, args.x_stride, panel,
                                        k0 == 0 ? nullptr : partial, stride, out,
                                        straight ? args.y_stride : stride);
        if (last && !straight) {
            finish(args, m0 + r, count, n0, n, partial, stride);
        }
    }
}

template <int kVecs = 1>
void multiply_panel(const GemmArgs& args, int64_t m0, int64_t rows, int64_t n0, int64_t n,
                    int64_t k0, int64_t depth, const float* panel, float* sums) {
    if constexpr (kVecs < kTileVecs) {
        if (vectors(n) > kVecs) {
            multiply_panel<kVecs + 1>(args, m0, rows, n0, n, k0, depth, panel, sums);
            return;
        }
    }
    multiply_block<kVecs>(args, m0, rows, n0, n, k0, depth, panel, sums);
}

// ---- few rows ----

template <int kRows>
SEQMIX_INLINE void feed(const Vec w, const float* x, ptrdiff_t x_stride, Vec (&acc)[kRows]) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
        acc[r] = fma(set1(x[r * x_stride]), w, acc[r]);
    }
}

// kRows rows from m0 on; outputs n0 .. n0 + kVecs * kWidth, the last vector as far as it exists.
template <WeightType kType, int kRows, int kVecs>
void direct_block(const GemmArgs& args, int64_t m0, int64_t n0, float* sums) {
    constexpr int columns = kTileColumns<kType>;
    const ptrdiff_t step = args.w_stride * kSize<kType>;
    const unsigned char* w = static_cast<const unsigned char*>(args.w) + n0 * step;
    const float* x = args.x + m0 * args.x_stride;
    const int64_t rows = args.n - n0;
    Vec acc[kVecs][kRows];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
            acc[v][r] = zero();
        }
    }
    int64_t left = args.k;
    for (; left >= columns; left -= columns) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            const unsigned char* p = w + v * kWidth * step;
            Vec tile[kWidth];
            if (rows >= (v + 1) * kWidth) {
                load_tile<kType>(p, step, tile);
                prefetch_tile(p, step, left * kSize<kType>, kVecs * kWidth * step);
            } else {
                load_edge_tile<kType>(p, step, rows - v * kWidth, columns, tile);
            }
#pragma GCC unroll 32
            for (int j = 0; j < columns; ++j) {
                feed<kRows>(column<kType>(tile, j), x + j, args.x_stride, acc[v]);
            }
        }
        w += columns * kSize<kType>;
        x += columns;
    }
    if (left > 0) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            Vec tile[kWidth];
            load_edge_tile<kType>(w + v * kWidth * step, step, rows - v * kWidth, left, tile);
            for (int j = 0; j < static_cast<int>(left); ++j) {
                feed<kRows>(column<kType>(tile, j), x + j, args.x_stride, acc[v]);
            }
        }
    }
    constexpr ptrdiff_t stride = kVecs * kWidth;
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
            store(sums + r * stride + v * kWidth, acc[v][r]);
        }
    }
    finish(args, m0, kRows, n0, min_of(stride, args.n - n0), sums, stride);
}

template <WeightType kType, int kRows>
void direct_rows(const GemmArgs& args, int64_t m0, int64_t rows, float* sums) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            direct_rows<kType, kRows - 1>(args, m0, rows, sums);
            return;
        }
    }
    // Two vectors of outputs: two chains hide each other's latency.
    int64_t n0 = 0;
    for (; n0 + kWidth < args.n; n0 += 2 * kWidth) {
        direct_block<kType, kRows, 2>(args, m0, n0, sums);
    }
    if (n0 < args.n) {
        direct_block<kType, kRows, 1>(args, m0, n0, sums);
    }
}

void multiply_direct(const GemmArgs& args, int64_t m0, int64_t rows, float* sums) {
    switch (args.w_type) {
        case WeightType::f32:
            direct_rows<WeightType::f32, kDirectRows>(args, m0, rows, sums);
            break;
        case WeightType::bf16:
            direct_rows<WeightType::bf16, kDirectRows>(args, m0, rows, sums);
            break;
        case WeightType::f16:
            direct_rows<WeightType::f16, kDirectRows>(args, m0, rows, sums);
            break;
    }
}

// ---- entries ----

void gemm(const GemmArgs& args) {
    float* panel = aligned(args.scratch);
    float* sums = panel + kPanelFloats;
    const int64_t size = args.w_type == WeightType::f32 ? 4 : 2;
    for (int64_t m0 = 0; m0 < args.m; m0 += kBlockM) {
        const int64_t rows = min_of(kBlockM, args.m - m0);
        if (rows <= kDirectRows) {
            multiply_direct(args, m0, rows, sums);
            continue;
        }
        for (int64_t n0 = 0; n0 < args.n; n0 += kBlockN) {
            const int64_t n = min_of(kBlockN, args.n - n0);
            const auto* w = static_cast<const unsigned char*>(args.w) + n0 * args.w_stride * size;
            int64_t k0 = 0;
            do {  // once where K is 0: the epilogue of empty sums
                const int64_t depth = min_of(kBlockK, args.k - k0);
                pack(w + k0 * size, args.w_stride, args.w_type, n, depth, panel);
                multiply_panel(args, m0, rows, n0, n, k0, depth, panel, sums);
                k0 += depth;
            } while (k0 < args.k);
        }
    }
}

void run_packed(const GemmArgs& args, const float* panel) {
    float* sums = aligned(args.scratch);
    const int64_t stride = vectors(args.n) * kWidth;
    for (int64_t m0 = 0; m0 < args.m; m0 += kBlockM) {
        const int64_t rows = min_of(kBlockM, args.m - m0);
        int64_t k0 = 0;
        do {
            const int64_t depth = min_of(kBlockK, args.k - k0);
            multiply_panel(args, m0, rows, 0, args.n, k0, depth, panel + k0 * stride, sums);
            k0 += depth;
        } while (k0 < args.k);
    }
}

}  // namespace

const GemmKernels gemm_kernels = {kWidth,         kTileRows, kBlockN, kBlockM,
                                  kScratchFloats, gemm,      pack,    run_packed};

}  // namespace seqmix::SEQMIX_ISA
