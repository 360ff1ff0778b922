#include "mixers/s4/layer.h"

#include <algorithm>

#include "contract/recurrent.h"
#include "mixers/s4/s4.h"

namespace seqmix::mixers::s4 {
namespace {

using reference::S4Kind;

struct S4Bound : Bound {
    const S4Plan* plan;
    const Weights* weights;
    const ElementwiseKernels* elementwise;
    DiagonalScan causal, from_end;
    Linear output;
    // bidirectional: both kernels of each output as a filter, (kernel_length, C D) each.
    std::unique_ptr<const LongConv> conv;
    Array<float> before, after, spectra;
    // Level reference only.
    std::unique_ptr<const Parameters> parameters;
    std::vector<double> a, b, c;
    reference::S4Ref ref{};
};

// The reference's tables.
void prepare(const S4Plan& plan, const Parameters& parameters, S4Bound& bound) {
    bound.ref = parameters.view(plan);
    const auto size = [](int64_t n) { return static_cast<size_t>(n); };
    bound.a.resize(size(reference::s4_a_size(bound.ref)));
    bound.b.resize(size(2 * plan.D * plan.M));
    bound.c.resize(size(2 * plan.K * plan.D * plan.M));
    bound.ref.a = bound.a.data();
    bound.ref.b = bound.b.data();
    bound.ref.c = bound.c.data();
    std::vector<double> work(size(reference::s4_prepare_scratch(bound.ref)));
    reference::s4_prepare(bound.ref, work.data());
}

// Filters of a bidirectional layer. The skip is part of the first tap.
Status make_filters(const S4Plan& plan, const Parameters& parameters, const BindCall& call,
                    S4Bound& bound) {
    const int64_t L = plan.kernel_length, width = plan.C * plan.D;
    bound.before = Array<float>(L * width, call.allocator);
    bound.after = Array<float>(L * width, call.allocator);
    SEQMIX_TRY(make_kernels(plan, parameters, 0, L, call.isa, bound.before.data()));
    SEQMIX_TRY(make_kernels(plan, parameters, plan.C, L, call.isa, bound.after.data()));
    for (size_t i = 0; i < parameters.skip.size(); ++i) {
        float& tap = bound.before[static_cast<int64_t>(i)];
        tap = static_cast<float>(static_cast<double>(tap) + parameters.skip[i]);
    }
    auto conv = std::make_unique<const LongConv>(
        plan.conv(), *SEQMIX_SELECT_KERNELS(call.isa, fft_kernels), call.allocator);
    bound.spectra = Array<float>(plan.C * conv->filter_size(), call.allocator);
    Array<float> work(conv->scratch_size(), call.allocator);
    for (int64_t o = 0; o < plan.C; ++o) {
        for (int64_t g = 0; g < conv->groups(); ++g) {
            const int64_t at = o * plan.D + conv->first(g);
            conv->make_filter(g, bound.before.data() + at, width, bound.after.data() + at, width,
                              bound.spectra.data() + o * conv->filter_size() + conv->filter_at(g),
                              work.data());
        }
    }
    bound.conv = std::move(conv);
    return Status();
}

// Rows of fewer tokens are not worth a transform; of more than the kernels have, the recurrence is exact.
bool by_transform(const S4Plan& plan, const Segment& segment) {
    return segment.count >= 32 && segment.count <= plan.kernel_length;
}

constexpr int64_t kRows = 64;  // tokens of a piece of an elementwise map

// Whether y is what the recurrence leaves, without anything after it.
bool bare(const S4Plan& plan) { return !plan.gelu && plan.rows == 0; }

}  // namespace

reference::S4Transform transform_named(const std::string& name) {
    using reference::S4Transform;
    return name == "exp"        ? S4Transform::exp
           : name == "relu"     ? S4Transform::relu
           : name == "sigmoid"  ? S4Transform::sigmoid
           : name == "softplus" ? S4Transform::softplus
                                : S4Transform::none;
}

Status describe_layer(const Schema& schema, const Attributes& given, S4Plan& plan) {
    plan.D = given.i64("d_model");
    plan.C = given.i64("channels");
    plan.bidirectional = given.flag("bidirectional");
    plan.K = plan.C * (plan.bidirectional ? 2 : 1);
    plan.rate = given.f64("rate");
    plan.kernel_length = given.i64("kernel_length");
    plan.gelu = given.str("activation") == "gelu";
    plan.glu = given.str("output") == "glu";
    plan.rows = given.str("output") == "none" ? 0 : plan.glu ? 2 * plan.D : plan.D;
    if (plan.D % plan.S != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, schema.type, ": attribute 'n_ssm' is ", plan.S,
                    ", expected a divisor of d_model (", plan.D, ")");
    }
    if (plan.D * plan.C > kMaxSize) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, schema.type, ": d_model times channels is ",
                    plan.D * plan.C, ", expected at most ", kMaxSize);
    }
    plan.attributes.set("d_inner", plan.C * plan.D);
    plan.sizes = {{"D", plan.D},          {"M", plan.M},
                  {"S", plan.S},          {"C", plan.C},
                  {"K", plan.K},          {"I", plan.step_columns},
                  {"Q", plan.rank},       {"O", plan.rows},
                  {"F", plan.C * plan.D}, {"Y", plan.rows > 0 ? plan.D : plan.C * plan.D}};
    SEQMIX_TRY(resolve_slots(schema, plan));
    if (plan.rows == 0) {
        remove_slot(plan, "output_linear.weight");
        remove_slot(plan, "output_linear.bias");
    }
    // Shapes without the axis of kernels, outputs or step columns are for one of them.
    const auto only_full = [&](const char* name, bool drop) {
        Slot* slot = plan.find(name);
        if (slot != nullptr && drop) {
            slot->shapes.resize(1);
        }
    };
    only_full("kernel.C", plan.K > 1);
    only_full("residues", plan.K > 1);
    only_full("W", plan.K > 1);
    only_full("D", plan.C > 1);
    only_full("kernel.inv_dt", plan.step_columns > 1);
    if (plan.bidirectional) {
        plan.capabilities.causal = plan.capabilities.stateful = false;
        plan.chunk = kWholeSequence;
        plan.states.clear();
        remove_slot(plan, "state");
        for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
            const int64_t lanes = SEQMIX_SELECT_KERNELS(isa, fft_kernels)->f32.width;
            const int64_t floats = LongConv::scratch_size(plan.conv(), lanes);
            plan.conv_floats = std::max(plan.conv_floats, (floats + 15) / 16 * 16);
        }
    }
    return Status();
}

