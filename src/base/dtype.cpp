#include "base/dtype.h"

namespace seqmix {
namespace {

template <class T>
T load(const void* data) {
    T value;
    std::memcpy(&value, data, sizeof value);
    return value;
}

}  // namespace

double element_to_f64(const void* data, DType type) {
    switch (type) {
        case DType::f32: return static_cast<double>(load<float>(data));
        case DType::f64: return load<double>(data);
        case DType::f16: return static_cast<double>(f16_to_f32(load<uint16_t>(data)));
        case DType::bf16: return static_cast<double>(bf16_to_f32(load<uint16_t>(data)));
        case DType::i8: return static_cast<double>(load<int8_t>(data));
        case DType::u8:
        case DType::boolean: return static_cast<double>(load<uint8_t>(data));
        case DType::i32: return static_cast<double>(load<int32_t>(data));
        case DType::i64: return static_cast<double>(load<int64_t>(data));
        case DType::unknown: return 0.0;
    }
    return 0.0;
}

}  // namespace seqmix
