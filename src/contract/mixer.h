// What a mixer is: data (its schema) and a handful of functions. Everything else (handles, checks,
// threads, ragged batches, cutting of long inputs, reversal, state files) is written once around it,
// in runtime/.
//
//   describe  attributes -> Plan      all sizes resolved; every error of the caller is found here
//   bind      weights -> Bound        packs, builds tables, picks kernels; immutable, shared by threads
//   scratch   how much memory one step takes
//   run       one step: a matrix of packed tokens per slot, segments of rows, state rows, scratch
//
// What `run` sees is simple on purpose. The runtime lowers batches, padding, packed sequences, seq_idx
// resets, reversed direction and odd layouts to one form: every slot is a matrix (tokens, width) with
// unit column stride and one token stride (possibly negative), and `segments` says which token
// ranges belong to which state row and where a state starts from zero. At level `reference` all of
// these matrices, and the state, are double.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/isa.h"
#include "base/isa_safe.h"
#include "base/memory.h"
#include "base/status.h"
#include "contract/attributes.h"
#include "contract/schema.h"

namespace seqmix {

struct Mixer;

// Symbols B, T, R, R1, Tk in a resolved shape; the public SEQMIX_DIM_* values.
constexpr int64_t kDimB = SEQMIX_DIM_B;
constexpr int64_t kDimT = SEQMIX_DIM_T;
constexpr int64_t kDimR = SEQMIX_DIM_R;
constexpr int64_t kDimR1 = SEQMIX_DIM_R1;
constexpr int64_t kDimTk = SEQMIX_DIM_TK;

// A slot of a plan: a SlotSpec with its sizes known.
struct Slot {
    int32_t slot = 0;
    std::string name;
    Role role = Role::input;
    bool optional = false;
    DTypeSet dtypes = 0;
    std::string shape_text;
    std::string doc;
    std::vector<std::vector<int64_t>> shapes;  // alternatives
    int64_t limit = 0;                         // integers: values in [0, limit); 0 = no limit
    bool direct = false;                       // written in place, never through a copy
};

// A state tensor of a plan, one row of it.
struct StateTensor {
    int32_t slot = 0;
    std::string name;
    std::vector<int64_t> shape;  // canonical
    bool transposed = false;
    int64_t count = 0;  // elements of a row
    bool grows = false, derived = false;
    int64_t line() const { return count / std::max<int64_t>(shape[0], 1); }  // of the first axis
};

class Plan {
  public:
    virtual ~Plan() = default;

    const Mixer* mixer = nullptr;
    Attributes attributes;                              // resolved
    std::map<std::string, int64_t, std::less<>> sizes;  // symbols of the schema's shapes
    std::vector<Slot> slots;                            // sorted by number, controls included
    std::vector<StateTensor> states;
    Capabilities capabilities;
    int64_t chunk = 0;
    int64_t max_tokens = 0;  // of one sequence, by all calls together; 0: any number
    bool reverse = false;

