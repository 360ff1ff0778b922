// The schemas of s4d, s4 and dss (mixers/s4/s4.h).
#include "mixers/s4/s4.h"

#include <iterator>

#include "mixers/s4/layer.h"
#include "primitives/hippo/hippo.h"

namespace seqmix::mixers {
namespace {

using namespace s4;
using reference::S4Kind;
using reference::S4Rule;
using reference::S4Transform;

constexpr int64_t kMostDplrStates = 512;

// ------------------------------------------------------------------ attributes

#define SEQMIX_S4_COMMON                                                                           \
    {"d_model", AttributeType::i64, nullptr, 1, kMaxSize, nullptr, "width D of input and output"}, \
        {"channels", AttributeType::i64, "1", 1, 65536, nullptr, "outputs C of each channel"},     \
        {"d_inner",                                                                                \
         AttributeType::i64,                                                                       \
         "0",                                                                                      \
         0,                                                                                        \
         0,                                                                                        \
         nullptr,                                                                                  \
         "channels times d_model, filled in; what is given is not read"},                          \
        {"bidirectional",                                                                          \
         AttributeType::boolean,                                                                   \
         "false",                                                                                  \
         0,                                                                                        \
         0,                                                                                        \
         nullptr,                                                                                  \
         "a second half of the kernels reads from the end; takes whole sequences"},                \
        {"rate",                                                                                   \
         AttributeType::f64,                                                                       \
         "1",                                                                                      \
         1e-6,                                                                                     \
         1e6,                                                                                      \
         nullptr,                                                                                  \
         "multiplies the step: the sampling rate trained on over that of the input"},              \
        {"kernel_length",                                                                          \
         AttributeType::i64,                                                                       \
         "1024",                                                                                   \
         1,                                                                                        \
         1 << 24,                                                                                  \
         nullptr,                                                                                  \
         "tokens of the longest kernel that is made"},                                             \
        {"activation", AttributeType::str, "gelu", 0, 0, "gelu|none", "after the skip"},           \
        {"output",                                                                                 \
         AttributeType::str,                                                                       \
         "glu",                                                                                    \
         0,                                                                                        \
         0,                                                                                        \
         "glu|linear|none",                                                                        \
         "output_linear with a gated linear unit, alone, or none"},                                \
        {"dt_min", AttributeType::f64, "0.001", 1e-9, 1e3, nullptr, "least initial step"},         \
        {"dt_max", AttributeType::f64, "0.1", 1e-9, 1e3, nullptr, "largest initial step"}, {       \
        "reverse", AttributeType::boolean, "false", 0, 0, nullptr, "read the tokens last to first" \
    }
#define SEQMIX_S4_STORED                                                                          \
    {"d_state",                                                                                   \
     AttributeType::i64,                                                                          \
     "64",                                                                                        \
     1,                                                                                           \
     65536,                                                                                       \
     nullptr,                                                                                     \
     "states N of a channel: N/2 complex modes, one of each conjugate pair (real: N real ones)"}, \
        {"n_ssm",                                                                                 \
         AttributeType::i64,                                                                      \
         "1",                                                                                     \
         1,                                                                                       \
         kMaxSize,                                                                                \
         nullptr,                                                                                 \
         "copies S of A, B (and P); channel h uses copy h mod S"},                                \
        {"dt_transform", AttributeType::str, "exp", 0, 0, "exp|softplus|none", "step of inv_dt"}, \
        {"real_transform",                                                                        \
         AttributeType::str,                                                                      \
         "exp",                                                                                   \
         0,                                                                                       \
         0,                                                                                       \
         "exp|relu|sigmoid|softplus|none",                                                        \
         "real part of A = - transform(A_real); relu adds 1e-4"},                                 \
    {                                                                                             \
        "imag_sign", AttributeType::str, "negative", 0, 0, "negative|positive",                   \
            "imaginary part of A is -A_imag, or A_imag"                                           \
    }

constexpr AttributeSpec kDiagonalAttributes[] = {
    SEQMIX_S4_COMMON,
    SEQMIX_S4_STORED,
    {"dt_tie", AttributeType::boolean, "true", 0, 0, nullptr,
     "one step for all modes of a channel"},
    {"discretization", AttributeType::str, "zoh", 0, 0, "zoh|bilinear|dss",
     "zero-order hold, bilinear, or a softmax over kernel_length tokens (without the factor 2)"},
    {"real", AttributeType::boolean, "false", 0, 0, nullptr, "A, B and C are real"},
    {"factor", AttributeType::f64, "2", -1e6, 1e6, nullptr,
     "of the output: 2 for conjugate pairs (and in released code for real modes too)"},
    {"parameters", AttributeType::str, "stored", 0, 0, "stored|poles",
     "as checkpoints store them, or poles, residues and step themselves"},
    {"init", AttributeType::str, "lin", 0, 0, "lin|inv|inv2|quad|legs|diag|real|rand",
     "initial A and B; diag: half of the copies inv, half lin"},
};
constexpr AttributeSpec kDplrAttributes[] = {
    SEQMIX_S4_COMMON,
    SEQMIX_S4_STORED,
    {"rank", AttributeType::i64, "1", 1, 2, nullptr, "columns of P"},
    {"l_kernel", AttributeType::i64, "0", 0, int64_t{1} << 30, nullptr,
     "kernel.C is C (I - A^l_kernel); 0: C itself"},
    {"init", AttributeType::str, "legs", 0, 0, "legs|legt|lagt|fout|hippo",
     "initial A, B and P; hippo: half of the copies legs, half fout"},
};
constexpr AttributeSpec kDssAttributes[] = {
    SEQMIX_S4_COMMON,
    {"d_state", AttributeType::i64, "64", 1, 65536, nullptr, "complex modes N of a channel"},
    {"version", AttributeType::str, "exp", 0, 0, "exp|exp-re-im|exp-no-scale|clip|softmax",
     "real part -exp(re) (exp: imaginary part im, or exp(im)); at most 1e-4 (clip); any (softmax "
     "over "
     "kernel_length tokens)"},
};

// ------------------------------------------------------------------ slots

#define SEQMIX_S4_CALL                                                    \
    {kX, "x", Role::input, false, kReal, "(B,T,D)", "input"}, {           \
        kY, "y", Role::output, false, kReal, "(B,T,Y)",                   \
            "output; without output_linear (C,D) channels, outputs first" \
    }
#define SEQMIX_S4_AFTER                                                                      \
    {kD, "D", Role::weight, true, kWeight, "(C,D)|(D)", "skip; absent: none"},               \
        {kOutput,         "output_linear.weight",      Role::weight, false, kWeight,         \
         "(O,F)|(O,F,1)", "value rows, then gate rows"},                                     \
    {                                                                                        \
        kOutputBias, "output_linear.bias", Role::weight, false, kWeight, "(O)", "bias of it" \
    }
#define SEQMIX_S4_A                                                                                \
    {                                                                                              \
        kStep,       "kernel.inv_dt",           Role::weight, false, kWeight,                      \
        "(D,I)|(D)", "step before dt_transform"},                                                  \
        {kAReal, "kernel.A_real", Role::weight, false, kWeight, "(S,M)", "before real_transform"}, \
    {                                                                                              \
        kAImag, "kernel.A_imag", Role::weight, false, kWeight, "(S,M)", "see imag_sign"            \
    }

constexpr SlotSpec kDiagonalSlots[] = {
    SEQMIX_S4_CALL,
    SEQMIX_S4_A,
    {kB, "kernel.B", Role::weight, true, kWeight, "(1,S,M,2)|(S,M,2)", "absent: 1"},
    {kC, "kernel.C", Role::weight, false, kWeight, "(K,D,M,2)|(D,M,2)", "K kernels a channel"},
    SEQMIX_S4_AFTER,
    {kPoles, "poles", Role::weight, false, kWeight, "(S,M,2)", "A itself"},
    {kResidues, "residues", Role::weight, false, kWeight, "(K,D,M,2)|(D,M,2)", "C times B"},
    {kDirectStep, "step", Role::weight, false, kWeight, "(D)", "the step itself"},
};
constexpr SlotSpec kDplrSlots[] = {
    SEQMIX_S4_CALL,
    SEQMIX_S4_A,
    {kB, "kernel.B", Role::weight, false, kWeight, "(1,S,M,2)|(S,M,2)", "input"},
    {kC, "kernel.C", Role::weight, false, kWeight, "(K,D,M,2)|(D,M,2)",
     "K kernels a channel, see l_kernel"},
    {kP, "kernel.P", Role::weight, false, kWeight, "(Q,S,M,2)", "A is diag(A) - P P*"},
    SEQMIX_S4_AFTER,
};
constexpr SlotSpec kDssSlots[] = {
    SEQMIX_S4_CALL,
    {kLambda, "Lambda", Role::weight, false, kWeight, "(M,2)", "see version"},
    {kW, "W", Role::weight, false, kWeight, "(K,D,M,2)|(D,M,2)", "K kernels a channel"},
    {kLogDt, "log_dt", Role::weight, false, kWeight, "(D,2)",
     "logarithms of the steps of the real and the imaginary part"},
    SEQMIX_S4_AFTER,
};
constexpr StateSpec kStates[] = {
    {kState, "state", "(D,2M)", true, "x after the last token: re, im of each mode in turn"},
};

constexpr Capabilities kCapabilities = {.stateful = true, .reversible = true, .materialize = true};
constexpr Schema kDiagonal = {
    .type = "s4d",
    .doc = "Diagonal state-space layer S4D: kernel, skip, activation, gated output map",
    .source = "Gu, Gupta, Goel and Re 2022, S4D, equations 3 to 8",
    .operation = false,
    .attributes = kDiagonalAttributes,
    .slots = kDiagonalSlots,
    .states = kStates,
    .capabilities = kCapabilities,
    .chunk = 512,
};
constexpr Schema kDplr = {
    .type = "s4",
    .doc =
        "Structured state-space layer S4 (diagonal plus low rank): kernel, skip, activation, "
        "gated output map",
    .source = "Gu, Goel and Re 2022, S4, section 3 and appendix C",
    .operation = false,
    .attributes = kDplrAttributes,
    .slots = kDplrSlots,
    .states = kStates,
    .capabilities = kCapabilities,
    .chunk = 512,
};
constexpr Schema kDss = {
    .type = "dss",
    .doc = "Diagonal state-space layer DSS: kernel, skip, activation, gated output map",
    .source = "Gupta, Gu and Berant 2022, DSS, proposition 1",
    .operation = false,
    .attributes = kDssAttributes,
    .slots = kDssSlots,
    .states = kStates,
    .capabilities = kCapabilities,
    .chunk = 512,
};

// ------------------------------------------------------------------ describe

std::unique_ptr<S4Plan> start(S4Kind kind, const Attributes& given) {
    auto plan = std::make_unique<S4Plan>();
    plan->attributes = given;
    plan->kind = kind;
    plan->rule = S4Rule::bilinear;
    plan->step_transform = plan->real_transform = S4Transform::exp;
    plan->imag_transform = S4Transform::none;
    plan->S = plan->step_columns = 1;
    plan->rank = plan->l_kernel = 0;
    plan->factor = 2.0;
    plan->imag_sign = 1.0;
    plan->clip = 0.0;
    plan->real = plan->poles = false;
    return plan;
}

Status read_stored(const char* type, const Attributes& given, S4Plan& plan) {
    const int64_t N = given.i64("d_state");
    if (!plan.real && N % 2 != 0) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, type, ": attribute 'd_state' is ", N,
                    ", expected an even number: conjugate pairs");
    }
    plan.M = plan.real ? N : N / 2;
    plan.S = given.i64("n_ssm");
    plan.step_transform = transform_named(given.str("dt_transform"));
    plan.real_transform = transform_named(given.str("real_transform"));
    plan.imag_sign = given.str("imag_sign") == "negative" ? -1.0 : 1.0;
    return Status();
}

