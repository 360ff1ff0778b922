#include "tensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

namespace seqmix::conformance {

size_t size_of(Type type) {
    switch (type) {
        case Type::f64:
        case Type::i64: return 8;
        case Type::f32:
        case Type::i32: return 4;
        case Type::f16:
        case Type::bf16: return 2;
        case Type::boolean: return 1;
    }
    return 0;
}

uint32_t bit_of(Type type) {
    switch (type) {
        case Type::f32: return SEQMIX_DTYPE_F32;
        case Type::f64: return SEQMIX_DTYPE_F64;
        case Type::f16: return SEQMIX_DTYPE_F16;
        case Type::bf16: return SEQMIX_DTYPE_BF16;
        case Type::i32: return SEQMIX_DTYPE_I32;
        case Type::i64: return SEQMIX_DTYPE_I64;
        case Type::boolean: return SEQMIX_DTYPE_BOOL;
    }
    return 0;
}

Type type_named(const std::string& name) {
    if (name == "f16") return Type::f16;
    if (name == "bf16") return Type::bf16;
    if (name == "f64") return Type::f64;
    require(name == "f32", "unknown type name " + name);
    return Type::f32;
}

namespace {

seqmix_dtype dlpack(Type type) {
    switch (type) {
        case Type::f32: return {SEQMIX_DL_FLOAT, 32, 1};
        case Type::f64: return {SEQMIX_DL_FLOAT, 64, 1};
        case Type::f16: return {SEQMIX_DL_FLOAT, 16, 1};
        case Type::bf16: return {SEQMIX_DL_BFLOAT, 16, 1};
        case Type::i32: return {SEQMIX_DL_INT, 32, 1};
        case Type::i64: return {SEQMIX_DL_INT, 64, 1};
        case Type::boolean: return {SEQMIX_DL_BOOL, 8, 1};
    }
    return {};
}

// Rounds to `bits` significant bits with exponents from `lowest` on (subnormals below it).
double round_bits(double value, int bits, int lowest) {
    if (value == 0.0 || !std::isfinite(value)) {
        return value;
    }
    int exponent = 0;
    std::frexp(value, &exponent);
    const int scale = std::max(exponent, lowest) - bits;
    return std::ldexp(std::nearbyint(std::ldexp(value, -scale)), scale);
}

uint16_t f16_bits(double value) {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(round_to(Type::f16, value));
    if (magnitude == 0.0) {
        return sign;
    }
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    const int biased = exponent - 1 + 15;
    if (biased <= 0) {
        return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::ldexp(magnitude, 24)));
    }
    const auto mantissa = static_cast<uint32_t>(std::ldexp(magnitude, 11 - exponent)) & 0x3ffu;
    return static_cast<uint16_t>(sign | (static_cast<uint32_t>(biased) << 10) | mantissa);
}

