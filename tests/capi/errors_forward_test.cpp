// What forward refuses: the status, a message that names the mixer, the tensor, what was expected
// and what came; outputs and states untouched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using testing::AllOf;
using testing::HasSubstr;

seqmix_status call(const Layer& layer, const Args& args, const State* state = nullptr,
                   const seqmix_forward_options* options = nullptr) {
    return seqmix_layer_forward(layer.get(), state != nullptr ? state->get() : nullptr, args.data(),
                                args.size(), options);
}

// ------------------------------------------------------------------ an operation

class ScanErrors : public testing::Test {
  protected:
    static constexpr int64_t kB = 2, kT = 7, kD = 6, kN = 4;

    // A valid call; `change` edits the arguments before they are given.
    struct Call {
        Tensor u = noise(DType::f32, {kB, kT, kD}, 1);
        Tensor delta = noise(DType::f32, {kB, kT, kD}, 2);
        Tensor a = Tensor::filled(DType::f32, {kD, kN}, -1);
        Tensor b = noise(DType::f32, {kB, kT, kN}, 3);
        Tensor c = noise(DType::f32, {kB, kT, kN}, 4);
        Tensor y = Tensor::filled(DType::f32, {kB, kT, kD}, -777);
        Tensor state_in = noise(DType::f32, {kB, kD, kN}, 5);
        Tensor state_out = Tensor::filled(DType::f32, {kB, kD, kN}, -777);
        void fill(Args& args) const {
            args.add("u", u).add("delta", delta).add("A", a).add("B", b).add("C", c).add("y", y);
            args.add("state_in", state_in).add("state_out", state_out);
        }
    };

    Context context_ = make_context();
    Layer layer_ = make_op(context_, "selective_scan_op",
                           Config().set("d_inner", kD).set("d_state", kN).set("groups", 1));

    void expect(seqmix_status status, const testing::Matcher<const std::string&>& message,
                const std::function<void(Call&)>& change,
                const std::function<void(Args&)>& change_args = {}) {
        Call arguments;
        change(arguments);
        const Bits y = arguments.y.bits(), out = arguments.state_out.bits();
        Args args(layer_);
        arguments.fill(args);
        if (change_args) {
            change_args(args);
        }
        EXPECT_ERROR(status, call(layer_, args), message);
        EXPECT_THAT(std::string(seqmix_last_error()), HasSubstr("selective_scan_op"));
        EXPECT_EQ(arguments.y.bits(), y);
        EXPECT_EQ(arguments.state_out.bits(), out);
    }
};

TEST_F(ScanErrors, AValidCallIsFine) {
    Call arguments;
    Args args(layer_);
    arguments.fill(args);
    EXPECT_STATUS(SEQMIX_OK, call(layer_, args));
}

TEST_F(ScanErrors, Shapes) {
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'B'"), HasSubstr("(2,7,5)"), HasSubstr("N=4")),
           [](Call& c) {
               c.b = Tensor(DType::f32, {kB, kT, 5});
           });
    // All shapes that the slot takes.
    expect(SEQMIX_ERR_SHAPE, HasSubstr("'C' shape (4,6), expected (D=6,N=4) or (B=2,T=7,N=4)"),
           [](Call& c) {
               c.c = Tensor(DType::f32, {kN, kD});
           });
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'B'"), HasSubstr("(2,8,4)"), HasSubstr("T=7")),
           [](Call& c) {
               c.b = Tensor(DType::f32, {kB, kT + 1, kN});
           });
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'delta'"), HasSubstr("(1,7,6)"), HasSubstr("B=2")),
           [](Call& c) {
               c.delta = Tensor(DType::f32, {1, kT, kD});
           });
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'u'"), HasSubstr("(2,7,9)"), HasSubstr("6")),
           [](Call& c) {
               c.u = Tensor(DType::f32, {kB, kT, 9});
           });
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'u'"), HasSubstr("(2,42)")), [](Call& c) {
        c.u = c.u.reshape({kB, kT * kD});
    });
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'y'"), HasSubstr("(2,7,7)")), [](Call& c) {
        c.y = Tensor::filled(DType::f32, {kB, kT, 7}, -777);
    });
    expect(SEQMIX_ERR_SHAPE, AllOf(HasSubstr("'state_out'"), HasSubstr("(3,6,4)")), [](Call& c) {
        c.state_out = Tensor::filled(DType::f32, {3, kD, kN}, -777);
    });
    expect(SEQMIX_ERR_SHAPE, HasSubstr("'state_in'"), [](Call& c) {
        c.state_in = Tensor(DType::f32, {kB, kN, kD});
    });
    expect(SEQMIX_ERR_SHAPE, HasSubstr("'A'"), [](Call& c) {
        c.a = Tensor(DType::f32, {1, kD, kN});
    });
    expect(SEQMIX_ERR_SHAPE, HasSubstr("'C'"), [](Call& c) {
        c.c = Tensor(DType::f32, {kB, kT, 2, kN});
    });
}

