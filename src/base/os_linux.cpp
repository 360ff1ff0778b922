// Files by way of POSIX calls.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <system_error>
#include <utility>

#include "base/mapped_file.h"
#include "base/memory.h"

namespace seqmix {
namespace {

class Descriptor {
  public:
    explicit Descriptor(int value) : value_(value) {}
    ~Descriptor() {
        if (value_ >= 0) {
            ::close(value_);
        }
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int value() const { return value_; }

  private:
    int value_;
};

constexpr const char* kPart = ".part";

Status io_failure(const char* action, const std::string& path, int code) {
    // The end of a path says more than its beginning, and the reason must not be cut off.
    constexpr size_t kShown = 240;
    const bool whole = path.size() <= kShown;
    return fail(SEQMIX_ERR_IO, "cannot ", action, whole ? " '" : " '...",
                std::string_view(path).substr(whole ? 0 : path.size() - kShown),
                "': ", std::generic_category().message(code));
}

}  // namespace

Status MappedFile::open(const std::string& path, std::shared_ptr<const MappedFile>& out) {
    if (path.find('\0') != std::string::npos) {
        return fail(SEQMIX_ERR_IO, "cannot open '", path, "': the path holds a NUL byte");
    }
    // O_NONBLOCK: opening a pipe that nobody writes to must not wait.
    int raw = -1;
    do {
        raw = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (raw < 0 && errno == EINTR);
    if (raw < 0) {
        return io_failure("open", path, errno);
    }
    const Descriptor file(raw);
    struct stat info {};
    if (::fstat(file.value(), &info) != 0) {
        return io_failure("examine", path, errno);
    }
    if (!S_ISREG(info.st_mode)) {
        return fail(SEQMIX_ERR_IO, "cannot read '", path,
                    "': ", S_ISDIR(info.st_mode) ? "it is a folder" : "it is not a regular file");
    }
    const uint64_t bytes = static_cast<uint64_t>(info.st_size);
    if (bytes > static_cast<uint64_t>(PTRDIFF_MAX)) {
        return fail(SEQMIX_ERR_IO, "cannot map '", path, "': ", bytes, " bytes");
    }
    const size_t size = static_cast<size_t>(bytes);
    void* address = nullptr;
    if (size > 0) {
        address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value(), 0);
        if (address == MAP_FAILED) {
            return io_failure("map", path, errno);
        }
    }
    try {
        // The constructor takes the mapping over; until then it is ours to undo.
        std::string own_path = path;
        auto* mapped =
            new MappedFile(std::move(own_path), static_cast<const unsigned char*>(address), size);
        address = nullptr;
        out.reset(mapped);
    } catch (...) {
        if (address != nullptr) {
            ::munmap(address, size);
        }
        throw;
    }
    return {};
}

MappedFile::MappedFile(std::string path, const unsigned char* data, size_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

MappedFile::~MappedFile() {
    if (data_ != nullptr) {
        ::munmap(const_cast<unsigned char*>(data_), size_);
    }
}

void MappedFile::advise(Advice advice, size_t offset, size_t length) const noexcept {
    if (data_ == nullptr || offset >= size_) {
        return;
    }
    length = std::min(length, size_ - offset);
    // madvise wants a page's address; whole leading pages are included.
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t begin = offset / page * page;
    int value = MADV_NORMAL;
    switch (advice) {
        case Advice::normal: break;
        case Advice::sequential: value = MADV_SEQUENTIAL; break;
        case Advice::random: value = MADV_RANDOM; break;
        case Advice::will_need: value = MADV_WILLNEED; break;
        case Advice::unneeded: value = MADV_DONTNEED; break;
    }
    const int saved = errno;
    (void)::madvise(const_cast<unsigned char*>(data_) + begin, length + (offset - begin), value);
    errno = saved;
}

void prefer_huge_pages(void* data, size_t size) noexcept {
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t skipped = (page - reinterpret_cast<uintptr_t>(data) % page) % page;
    if (size <= skipped) {
        return;
    }
    const int saved = errno;
    (void)::madvise(static_cast<std::byte*>(data) + skipped, (size - skipped) / page * page,
                    MADV_HUGEPAGE);
    errno = saved;
}

NewFile::NewFile(std::string path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

NewFile::~NewFile() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
        ::unlink((path_ + kPart).c_str());
    }
}

Status NewFile::create(const std::string& path, std::unique_ptr<NewFile>& out) {
    if (path.find('\0') != std::string::npos) {
        return fail(SEQMIX_ERR_IO, "cannot write '", path, "': the path holds a NUL byte");
    }
    std::unique_ptr<NewFile> file(new NewFile(path, -1));
    do {
        file->descriptor_ =
            ::open((path + kPart).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    } while (file->descriptor_ < 0 && errno == EINTR);
    if (file->descriptor_ < 0) {
        return io_failure("write", path, errno);
    }
    out = std::move(file);
    return {};
}

Status NewFile::write(const void* data, size_t size) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    while (size > 0) {
        const ssize_t written = ::write(descriptor_, bytes, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            return io_failure("write", path_, errno);
        }
        bytes += written;
        size -= static_cast<size_t>(written);
    }
    return {};
}

Status NewFile::finish() {
    const int closed = ::close(std::exchange(descriptor_, -1));
    const std::string part = path_ + kPart;
    if (closed != 0 || ::rename(part.c_str(), path_.c_str()) != 0) {
        const int code = errno;
        ::unlink(part.c_str());
        return io_failure("write", path_, code);
    }
    return {};
}

std::vector<std::string> names_in_folder(const std::string& folder, std::string_view ending) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
    if (open == nullptr) return names;
    while (const dirent* entry = ::readdir(open.get())) {
        if (std::string_view(entry->d_name).ends_with(ending)) {
            names.emplace_back(entry->d_name);
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

PathKind path_kind(const std::string& path) {
    struct stat info {};
    if (path.find('\0') != std::string::npos || ::stat(path.c_str(), &info) != 0) {
        return PathKind::missing;
    }
    return S_ISREG(info.st_mode)   ? PathKind::file
           : S_ISDIR(info.st_mode) ? PathKind::folder
                                   : PathKind::other;
}

}  // namespace seqmix
