#include "mixers/h3/h3.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <utility>

#include "contract/linear.h"
#include "contract/recurrent.h"
#include "contract/short_conv.h"
#include "mixers/h3/reference.h"
#include "primitives/diagonal_scan/diagonal_scan.h"
#include "primitives/gemm/reference.h"

namespace seqmix::mixers {
namespace {

enum : int32_t {
    kX = 0,
    kY = 1,
    kQ = 2,
    kQBias = 3,
    kK = 4,
    kKBias = 5,
    kV = 6,
    kVBias = 7,
    kShiftB = 8,
    kShiftC = 9,
    kShiftD = 10,
    kInvAReal = 11,
    kAImag = 12,
    kLogDt = 13,
    kB = 14,
    kC = 15,
    kD = 16,
    kOut = 17,
    kOutBias = 18,
    kShiftState = 30,
    kSsmState = 31
};
enum : size_t { kWindow = 0, kScan = 1 };

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D"},
    {"head_dim", AttributeType::i64, "1", 1, 4096, nullptr, "width d of a head; divides d_model"},
    {"d_state", AttributeType::i64, "64", 2, 65536, nullptr,
     "N: taps of the shift SSM, and N/2 complex modes of the diagonal one"},
    {"disc", AttributeType::str, "bilinear", 0, 0, "bilinear|zoh",
     "discretisation of the diagonal SSM"},
    {"dt_min", AttributeType::f64, "0.001", 1e-9, 1e3, nullptr, "least initial step"},
    {"dt_max", AttributeType::f64, "0.1", 1e-9, 1e3, nullptr, "largest initial step"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D)", "output"},
    {kQ, "q_proj.weight", Role::weight, false, kWeight, "(D,D)", "queries"},
    {kQBias, "q_proj.bias", Role::weight, false, kWeight, "(D)", "bias of q_proj"},
    {kK, "k_proj.weight", Role::weight, false, kWeight, "(D,D)", "keys"},
    {kKBias, "k_proj.bias", Role::weight, false, kWeight, "(D)", "bias of k_proj"},
    {kV, "v_proj.weight", Role::weight, false, kWeight, "(D,D)", "values"},
    {kVBias, "v_proj.bias", Role::weight, false, kWeight, "(D)", "bias of v_proj"},
    {kShiftB, "shift.B", Role::weight, false, kWeight, "(D,N)", "input of the shift SSM"},
    {kShiftC, "shift.C", Role::weight, false, kWeight, "(D,N)|(1,D,N)", "its output"},
    {kShiftD, "shift.D", Role::weight, false, kWeight, "(D)", "its skip"},
    {kInvAReal, "ssm.inv_A_real", Role::weight, false, kWeight, "(H,M)",
     "real part of A is -exp of it"},
    {kAImag, "ssm.A_imag", Role::weight, false, kWeight, "(H,M)", "imaginary part of A"},
    {kLogDt, "ssm.log_dt", Role::weight, false, kWeight, "(H)", "step is exp of it"},
    {kB, "ssm.B", Role::weight, false, kWeight, "(H,M,2)", "input, real and imaginary part"},
    {kC, "ssm.C", Role::weight, false, kWeight, "(H,M,2)|(1,H,M,2)",
     "output (times B once more), real and imaginary part"},
    {kD, "ssm.D", Role::weight, false, kWeight, "(H)", "its skip"},
    {kOut, "out_proj.weight", Role::weight, false, kWeight, "(D,D)", "output projection"},
    {kOutBias, "out_proj.bias", Role::weight, false, kWeight, "(D)", "bias of out_proj"},
};
constexpr StateSpec kStates[] = {
    {kShiftState, "shift_state", "(N-1,D)", false, "the last N-1 keys, oldest first"},
    {kSsmState, "ssm_state", "(M,2,X)", false,
     "x after the last token: real, imaginary; channel (d1 d + d2) H + h"},
};
constexpr Schema kSchema = {
    "h3",
    "H3: shift SSM and diagonal SSM between products of queries, keys and values",
    "Fu et al. 2023, Hungry Hungry Hippos, algorithm 1",
    false,
    kAttributes,
    kSlots,
    kStates,
    {.stateful = true, .reversible = true, .materialize = true},
    512,
};

struct H3Plan : Plan {
    int64_t D, d, H, N, M, X;
    bool bilinear;
    double dt_min, dt_max;
};

struct Weights64 : WeightsF64 {
    Weights64(const Weights& weights, Allocator allocator)
        : WeightsF64(weights, kQ, kOutBias, allocator) {}
    reference::H3 h3(const H3Plan& plan) const {
        const Weights64& w = *this;
        reference::H3 p{};
        p.D = plan.D;
        p.d = plan.d;
        p.N = plan.N;
        p.M = plan.M;
        p.bilinear = plan.bilinear;
        p.shift_B = w[kShiftB];
        p.shift_C = w[kShiftC];
        p.shift_D = w[kShiftD];
        p.A_re = w[kInvAReal];
        p.A_im = w[kAImag];
        p.log_dt = w[kLogDt];
        p.B = w[kB];
        p.C = w[kC];
        p.skip = w[kD];
        return p;
    }
};

struct H3Bound : Bound {
    const H3Plan* plan;
    const Weights* weights;
    Allocator allocator;
    Linear q, k, v, out;
    ShortConv shift;
    DiagonalScan scan;
    std::unique_ptr<const Weights64> weights64;  // level reference
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<H3Plan>();
    plan->D = given.i64("d_model");
    plan->d = given.i64("head_dim");
    plan->N = given.i64("d_state");
    plan->bilinear = given.str("disc") == "bilinear";
    plan->dt_min = given.f64("dt_min");
    plan->dt_max = given.f64("dt_max");
    if (plan->D % plan->d != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "h3: head_dim is ", plan->d,
                    ", expected a divisor of d_model = ", plan->D);
    }
    if (plan->N % 2 != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "h3: d_state is ", plan->N,
                    ", expected an even number");
    }
    plan->H = plan->D / plan->d;
    plan->M = plan->N / 2;
    plan->X = plan->d * plan->D;
    plan->sizes = {{"D", plan->D}, {"H", plan->H}, {"N", plan->N}, {"M", plan->M}, {"X", plan->X}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    out = std::move(plan);
    return Status();
}

