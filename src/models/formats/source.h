// Where a message about a file's contents is about: "safetensors: ... in model.safetensors".
#pragma once

#include <string_view>

#include "base/status.h"

namespace seqmix {

struct FileSource {
    const char* format;
    std::string_view name;  // of the file; may be empty

    template <class... Parts>
    Status refuse(seqmix_status code, const Parts&... parts) const {
        if (name.empty()) {
            return fail(code, format, ": ", parts...);
        }
        // The end of a path says more than its beginning.
        constexpr size_t kShown = 240;
        const std::string_view shown =
            name.size() <= kShown ? name : name.substr(name.size() - kShown);
        return fail(code, format, ": ", parts..., " in ", shown);
    }
    template <class... Parts>
    Status bad(const Parts&... parts) const {
        return refuse(SEQMIX_ERR_BAD_FORMAT, parts...);
    }
};

}  // namespace seqmix
