// attention_op through the C API: the files made with torch's scaled_dot_product_attention, the worked
// numbers of the sources, and what no input may break. Tensors are (B,H,T,d) there; the operation sees
// them as (B,T,H,d) views of the same bytes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor by_tokens(const Tensor& heads) { return heads.permute({0, 2, 1, 3}); }

// As max_relative_error, where infinities must be the same.
testing::AssertionResult agrees(const Values& actual, const Values& expected, double tolerance) {
    Values a = actual, e = expected;
    for (size_t i = 0; i < e.size() && i < a.size(); ++i) {
        if (std::isinf(e[i])) {
            if (a[i] != e[i])
                return testing::AssertionFailure() << "element " << i << " is " << a[i];
            a[i] = e[i] = 0;
        }
    }
    return close_to(a, e, tolerance);
}

class AttentionOp : public testing::TestWithParam<std::string> {};

TEST_P(AttentionOp, Agrees) {
    SEQMIX_NEED_SHARED("golden/" + GetParam() + ".safetensors");
    const SafetensorsFile file(shared_path("golden/" + GetParam() + ".safetensors"));
    const Shape qs = file.shape("in.q"), vs = file.shape("in.v");
    const int64_t B = qs[0], H = qs[1], Lq = qs[2], Lk = vs[2];
    const auto window = nlohmann::json::parse(file.metadata("window"));
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        Config config;
        config.set("heads", H)
            .set("kv_heads", vs[1])
            .set("head_dim", qs[3])
            .set("value_dim", vs[3])
            .set("scale", std::stod(file.metadata("scale")))
            .set("softcap", std::stod(file.metadata("softcap")))
            .set("causal", file.metadata("causal") == "true");
        if (window.size() == 2) {
            config.set("window_left", window[0].get<int64_t>())
                .set("window_right", window[1].get<int64_t>());
        }
        const Layer layer = make_op(context, "attention_op", config);
        const Tensor y = Tensor::filled(dtype, {B, H, Lq, vs[3]}, -777);
        const Tensor lse = Tensor::filled(dtype, {B, H, Lq}, -777);
        Args args(layer);
        args.add("q", by_tokens(load_tensor(file, "in.q", dtype)))
            .add("k", by_tokens(load_tensor(file, "in.k", dtype)))
            .add("v", by_tokens(load_tensor(file, "in.v", dtype)))
            .add("y", by_tokens(y))
            .add("lse", lse.permute({0, 2, 1}));
        if (file.has("in.bias")) {
            args.add("bias", load_tensor(file, "in.bias", dtype).broadcast(0, B));
        }
        if (file.has("in.slopes")) args.add("alibi", load_tensor(file, "in.slopes", dtype));
        if (file.has("in.kv_len")) args.add("lengths_k", Tensor::i64(file.integers("in.kv_len")));
        forward(layer, args);
        EXPECT_TRUE(agrees(y.values(), file.doubles("out.y"), tolerance(file, level)));
        EXPECT_TRUE(agrees(lse.values(), file.doubles("out.lse"), tolerance(file, level)));
        EXPECT_EQ(Lk, file.shape("in.k")[2]);
    }
}

const std::vector<std::string>& golden_cases() {
    static const std::vector<std::string> names = {
        "attn-op-alibi-causal",    "attn-op-bias",          "attn-op-causal",
        "attn-op-causal-gqa",      "attn-op-dead-rows",     "attn-op-kv-len",
        "attn-op-mqa-short-query", "attn-op-plain",         "attn-op-softcap",
        "attn-op-window-both",     "attn-op-window-causal",
    };
    return names;
}

INSTANTIATE_TEST_SUITE_P(Golden, AttentionOp, testing::ValuesIn(golden_cases()),
                         [](const auto& info) { return test_name(info.param); });

TEST(AttentionOpCases, AreAllOfTheFolder) {
    SEQMIX_NEED_SHARED("golden");
    EXPECT_EQ(glob_cases(shared_path("golden"), "attn-op-"), golden_cases());
    EXPECT_EQ(golden_cases().size(), 11u);
}

// ------------------------------------------------------------------ calls with everything

struct Problem {
    int64_t B = 1, H = 4, Hk = 2, Lq = 7, Lk = 9, dk = 16, dv = 16;
    double size = 1.0;
    DType keys = DType::f32;  // of k and v
    Config config = {};
    std::vector<std::pair<std::string, Tensor>> more = {};
    uint64_t seed = 1;
};

struct Result {
    Tensor y, lse;
};

struct Inputs {
    Tensor q, k, v;
    explicit Inputs(const Problem& p)
        : q(noise(DType::f32, {p.B, p.Lq, p.H, p.dk}, p.seed, p.size)),
          k(noise(DType::f32, {p.B, p.Lk, p.Hk, p.dk}, p.seed + 1, p.size)),
          v(noise(DType::f32, {p.B, p.Lk, p.Hk, p.dv}, p.seed + 2)) {}
};

