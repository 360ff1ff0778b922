// `seqmix convert`: a checkpoint as a folder whose matrices are in the type that they are multiplied in.
// The library writes the tensors; what else the program reads of a model is carried along here.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "gguf.h"

namespace seqmix_cli {

namespace {

namespace fs = std::filesystem;

// Texts beside the tensors: configurations, tokenizers, licences; not a list of shards, of which there
// are none any more.
bool carried(const fs::path& file) {
    const std::string name = file.filename().string(), kind = file.extension().string();
    return (kind == ".json" || kind == ".txt" || kind == ".md" || name == "LICENSE" ||
            name.starts_with("tokenizer.")) &&
           !name.ends_with(".index.json");
}

void copy(const fs::path& from, const fs::path& to, std::vector<std::string>* names) {
    std::error_code error;
    fs::copy_file(from, to / from.filename(), fs::copy_options::overwrite_existing, error);
    if (error) {
        throw Failure(kCannotRead, "cannot copy '" + from.string() + "': " + error.message());
    }
    names->push_back(from.filename().string());
}

std::vector<std::string> carry(const fs::path& from, const fs::path& to) {
    std::vector<std::string> names;
    std::error_code ignored;
    if (!fs::is_directory(from, ignored)) {
        const fs::path config = from.parent_path() / "config.json";
        if (fs::is_regular_file(config, ignored)) copy(config, to, &names);
    } else {
        for (const fs::directory_entry& entry : fs::directory_iterator(from, ignored)) {
            if (entry.is_regular_file(ignored) && carried(entry.path())) {
                copy(entry.path(), to, &names);
            }
        }
    }
    const fs::path gguf = gguf_file(from.string());
    if (!gguf.empty() && write_gguf_vocabulary(gguf.string(), (to / kGgufVocabulary).string())) {
        names.emplace_back(kGgufVocabulary);
    }
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace

int run_convert(const ConvertOptions& options) {
    const fs::path from = options.common.model, to = options.out;
    std::error_code error;
    const bool is_new = fs::create_directories(to, error);
    if (error) {
        throw Failure(kCannotRead, "cannot make '" + options.out + "': " + error.message());
    }
    const fs::path folder = fs::is_directory(from, error) ? from : from.parent_path();
    if (fs::equivalent(folder.empty() ? "." : folder, to, error)) {
        throw Failure(kUsage, "convert: '" + options.out + "' is the model's own folder");
    }
    const Context context = make_context(options.common.context);
    const Config config = open_config(options.common.open);
    const std::string file = (to / "model.safetensors").string();
    const seqmix_status status = seqmix_checkpoint_convert(
        context.get(), options.common.model.c_str(), config.get(), file.c_str());
    if (status != SEQMIX_OK && is_new) {
        fs::remove(to, error);  // empty
    }
    check(status, kCannotRead, options.common.model);
    const std::vector<std::string> names = carry(from, to);
    const uint64_t bytes = fs::file_size(file, error);
    if (options.common.json) {
        print_json({{"file", file},
                    {"bytes", bytes},
                    {"weights", options.common.context.weights},
                    {"carried", names}});
        return kOk;
    }
    std::printf("%s  %s\n", file.c_str(), human_bytes(bytes).c_str());
    for (const std::string& name : names) {
        std::printf("%s\n", printable((to / name).string()).c_str());
    }
    flush_stdout();
    return kOk;
}

}  // namespace seqmix_cli
