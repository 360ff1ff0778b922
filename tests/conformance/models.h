// Layers under test, through the public C API only: contexts, layers with random weights, inputs
// made from what the slots say, calls, and streams (a state handle, or an operation's state slots).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "contract/cases.h"
#include "seqmix/seqmix.h"
#include "tensors.h"

namespace seqmix::conformance {

// Throws Failure with the status and the library's message.
void check(seqmix_status status, const std::string& what);

// ------------------------------------------------------------------ contexts

enum class Executor : uint8_t { pool, host_reversed };

struct ContextOptions {
    std::string isa;
    int32_t threads = 1;
    Executor executor = Executor::pool;
    bool guarded = false;  // all of the library's memory lies against guard pages
};

class Context {
  public:
    explicit Context(const ContextOptions& options);
    seqmix_context* get() const { return handle_.get(); }
    const std::string& isa() const { return options_.isa; }
    // Blocks that the library holds; only for guarded contexts.
    std::shared_ptr<const std::atomic<int64_t>> live_blocks() const { return live_; }

  private:
    ContextOptions options_;
    std::shared_ptr<std::atomic<int64_t>> live_;
    std::shared_ptr<seqmix_context> handle_;
};

// The levels that this build has on this CPU, lowest first, "reference" among them; restricted to
// SEQMIX_TEST_ISA when that is set.
std::vector<std::string> levels();
// Every level of the build, whatever the CPU.
std::vector<std::string> built_levels();
// SEQMIX_TEST_SCALE=small: fewer repeats and no long sequences, for slow checkers.
bool small_scale();

// ------------------------------------------------------------------ layers

// What a type's schema says about it.
struct Facts {
    bool operation = false, stateful = false, causal = true, reversible = false;
    bool materialize = false;
    int64_t chunk = 0;  // 0: never cut
};
Facts facts_of(const std::string& type);
Facts facts_of(const std::string& type, const Case& setup);

enum class Axis : uint8_t { fixed, batch, time, rows, rows_and_one, source };

struct Slot {
    int32_t number = 0;
    uint32_t role = 0;
    bool optional = false;
    uint32_t dtypes = 0;
    std::string name;
    // Of the alternative that the case uses; sizes hold SEQMIX_DIM_* where the call decides.
    std::vector<int64_t> sizes;
    std::vector<Axis> axes;

    int64_t axis_of(Axis kind) const;  // -1: none
    int64_t row_axis() const;          // of rows or batch
    int64_t time_axis() const { return axis_of(Axis::time); }
    int64_t source_axis() const { return axis_of(Axis::source); }
    // The source is three tokens longer than the target where nothing is said of it.
    std::vector<int64_t> shape(int64_t batch, int64_t tokens, int64_t rows,
                               int64_t source = -1) const;
    bool is_integer() const;
};

using SlotValues = std::map<int32_t, Values>;

struct ModelOptions {
    uint32_t bind_flags = SEQMIX_BIND_COPY;
    Placement placement = Placement::heap;  // of weights
    Layout layout = {};                     // of weights
    std::optional<bool> reverse = {};       // overrides the attribute
    const SlotValues* weights = nullptr;    // instead of random ones
    std::optional<Type> weight_type = {};   // where the slot takes it; else f32
};

class Model {
  public:
    Model(const Context& context, const MixerCases& mixer, const Case& setup,
          const ModelOptions& options = {});

    Model(const Model&) = delete;  // streams point to it
    Model& operator=(const Model&) = delete;

    seqmix_layer* layer() const { return bound_.get(); }
    seqmix_layer* plan() const { return plan_.get(); }
    const Context& context() const { return context_; }
    const MixerCases& mixer() const { return *mixer_; }
    const Case& setup() const { return *case_; }
    const Facts& facts() const { return facts_; }
    bool reverse() const { return reverse_; }
    bool is_reference() const { return context_.isa() == "reference"; }
    const std::vector<Slot>& slots() const { return slots_; }
    const Slot* find(int32_t number) const;
    const Slot* find(const std::string& name) const;
    const SlotValues& weights() const { return weights_; }
    double tolerance() const { return case_->tolerance.value; }
    bool absent(const std::string& slot) const;
    // An attribute as the layer resolved it.
    int64_t attribute(const std::string& name) const;