// One SSM a head, for each pair (d1, d2).
DiagonalSystem make_system(const H3Plan& plan, const Weights64& w) {
    const reference::H3 p = w.h3(plan);
    DiagonalSystem system;
    system.channels = plan.X;
    system.modes = plan.M;
    for (int64_t channel = 0; channel < plan.X; ++channel) {
        const int64_t h = channel % plan.H;
        for (int64_t m = 0; m < plan.M; ++m) {
            double a[2], b[2];
            reference::h3_mode(p, h, m, a, b);
            const int64_t i = h * plan.M + m;
            system.a.emplace_back(a[0], a[1]);
            system.b.emplace_back(b[0], b[1]);
            system.c.emplace_back(2 * p.C[2 * i], 2 * p.C[2 * i + 1]);
            if (plan.bilinear) {
                const std::complex<double> z =
                    std::complex<double>(-std::exp(p.A_re[i]), p.A_im[i]) * std::exp(p.log_dt[h]);
                system.a_minus_one.push_back(z / (1.0 - z / 2.0));
                system.a_plus_one.push_back(2.0 / (1.0 - z / 2.0));
            }
        }
        system.skip.push_back(p.skip[h]);
    }
    return system;
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<H3Bound>();
    const auto& plan = static_cast<const H3Plan&>(call.plan);
    const auto weight = [&](int32_t slot) { return call.weights.get(slot); };
    bound->plan = &plan;
    bound->weights = &call.weights;
    bound->allocator = call.allocator;
    bound->kernel_name = SEQMIX_KERNEL_NAME("h3", call.isa);
    auto weights64 = std::make_unique<const Weights64>(call.weights, call.allocator);
    if (call.isa == Isa::reference) {
        bound->weights64 = std::move(weights64);
    } else {
        const int64_t D = plan.D, N = plan.N;
        bound->q.bind(weight(kQ), weight(kQBias), D, D, call);
        bound->k.bind(weight(kK), weight(kKBias), D, D, call);
        bound->v.bind(weight(kV), weight(kVBias), D, D, call);
        bound->out.bind(weight(kOut), weight(kOutBias), D, D, call);
        const reference::H3 p = weights64->h3(plan);
        Array<float> taps32(N * D, call.allocator);
        std::vector<double> taps(static_cast<size_t>(N));
        for (int64_t c = 0; c < D; ++c) {
            reference::h3_shift_taps(p, c, taps.data());
            for (int64_t l = 0; l < N; ++l) {  // the last tap meets the current token
                taps32[(N - 1 - l) * D + c] = static_cast<float>(taps[static_cast<size_t>(l)]);
            }
        }
        bound->shift.bind(std::move(taps32), D, call);
        bound->scan =
            DiagonalScan(make_system(plan, *weights64),
                         *SEQMIX_SELECT_KERNELS(call.isa, diagonal_scan_kernels), call.allocator);
    }
    out = std::move(bound);
    return Status();
}

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const H3Plan&>(base);
    const auto elements = [&](int64_t count) {
        return Scratch::round_up(static_cast<size_t>(count) * (step.real64 ? 8 : 4));
    };
    const size_t maps = 4 * elements(step.tokens * plan.D);
    if (step.real64) return maps;
    return maps + elements(step.tokens * plan.X) + Linear::scratch_bytes(step.workers) +
           step.workers * elements(DiagonalScan::scratch_floats(plan.M));
}

