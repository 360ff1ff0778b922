// The saved form of a state: a blob of little-endian bytes, the same on every instruction set.
//
//   offset  size
//   0       8    magic "SEQMIXST"
//   8       4    u32 format version, 1
//   12      4    u32 bytes of the type name, then the name itself at 56
//   16      8    u64 size of the whole blob
//   24      8    u64 fingerprint of type and attributes
//   32      8    u64 weights id
//   40      8    u64 rows
//   48      4    u32 leaves (children with a state, or 1)
//   52      4    u32 element type: 0 f32
//   56      ..   type name
//   then per leaf: u32 tensors; i64 positions (rows); i64 last seq_idx (rows); and per tensor
//                  u32 name bytes, name, u32 dimensions of a row, i64 sizes, f32 data (rows, ...) in
//                  the canonical layout of the schema
//   last    4    u32 CRC-32 (IEEE 802.3) of everything before it
#pragma once

#include <cstddef>
#include <cstdint>

namespace seqmix {

constexpr char kBlobMagic[8] = {'S', 'E', 'Q', 'M', 'I', 'X', 'S', 'T'};
constexpr uint32_t kBlobVersion = 1;
constexpr size_t kBlobHeader = 56;

}  // namespace seqmix
