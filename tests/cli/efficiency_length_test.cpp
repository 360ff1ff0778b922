// The efficiency length against the numbers that CAB's authors published with their script.
#include "cli/efficiency_length.h"

#include <gtest/gtest.h>

namespace seqmix_cli {
namespace {

const std::vector<double> kLengths{256, 512, 1024, 2048, 4096, 8192};

TEST(EfficiencyLength, PublishedTimes) {
    // Milliseconds a call in CAB's table; costs are in thousands of them, and the line leaves the
    // first length out.
    const std::vector<double> vanilla{472, 628, 721, 981, 3670, 18437};
    const std::vector<double> abc{590, 602, 910, 1006, 1509};
    const Parabola parabola = fit(kLengths, vanilla, 2);
    const Parabola line = fit({512, 1024, 2048, 4096, 8192}, abc, 1);
    EXPECT_NEAR(parabola.a, 3.466e-4, 1e-7);
    EXPECT_NEAR(parabola.b, -0.69667, 1e-5);
    EXPECT_NEAR(parabola.c, 856.53, 1e-2);
    EXPECT_NEAR(line.b, 0.11814, 1e-5);
    EXPECT_NEAR(line.c, 548.38, 1e-2);
    EXPECT_EQ(line.a, 0);
    EXPECT_NEAR(*efficiency_length(parabola, line), 1877, 0.5);
}

TEST(EfficiencyLength, PublishedMemory) {
    const std::vector<double> vanilla{81, 265, 952, 3604, 14020, 55300};
    const std::vector<double> abc{42, 80, 156, 308, 612, 1220};
    EXPECT_NEAR(*efficiency_length(fit(kLengths, vanilla, 2), fit(kLengths, abc, 1)), 69.51, 5e-3);
}

TEST(EfficiencyLength, CurvesThatDoNotCross) {
    EXPECT_EQ(*efficiency_length({1, 0, 10}, {0, 1, 1}), 0);  // the line is always cheaper
    EXPECT_EQ(*efficiency_length({1, 5, 5}, {0, 1, 2}), 0);   // they cross at -1 and -3
    EXPECT_FALSE(efficiency_length({0, 2, 1}, {0, 1, 1}).has_value());
    EXPECT_FALSE(efficiency_length({-1, 2, 1}, {0, 1, 1}).has_value());
}

TEST(EfficiencyLength, MeasuredCrossing) {
    EXPECT_DOUBLE_EQ(*measured_crossing({1, 2, 4}, {1, 2, 8}, {2, 3, 4}), 2.4);
    EXPECT_EQ(*measured_crossing({1, 2, 4}, {2, 3, 8}, {1, 2, 4}), 1);
    EXPECT_FALSE(measured_crossing({1, 2, 4}, {1, 2, 4}, {2, 3, 4}).has_value());
    // Faster, slower, faster again: only the last stretch counts.
    EXPECT_DOUBLE_EQ(*measured_crossing({1, 2, 4}, {3, 2, 5}, {2, 3, 4}), 3);
}

}  // namespace
}  // namespace seqmix_cli
