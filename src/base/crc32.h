// CRC-32 as in IEEE 802.3, zip and PNG: reflected polynomial 0xEDB88320, start and end inverted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace seqmix {

uint32_t crc32(const void* data, size_t size);

}  // namespace seqmix