constexpr int64_t kRows = 16;  // tokens of a piece of work

// kv (tokens,X) of keys and values (tokens,D).
void outer(const H3Plan& plan, const Call& call, const float* k, const float* v, float* kv) {
    const int64_t D = plan.D, d = plan.d, H = plan.H;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t end = std::min(call.tokens, (piece + 1) * kRows);
        for (int64_t t = piece * kRows; t < end; ++t) {
            for (int64_t pair = 0; pair < d * d; ++pair) {
                float* to = kv + t * plan.X + pair * H;
                const float *key = k + t * D + pair / d, *value = v + t * D + pair % d;
                for (int64_t h = 0; h < H; ++h) to[h] = key[h * d] * value[h * d];
            }
        }
    });
}

// o (tokens,D) = sum over d1 of q times y (tokens,X).
void contract(const H3Plan& plan, const Call& call, const float* q, const float* y, float* o) {
    const int64_t D = plan.D, d = plan.d, H = plan.H;
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        const int64_t end = std::min(call.tokens, (piece + 1) * kRows);
        for (int64_t t = piece * kRows; t < end; ++t) {
            std::fill_n(o + t * D, D, 0.0f);
            for (int64_t pair = 0; pair < d * d; ++pair) {
                const float *query = q + t * D + pair / d, *from = y + t * plan.X + pair * H;
                float* to = o + t * D + pair % d * H;
                for (int64_t h = 0; h < H; ++h) to[h] += query[h * d] * from[h];
            }
        }
    });
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const H3Bound&>(base);
    const H3Plan& plan = *bound.plan;
    const int64_t T = call.tokens, D = plan.D, X = plan.X;
    Scratch scratch = call.scratch;
    float* q = scratch.take<float>(T * D);
    float* k = scratch.take<float>(T * D);
    float* v = scratch.take<float>(T * D);
    float* shifted = scratch.take<float>(T * D);
    float* kv = scratch.take<float>(T * X);
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const int64_t part = (DiagonalScan::scratch_floats(plan.M) + 15) / 16 * 16;
    float* work = scratch.take<float>(part * static_cast<int64_t>(call.runner.workers));
    const Matrix &in = call.slot(kX), &out = call.slot(kY);
    bound.q.run(call, T, in.as<float>(), in.stride, q, D, gemm);
    bound.k.run(call, T, in.as<float>(), in.stride, k, D, gemm);
    bound.v.run(call, T, in.as<float>(), in.stride, v, D, gemm);
    bound.shift.run(call, kWindow, k, D, shifted, D);
    outer(plan, call, shifted, v, kv);
    for_each_channel_block(call, kScan, 2 * plan.M, X, 1, bound.scan.channel_block(),
                           [&](const Segment& segment, int64_t c, int64_t channels, int64_t,
                               float* x, int64_t worker) {
                               DiagonalScan::Run run{};
                               run.tokens = segment.count;
                               run.first = c;
                               run.channels = channels;
                               run.u = run.y = kv + segment.first * X + c;
                               run.u_stride = run.y_stride = X;
                               run.output_stride = X;
                               run.x = x;
                               run.x_stride = X;
                               run.scratch = work + worker * part;
                               bound.scan.run(run);
                           });
    contract(plan, call, q, kv, v);
    bound.out.run(call, T, v, D, out.as<float>(), out.stride, gemm);
}

