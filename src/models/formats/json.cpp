#include "models/formats/json.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/nlohmann.h"

namespace seqmix {
namespace {

constexpr const char* kFloatKey = "__float__";

// One pass over the text, aware of strings only: nesting, NUL bytes, and (when asked) bare numbers
// that are not JSON, which go to `rewritten` as objects. What is no JSON for other reasons is left
// to the parser.
Status scan(std::string_view text, std::string_view source, JsonNumbers numbers,
            std::string& rewritten, bool& replaced) {
    struct Bare {
        std::string_view token;
        std::string_view object;
    };
    static constexpr Bare kBare[] = {
        {"-Infinity", "{\"__float__\":\"-Infinity\"}"},
        {"Infinity", "{\"__float__\":\"Infinity\"}"},
        {"NaN", "{\"__float__\":\"NaN\"}"},
    };
    int depth = 0;
    bool in_string = false;
    size_t copied = 0;
    replaced = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
            continue;
        }
        switch (c) {
            case '"': in_string = true; break;
            case '{':
            case '[':
                if (++depth > kMaxJsonDepth) {
                    return fail(SEQMIX_ERR_BAD_FORMAT, source, ": nested deeper than ",
                                kMaxJsonDepth, " levels");
                }
                break;
            case '}':
            case ']': --depth; break;
            case '\0':
                // The JSON library would take it for the end of the text.
                return fail(SEQMIX_ERR_BAD_FORMAT, source, ": NUL at byte ", i);
            case '-':
            case 'I':
            case 'N':
                if (numbers == JsonNumbers::finite) {
                    break;
                }
                for (const Bare& bare : kBare) {
                    if (text.substr(i, bare.token.size()) == bare.token) {
                        rewritten.append(text.substr(copied, i - copied));
                        rewritten.append(bare.object);
                        copied = i + bare.token.size();
                        i = copied - 1;
                        replaced = true;
                        break;
                    }
                }
                break;
            default: break;
        }
    }
    if (replaced) {
        rewritten.append(text.substr(copied));
    }
    return {};
}

// Builds the value from parser events; adds the refusal of duplicate keys and the count of values.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit Builder(Json& root) : root_(root) {}

    bool null() override { return add(Json()) != nullptr; }
    bool boolean(bool value) override { return add(Json(value)) != nullptr; }
    bool number_integer(int64_t value) override { return add(Json(value)) != nullptr; }
    bool number_unsigned(uint64_t value) override { return add(Json(value)) != nullptr; }
    bool number_float(double value, const std::string&) override {
        return add(Json(value)) != nullptr;
    }
    bool string(std::string& value) override { return add(Json(std::move(value))) != nullptr; }
    bool binary(binary_t&) override { return false; }
    bool start_object(size_t) override { return open(Json(Json::Object())); }
    bool start_array(size_t) override { return open(Json(Json::Array())); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(std::string& name) override {
        const auto [place, is_new] = open_.back()->get_if<Json::Object>()->try_emplace(name);
        if (!is_new) {
            duplicate_ = std::move(name);
            has_duplicate_ = true;
            return false;
        }
        member_ = &place->second;
        return true;
    }
    bool parse_error(size_t position, const std::string& token,
                     const nlohmann::detail::exception&) override {
        position_ = position;
        token_ = token;
        return false;
    }

    Status failure(std::string_view source, bool positions) const {
        if (has_duplicate_) {
            return fail(SEQMIX_ERR_BAD_FORMAT, source, ": key ", in_quotes(duplicate_),
                        " appears twice in one object");
        }
        if (count_ > kMaxJsonValues) {
            return fail(SEQMIX_ERR_BAD_FORMAT, source, ": more than ", kMaxJsonValues, " values");
        }
        if (!positions) {
            return fail(SEQMIX_ERR_BAD_FORMAT, source, ": not valid JSON near ",
                        in_quotes(token_, 40));
        }
        return fail(SEQMIX_ERR_BAD_FORMAT, source, ": not valid JSON at byte ", position_,
                    ", near ", in_quotes(token_, 40));
    }

  private:
    Json* add(Json value) {
        if (++count_ > kMaxJsonValues) {
            return nullptr;
        }
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        if (auto* elements = open_.back()->get_if<Json::Array>(); elements != nullptr) {
            elements->push_back(std::move(value));
            return &elements->back();
        }
        *member_ = std::move(value);
        return member_;
    }
    bool open(Json value) {
        Json* place = add(std::move(value));
        if (place != nullptr) {
            // Stays valid while it is open: only the innermost container grows.
            open_.push_back(place);
        }
        return place != nullptr;
    }
    bool close() {
        open_.pop_back();
        return true;
    }

    Json& root_;
    std::vector<Json*> open_;
    Json* member_ = nullptr;
    int64_t count_ = 0;
    size_t position_ = 0;
    std::string token_, duplicate_;
    bool has_duplicate_ = false;
};

Status wrong_type(std::string_view source, const char* key, const char* expected,
                  const Json& value) {
    return fail(SEQMIX_ERR_BAD_FORMAT, source, ": '", key, "' must be ", expected, ", got ",
                describe(value));
}

