// `seqmix bench`: medians of a model's prefill and decode, or of any registered layer type.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "type_bench.h"

namespace seqmix_cli {

namespace {

std::vector<int64_t> random_ids(int64_t count, int64_t vocab) {
    Generator generator(1);
    std::vector<int64_t> ids(static_cast<size_t>(count));
    for (int64_t& id : ids) {
        id = static_cast<int64_t>(generator.uniform() * static_cast<double>(vocab));
    }
    return ids;
}

double per_second(int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

// ------------------------------------------------------------------ models

int bench_model(const BenchOptions& options) {
    const Model model(options.common.context, options.common.model, options.common.open);
    const Json context = context_info(model.context());
    const State state = model.new_state();
    std::vector<float> logits(static_cast<size_t>(model.vocab()));
    const auto reset = [&] { check(seqmix_state_reset(state.get(), -1)); };
    model.prepare(*std::max_element(options.lengths.begin(), options.lengths.end()));

    uint64_t work = static_cast<uint64_t>(options.decode);
    for (const int64_t length : options.lengths) {
        work += static_cast<uint64_t>(length);
    }
    work *= static_cast<uint64_t>(options.repeats + 1);
    Progress progress("measuring", work);

    Json prefill = Json::array();
    for (const int64_t length : options.lengths) {
        const std::vector<int64_t> ids = random_ids(length, model.vocab());
        const double seconds = median_time(options.repeats, reset, [&] {
            model.forward(state.get(), ids, {.logits_last = logits.data()}, progress.options());
            progress.advance(static_cast<uint64_t>(length));
        });
        prefill.push_back({{"tokens", length},
                           {"seconds", seconds},
                           {"tokens_per_s", per_second(length, seconds)}});
    }
    const std::vector<int64_t> ids = random_ids(options.decode, model.vocab());
    const double decode_seconds = median_time(options.repeats, reset, [&] {
        for (const int64_t& id : ids) {
            model.forward(state.get(), {&id, 1}, {.logits_last = logits.data()});
        }
        progress.advance(ids.size());
    });
    const double step = decode_seconds / static_cast<double>(options.decode);
    // A step reads every weight once, and reads the state and writes it.
    const uint64_t moved = model.weight_bytes() + 2 * model.state_bytes();

    const Json result{{"model", options.common.model},
                      {"kernel", model.info().value("kernel", Json())},
                      {"isa", context.value("isa", Json())},
                      {"threads", context.value("threads", Json())},
                      {"repeats", options.repeats},
                      {"prefill", prefill},
                      {"decode",
                       {{"tokens", options.decode},
                        {"seconds_per_token", step},
                        {"tokens_per_s", per_second(1, step)},
                        {"bytes_per_token", moved},
                        {"bytes_per_s", static_cast<double>(moved) / step}}},
                      {"weight_bytes", model.weight_bytes()},
                      {"state_bytes", model.state_bytes()}};
    if (options.common.json) {
        print_json(result);
        return kOk;
    }
    std::printf("level %s, %d threads, medians of %lld\n", context.value("isa", "").c_str(),
                context.value("threads", 0), static_cast<long long>(options.repeats));
    for (const Json& row : prefill) {
        std::printf("prefill %8lld tokens  %10.3f ms  %12.1f tokens/s\n",
                    static_cast<long long>(row["tokens"].get<int64_t>()),
                    1e3 * row["seconds"].get<double>(), row["tokens_per_s"].get<double>());
    }
    std::printf("decode         a token  %10.3f ms  %12.1f tokens/s\n", 1e3 * step,
                per_second(1, step));
    std::printf("a token moves %s (weights %s, state %s read and written): %s/s\n",
                human_bytes(moved).c_str(), human_bytes(model.weight_bytes()).c_str(),
                human_bytes(model.state_bytes()).c_str(),
                human_bytes(static_cast<uint64_t>(static_cast<double>(moved) / step)).c_str());
    flush_stdout();
    return kOk;
}

// ------------------------------------------------------------------ any type

int bench_type(const BenchOptions& options) {
    TypeBench bench(options.common.context, options.mixer, options.settings, options.batch,
                    options.repeats);
    const double seconds = bench.time(options.tokens);
    const uint64_t state_bytes = bench.state_bytes();
    const double step = bench.step_time();
    const Json context = context_info(bench.context());
    const int64_t all_tokens = options.batch * options.tokens;
    const char* kernel = seqmix_layer_kernel_name(bench.layer());
    const Json result{{"type", options.mixer},
                      {"attributes", bench.info().value("attributes", Json::object())},
                      {"kernel", kernel == nullptr ? Json() : Json(kernel)},
                      {"isa", context.value("isa", Json())},
                      {"threads", context.value("threads", Json())},
                      {"batch", options.batch},
                      {"tokens", options.tokens},
                      {"repeats", options.repeats},
                      {"seconds", seconds},
                      {"tokens_per_s", per_second(all_tokens, seconds)},
                      {"step_seconds", step > 0 ? Json(step) : Json()},
                      {"weight_bytes", bench.bytes(SEQMIX_BYTES_WEIGHTS, options.tokens)},
                      {"state_bytes", state_bytes},
                      {"scratch_bytes", bench.bytes(SEQMIX_BYTES_SCRATCH, options.tokens)}};
    if (options.common.json) {
        print_json(result);
        return kOk;
    }
    std::printf("%s, %d threads, batch %lld, medians of %lld\n", kernel == nullptr ? "" : kernel,
                context.value("threads", 0), static_cast<long long>(options.batch),
                static_cast<long long>(options.repeats));
    std::printf("%8lld tokens a row  %10.3f ms  %12.1f tokens/s\n",
                static_cast<long long>(options.tokens), 1e3 * seconds,
                per_second(all_tokens, seconds));
    if (step > 0) {
        std::printf("%8d token a row   %10.3f ms  %12.1f tokens/s\n", 1, 1e3 * step,
                    per_second(options.batch, step));
    }
    std::printf("weights %s, state %s, scratch %s\n",
                human_bytes(result["weight_bytes"].get<uint64_t>()).c_str(),
                human_bytes(result["state_bytes"].get<uint64_t>()).c_str(),
                human_bytes(result["scratch_bytes"].get<uint64_t>()).c_str());
    flush_stdout();
    return kOk;
}

}  // namespace

int run_bench(const BenchOptions& options) {
    if (!options.crossover.empty()) {
        return run_crossover(options);
    }
    return options.mixer.empty() ? bench_model(options) : bench_type(options);
}

}  // namespace seqmix_cli
