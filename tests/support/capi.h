// The C API for tests: holders that release their handles, tensors that own their bytes, arguments
// by slot name. Everything here goes through seqmix/seqmix.h only. A status that a test did not ask
// for is thrown as an exception, which GoogleTest reports as a failure of the test.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "seqmix/seqmix.h"

namespace seqmix_test {

using Values = std::vector<double>;
using Shape = std::vector<int64_t>;

// Throws std::runtime_error with the status' name, seqmix_last_error() and `what`.
void check(seqmix_status status, const char* what);

// ------------------------------------------------------------------ tensors

enum class DType { f32, f64, f16, bf16, i32, i64, i8, u8 };

size_t dtype_size(DType dtype);
seqmix_dtype dtype_code(DType dtype);
const char* dtype_name(DType dtype);

int64_t count_of(const Shape& shape);

// Bytes that are only compared; a failing test prints their number and a hash, not the bytes.
struct Bits : std::string {
    Bits() = default;
    explicit Bits(std::string bytes) : std::string(std::move(bytes)) {}
    friend void PrintTo(const Bits& bits, std::ostream* out) {
        *out << bits.size() << " bytes with hash " << std::hash<std::string>()(bits);
    }
};

// A strided view of bytes that all views of it share. Copying copies the view, not the bytes.
class Tensor {
  public:
    Tensor() : Tensor(DType::f32, {0}) {}
    // C order, zeros.
    Tensor(DType dtype, Shape shape);
    // C order. Values are rounded to the dtype (f16 and bf16 are not written from values).
    Tensor(DType dtype, Shape shape, const Values& values);
    static Tensor filled(DType dtype, Shape shape, double value);
    static Tensor i64(const std::vector<int64_t>& values, Shape shape = {});
    static Tensor i32(const std::vector<int64_t>& values, Shape shape = {});

    DType dtype() const { return dtype_; }
    const Shape& shape() const { return shape_; }
    const Shape& strides() const { return strides_; }
    int64_t size(size_t axis) const { return shape_.at(axis); }
    int64_t count() const { return count_of(shape_); }

    // Views of the same bytes.
    Tensor permute(const std::vector<size_t>& axes) const;
    Tensor slice(size_t axis, int64_t first, int64_t count) const;
    Tensor flip(size_t axis) const;                     // negative stride
    Tensor broadcast(size_t axis, int64_t size) const;  // stride 0; the axis must have size 1
    Tensor reshape(Shape shape) const;                  // of a tensor in C order
    // Any view at all: `first` and strides in elements, which must stay inside the bytes.
    Tensor view(Shape shape, Shape strides, int64_t first) const;

    // A copy with bytes of its own, in C order.
    Tensor clone() const;
    // The same elements, `bytes` further from the start of an allocation (misaligned views).
    Tensor shifted(size_t bytes) const;
    // The same elements with unused elements between them: stride step * (C order's stride).
    Tensor spread(int64_t step, double filler = 12345.0) const;

    double at(const Shape& index) const;
    void set(const Shape& index, double value);
    void fill(double value);
    void assign(const Values& values);  // in C order of the shape
    Values values() const;              // in C order of the shape
    std::vector<int64_t> integers() const;
    Bits bits() const;  // the elements' bytes in C order: bitwise comparison

    void* data() const;
    // Points into this object: valid while it lives and is not assigned to.
    seqmix_tensor c() const;
    seqmix_tensor c_without_strides() const;  // strides NULL

  private:
    size_t address(int64_t flat) const;  // byte of element `flat` in C order of the shape

