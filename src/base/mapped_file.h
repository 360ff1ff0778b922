// A regular file mapped for reading. Tensors of an open checkpoint point into it, so it is shared:
// whoever holds views holds the shared_ptr too.
//
// The bytes are the file's, not a copy: a file that is overwritten in place while mapped changes
// under its readers, and one that is cut short makes them fault. Replacing a file by renaming a new
// one over it is safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace seqmix {

class MappedFile {
  public:
    // unneeded: the pages leave this process; touched again, they are read again.
    enum class Advice : uint8_t { normal, sequential, random, will_need, unneeded };

    // Refuses what is not a regular file. An empty file has size 0 and a null address.
    static Status open(const std::string& path, std::shared_ptr<const MappedFile>& out);

    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const unsigned char* data() const { return data_; }
    size_t size() const { return size_; }
    std::string_view text() const {
        return {reinterpret_cast<const char*>(data_), data_ == nullptr ? 0 : size_};
    }
    const std::string& path() const { return path_; }

    // A hint to the system about bytes [offset, offset + length); never fails.
    void advise(Advice advice, size_t offset, size_t length) const noexcept;

  private:
    MappedFile(std::string path, const unsigned char* data, size_t size);

    std::string path_;
    const unsigned char* data_;
    size_t size_;
};

// A file that is written front to back, beside its place (PATH.part), and takes it when it is complete.
class NewFile {
  public:
    static Status create(const std::string& path, std::unique_ptr<NewFile>& out);
    ~NewFile();  // one that was not finished is removed
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;

    Status write(const void* data, size_t size);
    Status finish();

  private:
    NewFile(std::string path, int descriptor);

    std::string path_;
    int descriptor_;  // -1: finished
};

// What a path leads to; `missing` also where it cannot be looked up.
enum class PathKind : uint8_t { missing, file, folder, other };
PathKind path_kind(const std::string& path);
// Names in a folder that end in `ending`, sorted; none where it cannot be read.
std::vector<std::string> names_in_folder(const std::string& folder, std::string_view ending);

}  // namespace seqmix
