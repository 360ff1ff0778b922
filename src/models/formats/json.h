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
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace seqmix {

using Json = nlohmann::json;

constexpr int kMaxJsonDepth = 100;
constexpr int64_t kMaxJsonValues = 10'000'000;  // about 1 GB of parsed values

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
const Json* find_member(const Json& object, const char* key);

// A value for a message: "1.5", "'abc'", "an array of 3".
std::string describe(const Json& value);

// A name or text of a file for a message: in quotes, cut after `limit` bytes.
std::string in_quotes(std::string_view text, size_t limit = 100);

}  // namespace seqmix
