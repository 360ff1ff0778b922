// Named tensors as a checkpoint file stores them: views into mapped memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/coding.h"
#include "base/dtype.h"
#include "base/mapped_file.h"

namespace seqmix {

class Json;

struct StoredTensor {
    // Of the values. DType::unknown for element types that no weight can have; `dtype_text` names
    // all of them.
    DType dtype = DType::unknown;
    const char* dtype_text = "";  // the file's name for it, "F8_E4M3"; static
    std::vector<int64_t> shape;   // C order
    const void* data = nullptr;   // little-endian, at any alignment; not null
    uint64_t bytes = 0;           // as stored
    Coding coding = Coding::plain;
    const void* factors = nullptr;  // of Coding::i8_rows, for each row of the last axis
    // The bytes hold the matrix (rows, columns) with its axes exchanged: (columns, rows) in C order.
    // Its rows are those of the bytes.
    bool turned = false;
};

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
