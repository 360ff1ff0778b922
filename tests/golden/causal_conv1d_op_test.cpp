// causal_conv1d_op against the files made with Dao-AILab/causal-conv1d. Their tensors are (B,D,L);
// the operation sees them as (B,T,D) views of the same bytes.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

const std::vector<std::string>& conv_cases() {
    static const std::vector<std::string> names = {
        "mamba-op-conv-seqidx",
        "mamba-op-conv-update",
        "mamba-op-conv-update-multi",
        "mamba-op-conv-update-ring",
        "mamba-op-conv-w1",
        "mamba-op-conv-w2-nobias",
        "mamba-op-conv-w3-nosilu",
        "mamba-op-conv-w4",
        "mamba-op-conv-w4-init",
        "mamba-op-conv-w4-short",
        "mamba-op-conv-w4-short-init",
        "mamba-op-conv-w7-init",
    };
    return names;
}

// (B,D,L) as (B,L,D), the same bytes.
Tensor time_major(const Tensor& tensor) { return tensor.permute({0, 2, 1}); }

class CausalConv1dOp : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        SEQMIX_NEED_SHARED("golden/" + GetParam() + ".safetensors");
        file_ =
            std::make_unique<SafetensorsFile>(shared_path("golden/" + GetParam() + ".safetensors"));
    }

    // Plans the operation for the file's sizes, and gives it the weights.
    void open(const std::string& level) {
        level_ = level;
        dtype_ = real_dtype(level);
        const Shape weight = file_->shape("in.weight");
        width_ = weight.at(1);
        ASSERT_EQ(std::to_string(width_), file_->metadata("width"));
        const std::string activation = file_->metadata("activation");
        ASSERT_TRUE(activation == "silu" || activation == "none") << activation;
        context_ = make_context(level.c_str());
        layer_ = make_op(context_, "causal_conv1d_op",
                         Config()
                             .set("d_model", weight.at(0))
                             .set("width", width_)
                             .set("silu", activation == "silu"));
    }

    void add_weights(Args& args) {
        args.add("weight", load_tensor(*file_, "in.weight", dtype_));
        if (file_->has("in.bias")) {
            args.add("bias", load_tensor(*file_, "in.bias", dtype_));
        }
    }

    Tensor in(const std::string& name) { return load_tensor(*file_, "in." + name, dtype_); }
    Tensor out_like(const std::string& name) {
        return Tensor::filled(dtype_, file_->shape("out." + name), -777);
    }
    double tolerance() { return seqmix_test::tolerance(*file_, level_); }

    // State values are inputs that pass through: equal after rounding to the dtype.
    void expect_state(const Tensor& actual, const Values& expected) {
        EXPECT_EQ(actual.values(), Tensor(dtype_, actual.shape(), expected).values());
    }

    void prefill() {
        const Tensor x = in("x"), y = out_like("y");
        const int64_t batch = x.size(0), channels = x.size(1);
        Args args(layer_);
        args.add("x", time_major(x)).add("y", time_major(y));
        add_weights(args);
        if (file_->has("in.initial_states")) {
            args.add("state_in", time_major(in("initial_states")));
        }
        const Tensor final_states = Tensor::filled(dtype_, {batch, channels, width_ - 1}, -777);
        args.add("state_out", time_major(final_states));
        forward(layer_, args);
        EXPECT_TRUE(close_to(y.values(), file_->doubles("out.y"), tolerance()));
        if (file_->has("out.final_states")) {
            expect_state(final_states, file_->doubles("out.final_states"));
        } else {
            EXPECT_EQ(width_, 1);
        }
    }

    // The authors' buffer holds state_len >= K-1 inputs, the operation's state the last K-1. With
    // cache_seqlens the buffer is a ring whose write position is cache_seqlens % state_len.
    void update() {
        const Tensor x = in("x"), y = out_like("y"), buffer = in("conv_state");
        const Tensor after = load_tensor(*file_, "out.conv_state", dtype_);
        const int64_t batch = x.size(0), channels = x.size(1), tokens = x.size(2);
        const int64_t state_len = buffer.size(2), past = width_ - 1;
        std::vector<int64_t> write(static_cast<size_t>(batch), state_len);
        const bool ring = file_->has("in.cache_seqlens");
        if (ring) {
            write = file_->integers("in.cache_seqlens");
        }
        const auto column = [&](int64_t row, int64_t k) {
            return (write[static_cast<size_t>(row)] - past + k + 2 * state_len) % state_len;
        };
        Tensor state(dtype_, {batch, past, channels}), expected(dtype_, {batch, past, channels});
        for (int64_t b = 0; b < batch; ++b) {
            for (int64_t k = 0; k < past; ++k) {
                const int64_t last = ring ? column(b, tokens + k) : state_len - past + k;
                for (int64_t d = 0; d < channels; ++d) {
                    state.set({b, k, d}, buffer.at({b, d, column(b, k)}));
                    expected.set({b, k, d}, after.at({b, d, last}));
                }
            }
        }
        Args args(layer_);
        args.add("x", time_major(x)).add("y", time_major(y));
        add_weights(args);
        args.add("state_in", state).add("state_out", state);  // in place
        forward(layer_, args);
        EXPECT_TRUE(close_to(y.values(), file_->doubles("out.y"), tolerance()));
        EXPECT_EQ(state.values(), expected.values());
    }

    void sequence_ids() {
        const Tensor x = in("x"), y = out_like("y");
        const Tensor ids = load_tensor(*file_, "in.seq_idx", DType::i32);
        {
            Args args(layer_);
            args.add("x", time_major(x)).add("y", time_major(y)).add("seq_idx", ids);
            add_weights(args);
            forward(layer_, args);
        }
        EXPECT_TRUE(close_to(y.values(), file_->doubles("out.y"), tolerance()));
        int64_t padded = 0;
        for (int64_t b = 0; b < ids.size(0); ++b) {
            for (int64_t t = 0; t < ids.size(1); ++t) {
                if (ids.at({b, t}) < 0) {
                    for (int64_t d = 0; d < y.size(1); ++d) {
                        EXPECT_EQ(y.at({b, d, t}), 0.0);
                    }
                    ++padded;
                }
            }
        }
        EXPECT_EQ(padded, 8);

        // The runs of row 0 as packed sequences: the same outputs, bit by bit, and each one's state.
        const Tensor cu = load_tensor(*file_, "in.cu_seqlens_row0", DType::i64);
        const int64_t runs = cu.size(0) - 1, total = cu.integers().back();
        const Tensor row = x.slice(0, 0, 1).slice(2, 0, total);
        const Tensor packed = Tensor::filled(dtype_, row.shape(), -777);
        const Tensor states = out_like("varlen_states_row0");
        ASSERT_EQ(states.size(0), runs);
        Args args(layer_);
        args.add("x", time_major(row)).add("y", time_major(packed)).add("cu_seqlens", cu);
        args.add("state_out", time_major(states));
        add_weights(args);
        forward(layer_, args);
        EXPECT_TRUE(same_bits(packed, y.slice(0, 0, 1).slice(2, 0, total)));
        expect_state(states, file_->doubles("out.varlen_states_row0"));
    }

    std::unique_ptr<SafetensorsFile> file_;
    std::string level_;
    DType dtype_ = DType::f32;
    int64_t width_ = 0;
    Context context_;
    Layer layer_;
};

TEST_P(CausalConv1dOp, EveryLevel) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        if (file_->metadata("op") == "causal_conv1d_update") {
            update();
        } else if (file_->has("in.seq_idx")) {
            sequence_ids();
        } else {
            ASSERT_EQ(file_->metadata("op"), "causal_conv1d");
            prefill();
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, CausalConv1dOp, testing::ValuesIn(conv_cases()),
                         [](const auto& info) { return test_name(info.param); });

TEST(CausalConv1dOpCases, AreAllOfTheFolder) {
    SEQMIX_NEED_SHARED("golden");
    EXPECT_EQ(glob_cases(shared_path("golden"), "mamba-op-conv-"), conv_cases());
    EXPECT_EQ(conv_cases().size(), 12u);
}

}  // namespace
