// Files in and out: whole files, lists of token ids, .npy arrays. All failures are kCannotRead.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace seqmix_cli {

// The bytes of a file; "-" is stdin.
std::string read_file(const std::string& path);
// The same of a regular file: opening a named pipe would wait for somebody to write. "-" and what the
// shell passes as /dev/stdin or /dev/fd/N are open already, and read whatever they are.
std::string read_regular_file(const std::string& path);

// Token ids separated by white space or commas, or a JSON array of them.
std::vector<int64_t> parse_tokens(std::string_view text, const std::string& path);

// Replaces a file in one step: the new content goes to a temporary file in the same folder, which is
// synced and renamed by commit(). Without commit() the old file stays as it was. What exists and is
// no regular file (a pipe, /dev/stdout) is written directly.
class OutputFile {
  public:
    explicit OutputFile(const std::string& path);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    void write(const void* data, size_t bytes);
    void commit();

  private:
    [[noreturn]] void fail(int error) const;

    std::string path_;
    std::string temporary_;  // empty when written directly
    std::FILE* file_ = nullptr;
};

// A (rows, columns) array of float32, NumPy's format 1.0, filled row by row.
class NpyFile {
  public:
    NpyFile(const std::string& path, int64_t rows, int64_t columns);
    void write(const float* values, size_t count);
    void commit() { file_.commit(); }

  private:
    OutputFile file_;
};

}  // namespace seqmix_cli
