// The numbers worked out by hand in the specification of Mamba and of the short convolution: eight
// decimals at level reference in f64, 1e-5 elsewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "../support/capi.h"

namespace {

using namespace seqmix_test;

double decimals(const std::string& level) { return is_reference(level) ? 6e-9 : 1e-5; }

class WorkedNumbers : public testing::Test {
  protected:
    void expect_near(const Tensor& actual, const Values& expected, double tolerance) {
        EXPECT_LE(max_absolute_error(actual.values(), expected), tolerance)
            << testing::PrintToString(actual.values());
    }
};

// ------------------------------------------------------------------ selective scan

struct WorkedScan {
    explicit WorkedScan(const std::string& level)
        : dtype(real_dtype(level)),
          context(make_context(level.c_str())),
          layer(make_op(context, "selective_scan_op",
                        Config().set("d_inner", 1).set("d_state", 2).set("delta_softplus", true))) {
    }
    void add(Args& args) const {
        args.add("u", Tensor(dtype, {1, 4, 1}, {1, -2, .5, 3}));
        args.add("delta", Tensor(dtype, {1, 4, 1}, {0, 1, -1, .5}));
        args.add("delta_bias", Tensor(dtype, {1}, {-1}));
        args.add("A", Tensor(dtype, {1, 2}, {-1, -2})).add("D", Tensor(dtype, {1}, {.25}));
        args.add("B", Tensor(dtype, {1, 4, 2}, {1, .5, .2, -.3, -1, .4, .7, .1}));
        args.add("C", Tensor(dtype, {1, 4, 2}, {.5, 1, 1, -1, .3, .6, -.2, .9}));
    }
    DType dtype;
    Context context;
    Layer layer;
};

TEST_F(WorkedNumbers, ScanOutputsAndFinalState) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const WorkedScan scan(level);
        const Tensor y(scan.dtype, {1, 4, 1}), state(scan.dtype, {1, 1, 2});
        Args args(scan.layer);
        scan.add(args);
        args.add("y", y).add("state_out", state);
        forward(scan.layer, args);
        expect_near(y, {.56326169, -1.07567405, .30113329, .83197235}, decimals(level));
        expect_near(state, {.88992234, .28884091}, decimals(level));

        const Tensor gated(scan.dtype, {1, 4, 1});
        Args with_gate(scan.layer);
        scan.add(with_gate);
        with_gate.add("z", Tensor(scan.dtype, {1, 4, 1}, {1, .5, -1, 2})).add("y", gated);
        forward(scan.layer, with_gate);
        expect_near(gated, {.41177729, -.33478167, -.08098721, 1.46559763}, decimals(level));
    }
}

// The state after the first token of a scan with B = u = 1 is its step.
TEST_F(WorkedNumbers, ScanSteps) {
    const Values delta = {0, 1, -1, .5};
    const Values steps = {.31326169, .69314718, .12692801, .47407698};
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const WorkedScan scan(level);
        for (size_t t = 0; t < 4; ++t) {
            const Tensor y(scan.dtype, {1, 1, 1}), state(scan.dtype, {1, 1, 2});
            Args args(scan.layer);
            args.add("u", Tensor(scan.dtype, {1, 1, 1}, {1}));
            args.add("delta", Tensor(scan.dtype, {1, 1, 1}, {delta[t]}));
            args.add("delta_bias", Tensor(scan.dtype, {1}, {-1}));
            args.add("A", Tensor(scan.dtype, {1, 2}, {-1, -2}));
            args.add("B", Tensor(scan.dtype, {1, 2}, {1, 0}));
            args.add("C", Tensor(scan.dtype, {1, 2}, {1, 1}));
            args.add("y", y).add("state_out", state);
            forward(scan.layer, args);
            expect_near(y, {steps[t]}, decimals(level));
            expect_near(state, {steps[t], 0}, decimals(level));
        }
        // The simplified rule, not the exact zero-order hold (.26894142, .11638834).
        const Tensor y(scan.dtype, {1, 1, 1}), state(scan.dtype, {1, 1, 2});
        Args args(scan.layer);
        args.add("u", Tensor(scan.dtype, {1, 1, 1}, {1}));
        args.add("delta", Tensor(scan.dtype, {1, 1, 1}, {0}));
        args.add("delta_bias", Tensor(scan.dtype, {1}, {-1}));
        args.add("A", Tensor(scan.dtype, {1, 2}, {-1, -2}));
        args.add("B", Tensor(scan.dtype, {1, 2}, {1, .5}));
        args.add("C", Tensor(scan.dtype, {1, 2}, {1, 1}));
        args.add("y", y).add("state_out", state);
        forward(scan.layer, args);
        expect_near(state, {.31326169, .15663084}, decimals(level));
    }
}

