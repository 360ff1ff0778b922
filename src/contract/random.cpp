// Draws for initialisers. Everything here is plain IEEE double arithmetic without contraction, so
// that one seed gives the same bits with every compiler, level and machine.
#include <cmath>

#include "contract/mixer.h"

namespace seqmix {
namespace {

// The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection that mixes all bits.
uint64_t mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

}  // namespace

Random::Random(uint64_t seed, uint64_t stream)
    : key_(mix(mix(seed + 0x9e3779b97f4a7c15u) + mix(stream + 0xd1b54a32d192ed03u))) {}

uint64_t Random::next() { return mix(key_ + 0x9e3779b97f4a7c15u * ++counter_); }

double Random::uniform(double low, double high) {
    const double unit = static_cast<double>(next() >> 11) * 0x1p-53;
    return low + (high - low) * unit;
}

double Random::normal() {
    // Sum of twelve uniforms would lack tails; Marsaglia's polar form needs only log and sqrt, and
    // sqrt is exactly rounded everywhere.
    for (;;) {
        const double a = uniform(-1, 1);
        const double b = uniform(-1, 1);
        const double s = a * a + b * b;
        if (s > 0 && s < 1) {
            return a * std::sqrt(-2 * portable_log(s) / s);
        }
    }
}

double portable_exp(double x) {
    if (x > 709) {
        return HUGE_VAL;
    }
    if (x < -745) {
        return 0;
    }
    constexpr double kLn2Hi = 0x1.62e42fefa38p-1;  // 43 bits: k * kLn2Hi is exact
    constexpr double kLn2Lo = 0x1.ef35793c7673p-45;
    const double k = std::nearbyint(x * 1.4426950408889634);
    const double r = (x - k * kLn2Hi) - k * kLn2Lo;
    double term = 1, sum = 1;
    for (int i = 1; i <= 14; ++i) {  // |r| <= 0.35: the 15th term is below 1e-18
        term = term * r / i;
        sum += term;
    }
    return std::ldexp(sum, static_cast<int>(k));
}

double portable_log(double x) {
    // x = m 2^e with m in [1/sqrt 2, sqrt 2); log m = 2 atanh((m-1)/(m+1)).
    int exponent = 0;
    double m = std::frexp(x, &exponent);
    if (m < 0.70710678118654757) {
        m *= 2;
        --exponent;
    }
    const double s = (m - 1) / (m + 1);
    const double s2 = s * s;
    double power = s, sum = 0;
    for (int i = 1; i <= 29; i += 2) {  // |s| <= 0.172: the next term is below 1e-24
        sum += power / i;
        power *= s2;
    }
    return static_cast<double>(exponent) * 0.69314718055994531 + 2 * sum;
}

}  // namespace seqmix
