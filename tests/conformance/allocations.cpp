// How often memory was asked for, by the library too: its operator new is this program's.
#include <algorithm>
#include <cstddef>
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

namespace {

void* allocate(std::size_t size, std::size_t align) noexcept {
    ++allocations();
    void* memory = nullptr;
    return posix_memalign(&memory, align, std::max<std::size_t>(size, 1)) == 0 ? memory : nullptr;
}

void* or_throw(void* memory) {
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

constexpr std::size_t kAlign = alignof(std::max_align_t);

}  // namespace

// All that are not defined in terms of others: sanitizers bring their own of what is missing here.
void* operator new(std::size_t size) { return or_throw(allocate(size, kAlign)); }
void* operator new(std::size_t size, std::align_val_t align) {
    return or_throw(allocate(size, static_cast<std::size_t>(align)));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return allocate(size, kAlign);
}
void* operator new(std::size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
    return allocate(size, static_cast<std::size_t>(align));
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
