// `seqmix selftest`: do the kernels, however the input is cut, agree with level `reference` (double
// precision, plain loops) on the user's own weights?
//
// Each layer is driven by itself on the input that the reference gives it, so that an error shows in
// the layer that makes it and does not add up; the last row is the whole model on its own. Errors are
// relative to the largest magnitude in the reference's tensor.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "session.h"

namespace seqmix_cli {

namespace {

constexpr int64_t kRandomTokens = 96;
constexpr int64_t kFileTokens = 1024;

struct Error {
    bool ran = true;  // false: the type cannot run this way
    double absolute = 0;
    double relative = 0;
    bool wanted_finite = true;  // false: so are not even the reference's numbers

    bool finite() const { return std::isfinite(absolute); }
    void add(const Error& other) {
        ran = ran && other.ran;
        wanted_finite = wanted_finite && other.wanted_finite;
        absolute = std::max(absolute, other.absolute);
        relative = std::max(relative, other.relative);
    }
};

template <class T>
Error compare(std::span<const T> got, std::span<const T> wanted) {
    Error error;
    double largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        const double difference =
            std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
        if (!std::isfinite(difference)) {
            error.absolute = error.relative = std::numeric_limits<double>::infinity();
            error.wanted_finite = std::isfinite(wanted[i]);
            return error;
        }
        error.absolute = std::max(error.absolute, difference);
        largest = std::max(largest, std::abs(static_cast<double>(wanted[i])));
    }
    if (error.absolute > 0) {
        error.relative = error.absolute / largest;  // infinite where the reference is all zeros
    }
    return error;
}

// A way to cut T tokens.
struct Mode {
    const char* name;
    std::vector<int64_t> cuts;
};

std::vector<Mode> all_modes(int64_t tokens) {
    // 1, 2, 3, 5, 8, ... 55, 1, 2, ...: small and uneven, and no divisor of any internal block.
    std::vector<int64_t> uneven;
    int64_t a = 1;
    int64_t b = 2;
    for (int64_t left = tokens; left > 0;) {
        uneven.push_back(std::min(a, left));
        left -= uneven.back();
        const int64_t sum = a + b;
        a = b;
        b = sum;
        if (a > 55) {
            a = 1;
            b = 2;
        }
    }
    return {{"parallel", {tokens}},
            {"chunks", std::move(uneven)},
            {"steps", std::vector<int64_t>(static_cast<size_t>(tokens), 1)}};
}

// The number of elements of `count` tokens of that width.
size_t elements(int64_t count, int64_t width) {
    return static_cast<size_t>(count) * static_cast<size_t>(width);
}

// Runs a child over the tokens by cuts; false when it refuses to be cut like that.
bool run_child(const Child& child, seqmix_state* state, std::span<const int64_t> ids,
               const std::vector<float>& x, const std::vector<int64_t>& cuts,
               std::vector<float>& y) {
    y.assign(elements(static_cast<int64_t>(ids.size()), child.out_width()), 0.0f);
    int64_t at = 0;
    for (const int64_t count : cuts) {
        const float* in =
            child.takes_tokens() ? nullptr : x.data() + elements(at, child.in_width());
        const seqmix_status status = child.forward(
            state, ids.data() + at, in, y.data() + elements(at, child.out_width()), count);
        if (status == SEQMIX_ERR_UNSUPPORTED) {
            return false;
        }
        check(status);
        at += count;
        throw_if_interrupted();
    }
    return true;
}

bool run_model(const Model& model, seqmix_state* state, std::span<const int64_t> ids,
               const std::vector<int64_t>& cuts, std::vector<float>& logits) {
    logits.assign(elements(static_cast<int64_t>(ids.size()), model.vocab()), 0.0f);
    int64_t at = 0;
    for (const int64_t count : cuts) {
        try {
            model.forward(state, ids.subspan(static_cast<size_t>(at), static_cast<size_t>(count)),
                          {.logits = logits.data() + elements(at, model.vocab())});
        } catch (const Failure&) {
            if (cuts.size() == 1) {
                throw;
            }
            return false;
        }
        at += count;
        throw_if_interrupted();
    }
    return true;
}

struct Row {
    std::string layer, role, type, kernel;
    std::vector<Error> modes;   // parallel, chunks, steps
    Error state{.ran = false};  // of the final states, over all modes; not ran: has no state

    double worst() const {
        double worst = state.relative;
        for (const Error& error : modes) {
            worst = std::max(worst, error.ran ? error.relative : 0.0);
        }
        return worst;
    }
    // Why nothing can be compared, or "".
    std::string not_finite(const std::string& isa) const {
        Error all = state;
        all.ran = true;
        for (const Error& error : modes) {
            all.add(error);
        }
        if (all.finite()) {
            return {};
        }
        return "layer " + layer + " (" + role + ") gives numbers that are not finite" +
               (all.wanted_finite ? " at level " + isa + " only" : ", in double precision too");
    }
};

class Selftest {
  public:
    Selftest(const Model& tested, const Model& reference, std::vector<int64_t> ids)
        : tested_(tested),
          reference_(reference),
          ids_(std::move(ids)),
          modes_(all_modes(static_cast<int64_t>(ids_.size()))) {}

