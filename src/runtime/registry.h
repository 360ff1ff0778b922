// The mixers of mixers.inc, by name. The types of models/ are added to them in capi/types.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "contract/mixer.h"

namespace seqmix {

std::span<const Mixer* const> registered_mixers();
const Mixer* find_mixer(std::string_view type);  // null if unknown
// The schema as JSON; include/seqmix/seqmix-schema.json describes it.
std::string schema_json(const Schema& schema);

}  // namespace seqmix
