// The exception wall: every exported body runs inside `guard`.
#pragma once

#include <new>

#include "base/status.h"

namespace seqmix {

template <class Body>
seqmix_status guard(Body&& body) noexcept {
    try {
        return body().code();
    } catch (const std::bad_alloc&) {
        return fail(SEQMIX_ERR_NO_MEMORY, "out of memory").code();
    } catch (...) {
        return fail(SEQMIX_ERR_INTERNAL, "internal error").code();
    }
}

// Returns from the body with NULL_ARGUMENT if a required pointer is NULL.
#define SEQMIX_REQUIRE(function, pointer)                                                         \
    do {                                                                                          \
        if ((pointer) == nullptr) {                                                               \
            return ::seqmix::fail(SEQMIX_ERR_NULL_ARGUMENT, function ": '" #pointer "' is NULL"); \
        }                                                                                         \
    } while (0)

// The two-call form for text: *needed counts the terminating zero.
inline Status copy_text(const char* function, std::string_view text, char* buf, size_t cap,
                        size_t* needed) {
    *needed = text.size() + 1;
    if (cap < text.size() + 1) {
        return fail(SEQMIX_ERR_BUFFER_TOO_SMALL, function, ": the text takes ", text.size() + 1,
                    " bytes, the buffer has ", cap);
    }
    if (buf == nullptr) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, function, ": 'buf' is NULL");
    }
    text.copy(buf, text.size());
    buf[text.size()] = '\0';
    return Status();
}

}  // namespace seqmix
