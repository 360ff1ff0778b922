// What everything but forward refuses: contexts, plans, binding, opening, children, NULL handles,
// and the two failures that come from the host: memory and its executor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using testing::AllOf;
using testing::HasSubstr;

// ------------------------------------------------------------------ the message

TEST(LastError, IsOneLineOfThisThreadAndStays) {
    const char* unused = nullptr;
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_TYPE, seqmix_type_schema("of_this_thread", &unused));
    std::thread([] {
        EXPECT_STREQ(seqmix_last_error(), "");
        const char* text = nullptr;
        EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_TYPE, seqmix_type_schema("of_another", &text));
        EXPECT_THAT(seqmix_last_error(), HasSubstr("of_another"));
    }).join();
    EXPECT_THAT(seqmix_last_error(), HasSubstr("of_this_thread"));
    EXPECT_STATUS(SEQMIX_OK, seqmix_type_schema("mamba", &unused));
    EXPECT_THAT(seqmix_last_error(), HasSubstr("of_this_thread"));  // success does not clear it
    const std::string longest(5000, 'z');
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_TYPE, seqmix_type_schema(longest.c_str(), &unused));
    EXPECT_LE(std::string(seqmix_last_error()).size(), 1023u);
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_TYPE, seqmix_type_schema("two\nlines\r", &unused));
    EXPECT_EQ(std::string(seqmix_last_error()).find_first_of("\r\n"), std::string::npos);
}

// ------------------------------------------------------------------ contexts

class ContextErrors : public testing::Test {
  protected:
    ContextErrors() {
        options_.struct_size = sizeof(options_);
        options_.version = SEQMIX_VERSION;
        options_.threads = 1;
    }
    seqmix_status create() {
        Context context;
        const seqmix_status status = seqmix_context_create(&options_, context.out());
        EXPECT_EQ(static_cast<bool>(context), status == SEQMIX_OK);
        return status;
    }
    seqmix_context_options options_ = {};
};

TEST_F(ContextErrors, Options) {
    EXPECT_STATUS(SEQMIX_OK, create());
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_context_create(&options_, nullptr));
    options_.threads = -1;
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("threads"));
    options_.threads = 1;
    options_.alloc = [](void*, size_t, size_t) -> void* { return nullptr; };
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("free"));
    options_.alloc = nullptr;
    options_.free = [](void*, void*, size_t, size_t) {};
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("alloc"));
    options_.free = nullptr;
    options_.parallel_for = [](void*, size_t, seqmix_task_fn, void*) -> int32_t { return 0; };
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("parallel_workers"));
}

TEST_F(ContextErrors, InstructionSets) {
    options_.isa = "avx1024";
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("avx1024"));
    const std::vector<std::string> here = levels();
    for (const char* level : {"reference", "generic", "avx2", "avx512"}) {
        options_.isa = level;
        const bool offered = std::find(here.begin(), here.end(), level) != here.end();
        EXPECT_STATUS(offered ? SEQMIX_OK : SEQMIX_ERR_UNSUPPORTED_CPU, create());
    }
}

TEST_F(ContextErrors, Versions) {
    options_.version = 0;  // not checked
    EXPECT_STATUS(SEQMIX_OK, create());
    options_.version = 0x630000;
    EXPECT_ERROR(SEQMIX_ERR_VERSION, create(), HasSubstr("99"));
    options_.version = SEQMIX_VERSION;
    options_.struct_size = 0;
    EXPECT_STATUS(SEQMIX_ERR_VERSION, create());
}

TEST_F(ContextErrors, InfoNeedsItsPlaces) {
    const Context context = make_context();
    size_t needed = 77;
    char buffer[4];
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_context_info(nullptr, buffer, 4, &needed));
    EXPECT_EQ(needed, 77u);
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_context_info(context.get(), buffer, 4, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_context_info(context.get(), nullptr, 1 << 20, &needed));
    EXPECT_STATUS(SEQMIX_ERR_BUFFER_TOO_SMALL,
                  seqmix_context_info(context.get(), buffer, 4, &needed));
    EXPECT_GT(needed, 4u);
}

// ------------------------------------------------------------------ planning and binding

