// `seqmix embed`: the hidden states before the head, one row per token, as a NumPy file.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "files.h"

namespace seqmix_cli {

int run_embed(const EmbedOptions& options) {
    const Model model(options.common.context, options.common.model, options.common.open);
    const std::vector<int64_t> ids = model.read_input(options.input.text, options.input.tokens);
    if (ids.empty()) {
        throw Failure(kUsage, "embed: the input has no tokens");
    }
    const size_t chunk = std::min(static_cast<size_t>(options.chunk), ids.size());
    const auto width = static_cast<size_t>(model.width());
    std::vector<float> hidden(chunk * width);

    const State state = model.new_state();
    model.prepare(static_cast<int64_t>(chunk));
    NpyFile file(options.out, static_cast<int64_t>(ids.size()), model.width());
    Progress progress("embedding", ids.size());
    for (size_t first = 0; first < ids.size(); first += chunk) {
        const size_t count = std::min(chunk, ids.size() - first);
        model.forward(state.get(), std::span(ids).subspan(first, count), {.hidden = hidden.data()},
                      progress.options());
        file.write(hidden.data(), count * width);
        throw_if_interrupted();
        progress.advance(count);
    }
    file.commit();
    if (options.common.json) {
        print_json({{"out", options.out}, {"shape", {ids.size(), width}}, {"dtype", "<f4"}});
    }
    return kOk;
}

}  // namespace seqmix_cli
