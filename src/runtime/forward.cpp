// One forward call: rows are cut into chunks of time, chunks of several rows are packed into steps,
// and each step runs through the mixer. Written once for every mixer.
#include <algorithm>
#include <cstring>

#include "base/fpenv.h"
#include "runtime/options.h"
#include "runtime/staging.h"
#include "runtime/state.h"

namespace seqmix {
namespace {

// A core's share of the largest caches, and some more.
constexpr double kStreamedBytes = 64e6;

// A row of the call on its way.
struct Cursor {
    RowSpan span;
    int64_t last_true;  // index in order of processing of the last token that is not padding, or -1
    int64_t sequence;   // seq_idx of the token before, or kNoSequence
    int64_t start;      // first token of that sequence
    int64_t consumed;   // in the current step
};

// Everything that a call keeps in its workspace. `lay_out` is run twice: once to measure, once to
// hand out, so the size is exact by construction.
struct Buffers {
    Cursor* cursors = nullptr;
    Step step;
    Matrix* matrices = nullptr;        // by slot number
    void** staging = nullptr;          // by position in plan.slots
    int64_t* positions = nullptr;      // of the step's tokens
    Source* sources = nullptr;         // by slot number
    SourceRow* source_rows = nullptr;  // by row
    std::byte* source_copies = nullptr;
    StateRows* op_states = nullptr;
    StateLeaf* leaves = nullptr;
    std::byte* scratch = nullptr;
    size_t scratch_size = 0;
};

class Measure {
  public:
    template <class T>
    T* take(int64_t count) {
        bytes_ += Scratch::round_up(static_cast<size_t>(count) * sizeof(T));
        return nullptr;
    }
    size_t bytes() const { return bytes_; }

