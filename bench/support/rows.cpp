#include "support/rows.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "seqmix/seqmix.h"
#include "support/limits.h"

namespace seqmix::bench {

namespace {

Arguments& settings() {
    static Arguments instance;
    return instance;
}

// What a row has measured so far; Google Benchmark calls the function again with more iterations.
struct Measured {
    Row row;
    Job job;
    bool made = false;
    int plain_runs = 0;
    double best = 1e30, best_plain = 1e30;
};

// Seconds that the limit takes for a row's work; 0: no limit known.
double limit_seconds(const Row& row) {
    const int threads = settings().threads;
    if (row.limit == Limit::copy) {
        return seconds_to_copy(row.work.bytes, threads);
    }
    if (row.limit == Limit::read) {
        return seconds_to_read(row.work.bytes, threads);
    }
    const double slots = row.isa == "avx512" ? row.work.slots_avx512
                         : row.isa == "avx2" ? row.work.slots_avx2
                                             : 0;
    refresh_limits();
    if (slots > 0) {
        return slots / (limits().slots(row.isa) * threads);
    }
    const bool counted_in_slots = row.work.slots_avx512 > 0;
    const double flops = limits().flops(row.isa);
    return counted_in_slots || flops == 0 ? 0 : row.work.flops / (flops * threads);
}

double thread_now() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Seconds, less the turns that other programs took: of more than a millisecond on this thread alone,
// those of its own clock (too coarse for less). A plain loop runs so long that on a busy machine none
// of its runs is without interruption: vs_plain was 46 instead of 31 at three jobs a core.
double timed(const std::function<void()>& run, int threads) {
    const double thread_start = thread_now();
    const double start = now();
    run();
    const double seconds = now() - start;
    return threads > 1 || seconds < 1e-3 ? seconds : thread_now() - thread_start;
}

void run_row(benchmark::State& state, Measured& m) {
    if (!m.made) {
        m.job = m.row.make();
        m.job.run();  // pages, caches and the pool are warm
        m.made = true;
    }
    for (auto unused : state) {
        (void)unused;
        const double seconds = timed(m.job.run, settings().threads);
        m.best = std::min(m.best, seconds);
        state.SetIterationTime(seconds);
        if (m.job.plain && m.plain_runs < 4) {
            m.best_plain = std::min(m.best_plain, timed(m.job.plain, 1));
            ++m.plain_runs;
        }
    }
    // Three or more of each side.
    while (m.job.plain && m.plain_runs < 4) {
        m.best = std::min(m.best, timed(m.job.run, settings().threads));
        m.best_plain = std::min(m.best_plain, timed(m.job.plain, 1));
        ++m.plain_runs;
    }
    state.counters["best_us"] = m.best * 1e6;
    state.counters["flop/s"] = m.row.work.flops / m.best;
    state.counters["bytes/s"] = m.row.work.bytes / m.best;
    if (m.row.tokens > 0) {
        state.counters["tokens/s"] = m.row.tokens / m.best;
    }
    if (const double limit = limit_seconds(m.row); limit > 0) {
        state.counters["of_limit"] = limit / m.best;
    }
    if (m.job.plain) {
        state.counters["vs_plain"] = m.best_plain / m.best;
    }
}

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "g++ " __VERSION__;
#endif
}

}  // namespace

Arguments parse_arguments(int& argc, char** argv) {
    std::vector<char*> rest = {argv[0]};
    for (int i = 1; i < argc; ++i) {
        const auto is = [&](const char* name) {
            return std::strcmp(argv[i], name) == 0 && i + 1 < argc;
        };
        if (is("--threads")) {
            settings().threads = std::max(1, std::atoi(argv[++i]));
        } else if (is("--isa")) {
            settings().isa = argv[++i];
        } else {
            rest.push_back(argv[i]);
        }
    }
    std::copy(rest.begin(), rest.end(), argv);
    argc = static_cast<int>(rest.size());
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        std::exit(2);
    }
    return settings();
}

const Arguments& arguments() { return settings(); }

bool wanted(const std::string& isa) { return settings().isa.empty() || settings().isa == isa; }

void add_row(Row row) {
    const std::string name = row.name;
    const auto measured = std::make_shared<Measured>();
    measured->row = std::move(row);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [measured](benchmark::State& state) { run_row(state, *measured); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
}

int run_rows() {
    char text[64];
    const auto context = [&](const char* key, double value, const char* unit) {
        std::snprintf(text, sizeof text, "%.4g %s", value, unit);
        benchmark::AddCustomContext(key, text);
    };
    const Limits& l = limits();
    benchmark::AddCustomContext("machine", l.wide ? "wide" : "narrow");
    benchmark::AddCustomContext("limits_valid", l.valid ? "yes" : "no");
    benchmark::AddCustomContext("limits_note", l.why);
    context("clock", l.cycles_per_second * 1e-9, "GHz");
    context("fma_avx512", l.flops("avx512") * 1e-9, "GFLOP/s per thread");
    context("fma_avx2", l.flops("avx2") * 1e-9, "GFLOP/s per thread");
    const int threads = settings().threads;
    context("memory_read", 0.256 / seconds_to_read(256e6, threads), "GB/s");
    context("memory_copy", 0.256 / seconds_to_copy(256e6, threads), "GB/s (read and written)");
    benchmark::AddCustomContext("compiler", compiler());
    benchmark::AddCustomContext("library", seqmix_build_info());
    std::snprintf(text, sizeof text, "%d", threads);
    benchmark::AddCustomContext("threads", text);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

void must(int32_t status, const char* what) {
    if (status != SEQMIX_OK) {
        std::fprintf(stderr, "%s: %s, %s\n", what, seqmix_status_name(status), seqmix_last_error());
        std::exit(1);
    }
}

}  // namespace seqmix::bench
