#include "blob.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "bytes.h"

namespace seqmix_cli {

namespace {

constexpr std::string_view kMagic = "SEQMIXST";
constexpr size_t kHeader = 56;
constexpr uint32_t kVersion = 1;

// Reads forward and refuses to pass the end.
class Reader {
  public:
    Reader(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

    uint32_t u32() { return load_u32(take(4), 0); }
    uint64_t u64() { return load_u64(take(8), 0); }
    int64_t i64() { return static_cast<int64_t>(u64()); }
    std::string_view take(uint64_t count) {
        if (count > bytes_.size() - at_) {
            damaged("it ends early");
        }
        const std::string_view taken = bytes_.substr(at_, count);
        at_ += count;
        return taken;
    }
    // Skips count * size bytes without overflowing.
    void skip(uint64_t count, uint64_t size) {
        if (size != 0 && count > (bytes_.size() - at_) / size) {
            damaged("it ends early");
        }
        at_ += count * size;
    }
    uint64_t left() const { return bytes_.size() - at_; }
    [[noreturn]] void damaged(const std::string& what) const {
        throw Failure(kCannotRead, path_ + ": state blob: " + what);
    }

  private:
    std::string_view bytes_;
    const std::string& path_;
    size_t at_ = 0;
};

std::string hexadecimal(uint64_t value) {
    char text[20];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return text;
}

Json read_tensor(Reader& in, uint64_t rows) {
    const std::string name(in.take(in.u32()));
    Json shape = Json::array();
    const uint32_t dimensions = in.u32();
    uint64_t count = 1;
    for (uint32_t axis = 0; axis < dimensions; ++axis) {
        const uint64_t size = in.u64();
        shape.push_back(size);
        if (size != 0 && count > in.left() / size) {
            in.damaged("a tensor larger than the file");
        }
        count *= size;
    }
    if (rows != 0 && count > in.left() / rows) {
        in.damaged("a tensor larger than the file");
    }
    in.skip(rows * count, sizeof(float));
    return {{"name", name}, {"shape", shape}};
}

}  // namespace

Json blob_contents(const std::string& blob, const std::string& path) {
    Reader in(blob, path);
    if (blob.size() < kHeader + 4 || !blob.starts_with(kMagic)) {
        in.damaged("no state that the library saved");
    }
    in.take(kMagic.size());
    const uint32_t version = in.u32();
    const uint32_t name_bytes = in.u32();
    const uint64_t total = in.u64();
    if (total != blob.size()) {
        in.damaged(total > blob.size() ? "cut short" : "another length than its header says");
    }
    const std::string_view summed = std::string_view(blob).substr(0, blob.size() - 4);
    if (load_u32(blob, blob.size() - 4) != crc32(summed)) {
        in.damaged("its checksum does not match");
    }
    if (version != kVersion) {
        in.damaged("format version " + std::to_string(version) + ", known here is " +
                   std::to_string(kVersion));
    }
    const uint64_t fingerprint = in.u64();
    const uint64_t weights = in.u64();
    const uint64_t rows = in.u64();
    const uint32_t leaf_count = in.u32();
    if (in.u32() != 0) {
        in.damaged("an element type that is not known here");
    }
    const std::string type(in.take(name_bytes));

    Json leaves = Json::array();
    for (uint32_t leaf = 0; leaf < leaf_count; ++leaf) {
        const uint32_t tensor_count = in.u32();
        Json positions = Json::array();
        for (uint64_t row = 0; row < rows; ++row) {
            positions.push_back(in.i64());
        }
        in.skip(rows, sizeof(int64_t));
        Json tensors = Json::array();
        for (uint32_t tensor = 0; tensor < tensor_count; ++tensor) {
            tensors.push_back(read_tensor(in, rows));
        }
        leaves.push_back({{"positions", positions}, {"tensors", tensors}});
    }
    if (in.left() != 4) {
        in.damaged("bytes to spare");
    }
    return {{"version", version},
            {"type", type},
            {"bytes", total},
            {"fingerprint", hexadecimal(fingerprint)},
            {"weights_id", hexadecimal(weights)},
            {"rows", rows},
            {"leaves", leaves}};
}

}  // namespace seqmix_cli
