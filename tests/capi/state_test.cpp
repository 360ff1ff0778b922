// States: what a new one holds, reset, position, clone, copy_row, get and set, views of children.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;

const std::string kModel = source_dir() + "/models/shakespeare";

Tensor text(const std::string& bytes) {
    return Tensor::i64(std::vector<int64_t>(bytes.begin(), bytes.end()),
                       {1, static_cast<int64_t>(bytes.size())});
}

class StateTest : public testing::Test {
  protected:
    SmallMamba mamba_;

    Bits bits(const State& state, int64_t batch) { return state_bits(mamba_.layer, state, batch); }
    Bits row(const State& state, int64_t batch, int64_t r) {
        return row_bits(mamba_.layer, state, batch, r);
    }
    int32_t conv_slot() { return slot_of(mamba_.layer, "conv_state"); }
    int32_t ssm_slot() { return slot_of(mamba_.layer, "ssm_state"); }
};

// ------------------------------------------------------------------ create

TEST_F(StateTest, NewStateIsZeroAtPositionZero) {
    const State state = make_state(mamba_.layer, 3);
    for (int64_t r = 0; r < 3; ++r) {
        EXPECT_EQ(position(state, r), 0);
    }
    const Tensor conv = get_state(mamba_.layer, state, "conv_state", 3);
    const Tensor ssm = get_state(mamba_.layer, state, "ssm_state", 3);
    EXPECT_EQ(conv.shape(), (Shape{3, SmallMamba::kK - 1, SmallMamba::kE}));
    EXPECT_EQ(ssm.shape(), (Shape{3, SmallMamba::kE, SmallMamba::kN}));
    EXPECT_EQ(conv.values(), Values(static_cast<size_t>(conv.count()), 0.0));
    EXPECT_EQ(ssm.values(), Values(static_cast<size_t>(ssm.count()), 0.0));
}

TEST_F(StateTest, DefaultOptionsAreOneRow) {
    State state;
    ASSERT_EQ(seqmix_state_create(mamba_.layer.get(), nullptr, state.out()), SEQMIX_OK);
    EXPECT_EQ(position(state, 0), 0);
    int64_t value = -5;
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, seqmix_state_position(state.get(), 1, &value));
    EXPECT_EQ(value, -5);
    int64_t id = -5;
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, seqmix_state_snapshot(state.get(), 0, &id));
    EXPECT_EQ(id, -5);
}

TEST_F(StateTest, BytesAreThoseOfTheLayersEstimate) {
    for (const int64_t batch : {1, 3}) {
        const State state = make_state(mamba_.layer, batch);
        uint64_t bytes = 0;
        ASSERT_EQ(seqmix_layer_bytes(mamba_.layer.get(), SEQMIX_BYTES_STATE, batch, 0, &bytes),
                  SEQMIX_OK);
        EXPECT_EQ(seqmix_state_bytes(state.get()), bytes);
        const int64_t floats =
            batch * (SmallMamba::kE * SmallMamba::kN + (SmallMamba::kK - 1) * SmallMamba::kE);
        EXPECT_GE(bytes, static_cast<uint64_t>(4 * floats));
    }
    const State with_snapshots = make_state(mamba_.layer, 1, 4);
    const State without = make_state(mamba_.layer, 1, 0);
    EXPECT_GT(seqmix_state_bytes(with_snapshots.get()), seqmix_state_bytes(without.get()));
    EXPECT_EQ(seqmix_state_bytes(nullptr), 0u);
}

TEST_F(StateTest, NoRowsIsAState) {
    const State state = make_state(mamba_.layer, 0);
    mamba_(state, mamba_.input(0, 5));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
    const State loaded = load(mamba_.layer, save(state));
    EXPECT_EQ(save(loaded), save(state));
}

TEST_F(StateTest, OutlivesTheLayerAndTheContext) {
    State state;
    Tensor expected, actual;
    const Tensor x = noise(DType::f32, {1, 5, SmallMamba::kD}, 1);
    {
        SmallMamba mamba;
        state = make_state(mamba.layer);
        expected = mamba(make_state(mamba.layer), x);
        Layer layer(seqmix_layer_retain(mamba.layer.get()));
        mamba.layer.reset();
        mamba.planned.reset();
        mamba.context.reset();
        actual = run(layer, state, x);
    }
    EXPECT_TRUE(same_bits(actual, expected));
    EXPECT_EQ(position(state), 5);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
}

