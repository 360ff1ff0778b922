#include "support/limits.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace seqmix::bench {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

namespace {

#if defined(__x86_64__)

// Twelve independent chains hide the latency of four cycles on two pipes. The assembly keeps the
// compiler from merging or dropping any of them. Four rounds in a loop leave the ports to them.
constexpr int kFmasPerRound = 48;
// clang-format off
#define SEQMIX_FMA(v, i) "vfmadd231ps %%" v "mm15, %%" v "mm14, %%" v "mm" #i "\n\t"
#define SEQMIX_FMA_ROUND(v)                                                             \
    SEQMIX_FMA(v, 0) SEQMIX_FMA(v, 1) SEQMIX_FMA(v, 2) SEQMIX_FMA(v, 3)                 \
    SEQMIX_FMA(v, 4) SEQMIX_FMA(v, 5) SEQMIX_FMA(v, 6) SEQMIX_FMA(v, 7)                 \
    SEQMIX_FMA(v, 8) SEQMIX_FMA(v, 9) SEQMIX_FMA(v, 10) SEQMIX_FMA(v, 11)
#define SEQMIX_FMA_ROUNDS(v) \
    SEQMIX_FMA_ROUND(v) SEQMIX_FMA_ROUND(v) SEQMIX_FMA_ROUND(v) SEQMIX_FMA_ROUND(v)

// The cycle: a chain of additions, one cycle each (of registers; one of an immediate may take none).
// Clocks fall under wide vectors, so one FMA for every two additions keeps the clock at that of the
// FMA loop; the additions still decide how long this takes.
constexpr int kAddsPerRound = 24;
#define SEQMIX_ADDS "add %1, %0\n\tadd %1, %0\n\t"
#define SEQMIX_CLOCK(v, i) SEQMIX_ADDS SEQMIX_FMA(v, i)
#define SEQMIX_CLOCK_ROUND(v)                                                           \
    SEQMIX_CLOCK(v, 0) SEQMIX_CLOCK(v, 1) SEQMIX_CLOCK(v, 2) SEQMIX_CLOCK(v, 3)         \
    SEQMIX_CLOCK(v, 4) SEQMIX_CLOCK(v, 5) SEQMIX_CLOCK(v, 6) SEQMIX_CLOCK(v, 7)         \
    SEQMIX_CLOCK(v, 8) SEQMIX_CLOCK(v, 9) SEQMIX_CLOCK(v, 10) SEQMIX_CLOCK(v, 11)
#define SEQMIX_CLOBBERS                                                                 \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",     \
    "xmm10", "xmm11", "xmm14", "xmm15"
// clang-format on

__attribute__((target("avx2,fma"))) double fma_256(int64_t rounds) {
    asm volatile("vxorps %%ymm14, %%ymm14, %%ymm14\n\tvxorps %%ymm15, %%ymm15, %%ymm15" ::
                     : SEQMIX_CLOBBERS);
    const double start = now();
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(SEQMIX_FMA_ROUNDS("y")::: SEQMIX_CLOBBERS);
    }
    const double seconds = now() - start;
    _mm256_zeroupper();
    return seconds;
}

__attribute__((target("avx2,fma"))) double clock_256(int64_t rounds) {
    uint64_t a = 1, b = 3;
    const double start = now();
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(SEQMIX_CLOCK_ROUND("y") : "+r"(a) : "r"(b) : SEQMIX_CLOBBERS);
    }
    const double seconds = now() - start;
    _mm256_zeroupper();
    return seconds;
}

__attribute__((target("avx512f"))) double fma_512(int64_t rounds) {
    asm volatile("vpxord %%zmm14, %%zmm14, %%zmm14\n\tvpxord %%zmm15, %%zmm15, %%zmm15" ::
                     : SEQMIX_CLOBBERS);
    const double start = now();
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(SEQMIX_FMA_ROUNDS("z")::: SEQMIX_CLOBBERS);
    }
    const double seconds = now() - start;
    _mm256_zeroupper();
    return seconds;
}

__attribute__((target("avx512f"))) double clock_512(int64_t rounds) {
    uint64_t a = 1, b = 3;
    const double start = now();
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(SEQMIX_CLOCK_ROUND("z") : "+r"(a) : "r"(b) : SEQMIX_CLOBBERS);
    }
    const double seconds = now() - start;
    _mm256_zeroupper();
    return seconds;
}

