#include "mixers/hippo/hippo.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "contract/recurrent.h"
#include "mixers/hippo/kernel.h"
#include "mixers/hippo/reference.h"
#include "primitives/dense/dense.h"
#include "primitives/hippo/hippo.h"

namespace seqmix::mixers {
namespace {

using reference::HippoMeasure;

enum : int32_t { kX = 0, kY = 1, kState = 30, kClock = 31 };
enum : size_t { kCoefficients = 0, kTime = 1 };  // order of the state tensors

constexpr double kHigh = 1 << 20;     // unit of the clock's second number
constexpr int64_t kTableTokens = 32;  // tokens of LegS whose divisions are made together
constexpr int64_t kPiece = 256;       // channels that share the matrix of a token

constexpr AttributeSpec kAttributes[] = {
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "channels D"},
    {"order", AttributeType::i64, "64", 1, 1024, nullptr, "coefficients N of a channel"},
    {"measure", AttributeType::str, "legs", 0, 0, "legs|legt|lagt|fout",
     "whole past; Legendre or Fourier over a window of 2 time units; exponential decay"},
    {"discretization", AttributeType::str, "zoh", 0, 0, "zoh|bilinear|forward|backward",
     "zero-order hold (exact for signals constant between tokens), bilinear, Euler"},
    {"dt", AttributeType::f64, "0.001", 1e-9, 1e3, nullptr,
     "time units of a token; legs has no unit and does not read it"},
    {"reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first"},
};
constexpr SlotSpec kSlots[] = {
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"},
    {kY, "y", Role::output, false, kReal, "(B,T,D,N)", "coefficients after each token"},
};
constexpr StateSpec kStates[] = {
    {kState, "state", "(D,N)", true, "coefficients after the last token"},
    {kClock, "clock", "(2)", false,
     "legs: tokens since the start, less than 2^20, and the rest in units of 2^20"},
};
constexpr Schema kSchema = {
    .type = "hippo",
    .doc = "HiPPO streaming memory: coefficients of the past in orthogonal functions",
    .source = "Gu, Dao, Ermon, Rudra and Re 2020, HiPPO, theorems 1 and 2",
    .operation = false,
    .attributes = kAttributes,
    .slots = kSlots,
    .states = kStates,
    .capabilities = {.stateful = true, .reversible = true},
    .chunk = 512,
};

struct HippoPlan : Plan {
    int64_t D, N;
    HippoMeasure measure;
    bool hold;
    double alpha, dt;
    bool legs() const { return measure == HippoMeasure::legs; }
    // Floats of a worker: the kernel's, and of LegS a table of kTableTokens or a token's matrix and input.
    int64_t kernel_floats() const { return 2 * N * kHippoVectors * 16; }
    int64_t table_floats() const { return !legs() ? 0 : hold ? N * N + N : kTableTokens * (N + 3); }
    int64_t work_doubles() const { return legs() && hold ? 3 * (N + 2) : 0; }
};

struct HippoBound : Bound {
    const HippoPlan* plan;
    const HippoKernels* kernels;
    Array<float> root, A, b;  // A without the identity
};

Status describe(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = std::make_unique<HippoPlan>();
    plan->attributes = given;
    plan->D = given.i64("d_model");
    plan->N = given.i64("order");
    plan->dt = given.f64("dt");
    const std::string &measure = given.str("measure"), &rule = given.str("discretization");
    plan->measure = measure == "legs"   ? HippoMeasure::legs
                    : measure == "legt" ? HippoMeasure::legt
                    : measure == "lagt" ? HippoMeasure::lagt
                                        : HippoMeasure::fout;
    plan->hold = rule == "zoh";
    plan->alpha = rule == "forward" ? 0.0 : rule == "backward" ? 1.0 : 0.5;
    if (plan->measure == HippoMeasure::fout && plan->N % 2 != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "hippo: attribute 'order' is ", plan->N,
                    ", expected an even number with 'measure' fout");
    }
    plan->sizes = {{"D", plan->D}, {"N", plan->N}};
    SEQMIX_TRY(resolve_slots(kSchema, *plan));
    if (!plan->legs()) {
        plan->states.pop_back();
        remove_slot(*plan, "clock");
    }
    out = std::move(plan);
    return Status();
}

// ------------------------------------------------------------------ bind