// ------------------------------------------------------------------ reset and position

TEST_F(StateTest, ResetOfARowLeavesTheOthers) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 6));
    const Bits kept = row(state, 2, 1);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), 0));
    EXPECT_EQ(row(state, 2, 1), kept);
    EXPECT_EQ(row(state, 2, 0), row(make_state(mamba_.layer, 2), 2, 0));
    EXPECT_EQ(position(state, 0), 0);
    EXPECT_EQ(position(state, 1), 6);
}

TEST_F(StateTest, ResetIsAFreshState) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 9, 3));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
    const State fresh = make_state(mamba_.layer, 2);
    EXPECT_EQ(bits(state, 2), bits(fresh, 2));
    const Tensor x = mamba_.input(2, 7, 4);
    EXPECT_TRUE(same_bits(mamba_(state, x), mamba_(fresh, x)));
    EXPECT_EQ(bits(state, 2), bits(fresh, 2));
}

TEST_F(StateTest, ResetOfAnUnknownRow) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 3));
    const Bits before = bits(state, 2);
    for (const int64_t r : {int64_t{2}, int64_t{-2}, INT64_MAX, INT64_MIN}) {
        EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, seqmix_state_reset(state.get(), r));
    }
    EXPECT_EQ(bits(state, 2), before);
}

TEST_F(StateTest, PositionCountsTokens) {
    const State state = make_state(mamba_.layer, 2);
    int64_t expected = 0;
    for (const int64_t n : {1, 0, 5, 1}) {
        mamba_(state, mamba_.input(2, n));
        expected += n;
        EXPECT_EQ(position(state, 0), expected);
        EXPECT_EQ(position(state, 1), expected);
    }
    for (const int64_t r : {2, -1, -2}) {
        int64_t value = 99;
        EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, seqmix_state_position(state.get(), r, &value));
        EXPECT_EQ(value, 99);
    }
}

// ------------------------------------------------------------------ clone and copy_row

TEST_F(StateTest, CloneGoesItsOwnWay) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 6));
    const State copy = clone(state);
    EXPECT_EQ(bits(copy, 2), bits(state, 2));
    EXPECT_EQ(seqmix_state_bytes(copy.get()), seqmix_state_bytes(state.get()));
    const Bits before = bits(state, 2);
    const Tensor x = mamba_.input(2, 3, 5);
    const Tensor of_copy = mamba_(copy, x);
    EXPECT_EQ(bits(state, 2), before);
    EXPECT_TRUE(same_bits(mamba_(state, x), of_copy));
    EXPECT_EQ(bits(copy, 2), bits(state, 2));
}

TEST_F(StateTest, CopyRowWithinAState) {
    const State state = make_state(mamba_.layer, 3);
    mamba_(state, mamba_.input(3, 4));
    const Bits first = row(state, 3, 0), second = row(state, 3, 1);
    ASSERT_NE(first, second);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_copy_row(state.get(), 2, state.get(), 0));
    EXPECT_EQ(row(state, 3, 0), first);
    EXPECT_EQ(row(state, 3, 1), second);
    EXPECT_EQ(row(state, 3, 2), first);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_copy_row(state.get(), 1, state.get(), 1));
    EXPECT_EQ(row(state, 3, 1), second);
}

TEST_F(StateTest, CopyRowBetweenStates) {
    const State from = make_state(mamba_.layer, 2), to = make_state(mamba_.layer, 4);
    mamba_(from, mamba_.input(2, 4));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_copy_row(to.get(), 3, from.get(), 1));
    EXPECT_EQ(row(to, 4, 3), row(from, 2, 1));
    EXPECT_EQ(position(to, 3), 4);
    EXPECT_EQ(position(to, 2), 0);
}