double f16_value(uint16_t bits) {
    const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
    const int exponent = (bits >> 10) & 0x1f;
    const int mantissa = bits & 0x3ff;
    return sign *
           (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

void store_element(std::byte* to, Type type, double value) {
    switch (type) {
        case Type::f32: {
            const auto v = static_cast<float>(value);
            std::memcpy(to, &v, sizeof v);
            return;
        }
        case Type::f64: std::memcpy(to, &value, sizeof value); return;
        case Type::f16: {
            const uint16_t v = f16_bits(value);
            std::memcpy(to, &v, sizeof v);
            return;
        }
        case Type::bf16: {
            const auto v = static_cast<uint16_t>(
                std::bit_cast<uint32_t>(static_cast<float>(round_to(Type::bf16, value))) >> 16);
            std::memcpy(to, &v, sizeof v);
            return;
        }
        case Type::i32: {
            const auto v = static_cast<int32_t>(value);
            std::memcpy(to, &v, sizeof v);
            return;
        }
        case Type::i64: {
            const auto v = static_cast<int64_t>(value);
            std::memcpy(to, &v, sizeof v);
            return;
        }
        case Type::boolean: *to = static_cast<std::byte>(value != 0.0); return;
    }
}

template <class T>
T load_as(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

double load_element(const std::byte* from, Type type) {
    switch (type) {
        case Type::f32: return load_as<float>(from);
        case Type::f64: return load_as<double>(from);
        case Type::f16: return f16_value(load_as<uint16_t>(from));
        case Type::bf16:
            return std::bit_cast<float>(static_cast<uint32_t>(load_as<uint16_t>(from)) << 16);
        case Type::i32: return load_as<int32_t>(from);
        case Type::i64: return static_cast<double>(load_as<int64_t>(from));
        case Type::boolean: return load_as<uint8_t>(from);
    }
    return 0.0;
}

// Sizes before, of and behind an axis.
struct Axes {
    int64_t outer = 1, size = 1, inner = 1;
};

Axes around(const std::vector<int64_t>& shape, int64_t axis) {
    Axes axes;
    for (size_t i = 0; i < shape.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        (at < axis ? axes.outer : at == axis ? axes.size : axes.inner) *= shape[i];
    }
    return axes;
}

}  // namespace

double round_to(Type type, double value) {
    switch (type) {
        case Type::f32: return static_cast<float>(value);
        case Type::f16: return round_bits(value, 11, -13);
        case Type::bf16: return round_bits(value, 8, -125);
        case Type::i32:
        case Type::boolean:
        case Type::i64: return std::floor(value);
        case Type::f64: return value;
    }
    return value;
}

int64_t product(const std::vector<int64_t>& shape) {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::string text(const std::vector<int64_t>& shape) {
    std::string result = "(";
    for (const int64_t size : shape) {
        result += (result.size() > 1 ? "," : "") + std::to_string(size);
    }
    return result + ")";
}

Values::Values(std::vector<int64_t> sizes, double fill) : shape(std::move(sizes)) {
    data.assign(static_cast<size_t>(product(shape)), fill);
}

Values Values::slice(int64_t axis, int64_t first, int64_t count) const {
    if (axis < 0) {
        return *this;
    }
    const Axes axes = around(shape, axis);
    Values part;
    part.shape = shape;
    part.shape[static_cast<size_t>(axis)] = count;
    part.data.reserve(static_cast<size_t>(axes.outer * count * axes.inner));
    for (int64_t i = 0; i < axes.outer; ++i) {
        const auto begin = data.begin() + (i * axes.size + first) * axes.inner;
        part.data.insert(part.data.end(), begin, begin + count * axes.inner);
    }
    return part;
}

void Values::paste(int64_t axis, int64_t first, const Values& part) {
    if (axis < 0) {
        *this = part;
        return;
    }
    const Axes axes = around(shape, axis);
    const int64_t run = part.shape[static_cast<size_t>(axis)] * axes.inner;
    for (int64_t i = 0; i < axes.outer; ++i) {
        std::copy_n(part.data.begin() + i * run, run,
                    data.begin() + (i * axes.size + first) * axes.inner);
    }
}

Values Values::flipped(int64_t axis) const {
    if (axis < 0) {
        return *this;
    }
    const Axes axes = around(shape, axis);
    Values result = *this;
    for (int64_t i = 0; i < axes.outer; ++i) {
        for (int64_t j = 0; j < axes.size; ++j) {
            std::copy_n(data.begin() + (i * axes.size + j) * axes.inner, axes.inner,
                        result.data.begin() + (i * axes.size + axes.size - 1 - j) * axes.inner);
        }
    }
    return result;
}

// ------------------------------------------------------------------ comparisons

void require(bool condition, const std::string& what) {
    if (!condition) {
        throw Failure(what);
    }
}

namespace {

std::string at(const Values& values, int64_t flat) {
    std::vector<int64_t> index(values.shape.size());
    for (size_t i = index.size(); i-- > 0;) {
        index[i] = flat % values.shape[i];
        flat /= values.shape[i];
    }
    return text(index);
}

void require_shapes(const Values& got, const Values& want, const std::string& what) {
    require(got.shape == want.shape,
            what + ": shape " + text(got.shape) + ", expected " + text(want.shape));
}

}  // namespace

void require_same(const Values& got, const Values& want, const std::string& what) {
    require_shapes(got, want, what);
    int64_t different = 0, first = -1;
    for (int64_t i = 0; i < got.count(); ++i) {
        const auto j = static_cast<size_t>(i);
        if (std::bit_cast<uint64_t>(got.data[j]) != std::bit_cast<uint64_t>(want.data[j])) {
            first = first < 0 ? i : first;
            ++different;
        }
    }
    if (different > 0) {
        char line[200];
        std::snprintf(line, sizeof line, ": %lld of %lld elements differ in their bits, at ",
                      static_cast<long long>(different), static_cast<long long>(got.count()));
        std::string message = what + line + at(got, first);
        std::snprintf(line, sizeof line, " got %.9g, expected %.9g",
                      got.data[static_cast<size_t>(first)], want.data[static_cast<size_t>(first)]);
        throw Failure(message + line);
    }
}

void require_close(const Values& got, const Values& want, double tolerance,
                   const std::string& what) {
    require_shapes(got, want, what);
    require_finite(got, what);
    require_finite(want, what + " (expected)");
    double largest = 0.0, worst = 0.0;
    int64_t where = 0;
    for (int64_t i = 0; i < got.count(); ++i) {
        const auto j = static_cast<size_t>(i);
        largest = std::max(largest, std::fabs(want.data[j]));
        const double error = std::fabs(got.data[j] - want.data[j]);
        if (error > worst) {
            worst = error;
            where = i;
        }
    }
    if (worst > tolerance * largest) {
        char line[200];
        std::snprintf(line, sizeof line,
                      ": error %.3g of the maximum %.3g, allowed %.1g; got %.9g, expected %.9g at ",
                      worst / largest, largest, tolerance, got.data[static_cast<size_t>(where)],
                      want.data[static_cast<size_t>(where)]);
        throw Failure(what + line + at(got, where));
    }
}

void require_finite(const Values& got, const std::string& what) {
    for (int64_t i = 0; i < got.count(); ++i) {
        if (!std::isfinite(got.data[static_cast<size_t>(i)])) {
            throw Failure(what + ": not finite at " + at(got, i) + " of " + text(got.shape));
        }
    }
}

// ------------------------------------------------------------------ random numbers

uint64_t Random::next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double Random::uniform(double low, double high) {
    return low + (high - low) * std::ldexp(static_cast<double>(next() >> 11), -53);
}

int64_t Random::integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
}

// ------------------------------------------------------------------ memory

Memory::Memory(size_t bytes, Placement placement, size_t align) {
    if (placement == Placement::heap) {
        // Exactly the bytes asked for, so that sanitizers and valgrind see a step beyond them; at a
        // cache line, as the benches want it: 16 bytes beside one cost the selective scan 9 %.
        void* memory = nullptr;
        if (posix_memalign(&memory, 64, std::max<size_t>(bytes, 1)) != 0) {
            throw std::bad_alloc();
        }
        base_ = data_ = static_cast<std::byte*>(memory);
        return;
    }
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inside = std::max<size_t>(1, (bytes + page - 1) / page) * page;
    mapped_ = inside + 2 * page;
    void* map = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        throw std::bad_alloc();
    }
    base_ = static_cast<std::byte*>(map);
    if (mprotect(base_ + page, inside, PROT_READ | PROT_WRITE) != 0) {
        munmap(base_, mapped_);
        throw std::bad_alloc();
    }
    const size_t offset =
        placement == Placement::guard_before ? 0 : (inside - bytes) / align * align;
    data_ = base_ + page + offset;
}

Memory::~Memory() {
    if (mapped_ != 0) {
        munmap(base_, mapped_);
    } else {
        std::free(base_);
    }
}

void Memory::make_read_only() const {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    require(mapped_ == 0 || mprotect(base_ + page, mapped_ - 2 * page, PROT_READ) == 0,
            "mprotect refused");
}

Buffer::Buffer(std::vector<int64_t> shape, Type type, const Layout& layout, Placement placement,
               uint8_t canary)
    : shape_(std::move(shape)), type_(type), canary_(canary), layout_(layout) {
    const size_t rank = shape_.size();
    // Axes from the innermost one outwards.
    std::vector<size_t> order;
    for (size_t i = rank; i-- > 0;) {
        order.push_back(i);
    }
    const bool exchange = layout.axis1_innermost && rank >= 2;
    if (exchange) {
        std::erase(order, size_t{1});
        order.insert(order.begin(), size_t{1});
        if (rank == 2) {
            order = {0, 1};
        }
    }
    strides_.assign(rank, 0);
    int64_t span = 1;  // elements from the first to the last one, last included
    int64_t stride = layout.step;
    bool innermost = true;
    for (const size_t axis : order) {
        if (layout.repeat_axis0 && axis == 0 && rank >= 2) {
            continue;
        }
        strides_[axis] = stride;
        span += (shape_[axis] - 1) * stride;
        stride *= shape_[axis];
        if (innermost) {
            stride += layout.pad;
            innermost = false;
        }
    }
    if (product(shape_) == 0) {
        span = 0;
    }
    const auto reverse = [&](size_t axis) {
        origin_ += (shape_[axis] - 1) * strides_[axis];
        strides_[axis] = -strides_[axis];
    };
    if (layout.flip_axis1 && rank >= 2 && span > 0) {
        reverse(1);
    }
    if (layout.flip_last && rank >= 1 && span > 0 && !(layout.flip_axis1 && rank == 2)) {
        reverse(rank - 1);
    }
    bytes_ = static_cast<size_t>(span) * size_of(type) + layout.misalign;
    memory_ = std::make_unique<Memory>(bytes_, placement);
    std::memset(memory_->data(), canary_, bytes_);

    tensor_.device = {SEQMIX_DL_CPU, 0};
    tensor_.ndim = static_cast<int32_t>(rank);
    tensor_.dtype = dlpack(type);
    tensor_.shape = shape_.data();
    const bool c_order = layout.step == 1 && layout.pad == 0 && !exchange && !layout.flip_axis1 &&
                         !layout.flip_last && !layout.repeat_axis0;
    tensor_.strides = c_order ? nullptr : strides_.data();
    const size_t first = layout.misalign + static_cast<size_t>(origin_) * size_of(type);
    tensor_.data = memory_->data() + (layout.use_byte_offset ? 0 : first);
    tensor_.byte_offset = layout.use_byte_offset ? first : 0;
}

Buffer::Buffer(const Values& values, Type type, const Layout& layout, Placement placement)
    : Buffer(values.shape, type, layout, placement) {
    write(values);
}

template <class Fn>
void Buffer::for_each(Fn&& fn) const {
    const int64_t count = product(shape_);
    std::vector<int64_t> index(shape_.size(), 0);
    std::byte* const first =
        memory_->data() + layout_.misalign + static_cast<size_t>(origin_) * size_of(type_);
    for (int64_t flat = 0; flat < count; ++flat) {
        int64_t offset = 0;
        for (size_t i = 0; i < index.size(); ++i) {
            offset += index[i] * strides_[i];
        }
        fn(static_cast<size_t>(flat), first + offset * static_cast<int64_t>(size_of(type_)));
        for (size_t i = index.size(); i-- > 0;) {
            if (++index[i] < shape_[i]) {
                break;
            }
            index[i] = 0;
        }
    }
}

void Buffer::write(const Values& values) {
    require(values.shape == shape_,
            "a buffer of " + text(shape_) + " takes no " + text(values.shape));
    for_each([&](size_t i, std::byte* to) { store_element(to, type_, values.data[i]); });
}

Values Buffer::read() const {
    Values values(shape_);
    for_each([&](size_t i, std::byte* from) { values.data[i] = load_element(from, type_); });
    return values;
}

void Buffer::require_gaps_untouched(const std::string& what) const {
    std::vector<bool> owned(bytes_, false);
    for_each([&](size_t, std::byte* element) {
        const auto from = static_cast<size_t>(element - memory_->data());
        for (size_t i = 0; i < size_of(type_); ++i) {
            owned[from + i] = true;
        }
    });
    for (size_t i = 0; i < bytes_; ++i) {
        if (!owned[i] && memory_->data()[i] != std::byte{canary_}) {
            throw Failure(what + ": byte " + std::to_string(i) +
                          " of its memory, which belongs to no element, was written");
        }
    }
}

}  // namespace seqmix::conformance