Status bind(const BindCall& call, std::unique_ptr<Bound>& out) {
    auto bound = std::make_unique<S4Bound>();
    const auto& plan = static_cast<const S4Plan&>(call.plan);
    bound->plan = &plan;
    bound->weights = &call.weights;
    const char* names[] = {SEQMIX_KERNEL_NAME("s4d", call.isa), SEQMIX_KERNEL_NAME("s4", call.isa),
                           SEQMIX_KERNEL_NAME("dss", call.isa)};
    bound->kernel_name = names[static_cast<int>(plan.kind)];
    auto parameters = std::make_unique<Parameters>(plan, call.weights);
    if (call.isa == Isa::reference) {
        prepare(plan, *parameters, *bound);
        bound->parameters = std::move(parameters);
        out = std::move(bound);
        return Status();
    }
    bound->elementwise = SEQMIX_SELECT_KERNELS(call.isa, elementwise_kernels);
    const DiagonalScanKernels& kernels = *SEQMIX_SELECT_KERNELS(call.isa, diagonal_scan_kernels);
    DiagonalSystem system;
    SEQMIX_TRY(make_system(plan, *parameters, 0, &system));
    bound->causal = DiagonalScan(system, kernels, call.allocator);
    if (plan.bidirectional) {
        SEQMIX_TRY(make_system(plan, *parameters, plan.C, &system));
        bound->from_end = DiagonalScan(system, kernels, call.allocator);
        SEQMIX_TRY(make_filters(plan, *parameters, call, *bound));
    }
    if (plan.rows > 0) {
        bound->output.bind(call.weights.get(kOutput), call.weights.get(kOutputBias), plan.rows,
                           plan.C * plan.D, call);
    }
    out = std::move(bound);
    return Status();
}