void linear(const H3Plan& plan, const Weights64& w, int64_t tokens, const double* x, int32_t slot,
            double* y) {
    reference::gemm(tokens, plan.D, plan.D, x, plan.D, w[slot], plan.D, w[slot + 1], nullptr, 0, 0,
                    y, plan.D);
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const H3Bound&>(base);
    const H3Plan& plan = *bound.plan;
    const Weights64& w = *bound.weights64;
    const int64_t T = call.tokens, D = plan.D;
    Scratch scratch = call.scratch;
    double* q = scratch.take<double>(T * D);
    double* k = scratch.take<double>(T * D);
    double* v = scratch.take<double>(T * D);
    double* y = scratch.take<double>(T * D);
    const auto* x = call.slot(kX).as<double>();
    linear(plan, w, T, x, kQ, q);
    linear(plan, w, T, x, kK, k);
    linear(plan, w, T, x, kV, v);
    call.parallel_for(call.run_count, [&](int64_t r, size_t) {
        const RowRun& run = call.runs[r];
        double* window = call.state<double>(kWindow, run.state_row);
        double* state = call.state<double>(kScan, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset) {
                zero_columns(window, plan.N - 1, D, 0, D);
                zero_columns(state, 2 * plan.M, plan.X, 0, plan.X);
            }
            reference::H3 p = w.h3(plan);
            p.T = segment.count;
            p.q = q + segment.first * D;
            p.k = k + segment.first * D;
            p.v = v + segment.first * D;
            p.window = window;
            p.x = state;
            p.y = y + segment.first * D;
            reference::h3(p);
        }
    });
    linear(plan, w, T, y, kOut, call.slot(kY).as<double>());
}

LaneInfo lanes(const Plan& plan) { return {static_cast<const H3Plan&>(plan).D, 1}; }

