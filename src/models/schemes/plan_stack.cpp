// Which naming scheme a checkpoint follows.
#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "models/schemes/mamba_config.h"
#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

enum Scheme : uint8_t {
    kMambaSsm,
    kMambaHf,
    kFalconMamba,
    kMambalite,
    kS4Classifier,
    kS4Model,
    kS4Block,
    kCkcnn,
    kHyenaDna,
    kHyena,
    kH3,
    kGpt,
    kLlama,
    kLlama2c,
    kGguf
};

struct Known {
    Scheme scheme;
    const char* name;
    const char* telling;  // for messages
};

constexpr Known kKnown[] = {
    {kMambaSsm, "mamba_ssm", "backbone.embedding.weight"},
    {kMambaHf, "mamba_hf", "backbone.embeddings.weight, config.json model_type mamba"},
    {kFalconMamba, "falcon_mamba",
     "backbone.embeddings.weight, config.json model_type falcon_mamba"},
    {kMambalite, "mambalite", "mamba.A_log with linear_in.weight"},
    {kS4Classifier, "s4_classifier",
     "s4_layers.0.layer.kernel.inv_dt, s4_layers.0.kernel.log_A_real"},
    {kS4Model, "s4_model", "model.layers.0.layer.layer.kernel.inv_dt with encoder.0.weight"},
    {kS4Block, "s4_block", "layer.kernel.inv_dt, kernel.log_A_real"},
    {kCkcnn, "ckcnn", "backbone.0.cconv1.Kernel.kernel_net.0.weight_v"},
    {kHyenaDna, "hyenadna", "backbone.layers.0.mixer.filter_fn.bias"},
    {kHyena, "hyena", "filter_fn.implicit_filter.0.weight"},
    {kH3, "h3", "ssm_k_kernel.kernel.C"},
    {kGpt, "gpt2", "h.0.attn.c_attn.weight"},
    {kLlama, "llama", "layers.0.self_attn.q_proj.weight with input_layernorm and mlp.gate_proj"},
    {kLlama2c, "llama2c", "layers.0.attention.wq.weight, from a .bin of llama2.c"},
    {kGguf, "gguf", "general.architecture llama or mamba, of a GGUF file"},
};

// Models that users have and the library does not run yet: part of a name, and what it tells.
constexpr struct {
    std::string_view part;
    const char* what;
} kRecognised[] = {
    {".mixer.dt_bias", "Mamba-2"},  {".mamba.", "a hybrid of Mamba and attention"},
    {".mixer.filter_fn.", "Hyena"}, {"kernel.inv_dt", "S4"},
    {"kernel.log_dt", "S4"},        {"kernel.log_A_real", "S4D"},
};

const char* recognised(const TensorNames& names) {
    for (const auto& kind : kRecognised) {
        for (const auto& [name, entry] : names) {
            if (name.find(kind.part) != std::string_view::npos) {
                return kind.what;
            }
        }
    }
    return nullptr;
}

std::string known_schemes() {
    std::string text;
    for (const Known& known : kKnown) {
        text += (text.empty() ? "" : "; ") + std::string(known.name) + " (" + known.telling + ")";
    }
    return text;
}

// All schemes whose telling names are there. One name is not enough to tell a whole model by: an
// incomplete file should be called incomplete, not unknown.
std::vector<Scheme> candidates(const TensorNames& names, const Json* config) {
    std::vector<Scheme> result;
    if (is_gguf(config)) {  // which names its model
        return {kGguf};
    }
    constexpr std::string_view kLayers = "backbone.layers.";
    const bool mamba1 = names.has_in_layers(kLayers, ".mixer.A_log") ||
                        names.has_in_layers(kLayers, ".mixer.x_proj.weight") ||
                        names.has_in_layers(kLayers, ".mixer.dt_proj.weight");
    if (mamba1 && !names.has_in_layers(kLayers, ".mixer.dt_bias")) {
        const std::string type = config == nullptr ? "" : model_type(*config);
        bool singular = names.has("backbone.embedding.weight");
        bool plural = names.has("backbone.embeddings.weight");
        if (!singular && !plural && config != nullptr) {
            plural = find_member(*config, "hidden_size") != nullptr;
            singular = !plural && find_member(*config, "d_model") != nullptr;
        }
        if (type == "falcon_mamba") {
            result.push_back(kFalconMamba);
        } else {
            if (singular || !plural) {
                result.push_back(kMambaSsm);
            }
            if (plural || !singular) {
                result.push_back(kMambaHf);
                if (type.empty()) {
                    result.push_back(kFalconMamba);  // the same names, other mathematics
                }
            }
        }
    }
    if ((names.has("mamba.A_log") || names.has("mamba.x_proj.weight")) &&
        (names.has("linear_in.weight") || names.has("classifier.weight"))) {
        result.push_back(kMambalite);
    }
    if (is_s4_classifier(names)) {
        result.push_back(kS4Classifier);
    } else if (is_s4_model(names)) {
        result.push_back(kS4Model);
    } else if (is_h3(names)) {  // its second kernel has names of S4's
        result.push_back(kH3);
    } else if (is_s4_block(names)) {
        result.push_back(kS4Block);
    }
    if (is_ckcnn(names)) {
        result.push_back(kCkcnn);
    }
    if (is_hyenadna(names)) {
        result.push_back(kHyenaDna);
    }
    if (is_hyena(names)) {
        result.push_back(kHyena);
    }
    if (is_gpt(names)) {
        result.push_back(kGpt);
    }
    if (is_llama(names)) {
        result.push_back(kLlama);
    }
    if (is_llama2c(names)) {
        result.push_back(kLlama2c);
    }
    return result;
}

