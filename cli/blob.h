// What can be read of a state blob without the layer that it belongs to.
#pragma once

#include <string>

#include "common.h"

namespace seqmix_cli {

// The header's fields; throws kCannotRead when the blob is none or is damaged.
Json blob_header(const std::string& blob, const std::string& path);

}  // namespace seqmix_cli
