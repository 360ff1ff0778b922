/* seqmix.hpp: every wrapper is called once and gives what the C call gives; failures become seqmix::Error
 * with status and message; views keep their shapes through copies, slices and transpositions.
 *
 * usage: hpp [MODEL] */
#include <seqmix/seqmix.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>

static int failures = 0;

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            ++failures;                                                         \
        }                                                                       \
    } while (0)

template <class F>
static void throws(int line, seqmix_status status, F&& function) {
    try {
        function();
        std::printf("line %d: nothing thrown\n", line);
        ++failures;
    } catch (const seqmix::Error& error) {
        if (error.status() != status) {
            std::printf("line %d: threw %s\n", line, error.what());
            ++failures;
        }
    }
}
#define THROWS(status, ...) throws(__LINE__, status, [&] { __VA_ARGS__; })

static void views() {
    std::vector<float> values(24);
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>(i);
    }
    const seqmix::TensorView flat(values);
    CHECK(flat.ndim() == 1 && flat.size(0) == 24 && flat.get()->strides == nullptr);
    CHECK(flat.get()->dtype.code == SEQMIX_DL_FLOAT && flat.get()->dtype.bits == 32);
    const seqmix::TensorView cube(values, {2, 3, 4});
    CHECK(cube.count() == 24 && cube.stride(0) == 12 && cube.stride(1) == 4 &&
          cube.stride(-1) == 1);
    THROWS(SEQMIX_ERR_SHAPE, seqmix::TensorView(values, {2, 3, 5}));
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT, seqmix::TensorView(values.data(), {1, 1}, {1}));
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT,
           seqmix::TensorView(values.data(), {1, 1, 1, 1, 1, 1, 1, 1, 1}));

    /* A copy has sizes and strides of its own, also when the original is gone. */
    auto temporary = std::make_unique<seqmix::TensorView>(cube.transposed(1, 2).slice(1, 1, 2));
    const seqmix::TensorView copy = *temporary;
    CHECK(copy.get()->shape != temporary->get()->shape);
    temporary.reset();
    CHECK(copy.ndim() == 3 && copy.get()->shape[0] == 2 && copy.get()->shape[1] == 2 &&
          copy.get()->shape[2] == 3);
    CHECK(copy.get()->strides[0] == 12 && copy.get()->strides[1] == 1 &&
          copy.get()->strides[2] == 4);
    CHECK(static_cast<const float*>(copy.get()->data)[0] == 1.0f);
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT, cube.slice(2, 3, 2));
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT, cube.size(3));

    const seqmix::Tensor<int64_t> lengths({3, 2}, {2});
    const seqmix::TensorView of_tensor = lengths;
    CHECK(of_tensor.ndim() == 1 && of_tensor.get()->dtype.code == SEQMIX_DL_INT &&
          of_tensor.get()->dtype.bits == 64 && of_tensor.get()->data == lengths.data());
    const seqmix::Tensor<double> matrix({2, 3});
    CHECK(matrix.size() == 6 && seqmix::TensorView(matrix).ndim() == 2);
    CHECK(seqmix::dtype_of<bool>().code == SEQMIX_DL_BOOL);
    CHECK(seqmix::dtype_of<const uint8_t>().code == SEQMIX_DL_UINT);
    CHECK(seqmix::TensorView(values.data(), seqmix::bfloat16, {4}).get()->dtype.code ==
          SEQMIX_DL_BFLOAT);
    CHECK(seqmix::TensorView(values.data(), seqmix::float16, {4}, {2}).stride(0) == 2);

    /* Args keep pointing to their own views when they grow, are copied and moved. */
    seqmix::Args args;
    for (int32_t i = 0; i < 20; ++i) {
        args.add(i, seqmix::TensorView(values.data(), {1, i}), i);
    }
    const seqmix::Args copied = args;
    const seqmix::Args moved = std::move(args);
    for (const seqmix::Args* each : {&copied, &moved}) {
        CHECK(each->size() == 20);
        for (int32_t i = 0; i < 20; ++i) {
            const seqmix_arg& arg = each->data()[i];
            CHECK(arg.slot == i && arg.index == i && arg.tensor->shape[1] == i);
        }
    }
    CHECK(copied.data()[0].tensor != moved.data()[0].tensor);
    seqmix::Args controls;
    controls.cu_seqlens(flat).lengths(flat).rows(flat).seq_idx(flat).positions(flat);
    controls.cu_seqlens_k(flat).lengths_k(flat);
    CHECK(controls.data()[0].slot == SEQMIX_SLOT_CU_SEQLENS &&
          controls.data()[4].slot == SEQMIX_SLOT_POSITIONS &&
          controls.data()[5].slot == SEQMIX_SLOT_CU_SEQLENS_K &&
          controls.data()[6].slot == SEQMIX_SLOT_LENGTHS_K);
}

