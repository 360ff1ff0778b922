// Ragged batches: cu_seqlens, lengths, rows and seq_idx, alone and together. Whatever the way a row is
// said, it is the row alone, bit for bit, in outputs and in states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;

// x (1,n,D) through the layer alone, from a copy of `start`'s row 0 if there is one.
struct Alone {
    Tensor y;
    State state;
};

class RaggedTest : public testing::TestWithParam<std::string> {
  protected:
    RaggedTest() : mamba_(GetParam().c_str()) {}

    Alone alone(const Tensor& x, const State* start = nullptr) {
        State state = start != nullptr ? clone(*start) : make_state(mamba_.layer);
        Tensor y = mamba_(state, x);
        return {std::move(y), std::move(state)};
    }
    Bits row(const State& state, int64_t batch, int64_t r) {
        return row_bits(mamba_.layer, state, batch, r);
    }
    Bits tensors(const State& state, int64_t batch, int64_t r) {
        return tensor_row_bits(mamba_.layer, state, batch, r);
    }
    Tensor call(const State& state, const Tensor& x,
                const std::vector<std::pair<std::string, Tensor>>& controls) {
        const Tensor y = Tensor::filled(DType::f32, x.shape(), -777);
        Args args(mamba_.layer);
        args.add("x", x).add("y", y);
        for (const auto& [name, tensor] : controls) {
            args.add(name, tensor);
        }
        forward(mamba_.layer, state, args);
        return y;
    }
    static void expect_zeros(const Tensor& y) {
        EXPECT_EQ(y.values(), Values(static_cast<size_t>(y.count()), 0.0));
    }

    SmallMamba mamba_;
};

TEST_P(RaggedTest, BatchRowsAreTheRowsAlone) {
    for (const int64_t tokens : {1, 5, 530}) {
        const Tensor x = mamba_.input(3, tokens);
        const State state = make_state(mamba_.layer, 3);
        const Tensor y = mamba_(state, x);
        for (int64_t r = 0; r < 3; ++r) {
            const Alone one = alone(x.slice(0, r, 1));
            EXPECT_TRUE(same_bits(y.slice(0, r, 1), one.y));
            EXPECT_EQ(row(state, 3, r), row(one.state, 1, 0));
        }
    }
}

// Lengths around the cut of time at 512, and rows without tokens at both ends and in the middle.
TEST_P(RaggedTest, PackedRowsAreTheRowsAlone) {
    const std::vector<int64_t> lengths = {0, 1, 3, 0, 513, 7, 1030, 512, 0};
    std::vector<int64_t> cu = {0};
    for (const int64_t n : lengths) {
        cu.push_back(cu.back() + n);
    }
    const auto rows = static_cast<int64_t>(lengths.size());
    const Tensor x = mamba_.input(1, cu.back());
    const State state = make_state(mamba_.layer, rows);
    const Tensor y = call(state, x, {{"cu_seqlens", Tensor::i64(cu)}});
    for (int64_t r = 0; r < rows; ++r) {
        SCOPED_TRACE(r);
        const auto i = static_cast<size_t>(r);
        const Alone one = alone(x.slice(1, cu[i], lengths[i]));
        EXPECT_TRUE(same_bits(y.slice(1, cu[i], lengths[i]), one.y));
        EXPECT_EQ(row(state, rows, r), row(one.state, 1, 0));
        EXPECT_EQ(position(state, r), lengths[i]);
    }
}

// Tokens behind the last row belong to none: outputs 0, not read.
TEST_P(RaggedTest, TokensBehindThePackedRows) {
    Tensor x = mamba_.input(1, 9);
    x.slice(1, 7, 2).fill(std::numeric_limits<double>::quiet_NaN());
    const State state = make_state(mamba_.layer, 2);
    const Tensor y = call(state, x, {{"cu_seqlens", Tensor::i64({0, 3, 7})}});
    EXPECT_TRUE(same_bits(y.slice(1, 0, 3), alone(x.slice(1, 0, 3)).y));
    EXPECT_TRUE(same_bits(y.slice(1, 3, 4), alone(x.slice(1, 3, 4)).y));
    expect_zeros(y.slice(1, 7, 2));
    EXPECT_EQ(row(state, 2, 1), row(alone(x.slice(1, 3, 4)).state, 1, 0));
}

