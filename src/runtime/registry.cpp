#include "runtime/registry.h"

#include "runtime/layer.h"

namespace seqmix {

#define SEQMIX_MIXER(type, folder)   \
    namespace mixers {               \
    extern const Mixer type##_mixer; \
    }
#include "mixers/mixers.inc"
#undef SEQMIX_MIXER

namespace {

#define SEQMIX_MIXER(type, folder) &mixers::type##_mixer,
constexpr const Mixer* kMixers[] = {
#include "mixers/mixers.inc"
};
#undef SEQMIX_MIXER

const char* role_name(Role role) {
    constexpr const char* kNames[] = {"input",    "output",    "weight", "state",
                                      "state_in", "state_out", "control"};
    return kNames[static_cast<size_t>(role)];
}

const char* type_name(AttributeType type) {
    constexpr const char* kNames[] = {"bool", "i64", "f64", "str", "i64s", "f64s"};
    return kNames[static_cast<size_t>(type)];
}

// The parts of "none|rms".
void write_choices(std::string_view choices, JsonWriter& out) {
    while (true) {
        const size_t bar = choices.find('|');
        out.value(choices.substr(0, bar));
        if (bar == std::string_view::npos) {
            return;
        }
        choices = choices.substr(bar + 1);
    }
}

void write_attribute(const AttributeSpec& spec, JsonWriter& out) {
    out.begin_object();
    out.member("name", spec.name);
    out.member("type", type_name(spec.type));
    out.member("required", spec.default_value == nullptr);
    if (spec.default_value != nullptr) {
        out.key("default");
        std::visit([&](const auto& value) { out.value(value); }, default_value(spec));
    }
    if (spec.min < spec.max) {
        if (spec.type == AttributeType::i64) {
            out.member("min", static_cast<int64_t>(spec.min));
            out.member("max", static_cast<int64_t>(spec.max));
        } else {
            out.member("min", spec.min);
            out.member("max", spec.max);
        }
    }
    if (spec.choices != nullptr) {
        out.key("choices").begin_array();
        write_choices(spec.choices, out);
        out.end_array();
    }
    out.member("since", "0.1");
    out.member("doc", spec.doc);
    out.end_object();
}

void write_tensor(int32_t slot, std::string_view name, Role role, bool optional, DTypeSet dtypes,
                  std::string_view shape, const char* doc, JsonWriter& out) {
    out.begin_object();
    out.member("slot", slot);
    out.member("name", name);
    out.member("role", role_name(role));
    out.member("optional", optional);
    out.key("dtypes").begin_array();
    for (int i = 0; i < static_cast<int>(DType::unknown); ++i) {
        if ((dtypes & dtype_bit(static_cast<DType>(i))) != 0) {
            out.value(dtype_name(static_cast<DType>(i)));
        }
    }
    out.end_array();
    out.member("shape", shape);
    out.member("doc", doc);
    out.end_object();
}

}  // namespace

std::span<const Mixer* const> registered_mixers() { return kMixers; }

const Mixer* find_mixer(std::string_view type) {
    for (const Mixer* mixer : kMixers) {
        if (type == mixer->schema->type) {
            return mixer;
        }
    }
    return nullptr;
}

std::string schema_json(const Schema& schema) {
    JsonWriter out;
    out.begin_object();
    out.member("type", schema.type);
    out.member("doc", schema.doc);
    out.member("source", schema.source);
    out.member("since", "0.1");
    out.member("operation", schema.operation);
    out.key("attributes").begin_array();
    for (const AttributeSpec& spec : schema.attributes) {
        write_attribute(spec, out);
    }
    out.end_array();
    out.key("tensors").begin_array();
    for (const SlotSpec& spec : schema.slots) {
        write_tensor(spec.slot, spec.name, spec.role, spec.optional, spec.dtypes, spec.shape,
                     spec.doc, out);
    }
    out.end_array();
    out.key("state").begin_array();
    for (const StateSlot& state : state_slots(schema)) {
        write_tensor(state.slot, state.name, state.role, true, kSingle, state.shape, state.doc,
                     out);
    }
    out.end_array();
    const Capabilities& can = schema.capabilities;
    out.key("capabilities").begin_object();
    out.member("stateful", can.stateful);
    out.member("constant_state", can.constant_state);
    out.member("causal", can.causal);
    out.member("reversible", can.reversible);
    out.member("materialize", can.materialize);
    out.end_object();
    out.key("chunk");
    if (schema.chunk == kWholeSequence) {
        out.value("whole");
    } else {
        out.value(schema.chunk);
    }
    if (schema.positions) {
        out.member("positions", true);
    }
    if (schema.kinds != nullptr) {
        out.key("kinds").begin_array();
        out.value("mixing");
        write_choices(schema.kinds, out);
        out.end_array();
    }
    return out.end_object().text();
}

}  // namespace seqmix