Result attend(const std::string& level, const Problem& p, const Inputs& in) {
    const Context context = make_context(level.c_str(), 2);
    Config config(p.config);
    config.set("heads", p.H).set("kv_heads", p.Hk).set("head_dim", p.dk).set("value_dim", p.dv);
    const Layer layer = make_op(context, "attention_op", config);
    const Shape qs = in.q.shape();
    Result result{Tensor::filled(real_dtype(level), {qs[0], qs[1], p.H, p.dv}, -777),
                  Tensor::filled(real_dtype(level), {qs[0], qs[1], p.H}, -777)};
    Args args(layer);
    args.add("q", in.q).add("k", in.k).add("v", in.v).add("y", result.y).add("lse", result.lse);
    for (const auto& [name, tensor] : p.more) args.add(name, tensor);
    forward(layer, args);
    return result;
}
Result attend(const std::string& level, const Problem& p) { return attend(level, p, Inputs(p)); }

TEST(AttentionOpEdges, NoKeysNoQueriesNarrowHeads) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        Problem none;
        none.Lk = 0;
        const Result empty = attend(level, none);
        EXPECT_EQ(empty.y.values(), Values(static_cast<size_t>(empty.y.count()), 0.0));
        EXPECT_EQ(empty.lse.values(), Values(static_cast<size_t>(empty.lse.count()), -kInfinity));
        Problem nothing;
        nothing.Lq = 0;
        EXPECT_EQ(attend(level, nothing).y.count(), 0);
        nothing.Lk = 0;
        EXPECT_EQ(attend(level, nothing).y.count(), 0);
        Problem late;  // the first 11 rows see no key
        late.Lq = 20;
        late.config.set("causal", true);
        const Result rows = attend(level, late);
        for (int64_t t = 0; t < 20; ++t) {
            for (int64_t h = 0; h < late.H; ++h) {
                const double lse = rows.lse.at({0, t, h});
                EXPECT_EQ(std::isinf(lse), t < 11) << t;
                for (int64_t d = 0; d < late.dv; ++d) {
                    const double y = rows.y.at({0, t, h, d});
                    EXPECT_TRUE(std::isfinite(y));
                    if (t < 11) {
                        EXPECT_EQ(y, 0.0);
                    }
                }
            }
        }
        Problem narrow;
        narrow.dk = narrow.dv = 1;
        narrow.Lq = 70;
        narrow.Lk = 130;
        EXPECT_TRUE(close_to(attend(level, narrow).y.values(),
                             attend("reference", narrow).y.values(), 1e-5));
    }
}

// Logits of +-10^4 and beyond: the largest key alone, and no number that is none.
TEST(AttentionOpEdges, LargeLogits) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        for (const int64_t Lq : {1, 3, 60}) {
            Problem large;
            large.Lq = Lq;
            large.Lk = 200;
            large.size = 100.0;  // q.k up to 16 10^4
            const Inputs in(large);
            const Result got = attend(level, large, in), want = attend("reference", large, in);
            for (const double y : got.y.values()) ASSERT_TRUE(std::isfinite(y));
            EXPECT_TRUE(close_to(got.lse.values(), want.lse.values(), 1e-6));
        }
    }
}

// f16 and bf16 keys and values are their numbers.
TEST(AttentionOpEdges, KeysAsTheyAreStored) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        for (const int64_t Lq : {1, 70}) {
            Problem p;
            p.Lq = Lq;
            p.Lk = 100;
            p.config.set("causal", true);
            Inputs wide(p);
            // Multiples of 1/64 below 2 are numbers of bf16 (8 bits) with 2^-6 steps: exact.
            Inputs half = wide;
            half.k = Tensor(DType::bf16, wide.k.shape());
            half.v = Tensor(DType::bf16, wide.v.shape());
            for (auto [from, to] : {std::pair{&wide.k, &half.k}, {&wide.v, &half.v}}) {
                Values values = from->values();
                auto* bits = static_cast<uint16_t*>(to->data());
                for (size_t i = 0; i < values.size(); ++i) {
                    values[i] = std::round(values[i] * 64) / 64;
                    const auto narrow = static_cast<float>(values[i]);
                    uint32_t all;
                    std::memcpy(&all, &narrow, sizeof all);
                    bits[i] = static_cast<uint16_t>(all >> 16);
                }
                *from = Tensor(DType::f32, from->shape(), values);
            }
            const Result a = attend(level, p, wide), b = attend(level, p, half);
            EXPECT_TRUE(close_to(b.y.values(), a.y.values(), is_reference(level) ? 0 : 1e-6));
        }
    }
}

