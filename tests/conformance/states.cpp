// Checks of the state handle: clone, save and load (across levels too), snapshots, reset, rows, get
// and set, cancelling. Operations hand their state over through slots: levels take each other's.
#include <algorithm>

#include "checks.h"

namespace seqmix::conformance {

namespace {

constexpr int64_t kRows = 2;

struct Scene {
    Model model;
    SlotValues first, second;
    int64_t first_tokens, second_tokens;

    Scene(const Env& env, BatchTime shape)
        : model(env.model()),
          first_tokens(shape.tokens),
          second_tokens(std::min<int64_t>(shape.tokens, 9)) {
        first = model.inputs(kRows, first_tokens);
        second = model.inputs(kRows, second_tokens, 2);
    }
    Stream begin(int64_t snapshots = 0) const {
        Stream stream(model, kRows, snapshots);
        stream.set_carry(model.states_in(kRows));
        stream.run(first, kRows, first_tokens);
        return stream;
    }
    SlotValues go_on(Stream& stream) const { return stream.run(second, kRows, second_tokens); }
};

void run_clone(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    Stream stream = scene.begin();
    Stream copy = stream.clone();
    require(seqmix_state_bytes(copy.handle()) == seqmix_state_bytes(stream.handle()),
            "a clone takes another number of bytes");
    const SlotValues at_copy = copy.state();
    const SlotValues want = scene.go_on(stream);
    require_same(scene.model, copy.state(), at_copy, "a clone after its origin moved on");
    require_same(scene.model, scene.go_on(copy), want, "a clone goes on");
    require_same(scene.model, copy.state(), stream.state(), "state of a clone");
    require(copy.positions() == stream.positions(), "positions of a clone");
}

std::vector<std::byte> save(const Stream& stream) {
    size_t needed = 0;
    const seqmix_status status = seqmix_state_save(stream.handle(), nullptr, 0, &needed);
    require(status == SEQMIX_ERR_BUFFER_TOO_SMALL && needed > 0, "save without a buffer");
    std::vector<std::byte> blob(needed);
    check(seqmix_state_save(stream.handle(), blob.data(), blob.size(), &needed), "save");
    require(needed == blob.size(), "save gives two sizes");
    return blob;
}

Stream load(const Model& model, const std::vector<std::byte>& blob) {
    seqmix_state* state = nullptr;
    check(seqmix_state_load(model.layer(), blob.data(), blob.size(), nullptr, &state), "load");
    return Stream(model, kRows, state);
}

void run_save_load(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    Stream stream = scene.begin();
    const std::vector<std::byte> blob = save(stream);
    const SlotValues saved_state = stream.state();
    const std::vector<int64_t> saved_positions = stream.positions();
    const SlotValues want = scene.go_on(stream);
    const SlotValues want_state = stream.state();
    for (const std::string& level : built_levels()) {
        seqmix_context* probe = nullptr;
        seqmix_context_options raw{};
        raw.struct_size = sizeof raw;
        raw.threads = 1;
        raw.isa = level.c_str();
        if (seqmix_context_create(&raw, &probe) != SEQMIX_OK) {
            continue;
        }
        seqmix_context_release(probe);
        const Context context({.isa = level});
        ModelOptions options;
        if (!env.mixer.from_checkpoint) {
            options.weights = &scene.model.weights();
        }
        const Model other(context, env.mixer, env.setup, options);
        Stream loaded = load(other, blob);
        const std::string what = "saved at " + env.level + ", loaded at " + level;
        require(loaded.positions() == saved_positions, what + ": positions");
        const bool exact = level == env.level && level != "reference";
        const double rounding = 1e-7;  // the reference rounds its doubles in blobs
        if (exact) {
            require_same(scene.model, loaded.state(), saved_state, what);
            require(save(loaded) == blob, what + ": saved again gives other bytes");
        } else {
            require_close(scene.model, loaded.state(), saved_state, rounding, what);
        }
        const SlotValues got = scene.go_on(loaded);
        if (exact) {
            require_same(scene.model, got, want, what);
            require_same(scene.model, loaded.state(), want_state, what);
        } else {
            require_close(scene.model, got, want, scene.model.tolerance(), what);
            require_close(scene.model, loaded.state(), want_state, scene.model.tolerance(), what);
        }
    }
}

// The same for operations: the state that one level gives out, every other takes.
void run_state_slots(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    Stream stream = scene.begin();
    const SlotValues handed = stream.carry();
    const SlotValues want = scene.go_on(stream);
    for (const std::string& level : levels()) {
        const Model other(Context({.isa = level}), env.mixer, env.setup);
        Stream next(other, kRows);
        next.set_carry(handed);
        require_close(scene.model, scene.go_on(next), want, scene.model.tolerance(),
                      "state of " + env.level + " taken by " + level);
    }
    // An absent state in is a state of zeros.
    SlotValues zeros = scene.model.states_in(kRows);
    for (auto& [number, values] : zeros) {
        std::fill(values.data.begin(), values.data.end(), 0.0);
    }
    Stream absent(scene.model, kRows), zero(scene.model, kRows);
    zero.set_carry(zeros);
    require_same(scene.model, absent.run(scene.first, kRows, scene.first_tokens),
                 zero.run(scene.first, kRows, scene.first_tokens), "absent state in");
}

void run_rollback(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    Stream stream = scene.begin(3);
    const SlotValues at_start = stream.state();
    const std::vector<int64_t> positions = stream.positions();
    int64_t all = 0, later = 0;
    check(seqmix_state_snapshot(stream.handle(), -1, &all), "snapshot");
    const SlotValues want = scene.go_on(stream);
    const SlotValues want_state = stream.state();
    for (int i = 0; i < 2; ++i) {
        check(seqmix_state_snapshot(stream.handle(), -1, &later), "a later snapshot");
        scene.go_on(stream);
        check(seqmix_state_rollback(stream.handle(), -1, all), "rollback");
        require_same(scene.model, stream.state(), at_start, "state after rollback");
        require(stream.positions() == positions, "positions after rollback");
        require(seqmix_state_rollback(stream.handle(), -1, later) == SEQMIX_ERR_INVALID_ARGUMENT,
                "a rollback keeps a later snapshot");
        require_same(scene.model, scene.go_on(stream), want, "going on after rollback");
        require_same(scene.model, stream.state(), want_state, "state going on after rollback");
    }
    // One row only: the other stays where it is.
    check(seqmix_state_rollback(stream.handle(), 1, all), "rollback of a row");
    const SlotValues mixed = stream.state();
    for (const auto& [number, values] : mixed) {
        require_same(values.slice(0, 0, 1), want_state.at(number).slice(0, 0, 1), "the other row");
        require_same(values.slice(0, 1, 1), at_start.at(number).slice(0, 1, 1), "a row set back");
    }
    require(stream.position(0) == positions[0] + scene.second_tokens &&
                stream.position(1) == positions[1],
            "positions after a row was set back");
    check(seqmix_state_drop(stream.handle(), all), "drop");
    require(seqmix_state_rollback(stream.handle(), -1, all) == SEQMIX_ERR_INVALID_ARGUMENT,
            "a dropped snapshot is still there");
    int64_t ids[4] = {};
    for (int i = 0; i < 3; ++i) {
        check(seqmix_state_snapshot(stream.handle(), -1, &ids[i]), "snapshot in a freed slot");
    }
    require(seqmix_state_snapshot(stream.handle(), -1, &ids[3]) == SEQMIX_ERR_CAPACITY,
            "more snapshots than slots");
    // A clone has the snapshots.
    Stream copy = stream.clone();
    const SlotValues before = copy.state();
    scene.go_on(copy);
    check(seqmix_state_rollback(copy.handle(), -1, ids[0]), "rollback of a clone");
    require_same(scene.model, copy.state(), before, "a clone set back");
}

void run_reset(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    Stream fresh(scene.model, kRows);
    const SlotValues zero = fresh.state();
    const SlotValues want = fresh.run(scene.first, kRows, scene.first_tokens);
    for (const auto& [number, values] : zero) {
        require(
            std::all_of(values.data.begin(), values.data.end(), [](double v) { return v == 0.0; }),
            "a new state is not zero");
    }
    Stream stream = scene.begin(1);
    const SlotValues moved = stream.state();
    check(seqmix_state_reset(stream.handle(), 0), "reset of a row");
    for (const auto& [number, values] : stream.state()) {
        require_same(values.slice(0, 0, 1), zero.at(number).slice(0, 0, 1), "a reset row");
        require_same(values.slice(0, 1, 1), moved.at(number).slice(0, 1, 1), "the other row");
    }
    require(stream.position(0) == 0 && stream.position(1) == scene.first_tokens,
            "positions after the reset of a row");
    check(seqmix_state_reset(stream.handle(), -1), "reset");
    require_same(scene.model, stream.state(), zero, "state after reset");
    require(stream.positions() == std::vector<int64_t>(kRows, 0), "positions after reset");
    require_same(scene.model, stream.run(scene.first, kRows, scene.first_tokens), want,
                 "the first call after reset");
}

void run_copy_row(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    Stream stream = scene.begin(), other(scene.model, 3);
    check(seqmix_state_copy_row(other.handle(), 2, stream.handle(), 0), "copy_row");
    check(seqmix_state_copy_row(other.handle(), 0, stream.handle(), 1), "copy_row");
    const SlotValues from = stream.state(), to = other.state();
    for (const auto& [number, values] : to) {
        require_same(values.slice(0, 2, 1), from.at(number).slice(0, 0, 1), "a copied row");
        require_same(values.slice(0, 0, 1), from.at(number).slice(0, 1, 1), "a copied row");
        const Values untouched = values.slice(0, 1, 1);
        require(std::all_of(untouched.data.begin(), untouched.data.end(),
                            [](double v) { return v == 0.0; }),
                "copy_row touched another row");
    }
    require(other.position(2) == stream.position(0) && other.position(1) == 0,
            "positions of copied rows");
    // Inside one state.
    check(seqmix_state_copy_row(stream.handle(), 0, stream.handle(), 1), "copy_row");
    for (const auto& [number, values] : stream.state()) {
        require_same(values.slice(0, 0, 1), from.at(number).slice(0, 1, 1), "a row inside a state");
    }
}

void run_get_set(const Env& env, BatchTime shape) {
    if (env.mixer.from_checkpoint) {
        return;  // its tensors are the children's
    }
    const Scene scene(env, shape);
    Stream stream = scene.begin(), other(scene.model, kRows);
    const SlotValues state = stream.state();
    // Strided and misaligned, in f32 and f64, out and in again.
    const Layout odd{.pad = 3, .step = 2, .misalign = 1};
    for (const Type type : {Type::f32, Type::f64}) {
        if (scene.model.is_reference() && type == Type::f32) {
            continue;  // would round
        }
        Stream target(scene.model, kRows);
        for (const auto& [number, values] : state) {
            const Buffer out(values.shape, type, odd);
            check(seqmix_state_get(stream.handle(), number, 0, out.tensor()), "state_get");
            out.require_gaps_untouched("state_get");
            require_same(out.read(), values, "state_get, strided");
            const Buffer in(values, type, odd);
            check(seqmix_state_set(target.handle(), number, 0, in.tensor()), "state_set");
        }
        require_same(scene.model, target.state(), state, "state_get after state_set");
        Stream original = stream.clone();
        require_same(scene.model, scene.go_on(target), scene.go_on(original),
                     "going on from a state that was set");
    }
}

// A cancelled call has consumed whole chunks; going on from there gives the rest.
void run_cancel(const Env& env, BatchTime shape) {
    const Scene scene(env, shape);
    const Model& model = scene.model;
    if (model.reverse()) {
        return;
    }
    Stream whole(model, kRows);
    const SlotValues want = whole.run(scene.first, kRows, scene.first_tokens);
    const auto total = static_cast<uint64_t>(kRows * scene.first_tokens);
    uint64_t last = 0;
    int calls = 0;
    CallOptions options;
    options.poll = [&](uint64_t done, uint64_t all) {
        require(all == total && done >= last && done <= all, "poll counts wrongly");
        last = done;
        ++calls;
        return 0;
    };
    Stream polled(model, kRows);
    require_same(model, polled.run(scene.first, kRows, scene.first_tokens, options), want,
                 "with poll");
    for (int stop = 0; stop < std::min(calls, 4); ++stop) {
        int asked = 0;
        seqmix_status status = SEQMIX_OK;
        CallOptions cancelling;
        cancelling.canary = 0x11;
        cancelling.status = &status;
        cancelling.poll = [&](uint64_t, uint64_t) { return asked++ == stop ? 1 : 0; };
        Stream stream(model, kRows);
        const SlotValues part = stream.run(scene.first, kRows, scene.first_tokens, cancelling);
        require(status == SEQMIX_ERR_CANCELLED, "poll that asks to stop is not heard");
        for (int64_t row = 0; row < kRows; ++row) {
            const int64_t done = stream.position(row);
            require(done >= 0 && done <= scene.first_tokens, "position after cancelling");
            for (const auto& [number, values] : part) {
                const Slot* slot = model.find(number);
                if (slot->time_axis() >= 0) {
                    require_same(values.slice(0, row, 1).slice(1, 0, done),
                                 want.at(number).slice(0, row, 1).slice(1, 0, done),
                                 "outputs before the point of cancelling, " + slot->name);
                }
            }
            // The rest of this row, alone.
            Stream rest(model, 1);
            check(seqmix_state_copy_row(rest.handle(), 0, stream.handle(), row), "copy_row");
            const int64_t left = scene.first_tokens - done;
            const SlotValues more = rest.run(model.part(scene.first, row, 1, done, left), 1, left);
            for (const auto& [number, values] : more) {
                const Slot* slot = model.find(number);
                if (slot->time_axis() >= 0) {
                    // Of the whole tensor's maximum: the rest may be small.
                    Values all = want.at(number).slice(0, row, 1);
                    const Values expected = all;
                    all.paste(1, done, values);
                    require_close(all, expected, model.tolerance(), "the rest after cancelling");
                }
            }
            for (const auto& [number, values] : rest.state()) {
                require_close(values, whole.state().at(number).slice(0, row, 1), model.tolerance(),
                              "state after cancelling and going on");
            }
        }
    }
}

bool has_handle(const MixerCases&, const Facts& facts) {
    return !facts.operation && facts.stateful && facts.causal;
}
bool hands_state_over(const MixerCases&, const Facts& facts) {
    return facts.operation && facts.stateful;
}

}  // namespace

std::vector<Check> state_checks() {
    return {
        {"clone", Each::shape, has_handle, run_clone},
        {"save_load", Each::shape, has_handle, run_save_load},
        {"state_slots", Each::shape, hands_state_over, run_state_slots},
        {"rollback", Each::shape, has_handle, run_rollback},
        {"reset", Each::shape, has_handle, run_reset},
        {"copy_row", Each::shape, has_handle, run_copy_row},
        {"get_set", Each::shape, has_handle, run_get_set},
        {"cancel", Each::shape, has_handle, run_cancel},
    };
}

}  // namespace seqmix::conformance
