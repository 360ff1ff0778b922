#include "models/formats/shards.h"

#include <memory>
#include <utility>

#include "models/formats/json.h"

namespace seqmix {
namespace {

constexpr size_t kMaxShards = 10'000;

}  // namespace

Status parse_shard_index(std::string_view text, std::string_view source, std::string_view extension,
                         ShardIndex& out) {
    Json root;
    SEQMIX_TRY(parse_json(text, source, JsonNumbers::any, root));
    const auto* map = find_as<Json::Object>(root, "weight_map");
    if (map == nullptr) {
        return fail(SEQMIX_ERR_BAD_FORMAT, source, ": no 'weight_map' that is an object");
    }
    ShardIndex result;
    for (const auto& [name, value] : *map) {
        const auto* file = value.get_if<std::string>();
        if (file == nullptr) {
            return fail(SEQMIX_ERR_BAD_FORMAT, source, ": tensor ", in_quotes(name), " is in ",
                        describe(value), ", expected the name of a file");
        }
        // A file beside the index, never a path out of its folder.
        if (file->find_first_of(std::string_view("/\\:\0", 4)) != std::string::npos ||
            file->size() <= extension.size() || !file->ends_with(extension)) {
            return fail(SEQMIX_ERR_BAD_FORMAT, source, ": tensor ", in_quotes(name), " is in ",
                        in_quotes(*file), ", expected a file NAME", extension,
                        " in the same folder");
        }
        result.emplace(name, *file);
    }
    out = std::move(result);
    return {};
}

Status read_shards(const std::string& index_path, std::string_view extension, FileReader read,
                   TensorFile& out, FileList& files) {
    std::shared_ptr<const MappedFile> index_file;
    SEQMIX_TRY(MappedFile::open(index_path, index_file));
    ShardIndex index;
    SEQMIX_TRY(parse_shard_index(index_file->text(), index_path, extension, index));

    const size_t slash = index_path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : index_path.substr(0, slash + 1);
    std::map<std::string, TensorFile, std::less<>> shards;
    for (const auto& [tensor, name] : index) {
        shards.try_emplace(name);
        if (shards.size() > kMaxShards) {
            return fail(SEQMIX_ERR_BAD_FORMAT, index_path, ": more than ", kMaxShards, " files");
        }
    }
    for (auto& [name, shard] : shards) {
        SEQMIX_TRY(read(folder + name, shard, files));
    }
    for (const auto& [tensor, name] : index) {
        if (shards.find(name)->second.tensors.count(tensor) == 0) {
            return fail(SEQMIX_ERR_BAD_FORMAT, index_path, ": tensor ", in_quotes(tensor),
                        " is not in ", in_quotes(name));
        }
    }
    TensorFile result;
    std::map<std::string_view, std::string_view> home;  // tensor -> file
    for (auto& [name, shard] : shards) {
        for (auto& [tensor, stored] : shard.tensors) {
            const auto [place, is_new] = result.tensors.emplace(tensor, std::move(stored));
            if (!is_new) {
                return fail(SEQMIX_ERR_BAD_FORMAT, index_path, ": tensor ", in_quotes(tensor),
                            " is in two files, ", in_quotes(home[place->first]), " and ",
                            in_quotes(name));
            }
            home.emplace(place->first, name);
        }
        result.metadata.merge(shard.metadata);
        result.copies.insert(result.copies.end(), shard.copies.begin(), shard.copies.end());
    }
    out = std::move(result);
    return {};
}

}  // namespace seqmix
