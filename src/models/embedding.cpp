// embedding: y[t] = weight[tokens[t]]. Rows are widened to f32 exactly; with bf16 or int8 matrices
// (WeightFormat) they are rounded as a linear map's are, so that a table that is also the head is one
// matrix in any format. Stateless.
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
    WeightFormat format;
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
    bound->widens =
        bound->weight.coding == Coding::plain && weight_type(bound->weight.dtype, &bound->type);
    bound->format = bound->weight.coding == Coding::i8_rows && call.format == WeightFormat::int8
                        ? WeightFormat::stored  // as it is
                        : call.format;
    if (call.matrices != nullptr) {
        call.matrices->push_back({bound->weight.data, bound->plan->D});
    }
    bound->kernel_name = SEQMIX_KERNEL_NAME("embedding", call.isa);
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan&, const StepShape&) { return 0; }

void round_row(WeightFormat format, int64_t count, float* row) {
    if (format == WeightFormat::bf16) {
        for (int64_t i = 0; i < count; ++i) {
            row[i] = bf16_to_f32(f32_to_bf16(row[i]));
        }
    } else if (format == WeightFormat::int8) {
        const RowFactor by = row_factor(row, count);
        for (int64_t i = 0; i < count; ++i) {
            row[i] = by.factor * static_cast<float>(to_int8(row[i], by));
        }
    }
}

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
            T* to = y.as<T>() + t * y.stride;
            if constexpr (std::is_same_v<T, float>) {
                if (bound.widens) {
                    const auto* table = static_cast<const unsigned char*>(bound.weight.data);
                    bound.kernels->widen(1, D, table + id * D * size, D, bound.type, to, y.stride);
                } else {
                    bound.weight.read(id * D, D, to);
                }
                round_row(bound.format, D, to);
            } else {
                bound.weight.read(id * D, D, to);
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
