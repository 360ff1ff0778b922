// JSON text, written front to back: what layers and types say about themselves.
//
// Compact, ASCII (other characters as \u escapes, bytes that are no UTF-8 as U+FFFD), real numbers
// with the fewest digits that read back as the same double, those that are no number as null. State
// blobs carry a fingerprint of such a text: its bytes are part of their format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace seqmix {

class JsonWriter {
  public:
    JsonWriter& begin_object() { return open('{'); }
    JsonWriter& end_object() { return close('}'); }
    JsonWriter& begin_array() { return open('['); }
    JsonWriter& end_array() { return close(']'); }

    JsonWriter& key(std::string_view name) {
        value(name);
        text_ += ':';
        return *this;
    }
    JsonWriter& value(bool value) { return raw(value ? "true" : "false"); }
    JsonWriter& value(double value);
    JsonWriter& value(std::string_view value);
    JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
    // Otherwise a text would be taken for a bool.
    JsonWriter& value(const char* text) { return value(std::string_view(text)); }
    template <class T>
    requires std::is_integral_v<T> JsonWriter& value(T value) { return raw(std::to_string(value)); }
    template <class T>
    JsonWriter& value(const std::vector<T>& values) {
        begin_array();
        for (const T& item : values) {
            value(item);
        }
        return end_array();
    }
    template <class T>
    JsonWriter& member(std::string_view name, const T& of) {
        return key(name).value(of);
    }

    const std::string& text() const { return text_; }

  private:
    JsonWriter& raw(std::string_view token) {
        // What ends with none of these ends with a value.
        if (!text_.empty() &&
            std::string_view("{[:").find(text_.back()) == std::string_view::npos) {
            text_ += ',';
        }
        text_ += token;
        return *this;
    }
    JsonWriter& open(char bracket) { return raw(std::string_view(&bracket, 1)); }
    JsonWriter& close(char bracket) {
        text_ += bracket;
        return *this;
    }

    std::string text_;
};

}  // namespace seqmix
