// A row of the bench: something to time, what it costs, what it is compared with. Google Benchmark
// drives the repetitions; the plain loop runs between them, so that both see the same machine, and
// the best time of each counts (on one thread without the turns of other programs).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "contract/cases.h"
#include "seqmix/seqmix.h"

namespace seqmix::bench {

// Made when a row first runs, so that rows that are filtered out cost nothing.
struct Job {
    std::function<void()> run;         // one call
    std::function<void()> plain = {};  // the plain loop on as much work; may be empty
    // Another library on as much work, in its own layout and with the transposition to ours; may be
    // empty.
    std::function<void()> peer = {}, peer_transposed = {};
    // Of a stream of blocks: the worst block's time over the median; may be empty.
    std::function<double()> worst_over_median = {};
};

struct Row {
    std::string name;  // "selective_scan_op/avx512/prefill/B1_T2048_D1536_N16"
    std::string isa;
    Work work;
    Limit limit = Limit::fma;
    double tokens = 0;     // > 0: tokens/s is shown
    double region = 0;     // Limit::read: bytes that the runs take turns in, where these are more
    bool sampled = false;  // also where in the library its time goes (sampler.h)
    std::function<Job()> make;
};

struct Arguments {
    int threads = 1;
    std::string isa;  // empty: all levels
};
// Takes --threads N and --isa L out of the command line and hands the rest to Google Benchmark.
Arguments parse_arguments(int& argc, char** argv);
const Arguments& arguments();
bool wanted(const std::string& isa);

void add_row(Row row);
int run_rows();  // main's end: prints the limits, runs, reports

// With the threads of the command line; null where the CPU or the build lacks the level.
std::shared_ptr<seqmix_context> make_context(const char* isa, const char* weights = nullptr);

// add(path, isa) at every level that is wanted and there, for the model that SEQMIX_BENCH_MODEL names,
// else the one at `path`.
void for_model(const char* path, const std::function<void(const std::string&, const char*)>& add);

// Exits with a message when a call of the library failed.
void must(int32_t status, const char* what);

}  // namespace seqmix::bench
