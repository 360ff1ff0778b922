// Calls with a source beside the target (tensors with the axis Tk), through attention_op: every
// disagreement has a status and a line that names the tensor; nothing is written then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;

constexpr int64_t kB = 2, kT = 5, kTk = 7, kH = 4, kHk = 2, kD = 8;

struct Call {
    Tensor q = noise(DType::f32, {kB, kT, kH, kD}, 1), k = noise(DType::f32, {kB, kTk, kHk, kD}, 2),
           v = noise(DType::f32, {kB, kTk, kHk, kD}, 3),
           y = Tensor::filled(DType::f32, {kB, kT, kH, kD}, -777);
    std::vector<std::pair<std::string, Tensor>> more = {};
};

class SourceTest : public testing::Test {
  protected:
    SourceTest()
        : context_(make_context("generic")),
          layer_(make_op(context_, "attention_op",
                         Config().set("heads", kH).set("kv_heads", kHk).set("head_dim", kD))) {}

    seqmix_status run(const Call& call) const {
        Args args(layer_);
        args.add("q", call.q).add("k", call.k).add("v", call.v).add("y", call.y);
        for (const auto& [name, tensor] : call.more) args.add(name, tensor);
        return seqmix_layer_forward(layer_.get(), nullptr, args.data(), args.size(), nullptr);
    }
    void refused(seqmix_status status, const std::string& text, const Call& call) const {
        EXPECT_ERROR(status, run(call), HasSubstr(text));
        for (const double value : call.y.values()) ASSERT_EQ(value, -777) << "written";
    }
    void refused(seqmix_status status, const std::string& text,
                 const std::function<void(Call&)>& change) const {
        SCOPED_TRACE(text);
        Call call;
        change(call);
        refused(status, text, call);
    }

    Context context_;
    Layer layer_;
};

TEST_F(SourceTest, SizesThatDisagree) {
    refused(SEQMIX_ERR_SHAPE, "'v' shape (2,6,2,8), expected (B=2,Tk=7,Hk=2,dv=8)",
            [](Call& c) { c.v = c.v.slice(1, 0, 6); });
    refused(SEQMIX_ERR_SHAPE, "'k' shape (1,7,2,8), expected (B=2,Tk,Hk=2,dk=8)",
            [](Call& c) { c.k = c.k.slice(0, 0, 1); });
    refused(SEQMIX_ERR_SHAPE, "'bias' shape (2,4,5,5), expected (B=2,H=4,T=5,Tk=7) or (T=5,Tk=7)",
            [](Call& c) {
                c.more = {{"bias", Tensor(DType::f32, {kB, kH, kT, kT})}};
            });
    refused(SEQMIX_ERR_SHAPE, "'mask' shape (7,5)", [](Call& c) {
        c.more = {{"mask", Tensor(DType::u8, {kTk, kT})}};
    });
    refused(SEQMIX_ERR_SHAPE, "'lengths_k' shape (3), expected (B=2)", [](Call& c) {
        c.more = {{"lengths_k", Tensor::i64({1, 2, 3})}};
    });
    refused(SEQMIX_ERR_MISSING_TENSOR, "'v_scale' is missing", [](Call& c) {
        c.k = Tensor(DType::i8, c.k.shape());
        c.v = Tensor(DType::i8, c.v.shape());
        c.more = {{"k_scale", Tensor(DType::f32, {kB, kTk, kHk})}};
    });
    refused(SEQMIX_ERR_SHAPE, "'k_scale' shape (2,2,7), expected (B=2,Tk=7,Hk=2)", [](Call& c) {
        c.more = {{"k_scale", Tensor(DType::f32, {kB, kHk, kTk})}};
    });
    refused(SEQMIX_ERR_DTYPE, "'v' is f16, expected f32 as 'k'",
            [](Call& c) { c.v = Tensor(DType::f16, c.v.shape()); });
}