TEST(BindErrors, MissingWrongAndUnknownWeights) {
    const SmallMamba mamba;
    const auto without = [&](const std::string& left_out, const std::string& changed,
                             const Tensor& value, uint32_t flags = 0) {
        Args args(mamba.planned);
        for (const auto& [name, tensor] : mamba.weights.tensors) {
            if (name == changed) {
                args.add(name, value, flags);
            } else if (name != left_out) {
                args.add(name, tensor);
            }
        }
        Layer bound;
        const seqmix_status status =
            seqmix_layer_bind(mamba.planned.get(), args.data(), args.size(), bound.out());
        EXPECT_EQ(static_cast<bool>(bound), status == SEQMIX_OK);
        return status;
    };
    const auto says = [](const char* text) {
        return AllOf(HasSubstr("mamba"), HasSubstr("'x_proj.weight'"), HasSubstr(text));
    };
    const char* name = "x_proj.weight";  // (10,16)
    EXPECT_STATUS(SEQMIX_OK, without("", "", Tensor()));
    EXPECT_ERROR(SEQMIX_ERR_MISSING_TENSOR, without(name, "", Tensor()), says(""));
    EXPECT_ERROR(SEQMIX_ERR_SHAPE, without("", name, Tensor(DType::f32, {10, 15})),
                 says("(10,15)"));
    EXPECT_ERROR(SEQMIX_ERR_SHAPE, without("", name, Tensor(DType::f32, {160})), says("(160)"));
    // All shapes that the slot takes.
    EXPECT_ERROR(SEQMIX_ERR_SHAPE, without("", "conv1d.weight", Tensor(DType::f32, {3, 16})),
                 HasSubstr("expected (E=16,1,K=4) or (E=16,K=4)"));
    EXPECT_ERROR(SEQMIX_ERR_DTYPE, without("", name, Tensor(DType::i32, {10, 16})), says("i32"));
    const Tensor transposed = Tensor(DType::f32, {16, 10}).permute({1, 0});
    EXPECT_STATUS(SEQMIX_OK, without("", name, transposed));
    EXPECT_ERROR(SEQMIX_ERR_LAYOUT, without("", name, transposed, SEQMIX_BIND_BORROW), says(""));
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, without("", name, Tensor(DType::f32, {10, 16}), 2),
                 says("2"));

    Args args(mamba.planned);
    for (const auto& [weight, tensor] : mamba.weights.tensors) {
        args.add(weight, tensor);
    }
    args.add(77, Tensor(DType::f32, {1}));
    Layer bound;
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_SLOT,
                 seqmix_layer_bind(mamba.planned.get(), args.data(), args.size(), bound.out()),
                 HasSubstr("77"));
    const_cast<seqmix_arg*>(args.data())[args.size() - 1].slot = slot_of(mamba.planned, "x");
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_SLOT,
                 seqmix_layer_bind(mamba.planned.get(), args.data(), args.size(), bound.out()),
                 HasSubstr("'x'"));
    const_cast<seqmix_arg*>(args.data())[args.size() - 1].slot = slot_of(mamba.planned, "D");
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT,
                  seqmix_layer_bind(mamba.planned.get(), args.data(), args.size(), bound.out()));
    const_cast<seqmix_tensor*>(args.data()[0].tensor)->device.device_type = 2;
    EXPECT_STATUS(SEQMIX_ERR_DEVICE, seqmix_layer_bind(mamba.planned.get(), args.data(),
                                                       args.size() - 1, bound.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_bind(nullptr, nullptr, 0, bound.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_bind(mamba.planned.get(), nullptr, 1, bound.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_bind(mamba.planned.get(), nullptr, 0, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT,
                  seqmix_layer_bind(mamba.layer.get(), nullptr, 0, bound.out()));
    EXPECT_FALSE(bound);
}

TEST(BindErrors, CopiedWeightsMayChangeAfterwards) {
    SmallMamba mamba;
    const Tensor x = mamba.input(1, 4);
    const Tensor expected = mamba(make_state(mamba.layer), x);
    const Layer borrowing = bind(mamba.planned, mamba.weights, SEQMIX_BIND_BORROW);
    EXPECT_TRUE(same_bits(run(borrowing, make_state(borrowing), x), expected));
    // f64 and strided weights are the same numbers.
    Weights other;
    for (const auto& [name, tensor] : mamba.weights.tensors) {
        other.tensors.emplace_back(name,
                                   Tensor(DType::f64, tensor.shape(), tensor.values()).spread(2));
    }
    const Layer copying = bind(mamba.planned, other);
    EXPECT_TRUE(same_bits(run(copying, make_state(copying), x), expected));
    for (auto& [name, tensor] : mamba.weights.tensors) {
        tensor.fill(0);
    }
    EXPECT_TRUE(same_bits(mamba(make_state(mamba.layer), x), expected));
}

TEST(BindErrors, InitIsRepeatableAndRefuses) {
    const SmallMamba mamba;
    const Weights again = init_weights(mamba.planned, 7), other = init_weights(mamba.planned, 8);
    bool differs = false;
    for (size_t i = 0; i < again.tensors.size(); ++i) {
        EXPECT_TRUE(same_bits(again.tensors[i].second, mamba.weights.tensors[i].second));
        differs = differs || !same_bits(again.tensors[i].second, other.tensors[i].second);
    }
    EXPECT_TRUE(differs);
    const auto init = [&](const char* slot, const Tensor& tensor) {
        Args args(mamba.planned);
        args.add(slot, tensor);
        return seqmix_layer_init(mamba.planned.get(), 7, args.data(), args.size());
    };
    // A subset gets the same numbers, in any strides.
    Tensor d = Tensor::filled(DType::f32, {SmallMamba::kE, SmallMamba::kN}, 0).spread(3);
    EXPECT_STATUS(SEQMIX_OK, init("A_log", d));
    EXPECT_EQ(d.values(), Weights(mamba.weights)["A_log"].values());
    EXPECT_STATUS(SEQMIX_ERR_SHAPE, init("A_log", Tensor(DType::f32, {3, 3})));
    EXPECT_STATUS(SEQMIX_ERR_DTYPE, init("A_log", Tensor(DType::i64, {16, 4})));
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_SLOT, init("x", Tensor(DType::f32, {1, 1, 8})));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_init(nullptr, 7, nullptr, 0));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_init(mamba.planned.get(), 7, nullptr, 1));
}

