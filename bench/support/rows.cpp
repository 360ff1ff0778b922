#include "support/rows.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "seqmix/seqmix.h"
#include "support/limits.h"
#include "support/sampler.h"

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
    std::unique_ptr<MemoryProbe> probe;
    bool made = false;
    int rounds = 0;
    double best = 1e30, best_plain = 1e30, best_limit = 1e30;
    double best_peer = 1e30, best_peer_transposed = 1e30;
};

// Every round has one run of the row, of its plain loop and of its memory limit.
constexpr int kRounds = 5;
constexpr double kSampledSeconds = 2;

void run_once(Measured& m) { m.best = std::min(m.best, timed(m.job.run, settings().threads)); }

void run_rivals(Measured& m) {
    if (m.job.plain && m.rounds < 4) {
        m.best_plain = std::min(m.best_plain, timed(m.job.plain, 1));
    }
    if (m.job.peer) {
        m.best_peer = std::min(m.best_peer, timed(m.job.peer, settings().threads));
        m.best_peer_transposed =
            std::min(m.best_peer_transposed, timed(m.job.peer_transposed, settings().threads));
    }
    if (m.probe) {  // a row of microseconds runs thousands of times: some tries of its limit too
        const double start = now();
        do {
            m.best_limit = std::min(m.best_limit, m.probe->seconds());
        } while (now() - start < 0.01);
    }
    ++m.rounds;
}

// Seconds that the limit takes for a row's work; 0: no limit known.
double limit_seconds(const Measured& m) {
    if (m.probe) {
        return m.best_limit;
    }
    const Row& row = m.row;
    const int threads = settings().threads;
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

void make(Measured& m) {
    m.job = m.row.make();
    m.job.run();  // pages, caches and the pool are warm
    if (m.row.limit != Limit::fma) {
        m.probe = std::make_unique<MemoryProbe>(
            m.row.limit == Limit::read ? MemoryProbe::Kind::read : MemoryProbe::Kind::copy,
            m.row.work.bytes, m.row.region, settings().threads);
        m.probe->seconds();
    }
    m.made = true;
}

// A row's memory goes when the next row starts, or none does: some take gigabytes.
void become_current(const std::shared_ptr<Measured>& row) {
    static std::shared_ptr<Measured> current;
    if (current && current != row) {
        current->job = {};
        current->probe.reset();
        current->made = false;
    }
    current = row;
}

void run_row(benchmark::State& state, const std::shared_ptr<Measured>& row) {
    become_current(row);
    Measured& m = *row;
    if (!m.made) {
        make(m);
    }
    for (auto unused : state) {
        (void)unused;
        const double seconds = timed(m.job.run, settings().threads);
        m.best = std::min(m.best, seconds);
        state.SetIterationTime(seconds);
        if (m.rounds < kRounds) {
            run_rivals(m);
        }
    }
    while (m.rounds < kRounds) {
        run_once(m);
        run_rivals(m);
    }
    if (m.row.sampled && samples_wanted()) {
        const double start = now();
        do {
            sampled(m.job.run);
        } while (now() - start < kSampledSeconds);
        write_samples(m.row.name);
    }
    if (m.probe) {  // and once after the others
        m.best_limit = std::min(m.best_limit, m.probe->seconds());
    }
    state.counters["best_us"] = m.best * 1e6;
    state.counters["flop/s"] = m.row.work.flops / m.best;
    state.counters["bytes/s"] = m.row.work.bytes / m.best;
    if (m.row.tokens > 0) {
        state.counters["tokens/s"] = m.row.tokens / m.best;
    }
    if (const double limit = limit_seconds(m); limit > 0) {
        state.counters["limit_us"] = limit * 1e6;
    }
    if (m.job.plain) {
        state.counters["plain_us"] = m.best_plain * 1e6;
    }
    if (m.job.peer) {
        state.counters["peer_us"] = m.best_peer * 1e6;
        state.counters["peer_transposed_us"] = m.best_peer_transposed * 1e6;
    }
    if (m.job.worst_over_median) {
        state.counters["worst_over_median"] = m.job.worst_over_median();
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
                                 [measured](benchmark::State& state) { run_row(state, measured); })
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
    const auto memory = [&](const char* key, MemoryProbe::Kind kind) {
        MemoryProbe probe(kind, cold_region(), 0, threads);
        double best = probe.seconds();
        for (int i = 0; i < 3; ++i) {
            best = std::min(best, probe.seconds());
        }
        context(key, cold_region() * 1e-9 / best, "GB/s");
    };
    memory("memory_read", MemoryProbe::Kind::read);
    memory("memory_copy", MemoryProbe::Kind::copy);  // read and written
    benchmark::AddCustomContext("compiler", compiler());
    benchmark::AddCustomContext("library", seqmix_build_info());
    std::snprintf(text, sizeof text, "%d", threads);
    benchmark::AddCustomContext("threads", text);
    benchmark::RunSpecifiedBenchmarks();
    become_current(nullptr);  // not left to the order in which globals are destroyed
    return 0;
}

std::shared_ptr<seqmix_context> make_context(const char* isa, const char* weights) {
    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.threads = settings().threads;
    options.isa = isa;
    options.weights = weights;
    seqmix_context* context = nullptr;
    if (seqmix_context_create(&options, &context) != SEQMIX_OK) {
        return nullptr;
    }
    return {context, seqmix_context_release};
}

void for_model(const char* path, const std::function<void(const std::string&, const char*)>& add) {
    const char* given = std::getenv("SEQMIX_BENCH_MODEL");
    for (const char* isa : {"generic", "avx2", "avx512"}) {
        if (wanted(isa) && make_context(isa) != nullptr) {
            add(given != nullptr ? given : path, isa);
        }
    }
}

void must(int32_t status, const char* what) {
    if (status != SEQMIX_OK) {
        std::fprintf(stderr, "%s: %s, %s\n", what, seqmix_status_name(status), seqmix_last_error());
        std::exit(1);
    }
}

}  // namespace seqmix::bench
