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

size_t leaf_row_bytes(const Plan& plan, bool real64) {
    const size_t element = real64 ? sizeof(double) : sizeof(float);
    if (!plan.capabilities.stateful) {
        return 0;
    }
    size_t bytes = 2 * sizeof(int64_t);  // position and last seq_idx
    for (const StateTensor& tensor : plan.states) {
        bytes += tensor.grows || (tensor.derived && real64)
                     ? 0
                     : static_cast<size_t>(tensor.count) * element;
    }
    return bytes;
}

// Lines that a growing tensor has to begin with: short streams never grow.
constexpr int64_t kFirstTokens = 256;
int64_t lines_for(const Plan& plan, size_t tensor, int64_t position, int64_t tokens) {
    const int64_t lines = plan.mixer->state_rows != nullptr
                              ? plan.mixer->state_rows(plan, tensor, position, tokens)
                              : position + tokens;
    return std::clamp<int64_t>(lines, 0, plan.states[tensor].shape[0]);
}

}  // namespace

StateMemory::StateMemory(Ref<seqmix_context> ctx, std::shared_ptr<const LayerCore> layer,
                         int64_t row_count, int64_t slots, int64_t capacity, bool f64)
    : context(std::move(ctx)),
      core(std::move(layer)),
      rows(row_count),
      snapshot_slots(slots),
      capacity_tokens(capacity),
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
                const bool apart = tensor.grows || (tensor.derived && real64);
                at.tensors.push_back(
                    reserve(apart ? 0 : n * static_cast<size_t>(tensor.count) * element()));
            }
        }
        row_bytes += leaf_row_bytes(*plan, real64);
        offsets.push_back(std::move(at));
    }
    memory = Array<std::byte>(static_cast<int64_t>(bytes), context->allocator);
    memory.zero();
    for (size_t i = 0; i < plans.size(); ++i) {
        Leaf leaf;
        leaf.plan = plans[i];
        if (plans[i]->capabilities.stateful) {
            leaf.positions = reinterpret_cast<int64_t*>(memory.data() + offsets[i].positions);
            leaf.sequences = reinterpret_cast<int64_t*>(memory.data() + offsets[i].sequences);
            for (size_t t = 0; t < plans[i]->states.size(); ++t) {
                const StateTensor& tensor = plans[i]->states[t];
                StateRows where;
                if (!tensor.grows && !(tensor.derived && real64)) {
                    where = {memory.data() + offsets[i].tensors[t], tensor.count};
                }
                leaf.tensors.push_back({&tensor, where, {}});
                leaf.rows.push_back(where);
                healed.push_back(tensor.derived);
            }
        }
        leaves.push_back(std::move(leaf));
        for (size_t t = 0; t < leaves[i].tensors.size(); ++t) {
            if (leaves[i].tensors[t].plan->grows) {
                const int64_t first = capacity_tokens > 0 ? capacity_tokens : kFirstTokens;
                grow(i, t,
                     lines_for(*plans[i], t, capacity_tokens > 0 ? first - 1 : 0,
                               capacity_tokens > 0 ? 1 : first));
            }
        }
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

void StateMemory::grow(size_t i, size_t t, int64_t lines) {
    Tensor& tensor = leaves[i].tensors[t];
    if (lines <= tensor.rows.lines || (tensor.plan->derived && real64)) {
        return;
    }
    const StateRows old = tensor.rows;
    const int64_t line = tensor.plan->line();
    StateRows fresh;
    fresh.lines = std::clamp(2 * old.lines, lines, tensor.plan->shape[0]);
    fresh.row_stride = fresh.lines * line;
    int64_t bytes = 0;
    if (!checked_mul(rows * static_cast<int64_t>(element()), fresh.row_stride, &bytes)) {
        throw std::bad_alloc();
    }
    Array<std::byte> own(bytes, context->allocator);
    own.zero();
    fresh.data = own.data();
    for (int64_t row = 0; row < rows && old.data != nullptr; ++row) {
        std::memcpy(own.data() + static_cast<size_t>(row * fresh.row_stride) * element(),
                    static_cast<std::byte*>(old.data) +
                        static_cast<size_t>(row * old.row_stride) * element(),
                    static_cast<size_t>(old.row_stride) * element());
    }
    tensor.own = std::move(own);
    tensor.rows = leaves[i].rows[t] = fresh;
}

void StateMemory::grow_like(const StateMemory& other, size_t other_leaf, size_t leaf,
                            size_t count) {
    for (size_t i = 0; i < count; ++i) {
        for (size_t t = 0; t < leaves[leaf + i].tensors.size(); ++t) {
            grow(leaf + i, t, other.leaves[other_leaf + i].tensors[t].rows.lines);
        }
    }
}

bool StateMemory::make_room(size_t i, int64_t position, int64_t tokens) {
    for (size_t t = 0; t < leaves[i].tensors.size(); ++t) {
        const Tensor& tensor = leaves[i].tensors[t];
        if (!tensor.plan->grows) {
            continue;
        }
        const int64_t lines = lines_for(*leaves[i].plan, t, position, tokens);
        if (lines > tensor.rows.lines && capacity_tokens > 0 && !tensor.plan->derived) {
            return false;
        }
        grow(i, t, lines);
    }
    return true;
}

void StateMemory::drop_derived(size_t i, int64_t row) {
    for (const Tensor& tensor : leaves[i].tensors) {
        if (tensor.plan->derived && tensor.rows.data != nullptr) {
            const size_t bytes = static_cast<size_t>(tensor.rows.row_stride) * element();
            std::memset(
                static_cast<std::byte*>(tensor.rows.data) + static_cast<size_t>(row) * bytes, 0,
                bytes);
        }
    }
}

void StateMemory::heal_nothing() {
    size_t n = 0;
    for (const Leaf& leaf : leaves) {
        for (const Tensor& tensor : leaf.tensors) {
            healed[n++] = tensor.plan->derived;
        }
    }
}

void StateMemory::copy_from(const StateMemory& other) {
    grow_like(other, 0, 0, leaves.size());
    for (size_t i = 0; i < leaves.size(); ++i) {
        for (size_t t = 0; t < leaves[i].tensors.size(); ++t) {
            Tensor& tensor = leaves[i].tensors[t];
            if (tensor.own) {  // fresh: just as large as the other's, or both as they began
                std::memcpy(tensor.own.data(), other.leaves[i].tensors[t].own.data(),
                            tensor.own.bytes());
            }
        }
    }
    if (memory.bytes() > 0) {
        std::memcpy(memory.data(), other.memory.data(), memory.bytes());
    }
    if (snapshot_memory.bytes() > 0) {
        std::memcpy(snapshot_memory.data(), other.snapshot_memory.data(), snapshot_memory.bytes());
    }
    for (size_t i = 0; i < snapshots.size(); ++i) {
        snapshots[i].id = other.snapshots[i].id;
        snapshots[i].grown.clear();
        for (const Array<std::byte>& part : other.snapshots[i].grown) {
            snapshots[i].grown.emplace_back(part.size(), context->allocator);
            if (part) {
                std::memcpy(snapshots[i].grown.back().data(), part.data(), part.bytes());
            }
        }
    }
    next_snapshot = other.next_snapshot;
    poisoned = other.poisoned;
    healed = other.healed;
}

namespace {

// Calls fn(pointer, bytes) for every part of a row of fixed size, or for every growing one, in a fixed
// order.
template <class Fn>
void for_each_part(const StateMemory& memory, int64_t row, size_t first, size_t count, bool grown,
                   Fn&& fn) {
    for (size_t i = first; i < first + count; ++i) {
        const StateMemory::Leaf& leaf = memory.leaves[i];
        if (leaf.positions == nullptr) {
            continue;
        }
        if (!grown) {
            fn(reinterpret_cast<std::byte*>(leaf.positions + row), sizeof(int64_t));
            fn(reinterpret_cast<std::byte*>(leaf.sequences + row), sizeof(int64_t));
        }
        for (const StateMemory::Tensor& tensor : leaf.tensors) {
            const size_t bytes = static_cast<size_t>(tensor.rows.row_stride) * memory.element();
            const bool absent = tensor.plan->derived && memory.real64;
            if (tensor.plan->grows == grown && !absent) {
                fn(static_cast<std::byte*>(tensor.rows.data) + static_cast<size_t>(row) * bytes,
                   bytes);
            }
        }
    }
}

}  // namespace

void StateMemory::copy_row(int64_t row, size_t leaf, const StateMemory& from, int64_t from_row,
                           size_t from_leaf, size_t count) {
    grow_like(from, from_leaf, leaf, count);
    for (const bool grown : {false, true}) {
        std::vector<std::pair<const std::byte*, size_t>> parts;
        for_each_part(from, from_row, from_leaf, count, grown,
                      [&](std::byte* part, size_t bytes) { parts.emplace_back(part, bytes); });
        size_t i = 0;
        for_each_part(*this, row, leaf, count, grown, [&](std::byte* part, size_t bytes) {
            const auto [data, size] = parts[i++];
            if (size > 0) {
                std::memmove(part, data, size);
            }
            if (bytes > size) {
                std::memset(part + size, 0, bytes - size);
            }
        });
    }
}

void StateMemory::save_row(int64_t row, Snapshot* snapshot) const {
    std::byte* out = snapshot->data;
    for_each_part(*this, row, 0, leaves.size(), false, [&](std::byte* part, size_t bytes) {
        if (bytes > 0) {
            std::memcpy(out, part, bytes);
        }
        out += bytes;
    });
    snapshot->grown.clear();
    for_each_part(*this, row, 0, leaves.size(), true, [&](std::byte* part, size_t bytes) {
        snapshot->grown.emplace_back(static_cast<int64_t>(bytes), context->allocator);
        if (bytes > 0) {
            std::memcpy(snapshot->grown.back().data(), part, bytes);
        }
    });
}

void StateMemory::load_row(int64_t row, const Snapshot& snapshot) {
    const std::byte* in = snapshot.data;
    for_each_part(*this, row, 0, leaves.size(), false, [&](std::byte* part, size_t bytes) {
        if (bytes > 0) {
            std::memcpy(part, in, bytes);
        }
        in += bytes;
    });
    size_t i = 0;
    for_each_part(*this, row, 0, leaves.size(), true, [&](std::byte* part, size_t bytes) {
        const Array<std::byte>& kept = snapshot.grown[i++];
        if (kept) {
            std::memcpy(part, kept.data(), kept.bytes());
        }
        if (bytes > kept.bytes()) {  // it has grown since
            std::memset(part + kept.bytes(), 0, bytes - kept.bytes());
        }
    });
}

namespace {

// A row that is in memory as far as `lines` lines of its first axis, the others being zeros.
template <class T>
void write_lines(const T* row, int64_t lines, const StateTensor& tensor, Isa isa,
                 const View& view) {
    if (!tensor.grows) {
        write_state_row(row, tensor, isa, view);
        return;
    }
    const std::vector<T> zeros(static_cast<size_t>(tensor.line()));
    for (int64_t i = 0; i < tensor.shape[0]; ++i) {
        write_dense(i < lines ? row + i * tensor.line() : zeros.data(), sub_view(view, 1, i));
    }
}

}  // namespace

void StateMemory::get_row(const Tensor& tensor, int64_t row, const View& view) const {
    const int64_t at = row * tensor.rows.row_stride;
    if (real64) {
        write_lines(static_cast<const double*>(tensor.rows.data) + at, tensor.rows.lines,
                    *tensor.plan, context->isa, view);
    } else {
        write_lines(static_cast<const float*>(tensor.rows.data) + at, tensor.rows.lines,
                    *tensor.plan, context->isa, view);
    }
}

void StateMemory::set_row(const Tensor& tensor, int64_t row, const View& view) {
    const int64_t at = row * tensor.rows.row_stride;
    if (real64) {
        read_state_row(view, *tensor.plan, context->isa,
                       static_cast<double*>(tensor.rows.data) + at);
    } else {
        read_state_row(view, *tensor.plan, context->isa,
                       static_cast<float*>(tensor.rows.data) + at);
    }
}

void StateMemory::reset_row(int64_t row, size_t first_leaf, size_t leaf_count) {
    const auto clear = [](std::byte* part, size_t bytes) {
        if (bytes > 0) {
            std::memset(part, 0, bytes);
        }
    };
    for_each_part(*this, row, first_leaf, leaf_count, false, clear);
    for_each_part(*this, row, first_leaf, leaf_count, true, clear);
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

uint64_t state_bytes(const LayerCore& core, int64_t rows, bool real64, bool saved) {
    uint64_t elements = 0;
    for (const Plan* plan : leaf_plans(core)) {
        for (size_t t = 0; t < plan->states.size(); ++t) {
            const StateTensor& tensor = plan->states[t];
            const int64_t lines = tensor.grows ? lines_for(*plan, t, 0, kFirstTokens) : 0;
            const int64_t count = tensor.grows ? lines * tensor.line() : tensor.count;
            elements += tensor.derived && (real64 || saved) ? 0 : static_cast<uint64_t>(count);
        }
    }
    return elements * (real64 ? sizeof(double) : sizeof(float)) * static_cast<uint64_t>(rows);
}

}  // namespace seqmix
