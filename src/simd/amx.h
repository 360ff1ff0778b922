// The tile registers of AMX. Only for code compiled with -mamx-tile.
#pragma once

#include "base/isa_safe.h"
#include "simd/vec.h"

namespace seqmix::SEQMIX_ISA {
namespace {

struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// The eight tile registers as 16 rows of 64 bytes, for as long as this lives. They are a thread's state:
// kept, every switch of threads would save them.
class TileRegisters {
  public:
    TileRegisters() {
        TileShapes shapes;
        for (int i = 0; i < 8; ++i) {
            shapes.row_bytes[i] = 64;
            shapes.rows[i] = 16;
        }
        _tile_loadconfig(&shapes);
    }
    ~TileRegisters() { _tile_release(); }
    TileRegisters(const TileRegisters&) = delete;
    TileRegisters& operator=(const TileRegisters&) = delete;
};

}  // namespace
}  // namespace seqmix::SEQMIX_ISA
