// Checks of values: every level against the reference, whole against pieces, causality, direction,
// the mixing matrix, half-precision weights, long runs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "checks.h"

namespace seqmix::conformance {

namespace {

Model reference_model(const Env& env, const Model& model) {
    const Context context({.isa = "reference"});
    ModelOptions options;
    if (!env.mixer.from_checkpoint) {
        options.weights = &model.weights();
    }
    return Model(context, env.mixer, env.setup, options);
}

// The same call at the reference level, which gives doubles.
void compare_with_reference(const Env& env, const Model& model, const Model& reference,
                            BatchTime shape, double tolerance, const std::string& what) {
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    Stream stream(model, shape.batch), exact(reference, shape.batch);
    stream.set_carry(model.states_in(shape.batch));
    exact.set_carry(model.states_in(shape.batch));
    // Two calls: the second starts from the state that the first one left.
    for (int call = 0; call < 2; ++call) {
        const std::string where = what + (call == 0 ? "first call" : "second call");
        const SlotValues got = stream.run(inputs, shape.batch, shape.tokens);
        const SlotValues want =
            exact.run(inputs, shape.batch, shape.tokens, {.real_out = Type::f64});
        require_close(model, got, want, tolerance, where);
        require_close(model, stream.state(), exact.state(), tolerance, where + ", state");
        if (stream.has_handle()) {
            require(stream.positions() == exact.positions() &&
                        stream.positions() == std::vector<int64_t>(static_cast<size_t>(shape.batch),
                                                                   (call + 1) * shape.tokens),
                    where + ": wrong positions");
            if (!env.facts.causal) {
                break;  // takes one whole input
            }
        }
    }
}

void run_reference(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const Model reference = reference_model(env, model);
    compare_with_reference(env, model, reference, shape, model.tolerance(), "");
}

// Inputs that may be absent, one by one and all at once.
void run_optional_inputs(const Env& env, BatchTime) {
    const Model model = env.model();
    const Model reference = reference_model(env, model);
    const BatchTime shape{2, 9};
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    std::vector<SlotValues> variants;
    SlotValues none = inputs;
    for (const Slot& slot : model.slots()) {
        if (slot.role == SEQMIX_ROLE_INPUT && slot.optional && inputs.contains(slot.number)) {
            none.erase(slot.number);
            variants.push_back(inputs);
            variants.back().erase(slot.number);
        }
    }
    variants.push_back(none);
    for (const SlotValues& given : variants) {
        // What a type refuses it must refuse everywhere (a stack without any input).
        seqmix_status status = SEQMIX_OK, exact_status = SEQMIX_OK;
        Stream stream(model, shape.batch), exact(reference, shape.batch);
        const SlotValues got = stream.run(given, shape.batch, shape.tokens, {.status = &status});
        const SlotValues want = exact.run(given, shape.batch, shape.tokens,
                                          {.real_out = Type::f64, .status = &exact_status});
        require(status == exact_status, "levels differ about an absent input");
        require(status == SEQMIX_OK || status == SEQMIX_ERR_MISSING_TENSOR,
                std::string("an absent optional input: ") + seqmix_last_error());
        if (status == SEQMIX_OK) {
            require_close(model, got, want, model.tolerance(), "with an input absent");
        }
    }
    // Outputs that are not asked for change nothing else.
    Stream whole(model, shape.batch);
    const SlotValues all = whole.run(inputs, shape.batch, shape.tokens);
    for (const Slot& slot : model.slots()) {
        const bool output = slot.role == SEQMIX_ROLE_OUTPUT || slot.role == SEQMIX_ROLE_STATE_OUT;
        if (!output || !slot.optional || model.absent(slot.name) || all.size() < 2) {
            continue;
        }
        for (const bool only : {false, true}) {
            CallOptions options;
            for (const auto& [number, values] : all) {
                const bool skip = only ? number != slot.number && model.find(number)->optional
                                       : number == slot.number;
                if (skip) {
                    options.skip_outputs.insert(number);
                }
            }
            Stream stream(model, shape.batch);
            const SlotValues some = stream.run(inputs, shape.batch, shape.tokens, options);
            for (const auto& [number, values] : some) {
                require_same(
                    values, all.at(number),
                    model.find(number)->name + (only ? " with only " : " without ") + slot.name);
            }
        }
    }
}

std::vector<int64_t> border_cuts(const Model& model, int64_t tokens) {
    std::vector<int64_t> cuts;
    std::vector<int64_t> blocks = model.mixer().blocks;
    if (model.facts().chunk > 0) {
        blocks.push_back(model.facts().chunk);
    }
    for (const int64_t block : blocks) {
        for (const int64_t cut : {block - 1, block, block + 1, 2 * block - 1, 2 * block + 1}) {
            if (cut > 0 && cut < tokens) {
                cuts.push_back(cut);
            }
        }
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    return cuts;
}

void compare_pieces(const Model& model, const SlotValues& inputs, BatchTime shape,
                    const SlotValues& whole, const Stream& whole_stream,
                    const std::vector<int64_t>& cuts, const std::string& what) {
    Stream stream(model, shape.batch);
    stream.set_carry(model.states_in(shape.batch));
    const SlotValues pieces = run_in_pieces(stream, model, inputs, shape.batch, shape.tokens, cuts);
    std::string where = what + ", cut at";
    for (size_t i = 0; i < cuts.size() && i < 8; ++i) {
        where += " " + std::to_string(cuts[i]);
    }
    require_close(model, pieces, whole, model.tolerance(), where);
    require_close(model, stream.state(), whole_stream.state(), model.tolerance(),
                  where + ", state");
    require(stream.positions() == whole_stream.positions(), where + ": wrong positions");
}

void run_chunked(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    Stream whole_stream(model, shape.batch);
    whole_stream.set_carry(model.states_in(shape.batch));
    const SlotValues whole = whole_stream.run(inputs, shape.batch, shape.tokens);
    const auto compare = [&](const std::vector<int64_t>& cuts, const char* what) {
        compare_pieces(model, inputs, shape, whole, whole_stream, cuts, what);
    };
    const std::vector<int64_t> borders = border_cuts(model, shape.tokens);
    compare(borders, "block borders");
    for (const int64_t cut : borders) {
        if (!small_scale()) {
            compare({cut}, "one border");
        }
    }
    Random random(static_cast<uint64_t>(shape.tokens) * 31 + 7);
    for (int i = 0; i < env.repeats(4); ++i) {
        std::vector<int64_t> cuts;
        const int64_t count = random.integer(1, 5);
        for (int64_t c = 0; c < count; ++c) {
            cuts.push_back(random.integer(0, shape.tokens));  // empty pieces happen
        }
        std::sort(cuts.begin(), cuts.end());
        compare(cuts, "random pieces");
    }
}

void run_stepped(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    Stream whole_stream(model, shape.batch);
    whole_stream.set_carry(model.states_in(shape.batch));
    const SlotValues whole = whole_stream.run(inputs, shape.batch, shape.tokens);
    std::vector<int64_t> cuts;
    for (int64_t t = 1; t < shape.tokens; ++t) {
        cuts.push_back(t);
    }
    compare_pieces(model, inputs, shape, whole, whole_stream, cuts, "token by token");
}

// Outputs before a token do not see it, whatever it holds; the outputs at it do. Of types that spread
// (cases.h) only as far as the tolerance goes, and the token is a number.
void run_causality(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    const auto run = [&](const SlotValues& given, bool finite) {
        CallOptions options;
        options.canary = finite ? 0xff : 0x11;
        Stream stream(model, shape.batch);
        stream.set_carry(model.states_in(shape.batch));
        return stream.run(given, shape.batch, shape.tokens, options);
    };
    const SlotValues before = run(inputs, true);
    Random random(3);
    for (int i = 0; i < env.repeats(3); ++i) {
        const int64_t t = i == 0 ? shape.tokens - 1 : random.integer(0, shape.tokens - 1);
        // Consumed before t: [0, t), or (t, T) by a reversed layer. The rest is changed.
        const int64_t from = model.reverse() ? 0 : t;
        const int64_t count = model.reverse() ? t + 1 : shape.tokens - t;
        SlotValues changed = inputs;
        bool poisoned = false;
        for (auto& [number, values] : changed) {
            const Slot* slot = model.find(number);
            if (slot->time_axis() < 0) {
                continue;
            }
            Values part = values.slice(slot->time_axis(), from, count);
            for (double& value : part.data) {
                if (slot->is_integer()) {
                    value = value > 0 ? value - 1 : value + 1;
                } else if (env.mixer.spreads) {
                    value = 0.7 - value;
                } else {
                    value = std::numeric_limits<double>::quiet_NaN();
                    poisoned = true;
                }
            }
            values.paste(slot->time_axis(), from, part);
        }
        const SlotValues after = run(changed, false);
        const int64_t kept_from = model.reverse() ? t + 1 : 0;
        const int64_t kept = shape.tokens - count;
        for (const auto& [number, values] : after) {
            const Slot* slot = model.find(number);
            const int64_t axis = slot->time_axis();
            if (slot->role != SEQMIX_ROLE_OUTPUT || axis < 0) {
                continue;
            }
            const Values kept_now = values.slice(axis, kept_from, kept);
            const Values kept_then = before.at(number).slice(axis, kept_from, kept);
            const std::string what =
                slot->name + " before token " + std::to_string(t) + " that changed";
            if (env.mixer.spreads) {
                // Of the whole tensor's maximum, which the changed tokens may be.
                Values whole = values;
                whole.paste(axis, kept_from, kept_then);
                require_close(values, whole, model.tolerance(), what);
            } else {
                require_same(kept_now, kept_then, what);
            }
            const Values at = values.slice(axis, t, 1);
            const Values was = before.at(number).slice(axis, t, 1);
            for (size_t j = 0; j < at.data.size(); ++j) {
                if (poisoned) {
                    require(std::isnan(at.data[j]),
                            slot->name + " does not depend on the token it is at");
                }
            }
            require(poisoned || at.data != was.data,
                    slot->name + " does not depend on the token it is at");
        }
    }
}

void run_reverse(const Env& env, BatchTime shape) {
    const Model model = env.model();
    ModelOptions options;
    options.reverse = !model.reverse();
    options.weights = &model.weights();
    const Model twin(model.context(), env.mixer, env.setup, options);
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    Stream stream(model, shape.batch), other(twin, shape.batch);
    stream.set_carry(model.states_in(shape.batch));
    other.set_carry(model.states_in(shape.batch));
    const SlotValues got = other.run(model.flipped(inputs), shape.batch, shape.tokens);
    const SlotValues want = stream.run(inputs, shape.batch, shape.tokens);
    require_close(model, model.flipped(got), want, model.tolerance(), "flipped");
    require_close(model, other.state(), stream.state(), model.tolerance(), "flipped, state");
}

void run_sizes(const Env& env, BatchTime) {
    const Model model = env.model();
    const Model reference = reference_model(env, model);
    for (const BatchTime shape :
         {BatchTime{1, 1}, {2, 5}, {3, 1}, {1, 0}, {0, 3}, {0, 0}, {1, 17}}) {
        compare_with_reference(
            env, model, reference, shape, model.tolerance(),
            "B=" + std::to_string(shape.batch) + " T=" + std::to_string(shape.tokens) + ", ");
    }
    // Nothing to do leaves the state as it is.
    Stream stream(model, 2);
    stream.set_carry(model.states_in(2));
    stream.run(model.inputs(2, 5), 2, 5);
    const SlotValues before = stream.state();
    stream.run(model.inputs(2, 0), 2, 0);
    require_same(model, stream.state(), before, "state after a call without tokens");
}

void run_long(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const Model reference = reference_model(env, model);
    if (small_scale()) {
        shape.tokens = std::min<int64_t>(shape.tokens, 2048);
    }
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    Stream stream(model, shape.batch), exact(reference, shape.batch);
    const SlotValues got = stream.run(inputs, shape.batch, shape.tokens);
    const SlotValues want = exact.run(inputs, shape.batch, shape.tokens, {.real_out = Type::f64});
    require_close(model, got, want, model.tolerance(), "long run");
    require_close(model, stream.state(), exact.state(), model.tolerance(), "long run, state");
}

// Halves in and out are f32 tensors whose values are halves: nothing but the outputs is rounded, but for
// types that say so.
void check_halves(const Model& model, BatchTime shape) {
    const SlotValues given = model.inputs(shape.batch, shape.tokens);
    for (const Type type : {Type::bf16, Type::f16}) {
        const auto takes = [&](int32_t number) {
            return (model.find(number)->dtypes & bit_of(type)) != 0;
        };
        SlotValues inputs = given;
        for (auto& [number, values] : inputs) {
            for (double& value : values.data) {
                value = takes(number) ? round_to(type, value) : value;
            }
        }
        const auto run = [&](Type in, Type out) {
            Stream stream(model, shape.batch);
            return stream.run(inputs, shape.batch, shape.tokens, {.real_in = in, .real_out = out});
        };
        const Type real = model.is_reference() ? Type::f64 : Type::f32;
        SlotValues want = run(real, real);
        for (auto& [number, values] : want) {
            for (double& value : values.data) {
                value = takes(number) ? round_to(type, value) : value;
            }
        }
        if (!model.is_reference()) {
            if (type == Type::bf16 && model.mixer().rounds_bf16) {
                require_close(model, run(type, type), want, 0x1p-7, "half-precision tensors");
            } else {
                require_same(model, run(type, type), want, "half-precision tensors");
            }
            continue;
        }
        SlotValues got = run(type, type);  // what takes no halves is f32
        for (auto& [number, values] : want) {
            for (double& value : values.data) {
                value = takes(number) ? value : round_to(Type::f32, value);
            }
        }
        require_same(model, got, want, "half-precision tensors");
    }
}

// f64 tensors belong to the reference alone, where f32 outputs are the rounded f64 ones.
void run_dtypes(const Env& env, BatchTime) {
    const Model model = env.model();
    const BatchTime shape{2, 11};
    check_halves(model, shape);
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    const auto run = [&](Type in, Type out, seqmix_status* status) {
        Stream stream(model, shape.batch);
        CallOptions options;
        options.real_in = in;
        options.real_out = out;
        options.status = status;
        return stream.run(inputs, shape.batch, shape.tokens, options);
    };
    if (model.is_reference()) {
        SlotValues wide = run(Type::f64, Type::f64, nullptr);
        const SlotValues narrow = run(Type::f32, Type::f32, nullptr);
        require_same(model, run(Type::f32, Type::f64, nullptr), wide, "f32 in, f64 out");
        for (auto& [number, values] : wide) {
            for (double& value : values.data) {
                value = round_to(Type::f32, value);
            }
        }
        require_same(model, narrow, wide, "f32 outputs against rounded f64 ones");
        return;
    }
    bool takes_f64 = false;
    for (const Slot& slot : model.slots()) {
        takes_f64 |= slot.role == SEQMIX_ROLE_OUTPUT && (slot.dtypes & SEQMIX_DTYPE_F64) != 0 &&
                     !model.absent(slot.name);
    }
    if (takes_f64) {
        seqmix_status status = SEQMIX_OK;
        run(Type::f32, Type::f64, &status);
        require(status == SEQMIX_ERR_DTYPE, "an f64 output outside level reference is not refused");
    }
}

void run_half_weights(const Env& env, BatchTime) {
    const Model plain = env.model();
    const BatchTime shape{2, 9};
    const SlotValues inputs = plain.inputs(shape.batch, shape.tokens);
    for (const Type type : {Type::bf16, Type::f16}) {
        SlotValues rounded = plain.weights();
        bool any = false;
        for (auto& [number, values] : rounded) {
            if ((plain.find(number)->dtypes & bit_of(type)) != 0) {
                any = true;
                for (double& value : values.data) {
                    value = round_to(type, value);
                }
            }
        }
        if (!any) {
            continue;
        }
        SlotValues results[2];
        for (const bool half : {false, true}) {
            for (const uint32_t flags : {SEQMIX_BIND_COPY, SEQMIX_BIND_BORROW}) {
                ModelOptions options;
                options.weights = &rounded;
                options.weight_type = half ? type : Type::f32;
                options.bind_flags = flags;
                const Model model(plain.context(), env.mixer, env.setup, options);
                Stream stream(model, shape.batch);
                SlotValues result = stream.run(inputs, shape.batch, shape.tokens);
                if (!half && flags == SEQMIX_BIND_COPY) {
                    results[0] = result;
                }
                require_same(model, result, results[0], "half-precision or borrowed weights");
            }
        }
    }
}

// ------------------------------------------------------------------ the mixing matrix

struct Matrix {
    Values m, v, y;
};

// What the columns of M are: tokens of the source, where the inputs have one, or of the call.
int64_t source_tokens(const Model& model, const SlotValues& inputs, BatchTime shape) {
    for (const auto& [number, values] : inputs) {
        const int64_t axis = model.find(number)->source_axis();
        if (axis >= 0) {
            return values.shape[static_cast<size_t>(axis)];
        }
    }
    return shape.tokens;
}

int64_t lane_width(const Model& model) {
    return model.mixer().lane_width != nullptr ? model.attribute(model.mixer().lane_width) : 1;
}

Matrix materialize(const Model& model, const SlotValues& inputs, BatchTime shape, int64_t first,
                   int64_t count, int64_t lane_first, int64_t lanes, Type type) {
    Matrix result;
    const int64_t sources = source_tokens(model, inputs, shape), width = lane_width(model);
    Buffer m({shape.batch, lanes, count, sources}, type);
    Buffer v({shape.batch, lanes, sources, width}, type);
    Buffer y({shape.batch, lanes, count, width}, type);
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<seqmix_arg> args;
    for (const auto& [number, values] : inputs) {
        const Slot& slot = *model.find(number);
        const Type in = !slot.is_integer()                      ? Type::f32
                        : (slot.dtypes & SEQMIX_DTYPE_I64) != 0 ? Type::i64
                                                                : Type::boolean;
        buffers.push_back(std::make_unique<Buffer>(values, in));
        args.push_back({number, 0, 0, 0, buffers.back()->tensor()});
    }
    seqmix_materialize_options options{};
    options.struct_size = sizeof options;
    options.first = first;
    options.count = count;
    options.lane_first = lane_first;
    options.lane_count = lanes;
    check(seqmix_layer_materialize(model.layer(), nullptr, args.data(), args.size(), &options,
                                   m.tensor(), v.tensor(), y.tensor()),
          "materialize");
    result.m = m.read();
    result.v = v.read();
    result.y = y.read();
    require_finite(result.m, "M");
    require_finite(result.v, "v");
    require_finite(result.y, "y_core");
    return result;
}

void run_materialize(const Env& env, BatchTime) {
    const Model model = env.model();
    require(env.mixer.lanes != nullptr, "cases.cpp does not say what the lanes are");
    const int64_t all = model.attribute(env.mixer.lanes);
    const BatchTime shape{2, small_scale() ? 9 : 37};
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    const int64_t lane = all > 5 ? 3 : 0, lanes = std::min<int64_t>(all - lane, 21);
    const Matrix whole = materialize(model, inputs, shape, 0, shape.tokens, lane, lanes, Type::f64);
    const int64_t sources = source_tokens(model, inputs, shape), width = lane_width(model);
    Values product(whole.y.shape);
    for (int64_t row = 0; row < shape.batch * lanes; ++row) {
        for (int64_t i = 0; i < shape.tokens; ++i) {
            for (int64_t j = 0; j < sources; ++j) {
                const double m =
                    whole.m.data[static_cast<size_t>((row * shape.tokens + i) * sources + j)];
                const bool future = model.reverse() ? j < i : j > i;
                require(!future || !env.facts.causal || m == 0.0, "M sees the future");
                for (int64_t d = 0; d < width; ++d) {
                    product.data[static_cast<size_t>((row * shape.tokens + i) * width + d)] +=
                        m * whole.v.data[static_cast<size_t>((row * sources + j) * width + d)];
                }
            }
        }
    }
    require_close(product, whole.y, 1e-10, "M v against y_core");
    require_close(materialize(model, inputs, shape, 0, shape.tokens, lane, lanes, Type::f32).m,
                  whole.m, 1e-6, "M in f32");
    // A part is that part of the whole.
    const int64_t first = 2, count = shape.tokens - 5, some = std::max<int64_t>(1, lanes - 1);
    const Matrix part =
        materialize(model, inputs, shape, first, count, lane + lanes - some, some, Type::f64);
    require_same(part.m, whole.m.slice(1, lanes - some, some).slice(2, first, count),
                 "a part of M");
    require_same(part.v, whole.v.slice(1, lanes - some, some), "v of a part");
    require_same(part.y, whole.y.slice(1, lanes - some, some).slice(2, first, count),
                 "y_core of a part");
    if (env.setup.core_is_output) {
        Stream stream(model, shape.batch);
        const SlotValues outputs = stream.run(inputs, shape.batch, shape.tokens);
        const Values& y = outputs.at(model.find(std::string("y"))->number);
        Values core = y.slice(2, lane, lanes);  // (B,T,lanes) or (B,T,lanes,dv)
        for (int64_t b = 0; b < shape.batch; ++b) {
            for (int64_t t = 0; t < shape.tokens; ++t) {
                for (int64_t l = 0; l < lanes * width; ++l) {
                    const int64_t at = (b * lanes + l / width) * shape.tokens + t;
                    core.data[static_cast<size_t>((b * shape.tokens + t) * lanes * width + l)] =
                        whole.y.data[static_cast<size_t>(at * width + l % width)];
                }
            }
        }
        require_close(y.slice(2, lane, lanes), core, model.tolerance(), "forward against y_core");
    }
}

// ------------------------------------------------------------------ names and initial values

void run_kernel_name(const Env& env, BatchTime) {
    const Model model = env.model();
    const char* raw = seqmix_layer_kernel_name(model.layer());
    require(raw != nullptr, "no kernel name");
    const std::string name = raw;
    const std::vector<const char*>& own = env.mixer.levels;
    // The level asked for, or the next lower one that the type has a kernel for.
    std::string want = env.level;
    if (!own.empty() && want != "reference") {
        want.clear();
        for (const std::string& level : built_levels()) {
            const bool has =
                std::any_of(own.begin(), own.end(), [&](const char* l) { return level == l; });
            want = has ? level : want;
            if (level == env.level) {
                break;
            }
        }
    }
    require(name.size() > want.size() + 1 && name.ends_with("/" + want),
            "kernel '" + name + "' at level " + env.level + ", expected '.../" + want +
                "' (Bound::kernel_name, set in bind)");
    require(seqmix_layer_type(model.layer()) == std::string(env.mixer.type), "wrong type name");
}

void run_init(const Env& env, BatchTime) {
    if (env.mixer.from_checkpoint) {
        return;
    }
    const Model model = env.model();
    const Model reference = reference_model(env, model);
    bool differs = false, any = false;
    for (const Slot& slot : model.slots()) {
        if (slot.role != SEQMIX_ROLE_WEIGHT) {
            continue;
        }
        any = true;
        const std::vector<int64_t> shape = slot.shape(0, 0, 0);
        const auto draw = [&](const Model& from, uint64_t seed, const Layout& layout) {
            const Buffer buffer(shape, Type::f32, layout);
            const seqmix_arg arg{slot.number, 0, 0, 0, buffer.tensor()};
            check(seqmix_layer_init(from.plan(), seed, &arg, 1), "init of " + slot.name);
            buffer.require_gaps_untouched("init of " + slot.name);
            return buffer.read();
        };
        const Values values = draw(model, 42, {});
        require_finite(values, "init of " + slot.name);
        require_same(draw(model, 42, {}), values, "init again, " + slot.name);
        require_same(draw(reference, 42, {}), values, "init at another level, " + slot.name);
        require_same(draw(model, 42, {.pad = 3, .step = 2}), values,
                     "init of a strided tensor, " + slot.name);
        differs |= draw(model, 43, {}).data != values.data;
    }
    bool random = false;  // all ones (a norm) are no random numbers
    for (const auto& [number, values] : model.weights()) {
        random |= model.find(number)->sizes.size() >= 2;
    }
    require(!any || !random || differs, "another seed gives the same numbers");
}

// Without a required weight a layer does not bind, and says which it was. An optional one may be
// missing, and then some case of the type leaves it out, or nothing would say what comes out.
void run_absent_weights(const Env& env, BatchTime) {
    const Model model = env.model();
    for (const auto& [left_out, values] : model.weights()) {
        std::vector<std::unique_ptr<Buffer>> buffers;
        std::vector<seqmix_arg> args;
        for (const auto& [number, kept] : model.weights()) {
            if (number != left_out) {
                buffers.push_back(std::make_unique<Buffer>(kept, Type::f32));
                args.push_back({number, 0, 0, 0, buffers.back()->tensor()});
            }
        }
        const Slot& slot = *model.find(left_out);
        seqmix_layer* bound = nullptr;
        const seqmix_status status =
            seqmix_layer_bind(model.plan(), args.data(), args.size(), &bound);
        seqmix_layer_release(bound);
        if (!slot.optional) {
            const std::string message = seqmix_last_error();
            require(status == SEQMIX_ERR_MISSING_TENSOR &&
                        message.find("'" + slot.name + "'") != std::string::npos,
                    "without " + slot.name + ": " + seqmix_status_name(status) + ", " + message);
            continue;
        }
        check(status, "without the optional " + slot.name);
        const std::vector<Case>& cases = env.mixer.cases;
        require(std::any_of(cases.begin(), cases.end(),
                            [&](const Case& one) {
                                return std::find(one.absent.begin(), one.absent.end(), slot.name) !=
                                       one.absent.end();
                            }),
                slot.name + " is optional, and no case of cases.cpp leaves it out");
    }
}

bool has_time_output(const MixerCases&, const Facts& facts) { return facts.causal; }
bool is_reversible(const MixerCases&, const Facts& facts) { return facts.reversible; }
bool materializes(const MixerCases&, const Facts& facts) { return facts.materialize; }
bool has_weights(const MixerCases& mixer, const Facts& facts) {
    return !facts.operation && !mixer.from_checkpoint;
}

}  // namespace

std::vector<Check> number_checks() {
    return {
        {"reference", Each::shape, any_type, run_reference},
        {"optional_tensors", Each::setup, any_type, run_optional_inputs},
        {"absent_weights", Each::setup, has_weights, run_absent_weights},
        {"chunked", Each::shape, has_time_output, run_chunked},
        {"stepped", Each::shape, has_time_output, run_stepped},
        {"causality", Each::shape, has_time_output, run_causality},
        {"reverse", Each::shape, is_reversible, run_reverse},
        {"sizes", Each::sweep, any_type, run_sizes},
        {"long_run", Each::long_run, has_time_output, run_long},
        {"dtypes", Each::setup, any_type, run_dtypes},
        {"half_weights", Each::setup, has_weights, run_half_weights},
        {"materialize", Each::setup, materializes, run_materialize},
        {"kernel_name", Each::setup, any_type, run_kernel_name},
        {"init", Each::setup, has_weights, run_init},
    };
}

}  // namespace seqmix::conformance
