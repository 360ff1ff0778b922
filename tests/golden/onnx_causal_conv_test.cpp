// ONNX's stored node tests of CausalConvWithState, run on causal_conv1d_op. input and output are
// (B,C,L), weight (C,1,K), states (B,C,K-1); f16 cases are widened.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../support/capi.h"
#include "../support/golden_case.h"
#include "../support/onnx_tensor.h"
#include "../support/shared_data.h"

namespace {

using namespace seqmix_test;

const std::string kPrefix = "test_causal_conv_with_state_";

const std::vector<std::string>& onnx_cases() {
    static const std::vector<std::string> names = {
        "b1_c1_degenerate", "basic",       "decode_step", "kernel_size_one", "silu",
        "silu_fp16",        "swish_alias", "with_bias",   "with_past_state",
    };
    return names;
}

// The ONNX backend's own tolerance, element by element.
testing::AssertionResult onnx_close(const Values& actual, const Values& expected) {
    if (actual.size() != expected.size()) {
        return testing::AssertionFailure() << actual.size() << " elements, not " << expected.size();
    }
    for (size_t i = 0; i < actual.size(); ++i) {
        if (!(std::abs(actual[i] - expected[i]) <= 1e-7 + 1e-3 * std::abs(expected[i]))) {
            return testing::AssertionFailure()
                   << "element " << i << " is " << actual[i] << ", expected " << expected[i];
        }
    }
    return testing::AssertionSuccess();
}

class OnnxCausalConvWithState : public testing::TestWithParam<std::string> {};

TEST_P(OnnxCausalConvWithState, EveryLevel) {
    const std::string folder = "data/onnx-node/" + kPrefix + GetParam();
    SEQMIX_NEED_SHARED(folder);
    const OnnxModel model = read_onnx_model(shared_path(folder + "/model.onnx"));
    ASSERT_EQ(model.nodes.size(), 1u);
    const OnnxNode& node = model.nodes[0];
    ASSERT_EQ(node.op_type, "CausalConvWithState");
    ASSERT_GE(node.inputs.size(), 2u);
    ASSERT_LE(node.inputs.size(), 4u);
    ASSERT_EQ(node.outputs.size(), 2u);
    bool silu = false;
    for (const auto& [name, attribute] : node.attributes) {
        ASSERT_EQ(name, "activation");
        ASSERT_TRUE(attribute.text == "silu" || attribute.text == "swish" ||
                    attribute.text == "none")
            << attribute.text;
        silu = attribute.text != "none";
    }

    const auto load = [&](const char* kind, size_t i) {
        return read_onnx_tensor(
            shared_path(folder + "/test_data_set_0/" + kind + std::to_string(i) + ".pb"));
    };
    std::map<std::string, OnnxTensor> tensors;
    for (size_t i = 0; i < model.graph_inputs.size(); ++i) {
        tensors[model.graph_inputs[i]] = load("input_", i);
    }
    for (size_t i = 0; i < model.graph_outputs.size(); ++i) {
        tensors[model.graph_outputs[i]] = load("output_", i);
    }
    // Input i of the node: X, W, B, past_state; null where it is left out.
    const auto input = [&](size_t i) -> const OnnxTensor* {
        return i < node.inputs.size() && !node.inputs[i].empty() ? &tensors.at(node.inputs[i])
                                                                 : nullptr;
    };
    const OnnxTensor& x = *input(0);
    const OnnxTensor& w = *input(1);
    const OnnxTensor& y = tensors.at(node.outputs[0]);
    const OnnxTensor& present = tensors.at(node.outputs[1]);
    ASSERT_EQ(w.shape.size(), 3u);
    const int64_t channels = w.shape[0], width = w.shape[2];

    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer layer =
            make_op(context, "causal_conv1d_op",
                    Config().set("d_model", channels).set("width", width).set("silu", silu));
        const Tensor out = Tensor::filled(dtype, y.shape, -777);
        const Tensor state = Tensor::filled(dtype, present.shape, -777);
        Args args(layer);
        args.add("x", Tensor(dtype, x.shape, x.values).permute({0, 2, 1}));
        args.add("weight", Tensor(dtype, {channels, width}, w.values));
        if (const OnnxTensor* bias = input(2)) {
            args.add("bias", Tensor(dtype, bias->shape, bias->values));
        }
        if (const OnnxTensor* past = input(3)) {
            args.add("state_in", Tensor(dtype, past->shape, past->values).permute({0, 2, 1}));
        }
        args.add("y", out.permute({0, 2, 1})).add("state_out", state.permute({0, 2, 1}));
        forward(layer, args);
        EXPECT_TRUE(onnx_close(out.values(), y.values));
        EXPECT_TRUE(onnx_close(state.values(), present.values));
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, OnnxCausalConvWithState, testing::ValuesIn(onnx_cases()),
                         [](const auto& info) { return info.param; });

TEST(OnnxCausalConvWithStateCases, AreAllOfTheFolder) {
    SEQMIX_NEED_SHARED("data/onnx-node");
    std::vector<std::string> expected;
    for (const std::string& name : onnx_cases()) {
        expected.push_back(kPrefix + name);
    }
    EXPECT_EQ(glob_cases(shared_path("data/onnx-node"), kPrefix), expected);
    EXPECT_EQ(expected.size(), 9u);
}

}  // namespace
