// The naming schemes, one function each; plan_stack picks.
#pragma once

#include "base/status.h"
#include "models/formats/checkpoint.h"
#include "models/schemes/names.h"
#include "models/schemes/options.h"
#include "models/schemes/stack_spec.h"

namespace seqmix {

enum class MambaFlavour : uint8_t { mamba_ssm, mamba_hf, falcon_mamba };

Status plan_mamba(MambaFlavour flavour, const Checkpoint& checkpoint, TensorNames& names,
                  bool lenient, StackSpec& out);
Status plan_mambalite(TensorNames& names, bool lenient, StackSpec& out);

bool is_ckcnn(const TensorNames& names);
Status plan_ckcnn(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out);
bool is_hyenadna(const TensorNames& names);
Status plan_hyenadna(const Checkpoint& checkpoint, TensorNames& names, bool lenient,
                     SchemeOptions& options, StackSpec& out);
// One operator alone.
bool is_hyena(const TensorNames& names);
Status plan_hyena(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out);
bool is_h3(const TensorNames& names);
Status plan_h3(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out);

bool is_gpt(const TensorNames& names);
Status plan_gpt(const Checkpoint& checkpoint, TensorNames& names, bool lenient,
                SchemeOptions& options, StackSpec& out);
bool is_llama(const TensorNames& names);
Status plan_llama(const Checkpoint& checkpoint, TensorNames& names, bool lenient, StackSpec& out);
bool is_llama2c(const TensorNames& names);
Status plan_llama2c(const Checkpoint& checkpoint, TensorNames& names, bool lenient, StackSpec& out);

// What a GGUF file's keys call its architecture decides.
bool is_gguf(const Json* config);
Status plan_gguf(const Checkpoint& checkpoint, TensorNames& names, bool lenient, StackSpec& out);

bool is_s4_classifier(const TensorNames& names);
Status plan_s4_classifier(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out);
bool is_s4_model(const TensorNames& names);
Status plan_s4_model(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out);
bool is_s4_block(const TensorNames& names);
Status plan_s4_block(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out);

// The mixer of a Mamba-1 block. The tensors' names are `name_prefix` + "A_log" and so on.
struct MambaMixer {
    bool bias = false;
    bool conv_bias = true;
    const char* inner_norm = "none";
    double inner_norm_eps = 1e-6;
};
void expect_mixer(NameTable& table, size_t child, const std::string& name_prefix,
                  const MambaMixer& mixer);
// Once the sizes are known.
void set_mixer_attributes(const NameTable& table, const MambaMixer& mixer, Attributes& attributes);
void set_linear_attributes(int64_t d_in, int64_t d_out, bool bias, Attributes& attributes);
// What children of a model of tokens have in common, by their role: D, V, and the kind and epsilon of
// norms, a block's included.
void set_token_attributes(const NameTable& table, const char* norm, double eps, ChildSpec& child);
// vocab_size, d_model, d_input and n_classes from V, D, I and C; 0 where there is none.
void set_stack_attributes(const NameTable& table, bool tied, StackSpec& out);

}  // namespace seqmix