Array<float> to_floats(const std::vector<double>& values, Allocator allocator) {
    Array<float> floats(static_cast<int64_t>(values.size()), allocator);
    std::transform(values.begin(), values.end(), floats.data(),
                   [](double v) { return static_cast<float>(v); });
    return floats;
}

// The discrete A, less the identity, and B of a measure with a unit.
Status discretise(const HippoPlan& plan, std::vector<double>* A, std::vector<double>* b) {
    const int64_t N = plan.N, n = N + 1;
    const hippo::Measure measures[] = {hippo::Measure::legs, hippo::Measure::legt,
                                       hippo::Measure::lagt, hippo::Measure::fout};
    const hippo::Transition t = hippo::transition(measures[static_cast<int>(plan.measure)], N);
    std::vector<double> left(static_cast<size_t>(N * N)), joined(static_cast<size_t>(n * n));
    const bool hold = plan.hold;
    // zero-order hold: exp(dt [[A, B], [0, 0]]); else (I - alpha dt A) X = [I + (1 - alpha) dt A, dt B].
    const int64_t lines = hold ? n : N;
    joined.resize(static_cast<size_t>(lines * n));
    for (int64_t i = 0; i < N; ++i) {
        for (int64_t k = 0; k < N; ++k) {
            const double one = i == k ? 1.0 : 0.0;
            const double a = plan.dt * t.A[static_cast<size_t>(i * N + k)];
            left[static_cast<size_t>(i * N + k)] = one - plan.alpha * a;
            joined[static_cast<size_t>(i * n + k)] = hold ? a : one + (1 - plan.alpha) * a;
        }
        joined[static_cast<size_t>(i * n + N)] = plan.dt * t.B[static_cast<size_t>(i)];
    }
    if (hold) {
        joined = dense::exponential(n, joined);
    } else if (!dense::solve(N, left, n, joined)) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "hippo: attribute 'dt' is ", plan.dt,
                    ", for which I - alpha dt A is singular");
    }
    for (int64_t i = 0; i < N; ++i) {
        const auto line = joined.begin() + i * n;
        line[i] -= 1.0;
        A->insert(A->end(), line, line + N);
        b->push_back(line[N]);
    }
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<HippoBound>();
    const auto& plan = static_cast<const HippoPlan&>(call.plan);
    const int64_t N = plan.N;
    bound->plan = &plan;
    bound->kernels = SEQMIX_SELECT_KERNELS(call.isa, hippo_kernels);
    bound->kernel_name = SEQMIX_KERNEL_NAME("hippo", call.isa);
    if (!plan.legs()) {
        std::vector<double> A, b;
        SEQMIX_TRY(discretise(plan, &A, &b));
        bound->A = to_floats(A, call.allocator);
        bound->b = to_floats(b, call.allocator);
    } else if (!plan.hold) {
        std::vector<double> root;
        for (int64_t n = 0; n < N; ++n) {
            root.push_back(std::sqrt(2.0 * static_cast<double>(n) + 1));
        }
        bound->root = to_floats(root, call.allocator);
    }
    out = std::move(bound);
    return Status();
}

// ------------------------------------------------------------------ run

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const HippoPlan&>(base);
    if (step.real64) {
        return step.workers *
               Scratch::round_up(static_cast<size_t>(reference::hippo_scratch(plan.N)) * 8);
    }
    return step.workers * (Scratch::round_up(static_cast<size_t>(plan.kernel_floats()) * 4) +
                           Scratch::round_up(static_cast<size_t>(plan.table_floats()) * 4) +
                           Scratch::round_up(static_cast<size_t>(plan.work_doubles()) * 8));
}

struct Work {
    float *kernel, *table;
    double* doubles;
};

