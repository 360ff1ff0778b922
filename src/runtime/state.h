// The state handle: recurrent memory, positions and snapshots of the rows of one stream batch.
//
// One block of memory holds, for each leaf (a stack's child, or the layer itself), positions, the
// last seq_idx, and each state tensor of all rows. Elements are f32 (f64 at level reference), in the
// kernels' layout; `get`, `set` and blobs use the schema's canonical one.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "runtime/layer.h"
#include "runtime/tensor.h"

namespace seqmix {

constexpr int64_t kNoSequence = INT64_MIN;  // no seq_idx seen since the state's start

struct StateMemory {
    struct Tensor {
        const StateTensor* plan;
        StateRows rows;        // row_stride: the elements of a row that are in memory
        Array<std::byte> own;  // of a growing tensor
        bool exists() const { return !plan->derived || rows.data != nullptr; }
    };
    struct Leaf {
        const Plan* plan = nullptr;
        std::vector<Tensor> tensors;
        std::vector<StateRows> rows;   // of `tensors`, as calls take them
        int64_t* positions = nullptr;  // (rows); null for stateless leaves
        int64_t* sequences = nullptr;  // (rows) last seq_idx
    };
    struct Snapshot {
        int64_t id = 0;  // 0 = free
        std::byte* data = nullptr;
        std::vector<Array<std::byte>> grown;  // of the growing tensors, as they were
    };

    // capacity_tokens: of growing tensors; 0: they grow.
    StateMemory(Ref<seqmix_context> context, std::shared_ptr<const LayerCore> core, int64_t rows,
                int64_t snapshot_slots, int64_t capacity_tokens, bool real64);
    void copy_from(const StateMemory& other);  // same layer, rows and slots

    // Growing tensors: at least so many lines; never fewer than there are.
    void grow(size_t leaf, size_t tensor, int64_t lines);
    void grow_like(const StateMemory& other, size_t other_leaf, size_t leaf, size_t count);
    // What tokens [position, position + tokens) of a row need. False: the capacity does not allow it.
    bool make_room(size_t leaf, int64_t position, int64_t tokens);
    // The other tensors of a leaf were set: what is derived from them goes.
    void drop_derived(size_t leaf, int64_t row);
    // No tensor is set; derived ones need not be.
    void heal_nothing();

    Allocator own_allocator() const { return context->allocator; }
    size_t element() const { return real64 ? sizeof(double) : sizeof(float); }
    // One row of everything to and from dense bytes.
    void save_row(int64_t row, Snapshot* snapshot) const;
    void load_row(int64_t row, const Snapshot& snapshot);
    // One row of `count` leaves of the same plans, from another state or another place in this one.
    void copy_row(int64_t row, size_t leaf, const StateMemory& from, int64_t from_row,
                  size_t from_leaf, size_t count);
    // A row of one tensor to and from a view in the canonical layout.
    void get_row(const Tensor& tensor, int64_t row, const View& view) const;
    void set_row(const Tensor& tensor, int64_t row, const View& view);
    void reset_row(int64_t row, size_t first_leaf, size_t leaf_count);
    void drop_snapshots(int64_t row);

    std::atomic<int64_t> references{1};
    Ref<seqmix_context> context;
    std::shared_ptr<const LayerCore> core;
    int64_t rows;
    int64_t snapshot_slots;
    int64_t capacity_tokens;
    bool real64;
    std::vector<Leaf> leaves;
    Array<std::byte> memory;
    Array<std::byte> snapshot_memory;
    std::vector<Snapshot> snapshots;  // (rows, snapshot_slots)
    int64_t next_snapshot = 1;
    size_t row_bytes = 0;  // of a saved row, without what grows
    std::atomic<bool> busy{false};
    bool poisoned = false;
    std::vector<bool> healed;  // (tensors of all leaves) set since the state was poisoned
};

// Takes the busy flag for the duration of a call.
class Busy {
  public:
    explicit Busy(StateMemory& memory)
        : memory_(memory), taken_(!memory.busy.exchange(true, std::memory_order_acquire)) {}
    ~Busy() {
        if (taken_) {
            memory_.busy.store(false, std::memory_order_release);
        }
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    explicit operator bool() const { return taken_; }
    Status refused() const;

  private:
    StateMemory& memory_;
    bool taken_;
};

}  // namespace seqmix

struct seqmix_state {
    seqmix_state(seqmix::Ref<seqmix_context> ctx, std::shared_ptr<const seqmix::LayerCore> c,
                 seqmix::Ref<seqmix::StateMemory> m, size_t first, size_t count)
        : context(std::move(ctx)),
          core(std::move(c)),
          memory(std::move(m)),
          first_leaf(first),
          leaf_count(count) {}

    seqmix::Ref<seqmix_context> context;
    std::shared_ptr<const seqmix::LayerCore> core;  // of the view
    seqmix::Ref<seqmix::StateMemory> memory;
    size_t first_leaf;
    size_t leaf_count;

    seqmix::Allocator own_allocator() const { return context->allocator; }
    bool whole() const { return leaf_count == memory->leaves.size(); }
};

namespace seqmix {

// One row between a canonical view and the kernels' layout. T is float or double; `isa` chooses the
// kernel that turns one into the other.
template <class T>
void read_state_row(const View& view, const StateTensor& tensor, Isa isa, T* row);
template <class T>
void write_state_row(const T* row, const StateTensor& tensor, Isa isa, const View& view);

Status state_create(const seqmix_layer& layer, int64_t rows, int64_t snapshot_slots,
                    int64_t capacity_tokens, seqmix_state** out);
Status state_clone(const seqmix_state& state, seqmix_state** out);
Status state_reset(seqmix_state& state, int64_t row);
// The position that all children agree on; `row` is inside the state.
Status row_position(const seqmix_state& state, int64_t row, int64_t* position);
Status state_position(const seqmix_state& state, int64_t row, int64_t* position);
uint64_t state_bytes(const seqmix_state& state);
// What a state begins with; `saved`: without what is derived.
uint64_t state_bytes(const LayerCore& core, int64_t rows, bool real64, bool saved = false);
Status state_copy_row(seqmix_state& dst, int64_t i, const seqmix_state& src, int64_t j);
Status state_get(const seqmix_state& state, int32_t slot, int32_t index,
                 const seqmix_tensor& tensor);
Status state_set(seqmix_state& state, int32_t slot, int32_t index, const seqmix_tensor& tensor);
Status state_child(const seqmix_state& state, size_t i, seqmix_state** view);
Status state_save(const seqmix_state& state, void* buf, size_t cap, size_t* needed);
Status state_load(const seqmix_layer& layer, const void* buf, size_t n,
                  const seqmix_state_options* options, seqmix_state** out);
Status state_snapshot(seqmix_state& state, int64_t row, int64_t* id);
Status state_rollback(seqmix_state& state, int64_t row, int64_t id);
Status state_drop(seqmix_state& state, int64_t id);

}  // namespace seqmix
