// Cases of the types that models are made of: data only.
#include "contract/cases.h"

namespace seqmix::mixers {

namespace {

constexpr Work linear(double tokens, double in, double out) {
    return {.flops = 2 * tokens * in * out, .bytes = 4 * (in * out + tokens * (in + out))};
}
// Reads and writes each element; the arithmetic (4 flops each) is hidden behind that.
constexpr Work rowwise(double tokens, double d) {
    return {.flops = 4 * tokens * d, .bytes = 8 * tokens * d};
}

}  // namespace

extern const MixerCases embedding_cases;
const MixerCases embedding_cases = {
    .type = "embedding",
    .ranges = {{"tokens", 0, 6}, {"weight", -1.0, 1.0}},
    .cases = {{.name = "d24",
               .attributes = R"({"vocab_size":7,"d_model":24})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "d1531",
               .attributes = R"({"vocab_size":11,"d_model":1531})",
               .shapes = {{1, 7}},
               .ranges = {{"tokens", 0, 10}}},
              {.name = "f16",
               .attributes = R"({"vocab_size":7,"d_model":17})",
               .shapes = {{2, 7}, {2, 64}},
               .weights = "f16"}},
    .sweeps = {{.name = "widths", .attributes = R"({"vocab_size":7,"d_model":$})"}},
    .benches = {{.name = "B1_T2048_D768_V50280",
                 .attributes = R"({"vocab_size":50280,"d_model":768})",
                 .shape = {1, 2048},
                 .work = rowwise(2048, 768),
                 .limit = Limit::copy}},
};

extern const MixerCases positions_cases;
const MixerCases positions_cases = {
    .type = "positions",
    .cases = {{.name = "d17",
               .attributes = R"({"d_model":17,"max_tokens":2048})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}}},
    .sweeps = {{.name = "widths", .attributes = R"({"d_model":$,"max_tokens":2048})"}},
    .long_runs = {{.name = "d2",
                   .attributes = R"({"d_model":2,"max_tokens":65536})",
                   .shapes = {{1, 65536}}}},
};

extern const MixerCases linear_cases;
const MixerCases linear_cases = {
    .type = "linear",
    .ranges = {{"bias", -0.5, 0.5}},
    .cases = {{.name = "bias",
               .attributes = R"({"d_in":33,"d_out":47,"bias":true})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "no_bias",
               .attributes = R"({"d_in":64,"d_out":96,"bias":false})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "wide",
               .attributes = R"({"d_in":40,"d_out":1531,"bias":false})",
               .shapes = {{1, 7}, {2, 3}}},
              {.name = "deep",
               .attributes = R"({"d_in":1531,"d_out":17,"bias":true})",
               .shapes = {{1, 7}, {2, 3}}},
              {.name = "bf16",
               .attributes = R"({"d_in":31,"d_out":18,"bias":true})",
               .shapes = {{2, 7}, {2, 64}},
               .weights = "bf16"},
              {.name = "f16",
               .attributes = R"({"d_in":16,"d_out":33,"bias":false})",
               .shapes = {{2, 7}, {2, 64}},
               .weights = "f16"}},
    .sweeps = {{.name = "outputs", .attributes = R"({"d_in":5,"d_out":$,"bias":true})"},
               {.name = "inputs", .attributes = R"({"d_in":$,"d_out":6,"bias":false})"},
               {.name = "both", .attributes = R"({"d_in":@,"d_out":$,"bias":true})"}},
    .direct_outputs = true,
    .benches = {{.name = "B1_T512_K768_N3072",
                 .attributes = R"({"d_in":768,"d_out":3072,"bias":false})",
                 .shape = {1, 512},
                 .work = linear(512, 768, 3072)},
                {.name = "B1_T1_K768_N50280",
                 .phase = "decode",
                 .attributes = R"({"d_in":768,"d_out":50280,"bias":false})",
                 .shape = {1, 1},
                 .work = linear(1, 768, 50280),
                 .limit = Limit::read}},
};

extern const MixerCases norm_cases;
const MixerCases norm_cases = {
    .type = "norm",
    .ranges = {{"x", -3.0, 2.0},
               {"weight", 0.5, 1.5},
               {"bias", -0.5, 0.5},
               {"running_mean", -1.0, 1.0},
               {"running_var", 0.2, 3.0}},
    .cases = {{.name = "rms",
               .attributes = R"({"d_model":40,"kind":"rms","eps":1e-5})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "layer",
               .attributes = R"({"d_model":33,"kind":"layer","eps":1e-5})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "batch",
               .attributes = R"({"d_model":33,"kind":"batch","eps":1e-5})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "d1531",
               .attributes = R"({"d_model":1531,"kind":"rms","eps":1e-6})",
               .shapes = {{1, 7}, {2, 3}}},
              {.name = "large_eps",
               .attributes = R"({"d_model":8,"kind":"rms","eps":0.5})",
               .shapes = {{2, 7}, {2, 64}}}},
    .sweeps = {{.name = "rms", .attributes = R"({"d_model":$,"kind":"rms","eps":1e-5})"},
               {.name = "layer", .attributes = R"({"d_model":$,"kind":"layer","eps":1e-2})"},
               {.name = "batch", .attributes = R"({"d_model":$,"kind":"batch","eps":1e-2})"}},
    .benches = {{.name = "B1_T2048_D768",
                 .attributes = R"({"d_model":768,"kind":"rms","eps":1e-5})",
                 .shape = {1, 2048},
                 .work = rowwise(2048, 768),
                 .limit = Limit::copy}},
};

extern const MixerCases pool_cases;
const MixerCases pool_cases = {
    .type = "pool",
    .cases = {{.name = "mean",
               .attributes = R"({"d_model":24,"kind":"mean"})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}}},
              {.name = "d1531",
               .attributes = R"({"d_model":1531,"kind":"mean"})",
               .shapes = {{1, 7}, {2, 3}}},
              {.name = "last",
               .attributes = R"({"d_model":24,"kind":"last"})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}}}},
    .sweeps = {{.name = "mean", .attributes = R"({"d_model":$,"kind":"mean"})"}},
    .long_runs = {{.name = "mean",
                   .attributes = R"({"d_model":3})",
                   .shapes = {{1, 65536}},
                   .ranges = {{"x", 0.0, 1.0}},
                   .tolerance = {2e-4,
                                 "a running sum in f32 of 65,536 tokens of one sign: half a unit "
                                 "of the sum each, which grows with the square root of T"}}},
    .direct_outputs = true,
    .benches = {{.name = "B1_T2048_D768",
                 .attributes = R"({"d_model":768,"kind":"mean"})",
                 .shape = {1, 2048},
                 .work = {.flops = 2048 * 768, .bytes = 4 * 2048 * 768},
                 .limit = Limit::read}},
};

extern const MixerCases mlp_cases;
const MixerCases mlp_cases = {
    .type = "mlp",
    .ranges = {{"x", -3.0, 3.0}, {"fc1.bias", -0.5, 0.5}, {"fc2.bias", -0.5, 0.5}},
    .cases = {{.name = "gelu",
               .attributes = R"({"d_model":24,"d_hidden":33})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}}},
              {.name = "tanh",
               .attributes = R"({"d_model":17,"d_hidden":48,"activation":"gelu_tanh"})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}}},
              {.name = "swiglu",
               .attributes =
                   R"({"d_model":32,"d_hidden":37,"bias":false,"gated":true,"activation":"silu"})",
               .shapes = {{2, 7}, {2, 64}}},
              {.name = "geglu",
               .attributes = R"({"d_model":9,"d_hidden":20,"gated":true})",
               .shapes = {{2, 7}}},
              {.name = "silu",
               .attributes = R"({"d_model":9,"d_hidden":20,"activation":"silu"})",
               .shapes = {{2, 7}}},
              {.name = "relu",
               .attributes = R"({"d_model":9,"d_hidden":20,"activation":"relu","bias":false})",
               .shapes = {{2, 7}}}},
    .sweeps = {{.name = "hidden", .attributes = R"({"d_model":5,"d_hidden":$})"},
               {.name = "width",
                .attributes = R"({"d_model":$,"d_hidden":6,"activation":"gelu_tanh"})"}},
    .benches = {{.name = "B1_T512_D768_I3072",
                 .attributes = R"({"d_model":768,"d_hidden":3072})",
                 .shape = {1, 512},
                 .work = linear(512, 768, 2 * 3072)}},
};

extern const MixerCases block_cases;
const MixerCases block_cases = {
    .type = "block",
    .ranges = {{"norm.weight", 0.5, 1.5},
               {"norm.bias", -0.5, 0.5},
               {"norm.running_mean", -1.0, 1.0},
               {"norm.running_var", 0.2, 3.0},
               {"mixer.conv1d.bias", -0.5, 0.5},
               {"mixer.D", -1.5, 1.5},
               {"mixer.dt_proj.bias", -4.0, -1.0}},
    .cases = {{.name = "mamba",
               .attributes = R"({"d_model":24,"norm":"rms","norm_eps":1e-5,"mixer":"mamba",)"
                             R"("mixer.d_model":24,)"
                             R"("mixer.d_inner":48,"mixer.d_state":16,"mixer.dt_rank":2})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}}},
              {.name = "odd",
               .attributes = R"({"d_model":17,"norm":"layer","norm_eps":1e-2,"mixer":"mamba",)"
                             R"("mixer.d_model":17,)"
                             R"("mixer.d_inner":33,"mixer.d_state":5,"mixer.d_conv":3,)"
                             R"("mixer.dt_rank":3})",
               .shapes = {{2, 7}, {2, 64}}},
              {.name = "bare",
               .attributes = R"({"d_model":16,"norm":"none","residual":false,"mixer":"mamba",)"
                             R"("mixer.d_state":8})",
               .shapes = {{2, 7}, {2, 64}}},
              {.name = "batch",
               .attributes = R"({"d_model":18,"norm":"batch","mixer":"mamba",)"
                             R"("mixer.d_state":4})",
               .shapes = {{2, 7}, {2, 64}}},
              {.name = "postnorm",
               .attributes = R"({"d_model":19,"norm":"layer","norm_eps":1e-5,"postnorm":true,)"
                             R"("mixer":"mamba","mixer.d_state":4})",
               .shapes = {{2, 7}, {1, 1}, {2, 64}}},
              {.name = "reverse",
               .attributes =
                   R"({"d_model":16,"mixer":"mamba","mixer.d_state":8,"mixer.reverse":true})",
               .shapes = {{2, 7}, {1, 513}}}},
    .sweeps = {{.name = "widths",
                .attributes = R"({"d_model":$,"norm":"rms","norm_eps":1e-5,"mixer":"mamba",)"
                              R"("mixer.d_model":$,)"
                              R"("mixer.d_inner":$,"mixer.d_state":4,"mixer.dt_rank":2})"}},
    .long_runs = {{.name = "mamba",
                   .attributes = R"({"d_model":4,"norm":"rms","norm_eps":1e-5,"mixer":"mamba",)"
                                 R"("mixer.d_model":4,)"
                                 R"("mixer.d_inner":6,"mixer.d_state":4,"mixer.dt_rank":1})",
                   .shapes = {{1, 65536}},
                   .ranges = {{"mixer.dt_proj.bias", -8.0, -7.0}, {"mixer.A_log", -1.0, 0.0}},
                   .tolerance = {3e-5,
                                 "a state in f32 under decays of 1 - 1e-4 gathers the rounding of "
                                 "some 10,000 tokens, half a unit each"}}},
    .blocks = {16, 32, 64, 128, 256},
    .lanes = "mixer.d_inner",
};

// Attributes are a config.json of transformers' Mamba dialect; the suite writes the checkpoint.
#define SEQMIX_STACK_CONFIG(sizes)                                                       \
    R"({"model_type":"mamba","architectures":["MambaForCausalLM"],"hidden_act":"silu",)" \
    R"("layer_norm_epsilon":1e-5,"residual_in_fp32":true,"expand":2,)" sizes "}"

extern const MixerCases stack_cases;
const MixerCases stack_cases = {
    .type = "stack",
    .from_checkpoint = true,
    .ranges = {{"tokens", 0, 28}},
    .cases = {{.name = "tied",
               .attributes = SEQMIX_STACK_CONFIG(
                   R"("vocab_size":29,"hidden_size":24,"intermediate_size":48,"state_size":16,)"
                   R"("conv_kernel":4,"time_step_rank":2,"num_hidden_layers":2,"use_bias":false,)"
                   R"("use_conv_bias":true,"tie_word_embeddings":true)"),
               .shapes = {{2, 7}, {1, 1}, {2, 64}, {1, 513}, {2, 1100}},
               .absent = {"embeds", "x"}},
              {.name = "untied_biases",
               .attributes = SEQMIX_STACK_CONFIG(
                   R"("vocab_size":33,"hidden_size":17,"intermediate_size":34,"state_size":5,)"
                   R"("conv_kernel":3,"time_step_rank":3,"num_hidden_layers":1,"use_bias":true,)"
                   R"("use_conv_bias":false,"tie_word_embeddings":false)"),
               .shapes = {{2, 7}, {2, 64}},
               .absent = {"embeds", "x"}},
              {.name = "bf16",
               .attributes = SEQMIX_STACK_CONFIG(
                   R"("vocab_size":29,"hidden_size":16,"intermediate_size":32,"state_size":8,)"
                   R"("conv_kernel":4,"time_step_rank":1,"num_hidden_layers":3,"use_bias":false,)"
                   R"("use_conv_bias":true,"tie_word_embeddings":false,"dtype":"bfloat16")"),
               .shapes = {{2, 7}, {2, 64}},
               .absent = {"embeds", "x"},
               .weights = "bf16"},
              // Attention between Mamba layers: one state of both kinds.
              {.name = "attention",
               .attributes = SEQMIX_STACK_CONFIG(
                   R"("vocab_size":29,"hidden_size":16,"intermediate_size":32,"state_size":4,)"
                   R"("conv_kernel":4,"time_step_rank":1,"num_hidden_layers":3,"use_bias":false,)"
                   R"("use_conv_bias":true,"tie_word_embeddings":true,"attn_layer_idx":[1],)"
                   R"("max_position_embeddings":2048,"attn_cfg":{"num_heads":4,"causal":true,)"
                   R"("num_heads_kv":2,"rotary_emb_dim":4})"),
               .shapes = {{2, 7}, {2, 64}},
               .absent = {"embeds", "x"}},
              {.name = "embeds",
               .attributes = SEQMIX_STACK_CONFIG(
                   R"("vocab_size":29,"hidden_size":16,"intermediate_size":32,"state_size":8,)"
                   R"("conv_kernel":4,"time_step_rank":1,"num_hidden_layers":2,"use_bias":false,)"
                   R"("use_conv_bias":true,"tie_word_embeddings":true)"),
               .shapes = {{2, 7}, {2, 64}},
               .absent = {"tokens", "x"}}},
    .long_runs = {{.name = "tied",
                   .attributes = SEQMIX_STACK_CONFIG(
                       R"("vocab_size":29,"hidden_size":8,"intermediate_size":16,"state_size":4,)"
                       R"("conv_kernel":4,"time_step_rank":1,"num_hidden_layers":1,)"
                       R"("use_bias":false,"use_conv_bias":true,"tie_word_embeddings":true)"),
                   .shapes = {{1, 65536}},
                   .absent = {"embeds", "x"}}},
    .direct_outputs = true,
};

}  // namespace seqmix::mixers
