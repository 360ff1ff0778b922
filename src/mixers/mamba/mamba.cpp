#include "mixers/mamba/mamba.h"

#include <cmath>

#include "contract/linear.h"
#include "contract/recurrent.h"
#include "contract/short_conv.h"
#include "mixers/mamba/reference.h"
#include "primitives/norm/kernel.h"
#include "primitives/selective_scan/kernel.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kInProj = 2,
    kInProjBias = 3,
    kConv = 4,
    kConvBias = 5,
    kXProj = 6,
    kDtProj = 7,
    kDtProjBias = 8,
    kALog = 9,
    kD = 10,
    kOutProj = 11,
    kOutProjBias = 12,
    kDtNorm = 13,
    kBNorm = 14,
    kCNorm = 15,
    kConvState = 30,
    kSsmState = 31
};
enum : size_t { kWindow = 0, kScan = 1 };  // order of the state tensors

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D of input and output"},
    {"d_inner", AttributeType::i64, "0", 0, kMaxSize, nullptr, "inner width E; 0 = 2 d_model"},
    {"d_state", AttributeType::i64, "16", 1, 65536, nullptr, "states N of a channel"},
    {"d_conv", AttributeType::i64, "4", 1, 4096, nullptr, "taps K of the convolution"},
    {"dt_rank", AttributeType::i64, "0", 0, kMaxSize, nullptr,
     "rank of the step's projection; 0 = ceil(d_model / 16)"},
    {"bias", AttributeType::boolean, "false", 0, 0, nullptr, "in_proj and out_proj have a bias"},
    {"conv_bias", AttributeType::boolean, "true", 0, 0, nullptr, "the convolution has a bias"},
    {"inner_norm", AttributeType::str, "none", 0, 0, "none|rms|rms_learned",
     "RMS norm of dt, B and C: without weights (FalconMamba) or with (Jamba)"},
    {"inner_norm_eps", AttributeType::f64, "1e-6", 0, 1, nullptr, "epsilon of that norm"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kInProj, "in_proj.weight", Role::weight, false, kWeight, "(2E,D)", "x rows, then gate rows"},
    {kInProjBias, "in_proj.bias", Role::weight, false, kWeight, "(2E)", "bias of in_proj"},
    {kConv, "conv1d.weight", Role::weight, false, kWeight, "(E,1,K)|(E,K)",
     "taps; tap K-1 meets the current token"},
    {kConvBias, "conv1d.bias", Role::weight, false, kWeight, "(E)", "bias of the convolution"},
    {kXProj, "x_proj.weight", Role::weight, false, kWeight, "(dt_rank+2N,E)", "dt, B, C rows"},
    {kDtProj, "dt_proj.weight", Role::weight, false, kWeight, "(E,dt_rank)",
     "the step's projection"},
    {kDtProjBias, "dt_proj.bias", Role::weight, false, kWeight, "(E)", "added before softplus"},
    {kALog, "A_log", Role::weight, false, kWeight, "(E,N)", "A = -exp(A_log)"},
    {kD, "D", Role::weight, false, kWeight, "(E)", "skip"},
    {kOutProj, "out_proj.weight", Role::weight, false, kWeight, "(D,E)", "output projection"},
    {kOutProjBias, "out_proj.bias", Role::weight, false, kWeight, "(D)", "bias of out_proj"},
    {kDtNorm, "dt_norm.weight", Role::weight, false, kWeight, "(dt_rank)", "RMS norm of dt"},
    {kBNorm, "b_norm.weight", Role::weight, false, kWeight, "(N)", "RMS norm of B"},
    {kCNorm, "c_norm.weight", Role::weight, false, kWeight, "(N)", "RMS norm of C"},
};
constexpr StateSpec kStates[] = {
    {kConvState, "conv_state", "(K-1,E)", false,
     "the last K-1 inputs of the convolution, oldest first"},
    {kSsmState, "ssm_state", "(E,N)", true, "h after the last token"},
};
constexpr Schema kSchema = {
    "mamba",
    "Mamba block: projections, short convolution, selective scan, gate",
    "Gu and Dao 2023, Mamba, section 3.4",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .reversible = true, .materialize = true},
    512,
};