static void library() {
    CHECK(seqmix::version() == SEQMIX_VERSION);
    CHECK(std::string(seqmix::version_string()) == seqmix_version_string());
    CHECK(std::string(seqmix::build_info()).find("\"isa\"") != std::string::npos);
    CHECK(std::string(seqmix::status_name(SEQMIX_ERR_SHAPE)) == "SEQMIX_ERR_SHAPE");
    const std::vector<std::string> names = seqmix::type_names();
    CHECK(std::find(names.begin(), names.end(), "mamba") != names.end());
    CHECK(std::string(seqmix::type_schema("mamba")).find("d_model") != std::string::npos);
    CHECK(seqmix::type_slot("mamba", "cu_seqlens") == SEQMIX_SLOT_CU_SEQLENS);
    THROWS(SEQMIX_ERR_UNKNOWN_TYPE, seqmix::type_schema("mamva"));
    try {
        seqmix::type_slot("mamba", "no_such_slot");
        CHECK(seqmix::type_names().empty());  // never: the line above throws
    } catch (const seqmix::Error& error) {
        CHECK(error.status() == SEQMIX_ERR_UNKNOWN_SLOT);
        CHECK(error.message().find("no_such_slot") != std::string::npos);
        CHECK(error.message() == seqmix::last_error());
        CHECK(std::string(error.what()).find("SEQMIX_ERR_UNKNOWN_SLOT: ") == 0);
    }
}

/* Weight tensors for a planned layer, kept by the caller. */
struct Weights {
    std::vector<seqmix::Tensor<float>> tensors;
    seqmix::Args args;
};

static Weights weights_of(const seqmix::Layer& plan) {
    Weights weights;
    weights.tensors.reserve(plan.slot_count());
    for (std::size_t i = 0; i < plan.slot_count(); ++i) {
        const seqmix_slot_info info = plan.slot_info(i);
        if (info.role == SEQMIX_ROLE_WEIGHT) {
            weights.tensors.emplace_back(std::vector<int64_t>(info.shape, info.shape + info.ndim));
            weights.args.add(info.slot, weights.tensors.back());
        }
    }
    return weights;
}