TEST_F(StateTest, CopyRowRefusals) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 4));
    const Bits before = bits(state, 2);
    const auto copy = [&](int64_t i, const State& from, int64_t j) {
        return seqmix_state_copy_row(state.get(), i, from.get(), j);
    };
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, copy(2, state, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, copy(0, state, 2));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, copy(-1, state, 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, copy(0, state, -1));
    const SmallMamba other;  // equal, but another layer
    const State foreign = make_state(other.layer, 2);
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, copy(0, foreign, 0));
    EXPECT_EQ(bits(state, 2), before);
}

// ------------------------------------------------------------------ get and set

TEST_F(StateTest, SetAndGetInAnyLayout) {
    const State source = make_state(mamba_.layer, 2), state = make_state(mamba_.layer, 2);
    mamba_(source, mamba_.input(2, 6));
    for (const char* name : {"conv_state", "ssm_state"}) {
        const Tensor value = get_state(mamba_.layer, source, name, 2);
        // f64 holds the same numbers; strided and misaligned views too.
        EXPECT_EQ(get_state(mamba_.layer, source, name, 2, DType::f64).values(), value.values());
        for (const Tensor& given :
             {value, value.clone().shifted(1), value.spread(3),
              value.permute({0, 2, 1}).clone().permute({0, 2, 1}), value.flip(1).clone().flip(1),
              Tensor(DType::f64, value.shape(), value.values())}) {
            EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
            set_state(mamba_.layer, state, name, given);
            EXPECT_TRUE(same_bits(get_state(mamba_.layer, state, name, 2), value));
        }
        const Tensor wide = Tensor::filled(DType::f32, value.shape(), 0).spread(2);
        const seqmix_tensor c = wide.c();
        EXPECT_STATUS(SEQMIX_OK,
                      seqmix_state_get(source.get(), slot_of(mamba_.layer, name), 0, &c));
        EXPECT_EQ(wide.values(), value.values());
    }
}

TEST_F(StateTest, SetTensorsContinueLikeTheSource) {
    const State source = make_state(mamba_.layer, 2), state = make_state(mamba_.layer, 2);
    mamba_(source, mamba_.input(2, 6));
    set_state(mamba_.layer, state, "conv_state", get_state(mamba_.layer, source, "conv_state", 2));
    set_state(mamba_.layer, state, "ssm_state", get_state(mamba_.layer, source, "ssm_state", 2));
    EXPECT_EQ(position(state, 0), 0);  // positions stay
    const Tensor x = mamba_.input(2, 5, 8);
    EXPECT_TRUE(same_bits(mamba_(state, x), mamba_(source, x)));
}

TEST_F(StateTest, GetAndSetRefusals) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 6));
    const Bits before = bits(state, 2);
    const auto both = [&](seqmix_status expected, int32_t slot, int32_t index, const Tensor& t,
                          const char* substring) {
        const Bits bytes = t.bits();
        const seqmix_tensor c = t.c();
        EXPECT_ERROR(expected, seqmix_state_get(state.get(), slot, index, &c),
                     HasSubstr(substring));
        EXPECT_EQ(t.bits(), bytes);
        EXPECT_ERROR(expected, seqmix_state_set(state.get(), slot, index, &c),
                     HasSubstr(substring));
    };
    const Shape shape = {2, SmallMamba::kE, SmallMamba::kN};
    const Tensor good = Tensor::filled(DType::f32, shape, 3);
    both(SEQMIX_ERR_UNKNOWN_SLOT, 77, 0, good, "77");
    both(SEQMIX_ERR_UNKNOWN_SLOT, slot_of(mamba_.layer, "x"), 0, good, "x");
    both(SEQMIX_ERR_DTYPE, ssm_slot(), 0, Tensor::filled(DType::i32, shape, 3), "ssm_state");
    both(SEQMIX_ERR_DTYPE, ssm_slot(), 0, Tensor(DType::f16, shape), "ssm_state");
    both(SEQMIX_ERR_SHAPE, ssm_slot(), 0, good.slice(0, 0, 1), "ssm_state");
    both(SEQMIX_ERR_SHAPE, ssm_slot(), 0, good.permute({0, 2, 1}), "(2,4,16)");
    both(SEQMIX_ERR_SHAPE, ssm_slot(), 0, good.reshape({2, SmallMamba::kE * SmallMamba::kN}),
         "(2,64)");
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_get(state.get(), ssm_slot(), 0, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT, seqmix_state_set(state.get(), ssm_slot(), 0, nullptr));
    EXPECT_EQ(bits(state, 2), before);
}

