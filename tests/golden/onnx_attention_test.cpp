// ONNX's stored node tests of Attention, FlexAttention and RotaryEmbedding, run on attention_op and
// rope_op. Past keys are put before the new ones here, and f16 is widened; 3D tensors are (B,T,H*d).
// Out of scope, by name: the subgraphs score_mod and prob_mod of FlexAttention.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <stdexcept>

#include "../support/golden_case.h"
#include "../support/onnx_tensor.h"

namespace {

using namespace seqmix_test;

// The ONNX backend's own tolerance, element by element; infinities must be the same.
testing::AssertionResult onnx_close(const Values& actual, const Values& expected) {
    if (actual.size() != expected.size()) {
        return testing::AssertionFailure() << actual.size() << " elements, not " << expected.size();
    }
    for (size_t i = 0; i < actual.size(); ++i) {
        const bool same = std::isinf(expected[i]) ? actual[i] == expected[i]
                                                  : std::abs(actual[i] - expected[i]) <=
                                                        1e-7 + 1e-3 * std::abs(expected[i]);
        if (!same) {
            return testing::AssertionFailure()
                   << "element " << i << " is " << actual[i] << ", expected " << expected[i];
        }
    }
    return testing::AssertionSuccess();
}

// One stored case: the node, and its tensors by name.
struct NodeCase {
    OnnxNode node;
    std::map<std::string, OnnxTensor> tensors;

