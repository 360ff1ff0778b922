#include "base/coding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace seqmix {
namespace {

float f32_at(const void* data, int64_t i) {
    float value;
    std::memcpy(&value, static_cast<const unsigned char*>(data) + i * 4, sizeof value);
    return value;
}

template <class T>
void read_q8_0(const void* data, int64_t first, int64_t count, T* out) {
    for (int64_t i = first; i < first + count;) {
        const auto* block = static_cast<const unsigned char*>(data) + i / kQ8Block * kQ8Bytes;
        const float scale = f16_to_f32(static_cast<uint16_t>(block[0] | block[1] << 8));
        const int64_t end = std::min(first + count, (i / kQ8Block + 1) * kQ8Block);
        for (; i < end; ++i) {
            *out++ = scale * static_cast<float>(static_cast<int8_t>(block[2 + i % kQ8Block]));
        }
    }
}

void read_f32(const void* data, int64_t count, float* out) {
    std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
}
void read_f32(const void* data, int64_t count, double* out) {
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<double>(f32_at(data, i));
}

template <class T>
void read_values(const Coded& coded, int64_t first, int64_t count, T* out) {
    const auto* bytes = static_cast<const unsigned char*>(coded.data);
    switch (coded.coding) {
        case Coding::plain:
            bytes += first * dtype_size(coded.dtype);
            if (coded.dtype == DType::f32) {  // most of what is read
                read_f32(bytes, count, out);
                return;
            }
            for (int64_t i = 0; i < count; ++i) {
                out[i] = static_cast<T>(
                    element_to_f64(bytes + i * dtype_size(coded.dtype), coded.dtype));
            }
            return;
        case Coding::q8_0: read_q8_0(coded.data, first, count, out); return;
        case Coding::i8_rows:
            for (int64_t i = first; i < first + count;) {
                const float factor = f32_at(coded.factors, i / coded.row);
                const int64_t end = std::min(first + count, (i / coded.row + 1) * coded.row);
                for (; i < end; ++i) {
                    *out++ = factor * static_cast<float>(static_cast<int8_t>(bytes[i]));
                }
            }
            return;
        case Coding::minus_exp:
            for (int64_t i = 0; i < count; ++i) {
                out[i] =
                    static_cast<T>(std::log(-static_cast<double>(f32_at(coded.data, first + i))));
            }
            return;
    }
}

}  // namespace

int64_t Coded::bytes(int64_t count) const {
    switch (coding) {
        case Coding::plain: return count * dtype_size(dtype);
        case Coding::q8_0: return weight_bytes(WeightType::q8_0, count);
        case Coding::i8_rows: return count;
        case Coding::minus_exp: return count * 4;
    }
    return 0;
}

void Coded::read(int64_t first, int64_t count, float* out) const {
    read_values(*this, first, count, out);
}
void Coded::read(int64_t first, int64_t count, double* out) const {
    read_values(*this, first, count, out);
}

Coded Coded::from(int64_t first) const {
    Coded part = *this;
    part.data = static_cast<const unsigned char*>(data) + bytes(first);
    if (coding == Coding::i8_rows) {
        part.factors = static_cast<const unsigned char*>(factors) + first / row * 4;
    }
    return part;
}

RowFactor row_factor(const float* row, int64_t count) {
    float largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
        largest = std::max(largest, std::abs(row[i]));
        finite = finite && std::isfinite(row[i]);
    }
    if (!finite) return {std::numeric_limits<float>::quiet_NaN(), 0};
    if (!(largest > 0x1p-100f)) return {0, 0};
    return {largest / 127, 127 / largest};
}

}  // namespace seqmix
