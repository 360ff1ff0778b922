// The context handle: everything that layers and states share.
#pragma once

#include <atomic>

#include "base/cpu.h"
#include "base/memory.h"
#include "contract/mixer.h"
#include "parallel/executor.h"
#include "runtime/workspace.h"

struct seqmix_context {
    seqmix_context(seqmix::Isa level, seqmix::Allocator memory, int32_t threads)
        : isa(level), allocator(memory), executor(threads), workspaces(memory) {}
    seqmix_context(seqmix::Isa level, seqmix::Allocator memory, seqmix_parallel_for_fn fn,
                   void* user, size_t workers)
        : isa(level), allocator(memory), executor(fn, user, workers), workspaces(memory) {}

    seqmix::Allocator own_allocator() const { return allocator; }
    void log(int32_t level, const char* message) const {
        if (log_fn != nullptr) {
            log_fn(log_user, level, message);
        }
    }

    std::atomic<int64_t> references{1};
    const seqmix::Isa isa;
    seqmix::WeightFormat format = seqmix::WeightFormat::stored;  // set before anyone has the handle
    const seqmix::Allocator allocator;
    seqmix::Executor executor;
    seqmix::WorkspacePool workspaces;
    seqmix_log_fn log_fn = nullptr;
    void* log_user = nullptr;
};

namespace seqmix {

// A counted reference to a handle with `references` that is destroyed through its allocator.
template <class Handle>
class Ref {
  public:
    Ref() = default;
    // Takes over one reference.
    static Ref adopt(Handle* handle) {
        Ref ref;
        ref.handle_ = handle;
        return ref;
    }
    static Ref share(Handle* handle) {
        if (handle != nullptr) {
            handle->references.fetch_add(1, std::memory_order_relaxed);
        }
        return adopt(handle);
    }
    Ref(const Ref& other) : Ref(share(other.handle_)) {}
    Ref(Ref&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Ref() { release(handle_); }
    static void release(Handle* handle) noexcept {
        if (handle != nullptr && handle->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            const Allocator allocator = handle->own_allocator();
            allocator.destroy(handle);
        }
    }
    Handle* get() const { return handle_; }
    Handle* operator->() const { return handle_; }
    Handle& operator*() const { return *handle_; }
    Handle* detach() { return std::exchange(handle_, nullptr); }
    explicit operator bool() const { return handle_ != nullptr; }

  private:
    Handle* handle_ = nullptr;
};

}  // namespace seqmix