TEST_F(WorkedNumbers, ScanMatrixRow) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const WorkedScan scan(level);
        Args args(scan.layer);
        scan.add(args);
        const Tensor y(scan.dtype, {1, 4, 1});
        args.add("y", y);
        seqmix_materialize_options options = {};
        options.struct_size = sizeof(options);
        options.first = 3;
        options.count = 1;
        const Tensor matrix(scan.dtype, {1, 1, 1, 4}), operand(scan.dtype, {1, 1, 4, 1}),
            core(scan.dtype, {1, 1, 1, 1});
        const seqmix_tensor m = matrix.c(), v = operand.c(), c = core.c();
        // `y` is an output of forward only; materialize takes the inputs.
        check(seqmix_layer_materialize(scan.layer.get(), nullptr, args.data(), args.size() - 1,
                                       &options, &m, &v, &c),
              "seqmix_layer_materialize");
        expect_near(matrix, {-.00658154, -.07145624, .03350593, .22629615}, decimals(level));
        expect_near(operand, {1, -2, .5, 3}, 0);
        expect_near(core, {.83197235}, decimals(level));
    }
}

// ------------------------------------------------------------------ short convolution

class WorkedConvolution : public WorkedNumbers {
  protected:
    void run_case(const std::string& level, const Values& state_in, const Values& seq_idx,
                  const Values& expected) {
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer layer = make_op(context, "causal_conv1d_op",
                                    Config().set("d_model", 1).set("width", 4).set("silu", false));
        const Tensor y(dtype, {1, 5, 1}), state_out(dtype, {1, 3, 1});
        Args args(layer);
        args.add("x", Tensor(dtype, {1, 5, 1}, {1, 2, 3, 4, 5})).add("y", y);
        args.add("weight", Tensor(dtype, {1, 4}, {.1, .2, .3, .4}));
        args.add("bias", Tensor(dtype, {1}, {.5})).add("state_out", state_out);
        if (!state_in.empty()) {
            args.add("state_in", Tensor(dtype, {1, 3, 1}, state_in));
        }
        if (!seq_idx.empty()) {
            args.add("seq_idx", Tensor(DType::i32, {1, 5}, seq_idx));
        }
        forward(layer, args);
        expect_near(y, expected, decimals(level));
        EXPECT_EQ(state_out.values(), (Values{3, 4, 5}));
    }
};

TEST_F(WorkedConvolution, PlainWithStateAndWithSequenceIds) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        run_case(level, {}, {}, {.9, 1.6, 2.5, 3.5, 4.5});
        run_case(level, {-1, -2, -3}, {}, {-.5, .8, 2.2, 3.5, 4.5});
        run_case(level, {}, {0, 0, 1, 1, 1}, {.9, 1.6, 1.7, 3.0, 4.3});
    }
}

// ------------------------------------------------------------------ the whole block

// Parameter tensor k with amplitude a: a * sin(0.5 + 1.3 i + 0.7 k), i the row-major index.
Tensor golden_fill(DType dtype, int k, double amplitude, const Shape& shape) {
    Values values(static_cast<size_t>(count_of(shape)));
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = amplitude * std::sin(0.5 + 1.3 * static_cast<double>(i) + 0.7 * k);
    }
    return Tensor(dtype, shape, values);
}

