#include "base/status.h"

#include <cmath>
#include <cstring>

#include "base/utf8.h"

namespace seqmix {
namespace {

constexpr size_t kCapacity = 1024;

struct Text {
    size_t size;
    char bytes[kCapacity];
};

// Plain bytes: no constructor at first use and no destructor at thread exit.
__thread Text text;

constexpr struct {
    seqmix_status code;
    const char* name;
} kNames[] = {
    {SEQMIX_OK, "SEQMIX_OK"},
    {SEQMIX_ERR_INTERNAL, "SEQMIX_ERR_INTERNAL"},
    {SEQMIX_ERR_NULL_ARGUMENT, "SEQMIX_ERR_NULL_ARGUMENT"},
    {SEQMIX_ERR_INVALID_ARGUMENT, "SEQMIX_ERR_INVALID_ARGUMENT"},
    {SEQMIX_ERR_UNKNOWN_TYPE, "SEQMIX_ERR_UNKNOWN_TYPE"},
    {SEQMIX_ERR_UNKNOWN_ATTRIBUTE, "SEQMIX_ERR_UNKNOWN_ATTRIBUTE"},
    {SEQMIX_ERR_ATTRIBUTE_TYPE, "SEQMIX_ERR_ATTRIBUTE_TYPE"},
    {SEQMIX_ERR_ATTRIBUTE_RANGE, "SEQMIX_ERR_ATTRIBUTE_RANGE"},
    {SEQMIX_ERR_UNKNOWN_SLOT, "SEQMIX_ERR_UNKNOWN_SLOT"},
    {SEQMIX_ERR_MISSING_TENSOR, "SEQMIX_ERR_MISSING_TENSOR"},
    {SEQMIX_ERR_DTYPE, "SEQMIX_ERR_DTYPE"},
    {SEQMIX_ERR_SHAPE, "SEQMIX_ERR_SHAPE"},
    {SEQMIX_ERR_LAYOUT, "SEQMIX_ERR_LAYOUT"},
    {SEQMIX_ERR_ALIASING, "SEQMIX_ERR_ALIASING"},
    {SEQMIX_ERR_DEVICE, "SEQMIX_ERR_DEVICE"},
    {SEQMIX_ERR_STATE_MISMATCH, "SEQMIX_ERR_STATE_MISMATCH"},
    {SEQMIX_ERR_BUFFER_TOO_SMALL, "SEQMIX_ERR_BUFFER_TOO_SMALL"},
    {SEQMIX_ERR_NO_MEMORY, "SEQMIX_ERR_NO_MEMORY"},
    {SEQMIX_ERR_UNSUPPORTED, "SEQMIX_ERR_UNSUPPORTED"},
    {SEQMIX_ERR_UNSUPPORTED_CPU, "SEQMIX_ERR_UNSUPPORTED_CPU"},
    {SEQMIX_ERR_BAD_FORMAT, "SEQMIX_ERR_BAD_FORMAT"},
    {SEQMIX_ERR_VERSION, "SEQMIX_ERR_VERSION"},
    {SEQMIX_ERR_BUSY, "SEQMIX_ERR_BUSY"},
    {SEQMIX_ERR_CANCELLED, "SEQMIX_ERR_CANCELLED"},
    {SEQMIX_ERR_CALLBACK, "SEQMIX_ERR_CALLBACK"},
    {SEQMIX_ERR_LIMIT, "SEQMIX_ERR_LIMIT"},
    {SEQMIX_ERR_IO, "SEQMIX_ERR_IO"},
    {SEQMIX_ERR_CAPACITY, "SEQMIX_ERR_CAPACITY"},
    {SEQMIX_ERR_STATE_POISONED, "SEQMIX_ERR_STATE_POISONED"},
};

}  // namespace

namespace error_text {

const char* get() noexcept { return text.bytes; }

void clear() noexcept {
    text.size = 0;
    text.bytes[0] = '\0';
}

void finish() noexcept {
    for (size_t i = 0; i < text.size;) {
        const Utf8Character c = first_character({text.bytes + i, text.size - i});
        if (c.size == 0) {
            text.bytes[i++] = '?';
            continue;
        }
        // C1 controls, line and paragraph separators, and what reverses the direction of writing.
        if ((c.code >= 0x80 && c.code < 0xa0) || (c.code >= 0x2028 && c.code <= 0x202e) ||
            (c.code >= 0x2066 && c.code <= 0x2069)) {
            std::memset(text.bytes + i, ' ', c.size);
        }
        i += c.size;
    }
}

void append(std::string_view part) noexcept {
    for (const char c : part) {
        if (text.size + 1 >= kCapacity) {
            // Never end inside a UTF-8 character: drop its bytes if the next one continues it.
            if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) {
                while (text.size > 0 &&
                       (static_cast<unsigned char>(text.bytes[text.size - 1]) & 0xC0) == 0x80) {
                    --text.size;
                }
                text.size -= text.size > 0 ? 1 : 0;
            }
            break;
        }
        // One line, whatever names a file or caller supplies.
        const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
        text.bytes[text.size++] = control ? ' ' : c;
    }
    text.bytes[text.size] = '\0';
}

void append(int64_t value) noexcept {
    char digits[24];
    size_t n = sizeof digits;
    // Negate through unsigned so that INT64_MIN works.
    uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    do {
        digits[--n] = static_cast<char>('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0) {
        digits[--n] = '-';
    }
    append(std::string_view(digits + n, sizeof digits - n));
}

void append(double value) noexcept {
    if (std::isnan(value)) {
        return append("nan");
    }
    if (value < 0) {
        append("-");
        value = -value;
    }
    if (std::isinf(value)) {
        return append("inf");
    }
    // Six decimals are enough for a message; beyond this range they follow one leading digit.
    int exponent = 0;
    if (value >= 1e6 || (value != 0 && value < 1e-4)) {
        while (value >= 10) {
            value /= 10;
            ++exponent;
        }
        while (value < 1) {
            value *= 10;
            --exponent;
        }
    }
    const int64_t scaled = static_cast<int64_t>(value * 1e6 + 0.5);
    append(scaled / 1000000);
    int64_t fraction = scaled % 1000000;
    if (fraction > 0) {
        char digits[8] = ".000000";
        for (int i = 6; i >= 1; --i) {
            digits[i] = static_cast<char>('0' + fraction % 10);
            fraction /= 10;
        }
        size_t n = 7;
        while (digits[n - 1] == '0') {
            --n;
        }
        append(std::string_view(digits, n));
    }
    if (exponent != 0) {
        append("e");
        append(static_cast<int64_t>(exponent));
    }
}

void append(Dims dims) noexcept {
    append("(");
    for (int32_t i = 0; i < dims.count; ++i) {
        if (i > 0) {
            append(",");
        }
        append(dims.data[i]);
    }
    append(")");
}

}  // namespace error_text

const char* status_name(seqmix_status code) noexcept {
    for (const auto& entry : kNames) {
        if (entry.code == code) {
            return entry.name;
        }
    }
    return "SEQMIX_ERR_UNKNOWN";
}

}  // namespace seqmix
