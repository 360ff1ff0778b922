#include "primitives/gemm/gemm.h"

#include <algorithm>

namespace seqmix {
namespace {

// 32 items let 8 threads finish within 1/4 of an item of each other; 200 kflop (1 us) is some ten
// times the cost of handing out an item; with 64 rows packing a panel costs about a tenth of
// using it.
constexpr int64_t kWantedItems = 32;
constexpr double kLeastFlops = 2e5;
constexpr int64_t kLeastRows = 64;
// The rows of an item are read once per panel: 768 KB of x stay in the second-level cache.
constexpr int64_t kItemFloats = 192 * 1024;
constexpr int64_t kMostPanels = 8;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

struct Split {
    int64_t m_step, m_items;  // rows per item (the last one may have fewer), items along M
    int64_t n_step, n_items;
};

Split split_of(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels) {
    if (m <= 0 || n <= 0) {
        return {1, 0, 1, 0};
    }
    const int64_t panels = ceil_div(n, kernels.n_block);
    const double row_flops =
        2.0 * static_cast<double>(std::min(n, kernels.n_block)) * static_cast<double>(k + 1);

    // Rows: as many as share a packed panel and stay in the cache; fewer while that leaves too few
    // items.
    const int64_t most_rows =
        std::min(kernels.m_block, std::max(kLeastRows, kItemFloats / std::max<int64_t>(k, 1)));
    int64_t m_parts = ceil_div(m, most_rows);
    while (m_parts * panels < kWantedItems) {
        const int64_t rows = m / (2 * m_parts);
        if (rows < kLeastRows || row_flops * static_cast<double>(rows) < kLeastFlops) {
            break;
        }
        m_parts *= 2;
    }
    const int64_t m_step =
        ceil_div(ceil_div(m, m_parts), kernels.m_tile) * static_cast<int64_t>(kernels.m_tile);

    // Outputs: a few panels while that leaves enough items, and as many as make an item worth
    // handing out.
    const double panel_flops = row_flops * static_cast<double>(std::min(m, m_step));
    const int64_t spare = ceil_div(m, m_step) * panels / kWantedItems;
    const double worth = std::min(kLeastFlops / panel_flops + 0.5, static_cast<double>(panels));
    const int64_t group =
        std::max({int64_t{1}, std::min(spare, kMostPanels), static_cast<int64_t>(worth)});
    return {m_step, ceil_div(m, m_step), group * kernels.n_block, ceil_div(panels, group)};
}

}  // namespace

int64_t gemm_work_items(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels) {
    const Split split = split_of(m, n, k, kernels);
    return split.m_items * split.n_items;
}

GemmTask gemm_task(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels, int64_t item) {
    // Neighbouring items share rows of x: they are read again while still in the cache.
    const Split split = split_of(m, n, k, kernels);
    const int64_t m_begin = item / split.n_items * split.m_step;
    const int64_t n_begin = item % split.n_items * split.n_step;
    return {m_begin, std::min(split.m_step, m - m_begin), n_begin,
            std::min(split.n_step, n - n_begin)};
}

void gemm_work_item(const GemmArgs& args, const GemmKernels& kernels, int64_t item) {
    const GemmTask task = gemm_task(args.m, args.n, args.k, kernels, item);
    const int64_t w_size = args.w_type == WeightType::f32 ? 4 : 2;
    GemmArgs part = args;
    part.m = task.m_count;
    part.n = task.n_count;
    part.x += task.m_begin * args.x_stride;
    part.w = static_cast<const unsigned char*>(args.w) + task.n_begin * args.w_stride * w_size;
    part.y += task.m_begin * args.y_stride + task.n_begin;
    if (part.epilogue.bias != nullptr) {
        part.epilogue.bias += task.n_begin;
    }
    if (part.epilogue.residual != nullptr) {
        part.epilogue.residual += task.m_begin * part.epilogue.residual_stride + task.n_begin;
    }
    kernels.gemm(part);
}

}  // namespace seqmix
