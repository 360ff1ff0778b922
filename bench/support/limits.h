// What this machine can do, measured in the process that benches: the rate of FMA instructions at
// each level, and of reading and copying memory. A row's `of_limit` compares with these, never with
// a figure from elsewhere.
//
// The FMA probe is valid only if 256-bit FMA reaches 1.9 per cycle, and 512-bit FMA 1.9 (wide
// machines) or 0.95 (narrow ones, which run it in two halves); the cycle is that of a chain of
// dependent additions. Where it is not, the machine was busy and the run is void.
#pragma once

#include <cstdint>
#include <string>

namespace seqmix::bench {

struct Limits {
    double cycles_per_second = 0;
    // Vector instructions on f32 per second, one thread; 0 where the CPU lacks the level.
    double avx2_slots = 0, avx512_slots = 0;
    double generic_flops = 0;  // 128-bit multiplications and additions
    bool wide = false;         // AVX-512 FMA >= 1.5 x AVX2 FMA, in flops
    bool valid = false;
    std::string why;  // not valid

    double flops(const std::string& isa) const;
    double slots(const std::string& isa) const;  // 0: unknown
};

// Measured at the first call; `refresh` measures again and keeps the better figures.
const Limits& limits();
void refresh_limits();

// Best seconds of several tries. Arrays of half the bytes each for the copy; `threads` share them.
double seconds_to_copy(double bytes, int threads);
double seconds_to_read(double bytes, int threads);

double now();  // seconds

}  // namespace seqmix::bench
