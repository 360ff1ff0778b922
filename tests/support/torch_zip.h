// Torch files made by hand: a zip of stored entries, and pickles put together from their operators.
// Everything is a string of bytes, so that a test can break any rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace seqmix_test {

inline std::string little_endian(uint64_t value, size_t bytes) {
    std::string text;
    for (size_t i = 0; i < bytes; ++i) {
        text.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
    }
    return text;
}

// ------------------------------------------------------------------ zip

using ZipEntries = std::vector<std::pair<std::string, std::string>>;  // name, bytes

struct ZipOptions {
    bool checksums = true;
    bool zip64 = true;            // the records that torch always writes
    bool saturated = false;       // sizes and offsets only in the zip64 fields
    uint16_t method = 0;          // of compression
    uint16_t flags = 0x0808;      // as torch: sizes after the data, names in UTF-8
    std::vector<size_t> offsets;  // of local headers, where a test wants other ones
    std::string comment;
};

inline uint32_t plain_crc32(const std::string& bytes) {
    uint32_t crc = 0xffffffffu;
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
        }
    }
    return crc ^ 0xffffffffu;
}

// As torch writes it: local headers without sizes, data at multiples of 64, descriptors after them.
inline std::string zip_bytes(const ZipEntries& entries, const ZipOptions& options = {}) {
    const auto n = [](uint64_t value, size_t bytes) { return little_endian(value, bytes); };
    constexpr uint64_t kAll = 0xffffffff;
    std::string file, directory;
    for (size_t i = 0; i < entries.size(); ++i) {
        const auto& [name, bytes] = entries[i];
        const uint32_t crc = options.checksums ? plain_crc32(bytes) : 0;
        const size_t offset = i < options.offsets.size() ? options.offsets[i] : file.size();
        const size_t padding = 64 - (file.size() + 34 + name.size()) % 64;
        file += "PK\x03\x04" + n(0, 2) + n(options.flags, 2) + n(options.method, 2) + n(0, 4) +
                n(0, 4) + n(0, 8) + n(name.size(), 2) + n(padding + 4, 2) + name + "FB" +
                n(padding, 2) + std::string(padding, 'Z') + bytes;
        file += "PK\x07\x08" + n(crc, 4) + n(bytes.size(), 4) + n(bytes.size(), 4);
        const uint64_t size = options.saturated ? kAll : bytes.size();
        const std::string extra = options.saturated
                                      ? "XX" + n(3, 2) + "abc" + n(1, 2) + n(24, 2) +
                                            n(bytes.size(), 8) + n(bytes.size(), 8) + n(offset, 8)
                                      : std::string();
        directory += "PK\x01\x02" + n(0, 4) + n(options.flags, 2) + n(options.method, 2) + n(0, 4) +
                     n(crc, 4) + n(size, 4) + n(size, 4) + n(name.size(), 2) + n(extra.size(), 2) +
                     n(0, 2) + n(0, 8) + n(options.saturated ? kAll : offset, 4) + name + extra;
    }
    const size_t begin = file.size();
    file += directory;
    if (options.zip64) {
        const size_t record = file.size();
        file += "PK\x06\x06" + n(44, 8) + n(45, 2) + n(45, 2) + n(0, 8) + n(entries.size(), 8) +
                n(entries.size(), 8) + n(directory.size(), 8) + n(begin, 8);
        file += "PK\x06\x07" + n(0, 4) + n(record, 8) + n(1, 4);
    }
    const bool all = options.saturated;
    file += "PK\x05\x06" + n(0, 4) + n(all ? 0xffff : entries.size(), 2) +
            n(all ? 0xffff : entries.size(), 2) + n(all ? kAll : directory.size(), 4) +
            n(all ? kAll : begin, 4) + n(options.comment.size(), 2) + options.comment;
    return file;
}

// ------------------------------------------------------------------ pickle

