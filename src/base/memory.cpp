#include "base/memory.h"

#include <cstdlib>

namespace seqmix {

void* Allocator::allocate(size_t size, size_t align) const {
    if (size == 0) {
        size = 1;
    }
    void* memory = nullptr;
    if (alloc_fn != nullptr) {
        memory = alloc_fn(user, size, align);
    } else {
        memory = ::operator new(size, std::align_val_t(align), std::nothrow);
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
        ::operator delete(pointer, std::align_val_t(align));
    }
}

}  // namespace seqmix
