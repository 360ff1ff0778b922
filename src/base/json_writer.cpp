#include "base/json_writer.h"

#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace seqmix {
namespace {

void append_unit(std::string& out, uint32_t unit) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) {
        out += kDigits[(unit >> shift) & 15];
    }
}

void append_escaped(std::string& out, uint32_t character) {
    switch (character) {
        case '"': out += "\\\""; return;
        case '\\': out += "\\\\"; return;
        case '\b': out += "\\b"; return;
        case '\f': out += "\\f"; return;
        case '\n': out += "\\n"; return;
        case '\r': out += "\\r"; return;
        case '\t': out += "\\t"; return;
        default: break;
    }
    if (character >= 0x20 && character < 0x7F) {
        out += static_cast<char>(character);
    } else if (character < 0x10000) {
        append_unit(out, character);
    } else {
        append_unit(out, 0xD7C0 + (character >> 10));
        append_unit(out, 0xDC00 + (character & 0x3FF));
    }
}

}  // namespace

JsonWriter& JsonWriter::value(std::string_view value) {
    std::string quoted = "\"";
    while (!value.empty()) {
        const Utf8Character c = first_character(value);
        append_escaped(quoted, c.size > 0 ? c.code : 0xFFFD);
        value.remove_prefix(c.size > 0 ? c.size : 1);
    }
    quoted += '"';
    return raw(quoted);
}

// 1e-05, 0.0001, 2.0, 1e+16: plain from 1e-4 to below 1e15, and always seen to be a real number.
JsonWriter& JsonWriter::value(double value) {
    if (!std::isfinite(value)) {
        return raw("null");
    }
    char text[32];
    const auto end =
        std::to_chars(text, text + sizeof text, std::fabs(value), std::chars_format::scientific);
    // d[.ddd]e[+-]xx
    const std::string_view shortest(text, static_cast<size_t>(end.ptr - text));
    const size_t e = shortest.find('e');
    std::string digits(shortest.substr(0, 1));
    if (e > 2) {
        digits += shortest.substr(2, e - 2);
    }
    int point = 0;  // digits before the decimal point
    const size_t sign = shortest[e + 1] == '+' ? 1 : 0;
    std::from_chars(text + e + 1 + sign, end.ptr, point);
    ++point;

    const int count = static_cast<int>(digits.size());
    std::string number = std::signbit(value) ? "-" : "";
    if (value == 0) {
        number += "0.0";
    } else if (count <= point && point <= 15) {
        number += digits + std::string(static_cast<size_t>(point - count), '0') + ".0";
    } else if (0 < point && point <= 15) {
        number += digits.insert(static_cast<size_t>(point), ".");
    } else if (-4 < point && point <= 0) {
        number += "0." + std::string(static_cast<size_t>(-point), '0') + digits;
    } else {
        if (count > 1) {
            digits.insert(1, ".");
        }
        number += digits + std::string(shortest.substr(e));
    }
    return raw(number);
}

}  // namespace seqmix
