#include "models/formats/json.h"

#include <cmath>
#include <cstdio>
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
class Builder final : public nlohmann::json_sax<Json> {
  public:
    explicit Builder(Json& root) : root_(root) {}

    bool null() override { return add(nullptr) != nullptr; }
    bool boolean(bool value) override { return add(value) != nullptr; }
    bool number_integer(int64_t value) override { return add(value) != nullptr; }
    bool number_unsigned(uint64_t value) override { return add(value) != nullptr; }
    bool number_float(double value, const std::string&) override { return add(value) != nullptr; }
    bool string(std::string& value) override { return add(std::move(value)) != nullptr; }
    bool binary(binary_t&) override { return false; }
    bool start_object(size_t) override { return open(Json::object()); }
    bool start_array(size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(std::string& name) override {
        auto& members = open_.back()->get_ref<Json::object_t&>();
        const auto [place, is_new] = members.try_emplace(name);
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
        Json& parent = *open_.back();
        if (parent.is_array()) {
            auto& elements = parent.get_ref<Json::array_t&>();
            elements.push_back(std::move(value));
            return &elements.back();
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

// {"__float__": "Infinity"}
bool spelt_float(const Json& value, double* out) {
    if (!value.is_object() || value.size() != 1) {
        return false;
    }
    const Json* text = find_member(value, kFloatKey);
    if (text == nullptr || !text->is_string()) {
        return false;
    }
    const auto& spelling = text->get_ref<const std::string&>();
    if (spelling == "Infinity") {
        *out = std::numeric_limits<double>::infinity();
    } else if (spelling == "-Infinity") {
        *out = -std::numeric_limits<double>::infinity();
    } else if (spelling == "NaN") {
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
        good = Json::sax_parse(clean.begin(), clean.end(), &builder);
    } catch (const Json::exception&) {
        good = false;  // the parser reports through parse_error; nothing else is expected
    }
    if (!good) {
        return builder.failure(source, !replaced);
    }
    out = std::move(root);
    return {};
}

const Json* find_member(const Json& object, const char* key) {
    if (!object.is_object()) {
        return nullptr;
    }
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

Status get_int(const Json& object, std::string_view source, const char* key,
               std::optional<int64_t>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    if (value->is_number_unsigned()) {
        const uint64_t number = value->get<uint64_t>();
        if (number > static_cast<uint64_t>(INT64_MAX)) {
            return wrong_type(source, key, "an integer of 64 bits", *value);
        }
        out = static_cast<int64_t>(number);
        return {};
    }
    if (value->is_number_integer()) {
        out = value->get<int64_t>();
        return {};
    }
    if (value->is_number_float()) {
        const double number = value->get<double>();
        // Above 2^53 a double may stand for a number that was rounded.
        if (std::trunc(number) == number && std::fabs(number) <= 0x1p53) {
            out = static_cast<int64_t>(number);
            return {};
        }
    }
    return wrong_type(source, key, "an integer", *value);
}

Status get_float(const Json& object, std::string_view source, const char* key,
                 std::optional<double>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    double number = 0;
    if (value->is_number()) {
        out = value->get<double>();
    } else if (spelt_float(*value, &number)) {
        out = number;
    } else {
        return wrong_type(source, key, "a number", *value);
    }
    return {};
}

Status get_bool(const Json& object, std::string_view source, const char* key,
                std::optional<bool>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    if (!value->is_boolean()) {
        return wrong_type(source, key, "true or false", *value);
    }
    out = value->get<bool>();
    return {};
}

Status get_string(const Json& object, std::string_view source, const char* key,
                  std::optional<std::string>& out) {
    out.reset();
    const Json* value = find_member(object, key);
    if (value == nullptr) {
        return {};
    }
    if (!value->is_string()) {
        return wrong_type(source, key, "a string", *value);
    }
    out = value->get_ref<const std::string&>();
    return {};
}

std::string describe(const Json& value) {
    switch (value.type()) {
        case Json::value_t::null: return "null";
        case Json::value_t::boolean: return value.get<bool>() ? "true" : "false";
        case Json::value_t::string: return in_quotes(value.get_ref<const std::string&>(), 40);
        case Json::value_t::array: return "an array of " + std::to_string(value.size());
        case Json::value_t::object: {
            double number = 0;
            if (!spelt_float(value, &number)) {
                return "an object";
            }
            return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
        }
        case Json::value_t::number_integer: return std::to_string(value.get<int64_t>());
        case Json::value_t::number_unsigned: return std::to_string(value.get<uint64_t>());
        case Json::value_t::number_float: {
            char digits[32];
            // The host may have set a locale with another decimal sign.
            std::snprintf(digits, sizeof digits, "%.9g", value.get<double>());
            for (char& c : digits) {
                c = c == ',' ? '.' : c;
            }
            return digits;
        }
        default: return "a value of another kind";
    }
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
