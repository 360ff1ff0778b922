// HyenaDNA language models: the names of its authors (model.backbone.*, a Lightning file) and those of
// the port to transformers (hyena.backbone.*). They are equal from `backbone.` on, but for the shared
// sine's frequency, which the authors' file has three times, and `.layer.` behind mixer and mlp
// where the model was trained with gradient checkpointing.
//
//   embeddings.word_embeddings  layers.{L}.{norm1,mixer,norm2,mlp}  ln_f  lm_head
//
// A layer is two blocks: x + hyena(norm1 x), then x + mlp(norm2 x). What the files do not say: GELU is
// tanh's, the window's shift is 0.05.
//
// And Hyena operators alone, whose names begin at in_proj (scheme hyena): a stack of one block without
// norm, residual and head. Their window's shift is an option (safari: 0, the default).
//
// The order follows from the shapes. From order 3 on the channels of the filters may lie in either of
// two ways that no shape tells: the option filter_layout says which.
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

// What is known of an operator, or of all of a model's, before its shapes are solved.
struct HyenaMixer {
    int64_t order = 2, inner = 0;
    bool features = false, deltas = false;
    double shift = 0;
    std::string layout = "order_major";
};

struct HyenaFacts {
    std::string backbone, head;
    std::string mixer = ".mixer.", mlp = ".mlp.";
    int64_t layers = 0;
    bool tied = false;
    double norm_eps = 1e-5;
    HyenaMixer hyena;
};

constexpr int64_t kMostOrder = 16, kMostInner = 4;  // of the type hyena

// From the tensors of the operator whose names begin with `prefix`.
Status read_mixer(const char* scheme, TensorNames& names, const std::string& prefix,
                  SchemeOptions& options, HyenaMixer* out) {
    const std::string net = prefix + "filter_fn.implicit_filter.";
    while (out->inner < kMostInner &&
           names.has(net + std::to_string(2 + 2 * out->inner) + ".bias")) {
        ++out->inner;
    }
    out->features = names.has(prefix + "filter_fn.pos_emb.z");
    out->deltas = names.has(prefix + "filter_fn.modulation.deltas");
    // in_proj is ((n+1) D, D); shapes that are not so are refused later, by name.
    const TensorNames::Entry* in = names.find(prefix + "in_proj.weight");
    if (in != nullptr && in->tensor->shape.size() == 2 && in->tensor->shape[1] > 0 &&
        in->tensor->shape[0] % in->tensor->shape[1] == 0) {
        const int64_t order = in->tensor->shape[0] / in->tensor->shape[1] - 1;
        if (order >= 2 && order <= kMostOrder) out->order = order;
    }
    std::string layout;
    SEQMIX_TRY(options.choice(scheme, "filter_layout", "order_major|channel_major", &layout));
    if (out->order > 2 && layout.empty()) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, scheme,
                    ": option 'filter_layout' is missing: ", "the operator is of order ",
                    out->order,
                    ", expected order_major (standalone files) or channel_major (safari)");
    }
    if (!layout.empty()) out->layout = layout;
    return {};
}

Status read_facts(const Checkpoint& checkpoint, TensorNames& names, SchemeOptions& options,
                  HyenaFacts* facts) {
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
    SEQMIX_TRY(read_mixer(kScheme, names, layers + "0" + facts->mixer, options, &facts->hyena));
    facts->hyena.shift = 0.05;
    if (checkpoint.config != nullptr) {
        std::optional<double> eps;
        SEQMIX_TRY(get_float(*checkpoint.config, "config.json", "layer_norm_epsilon", eps));
        facts->norm_eps = eps.value_or(facts->norm_eps);
    }
    return {};
}

