// libFuzzer: any bytes as a torch zip, and as the pickle in one, where no checksum stands in the way.
// Every byte of every accepted tensor is read, so that the address sanitizer sees a range that is
// wrong; what is accepted is planned under every scheme.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../support/torch_zip.h"
#include "models/formats/checkpoint.h"
#include "models/formats/torch_zip.h"
#include "models/schemes/stack_spec.h"

namespace {

void open(const std::string& bytes) {
    seqmix::TensorFile file;
    if (!seqmix::parse_torch_zip(bytes.data(), bytes.size(), "", file).ok()) {
        if (seqmix::error_text::get()[0] == '\0') {
            std::abort();
        }
        return;
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
    checkpoint.format = "torch zip";
    checkpoint.tensors = std::move(file.tensors);
    for (const bool lenient : {false, true}) {
        seqmix::StackSpec spec;
        (void)seqmix::plan_stack(checkpoint, {"auto", lenient, {}}, spec).ok();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    open(text);
    static const std::string storage(256, '\x3c');
    open(seqmix_test::torch_zip_bytes(text, {{"0", storage}, {"1", storage}}));
    return 0;
}