    std::vector<Row> layers() const {
        const size_t count = seqmix_layer_child_count(tested_.layer());
        const State wanted_state = reference_.new_state();
        std::vector<State> states;
        for (size_t m = 0; m < modes_.size(); ++m) {
            states.push_back(tested_.new_state());
        }
        Progress progress("comparing layers", count * ids_.size());
        std::vector<Row> rows;
        std::vector<float> x;
        std::vector<float> wanted;
        std::vector<float> got;
        for (size_t i = 0; i < count; ++i) {
            const Child child(tested_.layer(), i);
            const Child oracle(reference_.layer(), i);
            const State oracle_view = child_state(wanted_state.get(), i);
            run_child(oracle, oracle_view.get(), ids_, x, modes_[0].cuts, wanted);
            const auto wanted_tensors = state_tensors(oracle, oracle_view.get(), 1);

            const char* kernel = seqmix_layer_kernel_name(child.layer());
            Row row{std::to_string(i),
                    child.role(),
                    seqmix_layer_type(child.layer()),
                    kernel == nullptr ? "" : kernel,
                    {}};
            for (size_t m = 0; m < modes_.size(); ++m) {
                const State view = child_state(states[m].get(), i);
                Error error;
                error.ran = run_child(child, view.get(), ids_, x, modes_[m].cuts, got);
                if (error.ran) {
                    error = compare(std::span<const float>(got), std::span<const float>(wanted));
                    const auto tensors = state_tensors(child, view.get(), 1);
                    for (size_t t = 0; t < tensors.size(); ++t) {
                        row.state.ran = true;
                        row.state.add(compare(std::span(tensors[t].values),
                                              std::span(wanted_tensors.at(t).values)));
                    }
                }
                row.modes.push_back(error);
            }
            rows.push_back(std::move(row));
            x.swap(wanted);
            progress.advance(ids_.size());
        }
        return rows;
    }

    Row whole() const {
        std::vector<float> wanted;
        std::vector<float> got;
        const State wanted_state = reference_.new_state();
        run_model(reference_, wanted_state.get(), ids_, modes_[0].cuts, wanted);
        const char* kernel = seqmix_layer_kernel_name(tested_.layer());
        Row row{"all",
                "model",
                seqmix_layer_type(tested_.layer()),
                kernel == nullptr ? "" : kernel,
                {}};
        for (const Mode& mode : modes_) {
            const State state = tested_.new_state();
            Error error;
            error.ran = run_model(tested_, state.get(), ids_, mode.cuts, got);
            if (error.ran) {
                error = compare(std::span<const float>(got), std::span<const float>(wanted));
            }
            row.modes.push_back(error);
        }
        return row;
    }

    // The two equalities that hold bit for bit: the stack is its children in turn, and a state that
    // was saved and loaded goes on as if it had not been.
    bool stack_equals_children() const {
        std::vector<float> logits;
        const State state = tested_.new_state();
        run_model(tested_, state.get(), ids_, modes_[0].cuts, logits);
        const State parts = tested_.new_state();
        std::vector<float> x;
        std::vector<float> y;
        for (size_t i = 0; i < seqmix_layer_child_count(tested_.layer()); ++i) {
            const Child child(tested_.layer(), i);
            run_child(child, child_state(parts.get(), i).get(), ids_, x, modes_[0].cuts, y);
            x.swap(y);
        }
        return equal_bits(x, logits);
    }

    bool saved_equals_kept() const {
        const size_t half = ids_.size() / 2;
        const std::span<const int64_t> ids(ids_);
        std::vector<float> kept(static_cast<size_t>(tested_.vocab()));
        std::vector<float> saved(kept.size());
        const State state = tested_.new_state();
        tested_.forward(state.get(), ids.first(half), {});
        const State loaded = load_blob(tested_, save_blob(state.get()), {}, false);
        tested_.forward(state.get(), ids.subspan(half), {.logits_last = kept.data()});
        tested_.forward(loaded.get(), ids.subspan(half), {.logits_last = saved.data()});
        return equal_bits(kept, saved);
    }

    const std::vector<Mode>& modes() const { return modes_; }

  private:
    static bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
        return a.size() == b.size() &&
               std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    }

    const Model& tested_;
    const Model& reference_;
    std::vector<int64_t> ids_;
    std::vector<Mode> modes_;
};

std::string error_text(const Error& error) {
    if (!error.ran) {
        return "-";
    }
    char text[32];
    std::snprintf(text, sizeof text, "%.1e %.1e", error.absolute, error.relative);
    return text;
}

