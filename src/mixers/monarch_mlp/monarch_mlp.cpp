#include "mixers/monarch_mlp/monarch_mlp.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "contract/linear.h"
#include "contract/long_filter.h"
#include "mixers/monarch_mlp/reference.h"
#include "primitives/elementwise/kernel.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kX = 0, kY = 1, kIn = 2, kOut = 3, kOutBias = 4 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"d_hidden", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "hidden width I"},
    {"n_blocks", AttributeType::i64, "4", 1, 65536, nullptr,
     "blocks N of both maps; divides d_model and d_hidden"},
    {"gated", AttributeType::boolean, "true", 0, 0, nullptr,
     "the first map has 2I outputs, gates first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kIn, "gated_layers.weight", Role::weight, false, kWeight, "(N,U,P)",
     "blocks of the first map"},
    {kOut, "wo.weight", Role::weight, false, kWeight, "(N,P,W)", "blocks of the second map"},
    {kOutBias, "wo.bias", Role::weight, false, kWeight, "(D)", "its bias"},
};
constexpr Schema kSchema = {
    "monarch_mlp",
    "M2's channel mixer: an MLP of block-diagonal maps, optionally gated",
    "Fu et al. 2023, Monarch Mixer; HazyResearch/m2",
    false,
    kAttributes,
    kSlots,
    {},
    {},
    512,
};

struct MonarchMlpPlan : Plan {
    int64_t D, I, N, H;  // H: outputs of the first map, I or 2I
    bool gated;
};

// N maps, each from its columns of x to its columns of y.
class BlockDiagonal {
  public:
    // weight (N, rows, columns); bias (N rows) or absent.
    void bind(const Weight& weight, const Weight& bias, int64_t blocks, int64_t rows,
              int64_t columns, const BindCall& call) {
        rows_ = rows;
        columns_ = columns;
        if (call.isa == Isa::reference) {
            weight64_ = weight_f64(weight, call.allocator);
            bias64_ = weight_f64(bias, call.allocator);
        }
        const auto part = [](const Weight& whole, int64_t first, std::vector<int64_t> shape) {
            return whole ? whole.part(first, std::move(shape)) : Weight();
        };
        maps_.resize(static_cast<size_t>(blocks));
        for (int64_t n = 0; n < blocks; ++n) {
            maps_[static_cast<size_t>(n)].bind(part(weight, n * rows * columns, {rows, columns}),
                                               part(bias, n * rows, {rows}), rows, columns, call);
        }
    }
    void run(const Call& call, const float* x, ptrdiff_t x_stride, float* y, ptrdiff_t y_stride,
             float* gemm) const {
        for (size_t n = 0; n < maps_.size(); ++n) {
            maps_[n].run(call, call.tokens, x + static_cast<int64_t>(n) * columns_, x_stride,
                         y + static_cast<int64_t>(n) * rows_, y_stride, gemm);
        }
    }
    void run_reference(int64_t tokens, const double* x, double* y) const {
        reference::block_diagonal(tokens, static_cast<int64_t>(maps_.size()), rows_, columns_, x,
                                  weight64_.data(), bias64_.data(), y);
    }

  private:
    int64_t rows_ = 0, columns_ = 0;
    std::vector<Linear> maps_;
    Array<double> weight64_, bias64_;
};

struct MonarchMlpBound : Bound {
    const MonarchMlpPlan* plan;
    const ElementwiseKernels* kernels;
    const LongConvKernels* gates;
    BlockDiagonal in, out;
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<MonarchMlpPlan>();
    plan->D = given.i64("d_model");
    plan->I = given.i64("d_hidden");
    plan->N = given.i64("n_blocks");
    plan->gated = given.flag("gated");
    plan->H = plan->gated ? 2 * plan->I : plan->I;
    if (plan->D % plan->N != 0 || plan->I % plan->N != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "monarch_mlp: n_blocks is ", plan->N,
                    ", expected a divisor of d_model = ", plan->D, " and d_hidden = ", plan->I);
    }
    plan->sizes = {{"D", plan->D},
                   {"N", plan->N},
                   {"U", plan->H / plan->N},
                   {"P", plan->D / plan->N},
                   {"W", plan->I / plan->N}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    const auto& plan = static_cast<const MonarchMlpPlan&>(call.plan);
    auto bound = std::make_unique<MonarchMlpBound>();
    const int64_t N = plan.N;
    bound->plan = &plan;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->gates = SEQMIX_SELECT_KERNELS(call.isa, long_conv_kernels);
    bound->in.bind(call.weights.get(kIn), Weight(), N, plan.H / N, plan.D / N, call);
    bound->out.bind(call.weights.get(kOut), call.weights.get(kOutBias), N, plan.D / N, plan.I / N,
                    call);
    bound->kernel_name = SEQMIX_KERNEL_NAME("monarch_mlp", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const MonarchMlpPlan&>(base);
    const auto rows = [&](int64_t width) {
        return Scratch::round_up(static_cast<size_t>(step.tokens * width) * (step.real64 ? 8 : 4));
    };
    return rows(plan.H) + (step.real64 ? rows(plan.I) : Linear::scratch_bytes(step.workers));
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MonarchMlpBound&>(base);
    const MonarchMlpPlan& plan = *bound.plan;
    const int64_t T = call.tokens, H = plan.H, I = plan.I;
    Scratch scratch = call.scratch;
    float* h = scratch.take<float>(T * H);
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    bound.in.run(call, x.as<float>(), x.stride, h, H, gemm);
    constexpr int64_t kRows = 16;
    call.parallel_for((T + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t first = piece * kRows;
        float* rows = h + first * H;
        bound.kernels->gelu(std::min(kRows, T - first), I, rows, H, rows, H);
    });
    if (plan.gated) gate_tokens(call, *bound.gates, I, h, H, h + I, H, h, H);
    bound.out.run(call, h, H, y.as<float>(), y.stride, gemm);
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MonarchMlpBound&>(base);
    const MonarchMlpPlan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    double* h = scratch.take<double>(call.tokens * plan.H);
    double* g = scratch.take<double>(call.tokens * plan.I);
    bound.in.run_reference(call.tokens, call.slot(kX).as<double>(), h);
    reference::gelu_gate(call.tokens, plan.I, plan.gated, h, g);
    bound.out.run_reference(call.tokens, g, call.slot(kY).as<double>());
}

// The authors': a dense map's uniform values, times sqrt(N) for what is missing. The bias goes by its
// own width, as in their code.
void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const MonarchMlpPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    const int64_t fan_in = slot.slot == kOut ? plan.I : plan.D;
    double bound = 1 / std::sqrt(static_cast<double>(fan_in));
    if (slot.slot != kOutBias) bound *= std::sqrt(static_cast<double>(plan.N));
    for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
}

}  // namespace

extern const Mixer monarch_mlp_mixer;
const Mixer monarch_mlp_mixer = {&kSchema,      describe, bind,    scratch, run,
                                 run_reference, nullptr,  nullptr, init,    nullptr};

}  // namespace seqmix::mixers