TEST_P(RaggedTest, PackedRowsContinue) {
    const State state = make_state(mamba_.layer, 2);
    std::vector<Alone> ones;
    for (int64_t r = 0; r < 2; ++r) {
        ones.push_back(alone(mamba_.input(1, 0)));
    }
    for (uint64_t round = 0; round < 4; ++round) {
        const std::vector<int64_t> cu = {0, static_cast<int64_t>(round),
                                         static_cast<int64_t>(2 * round + 1)};
        const Tensor x = mamba_.input(1, cu[2], round);
        const Tensor y = call(state, x, {{"cu_seqlens", Tensor::i64(cu)}});
        for (size_t r = 0; r < 2; ++r) {
            const int64_t n = cu[r + 1] - cu[r];
            const Tensor expected = mamba_(ones[r].state, x.slice(1, cu[r], n));
            EXPECT_TRUE(same_bits(y.slice(1, cu[r], n), expected));
            EXPECT_EQ(row(state, 2, static_cast<int64_t>(r)), row(ones[r].state, 1, 0));
        }
    }
}

TEST_P(RaggedTest, RightPaddingIsNotSeen) {
    const std::vector<int64_t> lengths = {4, 0, 9, 2, 1};
    const Tensor clean = mamba_.input(5, 9);
    Tensor x = clean.clone();
    for (int64_t r = 0; r < 5; ++r) {
        const int64_t n = lengths[static_cast<size_t>(r)];
        x.slice(0, r, 1).slice(1, n, 9 - n).fill(std::numeric_limits<double>::quiet_NaN());
    }
    const State state = make_state(mamba_.layer, 5);
    const Tensor y = call(state, x, {{"lengths", Tensor::i64(lengths)}});
    for (int64_t r = 0; r < 5; ++r) {
        SCOPED_TRACE(r);
        const int64_t n = lengths[static_cast<size_t>(r)];
        const Alone one = alone(clean.slice(0, r, 1).slice(1, 0, n));
        EXPECT_TRUE(same_bits(y.slice(0, r, 1).slice(1, 0, n), one.y));
        expect_zeros(y.slice(0, r, 1).slice(1, n, 9 - n));
        EXPECT_EQ(row(state, 5, r), row(one.state, 1, 0));
    }
    // The next call goes on from the true ends.
    const Tensor more = mamba_.input(5, 3, 4);
    const Tensor next = mamba_(state, more);
    for (int64_t r = 0; r < 5; ++r) {
        const int64_t n = lengths[static_cast<size_t>(r)];
        const Alone before = alone(clean.slice(0, r, 1).slice(1, 0, n));
        EXPECT_TRUE(same_bits(next.slice(0, r, 1), mamba_(before.state, more.slice(0, r, 1))));
    }
}

TEST_P(RaggedTest, RowsNameTheRowsOfTheState) {
    const State state = make_state(mamba_.layer, 5);
    mamba_(state, mamba_.input(5, 4));
    std::vector<Bits> before;
    for (int64_t r = 0; r < 5; ++r) {
        before.push_back(row(state, 5, r));
    }
    const State reference = clone(state);
    const std::vector<int64_t> rows = {3, 0, 4};
    const Tensor x = mamba_.input(3, 6, 2);
    const Tensor y = call(state, x, {{"rows", Tensor::i64(rows)}});
    for (size_t i = 0; i < rows.size(); ++i) {
        const State one = make_state(mamba_.layer);
        check(seqmix_state_copy_row(one.get(), 0, reference.get(), rows[i]), "copy_row");
        const Tensor expected = mamba_(one, x.slice(0, static_cast<int64_t>(i), 1));
        EXPECT_TRUE(same_bits(y.slice(0, static_cast<int64_t>(i), 1), expected));
        EXPECT_EQ(row(state, 5, rows[i]), row(one, 1, 0));
    }
    for (const int64_t untouched : {1, 2}) {
        EXPECT_EQ(row(state, 5, untouched), before[static_cast<size_t>(untouched)]);
    }
    // One row of many, and none of them.
    call(state, mamba_.input(1, 2), {{"rows", Tensor::i64({2})}});
    EXPECT_EQ(position(state, 2), 6);
    EXPECT_EQ(row(state, 5, 1), before[1]);
    call(state, mamba_.input(0, 2), {{"rows", Tensor(DType::i64, {0})}});
    EXPECT_EQ(row(state, 5, 1), before[1]);
}