TEST(BindErrors, GetWeight) {
    const SmallMamba mamba;
    const Tensor out(DType::f32, {SmallMamba::kE, SmallMamba::kN});
    const auto get = [&](const Layer& layer, int32_t slot, const Tensor& tensor) {
        const seqmix_tensor c = tensor.c();
        return seqmix_layer_get_weight(layer.get(), slot, 0, &c);
    };
    const int32_t slot = slot_of(mamba.layer, "A_log");
    EXPECT_STATUS(SEQMIX_OK, get(mamba.layer, slot, out));
    EXPECT_EQ(out.values(), Weights(mamba.weights)["A_log"].values());
    const Tensor wide(DType::f64, out.shape());
    EXPECT_STATUS(SEQMIX_OK, get(mamba.layer, slot, wide));
    EXPECT_EQ(wide.values(), out.values());
    EXPECT_STATUS(SEQMIX_ERR_SHAPE, get(mamba.layer, slot, Tensor(DType::f32, {1})));
    EXPECT_STATUS(SEQMIX_ERR_DTYPE, get(mamba.layer, slot, Tensor(DType::i32, out.shape())));
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_SLOT, get(mamba.layer, 77, out));
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_SLOT, get(mamba.layer, slot_of(mamba.layer, "x"), out));
    EXPECT_STATUS(SEQMIX_ERR_MISSING_TENSOR, get(mamba.planned, slot, out));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_get_weight(mamba.layer.get(), slot, 0, nullptr));
}

// ------------------------------------------------------------------ sizes and children

