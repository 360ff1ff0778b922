// Packed values of weights: how they lie in bytes, and what they are as floats.
//
//   plain      elements of a dtype, one after another
//   q8_0       ggml's blocks of kQ8Block neighbours in a row: f16 scale, then i8 q; values scale * q
//   i8_rows    i8 q, and apart from them a factor f32 for each row; values factor * q
//   minus_exp  f32 x below 0, values log(-x) in f64: GGUF's A of Mamba, whose exponential is wanted
//
// Products of 11 or 24 bits and 8 bits: exact in f32 for q8_0, rounded once for i8_rows.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/isa_safe.h"

namespace seqmix {

enum class Coding : uint8_t { plain, q8_0, i8_rows, minus_exp };

// A tensor's bytes, at any alignment. `row`: values that share a factor (i8_rows).
struct Coded {
    const void* data = nullptr;
    DType dtype = DType::unknown;  // of the values
    Coding coding = Coding::plain;
    const void* factors = nullptr;  // f32, at any alignment
    int64_t row = 0;

    int64_t bytes(int64_t count) const;  // that `count` values from a row's begin on take
    // Values [first, first + count), f64 ones rounded.
    void read(int64_t first, int64_t count, float* out) const;
    // The same without rounding.
    void read(int64_t first, int64_t count, double* out) const;
    // From value `first` on, a multiple of `row` or of kQ8Block.
    Coded from(int64_t first) const;
};

// How a row of numbers becomes int8: q = round(x * inverse), x about factor * q. The largest becomes
// 127. A row that is not finite has the factor NaN and gives no numbers; one of almost nothing counts
// as 0.
struct RowFactor {
    float factor, inverse;
};
RowFactor row_factor(const float* row, int64_t count);
inline int8_t to_int8(float value, const RowFactor& by) {
    if (by.inverse == 0) return 0;
    // To the nearest, ties to even, as nearbyintf, which is a call: 2^23 and above are whole numbers.
    constexpr float kWhole = 0x1.8p23f;
    return static_cast<int8_t>((value * by.inverse + kWhole) - kWhole);
}

// How linear maps keep and multiply their matrices (primitives/gemm): as stored, with activations in f32;
// or converted when a layer is bound, with activations that may be rounded to the same type.
enum class WeightFormat : int32_t { stored, bf16, int8 };
constexpr const char* kWeightFormats[] = {"stored", "bf16", "int8"};  // their names

}  // namespace seqmix
