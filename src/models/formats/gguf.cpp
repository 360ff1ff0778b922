#include "models/formats/gguf.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "models/formats/json.h"
#include "models/formats/source.h"

namespace seqmix {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxAlignment = uint64_t{1} << 30;
constexpr size_t kMaxTensorName = 63, kMaxKeyName = 65535;
constexpr uint32_t kMaxAxes = 4;

// ------------------------------------------------------------------ types

enum class ValueType : uint8_t {
    u8,
    i8,
    u16,
    i16,
    u32,
    i32,
    f32,
    flag,
    text,
    array,
    u64,
    i64,
    f64
};
constexpr uint32_t kValueTypes = 13;

// Bytes of a value; 0 where its length is in the file.
constexpr size_t value_size(ValueType type) {
    constexpr size_t kSizes[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kSizes[static_cast<size_t>(type)];
}

constexpr const char* kValueNames[kValueTypes] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "text", "arrays", "u64", "i64", "f64"};

// Of ggml, by number; null: there is none, or none any more.
constexpr const char* kTensorTypes[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};

// Those that are read: a block is a number of neighbours along the first axis of the file, the last
// of the shape.
struct TensorType {
    uint32_t number;
    DType dtype;
    Coding coding;
    int64_t block, bytes;
};
constexpr TensorType kReadTypes[] = {
    {0, DType::f32, Coding::plain, 1, 4},
    {1, DType::f16, Coding::plain, 1, 2},
    {30, DType::bf16, Coding::plain, 1, 2},
    {8, DType::f32, Coding::q8_0, kQ8Block, kQ8Bytes},
};

// ------------------------------------------------------------------ bytes

// What is left of the file. The functions are false where it ends too early.
class Bytes {
  public:
    explicit Bytes(std::string_view all) : all_(all) {}
    size_t at() const { return at_; }
    size_t left() const { return all_.size() - at_; }
    bool take(uint64_t count, std::string_view* out) {
        if (count > left()) return false;
        *out = all_.substr(at_, static_cast<size_t>(count));
        at_ += static_cast<size_t>(count);
        return true;
    }
    template <class T>
    bool number(T* out) {
        std::string_view raw;
        if (!take(sizeof(T), &raw)) return false;
        *out = static_cast<T>(integer(raw));
        return true;
    }
    bool text(std::string_view* out) {
        uint64_t length = 0;
        return number(&length) && take(length, out);
    }
    static uint64_t integer(std::string_view raw) {
        uint64_t value = 0;
        for (size_t i = raw.size(); i-- > 0;) {
            value = value << 8 | static_cast<unsigned char>(raw[i]);
        }
        return value;
    }