TEST_F(ScanErrors, ElementTypes) {
    expect(SEQMIX_ERR_DTYPE, AllOf(HasSubstr("'u'"), HasSubstr("i32"), HasSubstr("f32")),
           [](Call& c) {
               c.u = Tensor(DType::i32, {kB, kT, kD});
           });
    expect(SEQMIX_ERR_DTYPE, AllOf(HasSubstr("'B'"), HasSubstr("i64")), [](Call& c) {
        c.b = Tensor(DType::i64, {kB, kT, kN});
    });
    expect(SEQMIX_ERR_DTYPE, AllOf(HasSubstr("'u'"), HasSubstr("f64")), [](Call& c) {
        c.u = Tensor(DType::f64, {kB, kT, kD});
    });
    expect(
        SEQMIX_ERR_DTYPE, HasSubstr("'y'"), [](Call&) {},
        [](Args& args) { const_cast<seqmix_tensor*>(args.data()[5].tensor)->dtype.lanes = 2; });
    expect(
        SEQMIX_ERR_DTYPE, HasSubstr("'u'"), [](Call&) {},
        [](Args& args) { const_cast<seqmix_tensor*>(args.data()[0].tensor)->dtype.bits = 24; });
    expect(
        SEQMIX_ERR_DTYPE, HasSubstr("'u'"), [](Call&) {},
        [](Args& args) { const_cast<seqmix_tensor*>(args.data()[0].tensor)->dtype.code = 5; });
}

TEST_F(ScanErrors, Devices) {
    expect(
        SEQMIX_ERR_DEVICE, AllOf(HasSubstr("'u'"), HasSubstr("2")), [](Call&) {},
        [](Args& args) {
            const_cast<seqmix_tensor*>(args.data()[0].tensor)->device.device_type = 2;
        });
    // The number of a CPU means nothing.
    Call arguments;
    Args args(layer_);
    arguments.fill(args);
    const_cast<seqmix_tensor*>(args.data()[0].tensor)->device.device_id = 5;
    EXPECT_STATUS(SEQMIX_OK, call(layer_, args));
}

TEST_F(ScanErrors, DamagedTensors) {
    const auto tensor = [](Args& args, size_t i) {
        return const_cast<seqmix_tensor*>(args.data()[i].tensor);
    };
    expect(
        SEQMIX_ERR_NULL_ARGUMENT, HasSubstr("'u'"), [](Call&) {},
        [&](Args& args) { tensor(args, 0)->data = nullptr; });
    expect(
        SEQMIX_ERR_NULL_ARGUMENT, HasSubstr("'u'"), [](Call&) {},
        [&](Args& args) { tensor(args, 0)->shape = nullptr; });
    expect(
        SEQMIX_ERR_NULL_ARGUMENT, HasSubstr("'u'"), [](Call&) {},
        [&](Args& args) { const_cast<seqmix_arg*>(args.data())[0].tensor = nullptr; });
    for (const int32_t ndim : {-1, INT32_MIN, INT32_MAX, 9}) {
        Call arguments;
        Args args(layer_);
        arguments.fill(args);
        tensor(args, 0)->ndim = ndim;
        const seqmix_status status = call(layer_, args);
        EXPECT_TRUE(status == SEQMIX_ERR_SHAPE || status == SEQMIX_ERR_INVALID_ARGUMENT)
            << ndim << ": " << seqmix_status_name(status);
        EXPECT_THAT(seqmix_last_error(), HasSubstr("'u'"));
    }
    int64_t negative[3] = {kB, -7, kD}, huge[3] = {INT64_MAX, INT64_MAX, kD};
    expect(
        SEQMIX_ERR_INVALID_ARGUMENT, AllOf(HasSubstr("'u'"), HasSubstr("-7")), [](Call&) {},
        [&](Args& args) { tensor(args, 0)->shape = negative; });
    expect(
        SEQMIX_ERR_LIMIT, HasSubstr("'u'"), [](Call&) {},
        [&](Args& args) { tensor(args, 0)->shape = huge; });
    int64_t far[3] = {INT64_MAX / 2, INT64_MAX / 2, 1};
    expect(
        SEQMIX_ERR_LIMIT, HasSubstr("'u'"), [](Call&) {},
        [&](Args& args) { tensor(args, 0)->strides = far; });
}

