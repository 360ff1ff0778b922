// One character of UTF-8 text (Unicode 15, section 3.9).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace seqmix {

struct Utf8Character {
    uint32_t code = 0;
    size_t size = 0;  // in bytes; 0: the text does not begin with a character
};

// Of a text that is not empty. Overlong forms, surrogates and what is beyond U+10FFFF are none.
inline Utf8Character first_character(std::string_view text) noexcept {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
        return {lead, 1};
    }
    const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || size > text.size()) {
        return {};
    }
    uint32_t code = lead & (0x7fu >> size);
    for (size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0) != 0x80) {
            return {};
        }
        code = code << 6 | (byte(i) & 0x3fu);
    }
    const uint32_t least = size == 4 ? 0x10000 : size == 3 ? 0x800 : 0x80;
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return {};
    }
    return {code, size};
}

}  // namespace seqmix
