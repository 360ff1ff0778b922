#include "runtime/state.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "primitives/elementwise/kernel.h"

namespace seqmix {
namespace {

bool plain_floats(const View& view) { return view.dtype == DType::f32 && view.aligned(); }

}  // namespace

template <class T>
void read_state_row(const View& view, const StateTensor& tensor, Isa isa, T* row) {
    if (!tensor.transposed) {
        read_dense(view, row);
        return;
    }
    // Canonical (D,N), kept as (N,D): canonical line d is every D-th element.
    const int64_t lines = tensor.shape[0], length = tensor.shape[1];
    if constexpr (std::is_same_v<T, float>) {
        if (plain_floats(view)) {
            SEQMIX_SELECT_KERNELS(isa, elementwise_kernels)
                ->transpose(length, lines, reinterpret_cast<const float*>(view.data),
                            view.strides[1], view.strides[0], row, lines, 1);
            return;
        }
    }
    for (int64_t d = 0; d < lines; ++d) {
        const View line = sub_view(view, 1, d);
        read_elements(line.data, line.dtype, line.strides[0], length, row + d, lines);
    }
}

template <class T>
void write_state_row(const T* row, const StateTensor& tensor, Isa isa, const View& view) {
    if (!tensor.transposed) {
        write_dense(row, view);
        return;
    }
    const int64_t lines = tensor.shape[0], length = tensor.shape[1];
    if constexpr (std::is_same_v<T, float>) {
        if (plain_floats(view)) {
            SEQMIX_SELECT_KERNELS(isa, elementwise_kernels)
                ->transpose(lines, length, row, 1, lines, reinterpret_cast<float*>(view.data),
                            view.strides[0], view.strides[1]);
            return;
        }
    }
    for (int64_t d = 0; d < lines; ++d) {
        const View line = sub_view(view, 1, d);
        write_elements(row + d, lines, length, line.data, line.dtype, line.strides[0]);
    }
}

template void read_state_row(const View&, const StateTensor&, Isa, float*);
template void read_state_row(const View&, const StateTensor&, Isa, double*);
template void write_state_row(const float*, const StateTensor&, Isa, const View&);
template void write_state_row(const double*, const StateTensor&, Isa, const View&);

// ------------------------------------------------------------------ memory

namespace {

// The plans whose states a layer's state holds: its children's, or its own.
std::vector<const Plan*> leaf_plans(const LayerCore& core) {
    std::vector<const Plan*> plans;
    for (const auto& child : core.children) {
        plans.push_back(child->plan.get());
    }
    if (plans.empty()) {
        plans.push_back(core.plan.get());
    }
    return plans;
}

size_t leaf_row_bytes(const Plan& plan, size_t element) {
    if (!plan.capabilities.stateful) {
        return 0;
    }
    size_t bytes = 2 * sizeof(int64_t);  // position and last seq_idx
    for (const StateTensor& tensor : plan.states) {
        bytes += static_cast<size_t>(tensor.count) * element;
    }
    return bytes;
}

}  // namespace

StateMemory::StateMemory(Ref<seqmix_context> ctx, std::shared_ptr<const LayerCore> layer,
                         int64_t row_count, int64_t slots, bool f64)
    : context(std::move(ctx)),
      core(std::move(layer)),
      rows(row_count),
      snapshot_slots(slots),
      real64(f64) {
    const std::vector<const Plan*> plans = leaf_plans(*core);
    size_t bytes = 0;
    const auto reserve = [&](size_t size) {
        const size_t at = bytes;
        bytes += Scratch::round_up(size);
        return at;
    };
    struct Offsets {
        size_t positions, sequences;
        std::vector<size_t> tensors;
    };
    std::vector<Offsets> offsets;
    const auto n = static_cast<size_t>(rows);
    for (const Plan* plan : plans) {
        Offsets at{};
        if (plan->capabilities.stateful) {
            at.positions = reserve(n * sizeof(int64_t));
            at.sequences = reserve(n * sizeof(int64_t));
            for (const StateTensor& tensor : plan->states) {
                at.tensors.push_back(reserve(n * static_cast<size_t>(tensor.count) * element()));
            }
        }
        row_bytes += leaf_row_bytes(*plan, element());
        offsets.push_back(std::move(at));
    }
    memory = Array<std::byte>(static_cast<int64_t>(bytes), context->allocator);
    memory.zero();
    for (size_t i = 0; i < plans.size(); ++i) {
        Leaf leaf;
        if (plans[i]->capabilities.stateful) {
            leaf.positions = reinterpret_cast<int64_t*>(memory.data() + offsets[i].positions);
            leaf.sequences = reinterpret_cast<int64_t*>(memory.data() + offsets[i].sequences);
            for (size_t t = 0; t < plans[i]->states.size(); ++t) {
                const StateTensor& tensor = plans[i]->states[t];
                const StateRows where{memory.data() + offsets[i].tensors[t], tensor.count};
                leaf.tensors.push_back({&tensor, where});
                leaf.rows.push_back(where);
                healed.push_back(false);
            }
        }
        leaves.push_back(std::move(leaf));
    }
    for (int64_t row = 0; row < rows; ++row) {
        reset_row(row, 0, leaves.size());
    }
    int64_t snapshot_bytes = 0;
    if (!checked_mul(rows * slots, static_cast<int64_t>(row_bytes), &snapshot_bytes)) {
        throw std::bad_alloc();
    }
    snapshot_memory = Array<std::byte>(snapshot_bytes, context->allocator);
    snapshots.resize(static_cast<size_t>(rows * slots));
    for (size_t i = 0; i < snapshots.size(); ++i) {
        snapshots[i].data = snapshot_memory.data() + i * row_bytes;
    }
}

void StateMemory::copy_from(const StateMemory& other) {
    if (memory.bytes() > 0) {
        std::memcpy(memory.data(), other.memory.data(), memory.bytes());
    }
    if (snapshot_memory.bytes() > 0) {
        std::memcpy(snapshot_memory.data(), other.snapshot_memory.data(), snapshot_memory.bytes());
    }
    for (size_t i = 0; i < snapshots.size(); ++i) {
        snapshots[i].id = other.snapshots[i].id;
    }
    next_snapshot = other.next_snapshot;
    poisoned = other.poisoned;
    healed = other.healed;
}

namespace {

// Calls fn(pointer, bytes) for every part of a row, in a fixed order.
template <class Fn>
void for_each_part(const StateMemory& memory, int64_t row, size_t first, size_t count, Fn&& fn) {
    for (size_t i = first; i < first + count; ++i) {
        const StateMemory::Leaf& leaf = memory.leaves[i];
        if (leaf.positions == nullptr) {
            continue;
        }
        fn(reinterpret_cast<std::byte*>(leaf.positions + row), sizeof(int64_t));
        fn(reinterpret_cast<std::byte*>(leaf.sequences + row), sizeof(int64_t));
        for (const StateMemory::Tensor& tensor : leaf.tensors) {
            const size_t bytes = static_cast<size_t>(tensor.plan->count) * memory.element();
            fn(static_cast<std::byte*>(tensor.rows.data) + static_cast<size_t>(row) * bytes, bytes);
        }
    }
}

// One row of `count` leaves of the same plans from one state (or place in it) to another.
void copy_parts(const StateMemory& from, int64_t from_row, size_t from_leaf, StateMemory& to,
                int64_t to_row, size_t to_leaf, size_t count) {
    std::vector<const std::byte*> parts;
    for_each_part(from, from_row, from_leaf, count,
                  [&](std::byte* part, size_t) { parts.push_back(part); });
    size_t i = 0;
    for_each_part(to, to_row, to_leaf, count,
                  [&](std::byte* part, size_t bytes) { std::memmove(part, parts[i++], bytes); });
}

}  // namespace

void StateMemory::save_row(int64_t row, std::byte* out) const {
    for_each_part(*this, row, 0, leaves.size(), [&](std::byte* part, size_t bytes) {
        std::memcpy(out, part, bytes);
        out += bytes;
    });
}

void StateMemory::load_row(int64_t row, const std::byte* in) {
    for_each_part(*this, row, 0, leaves.size(), [&](std::byte* part, size_t bytes) {
        std::memcpy(part, in, bytes);
        in += bytes;
    });
}

void StateMemory::get_row(const Tensor& tensor, int64_t row, const View& view) const {
    const int64_t at = row * tensor.plan->count;
    if (real64) {
        write_state_row(static_cast<const double*>(tensor.rows.data) + at, *tensor.plan,
                        context->isa, view);
    } else {
        write_state_row(static_cast<const float*>(tensor.rows.data) + at, *tensor.plan,
                        context->isa, view);
    }
}

void StateMemory::set_row(const Tensor& tensor, int64_t row, const View& view) {
    const int64_t at = row * tensor.plan->count;
    if (real64) {
        read_state_row(view, *tensor.plan, context->isa,
                       static_cast<double*>(tensor.rows.data) + at);
    } else {
        read_state_row(view, *tensor.plan, context->isa,
                       static_cast<float*>(tensor.rows.data) + at);
    }
}

void StateMemory::reset_row(int64_t row, size_t first_leaf, size_t leaf_count) {
    for_each_part(*this, row, first_leaf, leaf_count,
                  [](std::byte* part, size_t bytes) { std::memset(part, 0, bytes); });
    for (size_t i = first_leaf; i < first_leaf + leaf_count; ++i) {
        if (leaves[i].sequences != nullptr) {
            leaves[i].sequences[row] = kNoSequence;
        }
    }
}

void StateMemory::drop_snapshots(int64_t row) {
    for (int64_t i = 0; i < snapshot_slots; ++i) {
        snapshots[static_cast<size_t>(row * snapshot_slots + i)].id = 0;
    }
}

Status Busy::refused() const {
    return fail(SEQMIX_ERR_BUSY, memory_.core->type(), ": the state is in use by another thread");
}

// ------------------------------------------------------------------ handles

namespace {

const char* type_of(const seqmix_state& state) { return state.core->type(); }

Status check_row(const seqmix_state& state, int64_t row, bool all_allowed) {
    if (row >= state.memory->rows || row < (all_allowed ? -1 : 0)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(state), ": row ", row, ", the state has ",
                    state.memory->rows);
    }
    return Status();
}

Status check_whole(const seqmix_state& state, const char* what) {
    if (!state.whole()) {
        return fail(SEQMIX_ERR_UNSUPPORTED, type_of(state), ": ", what,
                    " works on the whole state, not on a child's view");
    }
    return Status();
}

Status check_poison(const seqmix_state& state) {
    if (state.memory->poisoned) {
        return fail(SEQMIX_ERR_STATE_POISONED, type_of(state),
                    ": an earlier failure left the state half written; reset, roll back or set it");
    }
    return Status();
}

template <class Fn>
Status for_rows(const seqmix_state& state, int64_t row, Fn&& fn) {
    const int64_t first = row < 0 ? 0 : row;
    const int64_t end = row < 0 ? state.memory->rows : row + 1;
    for (int64_t r = first; r < end; ++r) {
        SEQMIX_TRY(fn(r));
    }
    return Status();
}

seqmix_state* wrap(const Ref<seqmix_context>& context, std::shared_ptr<const LayerCore> core,
                   Ref<StateMemory> memory, size_t first, size_t count) {
    return context->allocator.create<seqmix_state>(context, std::move(core), std::move(memory),
                                                   first, count);
}

}  // namespace