struct MambaPlan : Plan {
    int64_t D, E, N, K, R;
    bool inner_norm;
    double inner_norm_eps;
    int64_t bcdt() const { return R + 2 * N; }
    int64_t scan_block() const { return selective_scan_channels(E, N); }
    // Floats of the scan kernel's scratch, for one worker.
    int64_t scan_scratch() const { return selective_scan_scratch(scan_block(), N, 0); }
    // Doubles of the reference's, likewise.
    int64_t reference_scratch() const { return reference::mamba_scratch(E, N, R); }
};

// All weights in double.
struct Weights64 : WeightsF64 {
    reference::MambaRef ref{};

    Weights64(const MambaPlan& plan, const Weights& weights, Allocator allocator)
        : WeightsF64(weights, kInProj, kCNorm, allocator) {
        const WeightsF64& all = *this;
        ref.D = plan.D;
        ref.E = plan.E;
        ref.N = plan.N;
        ref.K = plan.K;
        ref.R = plan.R;
        ref.inner_norm = plan.inner_norm;
        ref.inner_norm_eps = plan.inner_norm_eps;
        ref.in_proj = all[kInProj];
        ref.in_proj_bias = all[kInProjBias];
        ref.conv = all[kConv];
        ref.conv_bias = all[kConvBias];
        ref.x_proj = all[kXProj];
        ref.dt_proj = all[kDtProj];
        ref.dt_proj_bias = all[kDtProjBias];
        ref.A_log = all[kALog];
        ref.skip = all[kD];
        ref.out_proj = all[kOutProj];
        ref.out_proj_bias = all[kOutProjBias];
        ref.dt_norm = all[kDtNorm];
        ref.b_norm = all[kBNorm];
        ref.c_norm = all[kCNorm];
    }
};

