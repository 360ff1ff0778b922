// Trained models of others that are attention from end to end: minGPT's adder, makemore's names,
// llama2.c's stories. Whole sequences, single steps, saved and forked states.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/capi.h"
#include "../support/safetensors_file.h"
#include "../support/shared_data.h"
#include "../unit/checkpoint_files.h"

namespace {

using namespace seqmix_test;

bool small_scale() {
    const char* scale = std::getenv("SEQMIX_TEST_SCALE");
    return scale != nullptr && std::string(scale) == "small";
}

Layer open_with(const Context& context, const std::string& path, const Config& config) {
    Layer layer;
    check(seqmix_layer_open(context.get(), path.c_str(), config.get(), layer.out()), "open");
    return layer;
}

// The likeliest id of each row of logits (B,V) or (B,T,V), its last position.
std::vector<int64_t> likeliest(const Tensor& logits) {
    const int64_t V = logits.shape().back(), rows = logits.count() / V;
    const Values values = logits.values();
    std::vector<int64_t> ids;
    for (int64_t r = 0; r < rows; ++r) {
        const auto begin = values.begin() + r * V;
        ids.push_back(std::max_element(begin, begin + V) - begin);
    }
    return ids;
}

// ------------------------------------------------------------------ adder

// 12 + 34: the logits after the four digits, from an independent forward in double.
TEST(Adder, LogitsOfOneSum) {
    SEQMIX_NEED_SHARED("data/adder");
    const std::string path = shared_path("data/adder/mingpt_adder.pt");
    const Values want = {1.9639,  3.8567,  -3.4372, -7.9235, -0.8731,
                         10.2907, 13.4844, 4.5953,  -6.6639, -7.6569};
    for (const std::string& level : levels()) {
        const Context context = make_context(level.c_str());
        const Layer model = open_with(context, path, Config().set("n_head", 3));
        const State state = make_state(model);
        const Tensor got =
            run(model, state, Tensor::i64({1, 2, 3, 4}, {1, 4}), "logits_last", real_dtype(level));
        EXPECT_LT(max_absolute_error(got.values(), want), 1e-4) << level;
    }
}

// All sums of two numbers below 100: four digits in, three out, the lowest first.
TEST(Adder, TenThousandOfTenThousand) {
    SEQMIX_NEED_SHARED("data/adder");
    const Context context = make_context(nullptr, 2);
    const Layer model =
        open_with(context, shared_path("data/adder/mingpt_adder.pt"), Config().set("n_head", 3));
    constexpr int64_t kRows = 2500;
    int64_t right = 0;
    for (int64_t first = 0; first < 10000; first += kRows) {
        std::vector<int64_t> digits, sums(kRows, 0);
        for (int64_t i = first; i < first + kRows; ++i) {
            const int64_t a = i / 100, b = i % 100;
            digits.insert(digits.end(), {a / 10, a % 10, b / 10, b % 10});
        }
        const State state = make_state(model, kRows);
        Tensor logits = run(model, state, Tensor::i64(digits, {kRows, 4}), "logits_last");
        for (int64_t place = 1; place <= 100; place *= 10) {
            const std::vector<int64_t> next = likeliest(logits);
            for (size_t r = 0; r < next.size(); ++r) sums[r] += place * next[r];
            if (place < 100) {
                logits = run(model, state, Tensor::i64(next, {kRows, 1}), "logits_last");
            }
        }
        for (int64_t r = 0; r < kRows; ++r) {
            const int64_t i = first + r;
            right += sums[static_cast<size_t>(r)] == i / 100 + i % 100 ? 1 : 0;
        }
    }
    EXPECT_EQ(right, 10000);
}

TEST(Adder, TakesNoMoreThanItsPositions) {
    SEQMIX_NEED_SHARED("data/adder");
    const Context context = make_context();
    const std::string path = shared_path("data/adder/mingpt_adder.pt");
    const Layer model = open_with(context, path, Config().set("n_head", 3));
    const State state = make_state(model);
    run(model, state, Tensor::i64({1, 2, 3, 4}, {1, 4}), "logits_last");
    const Tensor three = Tensor::i64({5, 6, 7}, {1, 3}), logits(DType::f32, {1, 3, 10});
    Args args(model);
    args.add("tokens", three).add("logits", logits);
    EXPECT_ERROR(SEQMIX_ERR_CAPACITY,
                 seqmix_layer_forward(model.get(), state.get(), args.data(), args.size(), nullptr),
                 testing::HasSubstr("goes to token 7, the layer takes at most 6"));
    EXPECT_EQ(position(state), 4);
    Layer none;
    EXPECT_ERROR(SEQMIX_ERR_UNSUPPORTED,
                 seqmix_layer_open(context.get(), path.c_str(), nullptr, none.out()),
                 testing::HasSubstr("n_head"));
}

// ------------------------------------------------------------------ the same in other names

// Writes weights of an opened model under other names.
class Renamer {
  public:
    explicit Renamer(const Layer& model) : model_(model) {}