TEST(LayerErrors, BytesAndPrepare) {
    const SmallMamba mamba;
    uint64_t bytes = 77;
    const auto ask = [&](int32_t kind, int64_t batch, int64_t tokens) {
        return seqmix_layer_bytes(mamba.layer.get(), kind, batch, tokens, &bytes);
    };
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, ask(3, 1, 1));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, ask(-1, 1, 1));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, ask(SEQMIX_BYTES_STATE, -1, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, ask(SEQMIX_BYTES_SCRATCH, 1, -1));
    EXPECT_STATUS(SEQMIX_ERR_LIMIT, ask(SEQMIX_BYTES_STATE, INT64_MAX, 0));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_bytes(nullptr, SEQMIX_BYTES_STATE, 1, 0, &bytes));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_bytes(mamba.layer.get(), SEQMIX_BYTES_STATE, 1, 0, nullptr));
    EXPECT_EQ(bytes, 77u);
    for (const int32_t kind : {SEQMIX_BYTES_WEIGHTS, SEQMIX_BYTES_STATE, SEQMIX_BYTES_SCRATCH}) {
        EXPECT_STATUS(SEQMIX_OK, ask(kind, 2, 100));
        EXPECT_GT(bytes, 0u);
        EXPECT_STATUS(SEQMIX_OK, seqmix_layer_bytes(mamba.planned.get(), kind, 2, 100, &bytes));
    }
    EXPECT_EQ(bytes % 64, 0u);  // scratch is whole cache lines, and nothing beside them
    const auto prepare = [&](int64_t batch, int64_t tokens, int64_t calls) {
        return seqmix_layer_prepare(mamba.layer.get(), batch, tokens, calls);
    };
    EXPECT_STATUS(SEQMIX_OK, prepare(2, 10, 2));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, prepare(-1, 10, 1));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, prepare(1, -1, 1));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, prepare(1, 1, 0));
    EXPECT_STATUS(SEQMIX_ERR_LIMIT, prepare(INT64_MAX, 1, 1));
    EXPECT_STATUS(SEQMIX_ERR_LIMIT, prepare(1, INT64_MAX, 1));
    EXPECT_STATUS(SEQMIX_ERR_LIMIT, prepare(1, 1, INT64_MAX));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_prepare(nullptr, 1, 1, 1));
}

TEST(LayerErrors, Children) {
    const SmallMamba mamba;
    Layer none;
    EXPECT_EQ(seqmix_layer_child_count(mamba.layer.get()), 0u);
    EXPECT_EQ(seqmix_layer_child_count(nullptr), 0u);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT,
                  seqmix_layer_child(mamba.layer.get(), 0, none.out()));
    const Layer model = open_model(mamba.context, source_dir() + "/models/shakespeare");
    EXPECT_STATUS(
        SEQMIX_ERR_INVALID_ARGUMENT,
        seqmix_layer_child(model.get(), seqmix_layer_child_count(model.get()), none.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_child(nullptr, 0, none.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_layer_child(model.get(), 0, nullptr));
    EXPECT_FALSE(none);
}

TEST(LayerErrors, StateOptions) {
    const SmallMamba mamba;
    State state;
    seqmix_state_options options = {};
    options.struct_size = sizeof(options);
    const auto create = [&] {
        return seqmix_state_create(mamba.layer.get(), &options, state.out());
    };
    options.batch = -1;
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("batch"));
    options.batch = INT64_MAX;
    EXPECT_STATUS(SEQMIX_ERR_LIMIT, create());
    options.batch = 1;
    options.snapshot_slots = -1;
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("snapshot"));
    options.snapshot_slots = INT64_MAX;
    EXPECT_STATUS(SEQMIX_ERR_LIMIT, create());
    options.snapshot_slots = 0;
    options.capacity_tokens = -1;
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, create(), HasSubstr("capacity"));
    options.capacity_tokens = 0;
    options.struct_size = 0;
    EXPECT_STATUS(SEQMIX_ERR_VERSION, create());
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_create(nullptr, nullptr, state.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_state_create(mamba.layer.get(), nullptr, nullptr));
    EXPECT_FALSE(state);
}

TEST(LayerErrors, NullStates) {
    int64_t value = -9;
    State out;
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_clone(nullptr, out.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_reset(nullptr, 0));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_position(nullptr, 0, &value));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_copy_row(nullptr, 0, nullptr, 0));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_child(nullptr, 0, out.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_snapshot(nullptr, 0, &value));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_rollback(nullptr, 0, 1));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_drop(nullptr, 1));
    EXPECT_EQ(value, -9);
    const SmallMamba mamba;
    const State state = make_state(mamba.layer, 1, 1);
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_clone(state.get(), nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_position(state.get(), 0, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_snapshot(state.get(), 0, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_copy_row(state.get(), 0, nullptr, 0));
    // The refused snapshot took no slot.
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_snapshot(state.get(), 0, &value));
    seqmix_state_destroy(nullptr);
    seqmix_layer_release(nullptr);
    seqmix_context_release(nullptr);
}