struct MambaBound : Bound {
    const MambaPlan* plan;
    const Weights* weights;
    Allocator allocator;
    const SelectiveScanKernels* scan;
    const NormKernels* norm;
    Linear in_proj, x_proj, dt_proj, out_proj;
    ShortConv conv;
    Array<float> dt_bias, skip;
    Array<float> A;  // (N,E)
    Array<float> dt_norm, b_norm, c_norm;
    std::unique_ptr<const Weights64> weights64;  // level reference only
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<MambaPlan>();
    plan->attributes = given;
    plan->D = given.i64("d_model");
    plan->E = given.i64("d_inner") != 0 ? given.i64("d_inner") : 2 * plan->D;
    plan->N = given.i64("d_state");
    plan->K = given.i64("d_conv");
    plan->R = given.i64("dt_rank") != 0 ? given.i64("dt_rank") : (plan->D + 15) / 16;
    plan->attributes.set("d_inner", plan->E);
    plan->attributes.set("dt_rank", plan->R);
    plan->inner_norm = given.str("inner_norm") != "none";
    plan->inner_norm_eps = given.f64("inner_norm_eps");
    plan->sizes = {
        {"D", plan->D}, {"E", plan->E}, {"N", plan->N}, {"K", plan->K}, {"dt_rank", plan->R}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (!given.flag("bias")) {
        remove_slot(*plan, "in_proj.bias");
        remove_slot(*plan, "out_proj.bias");
    }
    if (!given.flag("conv_bias")) {
        remove_slot(*plan, "conv1d.bias");
    }
    if (given.str("inner_norm") != "rms_learned") {
        remove_slot(*plan, "dt_norm.weight");
        remove_slot(*plan, "b_norm.weight");
        remove_slot(*plan, "c_norm.weight");
    }
    out = std::move(plan);
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<MambaBound>();
    const auto& plan = static_cast<const MambaPlan&>(call.plan);
    const auto weight = [&](int32_t slot) { return call.weights.get(slot); };
    bound->plan = &plan;
    bound->weights = &call.weights;
    bound->allocator = call.allocator;
    bound->scan = SEQMIX_SELECT_KERNELS(call.isa, selective_scan_kernels);
    bound->norm = SEQMIX_SELECT_KERNELS(call.isa, norm_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("mamba", call.isa);
    if (call.isa == Isa::reference) {
        bound->weights64 = std::make_unique<Weights64>(plan, call.weights, call.allocator);
    } else {
        bound->in_proj.bind(weight(kInProj), weight(kInProjBias), 2 * plan.E, plan.D, call);
        bound->x_proj.bind(weight(kXProj), Weight(), plan.bcdt(), plan.E, call);
        bound->dt_proj.bind(weight(kDtProj), Weight(), plan.E, plan.R, call);
        bound->out_proj.bind(weight(kOutProj), weight(kOutProjBias), plan.D, plan.E, call);
        bound->conv.bind(weight(kConv), weight(kConvBias), plan.E, plan.K, call);
        bound->dt_bias = weight_f32(weight(kDtProjBias), call.allocator);
        bound->skip = weight_f32(weight(kD), call.allocator);
        bound->dt_norm = weight_f32(weight(kDtNorm), call.allocator);
        bound->b_norm = weight_f32(weight(kBNorm), call.allocator);
        bound->c_norm = weight_f32(weight(kCNorm), call.allocator);
        const Weight log = weight(kALog);
        bound->A = Array<float>(plan.E * plan.N, call.allocator);
        const int64_t most = std::max<int64_t>(1024 / plan.N, 1);  // rows that stay in the caches
        Array<double> rows(most * plan.N, call.allocator);
        for (int64_t e = 0; e < plan.E; e += most) {
            const int64_t count = std::min(most, plan.E - e);
            weight_exp(log, call.isa, e * plan.N, count * plan.N, rows.data());
            for (int64_t n = 0; n < plan.N; ++n) {
                for (int64_t i = 0; i < count; ++i) {
                    bound->A[n * plan.E + e + i] = static_cast<float>(-rows[i * plan.N + n]);
                }
            }
        }
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const MambaPlan&>(base);
    if (step.real64) {
        return Scratch::round_up(static_cast<size_t>(step.rows * plan.E * plan.N) * 8) +
               Scratch::round_up(step.workers * static_cast<size_t>(plan.reference_scratch()) * 8);
    }
    const auto floats = [&](int64_t width) {
        return Scratch::round_up(static_cast<size_t>(step.tokens * width) * 4);
    };
    return floats(2 * plan.E) + 2 * floats(plan.E) + floats(plan.bcdt()) +
           Linear::scratch_bytes(step.workers) +
           step.workers * Scratch::round_up(static_cast<size_t>(plan.scan_scratch()) * 4);
}

// delta (tokens,E) -> gated output, in place.
void scan(const MambaBound& bound, const Call& call, const float* xz, const float* x,
          const float* bcdt, float* delta, float* kernel_scratch) {
    const MambaPlan& plan = *bound.plan;
    const int64_t width = plan.bcdt();
    const auto scan_block = [&](const Segment& segment, int64_t e, int64_t channels, int64_t,
                                float* h, int64_t worker) {
        SelectiveScanArgs args{};
        args.tokens = segment.count;
        args.channels = channels;
        args.states = plan.N;
        args.u = x + segment.first * plan.E + e;
        args.u_stride = plan.E;
        args.delta = delta + segment.first * plan.E + e;
        args.delta_stride = plan.E;
        args.delta_bias = bound.dt_bias.data() + e;
        args.A = bound.A.data() + e;
        args.A_stride = plan.E;
        args.B = bcdt + segment.first * width + plan.R;
        args.B_stride = width;
        args.C = args.B + plan.N;
        args.C_stride = width;
        args.B_per_token = true;
        args.C_per_token = true;
        args.softplus = true;
        args.D = bound.skip.data() + e;
        args.z = xz + segment.first * 2 * plan.E + plan.E + e;
        args.z_stride = 2 * plan.E;
        args.h = h;
        args.h_stride = plan.E;
        args.y = delta + segment.first * plan.E + e;
        args.y_stride = plan.E;
        args.scratch = kernel_scratch + worker * plan.scan_scratch();
        bound.scan->scan(args);
    };
    for_each_channel_block(call, kScan, plan.N, plan.E, 1, plan.scan_block(), scan_block);
}

// RMS norms of dt, B and C, in place.
void normalise(const MambaBound& bound, const Call& call, float* bcdt) {
    const MambaPlan& plan = *bound.plan;
    const int64_t width = plan.bcdt();
    constexpr int64_t kRows = 64;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t first = piece * kRows;
        const auto part = [&](int64_t at, int64_t size, const Array<float>& weight) {
            NormArgs args{};
            args.rows = std::min(kRows, call.tokens - first);
            args.width = size;
            args.x = bcdt + first * width + at;
            args.x_stride = width;
            args.weight = weight.data();
            args.eps = static_cast<float>(plan.inner_norm_eps);
            args.y = bcdt + first * width + at;
            args.y_stride = width;
            bound.norm->rms_norm(args);
        };
        part(0, plan.R, bound.dt_norm);
        part(plan.R, plan.N, bound.b_norm);
        part(plan.R + plan.N, plan.N, bound.c_norm);
    });
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MambaBound&>(base);
    const MambaPlan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    float* xz = scratch.take<float>(call.tokens * 2 * plan.E);
    float* x = scratch.take<float>(call.tokens * plan.E);
    float* delta = scratch.take<float>(call.tokens * plan.E);
    float* bcdt = scratch.take<float>(call.tokens * plan.bcdt());
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    auto* kernel_scratch =
        scratch.take<float>(static_cast<int64_t>(call.runner.workers) * plan.scan_scratch());
    const Matrix &in = call.slot(kX), &out = call.slot(kY);
    bound.in_proj.run(call, call.tokens, in.as<float>(), in.stride, xz, 2 * plan.E, gemm);
    bound.conv.run(call, kWindow, xz, 2 * plan.E, x, plan.E, true);
    bound.x_proj.run(call, call.tokens, x, plan.E, bcdt, plan.bcdt(), gemm);
    if (plan.inner_norm) {
        normalise(bound, call, bcdt);
    }
    bound.dt_proj.run(call, call.tokens, bcdt, plan.bcdt(), delta, plan.E, gemm);
    scan(bound, call, xz, x, bcdt, delta, kernel_scratch);
    bound.out_proj.run(call, call.tokens, delta, plan.E, out.as<float>(), out.stride, gemm);
}

// ------------------------------------------------------------------ reference

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const MambaBound&>(base);
    const MambaPlan& plan = *bound.plan;
    const Weights64& weights = *bound.weights64;
    Scratch scratch = call.scratch;
    double* states = scratch.take<double>(call.rows * plan.E * plan.N);
    double* tokens =
        scratch.take<double>(static_cast<int64_t>(call.runner.workers) * plan.reference_scratch());
    const Matrix &in = call.slot(kX), &out = call.slot(kY);
    call.parallel_for(call.run_count, [&](int64_t r, size_t worker) {
        const RowRun& run = call.runs[r];
        double* window = call.state<double>(kWindow, run.state_row);
        double* kept = call.state<double>(kScan, run.state_row);
        double* h = states + call.segments[run.first].row * plan.E * plan.N;
        transpose_dense(kept, plan.N, plan.E, h);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                std::fill_n(h, plan.E * plan.N, 0.0);
                zero_columns(window, plan.K - 1, plan.E, 0, plan.E);
            }
            reference::MambaRef ref = weights.ref;
            ref.T = segment.count;
            ref.u = in.as<double>() + segment.first * in.stride;
            ref.window = window;
            ref.h = h;
            ref.y = out.as<double>() + segment.first * out.stride;
            ref.scratch = tokens + static_cast<int64_t>(worker) * plan.reference_scratch();
            reference::mamba(ref);
        }
        transpose_dense(h, plan.E, plan.N, kept);
    });
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const MambaPlan&>(plan).E, 1}; }

