// A small pool: one job at a time, its pieces claimed by an atomic counter, workers parked on a futex
// (std::atomic wait). Handing over a job allocates nothing and takes no lock. A caller that finds the
// pool in use by another call runs its pieces itself.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "seqmix/seqmix.h"

namespace seqmix {

class ThreadPool {
  public:
    explicit ThreadPool(size_t threads);  // the caller included
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    void start();
    void run(size_t n, seqmix_task_fn fn, void* arg) noexcept;

  private:
    struct Shared;
    Shared* acquire();

    size_t threads_;
    std::atomic<Shared*> shared_{nullptr};
    std::atomic<bool> starting_{false};
};

}  // namespace seqmix