TEST(LayerErrors, Materialize) {
    const Context context = make_context();
    const Layer layer =
        make_op(context, "selective_scan_op", Config().set("d_inner", 3).set("d_state", 2));
    const Tensor tokens = noise(DType::f32, {1, 4, 3}, 1), bc = noise(DType::f32, {1, 4, 2}, 2);
    Args args(layer);
    args.add("u", tokens).add("delta", tokens).add("B", bc).add("C", bc);
    args.add("A", Tensor::filled(DType::f32, {3, 2}, -1));
    const auto call = [&](const Tensor& matrix, int64_t first, int64_t count, int64_t lane_first,
                          int64_t lane_count, int32_t kind) {
        seqmix_materialize_options options = {sizeof(options), kind,       first,
                                              count,           lane_first, lane_count};
        const seqmix_tensor m = matrix.c();
        return seqmix_layer_materialize(layer.get(), nullptr, args.data(), args.size(), &options,
                                        &m, nullptr, nullptr);
    };
    const Tensor whole(DType::f64, {1, 3, 4, 4});
    EXPECT_STATUS(SEQMIX_OK, call(whole, 0, 0, 0, 0, 0));
    const Tensor part(DType::f64, {1, 1, 2, 4});
    EXPECT_STATUS(SEQMIX_OK, call(part, 2, 2, 1, 1, 0));
    EXPECT_EQ(part.values(), whole.slice(1, 1, 1).slice(2, 2, 2).values());
    for (int64_t i = 0; i < 4; ++i) {
        for (int64_t j = i + 1; j < 4; ++j) {
            EXPECT_EQ(whole.at({0, 0, i, j}), 0.0);  // causal
        }
    }
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, call(whole, 5, 0, 0, 0, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, call(whole, 0, 5, 0, 0, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, call(whole, -1, 0, 0, 0, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, call(whole, 0, 0, 2, 2, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, call(whole, INT64_MAX, INT64_MAX, 0, 0, 0));
    const seqmix_status kind = call(whole, 0, 0, 0, 0, 9);
    EXPECT_TRUE(kind == SEQMIX_ERR_UNSUPPORTED || kind == SEQMIX_ERR_INVALID_ARGUMENT);
    EXPECT_STATUS(SEQMIX_ERR_SHAPE, call(part, 0, 0, 0, 0, 0));
    EXPECT_STATUS(SEQMIX_ERR_DTYPE, call(Tensor(DType::i32, {1, 3, 4, 4}), 0, 0, 0, 0, 0));
    EXPECT_STATUS(SEQMIX_OK,
                  seqmix_layer_materialize(layer.get(), nullptr, args.data(), args.size(), nullptr,
                                           nullptr, nullptr, nullptr));
}

// ------------------------------------------------------------------ opening

class OpenErrors : public testing::Test {
  protected:
    OpenErrors() {
        const auto* info = testing::UnitTest::GetInstance()->current_test_info();
        folder_ = testing::TempDir() + "seqmix_open_" + info->name();
        std::filesystem::remove_all(folder_);
        std::filesystem::create_directories(folder_);
    }
    ~OpenErrors() override { std::filesystem::remove_all(folder_); }
    seqmix_status open(const std::string& path, const Config* options = nullptr) {
        Layer layer;
        const seqmix_status status =
            seqmix_layer_open(context_.get(), path.c_str(),
                              options != nullptr ? options->get() : nullptr, layer.out());
        EXPECT_EQ(static_cast<bool>(layer), status == SEQMIX_OK);
        return status;
    }
    std::string write(const std::string& name, const std::string& text) {
        std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
        return folder_ + "/" + name;
    }
    Context context_ = make_context();
    std::string folder_;
    const std::string model_ = source_dir() + "/models/shakespeare";
};

TEST_F(OpenErrors, Paths) {
    EXPECT_ERROR(SEQMIX_ERR_IO, open(folder_ + "/nothing"), HasSubstr("nothing"));
    EXPECT_ERROR(SEQMIX_ERR_IO, open(""), testing::_);
    const seqmix_status empty_folder = open(folder_);
    EXPECT_TRUE(empty_folder == SEQMIX_ERR_IO || empty_folder == SEQMIX_ERR_BAD_FORMAT)
        << seqmix_status_name(empty_folder);
    Layer layer;
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_open(context_.get(), nullptr, nullptr, layer.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_open(nullptr, model_.c_str(), nullptr, layer.out()));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_open(context_.get(), model_.c_str(), nullptr, nullptr));
    EXPECT_FALSE(layer);
}

TEST_F(OpenErrors, Options) {
    Config lenient, unknown, wrong, scheme;
    EXPECT_STATUS(SEQMIX_OK, open(model_, &lenient.set("lenient", true)));
    EXPECT_ERROR(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, open(model_, &unknown.set("lenint", true)),
                 HasSubstr("lenint"));
    EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_TYPE, open(model_, &wrong.set("lenient", "yes")),
                 HasSubstr("lenient"));
    EXPECT_NE(open(model_, &scheme.set("scheme", "no such scheme")), SEQMIX_OK);
}

TEST_F(OpenErrors, NotACheckpoint) {
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, open(write("empty.safetensors", "")));
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT, open(write("short.safetensors", "abc")));
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT,
                  open(write("huge.safetensors", std::string(8, '\xff') + "{}")));
    EXPECT_STATUS(SEQMIX_ERR_BAD_FORMAT,
                  open(write("text.safetensors", std::string("\x05\0\0\0\0\0\0\0hello", 13))));
}