  private:
    size_t bytes_ = 0;
};

int64_t largest_count(const Slot& slot, SlotKind kind) {
    int64_t count = 0;
    for (const auto& shape : slot.shapes) {
        if (slot_kind(shape) == kind) {
            count = std::max(count, slot_width(shape));
        }
    }
    return count;
}

// What of a call its tensors decide.
struct CallShape {
    int64_t rows, tokens;
    int64_t source = 0;         // tokens of a row's source
    int64_t source_copies = 0;  // bytes
};

// Kernels read tensors of the source where they are, if they can.
bool source_in_place(const View& view, bool real64) {
    return real64 || view.count == 0 || (view.dense_from(view.ndim - 1) && view.aligned());
}

bool is_source(const Plan& plan, const Arguments& args, size_t i) {
    return args.views[i] && plan.slots[i].role == Role::input &&
           slot_kind(plan.slots[i].shapes[static_cast<size_t>(args.variants[i])]) ==
               SlotKind::source;
}

int64_t source_copy_bytes(const View& view, bool real64) {
    return source_in_place(view, real64)
               ? 0
               : static_cast<int64_t>(
                     Scratch::round_up(static_cast<size_t>(view.count * view.element_size())));
}

CallShape call_shape(const Plan& plan, const Arguments& args, bool real64) {
    CallShape shape{args.rows, args.tokens, std::max<int64_t>(args.source, 0)};
    for (size_t i = 0; i < plan.slots.size(); ++i) {
        shape.source_copies +=
            is_source(plan, args, i) ? source_copy_bytes(args.views[i], real64) : 0;
    }
    return shape;
}

// Elements of scratch that copies of a slot can take in a call.
int64_t staging_count(const Slot& slot, bool real64, int64_t rows, int64_t step_tokens) {
    const bool call_tensor = slot.role == Role::input || slot.role == Role::output;
    if (!call_tensor || (slot.direct && !real64)) {
        return 0;
    }
    return std::max({largest_count(slot, SlotKind::token) * step_tokens,
                     largest_count(slot, SlotKind::row) * rows,
                     largest_count(slot, SlotKind::constant)});
}

template <class Arena>
void lay_out(Arena& arena, const LayerCore& core, bool real64, size_t workers,
             const CallShape& shape, Buffers* b) {
    const Plan& plan = *core.plan;
    const int64_t rows = shape.rows, tokens = shape.tokens;
    const int64_t most = plan.chunk == kWholeSequence ? tokens : std::min(tokens, core.step_tokens);
    b->cursors = arena.template take<Cursor>(rows);
    b->step.segments = arena.template take<Segment>(most);
    b->step.places = arena.template take<Place>(most);
    b->step.runs = arena.template take<RowRun>(std::min(rows, most));
    b->matrices = arena.template take<Matrix>(plan.slot_limit());
    b->staging = arena.template take<void*>(static_cast<int64_t>(plan.slots.size()));
    if (plan.find(SEQMIX_SLOT_POSITIONS) != nullptr) {
        b->positions = arena.template take<int64_t>(most);
    }
    if (has_source(*plan.mixer->schema)) {
        b->sources = arena.template take<Source>(plan.slot_limit());
        b->source_rows = arena.template take<SourceRow>(rows);
        b->source_copies = arena.template take<std::byte>(shape.source_copies);
    }
    b->op_states = arena.template take<StateRows>(static_cast<int64_t>(plan.states.size()));
    b->leaves = arena.template take<StateLeaf>(static_cast<int64_t>(core.children.size()));
    for (size_t i = 0; i < plan.slots.size(); ++i) {
        const int64_t count = staging_count(plan.slots[i], real64, rows, most);
        void* memory = arena.template take<double>(
            (real64 || plan.slots[i].limit > 0) ? count : (count + 1) / 2);
        if (b->staging != nullptr) {
            b->staging[i] = memory;
        }
    }
    if (plan.mixer->schema->operation) {
        for (size_t i = 0; i < plan.states.size(); ++i) {
            const int64_t count = plan.states[i].count * rows;
            void* memory = arena.template take<double>(real64 ? count : (count + 1) / 2);
            if (b->op_states != nullptr) {
                b->op_states[i] = {memory, plan.states[i].count, 0};
            }
        }
    }
    b->scratch_size = plan.mixer->scratch(plan, {most, rows, workers, real64, shape.source});
    b->scratch = arena.template take<std::byte>(static_cast<int64_t>(b->scratch_size));
}

class ForwardCall {
  public:
    ForwardCall(const seqmix_layer& layer, seqmix_state* state)
        : layer_(layer), core_(*layer.core), plan_(*core_.plan), state_(state) {}

    Status run(const seqmix_arg* args, size_t n, const seqmix_forward_options& options);

  private:
    Status check_state();
    Status check_distinct_rows();
    Status make_room();
    void start_cursors();
    Status check_lengths() const;
    void place_sources();
    Status run_chunks(const seqmix_forward_options& options);
    // Token i of a row, in order of processing.
    Place place_of(const Cursor& cursor, int64_t i) const {
        return {cursor.span.batch,
                cursor.span.begin + (plan_.reverse ? cursor.span.count - 1 - i : i)};
    }
    int64_t sequence_at(const Cursor& cursor, int64_t i) const {
        int64_t value = 0;
        read_elements(token_address(*seq_idx_, place_of(cursor, i)), seq_idx_->dtype, 1, 1, &value,
                      1);
        return value;
    }
    Status add_piece(int64_t row, int64_t begin, int64_t end);
    bool direct_slots_continue(const Place& place, int64_t count) const;
    Status poll(const seqmix_forward_options& options) const;
    Status flush();
    template <class T>
    void read_inputs(Call& call);
    template <class T>
    void write_outputs(const Call& call);
    template <class T>
    void read_op_states();
    template <class T>
    void write_op_states();
    void finish_step();