    Tensor weight(size_t index, const std::string& slot) const {
        const Layer part = child(model_, index);
        for (const seqmix_slot_info& info : slots_of(part)) {
            if (info.name == slot) {
                const Tensor tensor(DType::f32, Shape(info.shape, info.shape + info.ndim));
                const seqmix_tensor c = tensor.c();
                check(seqmix_layer_get_weight(part.get(), info.slot, 0, &c), "get_weight");
                return tensor;
            }
        }
        throw std::runtime_error("no slot " + slot);
    }
    void add(const std::string& name, const Tensor& tensor) {
        const Tensor dense = tensor.clone();
        const auto bytes = static_cast<size_t>(dense.count()) * sizeof(float);
        header_[name] = {{"dtype", "F32"},
                         {"shape", dense.shape()},
                         {"data_offsets", {data_.size(), data_.size() + bytes}}};
        data_.append(static_cast<const char*>(dense.data()), bytes);
    }
    void write(const seqmix_test::TempFolder& folder, const nlohmann::json& config) const {
        const std::string header = header_.dump();
        std::string bytes;
        for (size_t i = 0; i < 8; ++i) {
            bytes.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xff));
        }
        folder.write("model.safetensors", bytes + header + data_);
        folder.write("config.json", config.dump());
    }

  private:
    const Layer& model_;
    nlohmann::json header_ = nlohmann::json::object();
    std::string data_;
};

// GPT-2's own files have every matrix the other way round, and no head where it is the embedding.
TEST(Gpt2, MatricesStoredInByOut) {
    SEQMIX_NEED_SHARED("data/adder");
    const Context context = make_context();
    const Layer model =
        open_with(context, shared_path("data/adder/mingpt_adder.pt"), Config().set("n_head", 3));
    for (const std::string prefix : {"transformer.", ""}) {
        Renamer out(model);
        out.add(prefix + "wte.weight", out.weight(0, "weight"));
        out.add(prefix + "wpe.weight", out.weight(1, "weight"));
        for (size_t layer = 0; layer < 3; ++layer) {
            const size_t a = 2 + 2 * layer, m = a + 1;
            const std::string h = prefix + "h." + std::to_string(layer) + ".";
            const auto map = [&](size_t part, const char* slot, const std::string& name) {
                const std::string from = std::string("mixer.") + slot;
                out.add(h + name + ".weight", out.weight(part, from + ".weight").permute({1, 0}));
                out.add(h + name + ".bias", out.weight(part, from + ".bias"));
            };
            for (const char* end : {"weight", "bias"}) {
                out.add(h + "ln_1." + end, out.weight(a, std::string("norm.") + end));
                out.add(h + "ln_2." + end, out.weight(m, std::string("norm.") + end));
            }
            map(a, "qkv", "attn.c_attn");
            map(a, "out", "attn.c_proj");
            map(m, "fc1", "mlp.c_fc");
            map(m, "fc2", "mlp.c_proj");
            out.add(h + "attn.bias", Tensor(DType::f32, {1, 1, 6, 6}));
        }
        for (const char* end : {"weight", "bias"}) {
            out.add(prefix + "ln_f." + end, out.weight(8, end));
        }
        out.add("lm_head.weight", out.weight(9, "weight"));
        const seqmix_test::TempFolder folder;
        out.write(folder, {{"model_type", "gpt2"},
                           {"n_head", 3},
                           {"n_layer", 3},
                           {"n_embd", 48},
                           {"n_positions", 6},
                           {"n_inner", nullptr},
                           {"vocab_size", 10},
                           {"activation_function", "gelu_new"},
                           {"layer_norm_epsilon", 1e-5}});
        const Layer other = open_model(context, folder.path());
        const Tensor tokens = Tensor::i64({1, 2, 3, 4}, {1, 4});
        EXPECT_TRUE(same_bits(run(other, make_state(other), tokens, "logits"),
                              run(model, make_state(model), tokens, "logits")))
            << prefix;
    }
}

