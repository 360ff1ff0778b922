// HyenaDNA as its authors save it and as the port to transformers does: logits, the residual stream
// after every layer, single steps; the same numbers from both files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

class HyenaDna : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        SEQMIX_NEED_SHARED("golden/" + GetParam());
        folder_ = shared_path("golden/" + GetParam());
        file_ = std::make_unique<SafetensorsFile>(folder_ + "/expected.safetensors");
    }
    // The authors' window reads its times from a buffer that the file rounds to f32; ours are exact.
    double limit(const std::string& level) const {
        return is_reference(level) ? 2e-7 : tolerance(*file_, level);
    }
    std::string folder_;
    std::unique_ptr<SafetensorsFile> file_;
};

TEST_P(HyenaDna, WholeAndStepByStep) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer model = open_model(context, folder_);
        const Tensor ids = load_tensor(*file_, "input_ids", DType::i64);
        const Tensor logits = load_tensor(*file_, "logits", DType::f64);
        const State whole = make_state(model, ids.size(0));
        EXPECT_TRUE(close_to(run(model, whole, ids, "logits", dtype).values(), logits.values(),
                             limit(level)));
        const State steps = make_state(model, ids.size(0));
        Tensor joined(dtype, logits.shape());
        for (int64_t t = 0; t < ids.size(1); ++t) {
            joined.slice(1, t, 1).assign(
                run(model, steps, ids.slice(1, t, 1), "logits", dtype).values());
        }
        EXPECT_TRUE(close_to(joined.values(), logits.values(), limit(level)));
    }
}

// A layer of the checkpoint is two blocks: the operator's and the MLP's.
TEST_P(HyenaDna, ResidualStream) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer model = open_model(context, folder_);
        const State state = make_state(model, file_->shape("input_ids")[0]);
        Tensor x = load_tensor(*file_, "input_ids", DType::i64);
        const std::vector<std::pair<size_t, std::string>> named = {
            {2, "hidden.0"}, {4, "hidden.1"}, {5, "hidden_ln_f"}, {6, "logits"}};
        size_t compared = 0;
        for (size_t i = 0; i < seqmix_layer_child_count(model.get()); ++i) {
            x = run(child(model, i), child(state, i), x, "y", dtype);
            for (const auto& [index, name] : named) {
                if (index == i) {
                    EXPECT_TRUE(close_to(x.values(), file_->doubles(name), limit(level))) << name;
                    ++compared;
                }
            }
        }
        EXPECT_EQ(compared, named.size());
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, HyenaDna,
                         testing::Values("longconv-op-hyenadna-hf",
                                         "longconv-op-hyenadna-original"),
                         [](const auto& info) { return test_name(info.param); });

}  // namespace
