// `seqmix state show` and `seqmix state diff`: what a state file holds, and whether two are equal.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "blob.h"
#include "commands.h"
#include "session.h"

namespace seqmix_cli {

namespace {

// Calls visit(index, child, view of the state).
template <class Visit>
void for_each_child(const Model& model, const seqmix_state* state, Visit visit) {
    for (size_t i = 0; i < seqmix_layer_child_count(model.layer()); ++i) {
        const Child child(model.layer(), i);
        const State view = child_state(state, i);
        visit(i, child, view.get());
    }
}

std::string list_text(const std::vector<int64_t>& values) {
    std::string text;
    for (const int64_t value : values) {
        text += (text.empty() ? "" : ",") + std::to_string(value);
    }
    return text;
}

double largest(const std::vector<double>& values) {
    double most = 0;
    for (const double value : values) {
        most = std::isfinite(value) ? std::max(most, std::abs(value))
                                    : std::numeric_limits<double>::infinity();
    }
    return most;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) {
            continue;
        }
        const double difference = std::abs(a[i] - b[i]);
        most = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                      : std::max(most, difference);
    }
    return most;
}

void print_value(const std::string& name, const Json& value) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    std::printf("%-20s %s\n", name.c_str(), printable(text).c_str());
}

// What a blob says of itself: layers with a state, without their place in the model.
void print_leaves(const Json& leaves) {
    for (size_t i = 0; i < leaves.size(); ++i) {
        std::printf("state %3zu  positions %s", i,
                    list_text(leaves[i]["positions"].get<std::vector<int64_t>>()).c_str());
        for (const Json& tensor : leaves[i]["tensors"]) {
            std::printf("  %s (%s)", printable(tensor["name"].get<std::string>()).c_str(),
                        list_text(tensor["shape"].get<std::vector<int64_t>>()).c_str());
        }
        std::printf("\n");
    }
}

}  // namespace

int run_state_show(const StateShowOptions& options) {
    const Session session = read_session(options.file);
    Json result{{"file", options.file}, {"session", !session.bare}};
    if (!session.bare) {
        result["pending"] = session.pending;
        result["generator"] = session.generator.has_value();
    }
    Json tensors = Json::array();
    if (!options.common.model.empty()) {
        const Model model(options.common.context, options.common.model, options.common.open);
        const State state =
            load_blob(model, session.blob, options.file, options.accept_other_weights);
        const std::vector<int64_t> positions = state_positions(state.get(), options.file);
        result["positions"] = positions;
        result["state_bytes"] = seqmix_state_bytes(state.get());
        for_each_child(model, state.get(), [&](size_t i, const Child& child, seqmix_state* view) {
            for (const StateTensor& tensor :
                 state_tensors(child, view, static_cast<int64_t>(positions.size()))) {
                tensors.push_back({{"layer", i},
                                   {"role", child.role()},
                                   {"name", tensor.name},
                                   {"shape", tensor.shape},
                                   {"max_abs", largest(tensor.values)}});
            }
        });
        result["tensors"] = tensors;
    }
    result["blob"] = blob_contents(session.blob, options.file);
    if (options.common.json) {
        print_json(result);
        return kOk;
    }
    for (const auto& [name, value] : result.items()) {
        if (name != "blob" && name != "tensors") {
            print_value(name, value);
        }
    }
    for (const auto& [name, value] : result["blob"].items()) {
        if (name != "leaves") {
            print_value("blob " + name, value);
        }
    }
    for (const Json& tensor : tensors) {
        std::printf("layer %3zu  %-10s %-16s (%s)  max abs %.6g\n", tensor["layer"].get<size_t>(),
                    tensor["role"].get_ref<const std::string&>().c_str(),
                    tensor["name"].get_ref<const std::string&>().c_str(),
                    list_text(tensor["shape"].get<std::vector<int64_t>>()).c_str(),
                    tensor["max_abs"].get<double>());
    }
    if (tensors.empty()) {
        print_leaves(result["blob"]["leaves"]);
    }
    flush_stdout();
    return kOk;
}

int run_state_diff(const StateDiffOptions& options) {
    const Model model(options.common.context, options.common.model, options.common.open);
    const Session a = read_session(options.first);
    const Session b = read_session(options.second);
    const State state_a = load_blob(model, a.blob, options.first, options.accept_other_weights);
    const State state_b = load_blob(model, b.blob, options.second, options.accept_other_weights);
    const std::vector<int64_t> positions_a = state_positions(state_a.get(), options.first);
    const std::vector<int64_t> positions_b = state_positions(state_b.get(), options.second);
    const auto rows = static_cast<int64_t>(positions_a.size());

    bool differ = positions_a != positions_b;
    // Pending tokens belong to sessions; a bare blob has nothing to compare them with.
    const bool pending = !a.bare && !b.bare;
    differ = differ || (pending && a.pending != b.pending);

    Json tensors = Json::array();
    if (positions_a.size() == positions_b.size()) {
        for_each_child(model, state_a.get(), [&](size_t i, const Child& child, seqmix_state* view) {
            const State other = child_state(state_b.get(), i);
            const auto first = state_tensors(child, view, rows);
            const auto second = state_tensors(child, other.get(), rows);
            for (size_t t = 0; t < first.size(); ++t) {
                const double difference = largest_difference(first[t].values, second.at(t).values);
                differ = differ || difference > 0;
                tensors.push_back({{"layer", i},
                                   {"role", child.role()},
                                   {"name", first[t].name},
                                   {"max_abs_difference", difference},
                                   {"max_abs", largest(first[t].values)}});
            }
        });
    }
    if (options.common.json) {
        Json result{{"differ", differ}, {"positions", {positions_a, positions_b}}};
        if (pending) {
            result["pending"] = {a.pending, b.pending};
        }
        result["tensors"] = tensors;
        print_json(result);
        return differ ? kCheckFailed : kOk;
    }
    const auto print_pair = [](const char* name, const std::vector<int64_t>& first,
                               const std::vector<int64_t>& second) {
        std::printf("%-10s %s | %s%s\n", name, list_text(first).c_str(), list_text(second).c_str(),
                    first == second ? "" : "  differ");
    };
    print_pair("positions", positions_a, positions_b);
    if (pending) {
        print_pair("pending", a.pending, b.pending);
    }
    for (const Json& tensor : tensors) {
        std::printf("layer %3zu  %-10s %-16s max abs difference %.3g of %.3g\n",
                    tensor["layer"].get<size_t>(),
                    tensor["role"].get_ref<const std::string&>().c_str(),
                    tensor["name"].get_ref<const std::string&>().c_str(),
                    tensor["max_abs_difference"].get<double>(), tensor["max_abs"].get<double>());
    }
    std::printf("%s\n", differ ? "the states differ" : "the states are equal");
    flush_stdout();
    return differ ? kCheckFailed : kOk;
}

}  // namespace seqmix_cli