// Packed rows, and padded ones, are the rows alone, bit for bit.
TEST(AttentionOpRagged, RowsAreTheRowsAlone) {
    const std::vector<int64_t> lq = {3, 0, 1, 70, 1, 900}, lk = {5, 4, 300, 70, 0, 950};
    std::vector<int64_t> cu = {0}, cu_k = {0};
    for (size_t r = 0; r < lq.size(); ++r) {
        cu.push_back(cu.back() + lq[r]);
        cu_k.push_back(cu_k.back() + lk[r]);
    }
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        Problem p;
        p.config.set("causal", true).set("window_left", 200);
        p.more = {{"alibi", noise(DType::f32, {p.H}, 9, 0.1)}};
        Problem packed = p;
        packed.Lq = cu.back() + 2;
        packed.Lk = cu_k.back() + 3;
        const Inputs in(packed);
        packed.more.push_back({"cu_seqlens", Tensor::i64(cu)});
        packed.more.push_back({"cu_seqlens_k", Tensor::i64(cu_k)});
        const Result all = attend(level, packed, in);
        for (size_t r = 0; r < lq.size(); ++r) {
            Inputs row = in;
            row.q = in.q.slice(1, cu[r], lq[r]);
            row.k = in.k.slice(1, cu_k[r], lk[r]);
            row.v = in.v.slice(1, cu_k[r], lk[r]);
            const Result alone = attend(level, p, row);
            EXPECT_TRUE(same_bits(all.y.slice(1, cu[r], lq[r]), alone.y)) << r;
            EXPECT_TRUE(same_bits(all.lse.slice(1, cu[r], lq[r]), alone.lse)) << r;
        }
        Problem padded = p;
        padded.B = static_cast<int64_t>(lq.size());
        padded.Lq = 900;
        padded.Lk = 950;
        const Inputs wide(padded);
        padded.more.push_back({"lengths", Tensor::i64(lq)});
        padded.more.push_back({"lengths_k", Tensor::i64(lk)});
        const Result rows = attend(level, padded, wide);
        for (size_t r = 0; r < lq.size(); ++r) {
            const auto at = static_cast<int64_t>(r);
            Inputs row = wide;
            row.q = wide.q.slice(0, at, 1).slice(1, 0, lq[r]);
            row.k = wide.k.slice(0, at, 1).slice(1, 0, lk[r]);
            row.v = wide.v.slice(0, at, 1).slice(1, 0, lk[r]);
            const Result alone = attend(level, p, row);
            EXPECT_TRUE(same_bits(rows.y.slice(0, at, 1).slice(1, 0, lq[r]), alone.y)) << r;
        }
    }
}

// Tokens of a causal row do not see what comes behind them; chunks of queries against their prefix of
// the keys are the whole.
TEST(AttentionOpRagged, PrefixesAreTheWhole) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        Problem p;
        p.Lq = p.Lk = 130;
        p.config.set("causal", true);
        const Inputs in(p);
        const Result whole = attend(level, p, in);
        for (const auto& [first, count] :
             {std::pair<int64_t, int64_t>{0, 1}, {0, 50}, {50, 80}, {129, 1}}) {
            Inputs part = in;
            part.q = in.q.slice(1, first, count);
            part.k = in.k.slice(1, 0, first + count);
            part.v = in.v.slice(1, 0, first + count);
            EXPECT_TRUE(close_to(attend(level, p, part).y.values(),
                                 whole.y.slice(1, first, count).values(),
                                 is_reference(level) ? 1e-14 : 1e-6));
        }
    }
}

// A target longer than a step of the call (3,072 tokens): its second part is that part alone.
TEST(AttentionOpRagged, LongTargets) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        Problem p;
        p.H = p.Hk = 1;
        p.dk = p.dv = 8;
        p.Lq = 3300;
        p.Lk = 3350;
        p.config.set("causal", true).set("window_left", 70);
        const Inputs in(p);
        const Result whole = attend(level, p, in);
        Inputs tail = in;
        tail.q = in.q.slice(1, 3000, 300);
        EXPECT_TRUE(close_to(whole.y.slice(1, 3000, 300).values(),
                             attend(level, p, tail).y.values(),
                             is_reference(level) ? 1e-14 : 1e-6));
        EXPECT_FALSE(
            close_to(whole.y.slice(1, 2900, 300).values(), attend(level, p, tail).y.values(), 0.1));
    }
}

// One token of each head alone has the bits of the heads of a group together.
TEST(AttentionOpRagged, ManySingleTokens) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        Problem p;
        p.H = 8;
        p.Hk = 1;
        p.B = 5;
        p.Lq = 1;
        p.Lk = 70;
        p.more = {{"bias", noise(DType::f32, {5, 8, 1, 70}, 4)},
                  {"sink", noise(DType::f32, {8}, 5)}};
        const Inputs in(p);
        EXPECT_TRUE(
            close_to(attend(level, p, in).y.values(), attend("reference", p, in).y.values(), 1e-5));
    }
}

}  // namespace
