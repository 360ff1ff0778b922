#include "runtime/tensor.h"

#include <cstdlib>
#include <cstring>
#include <numeric>

#include "base/memory.h"

namespace seqmix {
namespace {

int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }

// The number of trailing axes that are one dense block, and that block's elements.
int32_t dense_axes(const View& view, int64_t* block) {
    int64_t expected = 1;
    int32_t axes = 0;
    for (int32_t i = view.ndim - 1; i >= 0; --i) {
        if (view.shape[i] != 1 && view.strides[i] != expected) {
            break;
        }
        expected *= view.shape[i];
        ++axes;
    }
    *block = expected;
    return axes;
}

}  // namespace

bool View::dense_from(int32_t axis) const {
    int64_t expected = 1;
    for (int32_t i = ndim - 1; i >= axis; --i) {
        if (shape[i] != 1 && strides[i] != expected) {
            return false;
        }
        expected *= shape[i];
    }
    return true;
}

const std::byte* View::low() const {
    int64_t offset = 0;
    for (int32_t i = 0; i < ndim; ++i) {
        offset += strides[i] < 0 ? (shape[i] - 1) * strides[i] : 0;
    }
    return data + offset * element_size();
}

const std::byte* View::high() const {
    int64_t offset = 1;
    for (int32_t i = 0; i < ndim; ++i) {
        offset += strides[i] > 0 ? (shape[i] - 1) * strides[i] : 0;
    }
    return data + offset * element_size();
}

Status read_tensor(const char* type, const char* name, const seqmix_tensor& tensor, View* view) {
    if (tensor.device.device_type != SEQMIX_DL_CPU) {
        return fail(SEQMIX_ERR_DEVICE, type, ": tensor '", name, "' is on device type ",
                    tensor.device.device_type, ", expected the CPU (1)");
    }
    const DType dtype = dtype_from_dlpack(tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes);
    if (dtype == DType::unknown) {
        return fail(SEQMIX_ERR_DTYPE, type, ": tensor '", name, "' has dtype (code ",
                    int32_t{tensor.dtype.code}, ", bits ", int32_t{tensor.dtype.bits}, ", lanes ",
                    int32_t{tensor.dtype.lanes}, "), which no slot takes");
    }
    if (tensor.ndim < 0 || tensor.ndim > kMaxDims) {
        return fail(SEQMIX_ERR_SHAPE, type, ": tensor '", name, "' has ", tensor.ndim,
                    " dimensions, expected 0 to ", kMaxDims);
    }
    if (tensor.ndim > 0 && tensor.shape == nullptr) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, type, ": tensor '", name, "' has no shape");
    }
    view->dtype = dtype;
    view->ndim = tensor.ndim;
    const int64_t size = dtype_size(dtype);
    int64_t count = 1;
    bool empty = false;
    for (int32_t i = 0; i < tensor.ndim; ++i) {
        view->shape[i] = tensor.shape[i];
    }
    for (int32_t i = 0; i < tensor.ndim; ++i) {
        if (tensor.shape[i] < 0) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": tensor '", name, "' shape ",
                        view->dims(), " has a negative size");
        }
        empty = empty || tensor.shape[i] == 0;
    }
    int64_t reach = size;  // bytes from the lowest to past the highest element
    for (int32_t i = tensor.ndim - 1; i >= 0 && !empty; --i) {
        view->strides[i] = tensor.strides != nullptr ? tensor.strides[i] : count;
        int64_t span = 0;
        if (!checked_mul(count, tensor.shape[i], &count) || view->strides[i] == INT64_MIN ||
            !checked_mul(magnitude(view->strides[i]), tensor.shape[i] - 1, &span) ||
            !checked_mul(span, size, &span) || !checked_add(reach, span, &reach)) {
            return fail(SEQMIX_ERR_LIMIT, type, ": tensor '", name, "' shape ",
                        Dims{tensor.shape, tensor.ndim}, " overflows 64-bit offsets");
        }
    }
    if (empty) {
        view->count = 0;
        view->data = static_cast<std::byte*>(tensor.data);
        return Status();
    }
    if (tensor.data == nullptr) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, type, ": tensor '", name, "' has no data");
    }
    view->count = count;
    view->data = static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
    return Status();
}

bool same_elements(const View& a, const View& b) {
    if (a.data != b.data || a.dtype != b.dtype || a.ndim != b.ndim) {
        return false;
    }
    for (int32_t i = 0; i < a.ndim; ++i) {
        if (a.shape[i] != b.shape[i] || (a.shape[i] > 1 && a.strides[i] != b.strides[i])) {
            return false;
        }
    }
    return true;
}