static void layers() {
    const char* isa = "generic";
    seqmix::ContextOptions options;
    options.with_threads(1).with_isa(isa);
    seqmix::Context context(options);
    CHECK(context.info().find("\"generic\"") != std::string::npos);
    seqmix::Context shared = context;
    seqmix::Context moved = std::move(shared);
    shared = moved;
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT,
           seqmix::Context(seqmix::ContextOptions().with_isa("no_such_level")));

    seqmix::Config config;
    config.set("d_model", 16);
    seqmix::Config other = config;
    other.set("d_model", "sixteen");
    THROWS(SEQMIX_ERR_ATTRIBUTE_TYPE, seqmix::Layer::plan(context, "mamba", other));
    other = config;
    other.set("no_such_key", 1.5);
    THROWS(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, seqmix::Layer::plan(context, "mamba", other));
    other.set("flag", true).set("i", std::vector<int64_t>{1, 2}).set("r", std::vector<double>{.5});
    other.set("s", std::string("text"));
    other = seqmix::Config().set_json("{\"d_model\": 16, \"conv_bias\": true}");
    THROWS(SEQMIX_ERR_BAD_FORMAT, other.set_json("{\"d_model\": "));

    const seqmix::Layer planned = seqmix::Layer::plan(context, "mamba", other);
    CHECK(planned.kernel_name().empty() && planned.type() == "mamba");
    CHECK(planned.size("x", -1) == 16 && planned.size("x", 0) == SEQMIX_DIM_B);
    const Weights weights = weights_of(planned);
    planned.init(11, weights.args);
    const seqmix::Layer layer = planned.bind(weights.args);
    CHECK(layer.kernel_name().find("generic") != std::string::npos);
    CHECK(layer.info().find("mamba") != std::string::npos);
    CHECK(layer.child_count() == 0 && layer.children().empty());
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT, layer.child(0));
    for (std::size_t i = 0; i < layer.slot_count(); ++i) {
        const seqmix_slot_info info = layer.slot_info(i);
        if (info.role == SEQMIX_ROLE_WEIGHT && (info.flags & SEQMIX_SLOT_BOUND) != 0) {
            seqmix::Tensor<float> out(std::vector<int64_t>(info.shape, info.shape + info.ndim));
            layer.get_weight(info.name, out);
        }
    }
    CHECK(layer.bytes(SEQMIX_BYTES_WEIGHTS) > 0 && layer.bytes(SEQMIX_BYTES_STATE, 3) > 0);
    CHECK(layer.bytes(SEQMIX_BYTES_SCRATCH, 1, 100) > 0);
    layer.prepare(2, 64);

    seqmix::Tensor<float> x({2, 5, 16}), y({2, 5, 16}), z({2, 5, 16});
    for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<float>(i % 13) / 13.0f - 0.5f;
    }
    seqmix::State state(layer, seqmix::StateOptions(2, 3));
    const seqmix::Args call = seqmix::Args(layer).add("x", x).add("y", y);
    layer.forward(state, call);
    CHECK(state.position() == 5 && state.position(1) == 5 && state.bytes() > 0);

    /* clone, save and load, snapshot and rollback: each repeats the next call exactly. */
    seqmix::State clone = state.clone();
    const std::vector<uint8_t> blob = state.save();
    const int64_t snapshot = state.snapshot();
    layer.forward(state, call);
    const std::vector<float> expected(y.begin(), y.end());
    const auto same = [&] { return std::equal(expected.begin(), expected.end(), y.begin()); };
    layer.forward(clone, call);
    CHECK(same());
    seqmix::State loaded = seqmix::State::load(layer, blob);
    layer.forward(loaded, call);
    CHECK(same());
    state.rollback(snapshot);
    layer.forward(state, call);
    CHECK(same());
    state.drop(snapshot);
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT, state.rollback(snapshot));
    std::vector<uint8_t> damaged = blob;
    damaged[damaged.size() / 2] ^= 1;
    THROWS(SEQMIX_ERR_BAD_FORMAT, seqmix::State::load(layer, damaged));
    clone = seqmix::State(layer, seqmix::StateOptions(2));
    clone.copy_row(1, state, 0);
    CHECK(clone.position(1) == 10 && clone.position(0) == 0);
    for (std::size_t i = 0; i < layer.slot_count(); ++i) {
        const seqmix_slot_info info = layer.slot_info(i);
        if (info.role == SEQMIX_ROLE_STATE) {
            std::vector<int64_t> shape(info.shape, info.shape + info.ndim);
            shape[0] = 2;
            seqmix::Tensor<float> out(shape), back(shape);
            state.read(info.slot, out);
            clone.write(info.slot, out);
            clone.read(info.slot, back);
            CHECK(std::equal(out.begin(), out.end(), back.begin()));
        }
    }
    state.reset();
    CHECK(state.position() == 0);

    /* poll: asked, cancels, and may throw. */
    seqmix::Tensor<float> long_x({2, 1500, 16}), long_y({2, 1500, 16});
    const seqmix::Args long_call = seqmix::Args(layer).add("x", long_x).add("y", long_y);
    int asked = 0;
    layer.forward(state, long_call, [&](uint64_t done, uint64_t total) {
        CHECK(done <= total && total == 3000);
        ++asked;
        return false;
    });
    CHECK(asked > 0);
    THROWS(SEQMIX_ERR_CANCELLED,
           layer.forward(state, long_call, [](uint64_t, uint64_t) { return true; }));
    bool passed = false;
    try {
        layer.forward(state, long_call, [](uint64_t, uint64_t) -> bool { throw 42; });
    } catch (int thrown) {
        passed = thrown == 42;
    }
    CHECK(passed);

    /* Handles keep their parents: the context and the layer go first here. */
    {
        seqmix::State orphan;
        {
            seqmix::Layer short_lived =
                seqmix::Layer::plan(seqmix::Context(options), "mamba", config).bind(weights.args);
            orphan = seqmix::State(short_lived);
        }
        CHECK(orphan.position() == 0);
    }
    CHECK(layer.try_forward(nullptr, call) == SEQMIX_ERR_NULL_ARGUMENT);
    THROWS(SEQMIX_ERR_INVALID_ARGUMENT, planned.forward(state, call));

    const seqmix::Layer op =
        seqmix::Layer::plan(context, "causal_conv1d_op",
                            seqmix::Config().set("d_model", 16).set("width", 3).set("silu", false))
            .bind();
    const std::vector<float> taps(48, 1.0f);
    op.forward(seqmix::Args(op).add("x", x).add("weight", {taps, {16, 3}}).add("y", z));
    CHECK(z[16 * 4 + 1] == (x[16 * 2 + 1] + x[16 * 3 + 1]) + x[16 * 4 + 1] ||
          z[16 * 4 + 1] - (x[16 * 2 + 1] + x[16 * 3 + 1] + x[16 * 4 + 1]) < 1e-6f);
}