TEST_F(ScanErrors, Slots) {
    const Tensor extra(DType::f32, {kD});
    for (const int32_t slot : {999, -1, INT32_MAX, INT32_MIN, 99}) {
        expect(
            SEQMIX_ERR_UNKNOWN_SLOT, HasSubstr(std::to_string(slot)), [](Call&) {},
            [&](Args& args) { args.add(slot, extra); });
    }
    expect(
        SEQMIX_ERR_INVALID_ARGUMENT, AllOf(HasSubstr("'D'"), HasSubstr("twice")), [](Call&) {},
        [&](Args& args) { args.add("D", extra).add("D", extra); });
    expect(
        SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("'D'"), [](Call&) {},
        [&](Args& args) { args.add("D", extra, 1); });  // flags
    expect(
        SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("'D'"), [](Call&) {},
        [&](Args& args) { args.add("D", extra, 0, 1); });  // index
    expect(
        SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("'D'"), [](Call&) {},
        [&](Args& args) {
            args.add("D", extra);
            args.back().reserved = 1;
        });
}

TEST_F(ScanErrors, MissingTensors) {
    for (const char* missing : {"u", "delta", "A", "B", "C"}) {
        Call arguments;
        Args args(layer_);
        for (const auto& [name, tensor] : {std::pair<const char*, Tensor*>{"u", &arguments.u},
                                           {"delta", &arguments.delta},
                                           {"A", &arguments.a},
                                           {"B", &arguments.b},
                                           {"C", &arguments.c},
                                           {"y", &arguments.y}}) {
            if (std::string(name) != missing) {
                args.add(name, *tensor);
            }
        }
        EXPECT_ERROR(SEQMIX_ERR_MISSING_TENSOR, call(layer_, args),
                     HasSubstr(std::string("'").append(missing).append("'")));
        EXPECT_EQ(arguments.y.values(), Values(kB * kT * kD, -777.0));
    }
}

TEST_F(ScanErrors, Aliasing) {
    const auto overlap = [&](const char* one, const char* two,
                             const std::function<void(Call&)>& change) {
        expect(SEQMIX_ERR_ALIASING, AllOf(HasSubstr(one), HasSubstr(two)), change);
    };
    overlap("'y'", "'u'", [](Call& c) { c.y = c.u; });
    overlap("'y'", "'delta'", [](Call& c) { c.y = c.delta; });
    overlap("'y'", "'state_out'", [](Call& c) {
        c.y = Tensor::filled(DType::f32, {kB, kT, kD}, -777);
        c.state_out = c.y.view({kB, kD, kN}, {kD * kN, kN, 1}, 0);
    });
    overlap("'state_out'", "'A'", [](Call& c) {
        c.state_out = Tensor::filled(DType::f32, {kB, kD, kN}, -777);
        c.a = c.state_out.slice(0, 1, 1).reshape({kD, kN});
    });
    // By one element.
    overlap("'y'", "'u'", [](Call& c) {
        const Tensor buffer = Tensor::filled(DType::f32, {2 * kB * kT * kD - 1}, 1);
        c.u = buffer.view({kB, kT, kD}, {kT * kD, kD, 1}, 0);
        c.y = buffer.view({kB, kT, kD}, {kT * kD, kD, 1}, kB * kT * kD - 1);
    });
    // The pair state_in, state_out only when it is one and the same view.
    overlap("'state_out'", "'state_in'", [](Call& c) {
        const Tensor buffer = Tensor::filled(DType::f32, {kB * kD * kN + 1}, 1);
        c.state_in = buffer.view({kB, kD, kN}, {kD * kN, kN, 1}, 0);
        c.state_out = buffer.view({kB, kD, kN}, {kD * kN, kN, 1}, 1);
    });
    overlap("'state_out'", "'state_in'", [](Call& c) { c.state_out = c.state_in.flip(0); });
}