template <class T>
Status get_as(const Json& object, std::string_view source, const char* key, const char* expected,
              std::optional<T>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    const T* found = value->get_if<T>();
    if (found == nullptr) {
        return wrong_type(source, key, expected, *value);
    }
    out = *found;
    return {};
}

// {"__float__": "Infinity"}
bool spelt_float(const Json& value, double* out) {
    const auto* object = value.get_if<Json::Object>();
    if (object == nullptr || object->size() != 1 || object->begin()->first != kFloatKey) {
        return false;
    }
    const auto* spelling = object->begin()->second.get_if<std::string>();
    if (spelling == nullptr) {
        return false;
    }
    if (*spelling == "Infinity") {
        *out = std::numeric_limits<double>::infinity();
    } else if (*spelling == "-Infinity") {
        *out = -std::numeric_limits<double>::infinity();
    } else if (*spelling == "NaN") {
        *out = std::numeric_limits<double>::quiet_NaN();
    } else {
        return false;
    }
    return true;
}

}  // namespace

Status parse_json(std::string_view text, std::string_view source, JsonNumbers numbers, Json& out) {
    std::string rewritten;
    bool replaced = false;
    SEQMIX_TRY(scan(text, source, numbers, rewritten, replaced));
    const std::string_view clean = replaced ? std::string_view(rewritten) : text;
    Json root;
    Builder builder(root);
    bool good = false;
    try {
        good = nlohmann::json::sax_parse(clean.begin(), clean.end(), &builder);
    } catch (const nlohmann::json::exception&) {
        good = false;  // the parser reports through parse_error; nothing else is expected
    }
    if (!good) {
        return builder.failure(source, !replaced);
    }
    out = std::move(root);
    return {};
}

const Json* find_member(const Json& object, std::string_view key) {
    const auto* members = object.get_if<Json::Object>();
    if (members == nullptr) {
        return nullptr;
    }
    const auto found = members->find(key);
    return found == members->end() || found->second.is_null() ? nullptr : &found->second;
}

Status get_int(const Json& object, std::string_view source, const char* key,
               std::optional<int64_t>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    if (const auto* number = value->get_if<uint64_t>(); number != nullptr) {
        if (*number > static_cast<uint64_t>(INT64_MAX)) {
            return wrong_type(source, key, "an integer of 64 bits", *value);
        }
        out = static_cast<int64_t>(*number);
        return {};
    }
    if (const auto* number = value->get_if<int64_t>(); number != nullptr) {
        out = *number;
        return {};
    }
    if (const auto* number = value->get_if<double>(); number != nullptr) {
        // Above 2^53 a double may stand for a number that was rounded.
        if (std::trunc(*number) == *number && std::fabs(*number) <= 0x1p53) {
            out = static_cast<int64_t>(*number);
            return {};
        }
    }
    return wrong_type(source, key, "an integer", *value);
}

bool get_number(const Json& value, double* out) {
    if (const auto* real = value.get_if<double>(); real != nullptr) {
        *out = *real;
    } else if (const auto* integer = value.get_if<int64_t>(); integer != nullptr) {
        *out = static_cast<double>(*integer);
    } else if (const auto* size = value.get_if<uint64_t>(); size != nullptr) {
        *out = static_cast<double>(*size);
    } else {
        return false;
    }
    return true;
}

Status get_float(const Json& object, std::string_view source, const char* key,
                 std::optional<double>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    double number = 0;
    if (!get_number(*value, &number) && !spelt_float(*value, &number)) {
        return wrong_type(source, key, "a number", *value);
    }
    out = number;
    return {};
}

Status get_bool(const Json& object, std::string_view source, const char* key,
                std::optional<bool>& out) {
    return get_as(object, source, key, "true or false", out);
}

Status get_string(const Json& object, std::string_view source, const char* key,
                  std::optional<std::string>& out) {
    return get_as(object, source, key, "a string", out);
}

std::string describe(const Json& value) {
    if (value.is_null()) {
        return "null";
    }
    if (const auto* flag = value.get_if<bool>(); flag != nullptr) {
        return *flag ? "true" : "false";
    }
    if (const auto* integer = value.get_if<int64_t>(); integer != nullptr) {
        return std::to_string(*integer);
    }
    if (const auto* integer = value.get_if<uint64_t>(); integer != nullptr) {
        return std::to_string(*integer);
    }
    if (const auto* text = value.get_if<std::string>(); text != nullptr) {
        return in_quotes(*text, 40);
    }
    if (const auto* array = value.get_if<Json::Array>(); array != nullptr) {
        return "an array of " + std::to_string(array->size());
    }
    double number = 0;
    if (const auto* real = value.get_if<double>(); real != nullptr) {
        char digits[32];
        const auto end =
            std::to_chars(digits, digits + sizeof digits, *real, std::chars_format::general, 9);
        return {digits, end.ptr};
    }
    if (!spelt_float(value, &number)) {
        return "an object";
    }
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
}

std::string in_quotes(std::string_view text, size_t limit) {
    if (text.size() <= limit) {
        return "'" + std::string(text) + "'";
    }
    size_t end = limit;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
        --end;  // not inside a UTF-8 character
    }
    return "'" + std::string(text.substr(0, end)) + "...'";
}

}  // namespace seqmix