// Interleaved pairs of a head's rows as half-split ones, which transformers' files have.
Tensor half_split(const Tensor& weight, int64_t head_dim) {
    Tensor out(DType::f32, weight.shape());
    for (int64_t r = 0; r < weight.size(0); ++r) {
        const int64_t in_head = r % head_dim, head = r - in_head;
        const int64_t to = head + in_head % 2 * (head_dim / 2) + in_head / 2;
        out.slice(0, to, 1).assign(weight.slice(0, r, 1).values());
    }
    return out;
}

TEST(Llama, InTransformersNames) {
    SEQMIX_NEED_SHARED("data/stories260k");
    const Context context = make_context();
    const Layer model = open_model(context, shared_path("data/stories260k/stories260K.bin"));
    Renamer out(model);
    out.add("model.embed_tokens.weight", out.weight(0, "weight"));
    for (size_t layer = 0; layer < 5; ++layer) {
        const size_t a = 1 + 2 * layer, m = a + 1;
        const std::string name = "model.layers." + std::to_string(layer) + ".";
        out.add(name + "input_layernorm.weight", out.weight(a, "norm.weight"));
        out.add(name + "post_attention_layernorm.weight", out.weight(m, "norm.weight"));
        out.add(name + "self_attn.q_proj.weight", half_split(out.weight(a, "mixer.q.weight"), 8));
        out.add(name + "self_attn.k_proj.weight", half_split(out.weight(a, "mixer.k.weight"), 8));
        out.add(name + "self_attn.v_proj.weight", out.weight(a, "mixer.v.weight"));
        out.add(name + "self_attn.o_proj.weight", out.weight(a, "mixer.out.weight"));
        out.add(name + "mlp.gate_proj.weight", out.weight(m, "mixer.gate.weight"));
        out.add(name + "mlp.up_proj.weight", out.weight(m, "mixer.fc1.weight"));
        out.add(name + "mlp.down_proj.weight", out.weight(m, "mixer.fc2.weight"));
    }
    out.add("model.norm.weight", out.weight(11, "weight"));
    const seqmix_test::TempFolder folder;
    nlohmann::json config = {{"model_type", "llama"},      {"hidden_size", 64},
                             {"intermediate_size", 172},   {"num_hidden_layers", 5},
                             {"num_attention_heads", 8},   {"num_key_value_heads", 4},
                             {"vocab_size", 512},          {"max_position_embeddings", 512},
                             {"rms_norm_eps", 1e-5},       {"hidden_act", "silu"},
                             {"tie_word_embeddings", true}};
    out.write(folder, config);
    const Layer other = open_model(context, folder.path());
    std::vector<int64_t> ids = {1};
    for (int64_t i = 1; i < 40; ++i) ids.push_back((ids.back() * 37 + i) % 512);
    const Tensor tokens = Tensor::i64(ids, {1, 40});
    const Tensor want = run(model, make_state(model), tokens, "logits");
    EXPECT_TRUE(
        close_to(run(other, make_state(other), tokens, "logits").values(), want.values(), 1e-5));
    // An untied model lacks its head; another base of the angles gives other logits; what is not
    // known is refused by name.
    config["tie_word_embeddings"] = false;
    out.write(folder, config);
    Layer none;
    EXPECT_ERROR(SEQMIX_ERR_MISSING_TENSOR,
                 seqmix_layer_open(context.get(), folder.path().c_str(), nullptr, none.out()),
                 testing::HasSubstr("lm_head.weight"));
    config["tie_word_embeddings"] = true;
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500.0}};
    out.write(folder, config);
    const Layer turned = open_model(context, folder.path());
    EXPECT_FALSE(
        close_to(run(turned, make_state(turned), tokens, "logits").values(), want.values(), 1e-3));
    config["rope_parameters"]["rope_type"] = "proportional";
    out.write(folder, config);
    EXPECT_ERROR(SEQMIX_ERR_UNSUPPORTED,
                 seqmix_layer_open(context.get(), folder.path().c_str(), nullptr, none.out()),
                 testing::HasSubstr("'proportional'"));
}

// ------------------------------------------------------------------ makemore

// 0, c1 ... cn, 0 of each name.
std::vector<std::vector<int64_t>> names(size_t count) {
    std::ifstream file(shared_path("data/makemore/names.txt"));
    std::vector<std::vector<int64_t>> result;
    std::string line;
    while (result.size() < count && std::getline(file, line)) {
        result.push_back({0});
        for (const char c : line) {
            if (c >= 'a' && c <= 'z') result.back().push_back(c - 'a' + 1);
        }
        result.back().push_back(0);
    }
    return result;
}

