#include "models/formats/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace seqmix {
namespace {

constexpr size_t kMaxConfig = size_t{16} << 20;

constexpr const char* kTorchZip = "torch zip: not yet supported";
constexpr const char* kTorchLegacy = "torch file from before version 1.6: not supported";
constexpr const char* kTar = "tar file: not supported";
constexpr const char* kGguf = "GGUF: not yet supported";

bool begins_with(std::string_view bytes, std::string_view magic, size_t offset = 0) {
    return bytes.size() >= offset + magic.size() && bytes.substr(offset, magic.size()) == magic;
}

// What a file is when it is no safetensors file: by its first bytes, then by its name. Null when
// nothing is known against it.
const char* foreign_format(std::string_view bytes, const std::string& path) {
    if (bytes.size() > 8 && bytes[8] == '{') {
        return nullptr;  // a header length can look like any magic number
    }
    if (begins_with(bytes, "PK\x03\x04")) {
        return kTorchZip;
    }
    if (begins_with(bytes, "GGUF")) {
        return kGguf;
    }
    if (begins_with(bytes, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46")) {
        return kTorchLegacy;
    }
    if (begins_with(bytes, "ustar", 257)) {
        return kTar;
    }
    if (path.ends_with(".gguf")) {
        return kGguf;
    }
    for (const char* extension : {".pt", ".pth", ".ckpt", ".bin"}) {
        if (path.ends_with(extension)) {
            return "neither safetensors nor a torch zip by its first bytes: not supported";
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

Status read_file(const std::string& path, Safetensors& out, FileList& files) {
    std::shared_ptr<const MappedFile> file;
    SEQMIX_TRY(MappedFile::open(path, file));
    if (const char* foreign = foreign_format(file->text(), path); foreign != nullptr) {
        return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint '", path, "': ", foreign);
    }
    SEQMIX_TRY(parse_safetensors(file->data(), file->size(), path, out));
    files.push_back(std::move(file));
    return {};
}

Status read_folder(const std::string& folder, Safetensors& out, Checkpoint& checkpoint) {
    const auto present = [&](const char* name) {
        return path_kind(folder + name) != PathKind::missing;
    };
    if (present("model.safetensors")) {
        checkpoint.format = "safetensors";
        return read_file(folder + "model.safetensors", out, checkpoint.files);
    }
    if (present("model.safetensors.index.json")) {
        checkpoint.format = "safetensors shards";
        return read_safetensors_shards(folder + "model.safetensors.index.json", out,
                                       checkpoint.files);
    }
    for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
        if (present(name)) {
            return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint '", folder, "' holds only ", name, " (",
                        kTorchZip, "), expected model.safetensors or its index");
        }
    }
    return fail(SEQMIX_ERR_IO, "checkpoint '", folder,
                "' holds neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace

Status open_checkpoint(const std::string& path, Checkpoint& out) {
    Checkpoint checkpoint;
    Safetensors content;
    std::string folder;
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
            checkpoint.format = "safetensors";
            SEQMIX_TRY(read_file(path, content, checkpoint.files));
            break;
    }
    SEQMIX_TRY(read_config(folder, checkpoint));
    checkpoint.tensors = std::move(content.tensors);
    checkpoint.metadata = std::move(content.metadata);
    for (const auto& file : checkpoint.files) {
        checkpoint.bytes += file->size();
    }
    out = std::move(checkpoint);
    return {};
}

Status open_checkpoint_in_memory(const void* data, size_t size, std::string_view config,
                                 Checkpoint& out) {
    Checkpoint checkpoint;
    Safetensors content;
    SEQMIX_TRY(parse_safetensors(data, size, "", content));
    if (config.data() != nullptr) {
        SEQMIX_TRY(parse_config(config, "config.json", checkpoint));
    }
    checkpoint.format = "safetensors";
    checkpoint.tensors = std::move(content.tensors);
    checkpoint.metadata = std::move(content.metadata);
    checkpoint.bytes = size;
    out = std::move(checkpoint);
    return {};
}

}  // namespace seqmix
