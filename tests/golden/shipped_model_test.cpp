// The model that ships with the library, against transformers in float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "../support/golden_case.h"
#include "../support/model.h"
#include "../unit/checkpoint_files.h"

namespace {

using namespace seqmix_test;

const std::string kModel = source_dir() + "/models/shakespeare";
const char* const kExpected = "model/expected.safetensors";
const char* const kText = "data/text/tinyshakespeare.txt";
constexpr int64_t kTextOffset = 1059624;
// Figures of the model's README, bits per byte.
constexpr double kBits4096 = 1.783089, kBits16384 = 1.755609;
constexpr double kFourDecimals = 0.5e-4;

class ShippedModel : public testing::Test {
  protected:
    void SetUp() override {
        SEQMIX_NEED_SHARED(kExpected);
        file_ = std::make_unique<SafetensorsFile>(shared_path(kExpected));
    }

    void open(const std::string& level, const char* weights = nullptr) {
        level_ = level;
        dtype_ = real_dtype(level);
        context_ = make_context(level.c_str(), 1, weights);
        model_ = open_model(context_, kModel);
    }

    Tensor ids(const std::string& name) {
        const std::vector<int64_t> values = file_->integers(name);
        return Tensor::i64(values, {1, static_cast<int64_t>(values.size())});
    }

    // Minus the log probability of each next token, in nats; `last` gets the last logits.
    Values score(const Tensor& tokens, int64_t chunk, Values* last) {
        const State state = make_state(model_);
        const int64_t total = tokens.size(1);
        Values nats;
        for (int64_t t = 0; t < total; t += chunk) {
            const int64_t n = std::min(chunk, total - t);
            const Values logits =
                run(model_, state, tokens.slice(1, t, n), "logits", dtype_).values();
            for (int64_t i = 0; i < n && t + i + 1 < total; ++i) {
                const double* row = logits.data() + i * 256;
                const double top = *std::max_element(row, row + 256);
                double sum = 0;
                for (int64_t v = 0; v < 256; ++v) {
                    sum += std::exp(row[v] - top);
                }
                const auto next = static_cast<int64_t>(tokens.at({0, t + i + 1}));
                nats.push_back(std::log(sum) + top - row[next]);
            }
            if (last != nullptr) {
                last->assign(logits.end() - 256, logits.end());
            }
        }
        return nats;
    }

    static double bits_per_token(const Values& nats) {
        double sum = 0;
        for (const double value : nats) {
            sum += value;
        }
        return sum / std::log(2.0) / static_cast<double>(nats.size());
    }

    static Tensor text_ids(int64_t count) {
        const std::vector<unsigned char> text = read_file(shared_path(kText));
        std::vector<int64_t> bytes(text.begin() + kTextOffset, text.begin() + kTextOffset + count);
        return Tensor::i64(bytes, {1, count});
    }

    std::unique_ptr<SafetensorsFile> file_;
    std::string level_;
    DType dtype_ = DType::f32;
    Context context_;
    Layer model_;
};

TEST_F(ShippedModel, PromptLogitsHiddenAndStates) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const ModelParts parts(model_);
        ASSERT_EQ(parts.blocks(), 6u);
        // The file's values carry float32 rounding of about 1e-7 themselves.
        const double relative = is_reference(level) ? 5e-7 : kF32Tolerance;
        const Tensor prompt = ids("prompt_ids");
        ASSERT_EQ(prompt.size(1), 17);
        const State state = make_state(model_);
        const Values logits = run(model_, state, prompt, "logits", dtype_).values();
        EXPECT_LE(max_absolute_error(logits, file_->doubles("prompt_logits")), 1e-4);
        EXPECT_TRUE(close_to(logits, file_->doubles("prompt_logits"), relative));

        const State driven = make_state(model_);
        const std::vector<Tensor> hidden = run_children(parts, driven, prompt, dtype_);
        EXPECT_TRUE(close_to(hidden.front().values(), file_->doubles("hidden_embedding"), 0));
        for (size_t i = 0; i < 6; ++i) {
            const std::string name = "hidden." + std::to_string(i);
            EXPECT_TRUE(
                close_to(hidden[parts.block_child(i)].values(), file_->doubles(name), relative))
                << name;
        }
        EXPECT_TRUE(close_to(hidden[parts.norm_child()].values(), file_->doubles("hidden_norm_f"),
                             relative));

