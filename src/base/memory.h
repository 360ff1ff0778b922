// The caller's allocator and buffers that come from it. Exhaustion is std::bad_alloc inside the
// library; the C boundary turns it into SEQMIX_ERR_NO_MEMORY.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "seqmix/seqmix.h"

#if defined(__SANITIZE_ADDRESS__)
#define SEQMIX_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEQMIX_ASAN
#endif
#endif
#ifdef SEQMIX_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace seqmix {

// For AddressSanitizer, which knows blocks but not the arrays that we lay out inside them; elsewhere
// nothing. Touching forbidden bytes is reported until they are allowed again.
inline void forbid_bytes([[maybe_unused]] void* data, [[maybe_unused]] size_t size) {
#ifdef SEQMIX_ASAN
    __asan_poison_memory_region(data, size);
#endif
}
inline void allow_bytes([[maybe_unused]] void* data, [[maybe_unused]] size_t size) {
#ifdef SEQMIX_ASAN
    __asan_unpoison_memory_region(data, size);
#endif
}

constexpr size_t kAlignment = 64;  // a cache line, and a 512-bit register

// Asks the system for huge pages in [data, data + size): scratch of some megabytes has rows in more
// pages than the processor knows the places of (prefill 4 % faster). Where there are none, nothing.
void prefer_huge_pages(void* data, size_t size) noexcept;

// Copied freely; the host's functions outlive every handle.
struct Allocator {
    seqmix_alloc_fn alloc_fn = nullptr;  // null: the process's own heap
    seqmix_free_fn free_fn = nullptr;
    void* user = nullptr;

    void* allocate(size_t size, size_t align = kAlignment) const;  // throws std::bad_alloc
    void release(void* pointer, size_t size, size_t align = kAlignment) const noexcept;

    template <class T, class... Args>
    T* create(Args&&... args) const {
        void* memory = allocate(sizeof(T), alignof(T));
        try {
            return new (memory) T(std::forward<Args>(args)...);
        } catch (...) {
            release(memory, sizeof(T), alignof(T));
            throw;
        }
    }
    template <class T>
    void destroy(T* object) const noexcept {
        if (object != nullptr) {
            object->~T();
            release(object, sizeof(T), alignof(T));
        }
    }
};

// Uninitialised array of trivial elements, aligned to a cache line; move only.
template <class T>
class Array {
  public:
    Array() = default;
    Array(int64_t count, Allocator allocator) : allocator_(allocator), count_(count) {
        if (count < 0 || static_cast<uint64_t>(count) > SIZE_MAX / 2 / sizeof(T)) {
            throw std::bad_alloc();
        }
        if (count > 0) {
            data_ = static_cast<T*>(allocator_.allocate(bytes()));
        }
    }
    Array(Array&& other) noexcept
        : allocator_(other.allocator_),
          data_(std::exchange(other.data_, nullptr)),
          count_(std::exchange(other.count_, 0)) {}
    Array& operator=(Array&& other) noexcept {
        std::swap(allocator_, other.allocator_);
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Array() {
        if (data_ != nullptr) {
            allocator_.release(data_, bytes());
        }
    }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](int64_t i) { return data_[i]; }
    const T& operator[](int64_t i) const { return data_[i]; }
    int64_t size() const { return count_; }
    size_t bytes() const { return static_cast<size_t>(count_) * sizeof(T); }
    explicit operator bool() const { return data_ != nullptr; }
    void zero() {
        if (data_ != nullptr) {
            std::memset(static_cast<void*>(data_), 0, bytes());
        }
    }

  private:
    Allocator allocator_;
    T* data_ = nullptr;
    int64_t count_ = 0;
};

// Products and sums of sizes that report overflow instead of wrapping.
inline bool checked_mul(int64_t a, int64_t b, int64_t* out) {
    return !__builtin_mul_overflow(a, b, out);
}
inline bool checked_add(int64_t a, int64_t b, int64_t* out) {
    return !__builtin_add_overflow(a, b, out);
}

}  // namespace seqmix