TEST_F(ScanErrors, WhatMayShareMemory) {
    Call plain;
    Args expected(layer_);
    plain.fill(expected);
    ASSERT_EQ(call(layer_, expected), SEQMIX_OK);

    const auto same = [&](const std::function<void(Call&)>& change) {
        Call arguments;
        change(arguments);
        Args args(layer_);
        arguments.fill(args);
        EXPECT_STATUS(SEQMIX_OK, call(layer_, args));
        EXPECT_TRUE(same_bits(arguments.y, plain.y));
        EXPECT_TRUE(same_bits(arguments.state_out, plain.state_out));
    };
    same([](Call& c) { c.state_out = c.state_in; });
    // Neighbours in one buffer.
    same([](Call& c) {
        const int64_t n = kB * kT * kD;
        const Tensor buffer = Tensor::filled(DType::f32, {2 * n}, 0);
        Tensor u = buffer.view({kB, kT, kD}, {kT * kD, kD, 1}, 0);
        u.assign(c.u.values());
        c.u = u;
        c.y = buffer.view({kB, kT, kD}, {kT * kD, kD, 1}, n);
    });
    // Columns of one (B,T,2D) buffer: their ranges of addresses overlap, their elements do not.
    same([](Call& c) {
        const Tensor buffer = Tensor::filled(DType::f32, {kB, kT, 2 * kD}, 0);
        Tensor u = buffer.slice(2, 0, kD);
        u.assign(c.u.values());
        c.u = u;
        c.y = buffer.slice(2, kD, kD);
    });
    // Inputs may be one tensor.
    Call shared;
    shared.c = shared.b;
    Args args(layer_);
    shared.fill(args);
    EXPECT_STATUS(SEQMIX_OK, call(layer_, args));
}

TEST_F(ScanErrors, OutputsWhoseElementsOverlap) {
    expect(SEQMIX_ERR_LAYOUT, HasSubstr("'y'"), [](Call& c) {
        c.y = Tensor::filled(DType::f32, {kB, 1, kD}, -777).broadcast(1, kT);
    });
    expect(SEQMIX_ERR_LAYOUT, HasSubstr("'y'"), [](Call& c) {
        const Tensor buffer = Tensor::filled(DType::f32, {kB * kT * kD}, -777);
        c.y = buffer.view({kB, kT, kD}, {kT * kD, kD - 1, 1}, 0);
    });
}

