// Numbers in files: little-endian on any machine, and the checksum that goes with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace seqmix_cli {

// The caller has checked the bounds.
inline uint64_t load_bytes(std::string_view bytes, size_t at, size_t count) {
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) {
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    }
    return value;
}
inline uint32_t load_u32(std::string_view bytes, size_t at) {
    return static_cast<uint32_t>(load_bytes(bytes, at, 4));
}
inline uint64_t load_u64(std::string_view bytes, size_t at) { return load_bytes(bytes, at, 8); }

inline void store_bytes(std::string& to, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        to += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
    }
}
inline void store_u32(std::string& to, uint32_t value) { store_bytes(to, value, 4); }
inline void store_u64(std::string& to, uint64_t value) { store_bytes(to, value, 8); }

// CRC-32 as in zip and PNG.
inline uint32_t crc32(std::string_view bytes) {
    uint32_t crc = 0xffffffffu;
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
        }
    }
    return ~crc;
}

}  // namespace seqmix_cli
