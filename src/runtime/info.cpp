// What a layer is, as JSON.
#include "base/isa.h"
#include "runtime/layer.h"
#include "runtime/state.h"

namespace seqmix {
namespace {

void write_layer(const LayerCore& core, bool real64, JsonWriter& out) {
    out.member("type", core.type());
    if (!core.role.empty()) {
        out.member("role", core.role);
    }
    out.key("attributes").begin_object();
    write_attributes(core.plan->attributes, out);
    out.end_object();
    out.member("bound", core.bound != nullptr);
    if (core.bound != nullptr) {
        out.member("kernel", core.bound->kernel_name);
    }
    out.key("chunk");
    if (core.plan->chunk == kWholeSequence) {
        out.value("whole");
    } else {
        out.value(core.plan->chunk);
    }
    out.member("parameters", core.parameters());
    out.key("bytes").begin_object();
    out.member("weights", core.weight_bytes());
    out.member("state", state_bytes(core, 1, real64));
    out.end_object();
}

}  // namespace

void write_attributes(const Attributes& attributes, JsonWriter& out) {
    for (const auto& [name, value] : attributes) {
        out.key(name);
        std::visit([&](const auto& v) { out.value(v); }, value);
    }
}

void write_layer_info(const LayerCore& core, Isa isa, JsonWriter& out) {
    const bool real64 = isa == Isa::reference;
    write_layer(core, real64, out);
    out.member("isa", isa_name(isa));
    if (!core.children.empty()) {
        out.key("children").begin_array();
        for (const auto& child : core.children) {
            out.begin_object();
            write_layer(*child, real64, out);
            out.end_object();
        }
        out.end_array();
    }
}

std::string layer_info_json(const LayerCore& core, Isa isa) {
    JsonWriter out;
    out.begin_object();
    write_layer_info(core, isa, out);
    return out.end_object().text();
}

}  // namespace seqmix
