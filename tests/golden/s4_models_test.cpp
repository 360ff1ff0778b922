// Checkpoints of single S4 and S4D blocks as their authors save them (a plain state dict, a Lightning
// file, the minimal module), opened as models: what the whole sequence gives, and step by step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

struct Case {
    const char* folder;
    const char* weights;
    bool channels_first;  // u and y are (B,H,L)
    const char* mixer;
};

constexpr Case kCases[] = {
    {"s4-op-block-dplr", "state_dict.pt", false, "s4"},
    {"s4-op-block-diag-ckpt", "model.ckpt", false, "s4d"},
    {"s4-op-s4d-minimal", "state_dict.pt", true, "s4d"},
};

TEST(S4Checkpoints, BlocksAreTheAuthors) {
    for (const Case& one : kCases) {
        const std::string folder = std::string("golden/") + one.folder;
        SEQMIX_NEED_SHARED(folder);
        SCOPED_TRACE(one.folder);
        const SafetensorsFile file(shared_path(folder + "/expected.safetensors"));
        for (const std::string& level : levels()) {
            SCOPED_TRACE(level);
            const DType dtype = real_dtype(level);
            const Context context = make_context(level.c_str());
            const Layer model = open_model(context, shared_path(folder + "/" + one.weights));
            Tensor u = load_tensor(file, "in.u", dtype), y = load_tensor(file, "out.y", DType::f64);
            if (one.channels_first) {
                u = u.permute({0, 2, 1});
                y = y.permute({0, 2, 1});
            }
            const auto run_from = [&](const State& state, const Tensor& x) {
                const Tensor out(dtype, x.shape());
                Args args(model);
                args.add("embeds", x).add("hidden", out);
                forward(model, state, args);
                return out;
            };
            const double limit = tolerance(file, level);
            const State state = make_state(model, u.size(0));
            EXPECT_TRUE(close_to(run_from(state, u).values(), y.values(), limit));
            const State steps = make_state(model, u.size(0));
            Tensor joined(dtype, u.shape());
            for (int64_t t = 0; t < u.size(1); ++t) {
                joined.slice(1, t, 1).assign(run_from(steps, u.slice(1, t, 1)).values());
            }
            EXPECT_TRUE(close_to(joined.values(), y.values(), limit));
            const Layer block = child(model, 0);
            EXPECT_THAT(seqmix_layer_kernel_name(block.get()),
                        testing::StartsWith(std::string(one.mixer) + "/"));
        }
    }
}

}  // namespace
