// Where a program's time goes, by looking at the instruction pointer a thousand times a second of CPU
// time: no instrument in the library, which is what is measured. Linux on x86-64; elsewhere nothing is
// seen.
#pragma once

#include <functional>
#include <string>

namespace seqmix::bench {

// Runs it with the sampler on. One at a time.
void sampled(const std::function<void()>& run);

// Appends a line of JSON to the file that SEQMIX_BENCH_SAMPLES names, and forgets the samples:
// {"row": name, "library": path of libseqmix.so, "elsewhere": samples outside of it,
//  "samples": {offset in the library: how many}}. Nothing without the variable.
void write_samples(const std::string& row);

// The variable is set.
bool samples_wanted();

}  // namespace seqmix::bench
