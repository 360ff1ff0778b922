// States that grow with the stream: they begin small, take what is asked for, stop at a capacity, and
// are copied, saved, and rolled back as large as they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;

constexpr int64_t kTaps = 5000, kChannels = 3;

class GrowingState : public testing::Test {
  protected:
    GrowingState() : context_(make_context()) {
        const Layer planned =
            plan(context_, "long_conv", Config().set("d_model", kChannels).set("taps", kTaps));
        layer_ = bind(planned, init_weights(planned, 7));
    }
    State create(int64_t capacity, int64_t snapshots = 0) {
        seqmix_state_options options{};
        options.struct_size = sizeof options;
        options.batch = 2;
        options.capacity_tokens = capacity;
        options.snapshot_slots = snapshots;
        State state;
        check(seqmix_state_create(layer_.get(), &options, state.out()), "state_create");
        return state;
    }
    seqmix_status feed(const State& state, int64_t tokens, uint64_t seed, Tensor* y = nullptr) {
        const Tensor x = noise(DType::f32, {2, tokens, kChannels}, seed);
        const Tensor out(DType::f32, {2, tokens, kChannels});
        Args args(layer_);
        args.add("x", x).add("y", out);
        const seqmix_status status =
            seqmix_layer_forward(layer_.get(), state.get(), args.data(), args.size(), nullptr);
        if (y != nullptr) *y = out;
        return status;
    }
    Context context_;
    Layer layer_;
};

TEST_F(GrowingState, BeginsSmallAndGrows) {
    const State state = create(0);
    const uint64_t first = seqmix_state_bytes(state.get());
    EXPECT_STATUS(SEQMIX_OK, feed(state, 100, 1));
    EXPECT_EQ(seqmix_state_bytes(state.get()), first);
    EXPECT_STATUS(SEQMIX_OK, feed(state, 3000, 2));
    const uint64_t second = seqmix_state_bytes(state.get());
    EXPECT_GE(second, first + 2 * 2800 * kChannels * sizeof(float));
    for (uint64_t i = 0; i < 5; ++i) EXPECT_STATUS(SEQMIX_OK, feed(state, 3000, 3 + i));
    const uint64_t whole = seqmix_state_bytes(state.get());
    for (uint64_t i = 0; i < 5; ++i) EXPECT_STATUS(SEQMIX_OK, feed(state, 100, 9 + i));
    EXPECT_STATUS(SEQMIX_OK, feed(state, 9000, 20));
    EXPECT_LE(seqmix_state_bytes(state.get()), 3 * whole) << "no further than the filter reaches";
}

TEST_F(GrowingState, CopiesAndSavesAsLargeAsItIs) {
    const State state = create(0, 1);
    EXPECT_STATUS(SEQMIX_OK, feed(state, 50, 1));
    int64_t early = 0;
    check(seqmix_state_snapshot(state.get(), -1, &early), "snapshot");
    EXPECT_STATUS(SEQMIX_OK, feed(state, 2000, 2));
    const State copy = clone(state);
    const State loaded = load(layer_, save(state));
    const State target = create(0);
    check(seqmix_state_copy_row(target.get(), 0, state.get(), 0), "copy_row");
    check(seqmix_state_copy_row(target.get(), 1, state.get(), 1), "copy_row");
    Tensor want, got;
    EXPECT_STATUS(SEQMIX_OK, feed(state, 70, 3, &want));
    for (const State* other : {&copy, &loaded, &target}) {
        EXPECT_STATUS(SEQMIX_OK, feed(*other, 70, 3, &got));
        EXPECT_TRUE(same_bits(got, want));
    }
    // A snapshot from before it grew.
    check(seqmix_state_rollback(state.get(), -1, early), "rollback");
    EXPECT_EQ(position(state), 50);
    const State fresh = create(0);
    EXPECT_STATUS(SEQMIX_OK, feed(fresh, 50, 1));
    EXPECT_STATUS(SEQMIX_OK, feed(fresh, 70, 3, &want));
    EXPECT_STATUS(SEQMIX_OK, feed(state, 70, 3, &got));
    EXPECT_TRUE(same_bits(got, want));
}

TEST_F(GrowingState, StopsAtItsCapacity) {
    const State state = create(1000);
    Tensor before, after;
    EXPECT_STATUS(SEQMIX_OK, feed(state, 900, 1));
    const uint64_t bytes = seqmix_state_bytes(state.get());
    const State copy = clone(state);
    EXPECT_ERROR(SEQMIX_ERR_CAPACITY, feed(state, 101, 2), HasSubstr("capacity of 1000"));
    EXPECT_EQ(position(state), 900);
    EXPECT_EQ(seqmix_state_bytes(state.get()), bytes);
    EXPECT_STATUS(SEQMIX_OK, feed(state, 100, 3, &after));
    EXPECT_STATUS(SEQMIX_OK, feed(copy, 100, 3, &before));
    EXPECT_TRUE(same_bits(after, before)) << "a refused call touched the state";
}

}  // namespace
