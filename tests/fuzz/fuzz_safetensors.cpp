// libFuzzer: any bytes as a safetensors file, read and planned under every scheme. Every byte of
// every accepted tensor is read, so that the address sanitizer sees a range that is wrong.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "models/formats/checkpoint.h"
#include "models/schemes/stack_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    seqmix::Checkpoint checkpoint;
    if (!seqmix::open_checkpoint_in_memory(data, size, {}, checkpoint).ok()) {
        if (seqmix::error_text::get()[0] == '\0') {
            std::abort();
        }
        return 0;
    }
    unsigned sum = 0;
    for (const auto& [name, tensor] : checkpoint.tensors) {
        const auto* bytes = static_cast<const unsigned char*>(tensor.data);
        for (uint64_t i = 0; i < tensor.bytes; ++i) {
            sum += bytes[i];
        }
        if (tensor.coding == seqmix::Coding::i8_rows && tensor.bytes > 0) {
            const int64_t row = tensor.turned ? tensor.shape.front() : tensor.shape.back();
            const seqmix::Coded coded{tensor.data, tensor.dtype, tensor.coding, tensor.factors,
                                      row};
            std::vector<float> values(static_cast<size_t>(tensor.bytes));
            coded.read(0, static_cast<int64_t>(tensor.bytes), values.data());
            sum += values.back() > 0 ? 1 : 0;
        }
    }
    volatile unsigned keep = sum;
    (void)keep;
    for (const char* scheme :
         {"auto", "mamba_ssm", "mamba_hf", "falcon_mamba", "mambalite", "s4_classifier", "s4_block",
          "ckcnn", "hyenadna", "gpt2", "llama", "llama2c"}) {
        for (const bool lenient : {false, true}) {
            seqmix::StackSpec spec;
            if (!seqmix::plan_stack(checkpoint, {scheme, lenient, {}}, spec).ok()) {
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
    return 0;
}