class WorkedBlock : public WorkedNumbers {
  protected:
    void run_case(const std::string& level, const char* inner_norm, const Values& expected,
                  const Values& final_state) {
        const DType dtype = real_dtype(level);
        const Context context = make_context(level.c_str());
        const Layer planned = plan(context, "mamba",
                                   Config()
                                       .set("d_model", 4)
                                       .set("d_inner", 8)
                                       .set("d_state", 3)
                                       .set("d_conv", 4)
                                       .set("dt_rank", 2)
                                       .set("bias", false)
                                       .set("conv_bias", true)
                                       .set("inner_norm", inner_norm)
                                       .set("inner_norm_eps", 1e-6));
        Values a_log(8 * 3);
        for (size_t i = 0; i < a_log.size(); ++i) {
            a_log[i] = std::log(static_cast<double>(i % 3 + 1));
        }
        const double dt_bias = .05 + std::log(-std::expm1(-.05));
        Args weights(planned);
        weights.add("in_proj.weight", golden_fill(dtype, 0, .5, {16, 4}));
        weights.add("conv1d.weight", golden_fill(dtype, 1, .5, {8, 4}));
        weights.add("conv1d.bias", golden_fill(dtype, 2, .1, {8}));
        weights.add("x_proj.weight", golden_fill(dtype, 3, .3, {8, 8}));
        weights.add("dt_proj.weight", golden_fill(dtype, 4, .3, {8, 2}));
        weights.add("dt_proj.bias", Tensor::filled(dtype, {8}, dt_bias));
        weights.add("A_log", Tensor(dtype, {8, 3}, a_log));
        weights.add("D", Tensor::filled(dtype, {8}, 1));
        weights.add("out_proj.weight", golden_fill(dtype, 6, .4, {4, 8}));
        const Layer layer = bind(planned, weights);

        Values u(5 * 4);
        for (size_t i = 0; i < u.size(); ++i) {
            u[i] = std::sin(0.2 + 0.9 * static_cast<double>(i));
        }
        const Tensor x(dtype, {1, 5, 4}, u);
        const State state = make_state(layer);
        const Tensor y = run(layer, state, x, "y", dtype);
        expect_near(y, expected, decimals(level));
        const Tensor h = get_state(layer, state, "ssm_state", 1, DType::f64);
        ASSERT_EQ(h.shape(), (Shape{1, 8, 3}));
        expect_near(h.slice(1, 0, 1), final_state, decimals(level));

        // One token at a time.
        const State stepped = make_state(layer);
        Values joined;
        for (int64_t t = 0; t < 5; ++t) {
            const Values row = run(layer, stepped, x.slice(1, t, 1), "y", dtype).values();
            joined.insert(joined.end(), row.begin(), row.end());
        }
        EXPECT_LE(max_absolute_error(joined, expected), decimals(level));
    }
};

TEST_F(WorkedBlock, Plain) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        run_case(level, "none", {.00725461,  -.02432038, .02003208,  .00184501,   //
                                 -.00754191, -.06498675, .08045500,  -.02528122,  //
                                 -.02375399, .02568083,  -.00505910, -.02000469,  //
                                 -.03940976, .02551484,  .01078291,  -.03761293,  //
                                 -.01508778, .00925885,  .00469965,  -.01453171},
                 {-.00089879, .00052866, .00016572});
    }
}

TEST_F(WorkedBlock, Falcon) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        run_case(level, "rms", {.00932553,  -.02877955, .02296422,  .00301442,   //
                                -.01001266, -.07217732, .09099334,  -.02991434,  //
                                -.02700047, .03654415,  -.01400092, -.02083556,  //
                                -.04850244, .02891970,  .01605545,  -.04693340,  //
                                -.01824138, .01893031,  -.00299783, -.01556683},
                 {-.01087403, .00703310, .00164553});
    }
}

}  // namespace
