// What a checkpoint's files do not say and the caller does: options of seqmix_layer_open that belong
// to a scheme. A scheme asks for each by name; what nobody asked for is an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "contract/attributes.h"

namespace seqmix {

class SchemeOptions {
  public:
    SchemeOptions() = default;
    explicit SchemeOptions(Attributes given) : given_(std::move(given)) {}

    // `out` stays as it is where the option is not given. Another type is ATTRIBUTE_TYPE, a value out
    // of range ATTRIBUTE_RANGE; `choices` is "a|b|c".
    Status flag(const char* scheme, const char* name, bool* out);
    Status choice(const char* scheme, const char* name, const char* choices, std::string* out);
    Status positive(const char* scheme, const char* name, std::optional<double>* out);
    Status positive(const char* scheme, const char* name, std::optional<int64_t>* out);

    // UNKNOWN_ATTRIBUTE where an option is left that no scheme function has asked for.
    Status finish(const std::string& scheme) const;

  private:
    const AttributeValue* take(const char* name);

    Attributes given_;
    std::vector<std::string_view> asked_;
};

}  // namespace seqmix
