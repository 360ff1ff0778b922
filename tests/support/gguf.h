// GGUF files made by hand: keys, tensors and their values in the types that the library reads. What
// must be wrong in a test is set by hand (`version`, `raw_key`, the members of a tensor).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace seqmix_test {

enum class GgufType : uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };

inline void append_number(std::string& bytes, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        bytes.push_back(static_cast<char>(value >> (8 * i) & 0xff));
    }
}

inline std::string gguf_text(std::string_view text) {
    std::string bytes;
    append_number(bytes, text.size(), 8);
    return bytes.append(text);
}

// Round to nearest, ties to even; of values that binary16 holds without overflow.
inline uint16_t half_bits(float value) {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double size = std::fabs(static_cast<double>(value));
    int exponent = 0;
    std::frexp(size, &exponent);                         // size < 2^exponent
    exponent = std::max(exponent, -13);                  // below, subnormal
    const double unit = std::ldexp(1.0, exponent - 11);  // of the last place
    const double rounded = std::nearbyint(size / unit);  // up to 2^11
    const double normal = rounded * unit;
    if (normal < std::ldexp(1.0, -14)) {
        return static_cast<uint16_t>(sign | static_cast<uint16_t>(rounded));
    }
    std::frexp(normal, &exponent);
    const auto fraction = static_cast<uint16_t>(std::ldexp(normal, 11 - exponent) - 1024);
    return static_cast<uint16_t>(sign | (exponent + 14) << 10 | fraction);
}

inline uint32_t float_bits(float value) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    return bits;
}

// As llama.cpp's converter writes them. Q8_0: whole blocks of 32.
inline std::string gguf_values(GgufType type, const std::vector<float>& values) {
    std::string bytes;
    for (size_t i = 0; i < values.size(); ++i) {
        const uint32_t bits = float_bits(values[i]);
        switch (type) {
            case GgufType::f32: append_number(bytes, bits, 4); break;
            case GgufType::f16: append_number(bytes, half_bits(values[i]), 2); break;
            case GgufType::bf16:
                append_number(bytes, (bits + 0x7fff + (bits >> 16 & 1)) >> 16, 2);
                break;
            case GgufType::q8_0: {
                float most = 0;
                for (size_t j = i; j < i + 32; ++j) most = std::max(most, std::fabs(values[j]));
                const float scale = most / 127, inverse = scale == 0 ? 0 : 1 / scale;
                append_number(bytes, half_bits(scale), 2);
                for (size_t j = i; j < i + 32; ++j) {
                    bytes.push_back(static_cast<char>(std::lround(values[j] * inverse)));
                }
                i += 31;
            }
        }
    }
    return bytes;
}

struct GgufTensor {
    std::string name;
    std::vector<uint64_t> axes;  // fastest first, as the file has them
    uint32_t type = 0;
    std::string data;
    std::optional<uint64_t> offset = {};  // else the right one
};

class GgufFile {
  public:
    uint32_t version = 3;
    uint64_t alignment = 32;  // of the data; the key is the caller's
    std::vector<GgufTensor> tensors;

    // Types: 4 u32, 6 f32, 7 bool, 8 text, 9 array.
    GgufFile& raw_key(std::string_view name, uint32_t type, std::string_view value) {
        std::string bytes = gguf_text(name);
        append_number(bytes, type, 4);
        keys_.emplace_back(name, bytes.append(value));
        return *this;
    }
    GgufFile& key(std::string_view name, uint32_t value) {
        std::string bytes;
        append_number(bytes, value, 4);
        return raw_key(name, 4, bytes);
    }
    GgufFile& key(std::string_view name, int value) {
        return key(name, static_cast<uint32_t>(value));
    }
    GgufFile& key(std::string_view name, float value) {
        std::string bytes;
        append_number(bytes, float_bits(value), 4);
        return raw_key(name, 6, bytes);
    }
    GgufFile& key(std::string_view name, bool value) {
        return raw_key(name, 7, std::string(1, value ? 1 : 0));
    }
    GgufFile& key(std::string_view name, const char* value) {
        return raw_key(name, 8, gguf_text(value));
    }
    GgufFile& texts(std::string_view name, const std::vector<std::string>& values) {
        std::string bytes;
        append_number(bytes, 8, 4);
        append_number(bytes, values.size(), 8);
        for (const std::string& value : values) bytes += gguf_text(value);
        return raw_key(name, 9, bytes);
    }
    // Of a fixed width: `size` bytes each.
    GgufFile& numbers(std::string_view name, uint32_t type, size_t size,
                      const std::vector<uint64_t>& values) {
        std::string bytes;
        append_number(bytes, type, 4);
        append_number(bytes, values.size(), 8);
        for (const uint64_t value : values) append_number(bytes, value, size);
        return raw_key(name, 9, bytes);
    }
    GgufFile& remove_key(std::string_view name) {
        std::erase_if(keys_, [&](const auto& key) { return key.first == name; });
        return *this;
    }
    // `shape` in C order.
    GgufFile& tensor(std::string name, std::vector<uint64_t> shape, GgufType type,
                     const std::vector<float>& values) {
        std::reverse(shape.begin(), shape.end());
        tensors.push_back({std::move(name), std::move(shape), static_cast<uint32_t>(type),
                           gguf_values(type, values)});
        return *this;
    }
    GgufTensor& find(std::string_view name) {
        return *std::find_if(tensors.begin(), tensors.end(),
                             [&](const GgufTensor& tensor) { return tensor.name == name; });
    }