// v is the recurrence's input (after convolution and SiLU), y_core its output with the skip, before
// the gate. M[i,j] = sum_n C_i exp(A sum_{s=j+1..i} dt_s) dt_j B_j, and D on the diagonal.
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& bound = static_cast<const MambaBound&>(base);
    const MambaPlan& plan = *bound.plan;
    Weights64 weights(plan, *bound.weights, bound.allocator);
    const int64_t T = call.tokens, E = plan.E, N = plan.N;
    const auto array = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n)); };
    std::vector<double> window = array((plan.K - 1) * E), x = array(T * E), z = array(E),
                        dt = array(T * E), B = array(T * N), C = array(T * N),
                        spare = array(plan.bcdt()), h = array(N), elapsed = array(T + 1);
    weights.ref.u = call.slots[kX].as<double>();
    weights.ref.window = window.data();
    for (int64_t t = 0; t < T; ++t) {
        reference::mamba_token(weights.ref, t,
                               {x.data() + t * E, z.data(), dt.data() + t * E, B.data() + t * N,
                                C.data() + t * N, spare.data()});
    }
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t e = call.lane_first + l;
        const auto at = [&](const std::vector<double>& v, int64_t t) {
            return v[static_cast<size_t>(t * E + e)];
        };
        const auto a = [&](int64_t n) { return -std::exp(weights.ref.A_log[e * N + n]); };
        const double skip = weights.ref.skip[e];
        std::fill(h.begin(), h.end(), 0.0);
        for (int64_t t = 0; t < T; ++t) {
            elapsed[static_cast<size_t>(t + 1)] = elapsed[static_cast<size_t>(t)] + at(dt, t);
            call.operand[l * T + t] = at(x, t);
            double y = skip * at(x, t);
            for (int64_t n = 0; n < N; ++n) {
                double& state = h[static_cast<size_t>(n)];
                state = std::exp(at(dt, t) * a(n)) * state +
                        at(dt, t) * B[static_cast<size_t>(t * N + n)] * at(x, t);
                y += C[static_cast<size_t>(t * N + n)] * state;
            }
            if (t >= call.first && t < call.first + call.count) {
                call.core[l * call.count + t - call.first] = y;
            }
        }
        for (int64_t i = 0; i < call.count; ++i) {
            const int64_t row = call.first + i;
            for (int64_t j = 0; j < T; ++j) {
                double sum = j == row ? skip : 0.0;
                for (int64_t n = 0; n < N && j <= row; ++n) {
                    const double gap =
                        elapsed[static_cast<size_t>(row + 1)] - elapsed[static_cast<size_t>(j + 1)];
                    sum += C[static_cast<size_t>(row * N + n)] * std::exp(a(n) * gap) * at(dt, j) *
                           B[static_cast<size_t>(j * N + n)];
                }
                call.matrix[(l * call.count + i) * T + j] = sum;
            }
        }
    }
}

