#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "common.h"

namespace seqmix_cli {

namespace {

[[noreturn]] void cannot(const char* what, const std::string& path, int error) {
    throw Failure(kCannotRead, path + ": cannot " + what + ": " + std::strerror(error));
}

}  // namespace

std::string read_file(const std::string& path) {
    const bool from_stdin = path == "-";
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, Close> opened;
    if (!from_stdin) {
        opened.reset(std::fopen(path.c_str(), "rb"));
        if (!opened) {
            cannot("open", path, errno);
        }
    }
    std::FILE* file = from_stdin ? stdin : opened.get();
    // A device may never end (/dev/zero).
    constexpr size_t kMostOfDevice = size_t{64} << 20;
    struct stat info {};
    const bool device = fstat(fileno(file), &info) == 0 && S_ISCHR(info.st_mode);
    std::string content;
    char block[65536];
    while (const size_t got = std::fread(block, 1, sizeof block, file)) {
        content.append(block, got);
        if (device && content.size() > kMostOfDevice) {
            throw Failure(kCannotRead, path + ": a device that gives more than 64 MiB");
        }
    }
    if (std::ferror(file) != 0) {
        cannot("read", from_stdin ? "stdin" : path, errno);
    }
    return content;
}

std::string read_regular_file(const std::string& path) {
    struct stat info {};
    const bool open_already = path == "-" || path == "/dev/stdin" || path.starts_with("/dev/fd/");
    if (!open_already && stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
        throw Failure(kCannotRead, path + ": not a regular file");
    }
    return read_file(path);
}

std::vector<int64_t> parse_tokens(std::string_view text, const std::string& path) {
    const auto refuse = [&](const std::string& why) -> void {
        throw Failure(kCannotRead, path + ": " + why);
    };
    const auto separator = [](char c) { return c == ',' || c == ' ' || (c >= '\t' && c <= '\r'); };

    std::vector<int64_t> ids;
    const size_t start = text.find_first_not_of(" \t\r\n");
    if (start != std::string_view::npos && text[start] == '[') {
        const nlohmann::json list = nlohmann::json::parse(text, nullptr, false);
        if (!list.is_array()) {
            refuse("not a JSON array of token ids");
        }
        ids.reserve(list.size());
        for (const nlohmann::json& id : list) {
            if (!id.is_number_integer()) {
                refuse("item " + std::to_string(ids.size()) + " of the array is no integer");
            }
            ids.push_back(id.get<int64_t>());
        }
        return ids;
    }
    const char* at = text.data();
    const char* end = at + text.size();
    while (true) {
        while (at != end && separator(*at)) {
            ++at;
        }
        if (at == end) {
            return ids;
        }
        int64_t id = 0;
        const auto [next, error] = std::from_chars(at, end, id);
        if (error != std::errc() || (next != end && !separator(*next))) {
            refuse("item " + std::to_string(ids.size()) + " is no token id");
        }
        ids.push_back(id);
        at = next;
    }
}

OutputFile::OutputFile(const std::string& path) : path_(path) {
    struct stat existing {};
    const bool exists = stat(path.c_str(), &existing) == 0;
    if (exists && !S_ISREG(existing.st_mode)) {
        file_ = std::fopen(path.c_str(), "wb");
        if (file_ == nullptr) {
            fail(errno);
        }
        return;
    }
    temporary_ = path + ".XXXXXX";
    const int descriptor = mkstemp(temporary_.data());
    if (descriptor < 0) {
        const int error = errno;
        temporary_.clear();
        fail(error);
    }
    // mkstemp makes the file private; a replaced file keeps its mode, a new one gets the usual one.
    mode_t mode = existing.st_mode & 07777;
    if (!exists) {
        const mode_t mask = umask(0);
        umask(mask);
        mode = 0666 & ~mask;
    }
    file_ = fdopen(descriptor, "wb");
    if (file_ == nullptr || fchmod(descriptor, mode) != 0) {
        const int error = errno;
        unlink(temporary_.c_str());
        if (file_ == nullptr) {
            close(descriptor);
        } else {
            std::fclose(file_);
        }
        fail(error);
    }
}

OutputFile::~OutputFile() {
    if (file_ != nullptr) {
        std::fclose(file_);
        if (!temporary_.empty()) {
            unlink(temporary_.c_str());
        }
    }
}

void OutputFile::write(const void* data, size_t bytes) {
    if (bytes != 0 && std::fwrite(data, 1, bytes, file_) != bytes) {
        fail(errno);
    }
}

void OutputFile::commit() {
    if (std::fflush(file_) != 0 || (!temporary_.empty() && fsync(fileno(file_)) != 0)) {
        fail(errno);
    }
    const int closed = std::fclose(file_);
    const int close_error = errno;
    file_ = nullptr;
    if (temporary_.empty()) {
        if (closed != 0) {
            fail(close_error);
        }
        return;
    }
    if (closed != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
        const int error = closed != 0 ? close_error : errno;
        unlink(temporary_.c_str());
        fail(error);
    }
    // The new name is safe once its folder is; some file systems cannot sync folders.
    const size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        static_cast<void>(fsync(descriptor));
        close(descriptor);
    }
}

void OutputFile::fail(int error) const { cannot("write", path_, error); }

NpyFile::NpyFile(const std::string& path, int64_t rows, int64_t columns) : file_(path) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                         std::to_string(rows) + ", " + std::to_string(columns) + "), }";
    // Magic, version and length take 10 bytes; the data start at a multiple of 64.
    header.append(63 - (10 + header.size()) % 64, ' ');
    header += '\n';
    const unsigned char lead[10] = {0x93,
                                    'N',
                                    'U',
                                    'M',
                                    'P',
                                    'Y',
                                    1,
                                    0,
                                    static_cast<unsigned char>(header.size() & 0xff),
                                    static_cast<unsigned char>(header.size() >> 8)};
    file_.write(lead, sizeof lead);
    file_.write(header.data(), header.size());
}

void NpyFile::write(const float* values, size_t count) {
    if constexpr (std::endian::native == std::endian::little) {
        file_.write(values, count * sizeof(float));
    } else {
        for (size_t i = 0; i < count; ++i) {
            const uint32_t swapped = __builtin_bswap32(std::bit_cast<uint32_t>(values[i]));
            file_.write(&swapped, sizeof swapped);
        }
    }
}

}  // namespace seqmix_cli