uint64_t state_bytes(const LayerCore& core, int64_t rows, bool real64) {
    uint64_t elements = 0;
    for (const Plan* plan : leaf_plans(core)) {
        for (const StateTensor& tensor : plan->states) {
            elements += static_cast<uint64_t>(tensor.count);
        }
    }
    return elements * (real64 ? sizeof(double) : sizeof(float)) * static_cast<uint64_t>(rows);
}

uint64_t state_bytes(const seqmix_state& state) {
    const StateMemory& memory = *state.memory;
    return state_bytes(*state.core, memory.rows, memory.real64) *
           static_cast<uint64_t>(1 + (state.whole() ? memory.snapshot_slots : 0));
}

Status state_create(const seqmix_layer& layer, int64_t rows, int64_t snapshot_slots,
                    seqmix_state** out) {
    const LayerCore& core = *layer.core;
    if (core.mixer().schema->operation) {
        return fail(SEQMIX_ERR_UNSUPPORTED, core.type(),
                    ": an operation has no state handle; use its state_in and state_out slots");
    }
    if (rows < 0 || snapshot_slots < 0) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, core.type(), ": state with batch ", rows, " and ",
                    snapshot_slots, " snapshot slots, expected >= 0");
    }
    // One bound for everything that is a product of these three.
    const auto row_bytes = static_cast<int64_t>(state_bytes(core, 1, layer.real64())) + 4096;
    int64_t total = 0;
    if (snapshot_slots == INT64_MAX || !checked_mul(rows, snapshot_slots + 1, &total) ||
        !checked_mul(total, row_bytes, &total) || total > INT64_MAX / 4) {
        return fail(SEQMIX_ERR_LIMIT, core.type(), ": a state with ", rows, " rows and ",
                    snapshot_slots, " snapshot slots is too large");
    }
    auto memory = Ref<StateMemory>::adopt(layer.context->allocator.create<StateMemory>(
        layer.context, layer.core, rows, snapshot_slots, layer.real64()));
    const size_t leaves = memory->leaves.size();
    *out = wrap(layer.context, layer.core, std::move(memory), 0, leaves);
    return Status();
}

