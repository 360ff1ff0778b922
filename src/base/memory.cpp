#include "base/memory.h"

#include <algorithm>
#include <cstdlib>

namespace seqmix {
namespace {

// Blocks of the process's own heap that hold a huge page and more begin at one and ask for them.
constexpr size_t kHugePage = size_t{2} << 20;

size_t heap_alignment(size_t size, size_t align) {
    return size >= 2 * kHugePage ? std::max(align, kHugePage) : align;
}

}  // namespace

void* Allocator::allocate(size_t size, size_t align) const {
    if (size == 0) {
        size = 1;
    }
    void* memory = nullptr;
    if (alloc_fn != nullptr) {
        memory = alloc_fn(user, size, align);
    } else {
        memory = ::operator new(size, std::align_val_t(heap_alignment(size, align)), std::nothrow);
        if (memory != nullptr && size >= 2 * kHugePage) {
            prefer_huge_pages(memory, size);
        }
    }
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

void Allocator::release(void* pointer, size_t size, size_t align) const noexcept {
    if (pointer == nullptr) {
        return;
    }
    if (size == 0) {
        size = 1;
    }
    if (free_fn != nullptr) {
        free_fn(user, pointer, size, align);
    } else {
        ::operator delete(pointer, std::align_val_t(heap_alignment(size, align)));
    }
}

}  // namespace seqmix
