// libFuzzer: any bytes as a GGUF file, and as what follows the header of small models' files, so that more than
// the magic is reached. Every byte of every accepted tensor is read, packed ones are widened, and what is
// accepted is planned.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "../support/gguf.h"
#include "models/formats/checkpoint.h"
#include "models/formats/gguf.h"
#include "models/schemes/stack_spec.h"

namespace {

void open(const std::string& text) {
    const std::vector<char> bytes(text.begin(), text.end());  // ends where the sanitizer looks
    seqmix::Checkpoint checkpoint;
    if (!seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), {}, checkpoint).ok()) {
        if (seqmix::error_text::get()[0] == '\0') {
            std::abort();
        }
        return;
    }
    unsigned sum = 0;
    for (const auto& [name, tensor] : checkpoint.tensors) {
        const auto* data = static_cast<const unsigned char*>(tensor.data);
        for (uint64_t i = 0; i < tensor.bytes; ++i) {
            sum += data[i];
        }
        if (tensor.coding == seqmix::Coding::q8_0) {
            int64_t count = 1;
            for (const int64_t size : tensor.shape) count *= size;
            std::vector<float> values(static_cast<size_t>(count));
            const seqmix::Coded coded{tensor.data, tensor.dtype, tensor.coding};
            coded.read(0, count, values.data());
            sum += values.back() > 0 ? 1 : 0;
        }
    }
    volatile unsigned keep = sum;
    (void)keep;
    for (const bool lenient : {false, true}) {
        seqmix::StackSpec spec;
        if (!seqmix::plan_stack(checkpoint, {"auto", lenient, {}}, spec).ok()) {
            continue;
        }
        for (const seqmix::ChildSpec& child : spec.children) {
            for (const seqmix::WeightRef& weight : child.weights) {
                if (checkpoint.tensors.count(weight.tensor) == 0) {
                    std::abort();
                }
            }
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::string files[] = {
        seqmix_test::small_gguf_mamba(seqmix_test::GgufType::q8_0).bytes(),
        seqmix_test::small_gguf_llama().bytes()};
    const std::string text(reinterpret_cast<const char*>(data), size);
    open(text);
    if (size < 2) {
        return 0;
    }
    // The input over some part of a good file, from a place that it gives.
    for (std::string file : files) {
        const size_t place = (data[0] | static_cast<size_t>(data[1]) << 8) % file.size();
        const size_t count = std::min(size - 2, file.size() - place);
        file.replace(place, count, text, 2, count);
        open(file);
    }
    return 0;
}