Status state_clone(const seqmix_state& state, seqmix_state** out) {
    StateMemory& from = *state.memory;
    const Busy busy(from);
    if (!busy) {
        return busy.refused();
    }
    const Allocator allocator = state.context->allocator;
    if (state.whole() && state.core.get() == from.core.get()) {
        auto memory = Ref<StateMemory>::adopt(allocator.create<StateMemory>(
            state.context, from.core, from.rows, from.snapshot_slots, from.real64));
        memory->copy_from(from);
        const size_t leaves = memory->leaves.size();
        *out = wrap(state.context, state.core, std::move(memory), 0, leaves);
        return Status();
    }
    // A view: its own leaf becomes a state of the child. Snapshots belong to the whole.
    auto memory = Ref<StateMemory>::adopt(allocator.create<StateMemory>(
        state.context, state.core, from.rows, int64_t{0}, from.real64));
    for (int64_t row = 0; row < from.rows; ++row) {
        copy_parts(from, row, state.first_leaf, *memory, row, 0, state.leaf_count);
    }
    memory->poisoned = from.poisoned;
    const size_t leaves = memory->leaves.size();
    *out = wrap(state.context, state.core, std::move(memory), 0, leaves);
    return Status();
}

Status state_reset(seqmix_state& state, int64_t row) {
    SEQMIX_TRY(check_row(state, row, true));
    StateMemory& memory = *state.memory;
    const Busy busy(memory);
    if (!busy) {
        return busy.refused();
    }
    if (row < 0 && state.whole()) {
        memory.poisoned = false;
    }
    return for_rows(state, row, [&](int64_t r) {
        memory.reset_row(r, state.first_leaf, state.leaf_count);
        memory.drop_snapshots(r);
        return Status();
    });
}