TEST_F(SourceTest, RowsOfTheSource) {
    refused(SEQMIX_ERR_INVALID_ARGUMENT, "'lengths_k'[1] is 8, expected 0 to 7", [](Call& c) {
        c.more = {{"lengths_k", Tensor::i64({7, 8})}};
    });
    refused(SEQMIX_ERR_INVALID_ARGUMENT, "'lengths_k'[0] is -1, expected 0 to 7", [](Call& c) {
        c.more = {{"lengths_k", Tensor::i64({-1, 3})}};
    });
    const auto packed = [](Call& c) {
        c.q = c.q.slice(0, 0, 1);
        c.y = c.y.slice(0, 0, 1);
        c.k = c.k.slice(0, 0, 1);
        c.v = c.v.slice(0, 0, 1);
    };
    refused(SEQMIX_ERR_MISSING_TENSOR, "'cu_seqlens_k' is missing", [&](Call& c) {
        packed(c);
        c.more = {{"cu_seqlens", Tensor::i64({0, 2, 5})}};
    });
    refused(SEQMIX_ERR_MISSING_TENSOR, "'cu_seqlens' is missing", [&](Call& c) {
        packed(c);
        c.more = {{"cu_seqlens_k", Tensor::i64({0, 7})}};
    });
    refused(SEQMIX_ERR_SHAPE, "'cu_seqlens_k' shape (2), expected (R1=3)", [&](Call& c) {
        packed(c);
        c.more = {{"cu_seqlens", Tensor::i64({0, 2, 5})}, {"cu_seqlens_k", Tensor::i64({0, 7})}};
    });
    refused(SEQMIX_ERR_INVALID_ARGUMENT,
            "'cu_seqlens_k'[2] is 8, expected a rising sequence up to 7", [&](Call& c) {
                packed(c);
                c.more = {{"cu_seqlens", Tensor::i64({0, 2, 5})},
                          {"cu_seqlens_k", Tensor::i64({0, 3, 8})}};
            });
    refused(SEQMIX_ERR_INVALID_ARGUMENT, "'cu_seqlens_k' and 'lengths_k' exclude each other",
            [&](Call& c) {
                packed(c);
                c.more = {{"cu_seqlens", Tensor::i64({0, 5})},
                          {"cu_seqlens_k", Tensor::i64({0, 7})},
                          {"lengths_k", Tensor::i64({7})}};
            });
    refused(SEQMIX_ERR_SHAPE, "with 'cu_seqlens' the batch is 2, expected 1", [](Call& c) {
        c.more = {{"cu_seqlens", Tensor::i64({0, 5})}, {"cu_seqlens_k", Tensor::i64({0, 7})}};
    });
}

TEST_F(SourceTest, OutputsOverSources) {
    Call over;
    over.y = over.k.view({1, 5, 2, 8}, over.k.strides(), 0);
    over.q = over.q.slice(0, 0, 1);
    over.k = over.k.slice(0, 0, 1);
    over.v = over.v.slice(0, 0, 1);
    const Layer layer = make_op(context_, "attention_op",
                                Config().set("heads", 2).set("kv_heads", 2).set("head_dim", kD));
    Args args(layer);
    args.add("q", over.q.slice(2, 0, 2)).add("k", over.k).add("v", over.v).add("y", over.y);
    EXPECT_ERROR(SEQMIX_ERR_ALIASING,
                 seqmix_layer_forward(layer.get(), nullptr, args.data(), args.size(), nullptr),
                 HasSubstr("output 'y' overlaps 'k'"));
}

TEST_F(SourceTest, ControlsOfTypes) {
    EXPECT_EQ(find_slot(layer_, "seq_idx"), -1);
    EXPECT_EQ(find_slot(layer_, "rows"), -1);
    EXPECT_EQ(slot_of(layer_, "cu_seqlens_k"), SEQMIX_SLOT_CU_SEQLENS_K);
    EXPECT_EQ(slot_of(layer_, "lengths_k"), SEQMIX_SLOT_LENGTHS_K);
    const Layer conv = make_op(context_, "causal_conv1d_op", Config().set("d_model", 4));
    EXPECT_EQ(find_slot(conv, "lengths_k"), -1);
    EXPECT_EQ(find_slot(conv, "positions"), -1);
    const Layer rope = make_op(context_, "rope_op", Config().set("heads", 1).set("head_dim", 8));
    EXPECT_EQ(slot_of(rope, "positions"), SEQMIX_SLOT_POSITIONS);
    for (const seqmix_slot_info& info : slots_of(layer_)) {
        if (info.name == std::string("k")) {
            EXPECT_EQ(info.shape[1], SEQMIX_DIM_TK);
        }
    }
}

// Sources whose last axis is strided, or that are misaligned, are copied: the same bits.
TEST_F(SourceTest, AnyLayout) {
    const Call plain;
    check(run(plain), "forward");
    Call odd = plain;
    odd.y = Tensor::filled(DType::f32, plain.y.shape(), -777);
    odd.k = plain.k.spread(3);
    odd.v = plain.v.shifted(2);
    check(run(odd), "forward");
    EXPECT_TRUE(same_bits(odd.y, plain.y));
    Call heads = plain;  // (B,Hk,Tk,d) memory
    heads.y = Tensor::filled(DType::f32, plain.y.shape(), -777);
    heads.k = plain.k.permute({0, 2, 1, 3}).clone().permute({0, 2, 1, 3});
    heads.v = plain.v.flip(1).clone().flip(1);  // a negative stride along time
    check(run(heads), "forward");
    EXPECT_TRUE(same_bits(heads.y, plain.y));
}