TEST_F(ScanErrors, InputsInAnyLayout) {
    Call plain;
    Args expected(layer_);
    plain.fill(expected);
    ASSERT_EQ(call(layer_, expected), SEQMIX_OK);
    const auto moved = [](const Tensor& t, const std::vector<size_t>& axes) {
        std::vector<size_t> back(axes.size());
        for (size_t i = 0; i < axes.size(); ++i) {
            back[axes[i]] = i;
        }
        return t.permute(axes).clone().permute(back);
    };
    const std::vector<std::function<Tensor(const Tensor&)>> layouts = {
        [&](const Tensor& t) {
            return moved(t, {0, 2, 1});
        },
        [&](const Tensor& t) {
            return moved(t, {2, 1, 0});
        },
        [&](const Tensor& t) {
            return moved(t, {1, 0, 2});
        },
        [&](const Tensor& t) { return t.shifted(1); },
        [&](const Tensor& t) { return t.spread(2); },
        [&](const Tensor& t) { return t.flip(1).clone().flip(1); },
        [&](const Tensor& t) { return t.flip(2).clone().flip(2); },
    };
    for (size_t i = 0; i < layouts.size(); ++i) {
        SCOPED_TRACE(i);
        Call c;
        for (Tensor* t : {&c.u, &c.delta, &c.b, &c.c, &c.y, &c.state_in, &c.state_out}) {
            *t = layouts[i](*t);
        }
        Args args(layer_);
        c.fill(args);
        EXPECT_STATUS(SEQMIX_OK, call(layer_, args));
        EXPECT_TRUE(same_bits(c.y, plain.y));
        EXPECT_TRUE(same_bits(c.state_out, plain.state_out));
    }
    // Stride 0: one row for all.
    Call one;
    one.u = one.u.slice(0, 0, 1).broadcast(0, kB);
    Call copied;
    copied.u = one.u.clone();
    Args a(layer_), b(layer_);
    one.fill(a);
    copied.fill(b);
    EXPECT_STATUS(SEQMIX_OK, call(layer_, a));
    EXPECT_STATUS(SEQMIX_OK, call(layer_, b));
    EXPECT_TRUE(same_bits(one.y, copied.y));
    // No strides, and an offset in bytes.
    Call offset;
    Args args(layer_);
    offset.fill(args);
    for (size_t i = 0; i < args.size(); ++i) {
        auto* tensor = const_cast<seqmix_tensor*>(args.data()[i].tensor);
        tensor->strides = nullptr;
        tensor->data = static_cast<char*>(tensor->data) - 64;
        tensor->byte_offset = 64;
    }
    EXPECT_STATUS(SEQMIX_OK, call(layer_, args));
    EXPECT_TRUE(same_bits(offset.y, plain.y));
}

TEST_F(ScanErrors, OperationsHaveNoState) {
    const SmallMamba mamba;
    const State state = make_state(mamba.layer);
    Call arguments;
    Args args(layer_);
    arguments.fill(args);
    EXPECT_STATUS(SEQMIX_ERR_INVALID_ARGUMENT, call(layer_, args, &state));
    State none;
    EXPECT_ERROR(SEQMIX_ERR_UNSUPPORTED, seqmix_state_create(layer_.get(), nullptr, none.out()),
                 HasSubstr("selective_scan_op"));
    EXPECT_FALSE(none);
}

// ------------------------------------------------------------------ a block

class BlockErrors : public testing::Test {
  protected:
    SmallMamba mamba_;
    State state_ = make_state(mamba_.layer, 2);
    Tensor x_ = mamba_.input(2, 5), y_ = Tensor::filled(DType::f32, {2, 5, SmallMamba::kD}, -777);

    // Refused, with nothing written and the state as it was.
    void expect(seqmix_status status, const Args& args, const State* state,
                const testing::Matcher<const std::string&>& message) {
        const Bits before = state_bits(mamba_.layer, state_, 2), y = y_.bits();
        EXPECT_ERROR(status, call(mamba_.layer, args, state), message);
        EXPECT_EQ(y_.bits(), y);
        EXPECT_EQ(state_bits(mamba_.layer, state_, 2), before);
    }
    Args& fill(Args& args) { return args.add("x", x_).add("y", y_); }
};

TEST_F(BlockErrors, APlanDoesNotRun) {
    Args args(mamba_.layer);
    fill(args);
    EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, call(mamba_.planned, args, &state_),
                 HasSubstr("mamba"));
    EXPECT_EQ(y_.values(), Values(static_cast<size_t>(y_.count()), -777.0));
}

TEST_F(BlockErrors, AStateIsNeeded) {
    Args args(mamba_.layer);
    expect(SEQMIX_ERR_NULL_ARGUMENT, fill(args), nullptr, HasSubstr("mamba"));
}

TEST_F(BlockErrors, StatesOfOthers) {
    mamba_(state_, mamba_.input(2, 3));
    Args args(mamba_.layer);
    fill(args);
    const SmallMamba other(nullptr, 9);
    const State foreign = make_state(other.layer, 2);
    expect(SEQMIX_ERR_STATE_MISMATCH, args, &foreign, HasSubstr("mamba"));
    const State three = make_state(mamba_.layer, 3);
    expect(SEQMIX_ERR_STATE_MISMATCH, args, &three, AllOf(HasSubstr("3"), HasSubstr("2")));
}

