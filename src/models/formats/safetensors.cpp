#include "models/formats/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/memory.h"
#include "models/formats/json.h"
#include "models/formats/source.h"

namespace seqmix {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;

struct ElementType {
    const char* text;
    DType dtype;
    int64_t bits;
};

constexpr ElementType kElementTypes[] = {
    {"F64", DType::f64, 64},
    {"F32", DType::f32, 32},
    {"F16", DType::f16, 16},
    {"BF16", DType::bf16, 16},
    {"I64", DType::i64, 64},
    {"I32", DType::i32, 32},
    {"I16", DType::unknown, 16},
    {"I8", DType::i8, 8},
    {"U64", DType::unknown, 64},
    {"U32", DType::unknown, 32},
    {"U16", DType::unknown, 16},
    {"U8", DType::u8, 8},
    {"BOOL", DType::boolean, 8},
    {"F8_E4M3", DType::unknown, 8},
    {"F8_E5M2", DType::unknown, 8},
    {"F8_E8M0", DType::unknown, 8},
    {"F8_E4M3FNUZ", DType::unknown, 8},
    {"F8_E5M2FNUZ", DType::unknown, 8},
    {"F6_E2M3", DType::unknown, 6},
    {"F6_E3M2", DType::unknown, 6},
    {"F4", DType::unknown, 4},
    {"C64", DType::unknown, 64},
};

struct Entry {
    const std::string* name;
    StoredTensor tensor;
    int64_t begin = 0;
    int64_t end = 0;
};

bool read_size(const Json& value, int64_t* out) {
    // "-0" and "4.0" are not what a writer makes of a size.
    const auto* number = value.get_if<uint64_t>();
    if (number == nullptr || *number > static_cast<uint64_t>(INT64_MAX)) {
        return false;
    }
    *out = static_cast<int64_t>(*number);
    return true;
}

std::string lower(const char* text) {
    std::string result = text;
    for (char& c : result) {
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return result;
}

Dims dims(const StoredTensor& tensor) {
    return {tensor.shape.data(), static_cast<int32_t>(tensor.shape.size())};
}

// dtype and shape; *bytes is the size that they give.
Status read_type(const Json& item, const FileSource& source, Entry& entry, int64_t* bytes) {
    const std::string name = in_quotes(*entry.name);
    const auto* dtype = find_as<std::string>(item, "dtype");
    if (dtype == nullptr) {
        return source.bad("tensor ", name, " has no 'dtype' that is a string");
    }
    const auto* const type = std::find_if(std::begin(kElementTypes), std::end(kElementTypes),
                                          [&](const ElementType& t) { return *dtype == t.text; });
    if (type == std::end(kElementTypes)) {
        return source.refuse(SEQMIX_ERR_UNSUPPORTED, "tensor ", name, " has the unknown dtype ",
                             in_quotes(*dtype, 40));
    }
    entry.tensor.dtype = type->dtype;
    entry.tensor.dtype_text = type->text;

    const auto* shape = find_as<Json::Array>(item, "shape");
    if (shape == nullptr) {
        return source.bad("tensor ", name, " has no 'shape' that is an array");
    }
    if (shape->size() > 1000) {
        return source.bad("tensor ", name, " has ", shape->size(), " axes");
    }
    int64_t bits = type->bits;
    for (const Json& value : *shape) {
        int64_t size = 0;
        if (!read_size(value, &size)) {
            return source.bad("tensor ", name, ": 'shape' holds ", describe(value),
                              ", expected sizes");
        }
        entry.tensor.shape.push_back(size);
        // A later 0 does not excuse an overflow: readers differ there.
        if (!checked_mul(bits, size, &bits)) {
            return source.bad("tensor ", name, ": the number of elements overflows");
        }
    }
    if (bits % 8 != 0) {
        return source.bad("tensor ", name, " (shape ", dims(entry.tensor), " ", lower(type->text),
                          ") does not end at a whole byte");
    }
    *bytes = bits / 8;
    return {};
}

Status read_entry(const Json& item, const FileSource& source, Entry& entry) {
    const std::string name = in_quotes(*entry.name);
    if (item.get_if<Json::Object>() == nullptr) {
        return source.bad("tensor ", name, " is ", describe(item), ", expected an object");
    }
    int64_t bytes = 0;
    SEQMIX_TRY(read_type(item, source, entry, &bytes));
    const auto* offsets = find_as<Json::Array>(item, "data_offsets");
    if (offsets == nullptr || offsets->size() != 2 || !read_size((*offsets)[0], &entry.begin) ||
        !read_size((*offsets)[1], &entry.end)) {
        return source.bad("tensor ", name, ": 'data_offsets' must be two byte offsets");
    }
    int64_t expected_end = 0;
    if (!checked_add(entry.begin, bytes, &expected_end)) {
        return source.bad("tensor ", name, " begins at ", entry.begin, ", beyond any file");
    }
    if (entry.end != expected_end) {
        return source.bad("tensor ", name, " ends at ", entry.end, ", expected ", expected_end,
                          " (shape ", dims(entry.tensor), " ", lower(entry.tensor.dtype_text), ")");
    }
    entry.tensor.bytes = static_cast<uint64_t>(bytes);
    return {};
}

Status read_metadata(const Json& item, const FileSource& source, Metadata& out) {
    const auto* members = item.get_if<Json::Object>();
    if (members == nullptr) {
        return source.bad("'__metadata__' is ", describe(item), ", expected an object of strings");
    }
    for (const auto& [key, value] : *members) {
        const auto* text = value.get_if<std::string>();
        if (text == nullptr) {
            return source.bad("'__metadata__' key ", in_quotes(key), " is ", describe(value),
                              ", expected a string");
        }
        out.emplace(key, *text);
    }
    return {};
}

// Sorted by offset, the tensors fill [0, size) without hole, overlap or tail.
Status check_tiling(std::vector<Entry>& entries, int64_t size, const FileSource& source) {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    int64_t end = 0;
    const std::string* previous = nullptr;
    for (const Entry& entry : entries) {
        if (entry.begin != end) {
            const std::string after =
                previous == nullptr ? "the first byte" : "the end of " + in_quotes(*previous);
            return source.bad("tensor ", in_quotes(*entry.name), " begins at ", entry.begin,
                              ", expected ", end, " (", after, ")");
        }
        if (entry.end > size) {
            return source.bad("tensor ", in_quotes(*entry.name), " ends at ", entry.end,
                              ", but the file holds ", size, " bytes of data");
        }
        end = entry.end;
        previous = entry.name;
    }
    if (end != size) {
        return source.bad(size - end, " bytes follow the last tensor, which ends at ", end);
    }
    return {};
}

}  // namespace

Status parse_safetensors(const void* data, size_t size, std::string_view source_name,
                         TensorFile& out) {
    const FileSource source{"safetensors", source_name};
    const auto* const bytes = static_cast<const unsigned char*>(data);
    if (size < 8) {
        return source.bad(size, " bytes, too short for a header");
    }
    uint64_t length = 0;
    for (size_t i = 0; i < 8; ++i) {
        length |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    }
    if (length > kMaxHeader) {
        return source.bad("header of ", std::to_string(length), " bytes, expected at most ",
                          kMaxHeader);
    }
    if (length > size - 8) {
        return source.bad("header of ", length, " bytes, but only ", size - 8, " follow");
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes) + 8,
                                static_cast<size_t>(length));
    if (text.empty() || text.front() != '{') {
        return source.bad("the header does not begin with '{'");
    }
    Json header;
    const std::string where =
        source_name.empty() ? "safetensors" : "safetensors: header of " + std::string(source_name);
    SEQMIX_TRY(parse_json(text, where, JsonNumbers::finite, header));

    TensorFile result;
    const auto& members = *header.get_if<Json::Object>();  // it begins with '{'
    std::vector<Entry> entries;
    entries.reserve(members.size());
    for (const auto& [name, item] : members) {
        if (name == "__metadata__") {
            SEQMIX_TRY(read_metadata(item, source, result.metadata));
            continue;
        }
        Entry entry;
        entry.name = &name;
        SEQMIX_TRY(read_entry(item, source, entry));
        entries.push_back(std::move(entry));
    }
    const size_t begin = 8 + static_cast<size_t>(length);
    SEQMIX_TRY(check_tiling(entries, static_cast<int64_t>(size - begin), source));
    for (Entry& entry : entries) {
        entry.tensor.data = bytes + begin + entry.begin;
        result.tensors.emplace(*entry.name, std::move(entry.tensor));
    }
    out = std::move(result);
    return {};
}

}  // namespace seqmix