    const seqmix_layer& layer_;
    const LayerCore& core_;
    const Plan& plan_;
    seqmix_state* state_;
    Arguments args_;
    Workspace workspace_;
    Buffers buffers_;
    std::atomic<bool> failed_{false};
    int64_t most_tokens_ = 0;  // of a step
    int64_t longest_ = 0;      // tokens of the longest row
    uint64_t total_ = 0, done_ = 0;
    const View* seq_idx_ = nullptr;
    int64_t step_rows_begin_ = 0, step_rows_end_ = 0;  // rows of the call that the step is made of
    bool constants_ready_ = false;
};

bool run_task(void* user, size_t n, seqmix_task_fn fn, void* arg) {
    return static_cast<Executor*>(user)->run(n, fn, arg);
}

Status ForwardCall::check_state() {
    const char* type = core_.type();
    if (plan_.mixer->schema->operation) {
        if (state_ != nullptr) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type,
                        ": an operation takes no state, expected NULL");
        }
        return Status();
    }
    if (state_ == nullptr) {
        if (core_.stateful()) {
            return fail(SEQMIX_ERR_NULL_ARGUMENT, type, ": state is NULL");
        }
        return Status();
    }
    const StateMemory& memory = *state_->memory;
    if (state_->core.get() != &core_) {
        return fail(SEQMIX_ERR_STATE_MISMATCH, type, ": the state belongs to another layer (",
                    state_->core->type(), ")");
    }
    if (memory.poisoned) {
        return fail(SEQMIX_ERR_STATE_POISONED, type,
                    ": an earlier failure left the state half written; reset, roll back or set it");
    }
    const bool named = args_.find(plan_, SEQMIX_SLOT_ROWS) != nullptr;
    if (!named && args_.rows != memory.rows) {
        return fail(SEQMIX_ERR_STATE_MISMATCH, type, ": the call has ", args_.rows,
                    " rows, the state ", memory.rows);
    }
    for (int64_t r = 0; r < args_.rows; ++r) {
        const int64_t row = row_span(plan_, args_, r).state_row;
        if (row >= memory.rows) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": 'rows'[", r, "] is ", row,
                        ", the state has ", memory.rows);
        }
        int64_t position = 0;
        SEQMIX_TRY(row_position(*state_, row, &position));  // fails if the children differ
        if (position > 0 && !plan_.capabilities.causal) {
            return fail(SEQMIX_ERR_UNSUPPORTED, type,
                        ": takes whole sequences (it is not causal), ", "but row ", row,
                        " of the state is at position ", position, ", expected 0: reset it");
        }
    }
    return Status();
}

// Growing states get what this call needs before anything is touched.
Status ForwardCall::make_room() {
    StateMemory& memory = *state_->memory;
    for (int64_t r = 0; r < args_.rows; ++r) {
        const RowSpan span = row_span(plan_, args_, r);
        for (size_t i = 0; i < state_->leaf_count; ++i) {
            const size_t leaf = state_->first_leaf + i;
            const int64_t* positions = memory.leaves[leaf].positions;
            if (positions == nullptr) {
                continue;
            }
            const int64_t position = positions[span.state_row];
            // seq_idx may cut the tokens into any pieces.
            const bool cut = seq_idx_ != nullptr && span.count > 0;
            const bool room = cut ? memory.make_room(leaf, position + span.count - 1, 1)
                                  : memory.make_room(leaf, position, span.count);
            if (!room) {
                return fail(SEQMIX_ERR_CAPACITY, core_.type(), ": row ", r, " goes to token ",
                            position + span.count, ", the state has a capacity of ",
                            memory.capacity_tokens);
            }
        }
    }
    return Status();
}

// No state row is named twice. Sorted where the cursors will be: a call has no other memory.
Status ForwardCall::check_distinct_rows() {
    if (args_.find(plan_, SEQMIX_SLOT_ROWS) == nullptr) {
        return Status();
    }
    Cursor *first = buffers_.cursors, *end = first + args_.rows;
    for (int64_t r = 0; r < args_.rows; ++r) {
        first[r].span = row_span(plan_, args_, r);
    }
    const auto row = [](const Cursor& cursor) { return cursor.span.state_row; };
    std::sort(first, end, [&](const Cursor& a, const Cursor& b) { return row(a) < row(b); });
    const Cursor* twice = std::adjacent_find(
        first, end, [&](const Cursor& a, const Cursor& b) { return row(a) == row(b); });
    if (twice != end) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, core_.type(), ": 'rows' names row ", row(*twice),
                    " twice");
    }
    return Status();
}