// ------------------------------------------------------------------ run

size_t scratch(const Plan& base, const StepShape& step) {
    const auto& plan = static_cast<const S4Plan&>(base);
    const int64_t width = plan.C * plan.D;
    if (step.real64) {
        // One token of a worker; bidirectional ones keep a row.
        const int64_t kept = plan.bidirectional ? step.tokens * width : width;
        return step.workers *
               Scratch::round_up(static_cast<size_t>(kept + plan.rows + 2 * plan.M * (plan.D + 1)) *
                                 8);
    }
    size_t bytes = step.workers *
                   Scratch::round_up(static_cast<size_t>(DiagonalScan::scratch_floats(plan.M)) * 4);
    if (plan.bidirectional) {
        bytes += step.workers * Scratch::round_up(static_cast<size_t>(2 * plan.M * plan.D) * 4) +
                 step.workers * Scratch::round_up(static_cast<size_t>(plan.conv_floats) * 4);
    }
    if (!bare(plan)) {
        bytes += Scratch::round_up(static_cast<size_t>(step.tokens * width) * 4);
    }
    if (plan.rows > 0) {
        bytes += Linear::scratch_bytes(step.workers);
    }
    if (plan.glu) {
        bytes += Scratch::round_up(static_cast<size_t>(step.tokens * plan.rows) * 4);
    }
    return bytes;
}

namespace {

struct Tokens {
    float* data;
    ptrdiff_t stride;
};

// x (tokens,D) -> out (tokens,C D) through the recurrence, with the skip.
void scan(const S4Bound& bound, const Call& call, Tokens out, float* kernel_scratch) {
    const S4Plan& plan = *bound.plan;
    const Matrix& in = call.slot(kX);
    const int64_t part = DiagonalScan::scratch_floats(plan.M);
    for_each_channel_block(
        call, 0, 2 * plan.M, plan.D, 1, bound.causal.channel_block(),
        [&](const Segment& segment, int64_t d, int64_t channels, int64_t, float* x,
            int64_t worker) {
            bound.causal.run({segment.count, d, channels,
                              in.as<float>() + segment.first * in.stride + d, in.stride,
                              out.data + segment.first * out.stride + d, out.stride, plan.D, false,
                              x, plan.D, kernel_scratch + worker * part});
        });
}

// Bidirectional rows that the kernels cover, by transforms: one convolution for both directions.
void convolve(const S4Bound& bound, const Call& call, Tokens out, float* work) {
    const S4Plan& plan = *bound.plan;
    const LongConv& conv = *bound.conv;
    const Matrix& in = call.slot(kX);
    const int64_t groups = conv.groups(), width = plan.C * plan.D, each = groups * plan.C;
    call.parallel_for(call.segment_count * each, [&](int64_t piece, size_t worker) {
        const Segment& segment = call.segments[piece / each];
        if (!by_transform(plan, segment)) {
            return;
        }
        const int64_t o = piece % each / groups, g = piece % groups, d = conv.first(g);
        LongConvCall one;
        one.tokens = segment.count;
        one.x = in.as<float>() + segment.first * in.stride + d;
        one.x_stride = in.stride;
        one.y = out.data + segment.first * out.stride + o * plan.D + d;
        one.y_stride = out.stride;
        one.k = bound.before.data() + o * plan.D + d;
        one.after = bound.after.data() + o * plan.D + d;
        one.k_stride = one.after_stride = width;
        conv.run(g, one, bound.spectra.data() + o * conv.filter_size() + conv.filter_at(g),
                 work + static_cast<int64_t>(worker) * plan.conv_floats);
    });
}

// The other rows by both recurrences; the second reads from the end and starts one token later. There
// is no state: rows are whole.
void scan_both(const S4Bound& bound, const Call& call, Tokens out, float* kernel_scratch,
               float* states) {
    const S4Plan& plan = *bound.plan;
    const Matrix& in = call.slot(kX);
    const int64_t part = DiagonalScan::scratch_floats(plan.M);
    const int64_t block = bound.causal.channel_block();
    const int64_t blocks = (plan.D + block - 1) / block;
    call.parallel_for(call.segment_count * blocks, [&](int64_t piece, size_t worker) {
        const Segment& segment = call.segments[piece / blocks];
        if (by_transform(plan, segment)) {
            return;
        }
        const int64_t d = piece % blocks * block;
        const int64_t channels = std::min(block, plan.D - d);
        float* x = states + static_cast<int64_t>(worker) * 2 * plan.M * plan.D + d;
        const float* u = in.as<float>() + segment.first * in.stride + d;
        float* y = out.data + segment.first * out.stride + d;
        float* mine = kernel_scratch + static_cast<int64_t>(worker) * part;
        zero_columns(x, 2 * plan.M, plan.D, 0, channels);
        bound.causal.run({segment.count, d, channels, u, in.stride, y, out.stride, plan.D, false, x,
                          plan.D, mine});
        zero_columns(x, 2 * plan.M, plan.D, 0, channels);
        const int64_t last = segment.count - 1;  // the token before it is the first that sees it
        bound.from_end.run({last, d, channels, u + last * in.stride, -in.stride,
                            y + (last - 1) * out.stride, -out.stride, plan.D, true, x, plan.D,
                            mine});
    });
}

// fn(first token, tokens) over pieces of a step.
template <class Fn>
void for_each_rows(const Call& call, Fn&& fn) {
    call.parallel_for((call.tokens + kRows - 1) / kRows, [&](int64_t piece, size_t) {
        fn(piece * kRows, std::min(kRows, call.tokens - piece * kRows));
    });
}

}  // namespace