TEST_F(OpenErrors, AnIncompleteCheckpoint) {
    // The model without one of its tensors: the header loses the entry, the bytes stay.
    std::filesystem::copy_file(model_ + "/config.json", folder_ + "/config.json");
    std::ifstream in(model_ + "/model.safetensors", std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(in), {});
    const std::string key = "\"backbone.layers.3.mixer.D\"";
    const size_t at = bytes.find(key);
    ASSERT_NE(at, std::string::npos);
    bytes[at + key.size() - 2] = 'Q';  // ...mixer.Q instead of ...mixer.D
    write("model.safetensors", bytes);
    const seqmix_status status = open(folder_);
    EXPECT_TRUE(status == SEQMIX_ERR_MISSING_TENSOR || status == SEQMIX_ERR_UNKNOWN_SLOT)
        << seqmix_status_name(status);
    EXPECT_THAT(seqmix_last_error(), HasSubstr("layers.3.mixer."));

    const Config options = Config().set("lenient", true);
    Layer layer;
    ASSERT_EQ(seqmix_layer_open(context_.get(), folder_.c_str(), options.get(), layer.out()),
              SEQMIX_OK)
        << seqmix_last_error();
    const char* info = nullptr;
    ASSERT_EQ(seqmix_layer_info(layer.get(), &info), SEQMIX_OK);
    EXPECT_THAT(info, AllOf(HasSubstr("backbone.layers.3.mixer.D"),
                            HasSubstr("backbone.layers.3.mixer.Q")));
    const State state = make_state(layer);
    Args args(layer);
    args.add("tokens", Tensor::i64({1}, {1, 1})).add("logits", Tensor(DType::f32, {1, 1, 256}));
    EXPECT_ERROR(SEQMIX_ERR_MISSING_TENSOR,
                 seqmix_layer_forward(layer.get(), state.get(), args.data(), args.size(), nullptr),
                 HasSubstr("layers.3.mixer.D"));
}

TEST_F(OpenErrors, AConfigThatDisagrees) {
    std::filesystem::copy_file(model_ + "/model.safetensors", folder_ + "/model.safetensors");
    std::ifstream in(model_ + "/config.json");
    std::string config(std::istreambuf_iterator<char>(in), {});
    const std::string before = "\"hidden_size\": 128";
    const size_t at = config.find(before);
    ASSERT_NE(at, std::string::npos);
    write("config.json", std::string(config).replace(at, before.size(), "\"hidden_size\": 64"));
    const seqmix_status status = open(folder_);
    EXPECT_TRUE(status == SEQMIX_ERR_SHAPE || status == SEQMIX_ERR_BAD_FORMAT)
        << seqmix_status_name(status);
    write("config.json", "{\"hidden_size\": ");
    EXPECT_ERROR(SEQMIX_ERR_BAD_FORMAT, open(folder_), HasSubstr("config.json"));
    write("config.json", "{\"model_type\": \"gpt2\"}");
    EXPECT_STATUS(SEQMIX_ERR_UNSUPPORTED, open(folder_));
}

