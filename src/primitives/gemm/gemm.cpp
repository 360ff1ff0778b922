#include "primitives/gemm/gemm.h"

#include <algorithm>

namespace seqmix {
namespace {

// Items for each of several workers: one that starts late leaves the rest to the others. 200 kflop (1
// us) is some ten times the cost of handing out an item.
constexpr int64_t kWantedItems = 4;
constexpr int64_t kMostWanted = 64;
constexpr double kLeastFlops = 2e5;
// With fewer rows, packing a panel of weights costs more than a tenth of using it; with fewer
// outputs, packing thin x costs a sixth.
constexpr int64_t kLeastRows = 64;
constexpr int64_t kLeastOutputs = 48;
// Reading a weight from memory takes as long as using it so many times.
constexpr int64_t kReading = 32;
// Half as many rows cost as much (packing twice) as this part of as many outputs (reading x again).
constexpr int64_t kRowsPerOutput = 3;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace

GemmSplit gemm_split(int64_t m, int64_t n, int64_t k, const GemmKernels& kernels, size_t workers) {
    if (m <= 0 || n <= 0) {
        return {m, n, 1, 0, 1, 0};
    }
    const int64_t wanted =
        workers <= 1 ? 1 : std::min(kMostWanted, kWantedItems * static_cast<int64_t>(workers));
    const bool thin = m <= kernels.thin_rows;
    int64_t m_step = ceil_div(m, ceil_div(m, kernels.m_block));
    int64_t n_step = std::min(n, thin ? kernels.thin_n : kernels.n_block);
    while (ceil_div(m, m_step) * ceil_div(n, n_step) < wanted) {
        const double flops = 2.0 * static_cast<double>(std::max(m_step, kReading)) *
                             static_cast<double>(n_step) * static_cast<double>(k + 1);
        const bool cut_m = !thin && m_step >= 2 * kLeastRows;
        const bool cut_n =
            n_step > (thin ? std::max(kLeastOutputs, kernels.n_tile) : kernels.n_tile);
        if (flops < 2 * kLeastFlops || !(cut_m || cut_n)) {
            break;
        }
        int64_t& step = cut_n && (!cut_m || kRowsPerOutput * n_step >= m_step) ? n_step : m_step;
        step = (step + 1) / 2;
    }
    m_step = round_up(m_step, kernels.m_tile);
    n_step = round_up(thin ? std::max(n_step, kLeastOutputs) : n_step, kernels.n_tile);
    return {m, n, m_step, ceil_div(m, m_step), n_step, ceil_div(n, n_step)};
}

GemmTask gemm_task(const GemmSplit& split, int64_t item) {
    // Neighbouring items share rows of x: they are read again while still in the cache.
    const int64_t m_begin = item / split.n_items * split.m_step;
    const int64_t n_begin = item % split.n_items * split.n_step;
    return {m_begin, std::min(split.m_step, split.m - m_begin), n_begin,
            std::min(split.n_step, split.n - n_begin)};
}

void gemm_work_item(const GemmArgs& args, const GemmKernels& kernels, const GemmSplit& split,
                    int64_t item) {
    const GemmTask task = gemm_task(split, item);
    GemmArgs part = args;
    part.m = task.m_count;
    part.n = task.n_count;
    part.x += task.m_begin * args.x_stride;
    part.w = static_cast<const unsigned char*>(args.w) +
             task.n_begin * weight_bytes(args.w_type, args.w_stride);
    if (args.w_type == WeightType::i8) {
        part.w_scale += task.n_begin;
        part.w_sums += task.n_begin;
    }
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