  private:
    std::string_view all_;
    size_t at_ = 0;
};

// ------------------------------------------------------------------ keys

Status ends_in(const FileSource& source, const char* what, std::string_view name) {
    return source.bad("the file ends inside ", what, " ", in_quotes(name));
}

Json scalar(ValueType type, std::string_view raw) {
    const uint64_t bits = Bytes::integer(raw);
    switch (type) {
        case ValueType::i8: return Json(int64_t{static_cast<int8_t>(bits)});
        case ValueType::i16: return Json(int64_t{static_cast<int16_t>(bits)});
        case ValueType::i32: return Json(int64_t{static_cast<int32_t>(bits)});
        case ValueType::i64: return Json(static_cast<int64_t>(bits));
        case ValueType::f32: return Json(double{std::bit_cast<float>(static_cast<uint32_t>(bits))});
        case ValueType::f64: return Json(std::bit_cast<double>(bits));
        case ValueType::flag: return Json(bits != 0);
        default: return Json(bits);
    }
}

Status read_type(Bytes& bytes, const FileSource& source, std::string_view key, ValueType* out) {
    uint32_t number = 0;
    if (!bytes.number(&number)) return ends_in(source, "key", key);
    if (number >= kValueTypes) {
        return source.bad("key ", in_quotes(key), " has the unknown type ", number);
    }
    *out = static_cast<ValueType>(number);
    return {};
}

// Goes over an array.
Status skip_array(Bytes& bytes, const FileSource& source, std::string_view key, Json* out) {
    ValueType type{};
    SEQMIX_TRY(read_type(bytes, source, key, &type));
    if (type == ValueType::array) {
        return source.bad("key ", in_quotes(key), " is an array of arrays");
    }
    uint64_t count = 0;
    std::string_view skipped;
    if (!bytes.number(&count)) return ends_in(source, "key", key);
    if (type == ValueType::text) {
        // Each takes some bytes of the file, so that the count is bounded by its size.
        for (uint64_t i = 0; i < count; ++i) {
            if (!bytes.text(&skipped)) return ends_in(source, "key", key);
        }
    } else if (count > bytes.left() / value_size(type) ||
               !bytes.take(count * value_size(type), &skipped)) {
        return ends_in(source, "key", key);
    }
    *out =
        Json("an array of " + std::to_string(count) + " " + kValueNames[static_cast<size_t>(type)]);
    return {};
}

Status read_value(Bytes& bytes, const FileSource& source, std::string_view key, Json* out) {
    ValueType type{};
    SEQMIX_TRY(read_type(bytes, source, key, &type));
    if (type == ValueType::array) return skip_array(bytes, source, key, out);
    std::string_view raw;
    if (type == ValueType::text) {
        if (!bytes.text(&raw)) return ends_in(source, "key", key);
        *out = Json(std::string(raw));
        return {};
    }
    if (!bytes.take(value_size(type), &raw)) return ends_in(source, "key", key);
    if (type == ValueType::flag && Bytes::integer(raw) > 1) {
        return source.bad("key ", in_quotes(key), " is a bool of ", Bytes::integer(raw),
                          ", expected 0 or 1");
    }
    *out = scalar(type, raw);
    return {};
}

Status read_keys(Bytes& bytes, const FileSource& source, uint64_t count, Json::Object* out) {
    for (uint64_t i = 0; i < count; ++i) {
        std::string_view name;
        if (!bytes.text(&name)) {
            return source.bad("the file ends inside the name of key ", i, " of ",
                              std::to_string(count));
        }
        if (name.empty() || name.size() > kMaxKeyName) {
            return source.bad("key ", i, " has a name of ", name.size(), " bytes, expected 1 to ",
                              kMaxKeyName);
        }
        Json value;
        SEQMIX_TRY(read_value(bytes, source, name, &value));
        if (!out->emplace(name, std::move(value)).second) {
            return source.bad("key ", in_quotes(name), " is there twice");
        }
    }
    return {};
}

// A key that is an integer of any type; `out` stays as it is where there is none.
Status read_integer(const Json::Object& keys, const FileSource& source, const char* name,
                    uint64_t* out) {
    const auto found = keys.find(name);
    if (found == keys.end()) return {};
    const auto* whole = found->second.get_if<uint64_t>();
    const auto* with_sign = found->second.get_if<int64_t>();
    if (whole == nullptr && (with_sign == nullptr || *with_sign < 0)) {
        return source.bad("key '", name, "' is ", describe(found->second),
                          ", expected an integer from 0");
    }
    *out = whole != nullptr ? *whole : static_cast<uint64_t>(*with_sign);
    return {};
}

// Keys that are about the file, not the model.
Status check_keys(const Json::Object& keys, const FileSource& source, uint64_t* alignment) {
    SEQMIX_TRY(read_integer(keys, source, "general.alignment", alignment));
    const bool power = *alignment != 0 && (*alignment & (*alignment - 1)) == 0;
    if (!power || *alignment > kMaxAlignment) {
        return source.bad("key 'general.alignment' is ", std::to_string(*alignment),
                          ", expected a power of two up to ", kMaxAlignment);
    }
    uint64_t files = 1;
    SEQMIX_TRY(read_integer(keys, source, "split.count", &files));
    if (files > 1) {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED, "one of ", std::to_string(files),
                             " files ('split.count'), expected a model in one file");
    }
    const auto architecture = keys.find("general.architecture");
    if (architecture == keys.end() || architecture->second.get_if<std::string>() == nullptr) {
        return source.bad("there is no key 'general.architecture' that is a text");
    }
    return {};
}

