// Named tensors as a checkpoint file stores them: views into mapped memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/isa_safe.h"
#include "base/mapped_file.h"

namespace seqmix {

class Json;

// How a tensor's values lie in its bytes.
enum class Coding : uint8_t {
    plain,  // one after another
    q8_0,  // blocks of kQ8Block neighbours of the last axis: f16 scale, then i8 q; values scale * q
};

struct StoredTensor {
    // Of the values. DType::unknown for element types that no weight can have; `dtype_text` names
    // all of them.
    DType dtype = DType::unknown;
    const char* dtype_text = "";  // the file's name for it, "F8_E4M3"; static
    std::vector<int64_t> shape;   // C order
    const void* data = nullptr;   // little-endian, at any alignment; not null
    uint64_t bytes = 0;           // as stored
    Coding coding = Coding::plain;
};

// Values of a tensor of whole blocks. 11 and 8 bits make at most 19: exact in f32.
void widen_q8_0(const void* blocks, int64_t count, float* out);

using TensorMap = std::map<std::string, StoredTensor, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;

// What a file holds, whatever its container. The tensors point into the file's memory, or into
// `copies` where the file stores them in another order.
struct TensorFile {
    TensorMap tensors;
    Metadata metadata;
    std::shared_ptr<const Json> config;  // what the file says of the model; null: nothing
    std::vector<std::shared_ptr<const void>> copies;
};

using FileList = std::vector<std::shared_ptr<const MappedFile>>;

}  // namespace seqmix