// LegS from t to t + 1 by zero-order hold, into work.table: A - I (N,N) and B (N). The signal on [0, t] is a
// function of xi in [-1, 1]; on [0, t + 1] the same place is xi' = (1 - e) (xi + 1) - 1, e = 1 / (t + 1). With
// phi_n = sqrt(2n+1) P_n, A[n,m] is (1 - e) times the coefficient of phi_m(xi) in phi_n(xi'). Legendre's
// recurrence in n, with xi P_m = ((m+1) P_{m+1} + m P_{m-1}) / (2m+1), gives the coefficients of P_n(xi'), here
// less those of P_n(xi), so that A - I, of size 1/t, does not come from a difference.
void project(const HippoBound& bound, double t, const Work& work) {
    const int64_t N = bound.plan->N;
    float *A = work.table, *b = A + N * N;
    double *last = work.doubles, *now = last + N + 2, *next = now + N + 2;
    std::fill_n(last, 3 * (N + 2), 0.0);
    const double e = 1 / (t + 1), edge = (t - 1) / (t + 1);
    double edge_last = 1.0, edge_now = 1.0;  // P_{n-1}, P_n where the new sample begins
    // xi times a row of coefficients, at m.
    const auto times_xi = [](const double* row, int64_t m) {
        const auto k = static_cast<double>(m);
        return (m > 0 ? row[m - 1] * k / (2 * k - 1) : 0.0) + row[m + 1] * (k + 1) / (2 * k + 3);
    };
    for (int64_t n = 0; n < N; ++n) {
        const auto k = static_cast<double>(n);
        const double root = std::sqrt(2 * k + 1);
        for (int64_t m = 0; m < N; ++m) {
            const double ratio = root / std::sqrt(2 * static_cast<double>(m) + 1);
            const double value = m > n ? 0.0 : ratio * (1 - e) * now[m] - (m == n ? e : 0.0);
            A[n * N + m] = static_cast<float>(value);
        }
        const double edge_next =
            n == 0 ? edge : ((2 * k + 1) * edge * edge_now - k * edge_last) / (k + 1);
        b[n] = static_cast<float>(n == 0 ? e : (edge_last - edge_next) / (2 * root));
        edge_last = edge_now;
        edge_now = edge_next;
        // The row n + 1 of differences; the last term takes row n whole.
        for (int64_t m = 0; m <= n + 1; ++m) {
            next[m] = ((2 * k + 1) * times_xi(now, m) - k * last[m]) / (k + 1);
        }
        now[n] += 1.0;
        for (int64_t m = 0; m <= n + 1; ++m) {
            next[m] -= e * (2 * k + 1) / (k + 1) * (times_xi(now, m) + now[m]);
        }
        now[n] -= 1.0;
        std::swap(last, now);
        std::swap(now, next);
    }
}

// Tokens of a segment for the channels [d, d + count); `clock` tokens came before.
void run_segment(const HippoBound& bound, const HippoArgs& all, int64_t channels, double clock,
                 const Work& work) {
    const HippoPlan& plan = *bound.plan;
    const int64_t block = kHippoVectors * bound.kernels->width, N = plan.N;
    const auto blocks = [&](int64_t first, int64_t tokens, auto kernel) {
        for (int64_t d = 0; d < channels; d += block) {
            HippoArgs args = all;
            args.tokens = tokens;
            args.channels = std::min(block, channels - d);
            args.u += first * args.u_stride + d;
            args.y += first * args.y_stride + d * N;
            args.c += d;
            kernel(args);
        }
    };
    if (!plan.legs()) {
        return blocks(0, all.tokens, bound.kernels->dense);
    }
    int64_t t = 0;
    if (clock == 0.0 && all.tokens > 0) {
        blocks(0, 1, bound.kernels->start);
        t = 1;
    }
    while (t < all.tokens) {
        const double now = clock + static_cast<double>(t);
        if (plan.hold) {
            project(bound, now, work);
            blocks(t, 1, bound.kernels->dense);
            ++t;
            continue;
        }
        const int64_t count = std::min(kTableTokens, all.tokens - t);
        for (int64_t i = 0; i < count; ++i) {
            float* line = work.table + i * (N + 3);
            const double part = 1 / (now + static_cast<double>(i));
            line[0] = static_cast<float>((1 - plan.alpha) * part);
            line[1] = static_cast<float>(plan.alpha * part);
            line[2] = static_cast<float>(part);
            for (int64_t n = 0; n < N; ++n) {
                line[3 + n] =
                    static_cast<float>(1 / (1 + plan.alpha * part * static_cast<double>(n + 1)));
            }
        }
        blocks(t, count, bound.kernels->legs);
        t += count;
    }
}

// fn(segment, tokens before it) for the segments of a run; gives the tokens after it.
template <class T, class Fn>
double for_segments(const Call& call, const RowRun& run, bool legs, const Fn& fn) {
    double clock = 0.0;
    if (legs) {
        const T* kept = call.state<T>(kTime, run.state_row);
        clock = static_cast<double>(kept[0]) + kHigh * static_cast<double>(kept[1]);
    }
    for (int64_t s = run.first; s < run.first + run.count; ++s) {
        const Segment& segment = call.segments[s];
        clock = segment.reset ? 0.0 : clock;
        fn(segment, clock);
        clock += static_cast<double>(segment.count);
    }
    return clock;
}

