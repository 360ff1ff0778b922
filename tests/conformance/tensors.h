// Tensors of the conformance suite. `Values` is what a tensor says: a shape and its elements in C
// order, as doubles, which hold every element type used here exactly. `Buffer` is how it lies in
// memory: a layout (padding, axis order, misalignment), and a place (plain memory, or against a
// page that cannot be touched).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "seqmix/seqmix.h"

namespace seqmix::conformance {

// A failed expectation; the driver reports it with the case it happened in.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Type : uint8_t { f32, f64, f16, bf16, i32, i64, boolean };
size_t size_of(Type type);
uint32_t bit_of(Type type);  // SEQMIX_DTYPE_*
Type type_named(const std::string& name);
// Nearest value of a type (to nearest, ties to even).
double round_to(Type type, double value);

struct Values {
    std::vector<int64_t> shape;
    std::vector<double> data;

    Values() = default;
    explicit Values(std::vector<int64_t> sizes, double fill = 0.0);
    int64_t count() const { return static_cast<int64_t>(data.size()); }
    // The part [first, first + count) of an axis; axis < 0 gives the whole.
    Values slice(int64_t axis, int64_t first, int64_t count) const;
    // Writes `part` over [first, first + its size) of an axis.
    void paste(int64_t axis, int64_t first, const Values& part);
    Values flipped(int64_t axis) const;
};

int64_t product(const std::vector<int64_t>& shape);
std::string text(const std::vector<int64_t>& shape);

// Throw Failure. `same` compares bits (of the doubles that hold the elements, so of the elements).
void require_same(const Values& got, const Values& want, const std::string& what);
void require_close(const Values& got, const Values& want, double tolerance,
                   const std::string& what);
void require_finite(const Values& got, const std::string& what);
void require(bool condition, const std::string& what);

// Deterministic everywhere; not the library's generator.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x1234567u) {}
    uint64_t next();
    double uniform(double low, double high);
    int64_t integer(int64_t low, int64_t high);  // inclusive

  private:
    uint64_t state_;
};

// ------------------------------------------------------------------ memory

enum class Placement : uint8_t { heap, guard_after, guard_before };

// Bytes whose neighbours cannot be touched: a PROT_NONE page lies directly behind the last byte
// (guard_after) or before the first one (guard_before).
class Memory {
  public:
    Memory(size_t bytes, Placement placement, size_t align = 1);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::byte* data() const { return data_; }
    // Against a guard page: writing ends the process from here on. On the heap nothing happens.
    void make_read_only() const;

  private:
    std::byte* data_ = nullptr;
    std::byte* base_ = nullptr;
    size_t mapped_ = 0;  // 0: heap
};

struct Layout {
    int64_t pad = 0;               // elements between runs of the innermost axis
    int64_t step = 1;              // stride of the innermost axis
    bool axis1_innermost = false;  // (B,T,D) kept as (B,D,T)
    bool flip_axis1 = false;       // negative stride
    bool flip_last = false;
    bool repeat_axis0 = false;  // stride 0: every row is row 0
    size_t misalign = 0;        // bytes added to an address of a whole cache line
    bool use_byte_offset = false;
};

class Buffer {
  public:
    // Memory for a tensor; `canary` fills it.
    Buffer(std::vector<int64_t> shape, Type type, const Layout& layout = {},
           Placement placement = Placement::heap, uint8_t canary = 0xff);
    // The same, holding values.
    Buffer(const Values& values, Type type, const Layout& layout = {},
           Placement placement = Placement::heap);

    const seqmix_tensor* tensor() const { return &tensor_; }
    void write(const Values& values);
    Values read() const;
    void make_read_only() const { memory_->make_read_only(); }
    // Throws Failure when a byte that belongs to no element lost its canary.
    void require_gaps_untouched(const std::string& what) const;

    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

  private:
    template <class Fn>
    void for_each(Fn&& fn) const;

    std::vector<int64_t> shape_;
    std::vector<int64_t> strides_;
    Type type_;
    uint8_t canary_;
    size_t bytes_ = 0;
    int64_t origin_ = 0;  // element at index 0, from the first byte after `misalign`
    Layout layout_;
    std::unique_ptr<Memory> memory_;
    seqmix_tensor tensor_{};
};

}  // namespace seqmix::conformance