void run(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const S4Bound&>(base);
    const S4Plan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    const int64_t width = plan.C * plan.D;
    const auto workers = static_cast<int64_t>(call.runner.workers);
    const Matrix& out = call.slot(kY);
    const Tokens y = {out.as<float>(), out.stride};
    auto* kernel_scratch = scratch.take<float>(workers * DiagonalScan::scratch_floats(plan.M));
    const Tokens h = bare(plan) ? y : Tokens{scratch.take<float>(call.tokens * width), width};
    if (plan.bidirectional) {
        scan_both(bound, call, h, kernel_scratch,
                  scratch.take<float>(workers * 2 * plan.M * plan.D));
        convolve(bound, call, h, scratch.take<float>(workers * plan.conv_floats));
    } else {
        scan(bound, call, h, kernel_scratch);
    }
    if (plan.gelu) {
        const Tokens to = plan.rows == 0 ? y : h;
        for_each_rows(call, [&](int64_t t, int64_t count) {
            bound.elementwise->gelu(count, width, h.data + t * h.stride, h.stride,
                                    to.data + t * to.stride, to.stride);
        });
    }
    if (plan.rows == 0) {
        return;
    }
    auto* gemm = reinterpret_cast<float*>(
        scratch.take<std::byte>(static_cast<int64_t>(Linear::scratch_bytes(call.runner.workers))));
    const Tokens z = plan.glu ? Tokens{scratch.take<float>(call.tokens * plan.rows), plan.rows} : y;
    bound.output.run(call, call.tokens, h.data, h.stride, z.data, z.stride, gemm);
    if (plan.glu) {
        for_each_rows(call, [&](int64_t t, int64_t count) {
            const float* value = z.data + t * z.stride;
            bound.elementwise->glu(count, plan.D, value, z.stride, value + plan.D, z.stride,
                                   y.data + t * y.stride, y.stride);
        });
    }
}

