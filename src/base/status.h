// Status codes and the one-line, per-thread message that goes with a failure.
//
// Inside the library an operation that a caller's input can make fail returns Status; `fail`
// builds the message ("mixer: what, expected, got") in a thread-local buffer of plain bytes, so
// that reporting an error allocates nothing and leaves no destructor behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "seqmix/seqmix.h"

namespace seqmix {

class [[nodiscard]] Status {
  public:
    constexpr Status() = default;
    constexpr explicit Status(seqmix_status code) : code_(code) {}
    constexpr bool ok() const { return code_ == SEQMIX_OK; }
    constexpr seqmix_status code() const { return code_; }

  private:
    seqmix_status code_ = SEQMIX_OK;
};

// Returns from the enclosing function if `expression` failed.
#define SEQMIX_TRY(expression)                                        \
    do {                                                              \
        if (::seqmix::Status status_ = (expression); !status_.ok()) { \
            return status_;                                           \
        }                                                             \
    } while (0)

// A list of sizes printed as "(2,128,8)".
struct Dims {
    const int64_t* data;
    int32_t count;
};

// The calling thread's message: 1 KB, always terminated, truncated at a character boundary.
namespace error_text {
const char* get() noexcept;
void clear() noexcept;
// The last step of every message: what is no UTF-8, or would move a terminal's cursor or line, goes.
void finish() noexcept;
void append(std::string_view text) noexcept;
void append(int64_t value) noexcept;
void append(double value) noexcept;
void append(Dims dims) noexcept;
inline void append(const char* text) noexcept { append(std::string_view(text)); }
inline void append(const std::string& text) noexcept { append(std::string_view(text)); }
inline void append(int32_t value) noexcept { append(static_cast<int64_t>(value)); }
inline void append(uint32_t value) noexcept { append(static_cast<int64_t>(value)); }
inline void append(size_t value) noexcept { append(static_cast<int64_t>(value)); }
inline void append(char value) noexcept { append(std::string_view(&value, 1)); }
}  // namespace error_text

// fail(SEQMIX_ERR_SHAPE, "mamba: tensor 'x' shape ", dims, ", expected ...").
template <class... Parts>
Status fail(seqmix_status code, const Parts&... parts) noexcept {
    error_text::clear();
    (error_text::append(parts), ...);
    error_text::finish();
    return Status(code);
}

const char* status_name(seqmix_status code) noexcept;

}  // namespace seqmix