// The convolution's window is the last K-1 inputs of the convolution, oldest first: one more token
// moves it up by one.
TEST_F(StateTest, ConvolutionWindowIsOldestFirst) {
    const State state = make_state(mamba_.layer);
    mamba_(state, mamba_.input(1, 2));
    const Tensor after2 = get_state(mamba_.layer, state, "conv_state", 1);
    EXPECT_EQ(after2.slice(1, 0, 1).values(), Values(SmallMamba::kE, 0.0));  // zero on the left
    mamba_(state, mamba_.input(1, 1, 9));
    const Tensor after3 = get_state(mamba_.layer, state, "conv_state", 1);
    EXPECT_TRUE(same_bits(after3.slice(1, 0, 2), after2.slice(1, 1, 2)));
    mamba_(state, mamba_.input(1, 3, 10));
    const Tensor after6 = get_state(mamba_.layer, state, "conv_state", 1);
    mamba_(state, mamba_.input(1, 2, 11));
    const Tensor after8 = get_state(mamba_.layer, state, "conv_state", 1);
    EXPECT_TRUE(same_bits(after8.slice(1, 0, 1), after6.slice(1, 2, 1)));
}

// ------------------------------------------------------------------ a stack's state

class StackStateTest : public testing::Test {
  protected:
    StackStateTest() : context_(make_context()), model_(open_model(context_, kModel)) {}
    Tensor logits(const State& state, const Tensor& tokens) {
        return run(model_, state, tokens, "logits");
    }
    Context context_;
    Layer model_;
};

TEST_F(StackStateTest, ChildrenInTurnAreTheWholeModelBitForBit) {
    const ModelParts parts(model_);
    const State whole = make_state(model_), driven = make_state(model_);
    for (const char* piece : {"ROMEO:\nWhat light", " ", "through yonder window breaks?"}) {
        const std::vector<Tensor> outputs = run_children(parts, driven, text(piece), DType::f32);
        EXPECT_TRUE(same_bits(outputs.back(), logits(whole, text(piece))));
        EXPECT_EQ(position(driven), position(whole));
        EXPECT_EQ(state_bits(model_, driven, 1), state_bits(model_, whole, 1));
    }
    // Mixed: the whole model goes on from where its children stopped.
    EXPECT_TRUE(same_bits(logits(driven, text("It is")), logits(whole, text("It is"))));
}

TEST_F(StackStateTest, ChildrenDrivenApartHaveNoCommonPosition) {
    const ModelParts parts(model_);
    const State state = make_state(model_);
    const State view = child(state, parts.block_child(0));
    const Tensor x = noise(DType::f32, {1, 2, 128}, 1);
    run(parts.block(0), view, x);
    EXPECT_EQ(position(view), 2);
    int64_t value = -9;
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH, seqmix_state_position(state.get(), 0, &value));
    EXPECT_EQ(value, -9);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
    EXPECT_EQ(position(state), 0);
    EXPECT_EQ(position(view), 0);
}

TEST_F(StackStateTest, AViewSharesAndOutlivesItsState) {
    const ModelParts parts(model_);
    State state = make_state(model_);
    const State view = child(state, parts.block_child(1));
    logits(state, text("abc"));
    EXPECT_EQ(position(view), 3);
    const Tensor before = get_state(parts.block(1), view, "mixer.ssm_state", 1);
    logits(state, text("d"));
    EXPECT_FALSE(same_bits(get_state(parts.block(1), view, "mixer.ssm_state", 1), before));
    // A write through the view is seen by the model.
    set_state(parts.block(1), view, "mixer.ssm_state", before);
    const State again = child(state, parts.block_child(1));
    EXPECT_TRUE(same_bits(get_state(parts.block(1), again, "mixer.ssm_state", 1), before));
    state.reset();
    EXPECT_EQ(position(view), 4);
    run(parts.block(1), view, noise(DType::f32, {1, 1, 128}, 2));
    EXPECT_EQ(position(view), 5);
}

