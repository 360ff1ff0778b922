// An array between two inaccessible pages, for code that must not touch what is not its own.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <exception>

namespace seqmix::test {

template <typename T>
class Guarded {
  public:
    // `count` elements that end `slack` bytes before the second inaccessible page, or begin after the
    // first.
    explicit Guarded(size_t count, bool at_end = true, size_t slack = 0) : count_(count) {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        const size_t bytes = count * sizeof(T) + slack;
        const size_t inner = (bytes + page - 1) / page * page;
        size_ = inner + 2 * page;
        void* base = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) std::terminate();
        base_ = static_cast<unsigned char*>(base);
        if (inner != 0 && mprotect(base_ + page, inner, PROT_READ | PROT_WRITE) != 0) {
            std::terminate();
        }
        unsigned char* start = base_ + page + (at_end ? inner - bytes : 0);
        data_ = reinterpret_cast<T*>(start);
    }
    ~Guarded() { munmap(base_, size_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    T* data() { return data_; }
    const T* data() const { return data_; }
    size_t size() const { return count_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }

  private:
    size_t count_;
    size_t size_ = 0;
    unsigned char* base_ = nullptr;
    T* data_ = nullptr;
};

// Bytes of any type, misaligned by `slack`.
class GuardedBytes : public Guarded<unsigned char> {
  public:
    explicit GuardedBytes(size_t bytes, size_t slack = 0) : Guarded(bytes, true, slack) {}
    unsigned char* bytes() const { return const_cast<unsigned char*>(data()); }
    float* floats() const { return reinterpret_cast<float*>(bytes()); }
};

}  // namespace seqmix::test
