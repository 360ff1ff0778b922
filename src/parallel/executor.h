// Who runs the pieces of a call: the calling thread, the context's own pool, or the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/memory.h"
#include "seqmix/seqmix.h"

namespace seqmix {

class ThreadPool;

class Executor {
  public:
    // The library's own pool of `threads` threads, the caller included; 1 never starts one.
    explicit Executor(int32_t threads);
    // The host's.
    Executor(seqmix_parallel_for_fn fn, void* user, size_t workers);
    ~Executor();
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    // Starts the threads now, so that no later call does.
    void start();
    // Calls fn(arg, i, worker) once for each i in [0, n) and returns when all are done. Denormals are
    // flushed in every task. false: the host's function failed.
    bool run(size_t n, seqmix_task_fn fn, void* arg) noexcept;
    size_t workers() const { return workers_; }
    bool is_host() const { return host_ != nullptr; }

  private:
    seqmix_parallel_for_fn host_ = nullptr;
    void* user_ = nullptr;
    size_t workers_ = 1;
    std::unique_ptr<ThreadPool> pool_;
};

}  // namespace seqmix