bool may_overlap(const View& a, const View& b) {
    if (a.count == 0 || b.count == 0 || a.high() <= b.low() || b.high() <= a.low()) {
        return false;
    }
    // Slices of one buffer: every outer stride of both is a multiple of `pitch`, and the dense blocks
    // occupy disjoint parts of it.
    int64_t block_a = 0, block_b = 0;
    const int32_t outer_a = a.ndim - dense_axes(a, &block_a);
    const int32_t outer_b = b.ndim - dense_axes(b, &block_b);
    int64_t pitch = 0;
    for (int32_t i = 0; i < outer_a; ++i) {
        if (a.shape[i] > 1) {
            pitch = std::gcd(pitch, magnitude(a.strides[i]) * a.element_size());
        }
    }
    for (int32_t i = 0; i < outer_b; ++i) {
        if (b.shape[i] > 1) {
            pitch = std::gcd(pitch, magnitude(b.strides[i]) * b.element_size());
        }
    }
    if (pitch == 0) {
        return true;
    }
    int64_t offset = (b.data - a.data) % pitch;
    if (offset < 0) {
        offset += pitch;
    }
    const bool disjoint =
        offset >= block_a * a.element_size() && offset + block_b * b.element_size() <= pitch;
    return !disjoint;
}

bool overlaps_itself(const View& view) {
    if (view.count <= 1) {
        return false;
    }
    // Axes by rising stride: each must step past everything that the smaller ones reach.
    int32_t order[kMaxDims];
    int32_t n = 0;
    for (int32_t i = 0; i < view.ndim; ++i) {
        if (view.shape[i] > 1) {
            order[n++] = i;
        }
    }
    for (int32_t i = 0; i < n; ++i) {
        for (int32_t j = i + 1; j < n; ++j) {
            if (magnitude(view.strides[order[j]]) < magnitude(view.strides[order[i]])) {
                std::swap(order[i], order[j]);
            }
        }
    }
    int64_t reach = 1;
    for (int32_t i = 0; i < n; ++i) {
        const int64_t stride = magnitude(view.strides[order[i]]);
        if (stride < reach) {
            return true;
        }
        reach += stride * (view.shape[order[i]] - 1);
    }
    return false;
}

namespace {

template <class From, class T>
void convert_from(const std::byte* from, int64_t from_stride, int64_t count, T* to,
                  int64_t to_stride) {
    for (int64_t i = 0; i < count; ++i) {
        From value;
        std::memcpy(&value, from + i * from_stride * static_cast<int64_t>(sizeof(From)),
                    sizeof value);
        to[i * to_stride] = static_cast<T>(value);
    }
}

template <float (*kWiden)(uint16_t), class T>
void convert_halves(const std::byte* from, int64_t from_stride, int64_t count, T* to,
                    int64_t to_stride) {
    for (int64_t i = 0; i < count; ++i) {
        uint16_t half;
        std::memcpy(&half, from + i * from_stride * 2, sizeof half);
        to[i * to_stride] = static_cast<T>(kWiden(half));
    }
}

template <uint16_t (*kRound)(float), class T>
void round_halves(const T* from, int64_t from_stride, int64_t count, std::byte* to,
                  int64_t to_stride) {
    for (int64_t i = 0; i < count; ++i) {
        const uint16_t half = kRound(to_odd(from[i * from_stride]));
        std::memcpy(to + i * to_stride * 2, &half, sizeof half);
    }
}

template <class To, class T>
void convert_to(const T* from, int64_t from_stride, int64_t count, std::byte* to,
                int64_t to_stride) {
    for (int64_t i = 0; i < count; ++i) {
        const To value = static_cast<To>(from[i * from_stride]);
        std::memcpy(to + i * to_stride * static_cast<int64_t>(sizeof(To)), &value, sizeof value);
    }
}

}  // namespace

template <class T>
void read_elements(const std::byte* from, DType dtype, int64_t from_stride, int64_t count, T* to,
                   int64_t to_stride) {
    switch (dtype) {
        case DType::f32: return convert_from<float>(from, from_stride, count, to, to_stride);
        case DType::f64: return convert_from<double>(from, from_stride, count, to, to_stride);
        case DType::i32: return convert_from<int32_t>(from, from_stride, count, to, to_stride);
        case DType::i64: return convert_from<int64_t>(from, from_stride, count, to, to_stride);
        case DType::bf16:
            return convert_halves<bf16_to_f32>(from, from_stride, count, to, to_stride);
        case DType::f16: return convert_halves<f16_to_f32>(from, from_stride, count, to, to_stride);
        default: break;
    }
    const int64_t size = dtype_size(dtype);
    for (int64_t i = 0; i < count; ++i) {
        to[i * to_stride] = static_cast<T>(element_to_f64(from + i * from_stride * size, dtype));
    }
}