// Lane d2 H + h: v[d2] of head h to o; M = sum_{d1} diag(q[d1]) (Toeplitz(K) + D) diag(k'[d1]).
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& bound = static_cast<const H3Bound&>(base);
    const H3Plan& plan = *bound.plan;
    const Weights64 w(*bound.weights, bound.allocator);
    const reference::H3 p = w.h3(plan);
    const int64_t T = call.tokens, D = plan.D, d = plan.d, N = plan.N;
    const auto size = static_cast<size_t>(T * D);
    std::vector<double> q(size), k(size), v(size), taps(static_cast<size_t>(N)),
        kernel(static_cast<size_t>(T));
    const auto* x = call.slots[kX].as<double>();
    linear(plan, w, T, x, kQ, q.data());
    linear(plan, w, T, x, kK, k.data());
    linear(plan, w, T, x, kV, v.data());
    const auto at = [&](const std::vector<double>& rows, int64_t t, int64_t c) {
        return rows[static_cast<size_t>(t * D + c)];
    };
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t lane = call.lane_first + l, h = lane % plan.H, d2 = lane / plan.H;
        std::fill(kernel.begin(), kernel.end(), 0.0);
        for (int64_t m = 0; m < plan.M; ++m) {
            double a[2], b[2];
            reference::h3_mode(p, h, m, a, b);
            const double* C = p.C + 2 * (h * plan.M + m);
            const std::complex<double> step(a[0], a[1]);
            std::complex<double> power =
                std::complex<double>(b[0], b[1]) * std::complex<double>(C[0], C[1]);
            for (double& value : kernel) {
                value += 2 * power.real();
                power *= step;
            }
        }
        if (T > 0) kernel[0] += p.skip[h];
        for (int64_t t = 0; t < T; ++t) call.operand[l * T + t] = at(v, t, h * d + d2);
        double* M = call.matrix + l * call.count * T;
        std::fill_n(M, call.count * T, 0.0);
        for (int64_t d1 = 0; d1 < d; ++d1) {
            const int64_t channel = h * d + d1;
            reference::h3_shift_taps(p, channel, taps.data());
            for (int64_t j = 0; j < T; ++j) {
                double key = 0;
                for (int64_t i = 0; i < N && i <= j; ++i) {
                    key += taps[static_cast<size_t>(i)] * at(k, j - i, channel);
                }
                for (int64_t i = 0; i < call.count; ++i) {
                    const int64_t lag = call.first + i - j;
                    if (lag < 0) continue;
                    M[i * T + j] +=
                        at(q, call.first + i, channel) * key * kernel[static_cast<size_t>(lag)];
                }
            }
        }
        for (int64_t i = 0; i < call.count; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < T; ++j) sum += M[i * T + j] * at(v, j, h * d + d2);
            call.core[l * call.count + i] = sum;
        }
    }
}

// The authors': linear maps as torch's, B = e_0 and kaiming-uniform C of the shift SSM, S4D-Lin with
// complex normal C, steps log-uniform, skips N(0,1).
void init(const Plan& base, const Slot& slot, Random& random, double* out) {
    const auto& plan = static_cast<const H3Plan&>(base);
    int64_t count = 1;
    for (const int64_t size : slot.shapes[0]) count *= size;
    const auto uniform = [&](int64_t fan_in) {
        const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
        for (int64_t i = 0; i < count; ++i) out[i] = random.uniform(-bound, bound);
    };
    const auto normal = [&](double scale) {
        for (int64_t i = 0; i < count; ++i) out[i] = scale * random.normal();
    };
    switch (slot.slot) {
        case kShiftB:
            for (int64_t i = 0; i < count; ++i) out[i] = i % plan.N == 0 ? 1.0 : 0.0;
            return;
        case kShiftC: return uniform(plan.N);
        case kShiftD:
        case kD: return normal(1);
        case kInvAReal: std::fill_n(out, count, portable_log(0.5)); return;
        case kAImag:
            for (int64_t i = 0; i < count; ++i) {
                out[i] = 3.14159265358979323846 * static_cast<double>(i % plan.M);
            }
            return;
        case kLogDt:
            for (int64_t i = 0; i < count; ++i) {
                out[i] = random.uniform(portable_log(plan.dt_min), portable_log(plan.dt_max));
            }
            return;
        case kB:
            for (int64_t i = 0; i < count; ++i) out[i] = i % 2 == 0 ? 1.0 : 0.0;
            return;
        case kC: return normal(std::sqrt(0.5));
        default: uniform(plan.D);
    }
}

}  // namespace

extern const Mixer h3_mixer;
const Mixer h3_mixer = {&kSchema,      describe, bind,        scratch, run,
                        run_reference, lanes,    materialize, init,    nullptr};

}  // namespace seqmix::mixers
