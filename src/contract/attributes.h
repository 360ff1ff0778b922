// Named, typed values: what a caller sets through seqmix_config and what a plan was made from.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace seqmix {

using AttributeValue =
    std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

class Attributes {
  public:
    void set(std::string_view name, AttributeValue value) {
        values_.insert_or_assign(std::string(name), std::move(value));
    }
    const AttributeValue* find(std::string_view name) const {
        const auto found = values_.find(name);
        return found == values_.end() ? nullptr : &found->second;
    }
    // For resolved attributes only (every attribute of the schema is there, with its type).
    int64_t i64(std::string_view name) const { return std::get<int64_t>(*find(name)); }
    double f64(std::string_view name) const { return std::get<double>(*find(name)); }
    bool flag(std::string_view name) const { return std::get<bool>(*find(name)); }
    const std::string& str(std::string_view name) const {
        return std::get<std::string>(*find(name));
    }
    auto begin() const { return values_.begin(); }
    auto end() const { return values_.end(); }
    bool empty() const { return values_.empty(); }

  private:
    std::map<std::string, AttributeValue, std::less<>> values_;
};

}  // namespace seqmix
