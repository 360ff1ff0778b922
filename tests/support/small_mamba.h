// A small Mamba block with random weights: what the tests of states and calls run on.
#pragma once

#include <string>

#include "capi.h"

namespace seqmix_test {

struct SmallMamba {
    static constexpr int64_t kD = 8, kE = 16, kN = 4, kK = 4, kR = 2;

    static Config config() {
        return Config()
            .set("d_model", kD)
            .set("d_inner", kE)
            .set("d_state", kN)
            .set("d_conv", kK)
            .set("dt_rank", kR);
    }

    explicit SmallMamba(Context ctx, uint64_t seed = 7, Config cfg = config())
        : context(std::move(ctx)),
          planned(plan(context, "mamba", cfg)),
          weights(init_weights(planned, seed)),
          layer(bind(planned, weights)),
          dtype(DType::f32) {}
    explicit SmallMamba(const char* isa = nullptr, uint64_t seed = 7)
        : SmallMamba(make_context(isa), seed) {}

    // y of x (B,T,D).
    Tensor operator()(const State& state, const Tensor& x) const {
        return run(layer, state, x, "y", dtype);
    }
    Tensor input(int64_t batch, int64_t tokens, uint64_t seed = 1) const {
        return noise(dtype, {batch, tokens, kD}, seed);
    }

    Context context;
    Layer planned;
    Weights weights;
    Layer layer;
    DType dtype;
};

}  // namespace seqmix_test
