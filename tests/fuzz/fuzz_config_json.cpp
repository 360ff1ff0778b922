// libFuzzer: any text as config.json beside a small Mamba, in both namings, and as an index of
// shards.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "../unit/checkpoint_files.h"
#include "models/formats/checkpoint.h"
#include "models/formats/shards.h"
#include "models/schemes/stack_spec.h"

namespace {

std::string small_mamba(const char* embedding) {
    const std::string layer = "backbone.layers.0.";
    return seqmix_test::safetensors_bytes({{embedding, {8, 4}},
                                           {layer + "norm.weight", {4}},
                                           {layer + "mixer.A_log", {8, 2}},
                                           {layer + "mixer.D", {8}},
                                           {layer + "mixer.conv1d.weight", {8, 1, 3}},
                                           {layer + "mixer.conv1d.bias", {8}},
                                           {layer + "mixer.in_proj.weight", {16, 4}},
                                           {layer + "mixer.x_proj.weight", {5, 8}},
                                           {layer + "mixer.dt_proj.weight", {8, 1}},
                                           {layer + "mixer.dt_proj.bias", {8}},
                                           {layer + "mixer.out_proj.weight", {4, 8}},
                                           {"backbone.norm_f.weight", {4}}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::string files[] = {small_mamba("backbone.embeddings.weight"),
                                        small_mamba("backbone.embedding.weight")};
    const std::vector<char> copy(data, data + size);  // ends where the sanitizer looks
    const std::string_view text(copy.empty() ? "" : copy.data(), copy.size());
    seqmix::ShardIndex index;
    if (seqmix::parse_shard_index(text, "index", ".safetensors", index).ok()) {
        for (const auto& [tensor, file] : index) {
            if (file.find('/') != std::string::npos) {
                std::abort();
            }
        }
    }
    for (const std::string& file : files) {
        seqmix::Checkpoint checkpoint;
        if (!seqmix::open_checkpoint_in_memory(file.data(), file.size(), text, checkpoint).ok()) {
            continue;
        }
        for (const bool lenient : {false, true}) {
            seqmix::StackSpec spec;
            if (!seqmix::plan_stack(checkpoint, {"auto", lenient, {}}, spec).ok() &&
                seqmix::error_text::get()[0] == '\0') {
                std::abort();
            }
        }
    }
    return 0;
}