TEST_P(RaggedTest, RowsWithPackingAndWithPadding) {
    const State packed = make_state(mamba_.layer, 4), padded = make_state(mamba_.layer, 4);
    const std::vector<int64_t> rows = {2, 0, 3}, lengths = {3, 0, 5}, cu = {0, 3, 3, 8};
    const Tensor x = mamba_.input(1, 8);
    Tensor wide = Tensor::filled(DType::f32, {3, 5, SmallMamba::kD}, 99);
    for (size_t r = 0; r < 3; ++r) {
        wide.slice(0, static_cast<int64_t>(r), 1)
            .slice(1, 0, lengths[r])
            .assign(x.slice(1, cu[r], lengths[r]).values());
    }
    const Tensor y =
        call(packed, x, {{"cu_seqlens", Tensor::i64(cu)}, {"rows", Tensor::i64(rows)}});
    const Tensor z =
        call(padded, wide, {{"lengths", Tensor::i64(lengths)}, {"rows", Tensor::i64(rows)}});
    for (size_t r = 0; r < 3; ++r) {
        const Alone one = alone(x.slice(1, cu[r], lengths[r]));
        EXPECT_TRUE(same_bits(y.slice(1, cu[r], lengths[r]), one.y));
        EXPECT_TRUE(
            same_bits(z.slice(0, static_cast<int64_t>(r), 1).slice(1, 0, lengths[r]), one.y));
        EXPECT_EQ(row(packed, 4, rows[r]), row(one.state, 1, 0));
        EXPECT_EQ(row(padded, 4, rows[r]), row(one.state, 1, 0));
    }
    EXPECT_EQ(row(packed, 4, 1), row(make_state(mamba_.layer), 1, 0));
}

TEST_P(RaggedTest, AChangeOfSeqIdxResets) {
    const Tensor x = mamba_.input(2, 10);
    const Tensor ids = Tensor::i32({0, 0, 0, 1, 1, 7, 7, 7, 7, 7,  //
                                    5, 5, 5, 5, 5, 5, 5, 5, 5, 4},
                                   {2, 10});
    const State state = make_state(mamba_.layer, 2);
    const Tensor y = call(state, x, {{"seq_idx", ids}});
    const auto piece = [&](int64_t r, int64_t first, int64_t n) {
        const Alone one = alone(x.slice(0, r, 1).slice(1, first, n));
        EXPECT_TRUE(same_bits(y.slice(0, r, 1).slice(1, first, n), one.y)) << r << " " << first;
        return tensors(one.state, 1, 0);
    };
    piece(0, 0, 3);
    piece(0, 3, 2);
    EXPECT_EQ(tensors(state, 2, 0), piece(0, 5, 5));
    piece(1, 0, 9);
    EXPECT_EQ(tensors(state, 2, 1), piece(1, 9, 1));
    EXPECT_EQ(position(state, 0), 10);
}

// The state remembers the last sequence: the same id in the next call continues it.
TEST_P(RaggedTest, SeqIdxContinuesOverCalls) {
    const Tensor x = mamba_.input(2, 9);
    const Tensor ids = Tensor::i32({3, 3, 3, 3, 3, 3, 8, 8, 8,  //
                                    8, 8, 8, 8, 8, 8, 8, 3, 3},
                                   {2, 9});
    const State state = make_state(mamba_.layer, 2);
    const auto part = [&](int64_t first, int64_t n) {
        return call(state, x.slice(1, first, n), {{"seq_idx", ids.slice(1, first, n).clone()}});
    };
    const Tensor first = part(0, 4);
    const Tensor second = part(4, 5);
    const State whole = make_state(mamba_.layer, 2);
    const Tensor y = call(whole, x, {{"seq_idx", ids}});
    // Other cuts of time agree to rounding; these lengths are all within one.
    EXPECT_TRUE(close_to(first.values(), y.slice(1, 0, 4).values(), 1e-5));
    EXPECT_TRUE(close_to(second.values(), y.slice(1, 4, 5).values(), 1e-5));
    EXPECT_TRUE(close_to(get_state(mamba_.layer, state, "ssm_state", 2).values(),
                         get_state(mamba_.layer, whole, "ssm_state", 2).values(), 1e-5));
}

