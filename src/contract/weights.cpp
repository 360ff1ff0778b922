// Weights as kernels want them: converted and transposed copies.
#include "contract/mixer.h"

namespace seqmix {
namespace {

template <class T>
Array<T> convert(const Weight& weight, Allocator allocator) {
    if (!weight) {
        return Array<T>();
    }
    const int64_t count = weight.count();
    Array<T> out(count, allocator);
    const auto* bytes = static_cast<const unsigned char*>(weight.data);
    const int64_t size = dtype_size(weight.dtype);
    for (int64_t i = 0; i < count; ++i) {
        out[i] = static_cast<T>(element_to_f64(bytes + i * size, weight.dtype));
    }
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
    Array<float> out(rows * columns, allocator);
    const auto* bytes = static_cast<const unsigned char*>(weight.data);
    const int64_t size = dtype_size(weight.dtype);
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) {
            out[c * rows + r] =
                static_cast<float>(element_to_f64(bytes + (r * columns + c) * size, weight.dtype));
        }
    }
    return out;
}

}  // namespace seqmix
