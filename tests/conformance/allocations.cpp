// How often memory was asked for, by the library too: its operator new is this program's.
#include <algorithm>
#include <cstdlib>
#include <new>

#include "models.h"

namespace seqmix::conformance {

std::atomic<int64_t>& allocations() {
    static std::atomic<int64_t> count{0};
    return count;
}

}  // namespace seqmix::conformance

using seqmix::conformance::allocations;

void* operator new(std::size_t size) {
    ++allocations();
    if (void* memory = std::malloc(std::max<std::size_t>(size, 1)); memory != nullptr) {
        return memory;
    }
    throw std::bad_alloc();
}

void* operator new(std::size_t size, std::align_val_t align) {
    ++allocations();
    void* memory = nullptr;
    if (posix_memalign(&memory, static_cast<std::size_t>(align), std::max<std::size_t>(size, 1)) !=
        0) {
        throw std::bad_alloc();
    }
    return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