    explicit NodeCase(const std::string& name) {
        const std::string folder = "data/onnx-node/" + name;
        const OnnxModel model = read_onnx_model(shared_path(folder + "/model.onnx"));
        if (model.nodes.size() != 1) throw std::runtime_error(name + ": not one node");
        node = model.nodes[0];
        const auto load = [&](const std::string& kind, size_t i) {
            return read_onnx_tensor(
                shared_path(folder + "/test_data_set_0/" + kind + std::to_string(i) + ".pb"));
        };
        for (size_t i = 0; i < model.graph_inputs.size(); ++i) {
            tensors[model.graph_inputs[i]] = load("input_", i);
        }
        for (size_t i = 0; i < model.graph_outputs.size(); ++i) {
            tensors[model.graph_outputs[i]] = load("output_", i);
        }
    }
    // Null where it is left out.
    const OnnxTensor* input(size_t i) const {
        return i < node.inputs.size() && !node.inputs[i].empty() ? &tensors.at(node.inputs[i])
                                                                 : nullptr;
    }
    const OnnxTensor* output(size_t i) const {
        return i < node.outputs.size() && !node.outputs[i].empty() ? &tensors.at(node.outputs[i])
                                                                   : nullptr;
    }
    int64_t integer(const char* name, int64_t otherwise) const {
        const auto found = node.attributes.find(name);
        return found == node.attributes.end() ? otherwise : found->second.integer;
    }
    double real(const char* name, double otherwise) const {
        const auto found = node.attributes.find(name);
        return found == node.attributes.end() ? otherwise : found->second.real;
    }
};

// (B,H,L,d), or (B,L,H*d) with the number of heads given, as (B,L,H,d).
Tensor by_tokens(const OnnxTensor& t, int64_t heads, DType dtype) {
    const Tensor all(dtype, t.shape, t.values);
    if (t.shape.size() == 4) return all.permute({0, 2, 1, 3});
    return all.reshape({t.shape[0], t.shape[1], heads, t.shape[2] / heads});
}

// past (B,H,P,d) before new (B,L,H,d), as (B,P+L,H,d).
Tensor joined(const OnnxTensor* past, const Tensor& fresh) {
    if (past == nullptr) return fresh;
    const Tensor old = Tensor(fresh.dtype(), past->shape, past->values).permute({0, 2, 1, 3});
    Shape shape = fresh.shape();
    shape[1] += old.size(1);
    Tensor all(fresh.dtype(), shape);
    for (int64_t b = 0; b < shape[0]; ++b) {
        for (int64_t t = 0; t < shape[1]; ++t) {
            for (int64_t h = 0; h < shape[2]; ++h) {
                for (int64_t d = 0; d < shape[3]; ++d) {
                    const double value = t < old.size(1) ? old.at({b, t, h, d})
                                                         : fresh.at({b, t - old.size(1), h, d});
                    all.set({b, t, h, d}, value);
                }
            }
        }
    }
    return all;
}

// A mask that broadcasts to (B,H,Lq,Lk).
Tensor pairs(const OnnxTensor& t, DType dtype, const Shape& full) {
    Shape shape = t.shape;
    while (shape.size() < 4) shape.insert(shape.begin(), 1);
    Tensor mask(dtype, shape, t.values);
    for (size_t axis = 0; axis < 4; ++axis) {
        if (shape[axis] == 1 && full[axis] != 1) mask = mask.broadcast(axis, full[axis]);
    }
    return mask;
}

void run_attention(const NodeCase& c) {
    const OnnxTensor &q = *c.input(0), &y = *c.output(0);
    const bool by_heads = q.shape.size() == 4;
    const int64_t H = by_heads ? q.shape[1] : c.integer("q_num_heads", 0);
    const int64_t Hk = by_heads ? c.input(1)->shape[1] : c.integer("kv_num_heads", 0);
    for (const auto& [name, attribute] : c.node.attributes) {
        ASSERT_TRUE(name == "q_num_heads" || name == "kv_num_heads" || name == "is_causal" ||
                    name == "scale" || name == "softcap" || name == "qk_matmul_output_mode")
            << name;
    }
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Tensor queries = by_tokens(q, H, dtype);
        const Tensor k = joined(c.input(4), by_tokens(*c.input(1), Hk, dtype));
        const Tensor v = joined(c.input(5), by_tokens(*c.input(2), Hk, dtype));
        const int64_t B = queries.size(0), Lq = queries.size(1), Lk = k.size(1);
        const int64_t past = c.input(4) != nullptr ? c.input(4)->shape[2] : 0;
        const OnnxTensor* lengths = c.input(6);
        Config config;
        config.set("heads", H)
            .set("kv_heads", Hk)
            .set("head_dim", queries.size(3))
            .set("value_dim", v.size(3))
            .set("scale", c.real("scale", 0))
            .set("softcap", c.real("softcap", 0))
            .set("causal", c.integer("is_causal", 0) != 0)
            .set("align", lengths != nullptr ? "end" : "start")
            .set("offset", past);
        const Context context = make_context(level.c_str());
        const Layer layer = make_op(context, "attention_op", config);
        const Tensor out = Tensor::filled(dtype, {B, Lq, H, v.size(3)}, -777);
        const auto add_inputs = [&](Args& args) {
            args.add("q", queries).add("k", k).add("v", v);
            if (const OnnxTensor* mask = c.input(3)) {
                const bool truth = mask->data_type == 9;
                args.add(truth ? "mask" : "bias",
                         pairs(*mask, truth ? DType::u8 : dtype, {B, H, Lq, Lk}));
            }
        };
        Args args(layer);
        add_inputs(args);
        args.add("y", out);
        if (lengths != nullptr) {
            args.add("lengths_k", Tensor::i64(std::vector<int64_t>(lengths->values.begin(),
                                                                   lengths->values.end())));
        }
        forward(layer, args);
        const Tensor got =
            by_heads ? out.permute({0, 2, 1, 3}) : out.reshape({B, Lq, H * v.size(3)});
        ASSERT_EQ(got.shape(), y.shape);
        EXPECT_TRUE(onnx_close(got.values(), y.values));
        if (const OnnxTensor* qk = c.output(3)) {
            ASSERT_EQ(lengths, nullptr);
            const int32_t kinds[] = {1, 2, 3, 0};  // raw, capped, masked, softmax
            seqmix_materialize_options options = {};
            options.struct_size = sizeof options;
            options.kind = kinds[c.integer("qk_matmul_output_mode", 0)];
            const Tensor matrix = Tensor::filled(DType::f64, {B, H, Lq, Lk}, -777);
            const seqmix_tensor m = matrix.c();
            Args inputs(layer);
            add_inputs(inputs);
            check(seqmix_layer_materialize(layer.get(), nullptr, inputs.data(), inputs.size(),
                                           &options, &m, nullptr, nullptr),
                  "materialize");
            ASSERT_EQ(matrix.shape(), qk->shape);
            EXPECT_TRUE(onnx_close(matrix.values(), qk->values)) << "qk_matmul_output";
        }
        for (const auto& [i, all] : {std::pair{size_t{1}, &k}, {size_t{2}, &v}}) {
            if (const OnnxTensor* present = c.output(i)) {
                EXPECT_TRUE(onnx_close(all->permute({0, 2, 1, 3}).values(), present->values));
            }
        }
    }
}

