// What a state blob says without the layer that it belongs to. The layout, all little-endian:
//
//   0   "SEQMIXST"
//   8   u32 format version, u32 bytes of the type name, u64 bytes of the blob,
//       u64 fingerprint of type and attributes, u64 weights id, u64 rows, u32 leaves, u32 element
//       type (0: f32)
//   56  the type name
//   .   per leaf (a layer with a state): u32 tensors; i64 x rows positions; i64 x rows sequence
//       numbers; per tensor: u32 bytes of its name, the name, u32 dimensions of a row, i64 sizes,
//       f32 x rows x sizes
//   .   u32 CRC-32 of everything before it
#pragma once

#include <string>

#include "common.h"

namespace seqmix_cli {

// {"version","type","bytes","fingerprint","weights_id","rows","leaves":[{"positions","tensors":
// [{"name","shape"}]}]}. Throws kCannotRead when the blob is damaged, or of a version whose layout is
// not known here.
Json blob_contents(const std::string& blob, const std::string& path);

}  // namespace seqmix_cli