// ------------------------------------------------------------------ the host's failures

struct Host {
    std::atomic<int64_t> live{0}, allocations{0};
    std::atomic<int64_t> fail_at{-1};  // this allocation fails, counted from 0
    std::atomic<int64_t> calls{0};
    std::atomic<int64_t> fail_call_at{-1};  // this parallel_for fails

    Context context() {
        seqmix_context_options options = {};
        options.struct_size = sizeof(options);
        options.alloc = [](void* user, size_t size, size_t align) -> void* {
            auto* host = static_cast<Host*>(user);
            if (host->allocations++ == host->fail_at) {
                return nullptr;
            }
            ++host->live;
            return std::aligned_alloc(align, (size + align - 1) / align * align);
        };
        options.free = [](void* user, void* p, size_t, size_t) {
            if (p != nullptr) {
                --static_cast<Host*>(user)->live;
            }
            std::free(p);
        };
        options.alloc_user = this;
        options.parallel_for = [](void* user, size_t n, seqmix_task_fn fn, void* arg) -> int32_t {
            auto* host = static_cast<Host*>(user);
            if (host->calls++ == host->fail_call_at) {
                return 1;
            }
            for (size_t i = 0; i < n; ++i) {
                fn(arg, i, 0);
            }
            return 0;
        };
        options.parallel_user = this;
        options.parallel_workers = 2;
        Context result;
        check(seqmix_context_create(&options, result.out()), "seqmix_context_create");
        return result;
    }
};

TEST(HostFailures, MemoryRunsOutAnywhere) {
    // Plan, bind, state, call, clone, load: whatever allocation fails, the status says so and
    // nothing leaks.
    Host host;
    const auto everything = [&]() -> seqmix_status {
        Context context;
        try {
            context = host.context();
        } catch (const std::runtime_error&) {
            return SEQMIX_ERR_NO_MEMORY;
        }
        const Config config = SmallMamba::config();
        Layer planned, layer;
        State state, copy, loaded;
        seqmix_status status =
            seqmix_layer_plan(context.get(), "mamba", config.get(), planned.out());
        if (status != SEQMIX_OK) {
            return status;
        }
        const Weights weights = init_weights(planned, 7);
        Args bind_args(planned), args(planned);
        for (const auto& [name, tensor] : weights.tensors) {
            bind_args.add(name, tensor);
        }
        const Tensor x = noise(DType::f32, {2, 40, SmallMamba::kD}, 1);
        const Tensor y(DType::f32, x.shape());
        args.add("x", x).add("y", y);
        seqmix_state_options state_options = {};
        state_options.struct_size = sizeof(state_options);
        state_options.batch = 2;
        state_options.snapshot_slots = 1;
        status = seqmix_layer_bind(planned.get(), bind_args.data(), bind_args.size(), layer.out());
        if (status == SEQMIX_OK) {
            status = seqmix_state_create(layer.get(), &state_options, state.out());
        }
        if (status == SEQMIX_OK) {
            status =
                seqmix_layer_forward(layer.get(), state.get(), args.data(), args.size(), nullptr);
        }
        if (status == SEQMIX_OK) {
            status = seqmix_state_clone(state.get(), copy.out());
        }
        if (status == SEQMIX_OK) {
            const std::string blob = save(state);
            status =
                seqmix_state_load(layer.get(), blob.data(), blob.size(), nullptr, loaded.out());
        }
        return status;
    };
    ASSERT_EQ(everything(), SEQMIX_OK);
    ASSERT_EQ(host.live, 0);
    const int64_t total = host.allocations;
    ASSERT_GT(total, 5);
    for (int64_t k = 0; k < total; ++k) {
        host.allocations = 0;
        host.fail_at = k;
        try {
            EXPECT_STATUS(SEQMIX_ERR_NO_MEMORY, everything()) << "allocation " << k;
        } catch (const std::runtime_error& error) {
            EXPECT_THAT(error.what(), HasSubstr("NO_MEMORY"));  // in init or save
        }
        EXPECT_EQ(host.live, 0) << "allocation " << k;
    }
}