// Snapshots belong to the whole state.
TEST_F(StackStateTest, BytesOfViewsAndSnapshotsAddUp) {
    constexpr uint64_t kSlots = 3;
    const State state = make_state(model_, 2, kSlots);
    uint64_t sum = 0;
    for (size_t i = 0; i < seqmix_layer_child_count(model_.get()); ++i) {
        sum += seqmix_state_bytes(child(state, i).get());
    }
    EXPECT_GT(sum, 0u);
    EXPECT_EQ(seqmix_state_bytes(state.get()), (1 + kSlots) * sum);
}

TEST_F(StackStateTest, ACloneOfAViewIsAStateOfItsOwn) {
    const ModelParts parts(model_);
    const State state = make_state(model_);
    logits(state, text("abc"));
    const State view = child(state, parts.block_child(2));
    const State copy = clone(view);
    EXPECT_EQ(state_bits(parts.block(2), copy, 1), state_bits(parts.block(2), view, 1));
    const Bits before = state_bits(parts.block(2), view, 1);
    const Tensor x = noise(DType::f32, {1, 2, 128}, 2);
    const Tensor of_copy = run(parts.block(2), copy, x);
    EXPECT_EQ(state_bits(parts.block(2), view, 1), before);
    EXPECT_TRUE(same_bits(run(parts.block(2), view, x), of_copy));
}

TEST_F(StackStateTest, AChildsStateIsAlsoMadeAlone) {
    const ModelParts parts(model_);
    const State state = make_state(model_);
    const Tensor x = noise(DType::f32, {2, 5, 128}, 3);
    const State whole = make_state(model_, 2);
    const State view = child(whole, parts.block_child(0));
    const State alone = make_state(parts.block(0), 2);
    EXPECT_TRUE(same_bits(run(parts.block(0), alone, x), run(parts.block(0), view, x)));
}

TEST_F(StackStateTest, ViewRefusals) {
    const State state = make_state(model_);
    State view;
    const size_t count = seqmix_layer_child_count(model_.get());
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, seqmix_state_child(state.get(), count, view.out()));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT,
                  seqmix_state_child(state.get(), SIZE_MAX, view.out()));
    const State leaf = child(state, 1);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, seqmix_state_child(leaf.get(), 0, view.out()));
    EXPECT_FALSE(view);
    // A stack keeps its tensors in its children.
    const ModelParts parts(model_);
    const int32_t slot = slot_of(parts.block(0), "mixer.ssm_state");
    const Tensor t(DType::f32, {1, 256, 16});
    const seqmix_tensor c = t.c();
    EXPECT_STATUS(SEQMIX_ERR_UNKNOWN_SLOT, seqmix_state_get(state.get(), slot, 0, &c));
    // The wrong child's state.
    Args args(parts.block(0));
    const Tensor x(DType::f32, {1, 1, 128}), y(DType::f32, {1, 1, 128});
    args.add("x", x).add("y", y);
    const State second = child(state, parts.block_child(1));
    EXPECT_STATUS(SEQMIX_ERR_STATE_MISMATCH,
                  seqmix_layer_forward(parts.block(0).get(), second.get(), args.data(), args.size(),
                                       nullptr));
    EXPECT_STATUS(
        SEQMIX_ERR_STATE_MISMATCH,
        seqmix_layer_forward(parts.block(0).get(), state.get(), args.data(), args.size(), nullptr));
}

TEST_F(StackStateTest, ShippedModelsStateIsAsSmallAsItSays) {
    uint64_t bytes = 0;
    ASSERT_EQ(seqmix_layer_bytes(model_.get(), SEQMIX_BYTES_STATE, 1, 0, &bytes), SEQMIX_OK);
    EXPECT_GE(bytes, 116736u);
    EXPECT_LE(bytes, 116736u + 4096u);
}

}  // namespace
