// HyenaDNA language models: the names of its authors (model.backbone.*, a Lightning file) and those of
// the port to transformers (hyena.backbone.*). They are equal from `backbone.` on, but for the shared
// sine's frequency, which the authors' file has three times, and `.layer.` behind mixer and mlp
// where the model was trained with gradient checkpointing.
//
//   embeddings.word_embeddings  layers.{L}.{norm1,mixer,norm2,mlp}  ln_f  lm_head
//
// A layer is two blocks: x + hyena(norm1 x), then x + mlp(norm2 x). What the files do not say: the
// order is 2, GELU is tanh's, the window's shift is 0.05.
#include <string>

#include "models/formats/json.h"
#include "models/schemes/schemes.h"

namespace seqmix {
namespace {

constexpr const char* kScheme = "hyenadna";
constexpr const char* kPrefixes[] = {"model.backbone.", "hyena.backbone.", "backbone."};

// The prefix of all names but the head's.
const char* find_prefix(const TensorNames& names) {
    for (const char* prefix : kPrefixes) {
        const std::string layers = std::string(prefix) + "layers.";
        for (const char* end : {".mixer.filter_fn.implicit_filter.0.weight",
                                ".mixer.layer.filter_fn.implicit_filter.0.weight",
                                ".mixer.filter_fn.bias", ".mixer.layer.filter_fn.bias"}) {
            if (names.has_in_layers(layers, end)) {
                return prefix;
            }
        }
    }
    return nullptr;
}

struct HyenaFacts {
    std::string backbone, head;
    std::string mixer = ".mixer.", mlp = ".mlp.";
    int64_t layers = 0, inner = 0;
    bool features = false, deltas = false, tied = false;
    double norm_eps = 1e-5;
};

Status read_facts(const Checkpoint& checkpoint, const TensorNames& names, HyenaFacts* facts) {
    const char* prefix = find_prefix(names);
    facts->backbone = prefix == nullptr ? kPrefixes[0] : prefix;
    const std::string layers = facts->backbone + "layers.";
    facts->head = facts->backbone == kPrefixes[0] ? "model.lm_head.weight" : "lm_head.weight";
    facts->tied = !names.has(facts->head);
    SEQMIX_TRY(names.count_layers(layers, &facts->layers));
    if (names.has_in_layers(layers, ".mixer.layer.filter_fn.bias")) {
        facts->mixer = ".mixer.layer.";
    }
    if (names.has_in_layers(layers, ".mlp.layer.fc1.weight")) {
        facts->mlp = ".mlp.layer.";
    }
    const std::string filter = facts->mixer + "filter_fn.";
    while (facts->inner < 16 &&
           names.has_in_layers(layers, filter + "implicit_filter." +
                                           std::to_string(2 + 2 * facts->inner) + ".bias")) {
        ++facts->inner;
    }
    facts->features = names.has_in_layers(layers, filter + "pos_emb.z");
    facts->deltas = names.has_in_layers(layers, filter + "modulation.deltas");
    if (checkpoint.config != nullptr) {
        std::optional<double> eps;
        SEQMIX_TRY(get_float(*checkpoint.config, "config.json", "layer_norm_epsilon", eps));
        facts->norm_eps = eps.value_or(facts->norm_eps);
    }
    return {};
}

void expect_mixer(NameTable& table, size_t child, const std::string& prefix,
                  const HyenaFacts& facts) {
    const auto expect = [&](const std::string& name, const std::string& slot, const char* shape) {
        table.expect(child, prefix + name, "mixer." + slot, shape);
    };
    expect("out_proj.weight", "out_proj.weight", "D,D");
    expect("out_proj.bias", "out_proj.bias", "D");
    expect("in_proj.weight", "in_proj.weight", "3D,D");
    expect("in_proj.bias", "in_proj.bias", "3D");
    expect("short_filter.weight", "short_filter.weight", "3D,1,K");
    expect("short_filter.bias", "short_filter.bias", "3D");
    expect("filter_fn.bias", "filter.bias", "D");
    const std::string net = "filter_fn.implicit_filter.";
    expect(net + "0.bias", "filter.in.bias", "A");
    expect(net + "0.weight", "filter.in.weight", "A,B");
    expect(net + "1.freq", "filter.freq", "1,A");
    for (int64_t i = 0; i < facts.inner; ++i) {
        const std::string layer = net + std::to_string(2 + 2 * i) + ".";
        const std::string slot = "filter.inner" + std::to_string(i) + ".";
        expect(layer + "weight", slot + "weight", "A,A");
        expect(layer + "bias", slot + "bias", "A");
        // The same sine again.
        table.ignore(prefix + net + std::to_string(3 + 2 * i) + ".freq");
    }
    expect(net + std::to_string(2 + 2 * facts.inner) + ".weight", "filter.out.weight", "D,A");
    if (facts.deltas) {
        expect("filter_fn.modulation.deltas", "filter.deltas", "1,1,D");
    }
    if (facts.features) {
        expect("filter_fn.pos_emb.z", "filter.z", "1,L,B");
    }
    table.ignore(prefix + "filter_fn.pos_emb.t");
}

// config.json in either dialect: sizes that must be the tensors', and what is not supported.
Status check_config(const Json* config, const HyenaFacts& facts, NameTable& table) {
    if (config == nullptr) {
        return {};
    }
    constexpr const char* kSource = "config.json";
    const struct {
        const char* key;
        char letter;
    } rows[] = {{"d_model", 'D'},
                {"d_inner", 'J'},
                {"filter_order", 'A'},
                {"emb_dim", 'B'},
                {"short_filter_order", 'K'}};
    const Json* layer = find_member(*config, "layer");
    for (const auto& row : rows) {
        for (const Json* object : {config, layer}) {
            std::optional<int64_t> value;
            if (object == nullptr || object->get_if<Json::Object>() == nullptr) {
                continue;
            }
            SEQMIX_TRY(get_int(*object, kSource, row.key, value));
            if (value) {
                SEQMIX_TRY(table.cross_check(row.letter, row.key, *value));
            }
        }
    }
    std::optional<int64_t> layers, order, length;
    SEQMIX_TRY(get_int(*config, kSource, "n_layer", layers));
    if (layers && *layers != facts.layers) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": the tensors have ", facts.layers,
                    " layers (1 + the largest index), but config.json gives ", *layers,
                    " by 'n_layer'");
    }
    SEQMIX_TRY(get_int(*config, kSource, "hyena_order", order));
    if (order.value_or(2) != 2) {
        return fail(SEQMIX_ERR_UNSUPPORTED, kScheme, ": config.json 'hyena_order' is ", *order,
                    ", expected 2");
    }
    SEQMIX_TRY(get_int(*config, kSource, "max_seq_len", length));
    table.set_default('L', length.value_or(0));
    return {};
}

