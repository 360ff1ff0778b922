// Files by way of POSIX calls.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
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
