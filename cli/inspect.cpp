// `seqmix inspect`: what a checkpoint holds, complete or not.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"

namespace seqmix_cli {

namespace {

const char* dtype_names(uint32_t set, std::string& text) {
    constexpr const char* kNames[] = {"f32", "f64",  "f16", "bf16", "i8",
                                      "u8",  "bool", "i32", "i64"};
    text.clear();
    for (size_t bit = 0; bit < std::size(kNames); ++bit) {
        if ((set >> bit & 1u) != 0) {
            text += text.empty() ? "" : "|";
            text += kNames[bit];
        }
    }
    return text.c_str();
}

constexpr const char* kRoles[] = {"input",    "output",    "weight", "state",
                                  "state_in", "state_out", "control"};

// Every slot of child i except the controls, which all types share.
Json slots_of(const seqmix_layer* stack, size_t i) {
    const Layer child = make<Layer>([&](auto** l) { return seqmix_layer_child(stack, i, l); });
    Json slots = Json::array();
    std::string dtypes;
    for (size_t s = 0; s < seqmix_layer_slot_count(child.get()); ++s) {
        const seqmix_slot_info slot = slot_info(child.get(), s);
        if (slot.role == SEQMIX_ROLE_CONTROL || slot.role >= std::size(kRoles)) {
            continue;
        }
        Json shape = Json::array();
        for (int32_t axis = 0; axis < slot.ndim; ++axis) {
            switch (slot.shape[axis]) {
                case SEQMIX_DIM_B: shape.push_back("B"); break;
                case SEQMIX_DIM_T: shape.push_back("T"); break;
                case SEQMIX_DIM_R: shape.push_back("R"); break;
                case SEQMIX_DIM_R1: shape.push_back("R+1"); break;
                case SEQMIX_DIM_TK: shape.push_back("Tk"); break;
                default: shape.push_back(slot.shape[axis]);
            }
        }
        slots.push_back({{"name", slot.name},
                         {"role", kRoles[slot.role]},
                         {"shape", shape},
                         {"dtypes", dtype_names(slot.dtypes, dtypes)},
                         {"optional", (slot.flags & SEQMIX_SLOT_OPTIONAL) != 0},
                         {"bound", (slot.flags & SEQMIX_SLOT_BOUND) != 0},
                         {"doc", slot.doc}});
    }
    return slots;
}

std::string shape_text(const Json& shape) {
    std::string text;
    for (const Json& size : shape) {
        text += text.empty() ? "(" : ",";
        text += size.is_string() ? size.get<std::string>() : size.dump();
    }
    return text.empty() ? "()" : text + ")";
}

void print_slots(const Json& slots) {
    for (const Json& slot : slots) {
        const std::string role = slot["role"];
        const char* note = "";
        if (role == "weight" && !slot["bound"].get<bool>()) {
            note = slot["optional"].get<bool>() ? "  not there (optional)" : "  MISSING";
        }
        std::printf("        %-7s %-28s %-18s %s%s\n", role.c_str(),
                    slot["name"].get_ref<const std::string&>().c_str(),
                    shape_text(slot["shape"]).c_str(),
                    slot["dtypes"].get_ref<const std::string&>().c_str(), note);
    }
}

void print_names(const char* title, const Json& names) {
    if (!names.is_array()) {
        return;
    }
    std::printf("%-12s%zu\n", title, names.size());
    for (const Json& name : names) {
        std::printf("    %s\n",
                    printable(name.is_string() ? name.get<std::string>() : name.dump()).c_str());
    }
}

std::string text_of(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) {
        return "-";
    }
    return printable(found->is_string() ? found->get<std::string>() : found->dump());
}

void print_info(const Json& info) {
    std::printf("format      %s\n", text_of(info, "format").c_str());
    std::printf("scheme      %s\n", text_of(info, "scheme").c_str());
    std::printf("parameters  %s\n", human_count(info.value("parameters", uint64_t{0})).c_str());
    std::printf("vocabulary  %s%s\n", text_of(info, "vocab_size").c_str(),
                info.value("tied", false) ? " (head tied to the embedding)" : "");
    std::printf("width       %s\n", text_of(info, "d_model").c_str());
    const Json bytes = info.value("bytes", Json::object());
    std::printf("weights     %s\n", human_bytes(bytes.value("weights", uint64_t{0})).c_str());
    std::printf("state       %s per row\n", human_bytes(bytes.value("state", uint64_t{0})).c_str());
    std::printf("kernel      %s\n", text_of(info, "kernel").c_str());
    std::printf("chunk       %s tokens\n", text_of(info, "chunk").c_str());

    const Json children = info.value("children", Json::array());
    std::printf("layers      %zu\n", children.size());
    for (size_t i = 0; i < children.size(); ++i) {
        const Json& child = children[i];
        std::string type = text_of(child, "type");
        const Json attributes = child.value("attributes", Json::object());
        if (attributes.contains("mixer")) {
            type += " of " + text_of(attributes, "mixer");
        }
        std::printf("  %3zu  %-10s %-18s %-24s %12s parameters\n", i,
                    text_of(child, "role").c_str(), type.c_str(), text_of(child, "kernel").c_str(),
                    human_count(child.value("parameters", uint64_t{0})).c_str());
        if (child.contains("slots")) {
            print_slots(child["slots"]);
        }
    }
    print_names("missing", info.value("missing", Json()));
    print_names("unexpected", info.value("unexpected", Json()));
}

}  // namespace

int run_inspect(const InspectOptions& options) {
    const Model model(options.common.context, options.common.model, options.common.open, true);
    Json info = model.info();
    if (options.tensors) {
        const size_t count = seqmix_layer_child_count(model.layer());
        for (size_t i = 0; i < count; ++i) {
            info["children"][i]["slots"] = slots_of(model.layer(), i);
        }
    }
    if (options.common.json) {
        print_json(info);
    } else {
        print_info(info);
        flush_stdout();
    }
    return kOk;
}

}  // namespace seqmix_cli
