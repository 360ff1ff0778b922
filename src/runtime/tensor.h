// A checked view of a caller's tensor, and copies between views and dense buffers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/status.h"

namespace seqmix {

constexpr int32_t kMaxDims = 8;

struct View {
    std::byte* data = nullptr;
    DType dtype = DType::unknown;
    int32_t ndim = 0;
    int64_t shape[kMaxDims] = {};
    int64_t strides[kMaxDims] = {};  // elements
    int64_t count = 0;               // elements

    explicit operator bool() const { return dtype != DType::unknown; }
    Dims dims() const { return {shape, ndim}; }
    int64_t element_size() const { return dtype_size(dtype); }
    bool aligned() const {
        return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element_size()) == 0;
    }
    // Axes from `axis` on are one dense block in C order.
    bool dense_from(int32_t axis) const;
    // The bytes that the view touches: [low, high).
    const std::byte* low() const;
    const std::byte* high() const;
};

// Checks everything about a tensor that does not depend on a slot. `type` and `name` are for the
// message.
Status read_tensor(const char* type, const char* name, const seqmix_tensor& tensor, View* view);

// Whether two views may share a byte. Exact for disjoint ranges and for slices of one buffer with
// common outer strides (the halves of a projection); else answers true.
bool may_overlap(const View& a, const View& b);
// Whether two elements of one view are the same byte (a stride of 0, or interleaved too densely).
bool overlaps_itself(const View& view);
bool same_elements(const View& a, const View& b);

// The tensor without its first `axes` (1 or 2) axes, at the given indices.
View sub_view(const View& view, int32_t axes, int64_t i, int64_t j = 0);
// A dense view of memory in C order.
View dense_view(void* data, DType dtype, const int64_t* shape, size_t ndim);

// Copies `count` elements that are `from_stride` elements apart, converting to T.
template <class T>
void read_elements(const std::byte* from, DType dtype, int64_t from_stride, int64_t count, T* to,
                   int64_t to_stride);
template <class T>
void write_elements(const T* from, int64_t from_stride, int64_t count, std::byte* to, DType dtype,
                    int64_t to_stride);
// Whole views to and from dense C order.
template <class T>
void read_dense(const View& view, T* to);
template <class T>
void write_dense(const T* from, const View& view);
// The same without conversion, bit for bit, for any dtype.
void read_bytes(const View& view, std::byte* to);
void write_bytes(const std::byte* from, const View& view);

}  // namespace seqmix