Status no_scheme(const TensorNames& names) {
    if (const char* what = recognised(names); what != nullptr) {
        return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint: the tensors' names are those of ", what,
                    ", which is not supported yet; known schemes: ", known_schemes());
    }
    const auto first = names.begin();
    return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint: no naming scheme fits its tensors (",
                first == names.end() ? "none" : in_quotes(first->first, 60),
                ", ...); known schemes: ", known_schemes());
}

Status choose(const std::string& option, const TensorNames& names, const Json* config,
              Scheme* out) {
    if (option != "auto") {
        for (const Known& known : kKnown) {
            if (option == known.name) {
                *out = known.scheme;
                return {};
            }
        }
        return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint: unknown scheme ", in_quotes(option),
                    ", expected auto or one of: ", known_schemes());
    }
    const std::vector<Scheme> found = candidates(names, config);
    if (found.empty()) {
        return no_scheme(names);
    }
    if (found.size() > 1) {
        std::string list;
        for (const Scheme scheme : found) {
            list += (list.empty() ? "" : ", ") + std::string(kKnown[scheme].name);
        }
        return fail(SEQMIX_ERR_UNSUPPORTED, "checkpoint: the tensors' names fit ", list,
                    config == nullptr ? ", and there is no config.json to decide"
                                      : ", and config.json does not decide",
                    "; the option 'scheme' can");
    }
    *out = found.front();
    return {};
}

}  // namespace

Status plan_stack(const Checkpoint& checkpoint, const PlanOptions& options, StackSpec& out) {
    out = StackSpec();
    out.format = checkpoint.format;
    TensorNames names(checkpoint.tensors);
    const Json* config = checkpoint.config.get();
    const bool lenient = options.lenient;
    // What config.json says beats what the names look like: it may name a model that adds
    // something to names that are known. Files of the other schemes have no config.json of their
    // own.
    const std::vector<Scheme> fitting = candidates(names, config);
    const auto plain = [&](Scheme scheme) {
        return scheme >= kMambalite && (options.scheme == kKnown[scheme].name ||
                                        (fitting.size() == 1 && fitting.front() == scheme));
    };
    if (config != nullptr &&
        std::none_of(std::begin(kKnown), std::end(kKnown),
                     [&](const Known& known) { return plain(known.scheme); })) {
        SEQMIX_TRY(refuse_unsupported(*config));
    }
    Scheme scheme = kMambaSsm;
    SEQMIX_TRY(choose(options.scheme, names, config, &scheme));
    SchemeOptions scheme_options(options.scheme_options);
    const auto run = [&]() -> Status {
        switch (scheme) {
            case kMambaSsm:
                return plan_mamba(MambaFlavour::mamba_ssm, checkpoint, names, lenient, out);
            case kMambaHf:
                return plan_mamba(MambaFlavour::mamba_hf, checkpoint, names, lenient, out);
            case kFalconMamba:
                return plan_mamba(MambaFlavour::falcon_mamba, checkpoint, names, lenient, out);
            case kMambalite: return plan_mambalite(names, lenient, out);
            case kS4Classifier: return plan_s4_classifier(names, lenient, scheme_options, out);
            case kCkcnn: return plan_ckcnn(names, lenient, scheme_options, out);
            case kHyenaDna: return plan_hyenadna(checkpoint, names, lenient, scheme_options, out);
            case kHyena: return plan_hyena(names, lenient, scheme_options, out);
            case kH3: return plan_h3(names, lenient, scheme_options, out);
            case kS4Model: return plan_s4_model(names, lenient, scheme_options, out);
            case kGpt: return plan_gpt(checkpoint, names, lenient, scheme_options, out);
            case kLlama: return plan_llama(checkpoint, names, lenient, out);
            case kLlama2c: return plan_llama2c(checkpoint, names, lenient, out);
            case kGguf: return plan_gguf(checkpoint, names, lenient, out);
            case kS4Block: return plan_s4_block(names, lenient, scheme_options, out);
        }
        return fail(SEQMIX_ERR_INTERNAL, "plan_stack: scheme ", static_cast<int32_t>(scheme));
    };
    SEQMIX_TRY(run());
    return scheme_options.finish(out.scheme);
}

}  // namespace seqmix
