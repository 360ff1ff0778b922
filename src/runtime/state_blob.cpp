#include "runtime/state_blob.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/crc32.h"
#include "runtime/options.h"
#include "runtime/state.h"

namespace seqmix {
namespace {

// Appends to a buffer, or only counts when there is none.
class Writer {
  public:
    explicit Writer(std::byte* out) : out_(out) {}
    void bytes(const void* data, size_t size) {
        if (out_ != nullptr && size > 0) {
            std::memcpy(out_ + size_, data, size);
        }
        size_ += size;
    }
    template <class T>
    void value(T v) {
        std::byte little[sizeof(T)];
        std::memcpy(little, &v, sizeof v);
        if constexpr (std::endian::native == std::endian::big) {
            std::reverse(little, little + sizeof little);
        }
        bytes(little, sizeof little);
    }
    bool counting() const { return out_ == nullptr; }
    void skip(size_t size) { size_ += size; }
    size_t size() const { return size_; }

  private:
    std::byte* out_;
    size_t size_ = 0;
};

class Reader {
  public:
    Reader(const std::byte* data, size_t size) : data_(data), size_(size) {}
    bool bytes(void* out, size_t count) {
        if (count > size_ - at_) {
            return false;
        }
        std::memcpy(out, data_ + at_, count);
        at_ += count;
        return true;
    }
    template <class T>
    bool value(T* v) {
        std::byte little[sizeof(T)];
        if (!bytes(little, sizeof little)) {
            return false;
        }
        if constexpr (std::endian::native == std::endian::big) {
            std::reverse(little, little + sizeof little);
        }
        std::memcpy(v, little, sizeof *v);
        return true;
    }
    bool text(size_t count, std::string* out) {
        if (count > size_ - at_) {
            return false;
        }
        out->assign(reinterpret_cast<const char*>(data_ + at_), count);
        at_ += count;
        return true;
    }
    bool at_end() const { return at_ == size_; }
    size_t left() const { return size_ - at_; }

