// Models of llama.cpp's GGUF files, by `general.architecture`: `llama` (llama.cpp), and `mamba`:
//
//   token_embd.weight   output_norm.weight   output.weight (absent: the embedding's)
//   blk.{L}.attn_norm.weight   blk.{L}.ssm_{in,conv1d,x,dt,out}.weight   blk.{L}.ssm_{conv1d,dt}.bias
//   blk.{L}.ssm_a = -exp(A_log)   blk.{L}.ssm_d
//
// What the model is stands in the file's keys; config.json is not read. The names are llama.cpp's
// (src/llama-arch.cpp, src/models).
#include <string>

#include "contract/schema.h"
#include "models/schemes/gguf_keys.h"
#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr const char* kSource = "GGUF";
constexpr const char* kMamba = "gguf_mamba";
constexpr const char* kArchitecture = "general.architecture";

struct MambaFacts {
    int64_t layers = 0;
    bool tied = false;
    double norm_eps = 0;
    MambaMixer mixer;
};

void expect_layer(const MambaFacts& facts, int64_t layer, NameTable& table, StackSpec& out) {
    struct Row {
        const char *name, *slot, *shape;
        bool present;
    };
    // First those that give one size each, so that a message blames the tensor that disagrees.
    const Row rows[] = {
        {"ssm_a", "A_log", "E,N", true},
        {"ssm_conv1d.weight", "conv1d.weight", "E,K", true},
        {"ssm_dt.weight", "dt_proj.weight", "E,R", true},
        {"ssm_d", "D", "E", true},
        {"ssm_in.weight", "in_proj.weight", "2E,D", true},
        {"ssm_conv1d.bias", "conv1d.bias", "E", facts.mixer.conv_bias},
        {"ssm_x.weight", "x_proj.weight", "R+2N,E", true},
        {"ssm_dt.bias", "dt_proj.bias", "E", true},
        {"ssm_out.weight", "out_proj.weight", "D,E", true},
    };
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const size_t child = out.add_child("block", "block");
    table.expect(child, prefix + "attn_norm.weight", "norm.weight", "D");
    for (const Row& row : rows) {
        if (row.present) {
            table.expect(child, prefix + row.name, std::string("mixer.") + row.slot, row.shape);
        }
    }
}

void set_attributes(const MambaFacts& facts, const NameTable& table, StackSpec& out) {
    for (ChildSpec& child : out.children) {
        set_token_attributes(table, "rms", facts.norm_eps, child);
        if (child.role == "block") {
            child.attributes.set("residual", true);
            set_mixer_attributes(table, facts.mixer, child.attributes);
        }
        for (WeightRef& ref : child.weights) ref.log_of_negative = ref.slot == "mixer.A_log";
    }
    set_stack_attributes(table, facts.tied, out);
}

Status plan_mamba(const GgufKeys& keys, TensorNames& names, bool lenient, StackSpec& out) {
    out.scheme = kMamba;
    MambaFacts facts;
    SEQMIX_TRY(names.count_layers("blk.", &facts.layers));
    SEQMIX_TRY(keys.check_layers(facts.layers));
    SEQMIX_TRY(keys.norm_eps(&facts.norm_eps));
    std::optional<bool> inner_norm;
    SEQMIX_TRY(keys.flag("ssm.dt_b_c_rms", &inner_norm));
    if (inner_norm.value_or(false)) {
        facts.mixer.inner_norm = "rms";  // with FalconMamba's own epsilon, which no key has
    }
    facts.mixer.conv_bias = names.has_in_layers("blk.", ".ssm_conv1d.bias");
    facts.tied = !names.has("output.weight");
    NameTable table(kMamba, names);
    table.expect(out.add_child("embedding", "embedding"), "token_embd.weight", "weight", "V,D");
    for (int64_t layer = 0; layer < facts.layers; ++layer) {
        expect_layer(facts, layer, table, out);
    }
    table.expect(out.add_child("norm", "norm"), "output_norm.weight", "weight", "D");
    table.expect(out.add_child("head", "linear"),
                 facts.tied ? "token_embd.weight" : "output.weight", "weight", "V,D");
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    const struct {
        const char* key;
        char letter;
    } sizes[] = {{"embedding_length", 'D'},
                 {"ssm.inner_size", 'E'},
                 {"ssm.state_size", 'N'},
                 {"ssm.conv_kernel", 'K'},
                 {"ssm.time_step_rank", 'R'}};
    for (const auto& size : sizes) {
        SEQMIX_TRY(keys.cross_check(size.key, size.letter, table));
    }
    SEQMIX_TRY(table.verify());
    set_attributes(facts, table, out);
    return {};
}

}  // namespace

