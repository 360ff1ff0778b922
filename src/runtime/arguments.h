// The tensors of one call, checked against the plan: slots, dtypes, shapes, aliasing, and the values
// of control tensors. Nothing is touched before all of this has passed.
#pragma once

#include <string>

#include "contract/mixer.h"
#include "runtime/tensor.h"

namespace seqmix {

struct Arguments {
    static constexpr size_t kMaxSlots = 64;  // of a plan; plan_layer checks it

    View views[kMaxSlots];             // by position in plan.slots; empty if absent
    int32_t variants[kMaxSlots] = {};  // alternative shape
    int64_t batch = -1;
    int64_t time = -1;
    int64_t source = -1;  // Tk; -1: no tensor has it
    int64_t rows = -1;    // batch, or the sequences of cu_seqlens
    int64_t tokens = 0;   // over all rows, padding included

    const View* find(const Plan& plan, int32_t slot) const;
};

// `real64`: level reference, where f64 tensors are taken too.
Status read_arguments(const Plan& plan, bool real64, const seqmix_arg* args, size_t n,
                      Arguments* out);

// Where a row of the call lies in x.
struct RowSpan {
    int64_t batch;  // first index of x
    int64_t begin;  // first token
    int64_t count;  // tokens
    int64_t state_row;
};
// Row r of a call; `r` < args.rows. Values were checked by read_arguments.
RowSpan row_span(const Plan& plan, const Arguments& args, int64_t r);
// The same of its source, if the call has one.
SourceRow source_row(const Plan& plan, const Arguments& args, int64_t r);

// "(B=2,T=128,N=16)" for messages; sizes that the call has not told keep their letter.
std::string expected_shape(const Slot& slot, size_t variant, const Arguments& args = {});
// Every shape that the slot takes: "(E=4,1,K=3) or (E=4,K=3)".
std::string expected_shapes(const Slot& slot, const Arguments& args = {});

}  // namespace seqmix