  private:
    const std::byte* data_;
    size_t size_;
    size_t at_ = 0;
};

// Memory for one canonical row of a tensor, as far as it goes, as a view.
View row_view(std::vector<float>& values, const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) {
        count *= size;
    }
    values.resize(static_cast<size_t>(count));
    return dense_view(values.data(), DType::f32, shape.data(), shape.size());
}

// What a blob holds of a tensor: of a growing one the lines that are there.
StateTensor saved_part(const StateMemory::Tensor& tensor) {
    StateTensor part = *tensor.plan;
    if (part.grows) {
        part.shape[0] = tensor.rows.lines;
        part.count = tensor.rows.row_stride;
    }
    return part;
}

size_t saved_tensors(const StateMemory::Leaf& leaf) {
    size_t count = 0;
    for (const StateMemory::Tensor& tensor : leaf.tensors) {
        count += tensor.plan->derived ? 0u : 1u;
    }
    return count;
}

uint32_t leaves_with_state(const seqmix_state& state) {
    uint32_t leaves = 0;
    for (size_t i = 0; i < state.leaf_count; ++i) {
        leaves += state.memory->leaves[state.first_leaf + i].positions != nullptr ? 1u : 0u;
    }
    return leaves;
}

// The blob without its checksum. `total` is the size of the finished blob.
void write_blob(const seqmix_state& state, uint64_t total, uint64_t weights_id, Writer& out) {
    const StateMemory& memory = *state.memory;
    const std::string type = state.core->type();
    out.bytes(kBlobMagic, sizeof kBlobMagic);
    out.value(kBlobVersion);
    out.value(static_cast<uint32_t>(type.size()));
    out.value(total);
    out.value(config_fingerprint(*state.core));
    out.value(weights_id);
    out.value(static_cast<uint64_t>(memory.rows));
    out.value(leaves_with_state(state));
    out.value(uint32_t{0});
    out.bytes(type.data(), type.size());
    std::vector<float> row_values;
    for (size_t i = 0; i < state.leaf_count; ++i) {
        const StateMemory::Leaf& leaf = memory.leaves[state.first_leaf + i];
        if (leaf.positions == nullptr) {
            continue;
        }
        out.value(static_cast<uint32_t>(saved_tensors(leaf)));
        for (int64_t r = 0; r < memory.rows; ++r) {
            out.value(leaf.positions[r]);
        }
        for (int64_t r = 0; r < memory.rows; ++r) {
            out.value(leaf.sequences[r]);
        }
        for (const StateMemory::Tensor& tensor : leaf.tensors) {
            if (tensor.plan->derived) {
                continue;
            }
            const StateTensor plan = saved_part(tensor);
            out.value(static_cast<uint32_t>(plan.name.size()));
            out.bytes(plan.name.data(), plan.name.size());
            out.value(static_cast<uint32_t>(plan.shape.size()));
            for (const int64_t size : plan.shape) {
                out.value(size);
            }
            if (out.counting()) {
                out.skip(static_cast<size_t>(memory.rows * plan.count) * sizeof(float));
                continue;
            }
            const View view = row_view(row_values, plan.shape);
            for (int64_t r = 0; r < memory.rows; ++r) {
                memory.get_row({&plan, tensor.rows, {}}, r, view);
                for (const float v : row_values) {
                    out.value(v);
                }
            }
        }
    }
}

// Far beyond any stream, and far enough from the end that going on cannot overflow.
constexpr int64_t kMaxPosition = INT64_MAX / 2;

Status damaged(const char* type, const char* what) {
    return fail(SEQMIX_ERR_BAD_FORMAT, type, ": state blob: ", what);
}

// Fills a fresh state from the part after the header. Every count must be the layer's own.
Status read_leaves(Reader& in, const char* type, StateMemory& memory) {
    std::vector<float> values;
    for (size_t l = 0; l < memory.leaves.size(); ++l) {
        StateMemory::Leaf& leaf = memory.leaves[l];
        if (leaf.positions == nullptr) {
            continue;
        }
        uint32_t tensors = 0;
        if (!in.value(&tensors) || tensors != saved_tensors(leaf)) {
            return damaged(type, "another number of tensors");
        }
        for (int64_t r = 0; r < memory.rows; ++r) {
            if (!in.value(&leaf.positions[r]) || leaf.positions[r] < 0 ||
                leaf.positions[r] > kMaxPosition) {
                return damaged(type, "bad positions");
            }
        }
        for (int64_t r = 0; r < memory.rows; ++r) {
            if (!in.value(&leaf.sequences[r])) {
                return damaged(type, "it ends early");
            }
        }
        for (size_t t = 0; t < leaf.tensors.size(); ++t) {
            StateMemory::Tensor& tensor = leaf.tensors[t];
            if (tensor.plan->derived) {
                continue;
            }
            uint32_t length = 0, dims = 0;
            std::string name;
            if (!in.value(&length) || !in.text(length, &name) || name != tensor.plan->name ||
                !in.value(&dims) || dims != tensor.plan->shape.size()) {
                return damaged(type, "another tensor than expected");
            }
            int64_t lines = 0;
            for (size_t axis = 0; axis < dims; ++axis) {
                const int64_t size = tensor.plan->shape[axis];
                int64_t stored = 0;
                const bool read = in.value(&stored);
                const bool part = tensor.plan->grows && axis == 0 && stored >= tensor.rows.lines &&
                                  stored <= size;
                if (!read || (stored != size && !part)) {
                    return damaged(type, "another shape than expected");
                }
                lines = axis == 0 ? stored : lines;
            }
            // Nothing is allocated that the blob does not hold.
            if (tensor.plan->grows) {
                const auto line = static_cast<uint64_t>(tensor.plan->line()) * sizeof(float);
                const auto there = static_cast<uint64_t>(in.left()) /
                                   std::max<uint64_t>(1, line * static_cast<uint64_t>(memory.rows));
                if (static_cast<uint64_t>(lines) > there) {
                    return damaged(type, "it ends early");
                }
                memory.grow(l, t, lines);
            }
            const StateTensor saved = saved_part(tensor);
            const View view = row_view(values, saved.shape);
            for (int64_t r = 0; r < memory.rows; ++r) {
                for (float& v : values) {
                    if (!in.value(&v)) {
                        return damaged(type, "it ends early");
                    }
                }
                memory.set_row({&saved, tensor.rows, {}}, r, view);
            }
        }
    }
    return in.at_end() ? Status() : damaged(type, "it has bytes to spare");
}

}  // namespace