void ForwardCall::start_cursors() {
    for (int64_t r = 0; r < args_.rows; ++r) {
        Cursor& cursor = buffers_.cursors[r];
        cursor.span = row_span(plan_, args_, r);
        cursor.last_true = cursor.span.count - 1;
        cursor.consumed = 0;
        cursor.sequence = kNoSequence;
        cursor.start = 0;
        if (state_ != nullptr) {
            for (size_t i = 0; i < state_->leaf_count; ++i) {
                const auto& leaf = state_->memory->leaves[state_->first_leaf + i];
                if (leaf.sequences != nullptr) {
                    cursor.sequence = leaf.sequences[cursor.span.state_row];
                    break;
                }
            }
        }
        while (seq_idx_ != nullptr && cursor.last_true >= 0 &&
               sequence_at(cursor, cursor.last_true) < 0) {
            --cursor.last_true;
        }
        longest_ = std::max(longest_, cursor.span.count);
        total_ += static_cast<uint64_t>(cursor.span.count);
    }
}

// No sequence becomes longer than the layers take. One that goes on counts all tokens of its row since
// the last reset of the state.
Status ForwardCall::check_lengths() const {
    const int64_t most = plan_.max_tokens;
    for (int64_t r = 0; most > 0 && r < args_.rows; ++r) {
        const Cursor& cursor = buffers_.cursors[r];
        int64_t length = 0, longest = 0, sequence = cursor.sequence;
        if (state_ != nullptr) {
            SEQMIX_TRY(row_position(*state_, cursor.span.state_row, &length));
        }
        for (int64_t i = 0; seq_idx_ != nullptr && i < cursor.span.count; ++i) {
            const int64_t next = sequence_at(cursor, i);
            length = sequence != kNoSequence && next != sequence ? 1 : length + 1;
            longest = std::max(longest, next < 0 ? 0 : length);
            sequence = next;
        }
        longest = seq_idx_ != nullptr ? longest : length + cursor.span.count;
        if (longest > most) {
            return fail(SEQMIX_ERR_CAPACITY, core_.type(), ": row ", r, " goes to token ", longest,
                        ", the layer takes at most ", most);
        }
    }
    return Status();
}

// The tensors of the source: where they are, or copied as they are.
void ForwardCall::place_sources() {
    if (buffers_.sources == nullptr) {
        return;
    }
    std::fill_n(buffers_.sources, plan_.slot_limit(), Source{});
    std::byte* copy = buffers_.source_copies;
    for (size_t i = 0; i < plan_.slots.size(); ++i) {
        if (!is_source(plan_, args_, i)) {
            continue;
        }
        View view = args_.views[i];
        if (!source_in_place(view, layer_.real64())) {
            read_bytes(view, copy);
            view = dense_view(copy, view.dtype, view.shape, static_cast<size_t>(view.ndim));
            copy += source_copy_bytes(args_.views[i], layer_.real64());
        }
        Source& source = buffers_.sources[plan_.slots[i].slot];
        source = {view.data, view.dtype, args_.variants[i], {}};
        std::copy_n(view.strides, view.ndim, source.strides);
    }
    for (int64_t r = 0; r < args_.rows; ++r) {
        buffers_.source_rows[r] = source_row(plan_, args_, r);
    }
}

