// The JSON library, always with the same settings: its assertions would end the host's process, and
// a translation unit with other settings would break the one-definition rule. The library uses its
// parser alone (models/formats/json.cpp): the destructor of nlohmann::json allocates.
#pragma once

#ifdef JSON_ASSERT
#error "JSON_ASSERT is set elsewhere"
#endif
#define JSON_ASSERT(condition) static_cast<void>(0)
#include <nlohmann/json.hpp>
