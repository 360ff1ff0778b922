// The data that a mixer ships for tests and benches: sizes, ranges of values, tolerances with their
// reason, bench shapes and operation counts with their derivation. No code of the library reads it.
//
// Every type of mixers.inc (and models.inc) has one such object, in the folder's cases.cpp:
//
//   namespace seqmix::mixers {
//   extern const MixerCases toy_cases;
//   const MixerCases toy_cases = {.type = "toy", .cases = {{.name = "d8", ...}}, ...};
//   }
//
// The conformance suite runs every check on every case at every instruction set level; a registered
// type without cases fails. Slots are named as the schema names them; a case that names a slot
// which its layer does not have fails, so that a misspelt range cannot pass unseen.
#pragma once

#include <cstdint>
#include <vector>

namespace seqmix {

// Values of a slot are uniform in [low, high]; integer slots take the whole numbers in it.
struct SlotRange {
    const char* slot;
    double low;
    double high;
};

// Which of the alternative shapes of a slot a case uses: "(D,N)|(B,T,N)" has 0 and 1.
struct SlotShape {
    const char* slot;
    int32_t alternative;
};

// A symbol of the shapes that no slot's first alternative shows alone, and the attribute it equals.
struct SymbolAttribute {
    const char* symbol;
    const char* attribute;
};

struct BatchTime {
    int64_t batch;
    int64_t tokens;
};

// Of the tensor's largest magnitude. Above the default a sentence of reason is required.
struct Tolerance {
    double value = 1e-5;
    const char* reason = "";
};

struct Case {
    const char* name = "";
    // JSON text for seqmix_config_set_json; config.json where the type comes from a checkpoint.
    const char* attributes = "{}";
    std::vector<BatchTime> shapes = {};
    std::vector<const char*> absent = {};  // optional inputs and weights that are not passed
    std::vector<SlotShape> alternatives = {};
    std::vector<SlotRange> ranges = {};  // before those of the mixer
    Tolerance tolerance = {};
    const char* weights = "f32";  // stored type of weights: f32, f16, bf16
    bool core_is_output = false;  // `materialize`'s y_core is the whole output (no gate, no bias)
    bool whole_input = false;     // not causal and without a state, though the type can be
};

// ------------------------------------------------------------------ benches

// What one call costs, whoever computes it.
struct Work {
    double flops = 0;         // additions and multiplications; a multiply-add is two
    double bytes = 0;         // that must move between memory and core, each array once
    double slots_avx512 = 0;  // vector instructions for the FMA pipes, by level; 0: flops decide
    double slots_avx2 = 0;
};

// What `of_limit` compares with.
enum class Limit : uint8_t {
    fma,   // work.slots (or flops) at the FMA rate of the level
    copy,  // work.bytes at the rate of copying arrays of these sizes
    read,  // work.bytes at the rate of reading memory
};

// The plain loop of bench/plain/ that `vs_plain` compares with, and its sizes.
struct PlainLoop {
    const char* name = nullptr;  // "scan", "conv", "gemm", "attention"; null: none
    int64_t channels = 0;
    int64_t states_or_taps = 0;
};

struct BenchShape {
    const char* name = "";          // "B1_T2048_D1536_N16"
    const char* phase = "prefill";  // "prefill", "core", "decode" (one token, state carried)
    const char* attributes = "{}";
    BatchTime shape = {1, 1};
    int64_t source = 0;  // tokens of the source; 0: as many as the call's
    bool bf16 = false;   // tensors are bf16, not f32
    std::vector<const char*> absent = {};
    std::vector<SlotShape> alternatives = {};
    Work work = {};
    Limit limit = Limit::fma;
    PlainLoop plain = {};
};

// ------------------------------------------------------------------ a type's data

struct MixerCases {
    const char* type = "";
    bool from_checkpoint = false;  // cannot be planned: the suite writes a small random checkpoint
    std::vector<SymbolAttribute> symbols = {};
    // Slots not listed: inputs in [-1,1]; weights as seqmix_layer_init makes them.
    std::vector<SlotRange> ranges = {};
    std::vector<Case> cases = {};
    // '$' in the attributes takes each of the sizes 1, width-1, width, width+1 and primes.
    // '@' is four times the size.
    std::vector<Case> sweeps = {};
    std::vector<Case> long_runs = {};      // T = 65,536 with decay near 1
    std::vector<int64_t> blocks = {};      // internal block sizes along time, cut around on purpose
    std::vector<const char*> levels = {};  // that have a kernel of their own; empty: all
    bool direct_outputs = false;  // large outputs that need unit stride in their last axis (LAYOUT)
    // Outputs come from transforms over many tokens: a later token may change earlier outputs within
    // the tolerance, and one that is no number may reach them.
    bool spreads = false;
    // bf16 tensors are also multiplied as bf16: outputs are those of f32 tensors within 2^-7.
    bool rounds_bf16 = false;
    const char* lanes = nullptr;       // attribute that counts the lanes of `materialize`
    const char* lane_width = nullptr;  // attribute that says how wide they are; null: 1
    std::vector<BenchShape> benches = {};
};

}  // namespace seqmix
