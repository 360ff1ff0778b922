// JSON from files that may be hostile: config.json, an index of shards, a safetensors header.
//
// Stricter than the JSON library it wraps: a key may appear once in an object, nesting is limited
// (checked before parsing, so that no input can exhaust the stack), NUL bytes and comments are
// refused. More generous where asked: config.json of transformers 4 holds bare Infinity, -Infinity
// and NaN, which are not JSON; they are read as transformers 5 writes them,
// {"__float__": "Infinity"}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace seqmix {

constexpr int kMaxJsonDepth = 100;
constexpr int64_t kMaxJsonValues = 10'000'000;  // about 1 GB of parsed values

// A parsed value. The library that parses has such a class too, but its destructor allocates, and
// ends the process when it cannot. This one's allocates nothing and recurses kMaxJsonDepth deep.
class Json {
  public:
    using Array = std::vector<Json>;
    using Object = std::map<std::string, Json, std::less<>>;

    Json() = default;  // null
    template <class T>
    explicit Json(T value) : value_(std::move(value)) {}

    // The value as bool, int64_t (negative ones, and -0), uint64_t (other integers), double,
    // std::string, Array or Object; null when it is of another type.
    template <class T>
    const T* get_if() const {
        return std::get_if<T>(&value_);
    }
    template <class T>
    T* get_if() {
        return std::get_if<T>(&value_);
    }
    bool is_null() const { return value_.index() == 0; }
    bool operator==(const Json&) const = default;

  private:
    std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, Array, Object>
        value_;
};

enum class JsonNumbers : uint8_t { finite, any };

// `source` names the text in messages ("config.json"). Failures are SEQMIX_ERR_BAD_FORMAT.
Status parse_json(std::string_view text, std::string_view source, JsonNumbers numbers, Json& out);

// A member of an object. Absent and null leave `out` empty; another type is SEQMIX_ERR_BAD_FORMAT
// with a message that names key, expected and got.
Status get_int(const Json& object, std::string_view source, const char* key,
               std::optional<int64_t>& out);  // 4.0 counts as an integer, 4.5 does not
Status get_float(const Json& object, std::string_view source, const char* key,
                 std::optional<double>& out);
Status get_bool(const Json& object, std::string_view source, const char* key,
                std::optional<bool>& out);
Status get_string(const Json& object, std::string_view source, const char* key,
                  std::optional<std::string>& out);

// The member, or null when it is absent, null, or `object` is no object.
const Json* find_member(const Json& object, std::string_view key);

// The same, or null when it is of another type.
template <class T>
const T* find_as(const Json& object, std::string_view key) {
    const Json* value = find_member(object, key);
    return value == nullptr ? nullptr : value->get_if<T>();
}

// Any of the numbers; false when the value is none.
bool get_number(const Json& value, double* out);

// A value for a message: "1.5", "'abc'", "an array of 3".
std::string describe(const Json& value);

// A name or text of a file for a message: in quotes, cut after `limit` bytes.
std::string in_quotes(std::string_view text, size_t limit = 100);

}  // namespace seqmix
