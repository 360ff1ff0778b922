#include "parallel/thread_pool.h"

#include <pthread.h>

#include <new>
#include <thread>
#include <vector>

#include "base/fpenv.h"

namespace seqmix {
namespace {

// Raised in the child of a fork: threads do not survive it, so pools of older generations are dead.
std::atomic<uint32_t> fork_generation{0};

void after_fork_in_child() { fork_generation.fetch_add(1, std::memory_order_relaxed); }

void watch_forks() {
    // Once per process; a failure (no memory) only means that a forked child must not use the pool.
    static std::atomic<bool> registered{false};
    if (!registered.exchange(true)) {
        pthread_atfork(nullptr, nullptr, after_fork_in_child);
    }
}

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

// About 20 microseconds: longer than the gap between two phases of a decode step, so that workers
// are awake for the next one, and shorter than a scheduler's tick.
constexpr int kSpins = 4000;

}  // namespace

// What workers and callers share. Never freed in a forked child (its threads are gone and cannot be
// joined), else freed by the pool's destructor.
struct ThreadPool::Shared {
    uint32_t generation;
    std::vector<std::thread> workers;
    std::atomic<bool> in_use{false};  // by one caller
    std::atomic<uint32_t> epoch{0};   // raised for every job; workers wait on it
    std::atomic<bool> stop{false};
    // The job. Written by the caller before it raises the epoch.
    seqmix_task_fn fn = nullptr;
    void* arg = nullptr;
    size_t n = 0;
    std::atomic<size_t> next{0};
    std::atomic<uint32_t> active{0};  // workers that have not left the job yet

    void work(size_t worker) {
        for (;;) {
            const size_t i = next.fetch_add(1, std::memory_order_relaxed);
            if (i >= n) {
                return;
            }
            fn(arg, i, worker);
        }
    }

    void loop(size_t worker) {
        const FlushDenormals flush;
        uint32_t seen = 0;
        for (;;) {
            for (int spin = 0; spin < kSpins && epoch.load(std::memory_order_acquire) == seen;
                 ++spin) {
                pause();
            }
            epoch.wait(seen, std::memory_order_acquire);
            seen = epoch.load(std::memory_order_acquire);
            if (stop.load(std::memory_order_acquire)) {
                return;
            }
            work(worker);
            if (active.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                active.notify_one();
            }
        }
    }
};

ThreadPool::ThreadPool(size_t threads) : threads_(threads) {}

ThreadPool::~ThreadPool() {
    Shared* shared = shared_.load();
    if (shared == nullptr || shared->generation != fork_generation.load()) {
        return;
    }
    shared->stop.store(true);
    shared->epoch.fetch_add(1, std::memory_order_release);
    shared->epoch.notify_all();
    for (std::thread& worker : shared->workers) {
        worker.join();
    }
    delete shared;
}

void ThreadPool::start() {
    const uint32_t generation = fork_generation.load();
    Shared* current = shared_.load(std::memory_order_acquire);
    if (threads_ <= 1 || (current != nullptr && current->generation == generation)) {
        return;
    }
    if (starting_.exchange(true)) {
        return;  // another thread is at it; this call runs without the pool
    }
    current = shared_.load(std::memory_order_acquire);
    if (current == nullptr || current->generation != generation) {
        watch_forks();
        // An older generation's object is leaked on purpose: see Shared.
        auto* fresh = new (std::nothrow) Shared;
        if (fresh != nullptr) {
            fresh->generation = generation;
            try {
                for (size_t w = 1; w < threads_; ++w) {
                    fresh->workers.emplace_back([fresh, w] { fresh->loop(w); });
                }
            } catch (...) {
                // Fewer threads than asked for: the rest of the work is done by those there are.
            }
            shared_.store(fresh, std::memory_order_release);
        }
    }
    starting_.store(false);
}

ThreadPool::Shared* ThreadPool::acquire() {
    Shared* shared = shared_.load(std::memory_order_acquire);
    if (shared == nullptr ||
        shared->generation != fork_generation.load(std::memory_order_relaxed)) {
        start();
        shared = shared_.load(std::memory_order_acquire);
    }
    if (shared == nullptr ||
        shared->generation != fork_generation.load(std::memory_order_relaxed) ||
        shared->workers.empty() || shared->in_use.exchange(true, std::memory_order_acquire)) {
        return nullptr;
    }
    return shared;
}

void ThreadPool::run(size_t n, seqmix_task_fn fn, void* arg) noexcept {
    Shared* shared = threads_ > 1 && n > 1 ? acquire() : nullptr;
    if (shared == nullptr) {
        for (size_t i = 0; i < n; ++i) {
            fn(arg, i, 0);
        }
        return;
    }
    shared->fn = fn;
    shared->arg = arg;
    shared->n = n;
    shared->next.store(0, std::memory_order_relaxed);
    shared->active.store(static_cast<uint32_t>(shared->workers.size()), std::memory_order_relaxed);
    shared->epoch.fetch_add(1, std::memory_order_release);
    shared->epoch.notify_all();
    shared->work(0);
    // Every worker must have left before the job's memory may change.
    uint32_t active = shared->active.load(std::memory_order_acquire);
    for (int spin = 0; active != 0; ++spin) {
        if (spin < kSpins) {
            pause();
        } else {
            shared->active.wait(active, std::memory_order_acquire);
        }
        active = shared->active.load(std::memory_order_acquire);
    }
    shared->in_use.store(false, std::memory_order_release);
}

}  // namespace seqmix