// Whether a segment of `count` tokens at `place` keeps every directly written slot one matrix, which
// the step so far is: every segment of it has passed here.
bool ForwardCall::direct_slots_continue(const Place& place, int64_t count) const {
    const Step& step = buffers_.step;
    if (step.segment_count == 0 || layer_.real64()) {
        return true;
    }
    for (size_t i = 0; i < plan_.slots.size(); ++i) {
        const View& view = args_.views[i];
        if (!plan_.slots[i].direct || !view ||
            slot_kind(plan_.slots[i].shapes[static_cast<size_t>(args_.variants[i])]) !=
                SlotKind::token) {
            continue;
        }
        const Segment& last = step.segments[step.segment_count - 1];
        const Place& at = step.places[step.segment_count - 1];
        if (step.tokens == 1 && count == 1) {
            continue;  // two single tokens are a matrix wherever they lie
        }
        const ptrdiff_t inside = step.direction * view.strides[1];
        const ptrdiff_t distance = token_distance(view, step);
        const std::byte* next =
            token_address(view, at) + (distance * last.count) * view.element_size();
        if ((count > 1 && distance != inside) || token_address(view, place) != next) {
            return false;
        }
    }
    return true;
}

// Tokens [begin, end) of a row, in order of processing, into the step; seq_idx cuts them further.
Status ForwardCall::add_piece(int64_t row, int64_t begin, int64_t end) {
    Step& step = buffers_.step;
    Cursor& cursor = buffers_.cursors[row];
    int64_t first_segment = step.segment_count;
    const auto close_run = [&] {
        if (step.segment_count > first_segment) {
            step.runs[step.run_count++] = {first_segment, step.segment_count - first_segment,
                                           cursor.span.state_row};
        }
    };
    const auto consume = [&](int64_t count) {
        cursor.consumed += count;
        if (step_rows_end_ == step_rows_begin_) {
            step_rows_begin_ = row;
        }
        step_rows_end_ = row + 1;  // rows come in their order
    };
    for (int64_t i = begin; i < end;) {
        int64_t stop = end;
        bool reset = false;
        if (seq_idx_ != nullptr) {
            const int64_t value = sequence_at(cursor, i);
            reset = cursor.sequence != kNoSequence && value != cursor.sequence;
            cursor.start = reset ? i : cursor.start;
            cursor.sequence = value;
            stop = i + 1;
            while (stop < end && sequence_at(cursor, stop) == value) {
                ++stop;
            }
            if (value < 0) {
                consume(stop - i);
                i = stop;
                continue;
            }
        }
        if (!direct_slots_continue(place_of(cursor, i), stop - i)) {
            close_run();
            SEQMIX_TRY(flush());
            first_segment = 0;
        }
        const bool ends = stop == cursor.span.count ||
                          (seq_idx_ != nullptr && sequence_at(cursor, stop) != cursor.sequence);
        step.segments[step.segment_count] = {step.tokens,
                                             stop - i,
                                             row,
                                             cursor.span.state_row,
                                             reset,
                                             i <= cursor.last_true && cursor.last_true < stop,
                                             i - cursor.start,
                                             ends && stop - cursor.start == 1};
        step.places[step.segment_count] = place_of(cursor, i);
        ++step.segment_count;
        step.tokens += stop - i;
        consume(stop - i);
        i = stop;
    }
    close_run();
    return Status();
}

template <class T>
void ForwardCall::read_inputs(Call& call) {
    const bool real64 = layer_.real64();
    const DType real = real64 ? DType::f64 : DType::f32;
    for (size_t i = 0; i < plan_.slots.size(); ++i) {
        const Slot& slot = plan_.slots[i];
        const View& view = args_.views[i];
        if (!view || (slot.role != Role::input && slot.role != Role::output)) {
            continue;
        }
        const auto& shape = slot.shapes[static_cast<size_t>(args_.variants[i])];
        const SlotKind kind = slot_kind(shape);
        Matrix& matrix = buffers_.matrices[slot.slot];
        const int64_t width = slot_width(shape);
        if (kind == SlotKind::source || (kind == SlotKind::constant && constants_ready_)) {
            continue;
        }
        matrix = {buffers_.staging[i], kind == SlotKind::constant ? 0 : width, args_.variants[i]};
        if (slot.limit > 0) {  // integers become int64_t
            pack_tokens(view, buffers_.step, width, call,
                        static_cast<int64_t*>(buffers_.staging[i]));
        } else if (kind == SlotKind::token) {
            ptrdiff_t stride = 0;
            // In double matrices are dense.
            if (view.dtype == real && in_place(view, buffers_.step, &stride) &&
                (!real64 || stride == width)) {
                const bool streamed =
                    slot.role == Role::output &&
                    static_cast<double>(total_) * static_cast<double>(width) * sizeof(float) >
                        kStreamedBytes;
                matrix = {token_address(view, buffers_.step.places[0]), stride, args_.variants[i],
                          streamed};
            } else if (slot.role == Role::input) {
                pack_tokens(view, buffers_.step, width, call, static_cast<T*>(buffers_.staging[i]));
            }
        } else if (kind == SlotKind::row) {
            if (!real64 && view.dtype == real && view.aligned()) {
                matrix = {view.data, view.strides[0], args_.variants[i]};
            }
        } else if (view.dtype == real && view.aligned() && view.dense_from(0)) {
            matrix.data = view.data;
        } else {
            read_dense(view, static_cast<T*>(buffers_.staging[i]));
        }
        matrix.given = view.dtype;
    }
    if (const View* positions = args_.find(plan_, SEQMIX_SLOT_POSITIONS)) {
        pack_tokens(*positions, buffers_.step, 1, call, buffers_.positions);
        call.token_positions = buffers_.positions;
    }
    constants_ready_ = true;
}