// Nats of every symbol but the first, each name a row of its own, padded.
double nats_of(const Layer& model, const std::vector<std::vector<int64_t>>& rows) {
    size_t longest = 0;
    for (const auto& row : rows) longest = std::max(longest, row.size() - 1);
    std::vector<int64_t> ids, lengths;
    for (const auto& row : rows) {
        ids.insert(ids.end(), row.begin(), row.end() - 1);
        ids.resize(ids.size() + longest - (row.size() - 1));
        lengths.push_back(static_cast<int64_t>(row.size()) - 1);
    }
    const auto B = static_cast<int64_t>(rows.size()), T = static_cast<int64_t>(longest);
    const Tensor tokens = Tensor::i64(ids, {B, T}), logits(DType::f32, {B, T, 27});
    const Tensor length = Tensor::i64(lengths, {B});
    const State state = make_state(model, B);
    Args args(model);
    args.add("tokens", tokens).add("logits", logits).add(SEQMIX_SLOT_LENGTHS, length);
    forward(model, state, args);
    const Values values = logits.values();
    double nats = 0;
    for (int64_t b = 0; b < B; ++b) {
        const std::vector<int64_t>& row = rows[static_cast<size_t>(b)];
        for (size_t t = 0; t + 1 < row.size(); ++t) {
            const double* at = values.data() + (b * T + static_cast<int64_t>(t)) * 27;
            const double top = *std::max_element(at, at + 27);
            const double sum = std::accumulate(
                at, at + 27, 0.0, [&](double s, double x) { return s + std::exp(x - top); });
            nats += top + std::log(sum) - at[row[t + 1]];
        }
    }
    return nats;
}

TEST(Makemore, NatsPerSymbol) {
    SEQMIX_NEED_SHARED("data/makemore");
    const Context context = make_context(nullptr, 2);
    const Layer model = open_with(context, shared_path("data/makemore/makemore_transformer.pt"),
                                  Config().set("n_head", 4));
    const auto all = names(2000);
    ASSERT_EQ(all.size(), 2000u);
    EXPECT_NEAR(nats_of(model, {all[0]}), 9.310778, 1e-4);  // emma
    double nats = 0;
    size_t symbols = 0;
    for (size_t i = 0; i < all.size(); i += 250) {
        const std::vector<std::vector<int64_t>> part(all.begin() + static_cast<ptrdiff_t>(i),
                                                     all.begin() + static_cast<ptrdiff_t>(i) + 250);
        nats += nats_of(model, part);
        for (const auto& row : part) symbols += row.size() - 1;
    }
    EXPECT_EQ(symbols, 14035u);
    EXPECT_NEAR(nats / static_cast<double>(symbols), 1.6140, 0.5e-4);
}

// ------------------------------------------------------------------ stories260K

// Pieces of llama2.c's tokenizer.bin, by id.
std::vector<std::string> read_pieces(const std::string& path) {
    const std::vector<unsigned char> bytes = read_file(path);
    std::vector<std::string> pieces;
    for (size_t at = 4; at + 8 <= bytes.size();) {
        int32_t length = 0;
        std::memcpy(&length, bytes.data() + at + 4, 4);
        at += 8;
        pieces.emplace_back(bytes.begin() + static_cast<ptrdiff_t>(at),
                            bytes.begin() + static_cast<ptrdiff_t>(at) + length);
        at += static_cast<size_t>(length);
    }
    return pieces;
}

class Stories : public testing::Test {
  protected:
    void SetUp() override { SEQMIX_NEED_SHARED("data/stories260k"); }
    void open(const std::string& level, int32_t threads = 1) {
        context_ = make_context(level.empty() ? nullptr : level.c_str(), threads);
        model_ = open_model(context_, shared_path("data/stories260k/stories260K.bin"));
        dtype_ = level.empty() ? DType::f32 : real_dtype(level);
    }
    // `count` greedy ids after `id`.
    std::vector<int64_t> greedy(const State& state, int64_t id, int64_t count) {
        std::vector<int64_t> ids;
        for (int64_t i = 0; i < count; ++i) {
            id = likeliest(run(model_, state, Tensor::i64({id}, {1, 1}), "logits_last", dtype_))[0];
            ids.push_back(id);
        }
        return ids;
    }
    Context context_;
    Layer model_;
    DType dtype_ = DType::f32;
};