// ------------------------------------------------------------------ keys

GgufKeys::GgufKeys(const Json& keys) : keys_(keys) {
    if (const auto* text = find_as<std::string>(keys, kArchitecture); text != nullptr) {
        architecture_ = *text;
    }
}

Status GgufKeys::number(const char* name, std::optional<double>* out) const {
    return get_float(keys_, kSource, full(name).c_str(), *out);
}

Status GgufKeys::text(const char* name, std::optional<std::string>* out) const {
    return get_string(keys_, kSource, full(name).c_str(), *out);
}

Status GgufKeys::flag(const char* name, std::optional<bool>* out) const {
    return get_bool(keys_, kSource, full(name).c_str(), *out);
}

Status GgufKeys::size(const char* name, int64_t* out) const {
    std::optional<int64_t> value;
    SEQMIX_TRY(get_int(keys_, kSource, full(name).c_str(), value));
    if (value && (*value < 1 || *value > kMaxSize)) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", full(name), "' is ", *value,
                    ", expected 1 to ", kMaxSize);
    }
    *out = value.value_or(*out);
    return {};
}

Status GgufKeys::cross_check(const char* name, char letter, const NameTable& table) const {
    int64_t value = 0;
    SEQMIX_TRY(size(name, &value));
    return value == 0 ? Status() : table.cross_check(letter, full(name), value, "the file");
}

Status GgufKeys::norm_eps(double* out) const {
    constexpr const char* kName = "attention.layer_norm_rms_epsilon";
    std::optional<double> value;
    SEQMIX_TRY(number(kName, &value));
    if (!value) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": there is no key '", full(kName), "'");
    }
    if (!(*value >= 0 && *value <= 1)) {
        return fail(SEQMIX_ERR_BAD_FORMAT, kSource, ": '", full(kName), "' is ", *value,
                    ", expected 0 to 1");
    }
    *out = *value;
    return {};
}

Status GgufKeys::check_layers(int64_t layers) const {
    int64_t given = layers;
    SEQMIX_TRY(size("block_count", &given));
    if (given != layers) {
        return fail(SEQMIX_ERR_SHAPE, kSource, ": the tensors have ", layers,
                    " layers (1 + the largest index), but '", full("block_count"), "' is ", given);
    }
    return {};
}

Status GgufKeys::refuse(std::initializer_list<const char*> names, double neutral) const {
    for (const char* name : names) {
        const Json* value = find_member(keys_, full(name));
        double number = 0;
        if (value == nullptr) continue;
        const auto* flag = value->get_if<bool>();
        if (flag != nullptr ? !*flag
                            : get_number(*value, &number) && (number == 0 || number == neutral)) {
            continue;
        }
        return fail(SEQMIX_ERR_UNSUPPORTED, kSource, ": '", full(name), "' is ", describe(*value),
                    ", which is not supported");
    }
    return {};
}

// ------------------------------------------------------------------ which model

bool is_gguf(const Json* config) {
    return config != nullptr && find_as<std::string>(*config, kArchitecture) != nullptr;
}

Status plan_gguf(const Checkpoint& checkpoint, TensorNames& names, bool lenient, StackSpec& out) {
    if (!is_gguf(checkpoint.config.get())) {
        return fail(SEQMIX_ERR_UNSUPPORTED, "gguf: a file of ", checkpoint.format,
                    ", expected GGUF");
    }
    const GgufKeys keys(*checkpoint.config);
    if (keys.architecture() == "mamba") return plan_mamba(keys, names, lenient, out);
    if (keys.architecture() == "llama") return plan_gguf_llama(keys, names, lenient, out);
    return fail(SEQMIX_ERR_UNSUPPORTED, kSource, ": '", kArchitecture, "' is ",
                in_quotes(keys.architecture(), 40), ", expected llama or mamba");
}

}  // namespace seqmix
