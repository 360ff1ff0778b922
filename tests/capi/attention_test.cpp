// Layers of attention through the C API: what the cache holds and how it grows, cuts of the input bit
// for bit, limits, states that somebody has set to nonsense, attention maps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;

constexpr int64_t kWidth = 24, kHeads = 4;

Config config() { return Config().set("d_model", kWidth).set("n_heads", kHeads); }

Layer make(const Context& context, const Config& given) {
    const Layer planned = plan(context, "attention", given);
    return bind(planned, init_weights(planned, 5));
}

seqmix_status feed(const Layer& layer, const State& state, const Tensor& x) {
    const Tensor y(DType::f32, x.shape());
    Args args(layer);
    args.add("x", x).add("y", y);
    return seqmix_layer_forward(layer.get(), state.get(), args.data(), args.size(), nullptr);
}

// Pieces of two and more tokens, and rows of a ragged batch, have the bits of the whole.
TEST(Attention, BitsDoNotDependOnTheCut) {
    for (const char* kind : {"full", "window", "many heads share"}) {
        Config given = config().set("rotary", "half");
        if (kind[0] == 'w') given.set("window", 37);
        if (kind[0] == 'm') given.set("n_kv_heads", 1).set("softcap", 3.0);
        const Context context = make_context(nullptr, 2);
        const Layer layer = make(context, given);
        constexpr int64_t kTokens = 400;
        const Tensor x = noise(DType::f32, {1, kTokens, kWidth}, 3);
        const State whole = make_state(layer);
        const Tensor want = run(layer, whole, x);
        for (const std::vector<int64_t>& cuts : std::vector<std::vector<int64_t>>{
                 {0, 2, 4, 7, 64, 66, 130, 400}, {0, 63, 129, 131, 397, 400}}) {
            const State state = make_state(layer);
            for (size_t i = 0; i + 1 < cuts.size(); ++i) {
                const int64_t n = cuts[i + 1] - cuts[i];
                EXPECT_TRUE(
                    same_bits(run(layer, state, x.slice(1, cuts[i], n)), want.slice(1, cuts[i], n)))
                    << kind << ", tokens from " << cuts[i];
            }
            EXPECT_EQ(state_bits(layer, state, 1), state_bits(layer, whole, 1)) << kind;
        }
    }
}

TEST(Attention, TheCacheGrowsAndTheRingDoesNot) {
    const Context context = make_context();
    const Layer full = make(context, config().set("max_tokens", 5000));
    const Layer ring = make(context, config().set("window", 50));
    const State growing = make_state(full), constant = make_state(ring);
    const uint64_t first = seqmix_state_bytes(growing.get());
    const uint64_t ring_bytes = seqmix_state_bytes(constant.get());
    for (uint64_t i = 0; i < 4; ++i) {
        const Tensor x = noise(DType::f32, {1, 1000, kWidth}, i);
        EXPECT_STATUS(SEQMIX_OK, feed(full, growing, x));
        EXPECT_STATUS(SEQMIX_OK, feed(ring, constant, x));
    }
    EXPECT_GE(seqmix_state_bytes(growing.get()), 4000 * 2 * kWidth * sizeof(float));
    EXPECT_LT(first, 300 * 2 * kWidth * sizeof(float));
    EXPECT_EQ(seqmix_state_bytes(constant.get()), ring_bytes);
    EXPECT_LT(ring_bytes, 3 * 64 * 2 * kWidth * sizeof(float));
    // Going on from where another was saved, forked, or rolled back to.
    const Tensor x = noise(DType::f32, {1, 9, kWidth}, 9);
    const State copy = clone(growing), loaded = load(full, save(growing));
    const Tensor want = run(full, growing, x);
    EXPECT_TRUE(same_bits(run(full, copy, x), want));
    EXPECT_TRUE(same_bits(run(full, loaded, x), want));
}

TEST(Attention, StopsAtItsLength) {
    const Context context = make_context();
    const Layer layer = make(context, config().set("max_tokens", 40));
    const State state = make_state(layer, 2);
    EXPECT_STATUS(SEQMIX_OK, feed(layer, state, noise(DType::f32, {2, 30, kWidth}, 1)));
    const Bits before = state_bits(layer, state, 2);
    EXPECT_ERROR(SEQMIX_ERR_CAPACITY, feed(layer, state, noise(DType::f32, {2, 11, kWidth}, 2)),
                 HasSubstr("attention: row 0 goes to token 41, the layer takes at most 40"));
    EXPECT_EQ(state_bits(layer, state, 2), before);
    EXPECT_STATUS(SEQMIX_OK, feed(layer, state, noise(DType::f32, {2, 10, kWidth}, 2)));
    // Packed sequences begin anew: each may be as long.
    const State packed = make_state(layer);
    const Tensor x = noise(DType::f32, {1, 70, kWidth}, 3), y(DType::f32, {1, 70, kWidth});
    std::vector<int64_t> ids(70, 1);
    std::fill(ids.begin() + 35, ids.end(), 2);
    const Tensor index = Tensor::i64(ids, {1, 70});
    Tensor narrow(DType::i32, {1, 70});
    narrow.assign(index.values());
    Args args(layer);
    args.add("x", x).add("y", y).add(SEQMIX_SLOT_SEQ_IDX, narrow);
    EXPECT_STATUS(SEQMIX_OK, seqmix_layer_forward(layer.get(), packed.get(), args.data(),
                                                  args.size(), nullptr));
}