template <class T>
void ForwardCall::write_outputs(const Call& call) {
    for (size_t i = 0; i < plan_.slots.size(); ++i) {
        const Slot& slot = plan_.slots[i];
        const View& view = args_.views[i];
        if (!view || slot.role != Role::output ||
            buffers_.matrices[slot.slot].data != buffers_.staging[i]) {
            continue;
        }
        const T* staged = static_cast<const T*>(buffers_.staging[i]);
        const auto& shape = slot.shapes[static_cast<size_t>(args_.variants[i])];
        if (slot_kind(shape) == SlotKind::token) {
            unpack_tokens(staged, buffers_.step, slot_width(shape), call, view);
            continue;
        }
        for (int64_t s = 0; s < buffers_.step.segment_count; ++s) {
            const Segment& segment = buffers_.step.segments[s];
            if (segment.last) {
                write_dense(staged + segment.row * slot_width(shape),
                            sub_view(view, 1, segment.row));
            }
        }
    }
}

template <class T>
void ForwardCall::read_op_states() {
    for (size_t i = 0; i < plan_.states.size(); ++i) {
        const StateTensor& tensor = plan_.states[i];
        T* rows = static_cast<T*>(buffers_.op_states[i].data);
        const View* in = args_.find(plan_, tensor.slot);
        for (int64_t r = 0; r < args_.rows; ++r) {
            T* row = rows + r * tensor.count;
            if (in == nullptr) {
                std::fill_n(row, tensor.count, T{0});
            } else {
                read_state_row(sub_view(*in, 1, r), tensor, layer_.context->isa, row);
            }
        }
    }
}

template <class T>
void ForwardCall::write_op_states() {
    for (size_t i = 0; i < plan_.states.size(); ++i) {
        const StateTensor& tensor = plan_.states[i];
        const View* out = args_.find(plan_, tensor.slot + 1);
        for (int64_t r = 0; out != nullptr && r < args_.rows; ++r) {
            write_state_row(static_cast<const T*>(buffers_.op_states[i].data) + r * tensor.count,
                            tensor, layer_.context->isa, sub_view(*out, 1, r));
        }
    }
}

void ForwardCall::finish_step() {
    for (int64_t r = step_rows_begin_; r < step_rows_end_; ++r) {
        Cursor& cursor = buffers_.cursors[r];
        if (cursor.consumed == 0) {
            continue;
        }
        done_ += static_cast<uint64_t>(cursor.consumed);
        for (size_t i = 0; state_ != nullptr && i < state_->leaf_count; ++i) {
            auto& leaf = state_->memory->leaves[state_->first_leaf + i];
            if (leaf.positions != nullptr) {
                leaf.positions[cursor.span.state_row] += cursor.consumed;
                leaf.sequences[cursor.span.state_row] =
                    seq_idx_ != nullptr ? cursor.sequence : kNoSequence;
            }
        }
        cursor.consumed = 0;
    }
    step_rows_begin_ = step_rows_end_ = 0;
    buffers_.step.tokens = 0;
    buffers_.step.segment_count = 0;
    buffers_.step.run_count = 0;
}

