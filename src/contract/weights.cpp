// Weights as kernels want them: converted and transposed copies.
#include "contract/mixer.h"
#include "primitives/elementwise/kernel.h"

namespace seqmix {
namespace {

template <class T>
Array<T> convert(const Weight& weight, Allocator allocator) {
    if (!weight) {
        return Array<T>();
    }
    Array<T> out(weight.count(), allocator);
    weight.read(0, out.size(), out.data());
    return out;
}

}  // namespace

bool weight_type(DType dtype, WeightType* out) {
    switch (dtype) {
        case DType::f32: *out = WeightType::f32; return true;
        case DType::bf16: *out = WeightType::bf16; return true;
        case DType::f16: *out = WeightType::f16; return true;
        default: return false;
    }
}

Array<float> weight_f32(const Weight& weight, Allocator allocator) {
    return convert<float>(weight, allocator);
}

Array<double> weight_f64(const Weight& weight, Allocator allocator) {
    return convert<double>(weight, allocator);
}

void weight_exp(const Weight& weight, Isa isa, int64_t first, int64_t count, double* out) {
    if (weight.coding == Coding::minus_exp) {
        Coded{weight.data, DType::f32}.read(first, count, out);
        for (int64_t i = 0; i < count; ++i) out[i] = -out[i];
        return;
    }
    weight.read(first, count, out);
    SEQMIX_SELECT_KERNELS(isa, elementwise_kernels)->exp_f64(count, out);
}

WeightsF64::WeightsF64(const Weights& weights, int32_t first, int32_t last, Allocator allocator)
    : first_(first) {
    for (int32_t slot = first; slot <= last; ++slot) {
        all_.push_back(weight_f64(weights.get(slot), allocator));
    }
}

Array<float> weight_f32_transposed(const Weight& weight, int64_t rows, int64_t columns,
                                   Allocator allocator) {
    if (!weight) {
        return Array<float>();
    }
    Array<float> out(rows * columns, allocator), row(columns, allocator);
    for (int64_t r = 0; r < rows; ++r) {
        weight.read(r * columns, columns, row.data());
        for (int64_t c = 0; c < columns; ++c) {
            out[c * rows + r] = row[c];
        }
    }
    return out;
}

}  // namespace seqmix