// Real tensors have no last axis of 2.
void make_real(S4Plan& plan) {
    for (const char* name : {"kernel.B", "kernel.C"}) {
        Slot* slot = plan.find(name);
        for (auto& shape : slot->shapes) {
            shape.pop_back();
        }
        slot->shape_text = name == std::string("kernel.B") ? "(1,S,M)|(S,M)" : "(K,D,M)|(D,M)";
    }
    remove_slot(plan, "kernel.A_imag");
}

Status describe_diagonal(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = start(S4Kind::diagonal, given);
    const std::string& rule = given.str("discretization");
    plan->rule = rule == "zoh" ? S4Rule::zoh : rule == "dss" ? S4Rule::softmax : S4Rule::bilinear;
    plan->real = given.flag("real");
    plan->poles = given.str("parameters") == "poles";
    plan->factor = rule == "dss" ? 1.0 : given.f64("factor");
    if (plan->real && plan->poles) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "s4d",
                    ": attribute 'real' is true, expected false with 'parameters' poles");
    }
    SEQMIX_TRY(read_stored("s4d", given, *plan));
    if (plan->poles) {
        plan->step_transform = plan->real_transform = S4Transform::none;
        plan->imag_sign = 1.0;
    } else if (!given.flag("dt_tie")) {
        plan->step_columns = plan->M;
    }
    SEQMIX_TRY(describe_layer(kDiagonal, given, *plan));
    if (plan->poles) {
        for (const char* name :
             {"kernel.inv_dt", "kernel.A_real", "kernel.A_imag", "kernel.B", "kernel.C"}) {
            remove_slot(*plan, name);
        }
    } else {
        remove_slot(*plan, "poles");
        remove_slot(*plan, "residues");
        remove_slot(*plan, "step");
    }
    if (plan->real) {
        make_real(*plan);
    }
    out = std::move(plan);
    return Status();
}

