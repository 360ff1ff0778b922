#include "support/sampler.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "seqmix/seqmix.h"

namespace seqmix::bench {

namespace {

constexpr int64_t kMost = 1 << 18;  // four minutes
constexpr int64_t kMicroseconds = 1000;
std::array<uintptr_t, kMost> seen;
std::atomic<int64_t> count{0};

void see(int, siginfo_t*, void* context) {
#if defined(__linux__) && defined(__x86_64__)
    const int64_t i = count.fetch_add(1, std::memory_order_relaxed);
    if (i < kMost) {
        seen[static_cast<size_t>(i)] = static_cast<uintptr_t>(
            static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    }
#else
    (void)context;
#endif
}

void every(int64_t microseconds) {
    itimerval timer{};
    timer.it_interval.tv_usec = microseconds;
    timer.it_value.tv_usec = microseconds;
    setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace

bool samples_wanted() { return std::getenv("SEQMIX_BENCH_SAMPLES") != nullptr; }

void sampled(const std::function<void()>& run) {
    struct sigaction action {};
    action.sa_sigaction = see;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGPROF, &action, nullptr);
    every(kMicroseconds);
    run();
    every(0);
}

void write_samples(const std::string& row) {
    Dl_info library{};
    if (dladdr(reinterpret_cast<const void*>(&seqmix_version), &library) == 0) {
        return;
    }
    int64_t elsewhere = 0;
    std::map<std::string, int64_t> samples;
    const int64_t n = std::min(count.exchange(0), kMost);
    for (int64_t i = 0; i < n; ++i) {
        const uintptr_t at = seen[static_cast<size_t>(i)];
        Dl_info where{};
        if (dladdr(reinterpret_cast<const void*>(at), &where) != 0 &&
            where.dli_fbase == library.dli_fbase) {
            ++samples[std::to_string(at - reinterpret_cast<uintptr_t>(library.dli_fbase))];
        } else {
            ++elsewhere;
        }
    }
    const nlohmann::json line = {{"row", row},
                                 {"library", library.dli_fname},
                                 {"elsewhere", elsewhere},
                                 {"samples", samples}};
    std::ofstream(std::getenv("SEQMIX_BENCH_SAMPLES"), std::ios::app) << line.dump() << '\n';
}

}  // namespace seqmix::bench
