// Halves: widened exactly, rounded to the nearest, ties to even, from f32 and from f64 alike.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "base/dtype.h"

namespace {

using seqmix::bf16_to_f32;
using seqmix::f16_to_f32;
using seqmix::f32_to_bf16;
using seqmix::f32_to_f16;
using seqmix::to_odd;

// Every half, and what lies between it and the next one: the middle goes to the even one, and what is
// beside the middle, by less than f32 can say, to its own side.
template <class Widen, class Round>
void check(const Widen& widen, const Round& round, uint16_t infinity) {
    for (uint32_t half = 0; half < infinity; ++half) {
        const auto bits = static_cast<uint16_t>(half),
                   negative = static_cast<uint16_t>(half | 0x8000);
        const float value = widen(bits);
        ASSERT_EQ(round(value), bits);
        ASSERT_EQ(round(-value), negative);
        if (half + 1 == infinity) {
            continue;
        }
        const auto next = static_cast<uint16_t>(half + 1);
        const double above = static_cast<double>(widen(next));
        const double middle = (static_cast<double>(value) + above) / 2;
        const double little = (above - static_cast<double>(value)) * 0x1p-26;
        const uint16_t even = half % 2 == 0 ? bits : next;
        ASSERT_EQ(round(to_odd(middle)), even);
        ASSERT_EQ(round(to_odd(-middle)), even | 0x8000);
        ASSERT_EQ(round(to_odd(middle - little)), bits);
        ASSERT_EQ(round(to_odd(middle + little)), next);
        ASSERT_EQ(round(to_odd(-middle - little)), next | 0x8000);
    }
    ASSERT_EQ(round(INFINITY), infinity);
    ASSERT_EQ(round(-INFINITY), infinity | 0x8000);
    for (const uint32_t nan : {0x7fc00000u, 0x7f800001u, 0xff801000u}) {
        ASSERT_TRUE(std::isnan(widen(round(std::bit_cast<float>(nan)))));
    }
}

TEST(DType, EveryF16) {
    check(f16_to_f32, f32_to_f16, 0x7c00);
    EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);  // below the middle of the largest and the next
    EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
    EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
    EXPECT_EQ(f32_to_f16(1e-30f), 0);
}

TEST(DType, EveryBf16) { check(bf16_to_f32, f32_to_bf16, 0x7f80); }

}  // namespace
