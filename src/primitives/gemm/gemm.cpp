#include "primitives/gemm/gemm.h"

#include <algorithm>

namespace seqmix {
namespace {

// 16 items keep 8 threads busy; 200 kflop (1 us) is some ten times the cost of handing out an item.
constexpr int64_t kWantedItems = 16;
constexpr double kLeastFlops = 2e5;
// With fewer rows, packing a panel of weights costs more than a tenth of using it; with fewer
// outputs, packing thin x costs a sixth.
constexpr int64_t kLeastRows = 64;
constexpr int64_t kLeastOutputs = 48;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

struct Split {
    int64_t m_step, m_items;  // rows per item (the last one may have fewer), items along M
    int64_t n_step, n_items;
};

// Blocks as the kernels like them, all of about the same size; smaller ones while there are too few
// and an item stays worth handing out.
Split split_of(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels) {
    if (m <= 0 || n <= 0) {
        return {1, 0, 1, 0};
    }
    const bool thin = m <= kernels.thin_rows;
    int64_t m_step = ceil_div(m, ceil_div(m, kernels.m_block));
    int64_t n_step = std::min(n, thin ? kernels.thin_n : kernels.n_block);
    while (ceil_div(m, m_step) * ceil_div(n, n_step) < kWantedItems) {
        const double flops = 2.0 * static_cast<double>(m_step) * static_cast<double>(n_step) *
                             static_cast<double>(k + 1);
        const bool cut_m = !thin && m_step >= 2 * kLeastRows;
        const bool cut_n =
            n_step > (thin ? std::max(kLeastOutputs, kernels.n_tile) : kernels.n_tile);
        if (flops < 2 * kLeastFlops || !(cut_m || cut_n)) {
            break;
        }
        int64_t& step = cut_n && (!cut_m || n_step >= m_step) ? n_step : m_step;
        step = (step + 1) / 2;
    }
    m_step = round_up(m_step, kernels.m_tile);
    n_step = round_up(thin ? std::max(n_step, kLeastOutputs) : n_step, kernels.n_tile);
    return {m_step, ceil_div(m, m_step), n_step, ceil_div(n, n_step)};
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