Status state_save(const seqmix_state& state, void* buf, size_t cap, size_t* needed) {
    const Busy busy(*state.memory);
    if (!busy) {
        return busy.refused();
    }
    if (state.memory->poisoned) {
        return fail(SEQMIX_ERR_STATE_POISONED, state.core->type(),
                    ": an earlier failure left the state half written");
    }
    const uint64_t weights_id = state.core->weights_id();
    Writer count(nullptr);
    write_blob(state, 0, weights_id, count);
    const size_t total = count.size() + sizeof(uint32_t);
    *needed = total;
    if (cap < total) {
        return fail(SEQMIX_ERR_BUFFER_TOO_SMALL, state.core->type(), ": the blob takes ", total,
                    " bytes, the buffer has ", cap);
    }
    Writer out(static_cast<std::byte*>(buf));
    write_blob(state, total, weights_id, out);
    out.value(crc32(buf, total - sizeof(uint32_t)));
    return Status();
}

Status state_load(const seqmix_layer& layer, const void* buf, size_t n,
                  const seqmix_state_options* options, seqmix_state** out) {
    const LayerCore& core = *layer.core;
    const char* type = core.type();
    seqmix_state_options known{};
    SEQMIX_TRY(read_options(options, "seqmix_state_options", &known));
    SEQMIX_TRY(check_flags(known.flags, SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS, "seqmix_state_options"));
    if (n < kBlobHeader + sizeof(uint32_t)) {
        return damaged(type, "shorter than its header");
    }
    const auto* bytes = static_cast<const std::byte*>(buf);
    if (std::memcmp(bytes, kBlobMagic, sizeof kBlobMagic) != 0) {
        return damaged(type, "no seqmix state");
    }
    Reader in(bytes, n - sizeof(uint32_t));
    char magic[8];
    uint32_t version = 0, name_size = 0, leaves = 0, element = 0;
    uint64_t total = 0, fingerprint = 0, weights_id = 0, rows = 0;
    std::string name;
    in.bytes(magic, sizeof magic);
    in.value(&version);
    in.value(&name_size);
    in.value(&total);
    in.value(&fingerprint);
    in.value(&weights_id);
    in.value(&rows);
    in.value(&leaves);
    in.value(&element);
    if (total != n) {
        return damaged(type, total > n ? "cut short" : "another length than its header says");
    }
    Reader tail(bytes + n - sizeof(uint32_t), sizeof(uint32_t));
    uint32_t stored_crc = 0;
    tail.value(&stored_crc);
    if (stored_crc != crc32(buf, n - sizeof(uint32_t))) {
        return damaged(type, "its checksum does not match");
    }
    if (version != kBlobVersion) {
        return fail(SEQMIX_ERR_VERSION, type, ": state blob of format version ", version,
                    ", this library reads ", kBlobVersion);
    }
    if (element != 0 || !in.text(name_size, &name)) {
        return damaged(type, "bad header");
    }
    if (name != type || fingerprint != config_fingerprint(core)) {
        return fail(SEQMIX_ERR_STATE_MISMATCH, type, ": the blob is of a '", name,
                    name != type ? "'" : "' with other attributes", ", expected '", type, "'");
    }
    if (weights_id != core.weights_id() && (known.flags & SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS) == 0) {
        return fail(SEQMIX_ERR_STATE_MISMATCH, type,
                    ": the blob was made with other weights (SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS "
                    "allows it)");
    }
    if (known.batch != 0 && static_cast<uint64_t>(known.batch) != rows) {
        return fail(SEQMIX_ERR_STATE_MISMATCH, type, ": the blob has ", static_cast<int64_t>(rows),
                    " rows, the options ask for ", known.batch);
    }
    // Before anything is allocated: a row takes its position and its tensors.
    if (rows > n || (rows > 0 && n / rows < state_bytes(core, 1, false, true))) {
        return damaged(type, "more rows than bytes");
    }
    seqmix_state* fresh = nullptr;
    SEQMIX_TRY(state_create(layer, static_cast<int64_t>(rows), known.snapshot_slots,
                            known.capacity_tokens, &fresh));
    const auto destroy = [&](seqmix_state* state) { layer.context->allocator.destroy(state); };
    std::unique_ptr<seqmix_state, decltype(destroy)> guard(fresh, destroy);
    if (leaves != leaves_with_state(*fresh)) {
        return damaged(type, "another number of layers");
    }
    SEQMIX_TRY(read_leaves(in, type, *fresh->memory));
    *out = guard.release();
    return Status();
}

}  // namespace seqmix