template <class T>
void write_elements(const T* from, int64_t from_stride, int64_t count, std::byte* to, DType dtype,
                    int64_t to_stride) {
    if (dtype == DType::f32) {
        convert_to<float>(from, from_stride, count, to, to_stride);
    } else if (dtype == DType::f64) {
        convert_to<double>(from, from_stride, count, to, to_stride);
    } else if (dtype == DType::bf16) {
        round_halves<f32_to_bf16>(from, from_stride, count, to, to_stride);
    } else if (dtype == DType::f16) {
        round_halves<f32_to_f16>(from, from_stride, count, to, to_stride);
    }
}

namespace {

// Calls fn(byte pointer, dense index) for the start of every innermost line of a view.
template <class Fn>
void for_each_line(const View& view, Fn&& fn) {
    if (view.count == 0) {
        return;
    }
    int64_t index[kMaxDims] = {};
    const int32_t outer = view.ndim - 1;
    const int64_t length = view.ndim > 0 ? view.shape[outer] : 1;
    for (int64_t dense = 0; dense < view.count; dense += length) {
        int64_t offset = 0;
        for (int32_t i = 0; i < outer; ++i) {
            offset += index[i] * view.strides[i];
        }
        fn(view.data + offset * view.element_size(), dense, length,
           view.ndim > 0 ? view.strides[outer] : 1);
        for (int32_t i = outer - 1; i >= 0; --i) {
            if (++index[i] < view.shape[i]) {
                break;
            }
            index[i] = 0;
        }
    }
}

}  // namespace

template <class T>
void read_dense(const View& view, T* to) {
    for_each_line(view, [&](std::byte* line, int64_t dense, int64_t length, int64_t stride) {
        read_elements(line, view.dtype, stride, length, to + dense, 1);
    });
}

template <class T>
void write_dense(const T* from, const View& view) {
    for_each_line(view, [&](std::byte* line, int64_t dense, int64_t length, int64_t stride) {
        write_elements(from + dense, 1, length, line, view.dtype, stride);
    });
}

void read_bytes(const View& view, std::byte* to) {
    const int64_t size = view.element_size();
    for_each_line(view, [&](std::byte* line, int64_t dense, int64_t length, int64_t stride) {
        for (int64_t i = 0; i < length; ++i) {
            std::memcpy(to + (dense + i) * size, line + i * stride * size,
                        static_cast<size_t>(size));
        }
    });
}

void write_bytes(const std::byte* from, const View& view) {
    const int64_t size = view.element_size();
    for_each_line(view, [&](std::byte* line, int64_t dense, int64_t length, int64_t stride) {
        for (int64_t i = 0; i < length; ++i) {
            std::memcpy(line + i * stride * size, from + (dense + i) * size,
                        static_cast<size_t>(size));
        }
    });
}

View sub_view(const View& view, int32_t axes, int64_t i, int64_t j) {
    View sub = view;
    sub.data += (i * view.strides[0] + (axes > 1 ? j * view.strides[1] : 0)) * view.element_size();
    sub.ndim = view.ndim - axes;
    sub.count = 1;
    for (int32_t a = 0; a < sub.ndim; ++a) {
        sub.shape[a] = view.shape[a + axes];
        sub.strides[a] = view.strides[a + axes];
        sub.count *= sub.shape[a];
    }
    return sub;
}

View dense_view(void* data, DType dtype, const int64_t* shape, size_t ndim) {
    View view;
    view.data = static_cast<std::byte*>(data);
    view.dtype = dtype;
    view.ndim = static_cast<int32_t>(ndim);
    view.count = 1;
    for (int32_t i = view.ndim - 1; i >= 0; --i) {
        view.shape[i] = shape[i];
        view.strides[i] = view.count;
        view.count *= shape[i];
    }
    return view;
}

template void read_elements(const std::byte*, DType, int64_t, int64_t, float*, int64_t);
template void read_elements(const std::byte*, DType, int64_t, int64_t, double*, int64_t);
template void read_elements(const std::byte*, DType, int64_t, int64_t, int64_t*, int64_t);
template void write_elements(const float*, int64_t, int64_t, std::byte*, DType, int64_t);
template void write_elements(const double*, int64_t, int64_t, std::byte*, DType, int64_t);
template void read_dense(const View&, float*);
template void read_dense(const View&, double*);
template void read_dense(const View&, int64_t*);
template void write_dense(const float*, const View&);
template void write_dense(const double*, const View&);

}  // namespace seqmix
