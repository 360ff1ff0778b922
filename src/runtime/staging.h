// From the caller's tensors to what `run` sees: one matrix of packed tokens per slot.
//
// A slot whose tokens lie at one constant distance, with dense aligned f32 inside, is used in place (at
// level reference: f64 without gaps); anything else is copied (and transposed, widened, reversed) step
// by step into scratch.
#pragma once

#include "contract/mixer.h"
#include "runtime/arguments.h"

namespace seqmix {

// What a slot's shape is made of.
enum class SlotKind : uint8_t { token, row, constant, source };
SlotKind slot_kind(const std::vector<int64_t>& shape);
// Elements after (B,T) or (R), or of the whole constant.
int64_t slot_width(const std::vector<int64_t>& shape);
// Where a segment lies in the caller's tensors.
struct Place {
    int64_t batch;
    int64_t token;  // of the segment's first packed token
};

// The packed tokens of a step.
struct Step {
    int64_t tokens = 0;
    Segment* segments = nullptr;
    Place* places = nullptr;
    int64_t segment_count = 0;
    RowRun* runs = nullptr;
    int64_t run_count = 0;
    int64_t direction = 1;  // -1: tokens are read last to first
};

// Elements from one packed token to the next, as the first two tokens of the step have it.
ptrdiff_t token_distance(const View& view, const Step& step);
// Whether that distance is the same all through the step and the tokens can be used in place.
bool in_place(const View& view, const Step& step, ptrdiff_t* stride);
std::byte* token_address(const View& view, const Place& place);

// Between the caller's tensor and a dense (tokens, width) matrix. T is float, double or int64_t.
template <class T>
void pack_tokens(const View& view, const Step& step, int64_t width, const Call& call, T* out);
template <class T>
void unpack_tokens(const T* in, const Step& step, int64_t width, const Call& call,
                   const View& view);

// Sets to zero what no row of the call covers: padding, the tail of a packed batch, negative seq_idx.
void zero_padding(const Plan& plan, const Arguments& args);
void zero_view(const View& view);

}  // namespace seqmix
