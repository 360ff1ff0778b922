// Little-endian numbers in files, on any machine. The caller has checked the bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace seqmix_cli {

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

}  // namespace seqmix_cli
