// `seqmix run`: generation, with sessions as files.
//
// The last known token is always fed by itself and gives the logits of the next one. A state is saved
// before its last token is consumed, so a loaded session makes the very same calls as a run that was
// never cut, and gives the same tokens.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "files.h"
#include "session.h"

namespace seqmix_cli {

namespace {

// What the prompt options say, as ids.
std::vector<int64_t> prompt_ids(const GenerateOptions& options, const Model& model) {
    if (!options.tokens.empty()) {
        return model.read_input({}, options.tokens);
    }
    const bool begins = options.load_state.empty();
    if (!options.prompt_file.empty()) {
        return begins ? model.read_input(options.prompt_file, {})
                      : model.ids_of_text(read_file(options.prompt_file), false);
    }
    // Some vocabularies have a token that every text begins with, also the empty one.
    const bool nothing = options.prompt.empty() && (!begins || model.end() < 0);
    return nothing ? std::vector<int64_t>() : model.ids_of_text(options.prompt, begins);
}

// Generated tokens on stdout as they come: text, or ids with a space between.
class Stream {
  public:
    explicit Stream(const Model& model) : model_(model) {}
    void put(int64_t id, int64_t previous) {
        if (model_.text()) {
            const std::string text = model_.text_of(id, previous);
            write(model_.has_tokenizer() ? characters_.put(text) : text);
        } else {
            std::printf(first_ ? "%lld" : " %lld", static_cast<long long>(id));
            last_ = '0';
        }
        first_ = false;
        flush_stdout();
    }
    // Bytes go out as they are, so a newline is added for people only.
    void end() {
        write(characters_.end());
        if (!first_ && last_ != '\n' && (!model_.text() || isatty(STDOUT_FILENO) != 0)) {
            std::fputc('\n', stdout);
        }
        flush_stdout();
    }

  private:
    void write(const std::string& text) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        last_ = text.empty() ? last_ : text.back();
    }

    const Model& model_;
    CharacterStream characters_;  // a token may be a part of a character
    bool first_ = true;
    char last_ = '\n';
};

struct Rates {
    double prefill = 0, decode = 0;  // tokens per second; 0: nothing to measure
};

double rate(size_t tokens, double seconds) {
    return tokens > 0 && seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

std::string rate_text(double value) {
    if (value <= 0) {
        return "-";
    }
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", value);
    return text;
}

Json rate_json(double value) { return value > 0 ? Json(value) : Json(); }

// A saved session or an empty state: its tokens that are not read yet go to `input`.
State starting_state(const GenerateOptions& options, const Model& model, Generator* generator,
                     std::vector<int64_t>* input) {
    if (options.load_state.empty()) {
        return model.new_state();
    }
    const Session session = read_session(options.load_state);
    model.check_tokens(session.pending, options.load_state);
    State state = load_blob(model, session.blob, options.load_state, options.accept_other_weights);
    if (state_positions(state.get(), options.load_state).size() != 1) {
        throw Failure(kCannotRead, options.load_state + ": the state has more than one row");
    }
    *input = session.pending;
    if (session.generator && !options.seed_given) {
        *generator = Generator(*session.generator);
    }
    return state;
}

// `before`: the token before the first of those generated.
Json text_json(const Model& model, const std::vector<int64_t>& generated, int64_t before) {
    if (!model.text()) {
        return Json();
    }
    std::string bytes;
    for (size_t i = 0; i < generated.size(); ++i) {
        bytes += model.text_of(generated[i], i == 0 ? before : generated[i - 1]);
    }
    return bytes;
}

}  // namespace

int run_generate(const GenerateOptions& options) {
    const Model model(options.common.context, options.common.model, options.common.open);
    const bool json = options.common.json;

    // Where to start: a saved session, the prompt, or both.
    std::vector<int64_t> input;
    Generator generator(options.seed);
    const State state = starting_state(options, model, &generator, &input);
    const std::vector<int64_t> prompt = prompt_ids(options, model);
    input.insert(input.end(), prompt.begin(), prompt.end());
    if (input.empty()) {
        throw Failure(
            kUsage,
            options.load_state.empty()
                ? "run: nothing to start from: give a prompt that is not empty"
                : options.load_state + ": holds no pending token: give a prompt that is not empty");
    }
    if (!json && !model.text()) {
        std::fprintf(
            stderr,
            "seqmix: the vocabulary of %lld has no tokenizer here%s%s: printing token ids\n",
            static_cast<long long>(model.vocab()), model.why_no_text().empty() ? "" : ", since ",
            model.why_no_text().c_str());
    }
    Stream stream(model);
    if (options.echo && !json) {
        for (size_t i = 0; i < prompt.size(); ++i) {
            if (prompt[i] != model.end()) stream.put(prompt[i], i == 0 ? -1 : prompt[i - 1]);
        }
    }

    model.prepare(static_cast<int64_t>(input.size()));
    Rates rates;
    const double started = now();
    {
        const std::span<const int64_t> context(input.data(), input.size() - 1);
        Progress progress("reading the prompt", context.size());
        if (!context.empty()) {
            model.forward(state.get(), context, {}, progress.options());
        }
    }

    Sampler sampler(options.sampler, generator);
    std::vector<float> logits(static_cast<size_t>(model.vocab()));
    std::vector<int64_t> generated;
    int64_t next = input.back();
    const int64_t before = next;
    double first_at = 0;
    bool stopped = false;
    for (int64_t i = 0; i < options.max_tokens && !(stopped = interrupted()); ++i) {
        model.forward(state.get(), {&next, 1}, {.logits_last = logits.data()});
        if (i == 0) {
            first_at = now();
            rates.prefill = rate(input.size(), first_at - started);
        }
        const int64_t previous = next;
        next = sampler.choose(logits);
        if (next == model.end()) {
            break;
        }
        generated.push_back(next);
        if (!json) {
            stream.put(next, previous);
        }
    }
    if (generated.empty()) {
        rates.prefill = rate(input.size() - 1, now() - started);
    } else {
        rates.decode = rate(generated.size() - 1, now() - first_at);
    }
    if (!json) {
        stream.end();
    }

    // An interrupted run is at a token boundary too, so what there is can be kept.
    if (!options.save_state.empty()) {
        write_session(options.save_state,
                      {false, {next}, sampler.generator().state(), save_blob(state.get())});
    }
    const uint64_t state_size = seqmix_state_bytes(state.get());
    if (json) {
        Json result{{"tokens", generated},
                    {"text", text_json(model, generated, before)},
                    {"prefill_tokens_per_s", rate_json(rates.prefill)},
                    {"decode_tokens_per_s", rate_json(rates.decode)},
                    {"state_bytes", state_size},
                    {"position", state_positions(state.get()).at(0)}};
        if (stopped) {
            result["interrupted"] = true;
        }
        print_json(result);
    } else if (!stopped) {
        std::fprintf(stderr, "prefill %s tokens/s, decode %s tokens/s, state %s\n",
                     rate_text(rates.prefill).c_str(), rate_text(rates.decode).c_str(),
                     human_bytes(state_size).c_str());
    }
    if (stopped) {
        throw Failure(kInterrupted, "interrupted");
    }
    return kOk;
}

}  // namespace seqmix_cli