void expect_mixer(NameTable& table, size_t child, const std::string& prefix,
                  const HyenaMixer& facts) {
    const auto expect = [&](const std::string& name, const std::string& slot, const char* shape) {
        table.expect(child, prefix + name, "mixer." + slot, shape);
    };
    const std::string all = std::to_string(facts.order + 1) + "D";
    const std::string filters = facts.order == 2 ? "D" : std::to_string(facts.order - 1) + "D";
    expect("out_proj.weight", "out_proj.weight", "D,D");
    expect("out_proj.bias", "out_proj.bias", "D");
    expect("in_proj.weight", "in_proj.weight", table.keep(all + ",D"));
    expect("in_proj.bias", "in_proj.bias", table.keep(all));
    expect("short_filter.weight", "short_filter.weight", table.keep(all + ",1,K"));
    expect("short_filter.bias", "short_filter.bias", table.keep(all));
    expect("filter_fn.bias", "filter.bias", table.keep(filters));
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
    expect(net + std::to_string(2 + 2 * facts.inner) + ".weight", "filter.out.weight",
           table.keep(filters + ",A"));
    if (facts.deltas) {
        expect("filter_fn.modulation.deltas", "filter.deltas", table.keep("1,1," + filters));
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
    if (order.value_or(facts.hyena.order) != facts.hyena.order) {
        return fail(SEQMIX_ERR_SHAPE, kScheme, ": the tensors have order ", facts.hyena.order,
                    ", but config.json gives ", *order, " by 'hyena_order'");
    }
    SEQMIX_TRY(get_int(*config, kSource, "max_seq_len", length));
    table.set_default('L', length.value_or(0));
    return {};
}

void set_mixer(const HyenaMixer& facts, const NameTable& table, Attributes& attributes) {
    attributes.set("mixer", std::string("hyena"));
    attributes.set("mixer.l_max", table.size('L'));
    attributes.set("mixer.order", facts.order);
    attributes.set("mixer.filter_layout", facts.layout);
    attributes.set("mixer.short_filter_order", table.size('K'));
    attributes.set("mixer.filter_order", table.size('A'));
    attributes.set("mixer.emb_dim", table.size('B'));
    attributes.set("mixer.num_inner_mlps", facts.inner);
    attributes.set("mixer.shift", facts.shift);
}

void set_attributes(const HyenaFacts& facts, const NameTable& table, StackSpec& out) {
    for (ChildSpec& child : out.children) {
        set_token_attributes(table, "layer", facts.norm_eps, child);
    }
    for (int64_t i = 0; i < facts.layers; ++i) {
        Attributes& hyena = out.children[static_cast<size_t>(1 + 2 * i)].attributes;
        set_mixer(facts.hyena, table, hyena);
        Attributes& mlp = out.children[static_cast<size_t>(2 + 2 * i)].attributes;
        mlp.set("mixer", std::string("mlp"));
        mlp.set("mixer.d_hidden", table.size('J'));
        mlp.set("mixer.activation", std::string("gelu_tanh"));
    }
    set_stack_attributes(table, facts.tied, out);
}

}  // namespace

bool is_hyenadna(const TensorNames& names) { return find_prefix(names) != nullptr; }

bool is_hyena(const TensorNames& names) {
    return names.has("filter_fn.implicit_filter.0.weight") || names.has("filter_fn.bias");
}

Status plan_hyenadna(const Checkpoint& checkpoint, TensorNames& names, bool lenient,
                     SchemeOptions& options, StackSpec& out) {
    out.scheme = kScheme;
    HyenaFacts facts;
    SEQMIX_TRY(read_facts(checkpoint, names, options, &facts));
    NameTable table(kScheme, names);
    const std::string embedding = facts.backbone + "embeddings.word_embeddings.weight";
    size_t child = out.add_child("embedding", "embedding");
    table.expect(child, embedding, "weight", "V,D");
    for (int64_t i = 0; i < facts.layers; ++i) {
        const std::string prefix = facts.backbone + "layers." + std::to_string(i);
        child = out.add_child("block", "block");
        table.expect(child, prefix + ".norm1.weight", "norm.weight", "D");
        table.expect(child, prefix + ".norm1.bias", "norm.bias", "D");
        expect_mixer(table, child, prefix + facts.mixer, facts.hyena);
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

Status plan_hyena(TensorNames& names, bool lenient, SchemeOptions& options, StackSpec& out) {
    constexpr const char* kOperator = "hyena";
    out.scheme = kOperator;
    HyenaMixer facts;
    std::optional<double> shift;
    SEQMIX_TRY(read_mixer(kOperator, names, "", options, &facts));
    SEQMIX_TRY(options.positive(kOperator, "shift", &shift));
    facts.shift = shift.value_or(0.0);
    NameTable table(kOperator, names);
    const size_t child = out.add_child("block", "block");
    expect_mixer(table, child, "", facts);
    SEQMIX_TRY(table.match(lenient, out));
    table.solve();
    std::optional<int64_t> length;
    SEQMIX_TRY(options.positive(kOperator, "l_max", &length));
    table.set_default('L', length.value_or(0));
    SEQMIX_TRY(table.verify());
    if (table.size('L') == 0) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, kOperator,
                    ": l_max cannot be told: neither filter_fn.pos_emb.z nor the option 'l_max' is "
                    "there");
    }
    Attributes& attributes = out.children[child].attributes;
    attributes.set("d_model", table.size('D'));
    attributes.set("norm", std::string("none"));
    attributes.set("residual", false);
    set_mixer(facts, table, attributes);
    set_stack_attributes(table, false, out);
    return {};
}

}  // namespace seqmix
