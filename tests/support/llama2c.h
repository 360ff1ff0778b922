// Files of llama2.c made by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace seqmix_test {

struct Llama2cHeader {
    int32_t dim = 8, hidden = 6, layers = 2, heads = 4, kv_heads = 2, vocab = 5, tokens = 10;
};

inline void append_i32(std::string& bytes, int32_t value) {
    for (int i = 0; i < 4; ++i) {
        bytes.push_back(static_cast<char>((static_cast<uint32_t>(value) >> (8 * i)) & 0xff));
    }
}

// The header of version 0, or of a later one, as far as the weights.
inline std::string llama2c_header(const Llama2cHeader& h, int32_t version, bool shared) {
    std::string bytes;
    if (version > 0) {
        append_i32(bytes, 0x616b3432);
        append_i32(bytes, version);
    }
    const bool negative = version == 0 && !shared;
    for (const int32_t value : {h.dim, h.hidden, h.layers, h.heads, h.kv_heads,
                                negative ? -h.vocab : h.vocab, h.tokens}) {
        append_i32(bytes, value);
    }
    if (version > 0) {
        bytes.push_back(shared ? 1 : 0);
        bytes.resize(256);
    }
    return bytes;
}

// A whole file; every float has another value.
inline std::string llama2c_bytes(const Llama2cHeader& h = {}, int32_t version = 0,
                                 bool shared = true) {
    const int64_t D = h.dim, I = h.hidden, n = h.layers, V = h.vocab;
    const int64_t head = D / h.heads, K = head * h.kv_heads;
    int64_t count = V * D + D + n * (2 * D + 2 * D * D + 2 * K * D + 3 * I * D);
    count += version == 0 ? int64_t{h.tokens} * head : 0;
    count += shared ? 0 : V * D;
    std::string bytes = llama2c_header(h, version, shared);
    for (int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<float>(static_cast<double>(i % 97) / 97 - 0.5);
        char raw[4];
        std::memcpy(raw, &value, 4);
        bytes.append(raw, 4);
    }
    return bytes;
}

}  // namespace seqmix_test
