// All types: the registry's mixers, then those that models are made of.
#pragma once

#include <string_view>

#include "contract/mixer.h"

namespace seqmix {

size_t type_count();
const Mixer* type_at(size_t i);
const Mixer* find_type(std::string_view name);

}  // namespace seqmix
