#include "parallel/executor.h"

#include "base/fpenv.h"
#include "parallel/thread_pool.h"

namespace seqmix {
namespace {

struct HostTask {
    seqmix_task_fn fn;
    void* arg;
};

void run_host_task(void* arg, size_t i, size_t worker) {
    const auto* task = static_cast<const HostTask*>(arg);
    const FlushDenormals flush;  // the host's threads have the host's mode
    task->fn(task->arg, i, worker);
}

}  // namespace

Executor::Executor(int32_t threads) : workers_(threads < 1 ? 1 : static_cast<size_t>(threads)) {
    if (workers_ > 1) {
        pool_ = std::make_unique<ThreadPool>(workers_);
    }
}

Executor::Executor(seqmix_parallel_for_fn fn, void* user, size_t workers)
    : host_(fn), user_(user), workers_(workers < 1 ? 1 : workers) {}

Executor::~Executor() = default;

void Executor::start() {
    if (pool_ != nullptr) {
        pool_->start();
    }
}

bool Executor::run(size_t n, seqmix_task_fn fn, void* arg) noexcept {
    if (host_ != nullptr) {
        HostTask task{fn, arg};
        return host_(user_, n, run_host_task, &task) == 0;
    }
    if (pool_ != nullptr) {
        pool_->run(n, fn, arg);
    } else {
        for (size_t i = 0; i < n; ++i) {
            fn(arg, i, 0);
        }
    }
    return true;
}

}  // namespace seqmix
