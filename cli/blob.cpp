#include "blob.h"

#include <nlohmann/json.hpp>

namespace seqmix_cli {

Json blob_header(const std::string&, const std::string&) { return Json::object(); }

}  // namespace seqmix_cli