TEST_P(RaggedTest, NegativeSeqIdxIsPadding) {
    const Tensor clean = mamba_.input(1, 8);
    Tensor x = clean.clone();
    x.slice(1, 0, 2).fill(std::numeric_limits<double>::quiet_NaN());
    x.slice(1, 7, 1).fill(std::numeric_limits<double>::infinity());
    const State state = make_state(mamba_.layer);
    const Tensor y =
        call(state, x, {{"seq_idx", Tensor::i32({-1, -3, 0, 0, 0, 1, 1, -1}, {1, 8})}});
    expect_zeros(y.slice(1, 0, 2));
    expect_zeros(y.slice(1, 7, 1));
    const Alone first = alone(clean.slice(1, 2, 3)), second = alone(clean.slice(1, 5, 2));
    EXPECT_TRUE(same_bits(y.slice(1, 2, 3), first.y));
    EXPECT_TRUE(same_bits(y.slice(1, 5, 2), second.y));
}

TEST_P(RaggedTest, SeqIdxInsidePackedAndPaddedRows) {
    const Tensor x = mamba_.input(1, 9);
    const std::vector<int64_t> cu = {0, 4, 9};
    const Tensor ids = Tensor::i32({0, 0, 1, 1, 1, 1, 1, 2, 2}, {1, 9});
    const State packed = make_state(mamba_.layer, 2);
    const Tensor y = call(packed, x, {{"cu_seqlens", Tensor::i64(cu)}, {"seq_idx", ids}});
    const std::vector<std::pair<int64_t, int64_t>> pieces = {{0, 2}, {2, 2}, {4, 3}, {7, 2}};
    for (const auto& [first, n] : pieces) {
        EXPECT_TRUE(same_bits(y.slice(1, first, n), alone(x.slice(1, first, n)).y)) << first;
    }
    EXPECT_EQ(tensors(packed, 2, 0), tensors(alone(x.slice(1, 2, 2)).state, 1, 0));
    EXPECT_EQ(tensors(packed, 2, 1), tensors(alone(x.slice(1, 7, 2)).state, 1, 0));

    const State padded = make_state(mamba_.layer);
    const Tensor z = call(padded, x, {{"lengths", Tensor::i64({6})}, {"seq_idx", ids}});
    EXPECT_TRUE(same_bits(z.slice(1, 0, 2), alone(x.slice(1, 0, 2)).y));
    EXPECT_TRUE(same_bits(z.slice(1, 2, 4), alone(x.slice(1, 2, 4)).y));
    expect_zeros(z.slice(1, 6, 3));
    EXPECT_EQ(tensors(padded, 1, 0), tensors(alone(x.slice(1, 2, 4)).state, 1, 0));
    EXPECT_EQ(position(padded), 6);
}

TEST_P(RaggedTest, NoTokensChangeNothing) {
    const State state = make_state(mamba_.layer, 2);
    mamba_(state, mamba_.input(2, 3));
    const Bits before = state_bits(mamba_.layer, state, 2);
    mamba_(state, mamba_.input(2, 0));
    EXPECT_EQ(state_bits(mamba_.layer, state, 2), before);
    const Tensor y = call(state, mamba_.input(2, 4, 3), {{"lengths", Tensor::i64({0, 0})}});
    expect_zeros(y);
    EXPECT_EQ(state_bits(mamba_.layer, state, 2), before);
    call(state, mamba_.input(1, 0), {{"cu_seqlens", Tensor::i64({0, 0, 0})}});
    EXPECT_EQ(state_bits(mamba_.layer, state, 2), before);
    const Tensor padding =
        call(state, mamba_.input(2, 2, 3), {{"seq_idx", Tensor::filled(DType::i32, {2, 2}, -1)}});
    expect_zeros(padding);
    for (int64_t r = 0; r < 2; ++r) {
        // Padding consumes nothing of the recurrence.
        EXPECT_FALSE(tensors(state, 2, r).empty());
    }
}

INSTANTIATE_TEST_SUITE_P(Levels, RaggedTest, testing::ValuesIn(levels()),
                         [](const auto& info) { return info.param; });

// ------------------------------------------------------------------ a model

class RaggedModel : public testing::Test {
  protected:
    Context context_ = make_context();
    Layer model_ = open_model(context_, source_dir() + "/models/shakespeare");

    static Tensor bytes(const std::string& text) {
        return Tensor::i64(std::vector<int64_t>(text.begin(), text.end()),
                           {1, static_cast<int64_t>(text.size())});
    }
};

