// Snapshots: which slots they take, what rollback restores, keeps and drops, and what forgets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;

class SnapshotTest : public testing::Test {
  protected:
    SmallMamba mamba_;

    void feed(const State& state, int64_t tokens, uint64_t seed) {
        int64_t value = 0;
        const int64_t batch = seqmix_state_position(state.get(), 1, &value) == SEQMIX_OK ? 2 : 1;
        mamba_(state, mamba_.input(batch, tokens, seed));
    }
    Bits row(const State& state, int64_t batch, int64_t r) {
        return row_bits(mamba_.layer, state, batch, r);
    }
    Bits bits(const State& state, int64_t batch) { return state_bits(mamba_.layer, state, batch); }
    static int64_t snapshot(const State& state, int64_t r) {
        int64_t id = -1;
        check(seqmix_state_snapshot(state.get(), r, &id), "seqmix_state_snapshot");
        return id;
    }
    static seqmix_status try_snapshot(const State& state, int64_t r) {
        int64_t id = -1234;
        const seqmix_status status = seqmix_state_snapshot(state.get(), r, &id);
        if (status != SEQMIX_OK) {
            EXPECT_EQ(id, -1234);
        }
        return status;
    }
    static seqmix_status rollback(const State& state, int64_t r, int64_t id) {
        return seqmix_state_rollback(state.get(), r, id);
    }
    static seqmix_status drop(const State& state, int64_t id) {
        return seqmix_state_drop(state.get(), id);
    }
};

TEST_F(SnapshotTest, RollbackIsExactAndKeepsTheSnapshot) {
    const State state = make_state(mamba_.layer, 2, 1);
    feed(state, 5, 1);
    const Bits then = bits(state, 2);
    const int64_t id = snapshot(state, -1);
    EXPECT_EQ(bits(state, 2), then);
    for (const int64_t tokens : {1, 4}) {  // twice: the snapshot is kept
        feed(state, tokens, 2);
        EXPECT_NE(bits(state, 2), then);
        EXPECT_STATUS(SEQMIX_OK, rollback(state, -1, id));
        EXPECT_EQ(bits(state, 2), then);
    }
    const State fresh = make_state(mamba_.layer, 2);
    feed(fresh, 5, 1);
    const Tensor x = mamba_.input(2, 3, 9);
    EXPECT_TRUE(same_bits(mamba_(state, x), mamba_(fresh, x)));
    EXPECT_EQ(bits(state, 2), bits(fresh, 2));
}

TEST_F(SnapshotTest, OneRowGoesBackAlone) {
    const State state = make_state(mamba_.layer, 2, 1);
    feed(state, 5, 1);
    const Bits then = row(state, 2, 1);
    const int64_t id = snapshot(state, 1);
    feed(state, 4, 2);
    const Bits other = row(state, 2, 0);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 1, id));
    EXPECT_EQ(row(state, 2, 1), then);
    EXPECT_EQ(row(state, 2, 0), other);
    EXPECT_EQ(position(state, 0), 9);
    EXPECT_EQ(position(state, 1), 5);
}

TEST_F(SnapshotTest, AnIdWithoutTheRow) {
    const State state = make_state(mamba_.layer, 2, 2);
    feed(state, 3, 1);
    const int64_t id = snapshot(state, 0);
    feed(state, 3, 2);
    const Bits before = bits(state, 2);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 1, id));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 2, id));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -2, id));
    EXPECT_EQ(bits(state, 2), before);
    // -1: every row that the snapshot has.
    const Bits other = row(state, 2, 1);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, -1, id));
    EXPECT_EQ(position(state, 0), 3);
    EXPECT_EQ(row(state, 2, 1), other);
}

TEST_F(SnapshotTest, UnknownIds) {
    const State state = make_state(mamba_.layer, 2, 2);
    const int64_t id = snapshot(state, -1);
    const Bits before = bits(state, 2);
    for (const int64_t unknown : {id + 1, id + 1000, int64_t{-1}, INT64_MAX, INT64_MIN}) {
        EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -1, unknown));
        EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 0, unknown));
        EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, drop(state, unknown));
    }
    EXPECT_EQ(bits(state, 2), before);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, -1, id));
}

TEST_F(SnapshotTest, SlotsArePerRow) {
    const State state = make_state(mamba_.layer, 2, 2);
    const int64_t both = snapshot(state, -1);
    const int64_t first = snapshot(state, 0);
    EXPECT_NE(both, first);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(state, 0));
    // Row 1 has a free slot; a snapshot of all rows takes all or nothing.
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(state, -1));
    const int64_t second = snapshot(state, 1);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(state, 1));
    EXPECT_STATUS(SEQMIX_OK, drop(state, both));
    const int64_t again = snapshot(state, -1);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 0, first));
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 1, second));
    // Those rollbacks dropped the rows' later snapshot.
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 0, again));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -1, again));
}

TEST_F(SnapshotTest, RowsThatDoNotExist) {
    const State state = make_state(mamba_.layer, 2, 2);
    for (const int64_t r : {int64_t{2}, int64_t{-2}, INT64_MAX, INT64_MIN}) {
        EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, try_snapshot(state, r));
    }
}

