// Element types of tensors: DLPack's (code, bits) pairs, their sizes and conversions.
#pragma once

#include <cstdint>
#include <cstring>

#include "seqmix/seqmix.h"

namespace seqmix {

enum class DType : uint8_t { f32, f64, f16, bf16, i8, u8, boolean, i32, i64, unknown };

// Sets of dtypes: bit i stands for DType(i). The same values are public as SEQMIX_DTYPE_*.
using DTypeSet = uint32_t;
constexpr DTypeSet dtype_bit(DType type) { return 1u << static_cast<uint32_t>(type); }
constexpr DTypeSet kF32 = dtype_bit(DType::f32);
// Of tensors that kernels use where they lie, and of states: halves would lose what those carry on.
constexpr DTypeSet kSingle = kF32 | dtype_bit(DType::f64);
// Of inputs and outputs: halves are widened, exactly, and rounded to the nearest, ties to even.
constexpr DTypeSet kReal = kSingle | dtype_bit(DType::f16) | dtype_bit(DType::bf16);
constexpr DTypeSet kWeight = kReal;
constexpr DTypeSet kI32 = dtype_bit(DType::i32);
constexpr DTypeSet kI64 = dtype_bit(DType::i64);

constexpr int64_t dtype_size(DType type) {
    switch (type) {
        case DType::f64:
        case DType::i64: return 8;
        case DType::f32:
        case DType::i32: return 4;
        case DType::f16:
        case DType::bf16: return 2;
        case DType::i8:
        case DType::u8:
        case DType::boolean: return 1;
        case DType::unknown: return 0;
    }
    return 0;
}

constexpr const char* dtype_name(DType type) {
    switch (type) {
        case DType::f32: return "f32";
        case DType::f64: return "f64";
        case DType::f16: return "f16";
        case DType::bf16: return "bf16";
        case DType::i8: return "i8";
        case DType::u8: return "u8";
        case DType::boolean: return "bool";
        case DType::i32: return "i32";
        case DType::i64: return "i64";
        case DType::unknown: return "unknown";
    }
    return "unknown";
}

constexpr DType dtype_from_dlpack(uint8_t code, uint8_t bits, uint16_t lanes) {
    if (lanes != 1) {
        return DType::unknown;
    }
    if (code == SEQMIX_DL_FLOAT) {
        return bits == 32   ? DType::f32
               : bits == 64 ? DType::f64
               : bits == 16 ? DType::f16
                            : DType::unknown;
    }
    if (code == SEQMIX_DL_BFLOAT && bits == 16) {
        return DType::bf16;
    }
    if (code == SEQMIX_DL_INT) {
        return bits == 8    ? DType::i8
               : bits == 32 ? DType::i32
               : bits == 64 ? DType::i64
                            : DType::unknown;
    }
    if (code == SEQMIX_DL_UINT && bits == 8) {
        return DType::u8;
    }
    if (code == SEQMIX_DL_BOOL && bits == 8) {
        return DType::boolean;
    }
    return DType::unknown;
}

inline float bf16_to_f32(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

inline float f16_to_f32(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    uint32_t mantissa = bits & 0x3ffu;
    uint32_t wide;
    if (exponent == 0x1f) {
        wide = sign | 0x7f800000u | (mantissa << 13);
    } else if (exponent != 0) {
        wide = sign | ((exponent + 112) << 23) | (mantissa << 13);
    } else if (mantissa == 0) {
        wide = sign;
    } else {  // subnormal: normalise
        uint32_t shift = 0;
        while ((mantissa & 0x400u) == 0) {
            mantissa <<= 1;
            ++shift;
        }
        wide = sign | ((113 - shift) << 23) | ((mantissa & 0x3ffu) << 13);
    }
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

// To the nearest, ties to even; a NaN stays one.
inline uint16_t f32_to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
}

inline uint16_t f32_to_f16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return static_cast<uint16_t>(sign | 0x7e00u);
    }
    if (magnitude >= 0x477ff000u) {  // 65520 and above: nearest is infinity
        return static_cast<uint16_t>(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, by adding 2^-1 in f32
        float positive;
        std::memcpy(&positive, &magnitude, sizeof positive);
        positive += 0.5f;
        uint32_t sum;
        std::memcpy(&sum, &positive, sizeof sum);
        return static_cast<uint16_t>(sign | (sum - 0x3f000000u));
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
}

// Towards zero, with the last bit set where that is not exact: rounding that again, to fewer bits, is
// as good as rounding the double.
inline float to_odd(double value) {
    auto single = static_cast<float>(value);
    if (static_cast<double>(single) == value || single != single) {
        return single;
    }
    uint32_t bits;
    std::memcpy(&bits, &single, sizeof bits);
    const double magnitude = value < 0 ? -value : value;
    const float positive = single < 0 ? -single : single;
    bits -= static_cast<double>(positive) > magnitude ? 1u : 0u;
    bits |= 1u;
    std::memcpy(&single, &bits, sizeof single);
    return single;
}
inline float to_odd(float value) { return value; }

// One element of any numeric dtype as a double. `data` may be misaligned.
double element_to_f64(const void* data, DType type);

}  // namespace seqmix