namespace pickle {

inline std::string text(const std::string& value) {
    return "X" + little_endian(value.size(), 4) + value;
}
inline std::string integer(int64_t value) {
    return value >= 0 && value < 256 ? "K" + little_endian(static_cast<uint64_t>(value), 1)
                                     : "\x8a\x08" + little_endian(static_cast<uint64_t>(value), 8);
}
inline std::string tuple(const std::vector<std::string>& items) {
    std::string result = "(";
    for (const std::string& item : items) {
        result += item;
    }
    return result + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
    std::vector<std::string> items;
    for (const int64_t value : values) {
        items.push_back(integer(value));
    }
    return tuple(items);
}
inline std::string global(const std::string& module, const std::string& name) {
    return "c" + module + "\n" + name + "\n";
}
inline std::string reduce(const std::string& callable, const std::string& arguments) {
    return callable + arguments + "R";
}
using Items = std::vector<std::pair<std::string, std::string>>;  // key as a text, value
inline std::string set_items(const Items& items) {
    std::string result = "(";
    for (const auto& [key, value] : items) {
        result += text(key) + value;
    }
    return result + "u";
}
inline std::string dict(const Items& items) { return "}" + set_items(items); }
inline std::string ordered_dict() { return reduce(global("collections", "OrderedDict"), ")"); }
inline std::string ordered_dict(const Items& items) { return ordered_dict() + set_items(items); }
inline std::string storage(const std::string& type, const std::string& key, int64_t count) {
    return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) +
           "Q";
}
inline std::string tensor(const std::string& storage, int64_t offset,
                          const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
    return reduce(global("torch._utils", "_rebuild_tensor_v2"),
                  tuple({storage, integer(offset), integers(shape), integers(strides), "\x89",
                         ordered_dict()}));
}
inline std::vector<int64_t> dense(const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) {
        strides[i - 1] = strides[i] * shape[i];
    }
    return strides;
}
inline std::string program(const std::string& body) { return "\x80\x02" + body + "."; }

}  // namespace pickle

// A whole file from a pickle and storages by key.
inline std::string torch_zip_bytes(const std::string& program, const ZipEntries& storages = {},
                                   const ZipOptions& options = {}) {
    ZipEntries entries = {{"archive/data.pkl", program}, {"archive/byteorder", "little"}};
    for (const auto& [key, bytes] : storages) {
        entries.emplace_back("archive/data/" + key, bytes);
    }
    entries.emplace_back("archive/version", "3\n");
    return zip_bytes(entries, options);
}

// A Mamba of one layer (V 8, D 4, E 8, N 2, K 3, R 1) in mamba_ssm's names, with what torch's own
// files have: an OrderedDict with _metadata, the memo, lm_head tied to the embedding, a
// transposed tensor.
inline std::string small_torch_mamba() {
    const std::string layer = "backbone.layers.0.";
    const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {
        {"backbone.embedding.weight", {8, 4}},
        {layer + "norm.weight", {4}},
        {layer + "mixer.A_log", {8, 2}},
        {layer + "mixer.D", {8}},
        {layer + "mixer.conv1d.weight", {8, 1, 3}},
        {layer + "mixer.conv1d.bias", {8}},
        {layer + "mixer.in_proj.weight", {16, 4}},
        {layer + "mixer.x_proj.weight", {5, 8}},
        {layer + "mixer.dt_proj.weight", {8, 1}},
        {layer + "mixer.dt_proj.bias", {8}},
        {layer + "mixer.out_proj.weight", {4, 8}},
        {"backbone.norm_f.weight", {4}},
    };
    pickle::Items items;
    ZipEntries storages;
    uint32_t seed = 1;
    for (size_t i = 0; i < shapes.size(); ++i) {
        const auto& [name, shape] = shapes[i];
        int64_t count = 1;
        for (const int64_t size : shape) {
            count *= size;
        }
        std::string bytes;
        for (int64_t k = 0; k < count; ++k) {
            seed = seed * 1664525u + 1013904223u;
            const float value = static_cast<float>(seed >> 8) / 16777216.0f - 0.5f;
            bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
        }
        const std::string key = std::to_string(i);
        storages.emplace_back(key, bytes);
        std::string storage = pickle::storage("FloatStorage", key, count);
        storage += i == 0 ? std::string("r\x01\x00\x00\x00", 5) : "";
        std::vector<int64_t> strides = pickle::dense(shape);
        if (name.ends_with("in_proj.weight")) {
            strides = {1, 16};
        }
        items.emplace_back(name, pickle::tensor(storage, 0, shape, strides));
    }
    items.emplace_back("lm_head.weight",
                       pickle::tensor(std::string("j\x01\x00\x00\x00", 5), 0, {8, 4}, {4, 1}));
    const std::string metadata = pickle::dict(
        {{"_metadata", pickle::ordered_dict({{"", pickle::dict({{"version", "K\x01"}})}})}});
    const std::string state_dict = pickle::ordered_dict(items) + metadata + "b";
    return torch_zip_bytes(
        pickle::program(pickle::dict({{"epoch", "M\x39\x30"}, {"state_dict", state_dict}})),
        storages);
}

}  // namespace seqmix_test