    const Slot* find(int32_t slot) const;
    const Slot* find(std::string_view name) const;
    Slot* find(std::string_view name);
    int32_t slot_limit() const;  // 1 + the largest number of a slot that is not a control
};

// The slots that a schema's state tensors have: one each (blocks), or <name>_in and <name>_out
// (operations); shapes with the row axis R.
struct StateSlot {
    int32_t slot;
    std::string name;
    Role role;
    std::string shape;
    const char* doc;
};
std::vector<StateSlot> state_slots(const Schema& schema);
// The standard control slots: those of the source only for types that have one, `rows` not for
// operations, which have no state, seq_idx not where there is a source, `positions` as the schema says.
std::vector<SlotSpec> control_slots(const Schema& schema);
// Whether some tensor has the axis Tk.
bool has_source(const Schema& schema);

// Fills plan.slots and plan.states from the schema and plan.sizes; called by describe.
Status resolve_slots(const Schema& schema, Plan& plan);
// Takes a slot out of a plan (a bias that the attributes switch off).
void remove_slot(Plan& plan, std::string_view name);

// ------------------------------------------------------------------ bind

// A weight as stored: C order, possibly misaligned, of any dtype that the slot takes; or packed
// (base/coding.h), and then f32 to those who read it by `read`.
struct Weight {
    const void* data = nullptr;
    DType dtype = DType::unknown;
    std::vector<int64_t> shape;
    Coding coding = Coding::plain;
    const void* factors =
        nullptr;  // of Coding::i8_rows: f32, possibly misaligned, one for `row` values
    int64_t row = 0;
    int64_t count() const {
        int64_t n = 1;
        for (const int64_t size : shape) {
            n *= size;
        }
        return n;
    }
    Coded coded() const { return {data, dtype, coding, factors, row}; }
    // Values [first, first + count), as float or double.
    template <class T>
    void read(int64_t first, int64_t count, T* out) const {
        coded().read(first, count, out);
    }
    // Values from `first` on, where a row begins, as a weight of their own.
    Weight part(int64_t first, std::vector<int64_t> part_shape) const {
        const Coded begin = coded().from(first);
        return {begin.data, dtype, std::move(part_shape), coding, begin.factors, row};
    }
    explicit operator bool() const { return dtype != DType::unknown; }
};

class Weights {
  public:
    virtual ~Weights() = default;
    // An absent optional weight is an empty Weight.
    virtual Weight get(int32_t slot, int32_t index = 0) const = 0;
};

// A weight that is multiplied as a matrix, which is what formats convert: at its address, in rows of
// so many columns.
struct BoundMatrix {
    const void* data;
    int64_t columns;
};

struct BindCall {
    const Plan& plan;
    const Weights& weights;
    Allocator allocator;
    Isa isa;
    WeightFormat format;
    std::vector<BoundMatrix>* matrices = nullptr;  // gets every matrix; null: nobody asks
};

// Everything a layer computes from its weights. `kernel_name` is static text ("mamba/avx512").
class Bound {
  public:
    virtual ~Bound() = default;
    const char* kernel_name = "";
};

// "mamba/avx512": a static text for each level that has a kernel table of its own.
#define SEQMIX_KERNEL_NAME(name, isa)                                            \
    ((isa) == ::seqmix::Isa::reference                       ? name "/reference" \
     : SEQMIX_BUILT_AVX512 && (isa) == ::seqmix::Isa::avx512 ? name "/avx512"    \
     : SEQMIX_BUILT_AVX2 && (isa) >= ::seqmix::Isa::avx2     ? name "/avx2"      \
                                                             : name "/generic")
#ifdef SEQMIX_HAVE_AVX512
#define SEQMIX_BUILT_AVX512 true
#else
#define SEQMIX_BUILT_AVX512 false
#endif
#ifdef SEQMIX_HAVE_AVX2
#define SEQMIX_BUILT_AVX2 true
#else
#define SEQMIX_BUILT_AVX2 false
#endif

// The kernels' name of a stored type; false for f64, which no kernel reads.
bool weight_type(DType dtype, WeightType* out);

// Copies of a weight in a kernel's layout. An absent weight gives an empty buffer.
Array<float> weight_f32(const Weight& weight, Allocator allocator);
Array<double> weight_f64(const Weight& weight, Allocator allocator);
// exp of values [first, first + count), in double; those packed as it (Coding::minus_exp) are as stored.
void weight_exp(const Weight& weight, Isa isa, int64_t first, int64_t count, double* out);
// (rows, columns) -> (columns, rows).
Array<float> weight_f32_transposed(const Weight& weight, int64_t rows, int64_t columns,
                                   Allocator allocator);
// Those of the slots first to last in double, by slot number; an absent one is null.
class WeightsF64 {
  public:
    WeightsF64(const Weights& weights, int32_t first, int32_t last, Allocator allocator);
    const double* operator[](int32_t slot) const {
        return all_[static_cast<size_t>(slot - first_)].data();
    }

