// monarch and monarch_mlp against small cases that tools/golden/monarch.py computes from the published
// equations: outputs, single steps, and the matrix of the gated convolution.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

const std::string kFolder = std::string(SEQMIX_SOURCE_DIR) + "/tests/golden/monarch/";

class Monarch : public testing::TestWithParam<std::string> {
  protected:
    Monarch() : file_(kFolder + GetParam() + ".safetensors") {}

    bool option(const char* name) const { return file_.metadata(name) == "true"; }
    Layer make(const Context& context, const char* type, std::initializer_list<const char*> sizes,
               std::initializer_list<const char*> flags) const {
        Config config;
        for (const char* name : sizes) {
            config.set(name, static_cast<int64_t>(std::stoll(file_.metadata(name))));
        }
        for (const char* name : flags) config.set(name, option(name));
        const Layer planned = plan(context, type, config);
        Args weights(planned);
        size_t used = 0;
        for (const std::string& name : file_.names()) {
            if (name.rfind("in.", 0) != 0 || name == "in.x") continue;
            weights.add(name.substr(3), load_tensor(file_, name, DType::f32));
            ++used;
        }
        EXPECT_EQ(used, file_.names().size() - (file_.has("out.matrix") ? 3 : 2));
        return bind(planned, weights);
    }
    SafetensorsFile file_;
};

class MonarchSequence : public Monarch {};
class MonarchChannels : public Monarch {};

TEST_P(MonarchSequence, OutputsAndMatrix) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer layer =
            make(context, "monarch", {"d_model", "l_max", "filter_order", "emb_dim"},
                 {"bidirectional", "residual"});
        const Tensor x = load_tensor(file_, "in.x", dtype);
        const Values y = file_.doubles("out.y");
        const double limit = is_reference(level) ? kReferenceTolerance : kF32Tolerance;
        const bool whole = option("bidirectional");
        const State state = whole ? State() : make_state(layer, 2);
        EXPECT_TRUE(close_to(run(layer, state, x, "y", dtype).values(), y, limit));
        if (!whole) {
            const State steps = make_state(layer, 2);
            Tensor joined(dtype, x.shape());
            for (int64_t t = 0; t < x.size(1); ++t) {
                joined.slice(1, t, 1).assign(
                    run(layer, steps, x.slice(1, t, 1), "y", dtype).values());
            }
            EXPECT_TRUE(close_to(joined.values(), y, limit));
        }
        // Of row 0; in double from the weights as stored, whatever the level.
        const int64_t D = x.size(2), T = x.size(1);
        Args args(layer);
        args.add("x", x.slice(0, 0, 1));
        seqmix_materialize_options options = {};
        options.struct_size = sizeof(options);
        options.count = T;
        const Tensor matrix(dtype, {1, D, T, T}), operand(dtype, {1, D, T, 1}),
            core(dtype, {1, D, T, 1});
        const seqmix_tensor m = matrix.c(), v = operand.c(), c = core.c();
        check(seqmix_layer_materialize(layer.get(), nullptr, args.data(), args.size(), &options, &m,
                                       &v, &c),
              "seqmix_layer_materialize");
        EXPECT_TRUE(close_to(matrix.values(), file_.doubles("out.matrix"),
                             is_reference(level) ? 1e-12 : 1e-6));
    }
}

TEST_P(MonarchChannels, Outputs) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer layer =
            make(context, "monarch_mlp", {"d_model", "d_hidden", "n_blocks"}, {"gated"});
        EXPECT_TRUE(close_to(
            run(layer, State(), load_tensor(file_, "in.x", dtype), "y", dtype).values(),
            file_.doubles("out.y"), is_reference(level) ? kReferenceTolerance : kF32Tolerance));
    }
}

const std::vector<std::string>& sequence_cases() {
    static const std::vector<std::string> names = {"bidirectional", "bidirectional-short", "causal",
                                                   "causal-plain"};
    return names;
}
const std::vector<std::string>& channel_cases() {
    static const std::vector<std::string> names = {"mlp-gated", "mlp-plain"};
    return names;
}
INSTANTIATE_TEST_SUITE_P(Golden, MonarchSequence, testing::ValuesIn(sequence_cases()),
                         [](const auto& info) { return test_name(info.param); });
INSTANTIATE_TEST_SUITE_P(Golden, MonarchChannels, testing::ValuesIn(channel_cases()),
                         [](const auto& info) { return test_name(info.param); });

TEST(MonarchCases, AreAllOfTheFolder) {
    std::vector<std::string> all = sequence_cases();
    all.insert(all.end(), channel_cases().begin(), channel_cases().end());
    EXPECT_EQ(glob_cases(kFolder, ""), all);
}

}  // namespace
