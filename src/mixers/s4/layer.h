// What s4, s4d and dss share: plan, bound layer and run.
#pragma once

#include <vector>

#include "contract/linear.h"
#include "contract/mixer.h"
#include "mixers/s4/reference.h"
#include "primitives/diagonal_scan/diagonal_scan.h"
#include "primitives/elementwise/kernel.h"
#include "primitives/long_conv/long_conv.h"

namespace seqmix::mixers::s4 {

// Slot numbers, the same in the three types.
enum : int32_t {
    kX = 0,
    kY = 1,
    kStep = 2,
    kAReal = 3,
    kAImag = 4,
    kB = 5,
    kC = 6,
    kP = 7,
    kD = 8,
    kOutput = 9,
    kOutputBias = 10,
    kPoles = 11,
    kResidues = 12,
    kDirectStep = 13,
    kLambda = 14,  // dss
    kW = 15,
    kLogDt = 16,
    kState = 30
};

struct S4Plan : Plan {
    reference::S4Kind kind;
    reference::S4Rule rule;
    reference::S4Transform step_transform, real_transform, imag_transform;
    int64_t D, M, S, C, K;  // width, modes, copies, outputs per channel, kernels per channel
    int64_t rank, step_columns, rows, kernel_length, l_kernel;
    double factor, imag_sign, rate, clip;
    bool real, poles, gelu, glu, bidirectional;
    int64_t conv_floats = 0;  // bidirectional: scratch of a worker
    LongConvShape conv() const {
        return {D, kernel_length, kernel_length, kernel_length, LongConvSides::pad_flip};
    }
};

// The parameters in double, as they are stored, whatever the type; and what they mean (system.cpp).
struct Parameters {
    std::vector<double> step, A_real, A_imag, B, C, P, skip, weight, bias;
    Parameters(const S4Plan& plan, const Weights& weights);
    reference::S4Ref view(const S4Plan& plan) const;
};

// The causal kernels (first = 0), or those that read from the end (first = C). Fails where no C can be
// found to a folded one.
Status make_system(const S4Plan& plan, const Parameters& parameters, int64_t first,
                   DiagonalSystem* system);

// The same kernels as taps, K (length, C D): the Vandermonde product, or the generating function.
Status make_kernels(const S4Plan& plan, const Parameters& parameters, int64_t first, int64_t length,
                    Isa isa, float* K);

// describe's common part: reads what the three types share, and resolves the slots.
Status describe_layer(const Schema& schema, const Attributes& given, S4Plan& plan);
reference::S4Transform transform_named(const std::string& name);

Status bind(const BindCall& call, std::unique_ptr<Bound>& out);
size_t scratch(const Plan& plan, const StepShape& step);
void run(const Bound& bound, const Call& call);
void run_reference(const Bound& bound, const Call& call);
LaneInfo lanes(const Plan& plan);
void materialize(const Bound& bound, const MaterializeCall& call);
void init(const Plan& plan, const Slot& slot, Random& random, double* out);

}  // namespace seqmix::mixers::s4
