#include "series.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "common.h"
#include "files.h"
#include "image.h"
#ifdef SEQMIX_CLI_ZLIB
#include <zlib.h>
#endif

namespace seqmix_cli {

namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
    throw Failure(kCannotRead, path + ": " + what);
}

// ------------------------------------------------------------------ gzip

bool is_gzip(const std::string& bytes) { return bytes.starts_with("\x1f\x8b"); }

#ifdef SEQMIX_CLI_ZLIB
std::string inflate_gzip(const std::string& packed, const std::string& path) {
    constexpr size_t kMost = size_t{1} << 31;
    constexpr int kGzip = 16;  // added to the window's size: a gzip header is expected
    z_stream stream{};
    if (inflateInit2(&stream, MAX_WBITS + kGzip) != Z_OK) {
        refuse(path, "zlib does not start");
    }
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(std::min(packed.size(), size_t{UINT32_MAX}));
    std::string bytes;
    int status = Z_OK;
    char block[65536];
    while (status == Z_OK && bytes.size() < kMost) {
        stream.next_out = reinterpret_cast<Bytef*>(block);
        stream.avail_out = sizeof block;
        status = inflate(&stream, Z_NO_FLUSH);
        bytes.append(block, sizeof block - stream.avail_out);
    }
    inflateEnd(&stream);
    if (status != Z_STREAM_END) {
        refuse(path, "is no whole gzip file");
    }
    return bytes;
}
#else
std::string inflate_gzip(const std::string&, const std::string& path) {
    refuse(path, "this program was built without zlib: unpack the file first");
}
#endif

// ------------------------------------------------------------------ idx

// Two zero bytes, a type, a number of axes; big-endian sizes; the values. Only unsigned bytes.
struct Idx {
    std::vector<int64_t> shape;
    std::string_view values;
};

bool is_idx(const std::string& bytes) {
    return bytes.size() >= 4 && bytes[0] == 0 && bytes[1] == 0 && bytes[2] == 8 && bytes[3] > 0 &&
           bytes[3] <= 4;
}

Idx parse_idx(const std::string& bytes, const std::string& path) {
    Idx idx;
    const auto axes = static_cast<size_t>(bytes[3]);
    if (bytes.size() < 4 + 4 * axes) {
        refuse(path, "the idx file is cut short");
    }
    int64_t count = 1;
    for (size_t i = 0; i < axes; ++i) {
        int64_t size = 0;
        for (size_t k = 0; k < 4; ++k) {
            size = size * 256 + static_cast<unsigned char>(bytes[4 + 4 * i + k]);
        }
        idx.shape.push_back(size);
        if (__builtin_mul_overflow(count, size, &count)) {
            refuse(path, "the idx file's sizes overflow");
        }
    }
    idx.values = std::string_view(bytes).substr(4 + 4 * axes);
    if (idx.values.size() != static_cast<size_t>(count)) {
        refuse(path, "the idx file has " + std::to_string(idx.values.size()) +
                         " values, expected " + std::to_string(count));
    }
    return idx;
}

// ------------------------------------------------------------------ items

// The item of a picture.
Item picture(const std::string& name, const uint8_t* samples, int64_t width, int64_t height,
             int64_t planes, int64_t channels, const std::string& path) {
    Item item;
    item.name = name;
    item.values.assign(samples, samples + width * height * planes);
    if (channels == planes) {
        item.steps = width * height;
    } else if (channels == width * planes) {
        item.steps = height;
    } else {
        refuse(path, "pictures of " + std::to_string(width) + " x " + std::to_string(height) +
                         " with " + std::to_string(planes) + " channels do not fit a model of " +
                         std::to_string(channels) + " inputs");
    }
    return item;
}

void read_idx(const std::string& bytes, const std::string& path, int64_t channels, int64_t first,
              int64_t limit, Items& out) {
    const Idx idx = parse_idx(bytes, path);
    if (idx.shape.size() < 3) {
        refuse(path, "the idx file holds no pictures");
    }
    const int64_t height = idx.shape[1], width = idx.shape[2];
    const int64_t planes = idx.shape.size() == 4 ? idx.shape[3] : 1;
    const int64_t end = limit == 0 ? idx.shape[0] : std::min(idx.shape[0], first + limit);
    const auto* samples = reinterpret_cast<const uint8_t*>(idx.values.data());
    for (int64_t i = first; i < end; ++i) {
        out.items.push_back(picture(std::to_string(i), samples + i * height * width * planes, width,
                                    height, planes, channels, path));
    }
    out.images = true;
}

