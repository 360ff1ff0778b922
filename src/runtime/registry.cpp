#include "runtime/registry.h"

#include "base/nlohmann.h"

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

using Ordered = nlohmann::ordered_json;

const char* role_name(Role role) {
    constexpr const char* kNames[] = {"input",    "output",    "weight", "state",
                                      "state_in", "state_out", "control"};
    return kNames[static_cast<size_t>(role)];
}

const char* type_name(AttributeType type) {
    constexpr const char* kNames[] = {"bool", "i64", "f64", "str", "i64s", "f64s"};
    return kNames[static_cast<size_t>(type)];
}

Ordered attribute(const AttributeSpec& spec) {
    Ordered out;
    out["name"] = spec.name;
    out["type"] = type_name(spec.type);
    out["required"] = spec.default_value == nullptr;
    if (spec.default_value != nullptr) {
        // Numbers and switches are JSON texts already.
        out["default"] = spec.type == AttributeType::str
                             ? Ordered(spec.default_value)
                             : Ordered::parse(spec.default_value, nullptr, false);
    }
    if (spec.min < spec.max) {
        if (spec.type == AttributeType::i64) {
            out["min"] = static_cast<int64_t>(spec.min);
            out["max"] = static_cast<int64_t>(spec.max);
        } else {
            out["min"] = spec.min;
            out["max"] = spec.max;
        }
    }
    if (spec.choices != nullptr) {
        std::string_view rest = spec.choices;
        while (true) {
            const size_t bar = rest.find('|');
            out["choices"].push_back(std::string(rest.substr(0, bar)));
            if (bar == std::string_view::npos) {
                break;
            }
            rest = rest.substr(bar + 1);
        }
    }
    out["since"] = "0.1";
    out["doc"] = spec.doc;
    return out;
}

Ordered tensor(int32_t slot, const std::string& name, Role role, bool optional, DTypeSet dtypes,
               const std::string& shape, const char* doc) {
    Ordered out;
    out["slot"] = slot;
    out["name"] = name;
    out["role"] = role_name(role);
    out["optional"] = optional;
    for (int i = 0; i < static_cast<int>(DType::unknown); ++i) {
        if ((dtypes & dtype_bit(static_cast<DType>(i))) != 0) {
            out["dtypes"].push_back(dtype_name(static_cast<DType>(i)));
        }
    }
    out["shape"] = shape;
    out["doc"] = doc;
    return out;
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
    Ordered out;
    out["type"] = schema.type;
    out["doc"] = schema.doc;
    out["source"] = schema.source;
    out["since"] = "0.1";
    out["operation"] = schema.operation;
    out["attributes"] = Ordered::array();
    for (const AttributeSpec& spec : schema.attributes) {
        out["attributes"].push_back(attribute(spec));
    }
    out["tensors"] = Ordered::array();
    for (const SlotSpec& spec : schema.slots) {
        out["tensors"].push_back(tensor(spec.slot, spec.name, spec.role, spec.optional, spec.dtypes,
                                        spec.shape, spec.doc));
    }
    out["state"] = Ordered::array();
    for (const StateSlot& state : state_slots(schema)) {
        out["state"].push_back(
            tensor(state.slot, state.name, state.role, true, kReal, state.shape, state.doc));
    }
    const Capabilities& can = schema.capabilities;
    out["capabilities"] = {{"stateful", can.stateful},
                           {"constant_state", can.constant_state},
                           {"causal", can.causal},
                           {"reversible", can.reversible},
                           {"materialize", can.materialize}};
    out["chunk"] = schema.chunk == kWholeSequence ? Ordered("whole") : Ordered(schema.chunk);
    return out.dump();
}

}  // namespace seqmix