    // Call tensors for B rows of T tokens, states in excluded; the same at every level.
    SlotValues inputs(int64_t batch, int64_t tokens, uint64_t seed = 1, int64_t source = -1) const;
    // A state in for every row, small random numbers; empty for types with a handle.
    SlotValues states_in(int64_t rows, uint64_t seed = 1) const;
    // Rows [row, row + rows) and tokens [from, from + count) of inputs, and the first `source` tokens
    // of the source, or all.
    SlotValues part(const SlotValues& inputs, int64_t row, int64_t rows, int64_t from,
                    int64_t count, int64_t source = -1) const;
    SlotValues flipped(const SlotValues& inputs) const;

  private:
    void plan(const ModelOptions& options);
    void open();
    void read_slots();
    void bind(const ModelOptions& options);
    SlotRange range(const std::string& slot, double low, double high) const;

    Context context_;
    const MixerCases* mixer_;
    const Case* case_;
    Facts facts_;
    bool reverse_ = false;
    std::shared_ptr<TemporaryFolder> folder_;    // of an opened checkpoint
    std::vector<std::unique_ptr<Buffer>> kept_;  // borrowed memory
    std::shared_ptr<seqmix_layer> plan_, bound_;
    std::vector<Slot> slots_;
    SlotValues weights_;
};

// Weights of a plan: as seqmix_layer_init makes them, then the ranges of the case over them.
SlotValues random_weights(const Model& model, uint64_t seed);

// ------------------------------------------------------------------ calls

// Counts every request for memory: the process' operator new, and guarded contexts' allocators.
std::atomic<int64_t>& allocations();

struct CallOptions {
    SlotValues controls = {};
    int64_t rows = -1;  // of per-row tensors; -1: the batch
    Layout in_layout = {}, out_layout = {};
    Placement placement = Placement::heap;
    Type real_in = Type::f32;
    Type real_out = Type::f32;
    uint8_t canary = 0xff;  // outputs before the call; 0xff is not a number
    bool state_in_place = false;
    std::set<int32_t> skip_outputs = {};
    std::function<int32_t(uint64_t, uint64_t)> poll = {};
    seqmix_status* status = nullptr;  // stores the status instead of throwing
    int64_t* allocations = nullptr;   // stores how often the call asked for memory
};

// One call; returns every output, states out included. Fails when an output element is not finite
// (nothing was written there, or nonsense was) or memory between elements was touched.
SlotValues forward(const Model& model, seqmix_state* state, const SlotValues& inputs, int64_t batch,
                   int64_t tokens, const CallOptions& options = {});

// A batch of rows moving through time: a state handle, or the state slots of an operation.
class Stream {
  public:
    Stream(const Model& model, int64_t rows, int64_t snapshots = 0);
    Stream(const Model& model, int64_t rows, seqmix_state* state);  // takes the state over

    SlotValues run(const SlotValues& inputs, int64_t batch, int64_t tokens,
                   const CallOptions& options = {});
    // Its state tensors, by slot number (for stacks child * 1000 + slot).
    SlotValues state() const;
    void set_carry(const SlotValues& states_in) { carry_ = states_in; }
    const SlotValues& carry() const { return carry_; }
    int64_t rows() const { return rows_; }
    int64_t position(int64_t row) const;
    std::vector<int64_t> positions() const;
    seqmix_state* handle() const { return state_.get(); }
    bool has_handle() const { return state_ != nullptr; }
    Stream clone() const;

  private:
    const Model* model_;
    int64_t rows_;
    std::shared_ptr<seqmix_state> state_;
    SlotValues carry_;
};

// Runs [0, tokens) in pieces, in the order the layer consumes them, and puts the outputs together.
// `cuts` are the inner borders, ascending.
SlotValues run_in_pieces(Stream& stream, const Model& model, const SlotValues& inputs,
                         int64_t batch, int64_t tokens, const std::vector<int64_t>& cuts);

void require_same(const Model& model, const SlotValues& got, const SlotValues& want,
                  const std::string& what);
void require_close(const Model& model, const SlotValues& got, const SlotValues& want,
                   double tolerance, const std::string& what);

}  // namespace seqmix::conformance