TEST_F(RaggedModel, PackedTextsAndTheirLastLogits) {
    const std::vector<std::string> texts = {"ROMEO:", "", "First Citizen:\nBefore we", "O"};
    std::string joined;
    std::vector<int64_t> cu = {0};
    for (const std::string& text : texts) {
        joined += text;
        cu.push_back(static_cast<int64_t>(joined.size()));
    }
    const State state = make_state(model_, 4);
    const Tensor logits = Tensor::filled(DType::f32, {1, cu.back(), 256}, -777);
    const Tensor last = Tensor::filled(DType::f32, {4, 256}, -777);
    Args args(model_);
    args.add("tokens", bytes(joined)).add("logits", logits).add("logits_last", last);
    args.add("cu_seqlens", Tensor::i64(cu));
    forward(model_, state, args);
    for (size_t r = 0; r < texts.size(); ++r) {
        SCOPED_TRACE(r);
        const auto n = static_cast<int64_t>(texts[r].size()), row = static_cast<int64_t>(r);
        if (n == 0) {
            EXPECT_EQ(last.slice(0, row, 1).values(), Values(256, 0.0));
            EXPECT_EQ(position(state, row), 0);
            continue;
        }
        const State one = make_state(model_);
        const Tensor expected = run(model_, one, bytes(texts[r]), "logits");
        EXPECT_TRUE(same_bits(logits.slice(1, cu[r], n), expected));
        EXPECT_EQ(last.slice(0, row, 1).values(), expected.slice(1, n - 1, 1).values());
        EXPECT_EQ(row_bits(model_, state, 4, row), row_bits(model_, one, 1, 0));
    }
}

TEST_F(RaggedModel, LastLogitsArePastThePadding) {
    const State state = make_state(model_, 3);
    const std::vector<int64_t> lengths = {2, 5, 0};
    Tensor tokens = Tensor::filled(DType::i64, {3, 5}, 0);
    tokens.slice(0, 0, 1).slice(1, 0, 2).assign({'O', ' '});
    tokens.slice(0, 1, 1).assign({'R', 'O', 'M', 'E', 'O'});
    const Tensor last = Tensor::filled(DType::f32, {3, 256}, -777);
    Args args(model_);
    args.add("tokens", tokens).add("logits_last", last).add("lengths", Tensor::i64(lengths));
    forward(model_, state, args);
    for (int64_t r = 0; r < 2; ++r) {
        const State one = make_state(model_);
        const Tensor ids = tokens.slice(0, r, 1).slice(1, 0, lengths[static_cast<size_t>(r)]);
        EXPECT_TRUE(same_bits(last.slice(0, r, 1), run(model_, one, ids, "logits_last")));
    }
    EXPECT_EQ(last.slice(0, 2, 1).values(), Values(256, 0.0));
}

TEST_F(RaggedModel, AStepOfSomeRows) {
    const State state = make_state(model_, 3);
    run(model_, state, Tensor::filled(DType::i64, {3, 4}, 'a'), "logits_last");
    const Bits kept = row_bits(model_, state, 3, 1);
    const Tensor last = Tensor::filled(DType::f32, {2, 256}, -777);
    Args args(model_);
    args.add("tokens", Tensor::i64({'b', 'c'}, {2, 1})).add("logits_last", last);
    args.add("rows", Tensor::i64({2, 0}));
    forward(model_, state, args);
    EXPECT_EQ(row_bits(model_, state, 3, 1), kept);
    EXPECT_EQ(position(state, 0), 5);
    EXPECT_EQ(position(state, 1), 4);
    for (const auto& [row, byte] : {std::pair{2, 'b'}, {0, 'c'}}) {
        const State one = make_state(model_);
        run(model_, one, Tensor::filled(DType::i64, {1, 4}, 'a'), "logits_last");
        const Tensor expected = run(model_, one, Tensor::i64({byte}, {1, 1}), "logits_last");
        EXPECT_TRUE(same_bits(last.slice(0, row == 2 ? 0 : 1, 1), expected));
        EXPECT_EQ(row_bits(model_, state, 3, row), row_bits(model_, one, 1, 0));
    }
}

TEST_F(RaggedModel, NoTokensAtAll) {
    const State state = make_state(model_, 2);
    const Tensor last = Tensor::filled(DType::f32, {2, 256}, -777);
    Args args(model_);
    args.add("tokens", Tensor(DType::i64, {2, 0})).add("logits_last", last);
    args.add("logits", Tensor(DType::f32, {2, 0, 256}));
    forward(model_, state, args);
    EXPECT_EQ(last.values(), Values(512, 0.0));
    EXPECT_EQ(position(state), 0);
}

