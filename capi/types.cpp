#include "capi/types.h"

#include <string>
#include <vector>

#include "capi/wall.h"
#include "models/stack.h"
#include "runtime/registry.h"

namespace seqmix {

size_t type_count() { return registered_mixers().size() + model_types().size(); }

const Mixer* type_at(size_t i) {
    const auto mixers = registered_mixers();
    return i < mixers.size() ? mixers[i] : model_types()[i - mixers.size()];
}

const Mixer* find_type(std::string_view name) {
    const Mixer* mixer = find_mixer(name);
    return mixer != nullptr ? mixer : find_model_type(name);
}

namespace {

// Schemas as text, made once; they live as long as the process.
const std::vector<std::string>& schemas() {
    static const auto* texts = [] {
        std::vector<std::string> made;
        for (size_t i = 0; i < type_count(); ++i) {
            made.push_back(schema_json(*type_at(i)->schema));
        }
        return new std::vector<std::string>(std::move(made));
    }();
    return *texts;
}

Status find_slot(const Schema& schema, std::string_view name, int32_t* slot) {
    for (const SlotSpec& spec : schema.slots) {
        if (name == spec.name) {
            *slot = spec.slot;
            return Status();
        }
    }
    for (const StateSlot& state : state_slots(schema)) {
        if (name == state.name) {
            *slot = state.slot;
            return Status();
        }
    }
    for (const SlotSpec& spec : control_slots(schema)) {
        if (name == spec.name) {
            *slot = spec.slot;
            return Status();
        }
    }
    return fail(SEQMIX_ERR_UNKNOWN_SLOT, schema.type, ": no slot '", name, "'");
}

}  // namespace
}  // namespace seqmix

using namespace seqmix;

size_t seqmix_type_count(void) noexcept { return type_count(); }

const char* seqmix_type_name(size_t i) noexcept {
    return i < type_count() ? type_at(i)->schema->type : nullptr;
}

seqmix_status seqmix_type_schema(const char* type, const char** json) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_type_schema", type);
        SEQMIX_REQUIRE("seqmix_type_schema", json);
        for (size_t i = 0; i < type_count(); ++i) {
            if (std::string_view(type) == type_at(i)->schema->type) {
                *json = schemas()[i].c_str();
                return Status();
            }
        }
        return fail(SEQMIX_ERR_UNKNOWN_TYPE, "no type '", type, "'");
    });
}

seqmix_status seqmix_type_slot(const char* type, const char* name, int32_t* slot) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_type_slot", type);
        SEQMIX_REQUIRE("seqmix_type_slot", name);
        SEQMIX_REQUIRE("seqmix_type_slot", slot);
        const Mixer* mixer = find_type(type);
        if (mixer == nullptr) {
            return fail(SEQMIX_ERR_UNKNOWN_TYPE, "no type '", type, "'");
        }
        return find_slot(*mixer->schema, name, slot);
    });
}