    // All but the data, which begin behind it.
    std::string header() const {
        std::string bytes = "GGUF";
        append_number(bytes, version, 4);
        append_number(bytes, tensors.size(), 8);
        append_number(bytes, keys_.size(), 8);
        for (const auto& [name, key] : keys_) bytes += key;
        uint64_t at = 0;
        for (const GgufTensor& tensor : tensors) {
            bytes += gguf_text(tensor.name);
            append_number(bytes, tensor.axes.size(), 4);
            for (const uint64_t size : tensor.axes) append_number(bytes, size, 8);
            append_number(bytes, tensor.type, 4);
            append_number(bytes, tensor.offset.value_or(at), 8);
            at = align(at + tensor.data.size());
        }
        bytes.resize(align(bytes.size()));
        return bytes;
    }
    std::string bytes() const {
        std::string bytes = header();
        for (const GgufTensor& tensor : tensors) {
            bytes += tensor.data;
            bytes.resize(align(bytes.size()));
        }
        return bytes;
    }

  private:
    size_t align(size_t size) const { return (size + alignment - 1) / alignment * alignment; }
    std::vector<std::pair<std::string, std::string>> keys_;
};

// Values that differ, all of one sign where asked.
inline std::vector<float> gguf_noise(size_t count, bool negative = false) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) {
        const auto value = static_cast<float>(static_cast<double>(i * 29 % 97) / 97 - 0.5);
        values[i] = negative ? value - 0.75f : value;
    }
    return values;
}

// D 32, E 64, N 2, K 3, R 1, V 8, one layer; matrices of `type`.
inline GgufFile small_gguf_mamba(GgufType type = GgufType::f32) {
    GgufFile file;
    file.key("general.architecture", "mamba").key("mamba.context_length", 1 << 20);
    file.key("mamba.embedding_length", 32).key("mamba.feed_forward_length", 0);
    file.key("mamba.attention.head_count", 0).key("mamba.block_count", 1);
    file.key("mamba.ssm.conv_kernel", 3).key("mamba.ssm.inner_size", 64);
    file.key("mamba.ssm.state_size", 2).key("mamba.ssm.time_step_rank", 1);
    file.key("mamba.attention.layer_norm_rms_epsilon", 1e-5f);
    const std::string layer = "blk.0.";
    constexpr GgufType f32 = GgufType::f32;
    file.tensor("token_embd.weight", {8, 32}, type, gguf_noise(8 * 32));
    file.tensor(layer + "attn_norm.weight", {32}, f32, gguf_noise(32));
    file.tensor(layer + "ssm_in.weight", {128, 32}, type, gguf_noise(128 * 32));
    file.tensor(layer + "ssm_conv1d.weight", {64, 3}, f32, gguf_noise(64 * 3));
    file.tensor(layer + "ssm_conv1d.bias", {64}, f32, gguf_noise(64));
    file.tensor(layer + "ssm_x.weight", {5, 64}, type, gguf_noise(5 * 64));
    file.tensor(layer + "ssm_dt.weight", {64, 1}, f32, gguf_noise(64));
    file.tensor(layer + "ssm_dt.bias", {64}, f32, gguf_noise(64));
    file.tensor(layer + "ssm_a", {64, 2}, f32, gguf_noise(64 * 2, true));
    file.tensor(layer + "ssm_d", {64}, f32, gguf_noise(64));
    file.tensor(layer + "ssm_out.weight", {32, 64}, type, gguf_noise(32 * 64));
    file.tensor("output_norm.weight", {32}, f32, gguf_noise(32));
    return file;
}

// D 32, 4 heads of 8, 2 of keys, I 64, V 8, one layer; an own head.
inline GgufFile small_gguf_llama(bool fused = false) {
    GgufFile file;
    file.key("general.architecture", "llama").key("llama.context_length", 64);
    file.key("llama.embedding_length", 32).key("llama.feed_forward_length", 64);
    file.key("llama.block_count", 1).key("llama.attention.head_count", 4);
    file.key("llama.attention.head_count_kv", 2).key("llama.rope.dimension_count", 8);
    file.key("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    const std::string layer = "blk.0.";
    const auto matrix = [&](const std::string& name, uint64_t rows, uint64_t columns) {
        file.tensor(name, {rows, columns}, GgufType::f32, gguf_noise(rows * columns));
    };
    const auto norm = [&](const std::string& name) {
        file.tensor(name, {32}, GgufType::f32, gguf_noise(32));
    };
    matrix("token_embd.weight", 8, 32);
    norm(layer + "attn_norm.weight");
    if (fused) {
        matrix(layer + "attn_qkv.weight", 64, 32);
    } else {
        matrix(layer + "attn_q.weight", 32, 32);
        matrix(layer + "attn_k.weight", 16, 32);
        matrix(layer + "attn_v.weight", 16, 32);
    }
    matrix(layer + "attn_output.weight", 32, 32);
    norm(layer + "ffn_norm.weight");
    matrix(layer + "ffn_gate.weight", 64, 32);
    matrix(layer + "ffn_up.weight", 64, 32);
    matrix(layer + "ffn_down.weight", 32, 64);
    norm("output_norm.weight");
    matrix("output.weight", 8, 32);
    return file;
}

}  // namespace seqmix_test
