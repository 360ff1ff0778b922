#include "runtime/state.h"

#include <algorithm>
#include <cstring>

namespace seqmix {

Status Busy::refused() const {
    return fail(SEQMIX_ERR_BUSY, memory_.core->type(), ": the state is in use by another thread");
}

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

uint64_t state_bytes(const seqmix_state& state) {
    const StateMemory& memory = *state.memory;
    int64_t elements = 0;  // of a row
    for (size_t i = state.first_leaf; i < state.first_leaf + state.leaf_count; ++i) {
        for (const StateMemory::Tensor& tensor : memory.leaves[i].tensors) {
            elements += tensor.rows.row_stride;
        }
    }
    return static_cast<uint64_t>(elements * memory.rows) * memory.element() *
           static_cast<uint64_t>(1 + (state.whole() ? memory.snapshot_slots : 0));
}

Status state_create(const seqmix_layer& layer, int64_t rows, int64_t snapshot_slots,
                    int64_t capacity_tokens, seqmix_state** out) {
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
        layer.context, layer.core, rows, snapshot_slots, capacity_tokens, layer.real64()));
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
        auto memory = Ref<StateMemory>::adopt(
            allocator.create<StateMemory>(state.context, from.core, from.rows, from.snapshot_slots,
                                          from.capacity_tokens, from.real64));
        memory->copy_from(from);
        const size_t leaves = memory->leaves.size();
        *out = wrap(state.context, state.core, std::move(memory), 0, leaves);
        return Status();
    }
    // A view: its own leaf becomes a state of the child. Snapshots belong to the whole.
    auto memory = Ref<StateMemory>::adopt(allocator.create<StateMemory>(
        state.context, state.core, from.rows, int64_t{0}, from.capacity_tokens, from.real64));
    for (int64_t row = 0; row < from.rows; ++row) {
        memory->copy_row(row, 0, from, row, state.first_leaf, state.leaf_count);
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
        to.copy_row(i, dst.first_leaf, from, j, src.first_leaf, dst.leaf_count);
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
                   const StateMemory::Tensor** out, size_t* ordinal, size_t* leaf = nullptr) {
    size_t n = 0;
    for (size_t i = 0; i < state.memory->leaves.size(); ++i) {
        for (const StateMemory::Tensor& tensor : state.memory->leaves[i].tensors) {
            const bool inside = i >= state.first_leaf && i < state.first_leaf + state.leaf_count;
            if (inside && state.core->children.empty() && tensor.plan->slot == slot && index == 0 &&
                !tensor.plan->derived) {
                *out = &tensor;
                if (leaf != nullptr) {
                    *leaf = i;
                }
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
    size_t ordinal = 0, leaf = 0;
    SEQMIX_TRY(find_tensor(state, slot, index, &tensor, &ordinal, &leaf));
    View view;
    SEQMIX_TRY(check_state_tensor(state, *tensor->plan, in, &view));
    StateMemory& memory = *state.memory;
    const Busy busy(memory);
    if (!busy) {
        return busy.refused();
    }
    // All of a growing tensor is given, so all of it is there, and of what is derived from it.
    for (size_t t = 0; t < memory.leaves[leaf].tensors.size(); ++t) {
        const StateTensor& plan = *memory.leaves[leaf].tensors[t].plan;
        if (plan.grows && (plan.derived || plan.slot == slot)) {
            memory.grow(leaf, t, plan.shape[0]);
        }
    }
    for (int64_t row = 0; row < memory.rows; ++row) {
        memory.set_row(*tensor, row, sub_view(view, 1, row));
        memory.drop_derived(leaf, row);
        memory.drop_snapshots(row);
    }
    if (memory.poisoned) {
        memory.healed[ordinal] = true;
        if (std::all_of(memory.healed.begin(), memory.healed.end(), [](bool b) { return b; })) {
            memory.poisoned = false;
            memory.heal_nothing();
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
        memory.save_row(r, snapshot);
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
                memory.load_row(r, snapshot);
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
