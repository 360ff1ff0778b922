#include "runtime/workspace.h"

namespace seqmix {

struct Workspace::Block {
    size_t size;
    std::byte* data;
};

Workspace::~Workspace() {
    if (block_ != nullptr) {
        pool_->give_back(block_);
    }
}

std::byte* Workspace::data() const { return block_->data; }

size_t Workspace::size() const { return block_->size; }

WorkspacePool::~WorkspacePool() {
    for (auto& slot : idle_) {
        destroy(slot.exchange(nullptr));
    }
}

Workspace WorkspacePool::acquire(size_t bytes) {
    Workspace::Block* small = nullptr;
    for (auto& slot : idle_) {
        if (slot.load(std::memory_order_relaxed) == nullptr) {
            continue;
        }
        Workspace::Block* block = slot.exchange(nullptr, std::memory_order_acquire);
        if (block == nullptr) {
            continue;
        }
        if (block->size >= bytes) {
            if (small != nullptr) {
                give_back(small);
            }
            return Workspace(this, block);
        }
        if (small == nullptr) {
            small = block;  // held, so that a larger one takes its place
        } else {
            give_back(block);
        }
    }
    destroy(small);
    return Workspace(this, make(bytes));
}

Workspace::Block* WorkspacePool::make(size_t bytes) {
    auto* block = allocator_.create<Workspace::Block>();
    block->size = bytes;
    try {
        block->data = static_cast<std::byte*>(allocator_.allocate(bytes));
    } catch (...) {
        allocator_.destroy(block);
        throw;
    }
    return block;
}

void WorkspacePool::destroy(Workspace::Block* block) noexcept {
    if (block != nullptr) {
        allow_bytes(block->data, block->size);
        allocator_.release(block->data, block->size);
        allocator_.destroy(block);
    }
}

void WorkspacePool::give_back(Workspace::Block* block) noexcept {
    for (auto& slot : idle_) {
        Workspace::Block* empty = nullptr;
        if (slot.load(std::memory_order_relaxed) == nullptr &&
            slot.compare_exchange_strong(empty, block, std::memory_order_release,
                                         std::memory_order_relaxed)) {
            return;
        }
    }
    destroy(block);
}

}  // namespace seqmix
