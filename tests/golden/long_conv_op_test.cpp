// long_conv_op against the files made with HazyResearch/safari's fftconv. Their tensors are (B,D,L); the
// operation sees them as (B,T,D) views of the same bytes.
#include <gtest/gtest.h>

#include "../support/golden_case.h"

namespace {

using namespace seqmix_test;

const std::vector<std::string>& fft_cases() {
    static const std::vector<std::string> names = {"longconv-op-fft-l1", "longconv-op-fft-l100",
                                                   "longconv-op-fft-l257",
                                                   "longconv-op-fft-rev-l64"};
    return names;
}

class LongConvOp : public testing::TestWithParam<std::string> {};

TEST_P(LongConvOp, Agrees) {
    SEQMIX_NEED_SHARED("golden/" + GetParam() + ".safetensors");
    const SafetensorsFile file(shared_path("golden/" + GetParam() + ".safetensors"));
    const bool two_sided = file.has("in.k_rev");
    for (const std::string& level : levels()) {
        const DType dtype = real_dtype(level);
        const Shape taps = file.shape("in.k");
        const Context context = make_context(level.c_str());
        const Layer layer = make_op(context, "long_conv_op",
                                    Config()
                                        .set("d_model", taps[0])
                                        .set("taps", taps[1])
                                        .set("sides", two_sided ? "conjugate" : "causal"));
        const Tensor y = Tensor::filled(dtype, file.shape("out.y"), -777);
        Args args(layer);
        args.add("x", load_tensor(file, "in.u", dtype).permute({0, 2, 1}))
            .add("k", load_tensor(file, "in.k", dtype))
            .add("skip", load_tensor(file, "in.D", dtype))
            .add("y", y.permute({0, 2, 1}));
        if (two_sided) args.add("k_after", load_tensor(file, "in.k_rev", dtype));
        forward(layer, args);
        EXPECT_TRUE(close_to(y.values(), file.doubles("out.y"), tolerance(file, level))) << level;
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, LongConvOp, testing::ValuesIn(fft_cases()),
                         [](const auto& info) { return test_name(info.param); });

// Every file of the folder is asked for somewhere: the other seven are layers and models
// (unit/long_conv_layers_test.cpp, and the schemes' tests).
TEST(LongConvOp, AllFilesAreKnown) {
    SEQMIX_NEED_SHARED("golden");
    EXPECT_EQ(glob_cases(shared_path("golden"), "longconv-op-").size(), 11u);
    EXPECT_EQ(glob_cases(shared_path("golden"), "longconv-op-fft"), fft_cases());
}

}  // namespace
