// The pickle in a torch file, read by a machine that knows the operators and the names that torch's
// state dictionaries use, and nothing else. A pickle is a program for a stack machine; what makes
// the general one dangerous is that it may name and call any function. This one looks up nothing
// and calls nothing: three names stand for values that it makes itself, any other name or operator
// ends the reading with a message that says which. Source: pickletools.py of Python, protocol 2.
//
// The input may be hostile. Memory is bounded by the input's size and by the limits below; nothing
// recurses, so nesting costs no stack. Failures are SEQMIX_ERR_BAD_FORMAT for what is damaged,
// SEQMIX_ERR_UNSUPPORTED for what is well formed and refused, SEQMIX_ERR_LIMIT for what is too much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace seqmix {

constexpr size_t kMaxPickle = size_t{64} << 20;
constexpr size_t kMaxPickleObjects = 4'000'000;  // containers, tensors, memo entries: each
constexpr size_t kMaxPickleMarks = 1000;         // values that are begun and not ended
constexpr size_t kMaxTensorAxes = 64;            // torch's own limit

enum class PickleKind : uint8_t {
    none,
    boolean,
    integer,
    big_integer,  // beyond 64 bits; its value is not kept
    real,
    text,
    tuple,
    list,
    dict,
    global,
    storage,
    tensor,
};

// A value of 16 bytes; what is larger lies in the Pickle, or in the input.
struct PickleValue {
    PickleKind kind = PickleKind::none;
    uint32_t size = 0;  // text: bytes
    union {
        int64_t integer = 0;  // also boolean
        double real;
        const char* text;  // into the input
        size_t index;      // into the Pickle's list of this kind
    };
};

// ("storage", type, key, location, count): `count` elements of the entry data/KEY.
struct PickledStorage {
    DType dtype = DType::unknown;
    const char* dtype_text = "";  // "F32", as safetensors names it; static
    int64_t width = 0;            // bytes of an element
    std::string_view key;
    int64_t count = 0;
};

// A view of a storage; offset and strides in elements. Every element lies inside the storage.
struct PickledTensor {
    size_t storage = 0;  // index into Pickle::storages()
    int64_t offset = 0;
    PickleValue shape, strides;  // tuples of as many integers, none negative
};

class Pickle {
  public:
    using Items = std::vector<PickleValue>;

    // `bytes` must outlive the object. `source` begins every message ("torch zip").
    Status parse(std::string_view bytes, std::string_view source);

    const PickleValue& root() const { return root_; }
    // Of a tuple or list: its items. Of a dict: key, value, key, value ... in order of insertion;
    // a key may occur twice, and keys may be of any kind.
    const Items& items(const PickleValue& value) const { return containers_[value.index]; }
    const PickledTensor& tensor(const PickleValue& value) const { return tensors_[value.index]; }
    const std::vector<PickledStorage>& storages() const { return storages_; }

    // A value for a message: "the integer 5", "a dict of 3".
    std::string describe(const PickleValue& value) const;

  private:
    friend class PickleMachine;

    PickleValue root_;
    std::vector<Items> containers_;
    std::vector<PickledTensor> tensors_;
    std::vector<PickledStorage> storages_;
};

std::string_view pickle_text(const PickleValue& value);  // of a text

}  // namespace seqmix
