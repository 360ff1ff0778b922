// The container that torch.save has written since version 1.6 (.pt, .pth, .ckpt, .bin): a zip of
// stored entries. R/data.pkl is a pickle of the saved object, R/data/KEY the bytes of each storage;
// R is any name. Sources: APPNOTE.TXT of PKWARE (zip), torch/serialization.py (the entries).
//
// Nothing in the file is executed (see pickle.h), and weights are not copied, except tensors that
// are stored in another order than C: those of the state dict, up to the file's own size.
// The state dict is the saved object, or the first of its items "state_dict", "model",
// "model_state_dict" that maps names to tensors; the rest of the object is not looked at.
//
// The input may be hostile. Every entry must lie in the file, apart from all others, under the same
// name in the directory and at its place. What is read is checked against its CRC-32: the pickle
// and the storages of the state dict; a file whose entries have the checksum 0, all of them, was
// written without. Failures are SEQMIX_ERR_BAD_FORMAT for what is damaged, SEQMIX_ERR_UNSUPPORTED
// for what is refused by name, SEQMIX_ERR_LIMIT.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/status.h"
#include "models/formats/tensor_map.h"

namespace seqmix {

// Begins like a zip file.
bool is_zip(std::string_view bytes);

// A whole file in memory. `source` names it in messages and may be empty. On failure `out` is as it
// was. The result points into `data`.
Status parse_torch_zip(const void* data, size_t size, std::string_view source, TensorFile& out);

}  // namespace seqmix
