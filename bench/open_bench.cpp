// From a file to its first tensor, with a warm cache: a model is opened, a weight of its first block read,
// and all of it released, through the public API. The shipped model, or the file or folder that
// SEQMIX_BENCH_MODEL names (bench/model_130m.py makes both kinds: 517 MB).
#include <string>
#include <vector>

#include "seqmix/seqmix.h"
#include "support/rows.h"

namespace seqmix::bench {

namespace {

constexpr size_t kFirstBlock = 1;  // behind the embedding

void open_and_read(seqmix_context* context, const std::string& path) {
    seqmix_layer *model = nullptr, *block = nullptr;
    must(seqmix_layer_open(context, path.c_str(), nullptr, &model), path.c_str());
    must(seqmix_layer_child(model, kFirstBlock, &block), "child");
    seqmix_slot_info info{};
    for (size_t i = 0; info.role != SEQMIX_ROLE_WEIGHT; ++i) {
        info = {};
        info.struct_size = sizeof info;
        must(seqmix_layer_slot_info(block, i, &info), "slot_info");
    }
    size_t count = 1;
    for (int32_t axis = 0; axis < info.ndim; ++axis) {
        count *= static_cast<size_t>(info.shape[axis]);
    }
    std::vector<float> values(count);
    const seqmix_tensor tensor = {values.data(),
                                  {SEQMIX_DL_CPU, 0},
                                  info.ndim,
                                  {SEQMIX_DL_FLOAT, 32, 1},
                                  info.shape,
                                  nullptr,
                                  0};
    must(seqmix_layer_get_weight(block, info.slot, 0, &tensor), "get_weight");
    seqmix_layer_release(block);
    seqmix_layer_release(model);
}

void add_open(const std::string& path, const char* isa) {
    const std::string name = path.substr(path.find_last_of('/') + 1);
    add_row({.name = std::string("open/") + isa + "/" + name,
             .isa = isa,
             .work = {},
             .make = [path, isa] {
                 const auto context = make_context(isa);
                 return Job{.run = [context, path] { open_and_read(context.get(), path); }};
             }});
}

}  // namespace

}  // namespace seqmix::bench

int main(int argc, char** argv) {
    using namespace seqmix::bench;
    parse_arguments(argc, argv);
    for_model(SEQMIX_BENCH_MODEL_DIR, add_open);
    return run_rows();
}