TEST_F(Stories, SixtyFourGreedyTokensByteForByte) {
    const auto pieces = read_pieces(shared_path("data/stories260k/tok512.bin"));
    ASSERT_EQ(pieces.size(), 512u);
    const std::vector<unsigned char> expected =
        read_file(shared_path("data/stories260k/expected_greedy_64.txt"));
    for (const std::string& level : levels()) {
        open(level);
        const Tensor first =
            run(model_, make_state(model_), Tensor::i64({1}, {1, 1}), "logits_last", dtype_);
        const Values want = {-6.22291, 8.40434, -6.22374, -6.22254};
        Values got = first.values();
        got.resize(4);
        EXPECT_LT(max_absolute_error(got, want), 2e-5) << level;
        std::string text;
        int64_t last = 1;
        const std::vector<int64_t> ids = greedy(make_state(model_), 1, 64);
        EXPECT_THAT(std::vector<int64_t>(ids.begin(), ids.begin() + 7),
                    testing::ElementsAre(403, 407, 261, 378, 432, 383, 286));
        for (const int64_t id : ids) {
            std::string piece = pieces[static_cast<size_t>(id)];
            if (last == 1 && piece.starts_with(' ')) piece.erase(0, 1);
            if (piece.size() == 6 && piece.starts_with("<0x")) {
                piece =
                    std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
            }
            text += piece;
            last = id;
        }
        EXPECT_EQ(text, std::string(expected.begin(), expected.end())) << level;
    }
}

// The cache is in the state: a saved, forked, rolled back or copied stream goes on bit for bit.
TEST_F(Stories, TheCacheIsInTheState) {
    open("");
    const State state = make_state(model_, 1, 1);
    const std::vector<int64_t> begin = greedy(state, 1, 20);
    int64_t snapshot = 0;
    check(seqmix_state_snapshot(state.get(), -1, &snapshot), "snapshot");
    const State fork = clone(state);
    const std::string blob = save(state);
    const State loaded = load(model_, blob);
    const std::vector<int64_t> want = greedy(state, begin.back(), 20);
    const Bits bits = state_bits(model_, state, 1);
    EXPECT_EQ(greedy(fork, begin.back(), 20), want);
    EXPECT_EQ(state_bits(model_, fork, 1), bits);
    EXPECT_EQ(greedy(loaded, begin.back(), 20), want);
    EXPECT_EQ(state_bits(model_, loaded, 1), bits);
    greedy(state, 7, 5);  // elsewhere
    check(seqmix_state_rollback(state.get(), -1, snapshot), "rollback");
    EXPECT_EQ(position(state), 20);
    EXPECT_EQ(greedy(state, begin.back(), 20), want);
    EXPECT_EQ(state_bits(model_, state, 1), bits);
}

// 300 tokens whole, and cut into pieces of more than one token: the same bits.
TEST_F(Stories, PrefillInPiecesIsPrefillWhole) {
    open("", 2);
    std::vector<int64_t> ids = {1};
    for (int64_t i = 1; i < 300; ++i) ids.push_back((ids.back() * 37 + i) % 512);
    const Tensor tokens = Tensor::i64(ids, {1, 300});
    const State whole = make_state(model_);
    const Tensor logits = run(model_, whole, tokens, "logits");
    for (const std::vector<int64_t>& cuts : std::vector<std::vector<int64_t>>{
             {0, 64, 128, 300}, {0, 3, 5, 70, 201, 203, 300}, {0, 255, 257, 300}}) {
        const State state = make_state(model_);
        for (size_t i = 0; i + 1 < cuts.size(); ++i) {
            const int64_t n = cuts[i + 1] - cuts[i];
            const Tensor part = run(model_, state, tokens.slice(1, cuts[i], n), "logits");
            EXPECT_TRUE(same_bits(part, logits.slice(1, cuts[i], n))) << cuts[i];
        }
        EXPECT_EQ(state_bits(model_, state, 1), state_bits(model_, whole, 1));
    }
    const State steps = make_state(model_);
    Tensor joined(DType::f32, logits.shape());
    const int64_t count = small_scale() ? 70 : 300;
    for (int64_t t = 0; t < count; ++t) {
        joined.slice(1, t, 1).assign(run(model_, steps, tokens.slice(1, t, 1), "logits").values());
    }
    EXPECT_TRUE(
        close_to(joined.slice(1, 0, count).values(), logits.slice(1, 0, count).values(), 1e-5));
}

}  // namespace
