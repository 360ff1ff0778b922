// Checks of what must be equal bit for bit however the work is arranged: threads, executors, rows
// of a batch, packed and padded rows, resets, borrowed weights, repeated calls, a stack's children.
#include <algorithm>
#include <limits>

#include "checks.h"

namespace seqmix::conformance {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Two calls, so that the second one starts from a state that is not zero.
struct Run {
    SlotValues first, second, state;
};

Run run_twice(const Model& model, const SlotValues& inputs, BatchTime shape,
              const CallOptions& options = {}) {
    Run run;
    Stream stream(model, shape.batch);
    stream.set_carry(model.states_in(shape.batch));
    run.first = stream.run(inputs, shape.batch, shape.tokens, options);
    run.state = stream.state();
    if (model.facts().causal) {
        run.second = stream.run(inputs, shape.batch, shape.tokens, options);
        run.state = stream.state();
    }
    return run;
}

void require_same_run(const Model& model, const Run& got, const Run& want,
                      const std::string& what) {
    require_same(model, got.first, want.first, what);
    require_same(model, got.second, want.second, what + ", second call");
    require_same(model, got.state, want.state, what + ", state");
}

void run_threads(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    const Run want = run_twice(model, inputs, shape);
    const auto compare = [&](const Context& context, const std::string& what) {
        const Model other(context, env.mixer, env.setup);
        require_same_run(other, run_twice(other, inputs, shape), want, what);
    };
    compare(env.context(2), "2 threads");
    compare(env.context(3), "3 threads");
    compare(env.context(1, Executor::host_reversed), "the host's executor");
}

void run_batch_rows(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const BatchTime many{std::max<int64_t>(shape.batch, 3), shape.tokens};
    const SlotValues inputs = model.inputs(many.batch, many.tokens);
    const SlotValues states = model.states_in(many.batch);
    Stream stream(model, many.batch);
    stream.set_carry(states);
    const SlotValues all = stream.run(inputs, many.batch, many.tokens);
    const SlotValues all_state = stream.state();
    for (int64_t row = 0; row < many.batch; ++row) {
        Stream alone(model, 1);
        alone.set_carry(model.part(states, row, 1, 0, 0));
        const SlotValues one =
            alone.run(model.part(inputs, row, 1, 0, many.tokens), 1, many.tokens);
        const std::string what = "row " + std::to_string(row) + " alone";
        require_same(model, one, model.part(all, row, 1, 0, many.tokens), what);
        for (const auto& [number, values] : alone.state()) {
            require_same(values, all_state.at(number).slice(0, row, 1), what + ", state");
        }
    }
}

// ------------------------------------------------------------------ ragged rows

bool has_slot(const Model& model, int32_t number) { return model.find(number) != nullptr; }

// Rows of different lengths, some empty or of one token, from states that are not zero.
struct Ragged {
    std::vector<int64_t> lengths, source_lengths;
    int64_t rows, longest, total = 0, source_total = 0;
    SlotValues inputs;   // (rows, longest)
    SlotValues warm_up;  // 3 tokens of every row before
    SlotValues states_in;
    std::vector<SlotValues> outputs, states;  // of every row alone
    std::vector<int64_t> positions;

    Ragged(const Model& model, std::vector<int64_t> sizes)
        : lengths(std::move(sizes)),
          rows(static_cast<int64_t>(lengths.size())),
          longest(*std::max_element(lengths.begin(), lengths.end())) {
        inputs = model.inputs(rows, longest);
        warm_up = model.inputs(rows, 3, 2);
        states_in = model.states_in(rows);
        for (int64_t row = 0; row < rows; ++row) {
            const int64_t length = lengths[static_cast<size_t>(row)];
            total += length;
            source_lengths.push_back(length + 1 + row % 3);
            source_total += source_lengths.back();
            Stream alone = warm(model, row, 1);
            outputs.push_back(
                alone.run(model.part(inputs, row, 1, 0, length, source_lengths.back()), 1, length));
            states.push_back(alone.state());
            positions.push_back(alone.has_handle() ? alone.position(0) : 0);
        }
    }