// The authors' initialisation: S4D-real A, steps spread over [1e-3, 0.1], linear maps as torch's.
void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const MambaPlan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) {
        count *= size;
    }
    const auto uniform = [&](int64_t fan_in) {
        const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
        for (int64_t i = 0; i < count; ++i) {
            out[i] = random.uniform(-bound, bound);
        }
    };
    switch (slot.slot) {
        case kInProj:
        case kInProjBias: return uniform(plan.D);
        case kConv:
        case kConvBias: return uniform(plan.K);
        case kXProj:
        case kOutProj:
        case kOutProjBias: return uniform(plan.E);
        case kDtProj: return uniform(plan.R);
        case kDtProjBias:
            for (int64_t i = 0; i < count; ++i) {
                const double step = std::max(
                    1e-4, portable_exp(random.uniform(portable_log(1e-3), portable_log(0.1))));
                out[i] = step + portable_log(1 - portable_exp(-step));  // inverse softplus
            }
            return;
        case kALog:
            for (int64_t i = 0; i < count; ++i) {
                out[i] = portable_log(static_cast<double>(i % plan.N + 1));
            }
            return;
        default: std::fill_n(out, count, 1.0);  // D and norms
    }
}

}  // namespace

extern const Mixer mamba_mixer;
const Mixer mamba_mixer = {&kSchema,      describe, bind,        scratch, run,
                           run_reference, lanes,    materialize, init,    nullptr};

}  // namespace seqmix::mixers