// Whatever stands in the clock, nothing outside the cache is read or written.
TEST(Attention, AClockOfNonsenseStaysInside) {
    for (const char* window : {"0", "20"}) {
        const Context context = make_context();
        const Layer layer =
            make(context, config().set("max_tokens", 600).set("window", std::atoi(window)));
        for (const double value : {-1.0, 1e30, 599.0, std::nan(""), 1048575.0,
                                   std::numeric_limits<double>::infinity()}) {
            for (const int64_t tokens : {1, 7}) {
                const State state = make_state(layer);
                Tensor clock(DType::f32, {1, 2});
                clock.fill(value);
                set_state(layer, state, "clock", clock);
                EXPECT_STATUS(SEQMIX_OK,
                              feed(layer, state, noise(DType::f32, {1, tokens, kWidth}, 1)));
            }
        }
    }
}

TEST(Attention, RefusesWhatDoesNotFit) {
    const Context context = make_context();
    const auto refused = [&](const Config& given, const char* part) {
        Layer none;
        EXPECT_ERROR(SEQMIX_ERR_ATTRIBUTE_RANGE,
                     seqmix_layer_plan(context.get(), "attention", given.get(), none.out()),
                     HasSubstr(part));
    };
    refused(Config().set("d_model", 10).set("n_heads", 3), "n_heads is 3, expected a divisor");
    refused(config().set("n_kv_heads", 3), "n_kv_heads is 3, expected a divisor of n_heads = 4");
    refused(config().set("causal", false).set("window", 3), "window is 3 and causal is false");
    refused(config().set("rotary", "half").set("rotary_dim", 8), "rotary_dim is 8");
}

// ------------------------------------------------------------------ worked numbers

// A map of columns `columns` of x.
Tensor picks(int64_t width, const std::vector<int64_t>& columns) {
    Tensor weight(DType::f32, {static_cast<int64_t>(columns.size()), width});
    for (size_t i = 0; i < columns.size(); ++i) {
        weight.set({static_cast<int64_t>(i), columns[i]}, 1);
    }
    return weight;
}

// Scores 0, 1, -1 and values (1,0), (0,1), (1,1).
TEST(Aaren, WorkedNumbers) {
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const Layer planned = plan(context, "aaren",
                                   Config()
                                       .set("d_model", 3)
                                       .set("n_heads", 1)
                                       .set("head_dim", 1)
                                       .set("v_head_dim", 2)
                                       .set("kv_bias", false)
                                       .set("out_bias", false));
        Weights weights = init_weights(planned, 1);
        weights["query"].fill(1);
        weights["k.weight"].assign(picks(3, {0}).values());
        weights["v.weight"].assign(picks(3, {1, 2}).values());
        weights["out.weight"].assign({1, 0, 0, 1, 0, 0});
        const Layer layer = bind(planned, weights);
        const State state = make_state(layer);
        Tensor x(DType::f32, {1, 3, 3});
        x.assign({0, 1, 0, 1, 0, 1, -1, 1, 1});
        const Tensor y = run(layer, state, x, "", real_dtype(level));
        const Values want = {1, 0, 0, .2689, .7311, 0, .3348, .7553, 0};
        EXPECT_LT(max_absolute_error(y.values(), want), 6e-5) << level;
        EXPECT_LT(max_absolute_error(get_state(layer, state, "total", 1).values(), {1.5032}), 6e-5);
        EXPECT_LT(
            max_absolute_error(get_state(layer, state, "weighted", 1).values(), {.5032, 1.1353}),
            6e-5);
    }
}

// Queries (1,0), (0,1), keys (1,0), (1,1), b = (.1, 0, -.2), c = (.5, 1, 2).
TEST(Urpe, WorkedNumbers) {
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const Layer planned = plan(context, "urpe",
                                   Config()
                                       .set("d_model", 4)
                                       .set("n_heads", 1)
                                       .set("head_dim", 2)
                                       .set("max_tokens", 2)
                                       .set("causal", false)
                                       .set("qkv_bias", false)
                                       .set("out_bias", false));
        Weights weights = init_weights(planned, 1);
        weights["q.weight"].assign(picks(4, {0, 1}).values());
        weights["k.weight"].assign(picks(4, {2, 3}).values());
        weights["v.weight"].assign(picks(4, {0, 1}).values());  // v = q: y is M itself
        weights["out.weight"].assign({1, 0, 0, 1, 0, 0, 0, 0});
        weights["bias_table"].assign({.1, 0, -.2});
        weights["factor_table"].assign({.5, 1, 2});
        const Layer layer = bind(planned, weights);
        Tensor x(DType::f32, {1, 2, 4});
        x.assign({1, 0, 1, 0, 0, 1, 1, 1});
        const Tensor y = run(layer, make_state(layer), x, "", real_dtype(level));
        const Values want = {.5498, .9003, 0, 0, .1764, .6473, 0, 0};
        EXPECT_LT(max_absolute_error(y.values(), want), 6e-5) << level;
        EXPECT_ERROR(SEQMIX_ERR_CAPACITY,
                     feed(layer, make_state(layer), noise(DType::f32, {1, 3, 4}, 1)),
                     HasSubstr("takes at most 2"));
    }
}

}  // namespace
