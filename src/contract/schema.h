// The schema of a mixer: its attributes, tensors and state as static data. One table feeds checks,
// documentation, bindings, the conformance suite and the benches.
//
// Shapes are symbolic: "(B,T,D)". B, T, R, R1 (= R + 1) and Tk come from the call; every other symbol
// is a size of the plan. Tk is the time of a second sequence, the source (keys and values): "(B,Tk,H,d)",
// and "(B,H,T,Tk)" for what is said of pairs of tokens. A dimension is a sum of terms, each an integer, a symbol, or both: "K-1",
// "dt_rank+2N". Alternatives are separated by '|' and told apart by rank: "(D,N)|(B,T,N)".
#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace seqmix {

// Of any one width or vocabulary, in a plan and in a file: products of two stay far from overflow.
constexpr int64_t kMaxSize = int64_t{1} << 24;

enum class AttributeType : uint8_t { boolean, i64, f64, str, i64s, f64s };

struct AttributeSpec {
    const char* name;
    AttributeType type;
    const char* default_value;      // as text ("16", "true", "none"); null = required
    double min = 0, max = 0;        // for numbers, when min < max
    const char* choices = nullptr;  // for strings: "none|rms"
    const char* doc = "";
};

// The order is that of SEQMIX_ROLE_*.
enum class Role : uint8_t { input, output, weight, state, state_in, state_out, control };

struct SlotSpec {
    int32_t slot;  // never changes; below 100
    const char* name;
    Role role;
    bool optional;
    DTypeSet dtypes;
    const char* shape;
    const char* doc;
    const char* limit = nullptr;  // integers: values are in [0, this size)
    bool direct = false;          // too wide to be copied: needs unit stride in its last axis
};

// A tensor of the recurrent state, one row of it. Blocks show it as slot `slot`, role state;
// operations pass it through the slots `slot` (<name>_in) and `slot + 1` (<name>_out).
struct StateSpec {
    int32_t slot;
    const char* name;
    const char* shape;  // of one row, canonical: "(D,N)"
    bool transposed;    // kept in memory as (N,D): kernels have channels in the lanes
    const char* doc;
    // The first axis fills up with the tokens of a stream (Mixer::state_rows): rows that were not
    // asked for yet are zeros, and are not in memory.
    bool grows = false;
    // What `run` makes again from the other tensors wherever it finds zeros. It has no slot and is
    // not saved; setting or loading a state leaves zeros. Nothing at level reference.
    bool derived = false;
};

// Facts about a type: data in the plan, not virtual functions.
struct Capabilities {
    bool stateful = false;       // has a recurrent state (positions at least)
    bool constant_state = true;  // the state's size does not depend on the tokens seen
    bool causal = true;
    bool reversible = false;  // has the attribute `reverse`
    bool materialize = false;
};

constexpr int64_t kWholeSequence = INT64_MAX;  // Schema::chunk of types that are never cut

struct Schema {
    const char* type;
    const char* doc;
    const char* source;  // paper and equation
    bool operation;      // a *_op type: every tensor comes with the call
    std::span<const AttributeSpec> attributes;
    std::span<const SlotSpec> slots;
    std::span<const StateSpec> states;
    Capabilities capabilities;
    int64_t
        chunk;  // time is cut every `chunk` tokens, counted from a row's first token of the call
    // What `materialize` gives besides the mixing matrix: kinds 1, 2, ... "raw|capped".
    const char* kinds = nullptr;
    bool positions = false;  // takes the control `positions`
};

}  // namespace seqmix