#define SEQMIX_MUL_ADD_ROUND                             \
    "mulps %%xmm15, %%xmm0\n\taddps %%xmm15, %%xmm1\n\t" \
    "mulps %%xmm15, %%xmm2\n\taddps %%xmm15, %%xmm3\n\t" \
    "mulps %%xmm15, %%xmm4\n\taddps %%xmm15, %%xmm5\n\t" \
    "mulps %%xmm15, %%xmm6\n\taddps %%xmm15, %%xmm7\n\t" \
    "mulps %%xmm15, %%xmm8\n\taddps %%xmm15, %%xmm9\n\t" \
    "mulps %%xmm15, %%xmm10\n\taddps %%xmm15, %%xmm11\n\t"

double mul_add_128(int64_t rounds) {
    asm volatile("xorps %%xmm15, %%xmm15" ::: SEQMIX_CLOBBERS);
    const double start = now();
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(
            SEQMIX_MUL_ADD_ROUND SEQMIX_MUL_ADD_ROUND SEQMIX_MUL_ADD_ROUND SEQMIX_MUL_ADD_ROUND::
                : SEQMIX_CLOBBERS);
    }
    return now() - start;
}

struct Rate {
    double instructions = 0, cycles = 0;  // per second
    double per_cycle() const { return cycles > 0 ? instructions / cycles : 0; }
};

// Best of several short runs: an interruption hits some of them only.
Rate rate(double (*probe)(int64_t), double (*clock)(int64_t)) {
    constexpr int64_t kRounds = 100000;
    probe(kRounds / 4);
    double best = 1e9, best_clock = 1e9;
    for (int i = 0; i < 9; ++i) {
        best = std::min(best, probe(kRounds));
        if (clock != nullptr) {
            best_clock = std::min(best_clock, clock(kRounds));
        }
    }
    return {kFmasPerRound * static_cast<double>(kRounds) / best,
            clock == nullptr ? 0 : kAddsPerRound * static_cast<double>(kRounds) / best_clock};
}

#endif

void measure(Limits& l) {
#if defined(__x86_64__)
    l.generic_flops = std::max(l.generic_flops, 4 * rate(mul_add_128, nullptr).instructions);
    Rate at256, at512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        at256 = rate(fma_256, clock_256);
        l.avx2_slots = std::max(l.avx2_slots, at256.instructions);
        l.cycles_per_second = std::max(l.cycles_per_second, at256.cycles);
    }
    if (__builtin_cpu_supports("avx512f")) {
        at512 = rate(fma_512, clock_512);
        l.avx512_slots = std::max(l.avx512_slots, at512.instructions);
    }
    l.wide = l.avx512_slots > 0 && 2 * l.avx512_slots >= 1.5 * l.avx2_slots;
    const double need512 = l.avx512_slots == 0 ? 0 : l.wide ? 1.9 : 0.95;
    const double per256 = at256.per_cycle(), per512 = at512.per_cycle();
    l.valid = l.valid || (per256 >= 1.9 && per512 >= need512);
    char text[160];
    std::snprintf(text, sizeof text,
                  "FMA per cycle: %.2f at 256 bits (1.9 needed), %.2f at 512 bits (%.2f needed)",
                  per256, per512, need512);
    l.why = text;
#else
    l.why = "no FMA probe for this architecture";
#endif
}

Limits& instance() {
    static Limits measured = [] {
        Limits l;
        measure(l);
        return l;
    }();
    return measured;
}

struct Block {
    struct Free {
        void operator()(char* p) const { std::free(p); }
    };
    std::unique_ptr<char, Free> data;
    size_t size = 0;
};

// Blocks that a probe is done with are the next one's: giving pages back and taking them again costs
// more than the probes themselves.
std::vector<Block>& spare_blocks() {
    static std::vector<Block> blocks;
    return blocks;
}

Block take_block(size_t bytes) {
    const size_t size = (bytes + 63) / 64 * 64;
    std::vector<Block>& spare = spare_blocks();
    const auto found = std::find_if(spare.begin(), spare.end(),
                                    [&](const Block& block) { return block.size >= size; });
    if (found != spare.end()) {
        Block block = std::move(*found);
        spare.erase(found);
        return block;
    }
    spare.clear();  // too small: not to be kept beside a larger one
    Block block;
    block.data.reset(static_cast<char*>(std::aligned_alloc(64, size)));
    block.size = size;
    std::memset(block.data.get(), 1, size);
    return block;
}