        for (size_t i = 0; i < 6; ++i) {
            SCOPED_TRACE("block " + std::to_string(i));
            const State view = child(state, parts.block_child(i));
            const std::string suffix = "state." + std::to_string(i);
            EXPECT_TRUE(
                close_to(get_state(parts.block(i), view, "mixer.ssm_state", 1, DType::f64).values(),
                         file_->doubles("ssm_" + suffix), relative));
            // (E,K-1) in the file, (1,K-1,E) in the library.
            const Tensor conv = get_state(parts.block(i), view, "mixer.conv_state", 1, DType::f64);
            ASSERT_EQ(conv.shape(), (Shape{1, 3, 256}));
            EXPECT_TRUE(close_to(conv.permute({0, 2, 1}).values(), file_->doubles("conv_" + suffix),
                                 relative));
        }
    }
}

TEST_F(ShippedModel, GreedyBytes) {
    const std::vector<int64_t> expected = file_->integers("greedy_ids");
    const Tensor prompt = ids("prompt_ids");
    ASSERT_EQ(expected.size(), 217u);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const State state = make_state(model_);
        std::vector<int64_t> tokens = prompt.integers();
        Tensor next = prompt;
        while (tokens.size() < expected.size()) {
            const Values logits = run(model_, state, next, "logits_last", dtype_).values();
            const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            tokens.push_back(best);
            next = Tensor::i64({best}, {1, 1});
        }
        EXPECT_EQ(tokens, expected);
    }
}

TEST_F(ShippedModel, ScoreOf4096Bytes) {
    const Tensor tokens = ids("score_ids");
    ASSERT_EQ(tokens.size(1), 4096);
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        Values last;
        const Values nats = score(tokens, 1024, &last);
        ASSERT_EQ(nats.size(), 4095u);
        EXPECT_LE(max_absolute_error(nats, file_->doubles("score_nats")), 1e-3);
        EXPECT_LE(max_absolute_error(last, file_->doubles("score_last_logits")), 1e-4);
        EXPECT_NEAR(bits_per_token(nats), kBits4096, kFourDecimals);
    }
}

// What other matrices than the stored ones cost: less than 0.1 % of the bits with bf16, 1 % with int8.
TEST_F(ShippedModel, ScoreOfOtherWeightFormats) {
    const Tensor tokens = ids("score_ids");
    const std::pair<const char*, double> formats[] = {{"bf16", 0.001}, {"int8", 0.01}};
    for (const auto& [format, allowed] : formats) {
        for (const std::string& level : levels()) {
            if (is_reference(level)) {
                continue;  // rounds nothing
            }
            SCOPED_TRACE(level + " " + format);
            open(level, format);
            const double bits = bits_per_token(score(tokens, 1024, nullptr));
            EXPECT_NEAR(bits, kBits4096, allowed * kBits4096);
            EXPECT_GT(std::abs(bits - kBits4096), 1e-6);  // the format was taken up
        }
    }
}

// The same of a file that was converted: `stored` is what it says of itself.
TEST_F(ShippedModel, ScoreOfConvertedFiles) {
    const Tensor tokens = ids("score_ids");
    const std::pair<const char*, double> formats[] = {{"bf16", 0.001}, {"int8", 0.01}};
    for (const auto& [format, allowed] : formats) {
        const TempFolder folder;
        const Context context = make_context(nullptr, 1, format);
        check(seqmix_checkpoint_convert(context.get(), kModel.c_str(), nullptr,
                                        folder.file("model.safetensors").c_str()),
              "convert");
        folder.write("config.json", read_bytes(kModel + "/config.json"));
        for (const std::string& level : levels()) {
            if (is_reference(level)) {
                continue;
            }
            SCOPED_TRACE(level + " " + format);
            open(level, format);
            const Values nats = score(tokens, 1024, nullptr);
            context_ = make_context(level.c_str(), 1);
            model_ = open_model(context_, folder.path());
            EXPECT_EQ(score(tokens, 1024, nullptr), nats);
            EXPECT_NEAR(bits_per_token(nats), kBits4096, allowed * kBits4096);
        }
    }
}

TEST_F(ShippedModel, ScoreIdsAreTheTextsBytes) {
    SEQMIX_NEED_SHARED(kText);
    EXPECT_EQ(text_ids(4096).integers(), file_->integers("score_ids"));
}

// Level reference is left out: its plain loops would take most of a minute.
TEST_F(ShippedModel, ScoreOf16384Bytes) {
    SEQMIX_NEED_SHARED(kText);
    const Tensor tokens = text_ids(16384);
    for (const std::string& level : levels()) {
        if (is_reference(level)) {
            continue;
        }
        SCOPED_TRACE(level);
        open(level);
        EXPECT_NEAR(bits_per_token(score(tokens, 4096, nullptr)), kBits16384, kFourDecimals);
    }
}

}  // namespace
