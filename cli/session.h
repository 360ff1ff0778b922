// State files. The library's blob holds what the model remembers; to go on exactly where a run
// stopped, its last token and the random generator are needed too. So `run --save-state` writes a
// small header before the blob (all numbers little-endian):
//
//   0   "SMXSESS1"
//   8   u32  1 when the generator's state is meant, else 0
//   12  u32  n, the number of pending tokens
//   16  u64  x 4, the generator's state
//   48  i64  x n, the pending tokens: chosen or given already, not yet consumed by the state
//   .   u32  CRC-32 (as in zip) of everything before it
//   .   u32  0
//   .        the library's blob, to the end of the file
//
// A file that does not start with the magic is taken as a bare blob.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model.h"

namespace seqmix_cli {

struct Session {
    bool bare = false;  // a blob without our header
    std::vector<int64_t> pending;
    std::optional<std::array<uint64_t, 4>> generator;
    std::string blob;
};

Session read_session(const std::string& path);
void write_session(const std::string& path, const Session& session);

std::string save_blob(const seqmix_state* state);
State load_blob(const Model& model, const std::string& blob, const std::string& path,
                bool accept_other_weights);

}  // namespace seqmix_cli