// ------------------------------------------------------------------ tensors

struct Entry {
    std::string_view name;
    StoredTensor tensor;
    uint64_t offset = 0;
};

Status read_axes(Bytes& bytes, const FileSource& source, Entry* entry) {
    const std::string name = in_quotes(entry->name);
    uint32_t axes = 0;
    if (!bytes.number(&axes)) return ends_in(source, "tensor", entry->name);
    if (axes < 1 || axes > kMaxAxes) {
        return source.bad("tensor ", name, " has ", axes, " axes, expected 1 to ", kMaxAxes);
    }
    for (uint32_t i = 0; i < axes; ++i) {
        uint64_t size = 0;
        if (!bytes.number(&size)) return ends_in(source, "tensor", entry->name);
        if (size < 1 || size > static_cast<uint64_t>(INT64_MAX)) {
            return source.bad("tensor ", name, " has an axis of ", std::to_string(size),
                              ", expected at least 1");
        }
        entry->tensor.shape.push_back(static_cast<int64_t>(size));
    }
    std::reverse(entry->tensor.shape.begin(), entry->tensor.shape.end());
    return {};
}

Status read_tensor(Bytes& bytes, const FileSource& source, Entry* entry) {
    SEQMIX_TRY(read_axes(bytes, source, entry));
    const std::string name = in_quotes(entry->name);
    StoredTensor& tensor = entry->tensor;
    uint32_t number = 0;
    if (!bytes.number(&number) || !bytes.number(&entry->offset)) {
        return ends_in(source, "tensor", entry->name);
    }
    const auto* const type = std::find_if(std::begin(kReadTypes), std::end(kReadTypes),
                                          [&](const TensorType& t) { return t.number == number; });
    if (type == std::end(kReadTypes)) {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED, "tensor ", name, " is of type ",
                             number < std::size(kTensorTypes) ? kTensorTypes[number] : "unknown",
                             " (", number, "), expected F32, F16, BF16 or Q8_0");
    }
    tensor.dtype = type->dtype;
    tensor.coding = type->coding;
    tensor.dtype_text = kTensorTypes[number];
    if (tensor.shape.back() % type->block != 0) {
        return source.bad("tensor ", name, " has rows of ", tensor.shape.back(),
                          ", expected a multiple of ", type->block, " for ", tensor.dtype_text);
    }
    int64_t size = tensor.shape.back() / type->block;
    bool fits = checked_mul(size, type->bytes, &size);
    int64_t elements = tensor.shape.back();  // as f32 they must be countable too
    fits = fits && checked_mul(elements, 8, &elements);
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) {
        fits = fits && checked_mul(size, tensor.shape[i], &size) &&
               checked_mul(elements, tensor.shape[i], &elements);
    }
    if (!fits) return source.bad("tensor ", name, ": the number of elements overflows");
    tensor.bytes = static_cast<uint64_t>(size);
    return {};
}

Status read_tensors(Bytes& bytes, const FileSource& source, uint64_t count,
                    std::vector<Entry>* out) {
    for (uint64_t i = 0; i < count; ++i) {
        Entry entry;
        if (!bytes.text(&entry.name)) {
            return source.bad("the file ends inside the name of tensor ", i, " of ",
                              std::to_string(count));
        }
        if (entry.name.empty() || entry.name.size() > kMaxTensorName) {
            return source.bad("tensor ", i, " has a name of ", entry.name.size(),
                              " bytes, expected 1 to ", kMaxTensorName);
        }
        SEQMIX_TRY(read_tensor(bytes, source, &entry));
        out->push_back(std::move(entry));
    }
    return {};
}