void set_attributes(const HyenaFacts& facts, const NameTable& table, StackSpec& out) {
    const int64_t D = table.size('D');
    for (ChildSpec& child : out.children) {
        Attributes& attributes = child.attributes;
        if (child.role == "embedding") {
            attributes.set("vocab_size", table.size('V'));
            attributes.set("d_model", D);
        } else if (child.role == "norm") {
            attributes.set("d_model", D);
            attributes.set("kind", std::string("layer"));
            attributes.set("eps", facts.norm_eps);
        } else if (child.role == "head") {
            set_linear_attributes(D, table.size('V'), false, attributes);
        } else {
            attributes.set("d_model", D);
            attributes.set("norm", std::string("layer"));
            attributes.set("norm_eps", facts.norm_eps);
        }
    }
    for (int64_t i = 0; i < facts.layers; ++i) {
        Attributes& hyena = out.children[static_cast<size_t>(1 + 2 * i)].attributes;
        hyena.set("mixer", std::string("hyena"));
        hyena.set("mixer.l_max", table.size('L'));
        hyena.set("mixer.short_filter_order", table.size('K'));
        hyena.set("mixer.filter_order", table.size('A'));
        hyena.set("mixer.emb_dim", table.size('B'));
        hyena.set("mixer.num_inner_mlps", facts.inner);
        hyena.set("mixer.shift", 0.05);
        Attributes& mlp = out.children[static_cast<size_t>(2 + 2 * i)].attributes;
        mlp.set("mixer", std::string("mlp"));
        mlp.set("mixer.d_hidden", table.size('J'));
        mlp.set("mixer.activation", std::string("gelu_tanh"));
    }
    set_stack_attributes(table, facts.tied, out);
}

}  // namespace

bool is_hyenadna(const TensorNames& names) { return find_prefix(names) != nullptr; }

Status plan_hyenadna(const Checkpoint& checkpoint, TensorNames& names, bool lenient,
                     StackSpec& out) {
    out.scheme = kScheme;
    HyenaFacts facts;
    SEQMIX_TRY(read_facts(checkpoint, names, &facts));
    NameTable table(kScheme, names);
    const std::string embedding = facts.backbone + "embeddings.word_embeddings.weight";
    size_t child = out.add_child("embedding", "embedding");
    table.expect(child, embedding, "weight", "V,D");
    for (int64_t i = 0; i < facts.layers; ++i) {
        const std::string prefix = facts.backbone + "layers." + std::to_string(i);
        child = out.add_child("block", "block");
        table.expect(child, prefix + ".norm1.weight", "norm.weight", "D");
        table.expect(child, prefix + ".norm1.bias", "norm.bias", "D");
        expect_mixer(table, child, prefix + facts.mixer, facts);
        child = out.add_child("block", "block");
        table.expect(child, prefix + ".norm2.weight", "norm.weight", "D");
        table.expect(child, prefix + ".norm2.bias", "norm.bias", "D");
        table.expect(child, prefix + facts.mlp + "fc1.weight", "mixer.fc1.weight", "J,D");
        table.expect(child, prefix + facts.mlp + "fc1.bias", "mixer.fc1.bias", "J");
        table.expect(child, prefix + facts.mlp + "fc2.weight", "mixer.fc2.weight", "D,J");
        table.expect(child, prefix + facts.mlp + "fc2.bias", "mixer.fc2.bias", "D");
    }
    child = out.add_child("norm", "norm");
    table.expect(child, facts.backbone + "ln_f.weight", "weight", "D");
    table.expect(child, facts.backbone + "ln_f.bias", "bias", "D");
    child = out.add_child("head", "linear");
    table.expect(child, facts.tied ? embedding : facts.head, "weight", "V,D");
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    SEQMIX_TRY(check_config(checkpoint.config.get(), facts, table));
    SEQMIX_TRY(table.verify());
    if (table.size('L') == 0) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, kScheme,
                    ": l_max cannot be told: neither filter_fn.pos_emb.z nor max_seq_len of "
                    "config.json is there");
    }
    set_attributes(facts, table, out);
    return {};
}

}  // namespace seqmix