template <class T>
void set_clock(const Call& call, const RowRun& run, double clock) {
    T* kept = call.state<T>(kTime, run.state_row);
    const double high = std::floor(clock / kHigh);
    kept[0] = static_cast<T>(clock - high * kHigh);
    kept[1] = static_cast<T>(high);
}

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const HippoBound&>(base);
    const HippoPlan& plan = *bound.plan;
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    const int64_t D = plan.D, N = plan.N;
    const auto workers = static_cast<int64_t>(call.runner.workers);
    Scratch scratch = call.scratch;
    float* kernel = scratch.take<float>(workers * ((plan.kernel_floats() + 15) / 16 * 16));
    const int64_t table_part = (plan.table_floats() + 15) / 16 * 16;
    float* table = scratch.take<float>(workers * table_part);
    double* doubles = scratch.take<double>(workers * plan.work_doubles());
    const int64_t pieces = (D + kPiece - 1) / kPiece;
    call.parallel_for(call.run_count * pieces, [&](int64_t piece, size_t worker) {
        const RowRun& row = call.runs[piece / pieces];
        const int64_t d = piece % pieces * kPiece, channels = std::min(kPiece, D - d);
        const auto w = static_cast<int64_t>(worker);
        const Work work = {kernel + w * ((plan.kernel_floats() + 15) / 16 * 16),
                           table + w * table_part, doubles + w * plan.work_doubles()};
        float* c = call.state<float>(kCoefficients, row.state_row) + d;
        for_segments<float>(call, row, plan.legs(), [&](const Segment& segment, double clock) {
            if (segment.reset) {
                zero_columns(c, N, D, 0, channels);
            }
            HippoArgs args{};
            args.tokens = segment.count;
            args.N = N;
            args.u = x.as<float>() + segment.first * x.stride + d;
            args.u_stride = x.stride;
            args.c = c;
            args.c_stride = D;
            args.y = y.as<float>() + segment.first * y.stride + d * N;
            args.y_stride = y.stride;
            args.scratch = work.kernel;
            args.table = work.table;
            args.root = bound.root.data();
            args.A = plan.legs() ? work.table : bound.A.data();
            args.b = plan.legs() ? work.table + N * N : bound.b.data();
            run_segment(bound, args, channels, clock, work);
        });
    });
    // All blocks of a row have read its clock.
    for (int64_t r = 0; r < call.run_count && plan.legs(); ++r) {
        const RowRun& row = call.runs[r];
        set_clock<float>(call, row,
                         for_segments<float>(call, row, true, [](const Segment&, double) {}));
    }
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const HippoBound&>(base);
    const HippoPlan& plan = *bound.plan;
    const Matrix &x = call.slot(kX), &y = call.slot(kY);
    Scratch scratch = call.scratch;
    const int64_t part = (reference::hippo_scratch(plan.N) + 7) / 8 * 8;
    double* work = scratch.take<double>(static_cast<int64_t>(call.runner.workers) * part);
    call.parallel_for(call.run_count, [&](int64_t r, size_t worker) {
        const RowRun& row = call.runs[r];
        double* c = call.state<double>(kCoefficients, row.state_row);
        const auto segments = [&](const Segment& segment, double clock) {
            if (segment.reset) {
                zero_columns(c, plan.N, plan.D, 0, plan.D);
            }
            reference::hippo({segment.count, plan.D, plan.N, plan.measure, plan.hold, plan.alpha,
                              plan.dt, clock, x.as<double>() + segment.first * x.stride, c,
                              y.as<double>() + segment.first * y.stride,
                              work + static_cast<int64_t>(worker) * part});
        };
        const double clock = for_segments<double>(call, row, plan.legs(), segments);
        if (plan.legs()) {
            set_clock<double>(call, row, clock);
        }
    });
}

}  // namespace

extern const Mixer hippo_mixer;
const Mixer hippo_mixer = {
    .schema = &kSchema,
    .describe = describe,
    .bind = bind,
    .scratch = scratch,
    .run = run,
    .run_reference = run_reference,
    .lanes = nullptr,
    .materialize = nullptr,
    .init = nullptr,
    .check = nullptr,
};

}  // namespace seqmix::mixers