// The next multiple of a power of two; false where it overflows.
bool align(uint64_t value, uint64_t alignment, uint64_t* out) {
    if (value > UINT64_MAX - alignment) return false;
    *out = (value + alignment - 1) & ~(alignment - 1);
    return true;
}

// The tensors follow each other without hole or overlap; only the last one's padding may be missing.
Status place_tensors(std::vector<Entry>& entries, std::string_view data, const FileSource& source,
                     uint64_t alignment) {
    uint64_t end = 0, next = 0;
    for (Entry& entry : entries) {
        if (entry.offset != next) {
            return source.bad("tensor ", in_quotes(entry.name), " begins at ",
                              std::to_string(entry.offset), ", expected ", next, " (multiples of ",
                              alignment, ")");
        }
        if (entry.offset > data.size() || entry.tensor.bytes > data.size() - entry.offset) {
            return source.bad("tensor ", in_quotes(entry.name), " has ", entry.tensor.bytes,
                              " bytes from ", entry.offset, ", but the file holds ", data.size(),
                              " bytes of data");
        }
        entry.tensor.data = data.data() + entry.offset;
        end = entry.offset + entry.tensor.bytes;
        if (!align(end, alignment, &next)) {
            return source.bad("tensor ", in_quotes(entry.name), " ends beyond any file");
        }
    }
    if (data.size() > next) {
        return source.bad(data.size() - end, " bytes follow the last tensor, which ends at ", end);
    }
    return {};
}

Status check_version(uint32_t version, const FileSource& source) {
    if (version == 2 || version == 3) return {};
    // A file of the other byte order has the version in its upper bytes.
    const bool swapped = version != 0 && (version & 0xffffu) == 0;
    return source.refuse(SEQMIX_ERR_UNSUPPORTED, swapped ? "big-endian, " : "", "version ", version,
                         ", expected 2 or 3, little-endian");
}

}  // namespace

bool is_gguf(std::string_view bytes) { return bytes.starts_with(kMagic); }

Status parse_gguf(const void* data, size_t size, std::string_view source_name, TensorFile& out) {
    const FileSource source{"GGUF", source_name};
    const std::string_view all(static_cast<const char*>(data), size);
    Bytes bytes(all);
    std::string_view magic;
    uint32_t version = 0;
    uint64_t tensor_count = 0, key_count = 0;
    if (!bytes.take(kMagic.size(), &magic) || magic != kMagic || !bytes.number(&version)) {
        return source.bad("the file does not begin with 'GGUF' and a version");
    }
    SEQMIX_TRY(check_version(version, source));
    if (!bytes.number(&tensor_count) || !bytes.number(&key_count)) {
        return source.bad("the file ends inside its header");
    }
    Json::Object keys;
    SEQMIX_TRY(read_keys(bytes, source, key_count, &keys));
    uint64_t alignment = 32;
    SEQMIX_TRY(check_keys(keys, source, &alignment));
    std::vector<Entry> entries;
    SEQMIX_TRY(read_tensors(bytes, source, tensor_count, &entries));
    uint64_t begin = 0;
    if (!align(bytes.at(), alignment, &begin)) return source.bad("the data begin beyond any file");
    begin = std::min<uint64_t>(begin, size);  // a file without tensors may end before
    SEQMIX_TRY(place_tensors(entries, all.substr(static_cast<size_t>(begin)), source, alignment));
    TensorFile result;
    for (Entry& entry : entries) {
        if (!result.tensors.emplace(entry.name, std::move(entry.tensor)).second) {
            return source.bad("tensor ", in_quotes(entry.name), " is there twice");
        }
    }
    result.config = std::make_shared<const Json>(std::move(keys));
    out = std::move(result);
    return {};
}

}  // namespace seqmix