Status describe_dplr(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = start(S4Kind::dplr, given);
    SEQMIX_TRY(read_stored("s4", given, *plan));
    // Creating a layer costs N^3 a channel, which a small file must not make endless.
    if (2 * plan->M > kMostDplrStates) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "s4: attribute 'd_state' is ", 2 * plan->M,
                    ", expected at most ", kMostDplrStates);
    }
    plan->rank = given.i64("rank");
    plan->l_kernel = given.i64("l_kernel");
    if (given.str("init") == "legt" && plan->rank != 2) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, "s4", ": attribute 'rank' is ", plan->rank,
                    ", expected 2 with 'init' legt");
    }
    SEQMIX_TRY(describe_layer(kDplr, given, *plan));
    out = std::move(plan);
    return Status();
}

Status describe_dss(const Attributes& given, std::unique_ptr<Plan>& out) {
    auto plan = start(S4Kind::dss, given);
    const std::string& version = given.str("version");
    plan->M = given.i64("d_state");
    plan->factor = 1.0;
    plan->rule = version == "softmax"        ? S4Rule::softmax
                 : version == "exp-no-scale" ? S4Rule::exp_no_scale
                                             : S4Rule::exp;
    const bool free = version == "softmax" || version == "clip";
    plan->real_transform = free ? S4Transform::none : S4Transform::exp;
    plan->imag_transform = version == "exp-re-im" ? S4Transform::exp : S4Transform::none;
    plan->clip = version == "softmax" ? 1e30 : version == "clip" ? 1e-4 : 0.0;
    SEQMIX_TRY(describe_layer(kDss, given, *plan));
    out = std::move(plan);
    return Status();
}

constexpr Mixer mixer(const Schema& schema,
                      Status (*describe)(const Attributes&, std::unique_ptr<Plan>&)) {
    return {.schema = &schema,
            .describe = describe,
            .bind = bind,
            .scratch = scratch,
            .run = run,
            .run_reference = run_reference,
            .lanes = lanes,
            .materialize = materialize,
            .init = init,
            .check = nullptr};
}

}  // namespace

extern const Mixer s4d_mixer;
const Mixer s4d_mixer = mixer(kDiagonal, describe_diagonal);
extern const Mixer s4_mixer;
const Mixer s4_mixer = mixer(kDplr, describe_dplr);
extern const Mixer dss_mixer;
const Mixer dss_mixer = mixer(kDss, describe_dss);

}  // namespace seqmix::mixers