Status row_position(const seqmix_state& state, int64_t row, int64_t* position) {
    int64_t found = -1;
    for (size_t i = state.first_leaf; i < state.first_leaf + state.leaf_count; ++i) {
        const int64_t* positions = state.memory->leaves[i].positions;
        if (positions == nullptr) {
            continue;
        }
        if (found >= 0 && positions[row] != found) {
            return fail(SEQMIX_ERR_STATE_MISMATCH, type_of(state), ": row ", row, " is at token ",
                        found, " in one child and at ", positions[row],
                        " in another; children were driven apart");
        }
        found = positions[row];
    }
    *position = found < 0 ? 0 : found;
    return Status();
}

Status state_position(const seqmix_state& state, int64_t row, int64_t* position) {
    SEQMIX_TRY(check_row(state, row, false));
    return row_position(state, row, position);
}

Status state_copy_row(seqmix_state& dst, int64_t i, const seqmix_state& src, int64_t j) {
    if (dst.core.get() != src.core.get() || dst.memory->real64 != src.memory->real64) {
        return fail(SEQMIX_ERR_STATE_MISMATCH, type_of(dst),
                    ": copy_row between states of two layers (", type_of(src), ")");
    }
    SEQMIX_TRY(check_row(dst, i, false));
    SEQMIX_TRY(check_row(src, j, false));
    SEQMIX_TRY(check_poison(src));
    StateMemory &to = *dst.memory, &from = *src.memory;
    const Busy busy_to(to);
    if (!busy_to) {
        return busy_to.refused();
    }
    const auto copy = [&] {
        copy_parts(from, j, src.first_leaf, to, i, dst.first_leaf, dst.leaf_count);
        to.drop_snapshots(i);
    };
    if (&to == &from) {
        copy();
        return Status();
    }
    const Busy busy_from(from);
    if (!busy_from) {
        return busy_from.refused();
    }
    copy();
    return Status();
}

