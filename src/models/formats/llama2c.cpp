#include "models/formats/llama2c.h"

#include <string>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "contract/schema.h"
#include "models/formats/source.h"

namespace seqmix {
namespace {

constexpr uint32_t kMagic = 0x616b3432;
constexpr int64_t kMostLayers = 10'000;
constexpr size_t kShortHeader = 28, kLongHeader = 256;

int32_t read_i32(std::string_view bytes, size_t at) {
    uint32_t value = 0;
    for (size_t i = 4; i-- > 0;) {
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    }
    return static_cast<int32_t>(value);
}

struct Header {
    int32_t version = 0;
    int64_t dim, hidden, layers, heads, kv_heads, vocab, tokens;
    bool shared;
    int64_t kv() const { return dim / heads * kv_heads; }
};

Header read_header(std::string_view bytes, size_t at) {
    const auto next = [&] {
        at += 4;
        return static_cast<int64_t>(read_i32(bytes, at - 4));
    };
    Header h{};
    h.dim = next();
    h.hidden = next();
    h.layers = next();
    h.heads = next();
    h.kv_heads = next();
    h.vocab = next();
    h.tokens = next();
    return h;
}

bool begins_with_magic(std::string_view bytes) {
    return bytes.size() >= 8 && static_cast<uint32_t>(read_i32(bytes, 0)) == kMagic;
}

// The header of versions 0 and 1; the caller knows which it is.
Header header_of(std::string_view bytes, int32_t version) {
    if (version == 0) {
        Header h = read_header(bytes, 0);
        h.shared = h.vocab > 0;
        h.vocab = h.vocab < 0 ? -h.vocab : h.vocab;
        return h;
    }
    Header h = read_header(bytes, 8);
    h.version = version;
    h.shared = bytes[36] != 0;
    return h;
}

// What is wrong with the numbers; null: nothing.
const char* complaint(const Header& h) {
    const int64_t sizes[] = {h.dim, h.hidden, h.heads, h.kv_heads, h.vocab, h.tokens};
    for (const int64_t size : sizes) {
        if (size < 1 || size > kMaxSize) return "a size that is not from 1 to 2^24";
    }
    if (h.layers < 1 || h.layers > kMostLayers)
        return "a number of layers that is not from 1 to 10000";
    if (h.heads % h.kv_heads != 0) return "n_heads that n_kv_heads does not divide";
    if (h.dim % h.heads != 0) return "dim that n_heads does not divide";
    if (h.dim / h.heads % 2 != 0) return "heads of an odd width";
    return nullptr;
}

// One matrix, or one for each layer, one after another; `name` has '#' where the layer's number goes.
struct Part {
    const char* name;  // null: not read
    int64_t count;
    std::vector<int64_t> shape;
};

std::vector<Part> parts_of(const Header& h) {
    const int64_t n = h.layers, D = h.dim, I = h.hidden, K = h.kv();
    const Part embedding{"tok_embeddings.weight", 1, {h.vocab, D}};
    const Part att_norm{"layers.#.attention_norm.weight", n, {D}};
    const Part ffn_norm{"layers.#.ffn_norm.weight", n, {D}};
    const Part norm{"norm.weight", 1, {D}};
    const Part wq{"layers.#.attention.wq.weight", n, {D, D}};
    const Part wk{"layers.#.attention.wk.weight", n, {K, D}};
    const Part wv{"layers.#.attention.wv.weight", n, {K, D}};
    const Part wo{"layers.#.attention.wo.weight", n, {D, D}};
    const Part w1{"layers.#.feed_forward.w1.weight", n, {I, D}};
    const Part w2{"layers.#.feed_forward.w2.weight", n, {D, I}};
    const Part w3{"layers.#.feed_forward.w3.weight", n, {I, D}};
    std::vector<Part> parts =
        h.version == 0
            ? std::vector<Part>{embedding, att_norm, wq,
                                wk,        wv,       wo,
                                ffn_norm,  w1,       w2,
                                w3,        norm,     {nullptr, 2, {h.tokens, D / h.heads / 2}}}
            // cosines, sines
            : std::vector<Part>{att_norm, ffn_norm, norm, embedding, wq, wk, wv, wo, w1, w2, w3};
    if (!h.shared) {
        parts.push_back({"output.weight", 1, {h.vocab, D}});
    }
    return parts;
}

// False where it overflows.
bool file_size(const Header& h, int64_t* out) {
    *out = static_cast<int64_t>(h.version == 0 ? kShortHeader : kLongHeader);
    for (const Part& part : parts_of(h)) {
        int64_t bytes = part.count * static_cast<int64_t>(sizeof(float));
        for (const int64_t size : part.shape) {
            if (!checked_mul(bytes, size, &bytes)) return false;
        }
        if (!checked_add(*out, bytes, out)) return false;
    }
    return true;
}

bool has_size(const Header& h, size_t size) {
    int64_t wanted = 0;
    return file_size(h, &wanted) && static_cast<uint64_t>(wanted) == size;
}

}  // namespace

bool is_llama2c(std::string_view bytes) {
    if (begins_with_magic(bytes)) {
        return true;
    }
    if (bytes.size() < kShortHeader) {
        return false;
    }
    const Header h = header_of(bytes, 0);
    return complaint(h) == nullptr && has_size(h, bytes.size());
}

Status parse_llama2c(const void* data, size_t size, std::string_view source, TensorFile& out) {
    const std::string_view bytes(static_cast<const char*>(data), size);
    const FileSource file{"llama2.c", source};
    int32_t version = 0;
    if (begins_with_magic(bytes)) {
        version = read_i32(bytes, 4);
        if (version != 1) {
            return file.refuse(SEQMIX_ERR_UNSUPPORTED, "version ", version, ", expected 0 or 1",
                               version == 2 ? " (2 has int8 matrices)" : "");
        }
    }
    if (size < (version == 0 ? kShortHeader : kLongHeader)) {
        return file.bad(size, " bytes, shorter than a header");
    }
    const Header h = header_of(bytes, version);
    if (const char* what = complaint(h); what != nullptr) {
        return file.bad("the header has ", what);
    }
    if (!has_size(h, size)) {
        return file.bad(size, " bytes, not what the header gives");
    }
    TensorFile result;
    const char* at = bytes.data() + (version == 0 ? kShortHeader : kLongHeader);
    for (const Part& part : parts_of(h)) {
        uint64_t count = 1;
        for (const int64_t axis : part.shape) count *= static_cast<uint64_t>(axis);
        for (int64_t i = 0; i < part.count; ++i, at += count * sizeof(float)) {
            if (part.name == nullptr) continue;
            std::string name = part.name;
            if (const size_t number = name.find('#'); number != std::string::npos) {
                name.replace(number, 1, std::to_string(i));
            }
            result.tensors[name] = {DType::f32, "F32", part.shape, at, count * sizeof(float)};
        }
    }
    result.metadata["n_heads"] = std::to_string(h.heads);
    result.metadata["n_kv_heads"] = std::to_string(h.kv_heads);
    result.metadata["max_seq_len"] = std::to_string(h.tokens);
    out = std::move(result);
    return {};
}

}  // namespace seqmix