void run_reference(const Bound& base, const Call& call) {
    const auto& bound = static_cast<const S4Bound&>(base);
    const S4Plan& plan = *bound.plan;
    Scratch scratch = call.scratch;
    const int64_t width = plan.C * plan.D;
    const int64_t kept = plan.bidirectional ? call.tokens * width : width;
    const int64_t part = kept + plan.rows + 2 * plan.M * (plan.D + 1);
    double* tokens = scratch.take<double>(static_cast<int64_t>(call.runner.workers) * part);
    const Matrix &in = call.slot(kX), &out = call.slot(kY);
    call.parallel_for(call.run_count, [&](int64_t r, size_t worker) {
        const RowRun& run = call.runs[r];
        double* state = plan.bidirectional ? nullptr : call.state<double>(0, run.state_row);
        for (int64_t s = run.first; s < run.first + run.count; ++s) {
            const Segment& segment = call.segments[s];
            if (segment.reset && state != nullptr) {
                zero_columns(state, 2 * plan.M, plan.D, 0, plan.D);
            }
            reference::S4Ref ref = bound.ref;
            ref.T = segment.count;
            ref.x = in.as<double>() + segment.first * in.stride;
            ref.state = state;
            ref.y = out.as<double>() + segment.first * out.stride;
            ref.scratch = tokens + static_cast<int64_t>(worker) * part;
            reference::s4(ref);
        }
    });
}

// ------------------------------------------------------------------ materialize

LaneInfo lanes(const Plan& plan) {
    const auto& p = static_cast<const S4Plan&>(plan);
    return {p.C * p.D, 1};
}

// Lane c D + d: v is u, M[i,j] = K_c[i-j], and D on the diagonal; y_core what the activation sees.
void materialize(const Bound& base, const MaterializeCall& call) {
    const auto& given = static_cast<const S4Bound&>(base);
    const S4Plan& plan = *given.plan;
    S4Bound exact;
    const Parameters parameters(plan, *given.weights);
    prepare(plan, parameters, exact);
    reference::S4Ref ref = exact.ref;
    ref.rows = 0;
    ref.gelu = false;
    ref.bidirectional = false;
    ref.skip = nullptr;
    const int64_t T = call.tokens, D = plan.D, width = plan.C * D;
    const auto array = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n)); };
    // The kernels are what an impulse gives.
    const auto kernels = [&](int64_t first) {
        std::vector<double> impulse = array(T * D), K = array(T * width),
                            state = array(2 * plan.M * D);
        std::vector<double> work = array(width + 2 * plan.M);
        std::fill_n(impulse.begin(), T > 0 ? D : 0, 1.0);
        reference::S4Ref one = ref;
        one.T = T;
        one.c = ref.c + 2 * first * D * plan.M;
        one.x = impulse.data();
        one.state = state.data();
        one.y = K.data();
        one.scratch = work.data();
        reference::s4(one);
        return K;
    };
    const std::vector<double> K = kernels(0);
    const std::vector<double> back = plan.bidirectional ? kernels(plan.C) : std::vector<double>();
    const double* x = call.slots[kX].as<double>();
    for (int64_t l = 0; l < call.lane_count; ++l) {
        const int64_t lane = call.lane_first + l, d = lane % D;
        const double skip =
            parameters.skip.empty() ? 0.0 : parameters.skip[static_cast<size_t>(lane)];
        for (int64_t t = 0; t < T; ++t) {
            call.operand[l * T + t] = x[t * D + d];
        }
        for (int64_t i = 0; i < call.count; ++i) {
            const int64_t row = call.first + i;
            double sum = 0.0;
            for (int64_t j = 0; j < T; ++j) {
                double m = j == row ? skip : 0.0;
                if (j <= row) {
                    m += K[static_cast<size_t>((row - j) * width + lane)];
                } else if (plan.bidirectional) {
                    m += back[static_cast<size_t>((j - row - 1) * width + lane)];
                }
                call.matrix[(l * call.count + i) * T + j] = m;
                sum += m * x[j * D + d];
            }
            call.core[l * call.count + i] = sum;
        }
    }
}

}  // namespace seqmix::mixers::s4