void print_table(const std::vector<Row>& rows, const std::vector<Mode>& modes) {
    std::printf("%-5s %-10s %-16s %-22s", "layer", "role", "type", "kernel");
    for (const Mode& mode : modes) {
        std::printf("  %-16s", mode.name);
    }
    std::printf("  %s\n%-56s", "state", "");
    for (size_t i = 0; i < modes.size() + 1; ++i) {
        std::printf("  %-16s", "max abs relative");
    }
    std::printf("\n");
    for (const Row& row : rows) {
        std::printf("%-5s %-10s %-16s %-22s", row.layer.c_str(), row.role.c_str(), row.type.c_str(),
                    row.kernel.c_str());
        for (const Error& error : row.modes) {
            std::printf("  %-16s", error_text(error).c_str());
        }
        std::printf("  %s\n", error_text(row.state).c_str());
    }
}

Json error_json(const Error& error) {
    if (!error.ran) {
        return {};
    }
    return {{"abs", error.absolute}, {"rel", error.relative}};  // infinities become null
}

Json row_json(const Row& row, const std::vector<Mode>& modes) {
    Json json{{"role", row.role}, {"type", row.type}, {"kernel", row.kernel}};
    for (size_t m = 0; m < modes.size(); ++m) {
        json[modes[m].name] = error_json(row.modes[m]);
    }
    json["state"] = error_json(row.state);
    return json;
}

std::vector<int64_t> input_ids(const SelftestOptions& options, const Model& model) {
    std::vector<int64_t> ids;
    if (options.input.text.empty() && options.input.tokens.empty()) {
        Generator generator(1);
        const int64_t count = options.length > 0 ? options.length : kRandomTokens;
        for (int64_t i = 0; i < count; ++i) {
            ids.push_back(
                static_cast<int64_t>(generator.uniform() * static_cast<double>(model.vocab())));
        }
        return ids;
    }
    ids = model.read_input(options.input.text, options.input.tokens);
    const int64_t most = options.length > 0 ? options.length : kFileTokens;
    if (static_cast<int64_t>(ids.size()) > most) {
        ids.resize(static_cast<size_t>(most));
    }
    if (ids.empty()) {
        throw Failure(kUsage, "selftest: the input has no tokens");
    }
    return ids;
}

}  // namespace

int run_selftest(const SelftestOptions& options) {
    const Model tested(options.common.context, options.common.model, options.common.open);
    ContextOptions oracle = options.common.context;
    oracle.isa = "reference";
    const Model reference(oracle, options.common.model, options.common.open);
    const Json context = context_info(tested.context());
    const std::string isa = context.value("isa", "");
    const std::vector<int64_t> ids = input_ids(options, tested);

    const Selftest test(tested, reference, ids);
    std::vector<Row> rows = test.layers();
    rows.push_back(test.whole());
    // Level reference computes in double and rounds at every boundary: between children, and in blobs.
    const bool exact = isa != "reference";
    const bool children = !exact || test.stack_equals_children();
    const bool saved = !exact || test.saved_equals_kept();

    double worst = 0;
    for (const Row& row : rows) {
        worst = std::max(worst, row.worst());
    }
    const bool passed = worst <= options.tolerance && children && saved;
    if (options.common.json) {
        Json layers = Json::array();
        for (size_t i = 0; i + 1 < rows.size(); ++i) {
            layers.push_back(row_json(rows[i], test.modes()));
        }
        print_json({{"isa", isa},
                    {"threads", context.value("threads", 0)},
                    {"tokens", ids.size()},
                    {"tolerance", options.tolerance},
                    {"layers", layers},
                    {"model", row_json(rows.back(), test.modes())},
                    {"stack_equals_children", exact ? Json(children) : Json()},
                    {"saved_equals_kept", exact ? Json(saved) : Json()},
                    {"worst", worst},
                    {"passed", passed}});
    } else {
        std::printf("%zu tokens, level %s against level reference\n\n", ids.size(), isa.c_str());
        print_table(rows, test.modes());
        if (exact) {
            std::printf("\nthe stack and its children in turn: %s\n",
                        children ? "equal, bit for bit" : "DIFFER");
            std::printf("a saved state and the one it was made of: %s\n",
                        saved ? "equal, bit for bit" : "DIFFER");
        }
        std::printf("%s: largest relative error %.1e, tolerance %.1e\n",
                    passed ? "passed" : "FAILED", worst, options.tolerance);
        flush_stdout();
    }
    // The first of them, since what follows a layer is fed by it.
    for (const Row& row : rows) {
        if (const std::string why = row.not_finite(isa); !why.empty()) {
            throw Failure(kCheckFailed, why);
        }
    }
    return passed ? kOk : kCheckFailed;
}

}  // namespace seqmix_cli