TEST_F(SnapshotTest, RollbackDropsTheRowsLaterOnes) {
    const State state = make_state(mamba_.layer, 2, 3);
    const int64_t a = snapshot(state, -1);
    feed(state, 2, 1);
    const Bits at_b1 = row(state, 2, 1);
    const int64_t b = snapshot(state, -1);
    feed(state, 2, 2);
    const Bits at_c1 = row(state, 2, 1);
    const int64_t c = snapshot(state, -1);
    feed(state, 2, 3);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 0, a));
    EXPECT_EQ(position(state, 0), 0);
    // Row 0 lost b and c, row 1 has them.
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 0, b));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 0, c));
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 1, c));
    EXPECT_EQ(row(state, 2, 1), at_c1);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, -1, b));  // the row that has it
    EXPECT_EQ(row(state, 2, 1), at_b1);
    EXPECT_EQ(position(state, 0), 0);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -1, c));
    // The slots are free again: row 0 has one snapshot, row 1 two.
    snapshot(state, 0);
    snapshot(state, 0);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(state, 0));
    snapshot(state, 1);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(state, 1));
}

TEST_F(SnapshotTest, DroppingForgetsAndFrees) {
    const State state = make_state(mamba_.layer, 2, 1);
    const int64_t id = snapshot(state, -1);
    EXPECT_STATUS(SEQMIX_OK, drop(state, id));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, drop(state, id));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -1, id));
    const int64_t next = snapshot(state, -1);
    EXPECT_NE(next, id);  // an old id never means a new snapshot
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -1, id));
    EXPECT_STATUS(SEQMIX_OK, rollback(state, -1, next));
}

TEST_F(SnapshotTest, ResetDropsTheRowsSnapshots) {
    const State state = make_state(mamba_.layer, 2, 1);
    feed(state, 3, 1);
    const int64_t id = snapshot(state, -1);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), 0));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 0, id));
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 1, id));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 1, id));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, drop(state, id));
    snapshot(state, -1);
}

TEST_F(SnapshotTest, SetDropsAllSnapshots) {
    const State state = make_state(mamba_.layer, 2, 1);
    feed(state, 3, 1);
    const int64_t id = snapshot(state, -1);
    const Tensor value = get_state(mamba_.layer, state, "ssm_state", 2);
    EXPECT_STATUS(SEQMIX_OK, rollback(state, -1, id));  // get keeps them
    set_state(mamba_.layer, state, "ssm_state", value);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, -1, id));
    snapshot(state, -1);
    // A set that is refused drops nothing.
    const State kept = make_state(mamba_.layer, 2, 1);
    const int64_t other = snapshot(kept, -1);
    const Tensor wrong(DType::f32, {1, 2, 3});
    const seqmix_tensor c = wrong.c();
    EXPECT_STATUS(SEQMIX_ERR_SHAPE,
                  seqmix_state_set(kept.get(), slot_of(mamba_.layer, "ssm_state"), 0, &c));
    EXPECT_STATUS(SEQMIX_OK, rollback(kept, -1, other));
}

TEST_F(SnapshotTest, CopyRowDropsThoseOfTheTarget) {
    const State state = make_state(mamba_.layer, 2, 1);
    feed(state, 3, 1);
    const int64_t id = snapshot(state, -1);
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_copy_row(state.get(), 0, state.get(), 1));
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(state, 0, id));
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 1, id));
    snapshot(state, 0);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(state, 1));
}

TEST_F(SnapshotTest, ClonesHaveThem) {
    const State state = make_state(mamba_.layer, 2, 2);
    feed(state, 3, 1);
    const Bits then = bits(state, 2);
    const int64_t id = snapshot(state, -1);
    feed(state, 3, 2);
    const State copy = clone(state);
    EXPECT_STATUS(SEQMIX_OK, drop(state, id));
    EXPECT_STATUS(SEQMIX_OK, rollback(copy, -1, id));
    EXPECT_EQ(bits(copy, 2), then);
    EXPECT_NE(bits(state, 2), then);
    snapshot(copy, -1);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(copy, -1));
}

TEST_F(SnapshotTest, BlobsDoNot) {
    const State state = make_state(mamba_.layer, 2, 1);
    feed(state, 3, 1);
    const std::string without = save(state);
    const int64_t id = snapshot(state, -1);
    EXPECT_EQ(save(state), without);
    const State loaded = load(mamba_.layer, save(state), 0, 1);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, rollback(loaded, -1, id));
    snapshot(loaded, -1);
    EXPECT_STATUS(SEQMIX_ERR_CAPACITY, try_snapshot(loaded, -1));
}

TEST_F(SnapshotTest, OfAWholeModel) {
    const Context context = make_context();
    const Layer model = open_model(context, source_dir() + "/models/shakespeare");
    const State state = make_state(model, 1, 2);
    const Tensor prompt = Tensor::i64({'R', 'O', 'M', 'E', 'O', ':'}, {1, 6});
    const Tensor more = Tensor::i64({'\n', 'O'}, {1, 2});
    run(model, state, prompt, "logits_last");
    const Bits then = state_bits(model, state, 1);
    const int64_t id = snapshot(state, 0);
    const Tensor first = run(model, state, more, "logits");
    EXPECT_STATUS(SEQMIX_OK, rollback(state, 0, id));
    EXPECT_EQ(state_bits(model, state, 1), then);
    EXPECT_EQ(position(state), 6);
    EXPECT_TRUE(same_bits(run(model, state, more, "logits"), first));
}

}  // namespace