/* y_core = M v, of the selective scan. */
static void materialize() {
    seqmix::Context context(seqmix::ContextOptions().with_threads(1));
    const seqmix::Layer scan =
        seqmix::Layer::plan(context, "selective_scan_op",
                            seqmix::Config().set("d_inner", 3).set("d_state", 2))
            .bind();
    const int64_t T = 4;
    seqmix::Tensor<float> u({1, T, 3}), delta({1, T, 3}), A({3, 2}), B({1, T, 2}), C({1, T, 2});
    for (seqmix::Tensor<float>* t : {&u, &delta, &B, &C}) {
        for (std::size_t i = 0; i < t->size(); ++i) {
            (*t)[i] = 0.1f + 0.05f * static_cast<float>(i % 7);
        }
    }
    std::fill(A.begin(), A.end(), -0.5f);
    const seqmix::Args args =
        seqmix::Args(scan).add("u", u).add("delta", delta).add("A", A).add("B", B).add("C", C);
    seqmix::Tensor<double> M({1, 3, T, T}), v({1, 3, T, 1}), core({1, 3, T, 1});
    const seqmix::TensorView m = M, vv = v, cc = core;
    scan.materialize(args, seqmix::MaterializeOptions(), &m, &vv, &cc);
    double sum = 0;
    for (std::size_t lane = 0; lane < 3; ++lane) {
        for (std::size_t t = 0; t < 4; ++t) {
            double expected = 0;
            for (std::size_t s = 0; s < 4; ++s) {
                expected += M[(lane * 4 + t) * 4 + s] * v[lane * 4 + s];
            }
            const double got = core[lane * 4 + t];
            CHECK(got - expected < 1e-6 && expected - got < 1e-6);
            sum += got;
        }
    }
    CHECK(sum > 0);
}

/* The model, whole and child by child. */
static void model(const char* path) {
    seqmix::Context context(seqmix::ContextOptions().with_threads(2));
    const seqmix::Layer whole = seqmix::Layer::open(context, path);
    CHECK(whole.type() == "stack" && whole.child_count() > 2);
    const int64_t T = 12;
    seqmix::Tensor<int64_t> tokens({1, T});
    for (int64_t t = 0; t < T; ++t) {
        tokens[static_cast<std::size_t>(t)] = 65 + t;
    }
    seqmix::Tensor<float> logits({1, T, whole.size("logits", -1)}), again = logits;
    seqmix::State state(whole), parts(whole);
    whole.forward(state, seqmix::Args(whole).add("tokens", tokens).add("logits", logits));
    seqmix::Tensor<float> x, y;
    for (std::size_t i = 0; i < whole.child_count(); ++i) {
        const seqmix::Layer child = whole.child(i);
        seqmix::State part = parts.child(i);
        y = seqmix::Tensor<float>({1, T, child.size("y", -1)});
        const seqmix::TensorView in = i == 0 ? seqmix::TensorView(tokens) : seqmix::TensorView(x);
        child.forward(part, seqmix::Args(child).add(i == 0 ? "tokens" : "x", in).add("y", y));
        x = y;
    }
    CHECK(y.size() == logits.size() && std::equal(y.begin(), y.end(), logits.begin()));
    THROWS(SEQMIX_ERR_IO, seqmix::Layer::open(context, "/no/such/model"));
    THROWS(SEQMIX_ERR_UNKNOWN_ATTRIBUTE,
           seqmix::Layer::open(context, path, seqmix::Config().set("no_such_option", 1)));
}

int main(int argc, char** argv) try {
    if (argc > 1) {
        model(argv[1]);
    } else {
        views();
        library();
        layers();
        materialize();
    }
    std::printf(failures == 0 ? "ok\n" : "%d checks failed\n", failures);
    return failures == 0 ? 0 : 1;
} catch (const std::exception& error) {
    std::printf("unexpected: %s\n", error.what());
    return 1;
}
