// A small safetensors reader for tests, independent of the library's. It reads the whole file and
// widens every element to double, or to int64 for integer tensors. Errors are exceptions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace seqmix_test {

double half_to_double(uint16_t bits);      // IEEE binary16
double bfloat16_to_double(uint16_t bits);  // the upper half of a float

class SafetensorsFile {
  public:
    explicit SafetensorsFile(const std::string& path);

    bool has(const std::string& name) const { return entries_.count(name) != 0; }
    std::vector<std::string> names() const;
    // "F32", "I64" ...
    const std::string& dtype(const std::string& name) const { return entry(name).dtype; }
    const std::vector<int64_t>& shape(const std::string& name) const { return entry(name).shape; }
    // All elements in C order; any dtype that the reader knows.
    std::vector<double> doubles(const std::string& name) const;
    // All elements in C order; integer dtypes only.
    std::vector<int64_t> integers(const std::string& name) const;

    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    // "" when absent.
    std::string metadata(const std::string& key) const;

  private:
    struct Entry {
        std::string dtype;
        std::vector<int64_t> shape;
        size_t begin = 0, end = 0;  // in data_
    };
    const Entry& entry(const std::string& name) const;

    std::string path_;
    std::map<std::string, Entry> entries_;
    std::map<std::string, std::string> metadata_;
    std::vector<unsigned char> data_;
};

// A whole file as bytes. Throws when it cannot be read.
std::vector<unsigned char> read_file(const std::string& path);

}  // namespace seqmix_test