namespace {

// The tensor of a view by slot, and where it is in `healed`.
// `ordinal`, its place among all tensors of the memory, may be null.
Status find_tensor(const seqmix_state& state, int32_t slot, int32_t index,
                   const StateMemory::Tensor** out, size_t* ordinal) {
    size_t n = 0;
    for (size_t i = 0; i < state.memory->leaves.size(); ++i) {
        for (const StateMemory::Tensor& tensor : state.memory->leaves[i].tensors) {
            const bool inside = i >= state.first_leaf && i < state.first_leaf + state.leaf_count;
            if (inside && state.core->children.empty() && tensor.plan->slot == slot && index == 0) {
                *out = &tensor;
                if (ordinal != nullptr) {
                    *ordinal = n;
                }
                return Status();
            }
            ++n;
        }
    }
    return fail(SEQMIX_ERR_UNKNOWN_SLOT, type_of(state), ": no state tensor in slot ", slot,
                ", index ", index,
                state.core->children.empty() ? "" : "; a stack's are in its children");
}

Status check_state_tensor(const seqmix_state& state, const StateTensor& plan,
                          const seqmix_tensor& tensor, View* view) {
    SEQMIX_TRY(read_tensor(type_of(state), plan.name.c_str(), tensor, view));
    if (view->dtype != DType::f32 && view->dtype != DType::f64) {
        return fail(SEQMIX_ERR_DTYPE, type_of(state), ": state tensor '", plan.name, "' is ",
                    dtype_name(view->dtype), ", expected f32 or f64");
    }
    std::vector<int64_t> shape{state.memory->rows};
    shape.insert(shape.end(), plan.shape.begin(), plan.shape.end());
    if (!std::equal(shape.begin(), shape.end(), view->shape, view->shape + view->ndim)) {
        return fail(SEQMIX_ERR_SHAPE, type_of(state), ": state tensor '", plan.name, "' shape ",
                    view->dims(), ", expected ",
                    Dims{shape.data(), static_cast<int32_t>(shape.size())});
    }
    return Status();
}

}  // namespace

Status state_get(const seqmix_state& state, int32_t slot, int32_t index, const seqmix_tensor& out) {
    const StateMemory::Tensor* tensor = nullptr;
    SEQMIX_TRY(find_tensor(state, slot, index, &tensor, nullptr));
    View view;
    SEQMIX_TRY(check_state_tensor(state, *tensor->plan, out, &view));
    if (overlaps_itself(view)) {
        return fail(SEQMIX_ERR_LAYOUT, type_of(state), ": output '", tensor->plan->name,
                    "' has strides under which its elements overlap");
    }
    const Busy busy(*state.memory);
    if (!busy) {
        return busy.refused();
    }
    SEQMIX_TRY(check_poison(state));
    for (int64_t row = 0; row < state.memory->rows; ++row) {
        state.memory->get_row(*tensor, row, sub_view(view, 1, row));
    }
    return Status();
}

