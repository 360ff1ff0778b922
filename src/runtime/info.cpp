// What a layer is, as JSON.
#include "base/nlohmann.h"

#include "base/isa.h"
#include "runtime/layer.h"
#include "runtime/state.h"

namespace seqmix {
namespace {

using Ordered = nlohmann::ordered_json;

Ordered attributes_of(const Attributes& attributes) {
    Ordered out = Ordered::object();
    for (const auto& [name, value] : attributes) {
        std::visit([&, key = name](const auto& v) { out[key] = v; }, value);
    }
    return out;
}

Ordered describe(const LayerCore& core, bool real64) {
    Ordered out;
    out["type"] = core.type();
    if (!core.role.empty()) {
        out["role"] = core.role;
    }
    out["attributes"] = attributes_of(core.plan->attributes);
    out["bound"] = core.bound != nullptr;
    if (core.bound != nullptr) {
        out["kernel"] = core.bound->kernel_name;
    }
    if (core.plan->chunk == kWholeSequence) {
        out["chunk"] = "whole";
    } else {
        out["chunk"] = core.plan->chunk;
    }
    out["parameters"] = core.parameters();
    out["bytes"]["weights"] = core.weight_bytes();
    out["bytes"]["state"] = state_bytes(core, 1, real64);
    return out;
}

}  // namespace

std::string attributes_json(const Attributes& attributes) {
    return attributes_of(attributes).dump(-1, ' ', true, Ordered::error_handler_t::replace);
}

std::string layer_info_json(const LayerCore& core, Isa isa) {
    const bool real64 = isa == Isa::reference;
    Ordered out = describe(core, real64);
    out["isa"] = isa_name(isa);
    for (const auto& child : core.children) {
        out["children"].push_back(describe(*child, real64));
    }
    return out.dump(-1, ' ', true, Ordered::error_handler_t::replace);
}

}  // namespace seqmix