// Runs the step that has been collected.
Status ForwardCall::flush() {
    Step& step = buffers_.step;
    if (step.tokens > 0) {
        Call call;
        call.tokens = step.tokens;
        call.rows = args_.rows;
        call.segments = step.segments;
        call.segment_count = step.segment_count;
        call.runs = step.runs;
        call.run_count = step.run_count;
        call.slots = buffers_.matrices;
        call.sources = buffers_.sources;
        call.source_rows = buffers_.source_rows;
        call.states = buffers_.op_states;
        if (state_ != nullptr) {
            const auto& leaves = state_->memory->leaves;
            call.states = leaves[state_->first_leaf].rows.data();
            call.positions = leaves[state_->first_leaf].positions;
            for (size_t i = 0; i < core_.children.size(); ++i) {
                buffers_.leaves[i] = {leaves[state_->first_leaf + i].rows.data(),
                                      leaves[state_->first_leaf + i].positions};
            }
            call.leaves = buffers_.leaves;
        }
        call.scratch = Scratch(buffers_.scratch, buffers_.scratch_size);
        call.runner = {&layer_.context->executor, run_task, layer_.context->executor.workers()};
        call.failed = &failed_;
        if (layer_.real64()) {
            read_inputs<double>(call);
            plan_.mixer->run_reference(*core_.bound, call);
            write_outputs<double>(call);
        } else {
            read_inputs<float>(call);
            plan_.mixer->run(*core_.bound, call);
            write_outputs<float>(call);
        }
        if (failed_.load(std::memory_order_relaxed)) {
            if (state_ != nullptr) {
                state_->memory->poisoned = true;
            }
            return fail(SEQMIX_ERR_CALLBACK, core_.type(), ": the host's parallel_for failed");
        }
    }
    finish_step();
    return Status();
}

Status ForwardCall::poll(const seqmix_forward_options& options) const {
    if (options.poll != nullptr && options.poll(options.poll_user, done_, total_) != 0) {
        return fail(SEQMIX_ERR_CANCELLED, core_.type(), ": cancelled after ",
                    static_cast<int64_t>(done_), " of ", static_cast<int64_t>(total_), " tokens");
    }
    return Status();
}

Status ForwardCall::run_chunks(const seqmix_forward_options& options) {
    const int64_t chunk = plan_.chunk;
    for (int64_t begin = 0; begin < longest_;) {
        for (int64_t r = 0; r < args_.rows; ++r) {
            const int64_t count = buffers_.cursors[r].span.count;
            if (begin >= count) {
                continue;
            }
            const int64_t end = chunk >= count - begin ? count : begin + chunk;
            if (buffers_.step.tokens > 0 && buffers_.step.tokens + (end - begin) > most_tokens_) {
                SEQMIX_TRY(flush());
                SEQMIX_TRY(poll(options));
            }
            SEQMIX_TRY(add_piece(r, begin, end));
        }
        SEQMIX_TRY(flush());
        if (chunk >= longest_ - begin) {
            break;
        }
        begin += chunk;
        SEQMIX_TRY(poll(options));
    }
    return Status();
}

