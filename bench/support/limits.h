// What this machine can do, measured in the process that benches: the rate of FMA instructions at
// each level, and of reading and copying memory. A row's `of_limit` compares with these, never with
// a figure from elsewhere.
//
// The FMA probe is valid only if 256-bit FMA reaches 1.9 per cycle, and 512-bit FMA 1.9 (wide
// machines) or 0.95 (narrow ones, which run it in two halves); the cycle is that of a chain of
// dependent additions. Where it is not, the machine was busy and the run is void.
#pragma once

#include <cstdint>
#include <memory>
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

// Reads or copies as many bytes as a row does, for a row's limit: between the row's runs, so that both
// see the same machine. `threads` share the bytes. Of a `region` larger than the bytes each try takes
// the next part, so that nothing is in a cache that the region exceeds.
class MemoryProbe {
  public:
    enum class Kind : uint8_t { read, copy };
    MemoryProbe(Kind kind, double bytes, double region, int threads);
    ~MemoryProbe();
    MemoryProbe(const MemoryProbe&) = delete;
    MemoryProbe& operator=(const MemoryProbe&) = delete;

    double seconds();  // one try

  private:
    struct Data;
    std::unique_ptr<Data> data_;
};

// Bytes that no cache holds: twice the last-level cache, at least 256 MB and at most 1 GB.
double cold_region();

double now();         // seconds
double thread_now();  // seconds that this thread ran

// Seconds that run() takes. On one thread less the turns of other programs: of more than a
// millisecond, those of the thread's own clock (too coarse for less). A plain loop runs so long that
// on a busy machine none of its runs is without interruption: vs_plain was 46 instead of 31 at three
// jobs a core.
template <typename Run>
double timed(const Run& run, int threads) {
    const double thread_start = thread_now();
    const double start = now();
    run();
    const double seconds = now() - start;
    return threads > 1 || seconds < 1e-3 ? seconds : thread_now() - thread_start;
}

}  // namespace seqmix::bench