void run_rotary(const NodeCase& c) {
    const OnnxTensor &x = *c.input(0), &cosine = *c.input(1), &sine = *c.input(2);
    const OnnxTensor* ids = c.input(3);
    const bool by_heads = x.shape.size() == 4;
    const int64_t H = by_heads ? x.shape[1] : c.integer("num_heads", 0);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Tensor in = by_tokens(x, H, dtype);
        const int64_t B = in.size(0), T = in.size(1), P = cosine.shape.back();
        // Tables by position become tables by token.
        const auto table = [&](const OnnxTensor& from) {
            Tensor rows(dtype, {B, T, P});
            for (int64_t t = 0; t < B * T; ++t) {
                const int64_t row =
                    ids != nullptr ? static_cast<int64_t>(ids->values[static_cast<size_t>(t)]) : t;
                for (int64_t i = 0; i < P; ++i) {
                    rows.set({t / T, t % T, i}, from.values[static_cast<size_t>(row * P + i)]);
                }
            }
            return rows;
        };
        const Context context = make_context(level.c_str());
        const Layer layer = make_op(context, "rope_op",
                                    Config()
                                        .set("heads", H)
                                        .set("head_dim", in.size(3))
                                        .set("rotary_dim", c.integer("rotary_embedding_dim", 0))
                                        .set("interleaved", c.integer("interleaved", 0) != 0));
        const Tensor out = Tensor::filled(dtype, in.shape(), -777);
        Args args(layer);
        args.add("x", in).add("cos", table(cosine)).add("sin", table(sine)).add("y", out);
        forward(layer, args);
        const Tensor got = by_heads ? out.permute({0, 2, 1, 3}) : out.reshape(x.shape);
        EXPECT_TRUE(onnx_close(got.values(), c.output(0)->values));
    }
}

std::vector<std::string> cases(const std::string& prefix) {
    return glob_cases(shared_path("data/onnx-node"), prefix);
}

bool out_of_scope(const NodeCase& c) {
    return c.node.attributes.contains("score_mod") || c.node.attributes.contains("prob_mod");
}

TEST(OnnxAttention, EveryCase) {
    SEQMIX_NEED_SHARED("data/onnx-node");
    const std::vector<std::string> names = cases("test_attention_");
    EXPECT_EQ(names.size(), 67u);
    for (const std::string& name : names) {
        SCOPED_TRACE(name);
        run_attention(NodeCase(name));
    }
}

TEST(OnnxFlexAttention, EveryCaseWithoutSubgraphs) {
    SEQMIX_NEED_SHARED("data/onnx-node");
    size_t run = 0;
    for (const std::string& name : cases("test_flexattention")) {
        SCOPED_TRACE(name);
        const NodeCase c(name);
        if (!out_of_scope(c)) {
            run_attention(c);
            ++run;
        }
    }
    EXPECT_EQ(run, 5u);
    EXPECT_EQ(cases("test_flexattention").size(), 8u);
}

TEST(OnnxRotaryEmbedding, EveryCase) {
    SEQMIX_NEED_SHARED("data/onnx-node");
    const std::vector<std::string> names = cases("test_rotary_embedding");
    EXPECT_EQ(names.size(), 6u);
    for (const std::string& name : names) {
        SCOPED_TRACE(name);
        run_rotary(NodeCase(name));
    }
}

}  // namespace
