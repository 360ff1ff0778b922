// `seqmix score`: how likely a model finds a text. Every token but the first is scored by the logits
// of the token before it; the text passes through the state in chunks, so memory does not grow.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>

#include "commands.h"

namespace seqmix_cli {

namespace {

// -log softmax(logits)[id], in double.
double surprise(std::span<const float> logits, int64_t id) {
    const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
    double sum = 0;
    for (const float logit : logits) {
        sum += std::exp(static_cast<double>(logit) - largest);
    }
    return largest + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(id)]);
}

}  // namespace

int run_score(const ScoreOptions& options) {
    const Model model(options.common.context, options.common.model, options.common.open);
    const auto records = model.read_records(options.input.text, options.input.tokens);
    size_t scored = 0, largest = 0;
    for (const std::vector<int64_t>& ids : records) {
        const size_t count = ids.empty() ? 0 : ids.size() - 1;
        scored += count;
        largest = std::max(largest, count);
    }
    if (scored == 0) {
        const size_t tokens = records.empty() ? 0 : records.front().size();
        throw Failure(kUsage, "score: the input has " + std::to_string(tokens) +
                                  " tokens; it takes two, for the first is not scored");
    }
    const size_t chunk = std::min(static_cast<size_t>(options.chunk), largest);
    const auto vocab = static_cast<size_t>(model.vocab());
    std::vector<float> logits(chunk * vocab);
    std::vector<double> token_nats;
    const bool keep = options.common.json;
    double nats = 0;

    const State state = model.new_state();
    model.prepare(static_cast<int64_t>(chunk));
    Progress progress("scoring", scored);
    const double started = now();
    for (const std::vector<int64_t>& ids : records) {
        const size_t wanted = ids.empty() ? 0 : ids.size() - 1;
        check(seqmix_state_reset(state.get(), -1));  // records know nothing of each other
        for (size_t first = 0; first < wanted; first += chunk) {
            const size_t count = std::min(chunk, wanted - first);
            model.forward(state.get(), std::span(ids).subspan(first, count),
                          {.logits = logits.data()}, progress.options());
            for (size_t i = 0; i < count; ++i) {
                const int64_t id = ids[first + i + 1];
                const double cost = surprise(std::span(logits).subspan(i * vocab, vocab), id);
                if (!std::isfinite(cost)) {
                    throw Failure(kFailed, "token " + std::to_string(first + i + 1) +
                                               " has no finite likelihood: the model gave logits "
                                               "that are not finite");
                }
                nats += cost;
                if (keep) {
                    token_nats.push_back(cost);
                } else if (options.per_token) {
                    std::printf("%zu %lld %.9g\n", first + i + 1, static_cast<long long>(id), cost);
                }
            }
            throw_if_interrupted();
            progress.advance(count);
        }
    }
    const double seconds = now() - started;

    const double bits = nats / static_cast<double>(scored) / std::numbers::ln2;
    if (options.common.json) {
        print_json({{"tokens", scored},
                    {"nats", nats},
                    {"bits_per_token", bits},
                    {"bits_per_byte", model.bytes() ? Json(bits) : Json()},
                    {"tokens_per_s", static_cast<double>(scored) / seconds},
                    {"token_nats", token_nats}});
        return kOk;
    }
    std::printf("tokens          %s (the first is not scored)\n", human_count(scored).c_str());
    std::printf("nats            %.6f\n", nats);
    std::printf("bits per token  %.6f\n", bits);
    if (model.bytes()) {
        std::printf("bits per byte   %.6f\n", bits);
    } else {
        std::printf("bits per byte   unknown: the vocabulary is not bytes\n");
    }
    flush_stdout();
    return kOk;
}

}  // namespace seqmix_cli