// NumPy's format: magic, version, length of a header that is a Python dictionary, values.
Item read_npy(const std::string& bytes, const std::string& path, int64_t channels) {
    const size_t wide = bytes.size() > 6 && bytes[6] > 1 ? 4 : 2;
    size_t length = 0;
    if (bytes.size() < 8 + wide) {
        refuse(path, "the .npy file is cut short");
    }
    for (size_t i = 0; i < wide; ++i) {
        length |= size_t{static_cast<unsigned char>(bytes[8 + i])} << (8 * i);
    }
    const size_t begin = 8 + wide + length;
    if (length > bytes.size() || begin > bytes.size()) {
        refuse(path, "the .npy file is cut short");
    }
    const std::string header = bytes.substr(8 + wide, length);
    const bool f4 = header.find("'<f4'") != std::string::npos;
    const bool f8 = header.find("'<f8'") != std::string::npos;
    const size_t open = header.find('(');
    if ((!f4 && !f8) || header.find("'fortran_order': False") == std::string::npos ||
        open == std::string::npos) {
        refuse(path, "expected an array of '<f4' or '<f8' in C order, got " + printable(header));
    }
    std::vector<int64_t> shape;
    const char* at = header.data() + open + 1;
    const char* end = header.data() + header.size();
    while (at != end && *at != ')') {
        int64_t size = 0;
        const auto [stop, error] = std::from_chars(at, end, size);
        at = error == std::errc() ? stop : at + 1;
        if (error == std::errc()) {
            shape.push_back(size);
        }
    }
    const bool flat = shape.size() == 1 && channels == 1;
    if (!flat && (shape.size() != 2 || shape[1] != channels)) {
        refuse(path, "expected an array of (steps," + std::to_string(channels) + ")");
    }
    const size_t element = f4 ? 4 : 8;
    const size_t count = (bytes.size() - begin) / element;
    Item item;
    item.steps = shape[0];
    if (shape[0] < 0 || count * element != bytes.size() - begin ||
        count != static_cast<size_t>(shape[0]) * static_cast<size_t>(channels)) {
        refuse(path, "the .npy file holds another number of values than its shape");
    }
    item.values.resize(count);
    for (size_t i = 0; i < count; ++i) {
        if (f4) {
            std::memcpy(&item.values[i], bytes.data() + begin + i * element, element);
        } else {
            double value = 0;
            std::memcpy(&value, bytes.data() + begin + i * element, element);
            item.values[i] = static_cast<float>(value);
        }
    }
    return item;
}

// A line a step; values with commas, semicolons or white space between. A first line that is no
// numbers is a heading.
Item read_text(const std::string& bytes, const std::string& path, int64_t channels) {
    Item item;
    std::string_view text(bytes);
    for (int64_t line = 1; !text.empty(); ++line) {
        const size_t end = std::min(text.find('\n'), text.size());
        std::string_view row = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const size_t before = item.values.size();
        bool numbers = true;
        while (numbers) {
            const size_t start = row.find_first_not_of(" \t\r,;");
            if (start == std::string_view::npos) {
                break;
            }
            row.remove_prefix(start);
            float value = 0;
            const auto [stop, error] = std::from_chars(row.data(), row.data() + row.size(), value);
            numbers = error == std::errc();
            item.values.push_back(value);
            row.remove_prefix(static_cast<size_t>(stop - row.data()));
        }
        const auto got = static_cast<int64_t>(item.values.size() - before);
        if (!numbers && line == 1) {
            item.values.clear();
        } else if (!numbers || (got != channels && got != 0)) {
            refuse(path, "line " + std::to_string(line) + (numbers ? " has " : " is not ") +
                             (numbers ? std::to_string(got) + " numbers, expected "
                                      : std::string("numbers, expected ")) +
                             std::to_string(channels));
        }
    }
    item.steps = static_cast<int64_t>(item.values.size()) / channels;
    return item;
}

}  // namespace

Items read_items(const std::string& path, int64_t channels, int64_t first, int64_t limit) {
    std::string bytes = read_file(path);
    if (is_gzip(bytes)) {
        bytes = inflate_gzip(bytes, path);
    }
    Items result;
    if (is_idx(bytes)) {
        read_idx(bytes, path, channels, first, limit, result);
    } else if (is_png(bytes)) {
        const Image image = decode_png(bytes, path, channels % 3 == 0 ? 3 : 1);
        result.items.push_back(picture(path, image.samples.data(), image.width, image.height,
                                       image.channels, channels, path));
        result.images = true;
    } else {
        result.items.push_back(bytes.starts_with("\x93NUMPY") ? read_npy(bytes, path, channels)
                                                              : read_text(bytes, path, channels));
        result.items.back().name = path;
    }
    if (result.items.empty() || result.items.front().steps == 0) {
        refuse(path, "there is nothing in it");
    }
    return result;
}

std::vector<int64_t> read_labels(const std::string& path) {
    std::string bytes = read_file(path);
    if (is_gzip(bytes)) {
        bytes = inflate_gzip(bytes, path);
    }
    if (!is_idx(bytes)) {
        return parse_tokens(bytes, path);
    }
    const Idx idx = parse_idx(bytes, path);
    if (idx.shape.size() != 1) {
        refuse(path, "the idx file holds no labels");
    }
    std::vector<int64_t> labels;
    for (const char value : idx.values) {
        labels.push_back(static_cast<unsigned char>(value));
    }
    return labels;
}

}  // namespace seqmix_cli
