// libFuzzer: any bytes as a .bin of llama2.c, and as the weights behind a header that fits them in
// number, so that more than the size check is reached. Every byte of every accepted tensor is read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../support/llama2c.h"
#include "models/formats/checkpoint.h"
#include "models/formats/llama2c.h"
#include "models/schemes/stack_spec.h"

namespace {

void open(const std::string& bytes) {
    seqmix::TensorFile file;
    if (!seqmix::parse_llama2c(bytes.data(), bytes.size(), "", file).ok()) {
        if (seqmix::error_text::get()[0] == '\0') {
            std::abort();
        }
        return;
    }
    if (!seqmix::is_llama2c(bytes)) {
        std::abort();
    }
    unsigned sum = 0;
    for (const auto& [name, tensor] : file.tensors) {
        const auto* data = static_cast<const unsigned char*>(tensor.data);
        for (uint64_t i = 0; i < tensor.bytes; ++i) {
            sum += data[i];
        }
    }
    volatile unsigned keep = sum;
    (void)keep;
    seqmix::Checkpoint checkpoint;
    if (!seqmix::open_checkpoint_in_memory(bytes.data(), bytes.size(), {}, checkpoint).ok()) {
        return;
    }
    for (const bool lenient : {false, true}) {
        seqmix::StackSpec spec;
        (void)seqmix::plan_stack(checkpoint, {"auto", lenient, {}}, spec).ok();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    open(std::string(reinterpret_cast<const char*>(data), size));
    if (size < 9) {
        return 0;
    }
    const auto small = [&](size_t i) { return 1 + static_cast<int32_t>(data[i] % 8); };
    seqmix_test::Llama2cHeader header;
    header.kv_heads = small(0);
    header.heads = header.kv_heads * small(1);
    header.dim = header.heads * 2 * small(2);
    header.hidden = small(3);
    header.layers = small(4);
    header.vocab = small(5);
    header.tokens = small(6);
    open(seqmix_test::llama2c_bytes(header, data[7] % 2, data[8] % 2 != 0));
    return 0;
}
