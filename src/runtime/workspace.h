// Scratch memory of calls, pooled per context. Taking and giving back are lock-free.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/memory.h"

namespace seqmix {

class WorkspacePool;

// A block of scratch for the duration of one call.
class Workspace {
  public:
    Workspace() = default;
    Workspace(Workspace&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)),
          block_(std::exchange(other.block_, nullptr)) {}
    Workspace& operator=(Workspace&& other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(block_, other.block_);
        return *this;
    }
    ~Workspace();
    std::byte* data() const;
    size_t size() const;

  private:
    friend class WorkspacePool;
    struct Block;
    Workspace(WorkspacePool* pool, Block* block) : pool_(pool), block_(block) {}
    WorkspacePool* pool_ = nullptr;
    Block* block_ = nullptr;
};

class WorkspacePool {
  public:
    static constexpr int64_t kCapacity = 256;  // idle blocks; more are given back to the allocator

    explicit WorkspacePool(Allocator allocator) : allocator_(allocator) {}
    ~WorkspacePool();
    WorkspacePool(const WorkspacePool&) = delete;
    WorkspacePool& operator=(const WorkspacePool&) = delete;

    // Allocates only when no idle block is large enough. Throws std::bad_alloc.
    Workspace acquire(size_t bytes);

  private:
    friend class Workspace;
    void give_back(Workspace::Block* block) noexcept;
    Workspace::Block* make(size_t bytes);
    void destroy(Workspace::Block* block) noexcept;

    Allocator allocator_;
    std::atomic<Workspace::Block*> idle_[kCapacity] = {};
};

}  // namespace seqmix
