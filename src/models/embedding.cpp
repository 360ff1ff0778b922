// embedding: y[t] = weight[tokens[t]]. Rows are widened to f32 exactly. Stateless.
#include "contract/recurrent.h"
#include "primitives/elementwise/kernel.h"

namespace seqmix::mixers {
namespace {

enum : int32_t { kTokens = 0, kY = 1, kWeightSlot = 2 };

constexpr AttributeSpec kAttributes[] = {
    {"vocab_size", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "rows V of the table"},
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
};
constexpr SlotSpec kSlots[] = {
    {kTokens, "tokens", Role::input, false, kI32 | kI64, "(B,T)", "ids in [0, V)", "V"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "rows of the table"},
    {kWeightSlot, "weight", Role::weight, false, kWeight, "(V,D)", "the table"},
};
constexpr Schema kSchema = {
    "embedding", "Table look-up of token ids", "", false, kAttributes, kSlots, {}, {}, 512,
};

struct EmbeddingPlan : Plan {
    int64_t V, D;
};

struct EmbeddingBound : Bound {
    const EmbeddingPlan* plan;
    const ElementwiseKernels* kernels;
    Weight weight;
    WeightType type;
    bool widens;  // the kernel reads the stored type
};

Status describe(const Attributes& attributes, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<EmbeddingPlan>();
    plan->V = attributes.i64("vocab_size");
    plan->D = attributes.i64("d_model");
    plan->sizes = {{"V", plan->V}, {"D", plan->D}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<EmbeddingBound>();
    bound->plan = &static_cast<const EmbeddingPlan&>(call.plan);
    bound->weight = call.weights.get(kWeightSlot);
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    bound->type = WeightType::f32;
    bound->widens = weight_type(bound->weight.dtype, &bound->type);
    bound->kernel_name = SEQMIX_KERNEL_NAME("embedding", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan&, const StepShape&) { return 0; }

template <class T>
void gather(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const EmbeddingBound&>(base);
    const int64_t D = bound.plan->D;
    const Matrix &tokens = call.slot(kTokens), &y = call.slot(kY);
    const int64_t size = dtype_size(bound.weight.dtype);
    constexpr int64_t kRows = 64;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        for (int64_t t = piece * kRows; t < std::min(call.tokens, (piece + 1) * kRows); ++t) {
            const int64_t id = tokens.as<int64_t>()[t * tokens.stride];
            const auto* row = static_cast<const unsigned char*>(bound.weight.data) + id * D * size;
            T* to = y.as<T>() + t * y.stride;
            if constexpr (std::is_same_v<T, float>) {
                if (bound.widens) {
                    bound.kernels->widen(1, D, row, D, bound.type, to, y.stride);
                    continue;
                }
            }
            for (int64_t d = 0; d < D; ++d) {
                to[d] = static_cast<T>(element_to_f64(row + d * size, bound.weight.dtype));
            }
        }
    });
}

void init(const Plan& plan, const Slot&, Random& random, double* out) {
    const auto& p = static_cast<const EmbeddingPlan&>(plan);
    for (int64_t i = 0; i < p.V * p.D; ++i) {
        out[i] = 0.02 * random.normal();
    }
}

}  // namespace

extern const Mixer embedding_mixer;
const Mixer embedding_mixer = {&kSchema,       describe, bind,    scratch, gather<float>,
                               gather<double>, nullptr,  nullptr, init,    nullptr};

}  // namespace seqmix::mixers