TEST(HostFailures, TheExecutorPoisonsTheState) {
    Host host;
    const SmallMamba mamba(host.context());
    const int64_t tokens = 64;
    const Tensor x = mamba.input(2, tokens);
    State state = make_state(mamba.layer, 2, 1);
    int64_t id = 0;
    ASSERT_EQ(seqmix_state_snapshot(state.get(), -1, &id), SEQMIX_OK);
    const Bits clean = state_bits(mamba.layer, state, 2);
    const Tensor expected = mamba(make_state(mamba.layer, 2), x);
    ASSERT_GT(host.calls, 0) << "the executor has nothing to do";

    const auto poison = [&] {
        host.calls = 0;
        host.fail_call_at = 0;
        Args args(mamba.layer);
        args.add("x", x).add("y", Tensor(DType::f32, x.shape()));
        EXPECT_STATUS(SEQMIX_ERR_CALLBACK, seqmix_layer_forward(mamba.layer.get(), state.get(),
                                                                args.data(), args.size(), nullptr));
        host.fail_call_at = -1;
        const std::string y = "untouched";
        EXPECT_ERROR(
            SEQMIX_ERR_STATE_POISONED,
            seqmix_layer_forward(mamba.layer.get(), state.get(), args.data(), args.size(), nullptr),
            HasSubstr("mamba"));
    };
    const int32_t conv = slot_of(mamba.layer, "conv_state"),
                  ssm = slot_of(mamba.layer, "ssm_state");
    const Tensor conv_value(DType::f32, {2, 3, SmallMamba::kE});
    const Tensor ssm_value(DType::f32, {2, SmallMamba::kE, SmallMamba::kN});
    const seqmix_tensor conv_c = conv_value.c(), ssm_c = ssm_value.c();

    poison();
    size_t needed = 0;
    int64_t other = 0;
    EXPECT_STATUS(SEQMIX_ERR_STATE_POISONED, seqmix_state_get(state.get(), ssm, 0, &ssm_c));
    EXPECT_STATUS(SEQMIX_ERR_STATE_POISONED, seqmix_state_save(state.get(), nullptr, 0, &needed));
    EXPECT_STATUS(SEQMIX_ERR_STATE_POISONED, seqmix_state_snapshot(state.get(), 0, &other));
    const State healthy = make_state(mamba.layer, 2);
    EXPECT_STATUS(SEQMIX_ERR_STATE_POISONED,
                  seqmix_state_copy_row(healthy.get(), 0, state.get(), 0));

    EXPECT_STATUS(SEQMIX_OK, seqmix_state_rollback(state.get(), -1, id));
    EXPECT_EQ(state_bits(mamba.layer, state, 2), clean);
    EXPECT_TRUE(same_bits(mamba(state, x), expected));

    poison();
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
    EXPECT_EQ(state_bits(mamba.layer, state, 2), clean);
    EXPECT_TRUE(same_bits(mamba(state, x), expected));

    poison();
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_set(state.get(), conv, 0, &conv_c));
    EXPECT_STATUS(SEQMIX_ERR_STATE_POISONED, seqmix_state_get(state.get(), ssm, 0, &ssm_c));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_set(state.get(), ssm, 0, &ssm_c));
    EXPECT_TRUE(same_bits(mamba(state, x), expected));
}

TEST(HostFailures, AnOperationOnlyReportsTheExecutor) {
    Host host;
    const Context context = host.context();
    const Layer layer =
        make_op(context, "selective_scan_op", Config().set("d_inner", 256).set("d_state", 16));
    const Tensor tokens = noise(DType::f32, {2, 40, 256}, 1),
                 bc = noise(DType::f32, {2, 40, 16}, 2);
    Args args(layer);
    args.add("u", tokens).add("delta", tokens).add("B", bc).add("C", bc);
    args.add("A", Tensor::filled(DType::f32, {256, 16}, -1));
    args.add("y", Tensor(DType::f32, tokens.shape()));
    host.fail_call_at = 0;
    EXPECT_STATUS(SEQMIX_ERR_CALLBACK,
                  seqmix_layer_forward(layer.get(), nullptr, args.data(), args.size(), nullptr));
    EXPECT_STATUS(SEQMIX_OK,
                  seqmix_layer_forward(layer.get(), nullptr, args.data(), args.size(), nullptr));
}

}  // namespace
