#include "safetensors_file.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace seqmix_test {

namespace {

template <class T>
T load(const unsigned char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof(T));
    return value;
}

size_t element_size(const std::string& dtype) {
    static const std::map<std::string, size_t> sizes = {
        {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
        {"I32", 4}, {"I8", 1},  {"U8", 1},  {"BOOL", 1},
    };
    const auto it = sizes.find(dtype);
    if (it == sizes.end()) {
        throw std::runtime_error("safetensors dtype " + dtype + " is unknown to the test reader");
    }
    return it->second;
}

}  // namespace

double half_to_double(uint16_t bits) {
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    const int exponent = (bits >> 10) & 0x1f;
    const int fraction = bits & 0x3ff;
    if (exponent == 0) {
        return sign * std::ldexp(fraction, -24);
    }
    if (exponent == 0x1f) {
        return fraction == 0 ? sign * INFINITY : NAN;
    }
    return sign * std::ldexp(1024 + fraction, exponent - 25);
}

double bfloat16_to_double(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
}

std::vector<unsigned char> read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) {
        throw std::runtime_error("cannot open " + path);
    }
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
    const std::vector<unsigned char> bytes = read_file(path);
    if (bytes.size() < 8) {
        throw std::runtime_error(path + ": too short");
    }
    const uint64_t header = load<uint64_t>(bytes.data());
    if (header > bytes.size() - 8) {
        throw std::runtime_error(path + ": header passes the end");
    }
    const auto first = bytes.begin() + 8;
    const auto last = first + static_cast<std::ptrdiff_t>(header);
    const nlohmann::json json = nlohmann::json::parse(first, last);
    data_.assign(last, bytes.end());
    for (const auto& [name, value] : json.items()) {
        if (name == "__metadata__") {
            for (const auto& [key, text] : value.items()) {
                metadata_[key] = text.get<std::string>();
            }
            continue;
        }
        Entry entry;
        entry.dtype = value.at("dtype").get<std::string>();
        entry.shape = value.at("shape").get<std::vector<int64_t>>();
        entry.begin = value.at("data_offsets").at(0).get<size_t>();
        entry.end = value.at("data_offsets").at(1).get<size_t>();
        size_t count = 1;
        for (const int64_t size : entry.shape) {
            count *= static_cast<size_t>(size);
        }
        if (entry.end > data_.size() || entry.begin > entry.end ||
            entry.end - entry.begin != count * element_size(entry.dtype)) {
            throw std::runtime_error(path + ": offsets of " + name + " are wrong");
        }
        entries_[name] = entry;
    }
}

std::vector<std::string> SafetensorsFile::names() const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) {
        result.push_back(name);
    }
    return result;
}

std::string SafetensorsFile::metadata(const std::string& key) const {
    const auto it = metadata_.find(key);
    return it == metadata_.end() ? "" : it->second;
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
    const auto it = entries_.find(name);
    if (it == entries_.end()) {
        throw std::runtime_error(path_ + ": no tensor " + name);
    }
    return it->second;
}

std::vector<double> SafetensorsFile::doubles(const std::string& name) const {
    const Entry& e = entry(name);
    const size_t size = element_size(e.dtype);
    std::vector<double> values;
    values.reserve((e.end - e.begin) / size);
    for (size_t at = e.begin; at < e.end; at += size) {
        const unsigned char* p = data_.data() + at;
        if (e.dtype == "F64") {
            values.push_back(load<double>(p));
        } else if (e.dtype == "F32") {
            values.push_back(load<float>(p));
        } else if (e.dtype == "F16") {
            values.push_back(half_to_double(load<uint16_t>(p)));
        } else if (e.dtype == "BF16") {
            values.push_back(bfloat16_to_double(load<uint16_t>(p)));
        } else if (e.dtype == "I64") {
            values.push_back(static_cast<double>(load<int64_t>(p)));
        } else if (e.dtype == "I32") {
            values.push_back(load<int32_t>(p));
        } else if (e.dtype == "I8") {
            values.push_back(load<int8_t>(p));
        } else {
            values.push_back(*p);
        }
    }
    return values;
}

std::vector<int64_t> SafetensorsFile::integers(const std::string& name) const {
    const Entry& e = entry(name);
    const size_t size = element_size(e.dtype);
    std::vector<int64_t> values;
    for (size_t at = e.begin; at < e.end; at += size) {
        const unsigned char* p = data_.data() + at;
        if (e.dtype == "I64") {
            values.push_back(load<int64_t>(p));
        } else if (e.dtype == "I32") {
            values.push_back(load<int32_t>(p));
        } else if (e.dtype == "I8") {
            values.push_back(load<int8_t>(p));
        } else if (e.dtype == "U8" || e.dtype == "BOOL") {
            values.push_back(*p);
        } else {
            throw std::runtime_error(path_ + ": " + name + " is " + e.dtype + ", not integers");
        }
    }
    return values;
}

}  // namespace seqmix_test
