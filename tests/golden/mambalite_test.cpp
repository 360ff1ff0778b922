// A trained word classifier around one Mamba block, on a recorded "yes": the answer, and the values
// on the way there. What lies inside the block is found by giving the checkpoint's weights to
// the operations.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

const char* const kCheckpoint = "data/mambalite/mamba_kws10.safetensors";
const char* const kInput = "data/mambalite/kws_sample_yes_logmel_100x40.safetensors";
constexpr int64_t kT = 100, kModelWidth = 64, kE = 128, kN = 16, kRank = 4;

class Mambalite : public testing::Test {
  protected:
    void SetUp() override {
        SEQMIX_NEED_SHARED(kCheckpoint);
        SEQMIX_NEED_SHARED(kInput);
        weights_ = std::make_unique<SafetensorsFile>(shared_path(kCheckpoint));
        const SafetensorsFile input(shared_path(kInput));
        x_ = Tensor(DType::f32, {1, kT, 40}, input.doubles("input"));
    }

    void open(const std::string& level) {
        context_ = make_context(level.c_str());
        model_ = open_model(context_, shared_path(kCheckpoint));
    }

    // out (T,rows) = in (T,columns) times the transpose of weight (rows,columns).
    Values times(const Values& in, const std::string& name) {
        const Shape shape = weights_->shape(name);
        const Values w = weights_->doubles(name);
        const auto rows = static_cast<size_t>(shape[0]), columns = static_cast<size_t>(shape[1]);
        Values out;
        for (size_t t = 0; t < in.size() / columns; ++t) {
            for (size_t r = 0; r < rows; ++r) {
                double sum = 0;
                for (size_t c = 0; c < columns; ++c) {
                    sum += w[r * columns + c] * in[t * columns + c];
                }
                out.push_back(sum);
            }
        }
        return out;
    }

    std::unique_ptr<SafetensorsFile> weights_;
    Tensor x_;
    Context context_;
    Layer model_;
};

// The first three values of a tensor, to the digits that are published.
void expect_first(const Values& actual, size_t at, const Values& expected, double tolerance) {
    for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(actual.at(at + i), expected[i], tolerance) << i;
    }
}

TEST_F(Mambalite, SaysYes) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const State state = make_state(model_);
        const Tensor logits = run(model_, state, x_);
        ASSERT_EQ(logits.shape(), (Shape{1, 10}));
        const Values values = logits.values();
        EXPECT_LE(max_absolute_error(values, {2.7851, 5.1588, -1.2762, 8.5065, -17.4295, -6.0673,
                                              -8.7904, -15.0650, -14.5027, 25.2729}),
                  2e-3);
        EXPECT_EQ(std::max_element(values.begin(), values.end()) - values.begin(), 9);
        EXPECT_NEAR(values[9], 25.273, 0.01);
        Values others(values.begin(), values.begin() + 9);
        EXPECT_EQ(std::max_element(others.begin(), others.end()) - others.begin(), 3);
        EXPECT_NEAR(values[3], 8.5065, 0.01);
    }
}

TEST_F(Mambalite, ChildByChild) {
    expect_first(x_.values(), 0, {-39.074577, -39.461304, -35.042747}, 1e-6);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        ASSERT_EQ(seqmix_layer_child_count(model_.get()), 4u);
        const State state = make_state(model_);
        Tensor at = x_;
        Values outputs[4];
        for (size_t i = 0; i < 4; ++i) {
            const Layer layer = child(model_, i);
            at = run(layer, child(state, i), at);
            outputs[i] = at.values();
            if (i == 2) {
                at = at.reshape({1, 1, kModelWidth});  // one mean per row: (R,D) as (R,1,D)
            }
        }
        ASSERT_EQ(outputs[0].size(), static_cast<size_t>(kT * kModelWidth));
        ASSERT_EQ(outputs[1].size(), static_cast<size_t>(kT * kModelWidth));
        ASSERT_EQ(outputs[2].size(), static_cast<size_t>(kModelWidth));
        // linear_in, out_proj of the last frame, mean over time, logits
        expect_first(outputs[0], 0, {21.522532, 14.201707, -14.269830}, 2e-5);
        expect_first(outputs[1], 99 * kModelWidth, {-.06823173, .00117680, -.06522154}, 2e-4);
        expect_first(outputs[2], 0, {-8.652922, -12.401596, -14.092685}, 2e-4);
        expect_first(outputs[3], 0, {2.7851, 5.1588, -1.2762, 8.5065}, 2e-3);

        const State whole = make_state(model_);
        EXPECT_TRUE(same_bits(at.reshape({1, 10}), run(model_, whole, x_)));
    }
}

TEST_F(Mambalite, InsideTheBlock) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        // in_proj's x branch of frame 0 is the newest entry of the convolution's window.
        const Layer linear = child(model_, 0), block = child(model_, 1);
        const State state = make_state(model_);
        const State linear_state = child(state, 0), block_state = child(state, 1);
        const Tensor frame = x_.slice(1, 0, 1);
        const Tensor hidden = run(linear, linear_state, frame);
        run(block, block_state, hidden);
        const Tensor window = get_state(block, block_state, "mixer.conv_state", 1, DType::f64);
        ASSERT_EQ(window.shape(), (Shape{1, 3, kE}));
        const Tensor newest = window.slice(1, 2, 1);
        expect_first(newest.values(), 0, {-14.392626, -4.933283, -7.774442}, 2e-5);

        const DType dtype = real_dtype(level);
        const Layer conv = make_op(context_, "causal_conv1d_op",
                                   Config().set("d_model", kE).set("width", 4).set("silu", true));
        const Tensor activated(dtype, {1, 1, kE});
        {
            Args args(conv);
            args.add("x", Tensor(dtype, {1, 1, kE}, newest.values()));
            args.add("weight", Tensor(dtype, {kE, 4}, weights_->doubles("mamba.conv1d.weight")));
            args.add("bias", Tensor(dtype, {kE}, weights_->doubles("mamba.conv1d.bias")));
            args.add("y", activated);
            forward(conv, args);
        }
        expect_first(activated.values(), 0, {-.191314, -.199362, -.193459}, 2e-6);

        // With A = 0 and u = B = C = 1 the first output of a scan is its step.
        Values low = times(activated.values(), "mamba.x_proj.weight");
        low.resize(kRank);
        const Layer scan =
            make_op(context_, "selective_scan_op",
                    Config().set("d_inner", kE).set("d_state", 1).set("delta_softplus", true));
        const Tensor step(dtype, {1, 1, kE});
        {
            Args args(scan);
            args.add("u", Tensor::filled(dtype, {1, 1, kE}, 1)).add("y", step);
            args.add("delta", Tensor(dtype, {1, 1, kE}, times(low, "mamba.dt_proj.weight")));
            args.add("delta_bias", Tensor(dtype, {kE}, weights_->doubles("mamba.dt_proj.bias")));
            args.add("A", Tensor(dtype, {kE, 1}));
            args.add("B", Tensor::filled(dtype, {kE, 1}, 1));
            args.add("C", Tensor::filled(dtype, {kE, 1}, 1));
            forward(scan, args);
        }
        expect_first(step.values(), 0, {.01081925, .00709963, .00267021}, 2e-8);
    }
}

TEST_F(Mambalite, HasThePublishedSizes) {
    EXPECT_EQ(weights_->shape("mamba.in_proj.weight"), (Shape{2 * kE, kModelWidth}));
    EXPECT_EQ(weights_->shape("mamba.x_proj.weight"), (Shape{kRank + 2 * kN, kE}));
    EXPECT_EQ(weights_->names().size(), 13u);
}

}  // namespace
