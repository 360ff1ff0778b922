#include "models/formats/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "models/formats/converted.h"
#include "models/formats/gguf.h"
#include "models/formats/llama2c.h"
#include "models/formats/safetensors.h"
#include "models/formats/shards.h"
#include "models/formats/torch_zip.h"

namespace seqmix {
namespace {

constexpr size_t kMaxConfig = size_t{16} << 20;

constexpr const char* kSafetensors = "safetensors";
constexpr const char* kTorchZip = "torch zip";
constexpr const char* kLlama2c = "llama2.c";
constexpr const char* kGguf = "GGUF";
constexpr const char* kTorchLegacy = "torch file from before version 1.6: not supported";
constexpr const char* kTar = "tar file: not supported";

bool begins_with(std::string_view bytes, std::string_view magic, size_t offset = 0) {
    return bytes.size() >= offset + magic.size() && bytes.substr(offset, magic.size()) == magic;
}

// A safetensors file begins with a number, which can look like the beginning of anything else.
bool is_safetensors(std::string_view bytes) { return bytes.size() > 8 && bytes[8] == '{'; }

// What a file is that is neither safetensors nor a zip: by its first bytes, then by its name. Null
// when nothing is known against it.
const char* foreign_format(std::string_view bytes, const std::string& path) {
    if (begins_with(bytes, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46")) {
        return kTorchLegacy;
    }
    if (begins_with(bytes, "ustar", 257)) {
        return kTar;
    }
    if (path.ends_with(".gguf")) {
        return "not GGUF by its first bytes: not supported";
    }
    for (const char* extension : {".pt", ".pth", ".ckpt", ".bin"}) {
        if (path.ends_with(extension)) {
            return "neither safetensors nor a torch zip by its first bytes, nor llama2.c by its "
                   "size: "
                   "not supported";
        }
    }
    return nullptr;
}

Status parse_config(std::string_view text, const std::string& source, Checkpoint& out) {
    if (text.size() > kMaxConfig) {
        return fail(SEQMIX_ERR_BAD_FORMAT, source, ": ", text.size(), " bytes, expected at most ",
                    kMaxConfig);
    }
    auto config = std::make_shared<Json>();
    SEQMIX_TRY(parse_json(text, source, JsonNumbers::any, *config));
    if (config->get_if<Json::Object>() == nullptr) {
        return fail(SEQMIX_ERR_BAD_FORMAT, source, ": is ", describe(*config),
                    ", expected an object");
    }
    out.config = std::move(config);
    return {};
}

Status read_config(const std::string& folder, Checkpoint& out) {
    const std::string path = folder + "config.json";
    if (path_kind(path) == PathKind::missing) {
        return {};
    }
    std::shared_ptr<const MappedFile> file;
    SEQMIX_TRY(MappedFile::open(path, file));
    return parse_config(file->text(), path, out);
}

// *format is the container's name.
Status parse_file(std::string_view bytes, const std::string& path, const char** format,
                  TensorFile& out) {
    *format = kSafetensors;
    // A header of safetensors with these first bytes would be longer than any.
    if (is_gguf(bytes)) {
        *format = kGguf;
        return parse_gguf(bytes.data(), bytes.size(), path, out);
    }
    if (!is_safetensors(bytes)) {
        if (is_zip(bytes)) {
            *format = kTorchZip;
            return parse_torch_zip(bytes.data(), bytes.size(), path, out);
        }
        if (is_llama2c(bytes)) {
            *format = kLlama2c;
            return parse_llama2c(bytes.data(), bytes.size(), path, out);
        }
        if (const char* foreign = foreign_format(bytes, path); foreign != nullptr) {
            return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint '", path, "': ", foreign);
        }
    }
    SEQMIX_TRY(parse_safetensors(bytes.data(), bytes.size(), path, out));
    return read_converted(path, out);
}

Status read_file(const std::string& path, const char** format, TensorFile& out, FileList& files) {
    std::shared_ptr<const MappedFile> file;
    SEQMIX_TRY(MappedFile::open(path, file));
    SEQMIX_TRY(parse_file(file->text(), path, format, out));
    files.push_back(std::move(file));
    return {};
}

Status read_shard(const std::string& path, TensorFile& out, FileList& files) {
    const char* format = nullptr;
    return read_file(path, &format, out, files);
}

// Where a folder keeps its tensors, in order of preference. The first is a file, or an index of
// files that end in `shards`.
constexpr struct {
    const char* name;
    const char* shards;
    const char* format;
} kFolderFiles[] = {
    {"model.safetensors", nullptr, nullptr},
    {"model.safetensors.index.json", ".safetensors", "safetensors shards"},
    {"pytorch_model.bin", nullptr, nullptr},
    {"pytorch_model.bin.index.json", ".bin", "torch zip shards"},
    {"weights.ckpt", nullptr, nullptr},
};

Status read_folder(const std::string& folder, TensorFile& out, Checkpoint& checkpoint) {
    std::string names;
    for (const auto& known : kFolderFiles) {
        const std::string path = folder + known.name;
        if (path_kind(path) == PathKind::missing) {
            names += (names.empty() ? "" : ", ") + std::string(known.name);
            continue;
        }
        if (known.shards != nullptr) {
            checkpoint.format = known.format;
            return read_shards(path, known.shards, read_shard, out, checkpoint.files);
        }
        const char* format = nullptr;
        SEQMIX_TRY(read_file(path, &format, out, checkpoint.files));
        checkpoint.format = format;
        return {};
    }
    // llama.cpp's users keep a model in one file of any name.
    const std::vector<std::string> found = names_in_folder(folder, ".gguf");
    if (found.size() != 1) {
        return fail(SEQMIX_ERR_IO, "checkpoint '", folder, "' holds none of ", names, ", and ",
                    found.size(), " files *.gguf, expected one");
    }
    const char* format = nullptr;
    SEQMIX_TRY(read_file(folder + found.front(), &format, out, checkpoint.files));
    checkpoint.format = format;
    return {};
}

// What `content` holds goes to `checkpoint`. What a file says of its model beats a config.json.
Status take(TensorFile&& content, Checkpoint& checkpoint) {
    checkpoint.tensors = std::move(content.tensors);
    checkpoint.metadata = std::move(content.metadata);
    checkpoint.config_inside = content.config != nullptr;
    if (content.config != nullptr) checkpoint.config = std::move(content.config);
    checkpoint.copies = std::move(content.copies);
    return read_weight_format(checkpoint.metadata, &checkpoint.matrices);
}

}  // namespace

Status open_checkpoint(const std::string& path, Checkpoint& out) {
    Checkpoint checkpoint;
    TensorFile content;
    std::string folder;
    const char* format = nullptr;
    switch (path_kind(path)) {
        case PathKind::missing:
            return fail(SEQMIX_ERR_IO, "checkpoint '", path, "' is not there or not readable");
        case PathKind::other:
            return fail(SEQMIX_ERR_IO, "checkpoint '", path, "' is neither a file nor a folder");
        case PathKind::folder:
            folder = path.ends_with('/') ? path : path + "/";
            SEQMIX_TRY(read_folder(folder, content, checkpoint));
            break;
        case PathKind::file:
            folder = path.substr(0, path.rfind('/') + 1);  // npos + 1 is 0
            SEQMIX_TRY(read_file(path, &format, content, checkpoint.files));
            checkpoint.format = format;
            break;
    }
    if (content.config == nullptr) SEQMIX_TRY(read_config(folder, checkpoint));
    SEQMIX_TRY(take(std::move(content), checkpoint));
    for (const auto& file : checkpoint.files) {
        checkpoint.bytes += file->size();
    }
    out = std::move(checkpoint);
    return {};
}

Status open_checkpoint_in_memory(const void* data, size_t size, std::string_view config,
                                 Checkpoint& out) {
    Checkpoint checkpoint;
    TensorFile content;
    const char* format = nullptr;
    const std::string_view bytes(static_cast<const char*>(data), size);
    SEQMIX_TRY(parse_file(bytes, "", &format, content));
    if (config.data() != nullptr) {
        SEQMIX_TRY(parse_config(config, "config.json", checkpoint));
    }
    checkpoint.format = format;
    SEQMIX_TRY(take(std::move(content), checkpoint));
    checkpoint.bytes = size;
    out = std::move(checkpoint);
    return {};
}

}  // namespace seqmix