TEST_F(RaggedModel, WhatIsNotAskedForIsTheSame) {
    // logits and logits_last together, either alone, or neither: the same numbers and states.
    const Tensor tokens = bytes("What light through yonder");
    const State both = make_state(model_), none = make_state(model_);
    const Tensor logits = Tensor::filled(DType::f32, {1, tokens.size(1), 256}, -777);
    const Tensor last = Tensor::filled(DType::f32, {1, 256}, -777);
    Args args(model_);
    args.add("tokens", tokens).add("logits", logits).add("logits_last", last);
    forward(model_, both, args);
    EXPECT_EQ(last.values(), logits.slice(1, tokens.size(1) - 1, 1).values());
    Args quiet(model_);
    quiet.add("tokens", tokens);
    forward(model_, none, quiet);
    EXPECT_EQ(state_bits(model_, none, 1), state_bits(model_, both, 1));
}

// ------------------------------------------------------------------ many rows

// What a call does beside its tokens is linear in its rows, or nearly: comparing every row, or every
// segment of a step, with all of the others took 15 seconds and more where this takes 0.2.
class ManyRows : public testing::Test {
  protected:
    static constexpr int64_t kRows = 100'000;
    static constexpr double kMost = 5;  // seconds of this process, so that a busy machine may pass

    template <class Call>
    static void expect_quick(Call&& call) {
        const std::clock_t before = std::clock();
        call();
        EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, kMost);
    }
};

TEST_F(ManyRows, NamedInAnyOrder) {
    const SmallMamba mamba;
    const State state = make_state(mamba.layer, kRows);
    std::vector<int64_t> rows(kRows);
    for (int64_t r = 0; r < kRows; ++r) {
        rows[static_cast<size_t>(r)] = (r * 7919 + 3) % kRows;
    }
    const Tensor x = mamba.input(kRows, 1), y(DType::f32, x.shape());
    const auto call = [&](const std::vector<int64_t>& named) {
        Args args(mamba.layer);
        args.add("x", x).add("y", y).add("rows", Tensor::i64(named));
        return seqmix_layer_forward(mamba.layer.get(), state.get(), args.data(), args.size(),
                                    nullptr);
    };
    // The first of all, named again as the last of all.
    std::vector<int64_t> twice = rows;
    twice.back() = twice.front();
    expect_quick([&] {
        EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, call(twice),
                     testing::HasSubstr("'rows' names row 3 twice"));
    });
    EXPECT_EQ(position(state, 3), 0);
    expect_quick([&] { EXPECT_STATUS(SEQMIX_OK, call(rows)); });
    for (const int64_t r : {int64_t{0}, kRows / 2, kRows - 1}) {
        const State one = make_state(mamba.layer);
        EXPECT_TRUE(same_bits(y.slice(0, r, 1), mamba(one, x.slice(0, r, 1))));
        EXPECT_EQ(position(state, rows[static_cast<size_t>(r)]), 1);
    }
}

// `linear` writes its output in place, so a step ends where the rows' places stop being one matrix:
// nowhere with one token a row, after every second row with one and two in turn.
TEST_F(ManyRows, WrittenInPlace) {
    const Context context = make_context();
    const Layer planned = plan(context, "linear", Config().set("d_in", 8).set("d_out", 8));
    const Layer layer = bind(planned, init_weights(planned, 7));
    const Tensor x = noise(DType::f32, {kRows, 2, 8}, 1);
    const Tensor all(DType::f32, {kRows, 2, 8});
    Args whole(layer);
    forward(layer, whole.add("x", x).add("y", all));
    for (const int64_t most : {1, 2}) {
        std::vector<int64_t> lengths(kRows);
        for (int64_t r = 0; r < kRows; ++r) {
            lengths[static_cast<size_t>(r)] = 1 + r % most;
        }
        const Tensor y = Tensor::filled(DType::f32, {kRows, 2, 8}, -777);
        Args args(layer);
        args.add("x", x).add("y", y).add("lengths", Tensor::i64(lengths));
        expect_quick([&] { forward(layer, args); });
        for (const int64_t r : {int64_t{0}, kRows / 2 + 1, kRows - 1}) {
            const int64_t n = lengths[static_cast<size_t>(r)];
            EXPECT_TRUE(
                same_bits(y.slice(0, r, 1).slice(1, 0, n), all.slice(0, r, 1).slice(1, 0, n)));
            EXPECT_EQ(y.slice(0, r, 1).slice(1, n, 2 - n).values(),
                      Values(static_cast<size_t>(8 * (2 - n)), 0.0));
        }
    }
}

}  // namespace
