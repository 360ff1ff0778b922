// Reading the caller's growable structs (struct_size first) into the ones this library knows.
#pragma once

#include <cstddef>
#include <cstring>

#include "base/status.h"

namespace seqmix {

// Copies what both sides know; the rest of *known keeps its value. Bytes that only the caller knows
// must be zero. A null `given` leaves *known as it is.
template <class Options>
Status read_options(const Options* given, const char* name, Options* known) {
    if (given == nullptr) {
        return Status();
    }
    uint32_t size = 0;
    std::memcpy(&size, given, sizeof size);
    if (size < sizeof size) {
        return fail(SEQMIX_ERR_VERSION, name, ": struct_size is ", size, ", expected ",
                    sizeof(Options));
    }
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    for (size_t i = sizeof(Options); i < size; ++i) {
        if (bytes[i] != 0) {
            return fail(SEQMIX_ERR_VERSION, name, ": struct_size is ", size,
                        ", this library knows ", sizeof(Options),
                        " bytes and a later field is set");
        }
    }
    std::memcpy(static_cast<void*>(known), given, size < sizeof(Options) ? size : sizeof(Options));
    known->struct_size = sizeof(Options);
    return Status();
}

// Flags that this library does not know are a newer caller's.
inline Status check_flags(uint32_t flags, uint32_t known, const char* name) {
    if ((flags & ~known) != 0) {
        return fail(SEQMIX_ERR_VERSION, name, ": flags is ", flags, ", this library knows ", known);
    }
    return Status();
}

}  // namespace seqmix