// What a call takes beside its outputs does not grow with the tokens, of target or source.
TEST_F(SourceTest, MemoryIsIndependentOfLengths) {
    const Context context = make_context(nullptr, 2);
    const Layer layer =
        make_op(context, "attention_op", Config().set("heads", 12).set("head_dim", 64));
    uint64_t some = 0, many = 0;
    check(seqmix_layer_bytes(layer.get(), SEQMIX_BYTES_SCRATCH, 1, 8192, &some), "bytes");
    check(seqmix_layer_bytes(layer.get(), SEQMIX_BYTES_SCRATCH, 1, int64_t{1} << 30, &many),
          "bytes");
    EXPECT_EQ(some, many);
    EXPECT_LT(many, uint64_t{32} << 20);
}

// Whole numbers of 8 bits and scales are the f32 numbers that they stand for, bit for bit; also those
// of a row alone, and as one token.
TEST(NarrowKeys, AreTheirValues) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const Context context = make_context(level.c_str());
        const Layer layer = make_op(
            context, "attention_op",
            Config().set("heads", kH).set("kv_heads", kHk).set("head_dim", kD).set("causal", true));
        Tensor narrow[2], wide[2], scales[2];
        for (int i = 0; i < 2; ++i) {
            const Values values = noise(DType::f32, {kB, kTk, kHk, kD}, 5 + i).values();
            const Values factors = noise(DType::f32, {kB, kTk, kHk}, 7 + i).values();
            narrow[i] = Tensor(DType::i8, {kB, kTk, kHk, kD});
            wide[i] = Tensor(DType::f32, {kB, kTk, kHk, kD});
            scales[i] = Tensor(DType::f32, {kB, kTk, kHk});
            for (int64_t r = 0; r < kB * kTk * kHk; ++r) {
                const Shape row = {r / (kTk * kHk), r / kHk % kTk, r % kHk};
                const auto scale = static_cast<float>(factors[static_cast<size_t>(r)] / 64);
                scales[i].set(row, static_cast<double>(scale));
                for (int64_t d = 0; d < kD; ++d) {
                    const double whole = std::clamp(
                        std::round(100 * values[static_cast<size_t>(r * kD + d)]), -128.0, 127.0);
                    narrow[i].set({row[0], row[1], row[2], d}, whole);
                    wide[i].set({row[0], row[1], row[2], d},
                                static_cast<double>(static_cast<float>(whole) * scale));
                }
            }
        }
        for (const int64_t tokens : {kT, int64_t{1}}) {
            const Tensor q = noise(DType::f32, {kB, tokens, kH, kD}, 1);
            const auto output = [&](const Tensor& k, const Tensor& v, bool scaled) {
                const Tensor y = Tensor::filled(DType::f32, q.shape(), -777);
                Args args(layer);
                args.add("q", q).add("k", k).add("v", v).add("y", y);
                if (scaled) args.add("k_scale", scales[0]).add("v_scale", scales[1]);
                forward(layer, args);
                return y;
            };
            const Tensor whole = output(narrow[0], narrow[1], true);
            if (level == "reference") {  // products of double
                const Values got = whole.values();
                const Values want = output(wide[0], wide[1], false).values();
                for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-6);
            } else {
                EXPECT_TRUE(same_bits(whole, output(wide[0], wide[1], false)));
            }
        }
    }
}

// Positions are given, or counted in each sequence; seq_idx begins sequences anew.
TEST(TokenPositions, GivenOrCounted) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const Context context = make_context(level.c_str());
        const Layer rope = make_op(context, "rope_op", Config().set("heads", 2).set("head_dim", 8));
        const Tensor x = noise(DType::f32, {2, 6, 2, 8}, 1);
        const auto turned = [&](const std::string& control, const Tensor& values) {
            const Tensor y = Tensor::filled(DType::f32, x.shape(), -777);
            Args args(rope);
            args.add("x", x).add("y", y);
            if (!control.empty()) args.add(control, values);
            forward(rope, args);
            return y;
        };
        const Tensor counted = turned("", {});
        EXPECT_TRUE(same_bits(
            counted,
            turned("positions", Tensor::i64({0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}, {2, 6}))));
        const Tensor cut =
            turned("seq_idx", Tensor::i32({7, 7, 8, 8, 8, 8, 1, 1, 1, 1, 1, 2}, {2, 6}));
        EXPECT_TRUE(same_bits(
            cut, turned("positions", Tensor::i64({0, 1, 0, 1, 2, 3, 0, 1, 2, 3, 4, 0}, {2, 6}))));
        EXPECT_FALSE(same_bits(cut, counted));
    }
}

}  // namespace
