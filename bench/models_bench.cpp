// A whole model from its checkpoint: prefill and decode of one row. The shipped model, or the
// folder that SEQMIX_BENCH_MODEL names (bench/model_130m.py makes one). Logits of the last token only,
// as generation needs them. Work is counted on the products of weights and tokens, without the head,
// and of attention in prefill, and on the bytes of all weights in decode.
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "seqmix/seqmix.h"
#include "support/rows.h"

namespace seqmix::bench {

namespace {

struct Session {
    std::shared_ptr<seqmix_context> context;
    seqmix_layer* layer = nullptr;
    seqmix_state* state = nullptr;
    std::vector<int32_t> tokens;
    std::vector<float> logits;
    int64_t token_shape[2], logit_shape[2];
    seqmix_tensor token_tensor{}, logit_tensor{};
    seqmix_arg args[2]{};
    bool fresh;  // every call starts from an empty state

    Session(const std::string& path, const char* isa, const char* weights, int64_t count)
        : context(make_context(isa, weights)),
          tokens(static_cast<size_t>(count)),
          token_shape{1, count},
          fresh(count > 1) {
        must(seqmix_layer_open(context.get(), path.c_str(), nullptr, &layer), path.c_str());
        must(seqmix_state_create(layer, nullptr, &state), "state");
        int32_t token_slot = 0, logit_slot = 0;
        must(seqmix_type_slot("stack", "tokens", &token_slot), "tokens");
        must(seqmix_type_slot("stack", "logits_last", &logit_slot), "logits_last");
        int64_t vocabulary = 0;
        for (size_t i = 0; i < seqmix_layer_slot_count(layer); ++i) {
            seqmix_slot_info info{};
            info.struct_size = sizeof info;
            must(seqmix_layer_slot_info(layer, i, &info), "slot_info");
            if (info.slot == logit_slot) {
                vocabulary = info.shape[info.ndim - 1];
            }
        }
        logits.resize(static_cast<size_t>(vocabulary));
        logit_shape[0] = 1;
        logit_shape[1] = vocabulary;
        for (size_t i = 0; i < tokens.size(); ++i) {
            tokens[i] = static_cast<int32_t>(i * 7919 % static_cast<size_t>(vocabulary));
        }
        token_tensor = {
            tokens.data(), {SEQMIX_DL_CPU, 0}, 2, {SEQMIX_DL_INT, 32, 1}, token_shape, nullptr, 0};
        logit_tensor = {logits.data(),
                        {SEQMIX_DL_CPU, 0},
                        2,
                        {SEQMIX_DL_FLOAT, 32, 1},
                        logit_shape,
                        nullptr,
                        0};
        args[0] = {token_slot, 0, 0, 0, &token_tensor};
        args[1] = {logit_slot, 0, 0, 0, &logit_tensor};
        must(seqmix_layer_prepare(layer, 1, count, 1), "prepare");
    }
    ~Session() {
        seqmix_state_destroy(state);
        seqmix_layer_release(layer);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void run() {
        if (fresh) {
            must(seqmix_state_reset(state, -1), "reset");
        }
        must(seqmix_layer_forward(layer, state, args, 2, nullptr), "forward");
    }
};

// Two flops per weight of the layers' products and token, and of causal attention two products with
// half of the tokens; from the sizes in config.json (transformers').
double prefill_flops(const std::string& path, double tokens) {
    std::ifstream file(path + "/config.json");
    const auto config = nlohmann::json::parse(file);
    const auto size = [&](const char* name) { return config.at(name).get<double>(); };
    const double width = size("hidden_size"), inner = size("intermediate_size"),
                 layers = size("num_hidden_layers");
    if (config.at("model_type") == "llama") {
        const double heads = size("num_attention_heads") * size("head_dim"),
                     keys = size("num_key_value_heads") * size("head_dim");
        return tokens * layers *
               (2 * (width * (2 * heads + 2 * keys) + 3 * width * inner) + 2 * heads * tokens);
    }
    const double states = size("state_size"), rank = size("time_step_rank");
    return tokens * layers * 2 *
           (width * 2 * inner + inner * (rank + 2 * states) + rank * inner + inner * width);
}

double weight_bytes(const std::string& path, const char* isa) {
    const auto context = make_context(isa);
    uint64_t bytes = 0;
    seqmix_layer* layer = nullptr;
    must(seqmix_layer_open(context.get(), path.c_str(), nullptr, &layer), path.c_str());
    must(seqmix_layer_bytes(layer, SEQMIX_BYTES_WEIGHTS, 1, 1, &bytes), "bytes");
    seqmix_layer_release(layer);
    return static_cast<double>(bytes);
}

// Of each format that matrices may be kept in. The limit of prefill is that of FMA in f32 for all of
// them: with instructions for rounded operands it can be passed. Decode reads the matrices in their
// format.
void add_model(const std::string& path, const char* isa) {
    const std::string name = path.substr(path.find_last_of('/') + 1);
    const double bytes = weight_bytes(path, isa);
    const struct {
        const char *weights, *rows;
        double smaller;
    } formats[] = {{"stored", "model/", 1}, {"bf16", "model_bf16/", 2}, {"int8", "model_int8/", 4}};
    for (const auto& format : formats) {
        for (const int64_t tokens : {int64_t{512}, int64_t{2048}, int64_t{1}}) {
            const auto t = static_cast<double>(tokens);
            add_row({.name = std::string(format.rows) + isa +
                             (tokens == 1 ? "/decode/" : "/prefill/") + name + "_T" +
                             std::to_string(tokens),
                     .isa = isa,
                     .work = {.flops = prefill_flops(path, t), .bytes = bytes / format.smaller},
                     .limit = tokens == 1 ? Limit::read : Limit::fma,
                     .tokens = t,
                     .sampled = arguments().threads == 1,
                     .make = [path, isa, weights = format.weights, tokens] {
                         const auto session = std::make_shared<Session>(path, isa, weights, tokens);
                         return Job{.run = [session] { session->run(); }, .plain = {}};
                     }});
        }
    }
}

}  // namespace

}  // namespace seqmix::bench

int main(int argc, char** argv) {
    using namespace seqmix::bench;
    parse_arguments(argc, argv);
    for_model(SEQMIX_BENCH_MODEL_DIR, add_model);
    return run_rows();
}