    DType dtype_;
    Shape shape_, strides_;
    int64_t first_ = 0;       // elements
    size_t byte_offset_ = 0;  // of element 0 in the allocation
    std::shared_ptr<std::vector<unsigned char>> bytes_;
};

// ------------------------------------------------------------------ handles

template <class T, void (*Release)(T*)>
class Holder {
  public:
    Holder() = default;
    explicit Holder(T* handle) : handle_(handle) {}
    Holder(Holder&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Holder& operator=(Holder&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Holder() { Release(handle_); }
    T* get() const { return handle_; }
    void reset() { Release(std::exchange(handle_, nullptr)); }
    // For functions that give a handle: check(f(..., holder.out())).
    T** out() {
        reset();
        return &handle_;
    }
    explicit operator bool() const { return handle_ != nullptr; }

  private:
    T* handle_ = nullptr;
};

inline void release_context(seqmix_context* handle) { seqmix_context_release(handle); }
inline void release_config(seqmix_config* handle) { seqmix_config_destroy(handle); }
inline void release_layer(seqmix_layer* handle) { seqmix_layer_release(handle); }
inline void release_state(seqmix_state* handle) { seqmix_state_destroy(handle); }

using Context = Holder<seqmix_context, release_context>;
using Layer = Holder<seqmix_layer, release_layer>;
using State = Holder<seqmix_state, release_state>;

// A config whose setters chain: Config().set("d_model", 4).set("silu", true).
class Config {
  public:
    Config();
    Config(const Config& other);
    Config& operator=(const Config&) = delete;
    Config& set(const char* key, int value) { return set(key, static_cast<int64_t>(value)); }
    Config& set(const char* key, int64_t value);
    Config& set(const char* key, double value);
    Config& set(const char* key, bool value);
    Config& set(const char* key, const char* value);
    seqmix_config* get() const { return handle_.get(); }

  private:
    Holder<seqmix_config, release_config> handle_;
};

// ------------------------------------------------------------------ arguments

// Slot number of a layer by name; throws when the layer has no such slot.
int32_t slot_of(const Layer& layer, const std::string& name);
// -1 when there is none.
int32_t find_slot(const Layer& layer, const std::string& name);
// All slots of a layer.
std::vector<seqmix_slot_info> slots_of(const Layer& layer);
// The first slot of a role: a block's input "x", a model's input "tokens", a layer's output.
std::string first_slot(const Layer& layer, uint32_t role);

class Args {
  public:
    explicit Args(const Layer& layer) : layer_(&layer) {}
    Args(const Args&) = delete;
    Args& operator=(const Args&) = delete;

    // By name, or by number for tests of wrong slots. The tensor's bytes are shared with the caller.
    Args& add(const std::string& slot, const Tensor& tensor, uint32_t flags = 0, int32_t index = 0);
    Args& add(int32_t slot, const Tensor& tensor, uint32_t flags = 0, int32_t index = 0);
    seqmix_arg& back() { return args_.back(); }
    seqmix_tensor& back_tensor() { return c_.back(); }

    const seqmix_arg* data() const { return args_.data(); }
    size_t size() const { return args_.size(); }

  private:
    const Layer* layer_;
    std::deque<Tensor> tensors_;  // stable addresses
    std::deque<seqmix_tensor> c_;
    std::vector<seqmix_arg> args_;
};

// ------------------------------------------------------------------ calls

Context make_context(const char* isa = nullptr, int32_t threads = 1, const char* weights = nullptr);
// The levels that a context offers here, lowest first; "reference" is among them.
std::vector<std::string> levels();
bool is_reference(const std::string& level);
// f64 at level reference, f32 elsewhere.
DType real_dtype(const std::string& level);

Layer plan(const Context& context, const char* type, const Config& config);
Layer bind(const Layer& planned, const Args& args);
// For types ending in _op: plan and bind without weights.
Layer make_op(const Context& context, const char* type, const Config& config);
Layer open_model(const Context& context, const std::string& path);
Layer child(const Layer& layer, size_t i);

// One tensor for each weight slot of a plan, filled by seqmix_layer_init.
struct Weights {
    std::vector<std::pair<std::string, Tensor>> tensors;
    Tensor& operator[](const std::string& name);
};
Weights init_weights(const Layer& planned, uint64_t seed, DType dtype = DType::f32);
Layer bind(const Layer& planned, const Weights& weights, uint32_t flags = SEQMIX_BIND_COPY);

State make_state(const Layer& layer, int64_t batch = 1, int64_t snapshot_slots = 0);
State clone(const State& state);
State child(const State& state, size_t i);
int64_t position(const State& state, int64_t row = 0);
// A state tensor, allocated to its shape: (batch, ...).
Tensor get_state(const Layer& layer, const State& state, const std::string& name, int64_t batch,
                 DType dtype = DType::f32);
void set_state(const Layer& layer, const State& state, const std::string& name,
               const Tensor& value);
// All state tensors of a layer or, for a stack, of its children, and the positions: bitwise
// comparison of states.
Bits state_bits(const Layer& layer, const State& state, int64_t batch);
std::string save(const State& state);
State load(const Layer& layer, const std::string& blob, uint32_t flags = 0,
           int64_t snapshot_slots = 0);

void forward(const Layer& layer, const Args& args);  // operations
void forward(const Layer& layer, const State& state, const Args& args);
// One input, one output: x (B,T,...) -> the layer's first output, allocated as `dtype`.
Tensor run(const Layer& layer, const State& state, const Tensor& input,
           const std::string& output = "", DType dtype = DType::f32);

// ------------------------------------------------------------------ comparison

// max|actual - expected| / max|expected| (or max|actual| when expected is all zeros); infinity when
// sizes differ or an element is not finite.
double max_relative_error(const Values& actual, const Values& expected);
double max_absolute_error(const Values& actual, const Values& expected);
testing::AssertionResult close_to(const Values& actual, const Values& expected, double tolerance);
testing::AssertionResult status_is(seqmix_status actual, seqmix_status expected);
testing::AssertionResult same_bits(const Tensor& actual, const Tensor& expected);

// Numbers in [-1, 1), the same on every machine.
Values noise(size_t n, uint64_t seed, double scale = 1.0);
Tensor noise(DType dtype, const Shape& shape, uint64_t seed, double scale = 1.0);

}  // namespace seqmix_test

// A call that must give a status, with a message that matches.
#define EXPECT_STATUS(expected, call) EXPECT_TRUE(::seqmix_test::status_is((call), (expected)))

#define EXPECT_ERROR(expected, call, matcher)                   \
    do {                                                        \
        EXPECT_STATUS(expected, call);                          \
        EXPECT_THAT(std::string(seqmix_last_error()), matcher); \
    } while (false)
