// Poll: asked between chunks of time; a cancelled call has consumed what the positions say, and the
// rest gives the same as if nothing had happened.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;

constexpr int64_t kChunk = 512;  // of the blocks and of the stacks made of them

struct Poll {
    size_t cancel_at = SIZE_MAX;  // this call of poll says stop, counted from 0
    std::vector<std::pair<uint64_t, uint64_t>> seen = {};

    static int32_t ask(void* user, uint64_t done, uint64_t total) {
        auto* self = static_cast<Poll*>(user);
        self->seen.emplace_back(done, total);
        return self->seen.size() - 1 == self->cancel_at ? 1 : 0;
    }
    seqmix_status forward(const Layer& layer, const State& state, const Args& args) {
        seqmix_forward_options options = {};
        options.struct_size = sizeof(options);
        options.poll = ask;
        options.poll_user = this;
        return seqmix_layer_forward(layer.get(), state.get(), args.data(), args.size(), &options);
    }
};

class PollTest : public testing::Test {
  protected:
    SmallMamba mamba_;
};

TEST_F(PollTest, CountsTokensOverAllRows) {
    const Tensor x = mamba_.input(2, 1300), y(DType::f32, x.shape());
    const State state = make_state(mamba_.layer, 2), plain = make_state(mamba_.layer, 2);
    Args args(mamba_.layer);
    args.add("x", x).add("y", y);
    Poll poll;
    EXPECT_STATUS(SEQMIX_OK, poll.forward(mamba_.layer, state, args));
    ASSERT_GE(poll.seen.size(), 2u);
    uint64_t last = 0;
    for (const auto& [done, total] : poll.seen) {
        EXPECT_EQ(total, 2600u);
        EXPECT_GT(done, last);
        EXPECT_LT(done, total);
        last = done;
    }
    EXPECT_TRUE(same_bits(y, mamba_(plain, x)));
    EXPECT_EQ(state_bits(mamba_.layer, state, 2), state_bits(mamba_.layer, plain, 2));
}

TEST_F(PollTest, ShortCallsAreNotAsked) {
    const Tensor x = mamba_.input(1, kChunk), y(DType::f32, x.shape());
    const State state = make_state(mamba_.layer);
    Args args(mamba_.layer);
    args.add("x", x).add("y", y);
    Poll poll;
    poll.cancel_at = 0;
    EXPECT_STATUS(SEQMIX_OK, poll.forward(mamba_.layer, state, args));
    EXPECT_TRUE(poll.seen.empty());
}

TEST_F(PollTest, CancelAndGoOn) {
    const Tensor x = mamba_.input(1, 1900);
    const State plain = make_state(mamba_.layer);
    const Tensor expected = mamba_(plain, x);
    for (size_t cancel_at : {0u, 1u, 2u}) {
        SCOPED_TRACE(cancel_at);
        const State state = make_state(mamba_.layer);
        const Tensor y = Tensor::filled(DType::f32, x.shape(), -777);
        Args args(mamba_.layer);
        args.add("x", x).add("y", y);
        Poll poll;
        poll.cancel_at = cancel_at;
        EXPECT_ERROR(SEQMIX_ERR_CANCELLED, poll.forward(mamba_.layer, state, args),
                     testing::HasSubstr("mamba"));
        ASSERT_EQ(poll.seen.size(), cancel_at + 1);
        const int64_t done = position(state);
        EXPECT_EQ(done, static_cast<int64_t>(cancel_at + 1) * kChunk);
        EXPECT_EQ(static_cast<uint64_t>(done), poll.seen.back().first);
        // What is consumed is valid; the rest, cut where the whole call would have been, too.
        EXPECT_TRUE(same_bits(y.slice(1, 0, done), expected.slice(1, 0, done)));
        const Tensor rest = mamba_(state, x.slice(1, done, 1900 - done));
        EXPECT_TRUE(same_bits(rest, expected.slice(1, done, 1900 - done)));
        EXPECT_EQ(state_bits(mamba_.layer, state, 1), state_bits(mamba_.layer, plain, 1));
    }
}

TEST_F(PollTest, CancelOfRaggedRows) {
    const std::vector<int64_t> lengths = {100, 1500, 0, 700};
    std::vector<int64_t> cu = {0};
    for (const int64_t n : lengths) {
        cu.push_back(cu.back() + n);
    }
    const Tensor x = mamba_.input(1, cu.back());
    const State state = make_state(mamba_.layer, 4);
    const Tensor y = Tensor::filled(DType::f32, x.shape(), -777);
    Args args(mamba_.layer);
    args.add("x", x).add("y", y).add("cu_seqlens", Tensor::i64(cu));
    Poll poll;
    poll.cancel_at = 0;
    EXPECT_STATUS(SEQMIX_ERR_CANCELLED, poll.forward(mamba_.layer, state, args));
    uint64_t sum = 0;
    for (int64_t r = 0; r < 4; ++r) {
        SCOPED_TRACE(r);
        const auto i = static_cast<size_t>(r);
        const int64_t done = position(state, r);
        ASSERT_LE(done, lengths[i]);
        sum += static_cast<uint64_t>(done);
        const State alone = make_state(mamba_.layer);
        const Tensor row = x.slice(1, cu[i], lengths[i]);
        const Tensor expected = mamba_(alone, row);
        EXPECT_TRUE(same_bits(y.slice(1, cu[i], done), expected.slice(1, 0, done)));
        // Each row goes on by itself.
        const State one = make_state(mamba_.layer);
        check(seqmix_state_copy_row(one.get(), 0, state.get(), r), "copy_row");
        EXPECT_TRUE(same_bits(mamba_(one, row.slice(1, done, lengths[i] - done)),
                              expected.slice(1, done, lengths[i] - done)));
    }
    EXPECT_EQ(sum, poll.seen.back().first);
}

TEST_F(PollTest, OfAModel) {
    const Layer model = open_model(mamba_.context, source_dir() + "/models/shakespeare");
    const Tensor tokens = Tensor::filled(DType::i64, {1, 1100}, 'e');
    const State plain = make_state(model), state = make_state(model);
    const Tensor expected = run(model, plain, tokens, "logits");
    const Tensor logits = Tensor::filled(DType::f32, expected.shape(), -777);
    Args args(model);
    args.add("tokens", tokens).add("logits", logits);
    Poll poll;
    poll.cancel_at = 1;
    EXPECT_STATUS(SEQMIX_ERR_CANCELLED, poll.forward(model, state, args));
    const int64_t done = position(state);
    EXPECT_EQ(done, 2 * kChunk);
    EXPECT_TRUE(same_bits(logits.slice(1, 0, done), expected.slice(1, 0, done)));
    EXPECT_TRUE(same_bits(run(model, state, tokens.slice(1, done, 1100 - done), "logits"),
                          expected.slice(1, done, 1100 - done)));
    EXPECT_EQ(state_bits(model, state, 1), state_bits(model, plain, 1));
}

TEST_F(PollTest, ACancelledStateIsResetLikeAnyOther) {
    const Tensor x = mamba_.input(1, 2000), y(DType::f32, x.shape());
    const State state = make_state(mamba_.layer);
    Args args(mamba_.layer);
    args.add("x", x).add("y", y);
    Poll poll;
    poll.cancel_at = 0;
    EXPECT_STATUS(SEQMIX_ERR_CANCELLED, poll.forward(mamba_.layer, state, args));
    EXPECT_STATUS(SEQMIX_OK, seqmix_state_reset(state.get(), -1));
    const State fresh = make_state(mamba_.layer);
    EXPECT_TRUE(same_bits(mamba_(state, x), mamba_(fresh, x)));
}

}  // namespace