Status ForwardCall::run(const seqmix_arg* args, size_t n, const seqmix_forward_options& options) {
    if (core_.bound == nullptr) {
        if (!core_.missing.empty()) {
            return fail(SEQMIX_ERR_MISSING_TENSOR, core_.type(), ": ", core_.missing);
        }
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, core_.type(),
                    ": the layer has no weights; bind it first");
    }
    const bool real64 = layer_.real64();
    SEQMIX_TRY(read_arguments(plan_, real64, args, n, &args_));
    SEQMIX_TRY(check_state());
    seq_idx_ = args_.find(plan_, SEQMIX_SLOT_SEQ_IDX);
    buffers_.step.direction = plan_.reverse ? -1 : 1;

    const size_t workers = layer_.context->executor.workers();
    Measure measure;
    Buffers sizes;
    const CallShape shape = call_shape(plan_, args_, real64);
    lay_out(measure, core_, real64, workers, shape, &sizes);
    workspace_ = layer_.context->workspaces.acquire(measure.bytes());
    Scratch arena(workspace_.data(), workspace_.size());
    lay_out(arena, core_, real64, workers, shape, &buffers_);
    most_tokens_ = plan_.chunk == kWholeSequence ? args_.tokens : core_.step_tokens;
    std::fill_n(buffers_.matrices, plan_.slot_limit(), Matrix{});
    SEQMIX_TRY(check_distinct_rows());
    start_cursors();
    SEQMIX_TRY(check_lengths());
    if (state_ != nullptr) {
        SEQMIX_TRY(make_room());
    }
    place_sources();
    zero_padding(plan_, args_);

    const bool operation = plan_.mixer->schema->operation;
    if (operation) {
        real64 ? read_op_states<double>() : read_op_states<float>();
    }
    Status status;
    if (real64) {
        status = run_chunks(options);
    } else {
        const FlushDenormals flush_denormals;
        status = run_chunks(options);
    }
    if (operation && (status.ok() || status.code() == SEQMIX_ERR_CANCELLED)) {
        real64 ? write_op_states<double>() : write_op_states<float>();
    }
    return status;
}

}  // namespace

uint64_t scratch_bytes(const LayerCore& core, bool real64, size_t workers, int64_t rows,
                       int64_t tokens) {
    Measure measure;
    Buffers buffers;
    // A source as long as the tokens, read in place.
    lay_out(measure, core, real64, workers, {rows, tokens, tokens}, &buffers);
    return measure.bytes();
}

Status forward(const seqmix_layer& layer, seqmix_state* state, const seqmix_arg* args, size_t n,
               const seqmix_forward_options* options) {
    seqmix_forward_options known{};
    SEQMIX_TRY(read_options(options, "seqmix_forward_options", &known));
    if (known.reserved != 0) {
        return fail(SEQMIX_ERR_VERSION, "seqmix_forward_options: reserved is ", known.reserved,
                    ", expected 0");
    }
    ForwardCall call(layer, state);
    if (state == nullptr) {
        return call.run(args, n, known);
    }
    const Busy busy(*state->memory);
    if (!busy) {
        return busy.refused();
    }
    return call.run(args, n, known);
}

Status prepare(const seqmix_layer& layer, int64_t max_batch, int64_t max_tokens,
               int64_t concurrent_calls) {
    const char* type = layer.core->type();
    if (max_batch < 0 || max_tokens < 0 || concurrent_calls < 1) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": prepare(", max_batch, ", ", max_tokens,
                    ", ", concurrent_calls, "), expected sizes >= 0 and at least one call");
    }
    if (concurrent_calls > WorkspacePool::kCapacity) {
        return fail(SEQMIX_ERR_LIMIT, type, ": ", concurrent_calls,
                    " concurrent calls, expected at most ", WorkspacePool::kCapacity);
    }
    constexpr int64_t kMostTokens = int64_t{1} << 40;
    if (max_batch > kMostTokens || max_tokens > kMostTokens) {
        return fail(SEQMIX_ERR_LIMIT, type, ": prepare for ", std::max(max_batch, max_tokens),
                    " rows or tokens, expected at most ", kMostTokens);
    }
    const uint64_t bytes = scratch_bytes(*layer.core, layer.real64(),
                                         layer.context->executor.workers(), max_batch, max_tokens);
    std::vector<Workspace> held;
    held.reserve(static_cast<size_t>(concurrent_calls));
    for (int64_t i = 0; i < concurrent_calls; ++i) {
        held.push_back(layer.context->workspaces.acquire(bytes));
    }
    layer.context->executor.start();
    return Status();
}

}  // namespace seqmix