  private:
    int32_t first_;
    std::vector<Array<double>> all_;
};

// ------------------------------------------------------------------ run

// Tokens [first, first + count) of a step: consecutive tokens of one row.
struct Segment {
    int64_t first;
    int64_t count;
    int64_t row;        // of the call, for per-row outputs
    int64_t state_row;  // of the state
    bool reset;         // the state of this row is zero before the first token
    bool last;          // holds the row's last true token of the call
    int64_t begin = 0;  // tokens of its sequence before it, in this call
    // Its one token is all of its sequence in this call: what may run another kernel than many tokens,
    // since no cut makes it so.
    bool single = false;
};

// Segments [first, first + count) of one state row, in order of processing: the unit of parallelism
// for everything recurrent.
struct RowRun {
    int64_t first;
    int64_t count;
    int64_t state_row;
};

// The tokens of a slot in a step, or a constant (no B or T in its shape), or a per-row output.
// Elements are float, or double at level reference; integer slots are int64_t.
struct Matrix {
    void* data = nullptr;
    ptrdiff_t stride = 0;          // between tokens (constants: 0; per-row outputs: between rows)
    int32_t variant = 0;           // which alternative shape of the slot this is
    bool streamed = false;         // an output whose call writes more than caches will keep
    DType given = DType::unknown;  // of the caller's tensor, whatever its elements are here
    explicit operator bool() const { return data != nullptr; }
    template <class T>
    T* as() const {
        return static_cast<T*>(data);
    }
};

// A tensor with the axis Tk: whole, as the caller has it, axes in the schema's order. Above level
// reference its last axis has unit stride and its elements are aligned.
struct Source {
    const std::byte* data = nullptr;
    DType dtype = DType::unknown;
    int32_t variant = 0;
    int64_t strides[4] = {};  // elements
    explicit operator bool() const { return dtype != DType::unknown; }
    const std::byte* at(int64_t i, int64_t j = 0, int64_t k = 0, int64_t l = 0) const {
        return data + (i * strides[0] + j * strides[1] + k * strides[2] + l * strides[3]) *
                          dtype_size(dtype);
    }
};

// Where a row of the call lies in such tensors: its tokens are [first, first + count) of Tk in row
// `batch` of B, and [target_first, target_first + target_count) of T.
struct SourceRow {
    int64_t batch, first, count;
    int64_t target_first, target_count;
};

// A state tensor of all rows.
struct StateRows {
    void* data = nullptr;
    int64_t row_stride = 0;  // elements
    int64_t lines = 0;       // of a growing tensor's first axis, as far as they are in memory
};

// Runs tasks; see parallel/executor.h for who does it.
struct TaskRunner {
    void* user = nullptr;
    // false: the host's executor failed.
    bool (*run)(void* user, size_t n, seqmix_task_fn fn, void* arg) = nullptr;
    size_t workers = 1;
};

// Bump allocation from memory that was sized before. Under AddressSanitizer the bytes between an array
// and the next one, where there are any, cannot be touched.
class Scratch {
  public:
    Scratch() = default;
    Scratch(std::byte* data, size_t size) : data_(data), size_(size) {}
    template <class T>
    T* take(int64_t count) {
        const size_t used = static_cast<size_t>(count) * sizeof(T), bytes = round_up(used);
        if (bytes > size_) {
            __builtin_trap();  // a mixer's scratch() is wrong: a defect, never input
        }
        std::byte* result = data_;
        allow_bytes(result, used);
        forbid_bytes(result + used, bytes - used);
        data_ += bytes;
        size_ -= bytes;
        return reinterpret_cast<T*>(result);
    }
    static constexpr size_t round_up(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

  private:
    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

struct StepShape {
    int64_t tokens;  // packed tokens of the step
    int64_t rows;    // rows of the call
    size_t workers;
    bool real64;         // level reference
    int64_t source = 0;  // tokens of the source in a row, at most
};

struct Call {
    int64_t tokens = 0;
    int64_t rows = 0;
    const Segment* segments = nullptr;
    int64_t segment_count = 0;
    const RowRun* runs = nullptr;
    int64_t run_count = 0;
    const Matrix* slots = nullptr;    // by slot number; absent ones are empty
    const Source* sources = nullptr;  // those with the axis Tk, likewise; null for types without
    const SourceRow* source_rows = nullptr;  // by row of the call; null for types without
    const int64_t* token_positions =
        nullptr;                        // the control `positions` of the step's tokens, or null
    const StateRows* states = nullptr;  // in the order of plan.states
    const int64_t* positions =
        nullptr;  // by state row: tokens consumed before this step; may be null
    // A stack's children: states of child i begin at leaves[i].
    const struct StateLeaf* leaves = nullptr;
    Scratch scratch;
    TaskRunner runner;
    std::atomic<bool>* failed = nullptr;  // set when the host's executor failed

    const Matrix& slot(int32_t number) const { return slots[number]; }
    const Source& source(int32_t number) const { return sources[number]; }
    template <class T>
    T* state(size_t i, int64_t row) const {
        return static_cast<T*>(states[i].data) + row * states[i].row_stride;
    }
    // fn(i, worker) for i in [0, n); returns when all are done. The n pieces depend on shapes only,
    // those of products, whose bits do not depend on them, also on the number of workers.
    template <class Fn>
    void parallel_for(int64_t n, Fn&& fn) const {
        if (n <= 0 || failed->load(std::memory_order_relaxed)) {
            return;
        }
        if (n == 1 || runner.run == nullptr) {
            for (int64_t i = 0; i < n; ++i) {
                fn(i, size_t{0});
            }
            return;
        }
        using Task = std::remove_reference_t<Fn>;
        const auto trampoline = [](void* arg, size_t i, size_t worker) {
            (*static_cast<Task*>(arg))(static_cast<int64_t>(i), worker);
        };
        void* arg = const_cast<void*>(static_cast<const void*>(&fn));
        if (!runner.run(runner.user, static_cast<size_t>(n), trampoline, arg)) {
            failed->store(true, std::memory_order_relaxed);
        }
    }
};

// The state tensors of one child of a stack, for the rows of the state.
struct StateLeaf {
    const StateRows* states = nullptr;
    const int64_t* positions = nullptr;
};

// ------------------------------------------------------------------ materialize

// One row of a batch, in double: inputs (T, width) dense by slot number (constants as they are, tensors
// with the axis Tk without their axis B).
struct MaterializeCall {
    int64_t tokens = 0;
    int64_t sources = 0;  // Tk; `tokens` for types without a source
    int32_t kind = 0;     // 0: the mixing matrix; else one of Schema::kinds
    const Matrix* slots = nullptr;
    int64_t first = 0, count = 0;            // output positions
    int64_t lane_first = 0, lane_count = 0;  // lanes
    double* matrix = nullptr;   // (lanes, count, sources); any of the three may be null
    double* operand = nullptr;  // (lanes, sources, dv)
    double* core = nullptr;     // (lanes, count, dv)
};

struct LaneInfo {
    int64_t lanes = 0;
    int64_t dv = 1;
};

// ------------------------------------------------------------------ init

// Random numbers that are the same on every machine (counter based, own exp and log).
class Random {
  public:
    Random(uint64_t seed, uint64_t stream);
    double uniform(double low, double high);
    double normal();

  private:
    uint64_t next();
    uint64_t key_;
    uint64_t counter_ = 0;
};
// exp, log for initialisers: plain double arithmetic, equal bits everywhere, relative error 1e-15.
double portable_exp(double x);
double portable_log(double x);

// ------------------------------------------------------------------ the mixer

struct Mixer {
    const Schema* schema;
    // `plan` is null on entry; attributes are resolved against the schema.
    Status (*describe)(const Attributes& attributes, std::unique_ptr<Plan>& plan);
    Status (*bind)(const BindCall& call, std::unique_ptr<Bound>& bound);
    // Bytes that `run` takes from call.scratch.
    size_t (*scratch)(const Plan& plan, const StepShape& step);
    void (*run)(const Bound& bound, const Call& call);            // float
    void (*run_reference)(const Bound& bound, const Call& call);  // double
    // Optional parts; null where a type has none.
    LaneInfo (*lanes)(const Plan& plan);
    void (*materialize)(const Bound& bound, const MaterializeCall& call);
    // Fills one weight, C order, with its initial values.
    void (*init)(const Plan& plan, const Slot& slot, Random& random, double* out);
    // Rules between call tensors that shapes cannot say; given[slot] for slots below slot_limit(),
    // DType::unknown where a tensor is absent.
    Status (*check)(const Plan& plan, const DType* given);
    // How far a call of `tokens` tokens (of at least one: it may be cut) from `position` on needs the
    // first axis of a growing state tensor. Null: position + tokens, or all of it.
    int64_t (*state_rows)(const Plan& plan, size_t tensor, int64_t position,
                          int64_t tokens) = nullptr;
};

}  // namespace seqmix
