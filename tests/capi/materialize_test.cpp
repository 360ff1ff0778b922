// The mixing matrix and its operands, against the layer's own output.
#include <gtest/gtest.h>

#include <cmath>

#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;

// What mamba makes of y_core: the gate silu(z), z the second half of in_proj, and out_proj.
TEST(Materialize, MambasOperandsGiveItsOutput) {
    constexpr int64_t kB = 2, kT = 9, kD = SmallMamba::kD, kE = SmallMamba::kE;
    const SmallMamba mamba;
    const Tensor x = mamba.input(kB, kT);
    const Tensor y = mamba(make_state(mamba.layer, kB), x);

    Args args(mamba.layer);
    args.add("x", x);
    const Tensor matrix(DType::f64, {kB, kE, kT, kT}), v(DType::f64, {kB, kE, kT, 1}),
        core(DType::f64, {kB, kE, kT, 1});
    const seqmix_tensor c_matrix = matrix.c(), c_v = v.c(), c_core = core.c();
    check(seqmix_layer_materialize(mamba.layer.get(), nullptr, args.data(), args.size(), nullptr,
                                   &c_matrix, &c_v, &c_core),
          "materialize");

    Weights weights = mamba.weights;
    const Tensor in_proj = weights["in_proj.weight"], out_proj = weights["out_proj.weight"];
    Values expected;
    for (int64_t b = 0; b < kB; ++b) {
        for (int64_t t = 0; t < kT; ++t) {
            Values gated;
            for (int64_t e = 0; e < kE; ++e) {
                double z = 0, product = 0;
                for (int64_t d = 0; d < kD; ++d) {
                    z += in_proj.at({kE + e, d}) * x.at({b, t, d});
                }
                for (int64_t s = 0; s <= t; ++s) {
                    product += matrix.at({b, e, t, s}) * v.at({b, e, s, 0});
                }
                EXPECT_NEAR(product, core.at({b, e, t, 0}), 1e-12);
                gated.push_back(product * z / (1 + std::exp(-z)));
            }
            for (int64_t d = 0; d < kD; ++d) {
                double sum = 0;
                for (int64_t e = 0; e < kE; ++e) {
                    sum += out_proj.at({d, e}) * gated[static_cast<size_t>(e)];
                }
                expected.push_back(sum);
            }
        }
    }
    EXPECT_TRUE(close_to(y.values(), expected, 1e-5));
}

}  // namespace