    Stream warm(const Model& model, int64_t row, int64_t count) const {
        Stream stream(model, count);
        stream.set_carry(model.part(states_in, row, count, 0, 0));
        if (model.facts().causal && model.facts().stateful) {
            stream.run(model.part(warm_up, row, count, 0, 3), count, 3);
        }
        return stream;
    }

    void require_states(const Model& model, const Stream& stream,
                        const std::vector<int64_t>& state_rows, const std::string& what) const {
        const SlotValues all = stream.state();
        for (int64_t row = 0; row < rows; ++row) {
            const int64_t at = state_rows[static_cast<size_t>(row)];
            for (const auto& [number, values] : states[static_cast<size_t>(row)]) {
                require_same(all.at(number).slice(0, at, 1), values,
                             what + ", state of row " + std::to_string(row));
            }
            if (stream.has_handle()) {
                require(stream.position(at) == positions[static_cast<size_t>(row)],
                        what + ", position of row " + std::to_string(row));
            }
        }
        (void)model;
    }
};

Values integers(const std::vector<int64_t>& numbers) {
    Values values({static_cast<int64_t>(numbers.size())});
    std::copy(numbers.begin(), numbers.end(), values.data.begin());
    return values;
}

std::vector<int64_t> counted(int64_t n) {
    std::vector<int64_t> result;
    for (int64_t i = 0; i < n; ++i) {
        result.push_back(i);
    }
    return result;
}

std::vector<std::vector<int64_t>> ragged_sizes(const Env& env, BatchTime shape) {
    const int64_t t = std::max<int64_t>(shape.tokens, 2);
    std::vector<std::vector<int64_t>> sizes = {{t, 0, 1, (t + 1) / 2, t - 1}};
    if (!small_scale()) {
        sizes.push_back({1, 1, 1, 1});
        sizes.push_back({1, t, 0, 3});
        Random random(static_cast<uint64_t>(t));
        sizes.push_back({});
        for (int i = 0; i < 5; ++i) {
            sizes.back().push_back(random.integer(0, t));
        }
    }
    (void)env;
    return sizes;
}

// Padding is never read: it holds no numbers (integers: a number no table has is not needed).
SlotValues padded(const Model& model, const Ragged& ragged) {
    SlotValues inputs = ragged.inputs;
    for (auto& [number, values] : inputs) {
        const Slot* slot = model.find(number);
        if (slot->is_integer() || slot->row_axis() < 0) {
            continue;
        }
        for (int64_t row = 0; row < ragged.rows; ++row) {
            const auto r = static_cast<size_t>(row);
            Values one = values.slice(slot->row_axis(), row, 1);
            for (const auto& [axis, length] : {std::pair{slot->time_axis(), ragged.lengths[r]},
                                               {slot->source_axis(), ragged.source_lengths[r]}}) {
                if (axis >= 0) {
                    const int64_t size = one.shape[static_cast<size_t>(axis)];
                    Values tail = one.slice(axis, length, size - length);
                    std::fill(tail.data.begin(), tail.data.end(), kNaN);
                    one.paste(axis, length, tail);
                }
            }
            values.paste(slot->row_axis(), row, one);
        }
    }
    return inputs;
}

void require_zero(const Values& values, const std::string& what) {
    require(std::all_of(values.data.begin(), values.data.end(), [](double v) { return v == 0.0; }),
            what + " is not zero");
}

void run_lengths(const Env& env, BatchTime shape) {
    const Model model = env.model();
    if (!has_slot(model, SEQMIX_SLOT_LENGTHS)) {
        return;
    }
    for (const std::vector<int64_t>& sizes : ragged_sizes(env, shape)) {
        const Ragged ragged(model, sizes);
        Stream stream = ragged.warm(model, 0, ragged.rows);
        CallOptions options;
        options.controls[SEQMIX_SLOT_LENGTHS] = integers(sizes);
        if (has_slot(model, SEQMIX_SLOT_LENGTHS_K)) {
            options.controls[SEQMIX_SLOT_LENGTHS_K] = integers(ragged.source_lengths);
        }
        const SlotValues outputs =
            stream.run(padded(model, ragged), ragged.rows, ragged.longest, options);
        for (int64_t row = 0; row < ragged.rows; ++row) {
            const int64_t length = sizes[static_cast<size_t>(row)];
            const std::string what = "lengths, row " + std::to_string(row);
            for (const auto& [number, values] : outputs) {
                const Slot* slot = model.find(number);
                const Values one = values.slice(slot->row_axis(), row, 1);
                const int64_t axis = slot->time_axis();
                const Values& want = ragged.outputs[static_cast<size_t>(row)].at(number);
                require_same(axis < 0 ? one : one.slice(axis, 0, length), want,
                             what + ", " + slot->name);
                if (axis >= 0) {
                    require_zero(one.slice(axis, length, ragged.longest - length),
                                 what + ", " + slot->name + " in the padding");
                }
            }
        }
        ragged.require_states(model, stream, counted(ragged.rows), "lengths");
    }
}

// (rows, longest, ...) -> (1, total + tail, ...).
SlotValues packed(const Model& model, const Ragged& ragged, int64_t tail) {
    SlotValues result;
    for (const auto& [number, values] : ragged.inputs) {
        const Slot* slot = model.find(number);
        const int64_t time = slot->time_axis(), source = slot->source_axis();
        if (time < 0 && source < 0) {
            result[number] = values;
            continue;
        }
        Values all(slot->shape(1, ragged.total + tail, ragged.rows, ragged.source_total + tail),
                   slot->is_integer() ? 0.0 : kNaN);
        int64_t at = 0, source_at = 0;
        for (int64_t row = 0; row < ragged.rows; ++row) {
            const auto r = static_cast<size_t>(row);
            const int64_t length = ragged.lengths[r], source_length = ragged.source_lengths[r];
            const Values one = values.slice(slot->row_axis(), row, 1)
                                   .slice(time, 0, length)
                                   .slice(source, 0, source_length);
            Values lines = all.slice(time, at, length);
            lines.paste(source, source_at, one);
            all.paste(time, at, lines);
            at += length;
            source_at += source_length;
        }
        result[number] = all;
    }
    return result;
}

std::vector<int64_t> borders(const std::vector<int64_t>& lengths) {
    std::vector<int64_t> cu = {0};
    for (const int64_t length : lengths) {
        cu.push_back(cu.back() + length);
    }
    return cu;
}

void require_packed(const Model& model, const Ragged& ragged, const SlotValues& outputs,
                    int64_t tail, const std::string& name) {
    const std::vector<int64_t> cu = borders(ragged.lengths);
    for (const auto& [number, values] : outputs) {
        const Slot* slot = model.find(number);
        const int64_t axis = slot->time_axis();
        for (int64_t row = 0; row < ragged.rows; ++row) {
            const auto r = static_cast<size_t>(row);
            const Values part = axis < 0 ? values.slice(slot->row_axis(), row, 1)
                                         : values.slice(axis, cu[r], ragged.lengths[r]);
            require_same(part, ragged.outputs[r].at(number),
                         name + ", row " + std::to_string(row) + ", " + slot->name);
        }
        if (axis >= 0) {
            require_zero(values.slice(axis, ragged.total, tail), slot->name + " after the rows");
        }
    }
}

void run_cu_seqlens(const Env& env, BatchTime shape) {
    const Model model = env.model();
    if (!has_slot(model, SEQMIX_SLOT_CU_SEQLENS)) {
        return;
    }
    for (const std::vector<int64_t>& sizes : ragged_sizes(env, shape)) {
        for (const int64_t tail : {0, 4}) {
            const Ragged ragged(model, sizes);
            Stream stream = ragged.warm(model, 0, ragged.rows);
            CallOptions options;
            options.rows = ragged.rows;
            options.controls[SEQMIX_SLOT_CU_SEQLENS] = integers(borders(sizes));
            if (has_slot(model, SEQMIX_SLOT_CU_SEQLENS_K)) {
                options.controls[SEQMIX_SLOT_CU_SEQLENS_K] =
                    integers(borders(ragged.source_lengths));
            }
            const SlotValues outputs =
                stream.run(packed(model, ragged, tail), 1, ragged.total + tail, options);
            require_packed(model, ragged, outputs, tail, "cu_seqlens");
            ragged.require_states(model, stream, counted(ragged.rows), "cu_seqlens");
        }
    }
}

// Rows of the call go to other rows of a larger state, whose remaining rows stay as they are.
void run_rows(const Env& env, BatchTime shape) {
    const Model model = env.model();
    if (!has_slot(model, SEQMIX_SLOT_ROWS) || !env.facts.stateful) {
        return;
    }
    const std::vector<int64_t> sizes = ragged_sizes(env, shape)[0];
    const Ragged ragged(model, sizes);
    const std::vector<int64_t> places = {6, 1, 3, 0, 4};
    for (const bool pack : {false, true}) {
        const int64_t size = 8;
        Stream stream(model, size);
        const SlotValues other = model.inputs(size, 3, 9);
        if (env.facts.causal) {
            stream.run(other, size, 3);
        }
        const Stream warm = ragged.warm(model, 0, ragged.rows);
        for (int64_t row = 0; row < ragged.rows; ++row) {
            check(seqmix_state_copy_row(stream.handle(), places[static_cast<size_t>(row)],
                                        warm.handle(), row),
                  "copy_row");
        }
        const SlotValues before = stream.state();
        CallOptions options;
        options.controls[SEQMIX_SLOT_ROWS] = integers(places);
        options.rows = ragged.rows;
        if (pack) {
            options.controls[SEQMIX_SLOT_CU_SEQLENS] = integers(borders(sizes));
            const SlotValues outputs =
                stream.run(packed(model, ragged, 0), 1, ragged.total, options);
            require_packed(model, ragged, outputs, 0, "rows and cu_seqlens");
        } else {
            options.controls[SEQMIX_SLOT_LENGTHS] = integers(sizes);
            stream.run(padded(model, ragged), ragged.rows, ragged.longest, options);
        }
        ragged.require_states(model, stream, places, "rows");
        const SlotValues after = stream.state();
        for (int64_t row = 0; row < size; ++row) {
            if (std::find(places.begin(), places.end(), row) != places.end()) {
                continue;
            }
            for (const auto& [number, values] : after) {
                require_same(values.slice(0, row, 1), before.at(number).slice(0, row, 1),
                             "a state row that the call does not name");
            }
        }
    }
}

// Segments of a row with a reset between them, and padding anywhere, are those segments alone.
void run_seq_idx(const Env& env, BatchTime shape) {
    const Model model = env.model();
    if (!has_slot(model, SEQMIX_SLOT_SEQ_IDX)) {
        return;
    }
    struct Segment {
        int64_t from, count, id;
    };
    for (int repeat = 0; repeat < env.repeats(3); ++repeat) {
        const int64_t rows = 3, tokens = shape.tokens;
        Random random(static_cast<uint64_t>(tokens * 10 + repeat));
        std::vector<std::vector<Segment>> segments(rows);
        Values ids({rows, tokens});
        for (int64_t row = 0; row < rows; ++row) {
            int64_t id = random.integer(0, 3);
            for (int64_t t = 0; t < tokens; ++id) {
                const int64_t most = repeat == 1 ? 2 : tokens - t;
                const int64_t count =
                    std::min(tokens - t, random.integer(1, std::max<int64_t>(1, most)));
                const bool padding = random.integer(0, 3) == 0;
                for (int64_t i = 0; i < count; ++i) {
                    ids.data[static_cast<size_t>(row * tokens + t + i)] =
                        padding ? -1.0 - static_cast<double>(random.integer(0, 2))
                                : static_cast<double>(id);
                }
                segments[static_cast<size_t>(row)].push_back({t, count, padding ? -1 : id});
                t += count;
            }
        }
        SlotValues inputs = model.inputs(rows, tokens);
        for (auto& [number, values] : inputs) {
            const Slot* slot = model.find(number);
            for (int64_t row = 0; slot->time_axis() == 1 && !slot->is_integer() && row < rows;
                 ++row) {
                Values one = values.slice(0, row, 1);
                for (const Segment& segment : segments[static_cast<size_t>(row)]) {
                    if (segment.id < 0) {
                        Values hole = one.slice(1, segment.from, segment.count);
                        std::fill(hole.data.begin(), hole.data.end(), kNaN);
                        one.paste(1, segment.from, hole);
                    }
                }
                values.paste(0, row, one);
            }
        }
        const SlotValues states = model.states_in(rows);
        Stream stream(model, rows);
        stream.set_carry(states);
        CallOptions options;
        options.controls[SEQMIX_SLOT_SEQ_IDX] = ids;
        const SlotValues outputs = stream.run(inputs, rows, tokens, options);
        const SlotValues after = stream.state();
        for (int64_t row = 0; row < rows; ++row) {
            std::vector<Segment> order = segments[static_cast<size_t>(row)];
            if (model.reverse()) {
                std::reverse(order.begin(), order.end());
            }
            bool first = true;
            SlotValues last_state;
            for (const Segment& segment : order) {
                const std::string what = "seq_idx, row " + std::to_string(row) + ", tokens from " +
                                         std::to_string(segment.from);
                SlotValues alone_outputs;
                if (segment.id >= 0) {
                    // A sequence that the row begins with goes on from the state that the call was
                    // given; behind padding it is a change of seq_idx, and starts anew.
                    Stream alone(model, 1);
                    if (first) {
                        alone.set_carry(model.part(states, row, 1, 0, 0));
                    }
                    alone_outputs = alone.run(
                        model.part(inputs, row, 1, segment.from, segment.count), 1, segment.count);
                    last_state = alone.state();
                }
                first = false;
                for (const auto& [number, values] : outputs) {
                    const Slot* slot = model.find(number);
                    if (slot->time_axis() < 0) {
                        continue;
                    }
                    const Values part =
                        values.slice(0, row, 1).slice(1, segment.from, segment.count);
                    if (segment.id < 0) {
                        require_zero(part, what + ", padding of " + slot->name);
                    } else {
                        require_same(part, alone_outputs.at(number), what + ", " + slot->name);
                    }
                }
            }
            for (const auto& [number, values] : last_state) {
                require_same(after.at(number).slice(0, row, 1), values,
                             "seq_idx, state of row " + std::to_string(row));
            }
        }
    }
}

// ------------------------------------------------------------------ the rest

void run_borrow(const Env& env, BatchTime shape) {
    const Model copied = env.model();
    ModelOptions options;
    options.weights = &copied.weights();
    options.bind_flags = SEQMIX_BIND_BORROW;
    const Model borrowed(copied.context(), env.mixer, env.setup, options);
    const SlotValues inputs = copied.inputs(shape.batch, shape.tokens);
    require_same_run(copied, run_twice(borrowed, inputs, shape), run_twice(copied, inputs, shape),
                     "BORROW against COPY");
    for (const Model* model : {&copied, &borrowed}) {
        for (const auto& [number, values] : model->weights()) {
            Buffer buffer(values.shape, Type::f32);
            check(seqmix_layer_get_weight(model->layer(), number, 0, buffer.tensor()),
                  "get_weight");
            require_same(buffer.read(), values, "get_weight of " + model->find(number)->name);
        }
    }
}

// A call leaves nothing behind in the context: larger, smaller and other calls between two equal
// ones change nothing.
void run_repeat(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    const Run want = run_twice(model, inputs, shape);
    for (const BatchTime other : {BatchTime{1, 1}, {3, 19}, {2, 2}}) {
        run_twice(model, model.inputs(other.batch, other.tokens, 3), other);
        require_same_run(model, run_twice(model, inputs, shape), want, "the same call again");
    }
    check(seqmix_layer_prepare(model.layer(), shape.batch, shape.batch * shape.tokens, 2),
          "prepare");
    require_same_run(model, run_twice(model, inputs, shape), want, "after prepare");
}

void run_in_place(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    CallOptions options;
    options.state_in_place = true;
    require_same_run(model, run_twice(model, inputs, shape, options),
                     run_twice(model, inputs, shape), "state_out in the place of state_in");
}

void run_stack_children(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const int64_t b = shape.batch;
    const SlotValues first = model.inputs(b, shape.tokens), second = model.inputs(b, 3, 2);
    Stream whole(model, b), apart(model, b);
    const Type real = model.is_reference() ? Type::f64 : Type::f32;  // nothing rounds in between
    const size_t children = seqmix_layer_child_count(model.layer());
    require(children >= 3, "a stack of fewer than three children");
    for (const auto& [inputs, tokens] :
         {std::pair{&first, shape.tokens}, std::pair{&second, int64_t{3}}}) {
        const SlotValues want = whole.run(*inputs, b, tokens, {.real_out = real});
        const Slot* source = nullptr;
        for (const auto& [number, values] : *inputs) {
            source = model.find(number);
        }
        Values flow = inputs->begin()->second;
        for (size_t i = 0; i < children; ++i) {
            seqmix_layer* child = nullptr;
            check(seqmix_layer_child(model.layer(), i, &child), "layer_child");
            const std::shared_ptr<seqmix_layer> owner(child, seqmix_layer_release);
            seqmix_state* view = nullptr;
            check(seqmix_state_child(apart.handle(), i, &view), "state_child");
            const std::shared_ptr<seqmix_state> view_owner(view, seqmix_state_destroy);
            const char* type = seqmix_layer_type(child);
            int32_t in = 0, out = 0;
            const bool tokens_in = flow.shape.size() == 2;
            if (!tokens_in && std::string(type) == "embedding") {
                continue;  // `embeds` enters behind it
            }
            check(seqmix_type_slot(type, tokens_in ? "tokens" : "x", &in), type);
            check(seqmix_type_slot(type, "y", &out), type);
            std::vector<int64_t> shape_out;
            for (size_t s = 0; s < seqmix_layer_slot_count(child); ++s) {
                seqmix_slot_info info{};
                info.struct_size = sizeof info;
                check(seqmix_layer_slot_info(child, s, &info), "slot_info");
                if (info.slot == out) {
                    shape_out = {b, tokens, info.shape[2]};
                }
            }
            if (i + 1 == children) {
                const Slot* hidden = model.find(std::string("hidden"));
                if (want.contains(hidden->number)) {
                    require_same(flow, want.at(hidden->number), "children in turn, hidden");
                }
            }
            const bool wide = tokens_in && (source->dtypes & SEQMIX_DTYPE_I64) != 0;
            const Buffer x(flow, wide ? Type::i64 : tokens_in ? Type::i32 : real);
            const Buffer y(shape_out, real);
            const seqmix_arg args[] = {{in, 0, 0, 0, x.tensor()}, {out, 0, 0, 0, y.tensor()}};
            check(seqmix_layer_forward(child, view, args, 2, nullptr), "forward of a child");
            flow = y.read();
        }
        const Slot* logits = model.find(std::string("logits"));
        if (want.contains(logits->number)) {
            require_same(flow, want.at(logits->number), "children in turn, logits");
        }
        const Slot* last = model.find(std::string("logits_last"));
        if (want.contains(last->number) && tokens > 0) {
            Values end = flow.slice(1, tokens - 1, 1);
            end.shape = {b, end.shape[2]};
            require_same(want.at(last->number), end, "children in turn, logits_last");
        }
        require_same(model, apart.state(), whole.state(), "children in turn, state");
        require(apart.positions() == whole.positions(), "children in turn, positions");
    }
}

bool is_operation_with_state(const MixerCases&, const Facts& facts) {
    return facts.operation && facts.stateful;
}
bool is_bound(const MixerCases& mixer, const Facts& facts) {
    return !facts.operation && !mixer.from_checkpoint;
}
bool is_stack(const MixerCases& mixer, const Facts&) { return mixer.from_checkpoint; }
bool has_rows(const MixerCases&, const Facts& facts) { return !facts.operation && facts.stateful; }
bool has_resets(const MixerCases&, const Facts& facts) { return facts.causal; }

}  // namespace

std::vector<Check> equal_checks() {
    return {
        {"threads", Each::shape, any_type, run_threads},
        {"batch_rows", Each::shape, any_type, run_batch_rows},
        {"lengths", Each::shape, any_type, run_lengths},
        {"cu_seqlens", Each::shape, any_type, run_cu_seqlens},
        {"rows", Each::shape, has_rows, run_rows},
        {"seq_idx", Each::shape, has_resets, run_seq_idx},
        {"borrow", Each::shape, is_bound, run_borrow},
        {"repeat", Each::shape, any_type, run_repeat},
        {"in_place", Each::shape, is_operation_with_state, run_in_place},
        {"stack_children", Each::shape, is_stack, run_stack_children},
    };
}

}  // namespace seqmix::conformance
