// Checkpoints made by hand for tests: safetensors files as bytes, from name and shape lists or from
// any header text, and folders to put them in.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace seqmix_test {

struct NamedShape {
    std::string name;
    std::vector<int64_t> shape;
    std::string dtype = "F32";
    int64_t width = 4;
};

// The header's length, the header, `size` bytes of zeros.
inline std::string safetensors_bytes(std::string_view header, size_t size) {
    std::string bytes;
    for (size_t i = 0; i < 8; ++i) {
        bytes.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xff));
    }
    bytes.append(header);
    bytes.append(size, '\0');
    return bytes;
}

inline std::string safetensors_bytes(const std::vector<NamedShape>& tensors) {
    std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
    int64_t begin = 0;
    for (const NamedShape& tensor : tensors) {
        int64_t end = tensor.width;
        std::string shape;
        for (const int64_t size : tensor.shape) {
            end *= size;
            shape += (shape.empty() ? "" : ",") + std::to_string(size);
        }
        end += begin;
        header += ",\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[" +
                  shape + "],\"data_offsets\":[" + std::to_string(begin) + "," +
                  std::to_string(end) + "]}";
        begin = end;
    }
    return safetensors_bytes(header + "}", static_cast<size_t>(begin));
}

inline std::string read_bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw std::runtime_error("cannot read " + path);
    }
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A folder of its own, deleted with everything in it.
class TempFolder {
  public:
    TempFolder() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "seqmix_test_XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) {
            throw std::runtime_error("cannot make a folder like " + pattern);
        }
        path_ = pattern;
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;

    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return path_ + "/" + name; }
    std::string write(const std::string& name, std::string_view bytes) const {
        // A new file each time: an open checkpoint may still map the old one.
        std::error_code ignored;
        std::filesystem::remove(file(name), ignored);
        std::ofstream out(file(name), std::ios::binary);
        out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        if (!out.flush()) {
            throw std::runtime_error("cannot write " + file(name));
        }
        return file(name);
    }

  private:
    std::string path_;
};

}  // namespace seqmix_test
