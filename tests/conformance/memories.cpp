// Checks of memory: any layout gives the same bits, nothing outside a view is touched.
#include "checks.h"

namespace seqmix::conformance {

namespace {

// Tensors of pairs of tokens stay small where the target is long.
constexpr int64_t kShortSource = 8;

struct NamedLayout {
    const char* name;
    Layout layout;
};

const NamedLayout kLayouts[] = {
    {"offset", {.misalign = 64, .use_byte_offset = true}},
    {"shifted by an element", {.misalign = 4}},
    {"misaligned", {.misalign = 1}},
    {"misaligned by byte_offset", {.misalign = 3, .use_byte_offset = true}},
    {"padded rows", {.pad = 5}},
    {"strided channels", {.step = 2}},
    {"(B,D,T)", {.axis1_innermost = true}},
    {"(B,D,T) padded and misaligned", {.pad = 3, .axis1_innermost = true, .misalign = 2}},
    {"(B,D,T) strided", {.step = 3, .axis1_innermost = true}},
};
const NamedLayout kInputLayouts[] = {
    {"time backwards", {.flip_axis1 = true}},
    {"channels backwards", {.flip_last = true}},
    {"(B,D,T) backwards", {.axis1_innermost = true, .flip_axis1 = true}},
};

// One call, or two where the second starts from the state of the first. A status that is asked for
// is that of the first call.
SlotValues run_once(const Model& model, const SlotValues& inputs, BatchTime shape,
                    const CallOptions& options) {
    Stream stream(model, shape.batch);
    stream.set_carry(model.states_in(shape.batch));
    SlotValues outputs = stream.run(inputs, shape.batch, shape.tokens, options);
    if (model.facts().causal && (options.status == nullptr || *options.status == SEQMIX_OK)) {
        outputs = stream.run(inputs, shape.batch, shape.tokens, options);
    }
    return outputs;
}

void run_layouts(const Env& env, BatchTime shape) {
    const Model model = env.model();
    const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
    const SlotValues want = run_once(model, inputs, shape, {});
    // Outputs too large to be copied (logits) need unit stride in the last axis and alignment.
    const auto compare = [&](const CallOptions& options, const std::string& what) {
        seqmix_status status = SEQMIX_OK;
        CallOptions asked = options;
        asked.status = &status;
        const SlotValues got = run_once(model, inputs, shape, asked);
        if (status == SEQMIX_ERR_LAYOUT && env.mixer.direct_outputs &&
            (options.out_layout.step != 1 || options.out_layout.axis1_innermost ||
             options.out_layout.misalign % sizeof(float) != 0)) {
            return;
        }
        check(status, what);
        require_same(model, got, want, what);
    };
    const bool brief = small_scale() || shape.tokens > 64;
    for (const NamedLayout& layout : kLayouts) {
        compare({.in_layout = layout.layout, .out_layout = layout.layout},
                std::string("all ") + layout.name);
        if (!brief) {
            compare({.in_layout = layout.layout}, std::string("inputs ") + layout.name);
            compare({.out_layout = layout.layout}, std::string("outputs ") + layout.name);
        }
    }
    if (env.mixer.direct_outputs) {
        for (const NamedLayout& layout : kLayouts) {
            compare({.in_layout = layout.layout}, std::string("inputs ") + layout.name);
        }
    }
    for (const NamedLayout& layout : kInputLayouts) {
        compare({.in_layout = layout.layout}, std::string("inputs ") + layout.name);
    }
    // One row for all rows of the batch.
    SlotValues equal = inputs;
    for (auto& [number, values] : equal) {
        const Slot* slot = model.find(number);
        for (int64_t row = 1; slot->row_axis() == 0 && row < shape.batch; ++row) {
            values.paste(0, row, values.slice(0, 0, 1));
        }
    }
    Stream apart(model, shape.batch), shared(model, shape.batch);
    CallOptions repeated;
    repeated.in_layout.repeat_axis0 = true;
    require_same(model, shared.run(equal, shape.batch, shape.tokens, repeated),
                 apart.run(equal, shape.batch, shape.tokens), "stride 0 along the batch");
}

void run_weight_layouts(const Env& env, BatchTime) {
    const Model plain = env.model();
    const BatchTime shape{2, 7};
    const SlotValues inputs = plain.inputs(shape.batch, shape.tokens);
    const SlotValues want = run_once(plain, inputs, shape, {});
    const auto compare = [&](const Layout& layout, uint32_t flags, const std::string& what) {
        ModelOptions options;
        options.weights = &plain.weights();
        options.layout = layout;
        options.bind_flags = flags;
        const Model model(plain.context(), env.mixer, env.setup, options);
        require_same(model, run_once(model, inputs, shape, {}), want, "weights " + what);
    };
    for (const NamedLayout& layout : kLayouts) {
        compare(layout.layout, SEQMIX_BIND_COPY, layout.name);
    }
    for (const NamedLayout& layout : kInputLayouts) {
        compare(layout.layout, SEQMIX_BIND_COPY, layout.name);
    }
    // Borrowed weights are in C order, at any address.
    for (const size_t misalign : {size_t{1}, size_t{2}, size_t{4}, size_t{12}}) {
        compare({.misalign = misalign}, SEQMIX_BIND_BORROW,
                "borrowed, misaligned by " + std::to_string(misalign));
    }
}

// Every tensor of the caller, and every block that the library allocates, ends at a page that
// cannot be touched; then every tensor begins at one. Inputs cannot be written. Fresh memory holds no
// numbers. Tensors are of the level's own type, which is not copied.
void run_guard(const Env& env, BatchTime shape) {
    const Context plain = env.context();
    const Context guarded({.isa = env.level, .threads = 1, .guarded = true});
    const Type real = env.level == "reference" ? Type::f64 : Type::f32;
    SlotValues want;
    {
        const Model model(plain, env.mixer, env.setup);
        want = run_once(model, model.inputs(shape.batch, shape.tokens), shape,
                        {.real_in = real, .real_out = real});
    }
    for (const Placement placement : {Placement::guard_after, Placement::guard_before}) {
        for (const uint32_t flags : {SEQMIX_BIND_COPY, SEQMIX_BIND_BORROW}) {
            ModelOptions options;
            options.bind_flags = flags;
            options.placement = placement;
            const Model model(guarded, env.mixer, env.setup, options);
            const SlotValues inputs = model.inputs(shape.batch, shape.tokens);
            const std::string what = "at guard pages";
            for (const uint8_t canary : {uint8_t{0xff}, uint8_t{0x11}}) {
                CallOptions call{.placement = placement, .real_in = real, .real_out = real};
                call.canary = canary;
                require_same(model, run_once(model, inputs, shape, call), want, what);
            }
            CallOptions transposed{.placement = placement, .real_in = real, .real_out = real};
            transposed.in_layout.axis1_innermost = true;
            require_same(model, run_once(model, inputs, shape, transposed), want,
                         what + ", (B,D,T)");
            if (env.mixer.from_checkpoint || env.facts.operation) {
                break;  // no weights of the caller
            }
        }
    }
}

// All of the library's memory comes from the allocator and goes back to it.
void run_allocator(const Env& env, BatchTime) {
    std::shared_ptr<const std::atomic<int64_t>> live;
    {
        const Context context({.isa = env.level, .threads = 2, .guarded = true});
        live = context.live_blocks();
        const Model model(context, env.mixer, env.setup);
        require(*live > 0, "the allocator was not asked");
        const SlotValues inputs = model.inputs(2, 5);
        Stream stream(model, 2, 2);
        stream.run(inputs, 2, 5);
        // A call inside another one's poll needs memory of its own: two blocks of scratch of
        // different sizes lie idle afterwards, and calls of both sizes choose between them.
        const int64_t tokens = env.facts.chunk > 0 ? env.facts.chunk + 3 : 5;
        const SlotValues many = model.inputs(1, tokens, 1, kShortSource);
        CallOptions polled;
        polled.canary = 0x11;  // what grows may overflow over so many tokens
        polled.poll = [&](uint64_t, uint64_t) {
            Stream(model, 2).run(inputs, 2, 5);
            return 0;
        };
        Stream(model, 1).run(many, 1, tokens, polled);
        for (int i = 0; i < 3; ++i) {
            Stream(model, 1).run(many, 1, tokens, {.canary = 0x11});
            Stream(model, 2).run(inputs, 2, 5);
        }
        if (stream.has_handle() && env.facts.causal) {
            int64_t id = 0;
            check(seqmix_state_snapshot(stream.handle(), -1, &id), "snapshot");
            Stream copy = stream.clone();
            copy.run(inputs, 2, 5);
        }
    }
    require(*live == 0, "blocks were not given back to the allocator");
}

// After prepare a call within its bounds asks for no memory, the first one included.
void run_prepared(const Env& env, BatchTime) {
    const Context context({.isa = env.level, .threads = 2, .guarded = true});
    const Model model(context, env.mixer, env.setup);
    check(seqmix_layer_prepare(model.layer(), 2, 10, 1), "prepare");
    Stream stream(model, 2);
    for (const int64_t tokens : {5, 1, 3}) {
        int64_t asked = 0;
        stream.run(model.inputs(2, tokens), 2, tokens, {.allocations = &asked});
        require(asked == 0, "a prepared call of " + std::to_string(tokens) +
                                " tokens asked for memory " + std::to_string(asked) + " times");
    }
    int64_t asked = 0;
    const int64_t far = small_scale() ? 200 : 2000;
    Stream(model, 2).run(model.inputs(2, far, 1, kShortSource), 2, far,
                         {.canary = 0x11, .allocations = &asked});
    require(asked > 0,
            "the counter sees nothing: a call far beyond the bounds asked for no memory");
}

bool binds_weights(const MixerCases& mixer, const Facts& facts) {
    return !facts.operation && !mixer.from_checkpoint;
}

}  // namespace

std::vector<Check> memory_checks() {
    return {
        {"layouts", Each::shape, any_type, run_layouts},
        {"weight_layouts", Each::setup, binds_weights, run_weight_layouts},
        {"guard_pages", Each::shape, any_type, run_guard},
        {"allocator", Each::setup, any_type, run_allocator},
        {"prepared", Each::setup, any_type, run_prepared},
    };
}

}  // namespace seqmix::conformance
