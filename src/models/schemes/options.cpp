#include "models/schemes/options.h"

#include <algorithm>
#include <cmath>

#include "models/formats/json.h"

namespace seqmix {
namespace {

Status wrong_type(const char* scheme, const char* name, const char* expected) {
    return fail(SEQMIX_ERR_ATTRIBUTE_TYPE, scheme, ": option '", name,
                "' has another type, expected ", expected);
}

bool is_choice(std::string_view choices, std::string_view text) {
    while (!choices.empty()) {
        const size_t end = std::min(choices.find('|'), choices.size());
        if (choices.substr(0, end) == text) {
            return true;
        }
        choices.remove_prefix(std::min(end + 1, choices.size()));
    }
    return false;
}

}  // namespace

const AttributeValue* SchemeOptions::take(const char* name) {
    asked_.emplace_back(name);
    return given_.find(name);
}

Status SchemeOptions::flag(const char* scheme, const char* name, bool* out) {
    const AttributeValue* value = take(name);
    if (value == nullptr) {
        return {};
    }
    const auto* given = std::get_if<bool>(value);
    if (given == nullptr) {
        return wrong_type(scheme, name, "bool");
    }
    *out = *given;
    return {};
}

Status SchemeOptions::choice(const char* scheme, const char* name, const char* choices,
                             std::string* out) {
    const AttributeValue* value = take(name);
    if (value == nullptr) {
        return {};
    }
    const auto* given = std::get_if<std::string>(value);
    if (given == nullptr) {
        return wrong_type(scheme, name, "str");
    }
    if (!is_choice(choices, *given)) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, scheme, ": option '", name, "' is ",
                    in_quotes(*given, 40), ", expected ", choices);
    }
    *out = *given;
    return {};
}

Status SchemeOptions::positive(const char* scheme, const char* name, std::optional<double>* out) {
    const AttributeValue* value = take(name);
    if (value == nullptr) {
        return {};
    }
    if (const auto* whole = std::get_if<int64_t>(value); whole != nullptr) {
        *out = static_cast<double>(*whole);
    } else if (const auto* real = std::get_if<double>(value); real != nullptr) {
        *out = *real;
    } else {
        return wrong_type(scheme, name, "f64");
    }
    if (!std::isfinite(**out) || **out <= 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, scheme, ": option '", name, "' is ", **out,
                    ", expected above 0");
    }
    return {};
}

Status SchemeOptions::positive(const char* scheme, const char* name, std::optional<int64_t>* out) {
    const AttributeValue* value = take(name);
    if (value == nullptr) {
        return {};
    }
    const auto* given = std::get_if<int64_t>(value);
    if (given == nullptr) {
        return wrong_type(scheme, name, "i64");
    }
    if (*given <= 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, scheme, ": option '", name, "' is ", *given,
                    ", expected above 0");
    }
    *out = *given;
    return {};
}

Status SchemeOptions::finish(const std::string& scheme) const {
    for (const auto& [name, value] : given_) {
        if (std::find(asked_.begin(), asked_.end(), name) == asked_.end()) {
            std::string known = "lenient, scheme, weights";
            for (const std::string_view asked : asked_) {
                known += ", " + std::string(asked);
            }
            return fail(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, "open: no option ", in_quotes(name, 60),
                        " for the scheme ", scheme, ", expected one of: ", known);
        }
    }
    return {};
}

}  // namespace seqmix