// Four streams a core, as kernels read the rows of a matrix: one alone leaves the prefetchers idle.
uint64_t sum(const char* data, size_t bytes) {
    constexpr size_t kStreams = 4, kLine = 64, kAhead = 12 * kLine;
    const size_t part = bytes / kStreams / kLine * kLine;
    uint64_t sums[kStreams][8] = {};
    for (size_t i = 0; i < part; i += kLine) {
        for (size_t s = 0; s < kStreams; ++s) {
            const char* line = data + s * part + i;
            __builtin_prefetch(line + kAhead);
            for (size_t j = 0; j < 8; ++j) {
                uint64_t word;
                std::memcpy(&word, line + 8 * j, sizeof word);
                sums[s][j] += word;
            }
        }
    }
    uint64_t total = 0;
    for (const auto& stream : sums) {
        for (const uint64_t word : stream) {
            total += word;
        }
    }
    return total;
}

}  // namespace

double Limits::slots(const std::string& isa) const {
    return isa == "avx512" ? avx512_slots : isa == "avx2" ? avx2_slots : 0;
}

double Limits::flops(const std::string& isa) const {
    return isa == "avx512" ? 32 * avx512_slots : isa == "avx2" ? 16 * avx2_slots : generic_flops;
}

const Limits& limits() { return instance(); }

void refresh_limits() { measure(instance()); }

struct MemoryProbe::Data {
    Kind kind;
    int threads;
    size_t share, parts, next = 0;  // bytes of a thread at a try, and how many of these there are
    int times;
    std::vector<Block> from, to;

    void work(size_t thread) {
        for (int r = 0; r < times; ++r) {
            const size_t at = (next + static_cast<size_t>(r)) % parts * share;
            if (kind == Kind::copy) {
                std::memcpy(to[thread].data.get() + at, from[thread].data.get() + at, share);
                asm volatile("" ::"r"(to[thread].data.get()) : "memory");
            } else {
                const uint64_t total = sum(from[thread].data.get() + at, share);
                asm volatile("" ::"r"(total) : "memory");
            }
        }
    }
};

MemoryProbe::MemoryProbe(Kind kind, double bytes, double region, int threads)
    : data_(std::make_unique<Data>()) {
    Data& d = *data_;
    d.kind = kind;
    d.threads = threads;
    const double arrays = kind == Kind::copy ? 2 : 1;
    d.share = (static_cast<size_t>(bytes / arrays / threads) + 64) / 64 * 64;
    d.parts = std::max(size_t{1}, static_cast<size_t>(region / bytes));
    // Small arrays are copied often, so that the clock does not count.
    d.times = static_cast<int>(std::max(1.0, 4e6 / bytes));
    for (int i = 0; i < threads; ++i) {
        d.from.push_back(take_block(d.share * d.parts));
        if (kind == Kind::copy) {
            d.to.push_back(take_block(d.share * d.parts));
        }
    }
}

MemoryProbe::~MemoryProbe() {
    for (std::vector<Block>* blocks : {&data_->from, &data_->to}) {
        std::move(blocks->begin(), blocks->end(), std::back_inserter(spare_blocks()));
    }
}

// The threads are there before the clock starts.
double MemoryProbe::seconds() {
    Data& d = *data_;
    d.next = (d.next + static_cast<size_t>(d.times)) % d.parts;
    std::atomic<int> waiting{d.threads - 1};
    std::atomic<bool> go{false};
    std::vector<std::thread> others;
    for (int i = 1; i < d.threads; ++i) {
        others.emplace_back([&, i] {
            waiting.fetch_sub(1);
            while (!go.load(std::memory_order_acquire)) {
            }
            d.work(static_cast<size_t>(i));
            waiting.fetch_add(1, std::memory_order_release);
        });
    }
    while (waiting.load(std::memory_order_acquire) > 0) {
    }
    const double seconds = timed(
        [&] {
            go.store(true, std::memory_order_release);
            d.work(0);
            while (waiting.load(std::memory_order_acquire) < d.threads - 1) {
            }
        },
        d.threads);
    for (std::thread& thread : others) {
        thread.join();
    }
    return seconds / d.times;
}

double cold_region() {
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return std::clamp(2.0 * static_cast<double>(cache), 256e6, 1e9);
}

double thread_now() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace seqmix::bench