TEST_F(BlockErrors, WeightsAndStateTensorsAreNotForCalls) {
    for (const char* slot : {"in_proj.weight", "A_log", "conv_state", "ssm_state"}) {
        Args args(mamba_.layer);
        fill(args).add(slot, Tensor(DType::f32, {1}));
        expect(SEQMIX_ERR_UNKNOWN_SLOT, args, &state_, HasSubstr(slot));
    }
}

TEST_F(BlockErrors, ControlTensors) {
    const auto with = [&](const char* name, const Tensor& value, seqmix_status status,
                          const testing::Matcher<const std::string&>& message) {
        Args args(mamba_.layer);
        fill(args).add(name, value);
        expect(status, args, &state_, AllOf(HasSubstr(name), message));
    };
    with("lengths", Tensor::i64({6, 1}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("6"));
    with("lengths", Tensor::i64({-1, 1}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("-1"));
    with("lengths", Tensor::i64({1, 1, 1}), SEQMIX_ERR_SHAPE, HasSubstr("(3)"));
    with("lengths", Tensor::i32({1, 1}), SEQMIX_ERR_DTYPE, HasSubstr("i32"));
    with("rows", Tensor::i64({0, 0}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("twice"));
    with("rows", Tensor::i64({0, 2}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("2"));
    with("rows", Tensor::i64({-1, 0}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("-1"));
    with("rows", Tensor::i64({0}), SEQMIX_ERR_SHAPE, HasSubstr("(1)"));
    with("seq_idx", Tensor::i32({0, 0}, {1, 2}), SEQMIX_ERR_SHAPE, HasSubstr("(1,2)"));
    with("seq_idx", Tensor(DType::i64, {2, 5}), SEQMIX_ERR_DTYPE, HasSubstr("i64"));
    // cu_seqlens wants one batch row.
    with("cu_seqlens", Tensor::i64({0, 2, 5}), SEQMIX_ERR_SHAPE, testing::_);
    x_ = mamba_.input(1, 5);
    y_ = y_.slice(0, 0, 1);
    with("cu_seqlens", Tensor::i64({0, 4, 3}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("3"));
    with("cu_seqlens", Tensor::i64({1, 2, 5}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("1"));
    with("cu_seqlens", Tensor::i64({0, 2, 6}), SEQMIX_ERR_INVALID_ARGUMENT, HasSubstr("6"));
    with("cu_seqlens", Tensor::i64({0, INT64_MAX, 5}), SEQMIX_ERR_INVALID_ARGUMENT, testing::_);
    with("cu_seqlens", Tensor(DType::i64, {0}), SEQMIX_ERR_SHAPE, testing::_);
    Args both(mamba_.layer);
    fill(both).add("cu_seqlens", Tensor::i64({0, 2, 5})).add("lengths", Tensor::i64({5}));
    expect(SEQMIX_ERR_INVALID_ARGUMENT, both, &state_,
           AllOf(HasSubstr("cu_seqlens"), HasSubstr("lengths")));
}

TEST_F(BlockErrors, AliasingOfInputAndOutput) {
    Args args(mamba_.layer);
    args.add("x", x_).add("y", x_);
    expect(SEQMIX_ERR_ALIASING, args, &state_, AllOf(HasSubstr("'x'"), HasSubstr("'y'")));
    const Tensor lengths = Tensor::i64({5, 5});
    Args control(mamba_.layer);
    const Tensor buffer = Tensor::filled(DType::f32, {2 * 5 * SmallMamba::kD + 4}, 0);
    control.add("x", x_).add("y", buffer.view({2, 5, SmallMamba::kD}, {40, 8, 1}, 4));
    control.add("lengths", lengths);
    control.back_tensor().data = buffer.data();  // the first 16 bytes; y begins right after
    for (int64_t i = 0; i < 2; ++i) {
        static_cast<int64_t*>(buffer.data())[i] = 5;
    }
    EXPECT_STATUS(SEQMIX_OK, call(mamba_.layer, control, &state_));
}

TEST_F(BlockErrors, ForwardOptions) {
    Args args(mamba_.layer);
    fill(args);
    seqmix_forward_options options = {};
    options.struct_size = sizeof(options);
    options.reserved = 1;
    EXPECT_STATUS(SEQMIX_ERR_VERSION, call(mamba_.layer, args, &state_, &options));
    options.reserved = 0;
    options.struct_size = 0;
    EXPECT_STATUS(SEQMIX_ERR_VERSION, call(mamba_.layer, args, &state_, &options));
    options.struct_size = 8;  // an older header's, without poll
    EXPECT_STATUS(SEQMIX_OK, call(mamba_.layer, args, &state_, &options));
}

TEST_F(BlockErrors, ManyArgumentsAtOnce) {
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_forward(mamba_.layer.get(), state_.get(), nullptr, 2, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_NULL_ARGUMENT,
                  seqmix_layer_forward(nullptr, state_.get(), nullptr, 0, nullptr));
    EXPECT_STATUS(SEQMIX_ERR_MISSING_TENSOR,
                  seqmix_layer_forward(mamba_.layer.get(), state_.get(), nullptr, 0, nullptr));
    Args args(mamba_.layer);
    for (int i = 0; i < 1000; ++i) {
        fill(args);
    }
    expect(SEQMIX_ERR_INVALID_ARGUMENT, args, &state_, HasSubstr("twice"));
}

// ------------------------------------------------------------------ a model

class ModelErrors : public testing::Test {
  protected:
    Context context_ = make_context();
    Layer model_ = open_model(context_, source_dir() + "/models/shakespeare");
};

TEST_F(ModelErrors, TokensOutOfRange) {
    const State state = make_state(model_);
    run(model_, state, Tensor::i64({1, 2}, {1, 2}), "logits_last");
    const Bits before = state_bits(model_, state, 1);
    for (const int64_t bad : {int64_t{256}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
        const Tensor logits = Tensor::filled(DType::f32, {1, 3, 256}, -777);
        Tensor tokens(DType::i64, {1, 3});
        static_cast<int64_t*>(tokens.data())[1] = bad;
        Args args(model_);
        args.add("tokens", tokens).add("logits", logits);
        EXPECT_ERROR(SEQMIX_ERR_INVALID_ARGUMENT, call(model_, args, &state),
                     AllOf(HasSubstr("tokens"), HasSubstr(std::to_string(bad)), HasSubstr("255")));
        EXPECT_EQ(logits.values(), Values(3 * 256, -777.0));
        EXPECT_EQ(state_bits(model_, state, 1), before);
    }
    // i32 serves too.
    Args args(model_);
    const Tensor logits(DType::f32, {1, 3, 256}), expected(DType::f32, {1, 3, 256});
    args.add("tokens", Tensor::i32({1, 2, 3}, {1, 3})).add("logits", logits);
    EXPECT_STATUS(SEQMIX_OK, call(model_, args, &state));
}

TEST_F(ModelErrors, NothingIsReadOfPadding) {
    const State state = make_state(model_, 2), plain = make_state(model_, 2);
    Tensor tokens = Tensor::i64({5, 6, -1, 7, 999, INT64_MIN}, {2, 3});
    static_cast<int64_t*>(tokens.data())[5] = INT64_MIN;
    const Tensor logits = Tensor::filled(DType::f32, {2, 3, 256}, -777);
    {
        Args args(model_);
        args.add("tokens", tokens).add("logits", logits).add("lengths", Tensor::i64({2, 1}));
        EXPECT_STATUS(SEQMIX_OK, call(model_, args, &state));
    }
    {
        Args args(model_);
        args.add("tokens", tokens).add("logits", logits);
        args.add("seq_idx", Tensor::i32({0, 0, -1, 0, -1, -1}, {2, 3}));
        EXPECT_STATUS(SEQMIX_OK, call(model_, args, &plain));
    }
}

TEST_F(ModelErrors, StacksHaveNoMixingMatrix) {
    const State state = make_state(model_);
    Args args(model_);
    const Tensor matrix(DType::f32, {1, 1, 2, 2});
    const seqmix_tensor m = matrix.c();
    args.add("tokens", Tensor::i64({1, 2}, {1, 2}));
    EXPECT_ERROR(SEQMIX_ERR_UNSUPPORTED,
                 seqmix_layer_materialize(model_.get(), state.get(), args.data(), args.size(),
                                          nullptr, &m, nullptr, nullptr),
                 HasSubstr("stack"));
}

}  // namespace