Status state_set(seqmix_state& state, int32_t slot, int32_t index, const seqmix_tensor& in) {
    const StateMemory::Tensor* tensor = nullptr;
    size_t ordinal = 0;
    SEQMIX_TRY(find_tensor(state, slot, index, &tensor, &ordinal));
    View view;
    SEQMIX_TRY(check_state_tensor(state, *tensor->plan, in, &view));
    StateMemory& memory = *state.memory;
    const Busy busy(memory);
    if (!busy) {
        return busy.refused();
    }
    for (int64_t row = 0; row < memory.rows; ++row) {
        memory.set_row(*tensor, row, sub_view(view, 1, row));
        memory.drop_snapshots(row);
    }
    if (memory.poisoned) {
        memory.healed[ordinal] = true;
        if (std::all_of(memory.healed.begin(), memory.healed.end(), [](bool b) { return b; })) {
            memory.poisoned = false;
            memory.healed.assign(memory.healed.size(), false);
        }
    }
    return Status();
}

Status state_child(const seqmix_state& state, size_t i, seqmix_state** view) {
    if (i >= state.core->children.size()) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(state), ": child ", i, ", the layer has ",
                    state.core->children.size());
    }
    *view = wrap(state.context, state.core->children[i], state.memory, state.first_leaf + i, 1);
    return Status();
}

// ------------------------------------------------------------------ snapshots

Status state_snapshot(seqmix_state& state, int64_t row, int64_t* id) {
    SEQMIX_TRY(check_whole(state, "snapshot"));
    SEQMIX_TRY(check_row(state, row, true));
    StateMemory& memory = *state.memory;
    const Busy busy(memory);
    if (!busy) {
        return busy.refused();
    }
    SEQMIX_TRY(check_poison(state));
    const auto free_slot = [&](int64_t r) -> StateMemory::Snapshot* {
        for (int64_t s = 0; s < memory.snapshot_slots; ++s) {
            auto& snapshot = memory.snapshots[static_cast<size_t>(r * memory.snapshot_slots + s)];
            if (snapshot.id == 0) {
                return &snapshot;
            }
        }
        return nullptr;
    };
    SEQMIX_TRY(for_rows(state, row, [&](int64_t r) {
        if (free_slot(r) == nullptr) {
            return fail(SEQMIX_ERR_CAPACITY, type_of(state), ": row ", r,
                        " has no free one of its ", memory.snapshot_slots, " snapshot slots");
        }
        return Status();
    }));
    const int64_t fresh = memory.next_snapshot++;
    *id = fresh;
    return for_rows(state, row, [&](int64_t r) {
        StateMemory::Snapshot* snapshot = free_slot(r);
        snapshot->id = fresh;
        memory.save_row(r, snapshot->data);
        return Status();
    });
}

Status state_rollback(seqmix_state& state, int64_t row, int64_t id) {
    SEQMIX_TRY(check_whole(state, "rollback"));
    SEQMIX_TRY(check_row(state, row, true));
    StateMemory& memory = *state.memory;
    const Busy busy(memory);
    if (!busy) {
        return busy.refused();
    }
    int64_t found = 0;
    for_rows(state, row, [&](int64_t r) {
        for (int64_t s = 0; s < memory.snapshot_slots && id > 0; ++s) {
            auto& snapshot = memory.snapshots[static_cast<size_t>(r * memory.snapshot_slots + s)];
            if (snapshot.id == id) {
                ++found;
                memory.load_row(r, snapshot.data);
                for (int64_t k = 0; k < memory.snapshot_slots; ++k) {
                    auto& other =
                        memory.snapshots[static_cast<size_t>(r * memory.snapshot_slots + k)];
                    if (other.id > id) {
                        other.id = 0;
                    }
                }
                break;
            }
        }
        return Status();
    }).ok();
    if (found == 0) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(state), ": no snapshot ", id, " of row ",
                    row);
    }
    if (found == memory.rows) {
        memory.poisoned = false;
    }
    return Status();
}

Status state_drop(seqmix_state& state, int64_t id) {
    SEQMIX_TRY(check_whole(state, "drop"));
    StateMemory& memory = *state.memory;
    const Busy busy(memory);
    if (!busy) {
        return busy.refused();
    }
    bool found = false;
    for (auto& snapshot : memory.snapshots) {
        if (id > 0 && snapshot.id == id) {
            snapshot.id = 0;
            found = true;
        }
    }
    if (!found) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(state), ": no snapshot ", id);
    }
    return Status();
}

}  // namespace seqmix
