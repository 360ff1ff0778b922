// Matrices kept as bf16 or int8 (seqmix_context_options.weights).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "../support/golden_case.h"
#include "../support/model.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;
using testing::HasSubstr;

constexpr int64_t kD = 40, kT = 37, kB = 3;

// Wider than a tile of AMX and no multiple of one, so that each way of multiplying is met.
struct Formatted {
    Formatted(const std::string& level, const char* format)
        : context(make_context(level.c_str(), 1, format)),
          planned(plan(context, "mamba", Config().set("d_model", kD).set("d_state", 4))),
          weights(init_weights(planned, 7)),
          layer(bind(planned, weights)),
          dtype(real_dtype(level)) {}
    Tensor operator()(const State& state, const Tensor& x) const {
        return run(layer, state, x, "y", dtype);
    }
    Tensor input() const { return noise(dtype, {kB, kT, kD}, 5); }
    Values whole() const { return (*this)(make_state(layer, kB), input()).values(); }

    Context context;
    Layer planned;
    Weights weights;
    Layer layer;
    DType dtype;
};

class WeightFormats : public testing::TestWithParam<const char*> {};

// The reference rounds nothing; kernels round weights and may round activations, by 2^-9 or 1/254 each.
TEST_P(WeightFormats, AreCloseToTheReferenceAndAreTaken) {
    const Values stored = Formatted("reference", nullptr).whole();
    const bool int8 = std::string(GetParam()) == "int8";
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const Values y = Formatted(level, GetParam()).whole();
        EXPECT_TRUE(close_to(y, stored, int8 ? 0.03 : 0.01));
        EXPECT_EQ(static_cast<bool>(close_to(y, stored, 1e-5)), is_reference(level));
    }
}

TEST_P(WeightFormats, CutsChangeNothing) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const Formatted mamba(level, GetParam());
        const Tensor x = mamba.input();
        const Tensor whole = mamba(make_state(mamba.layer, kB), x);
        const State state = make_state(mamba.layer, kB);
        int64_t t = 0;
        for (const int64_t n : {5, 1, 18, 1, 1, 11}) {
            EXPECT_TRUE(same_bits(mamba(state, x.slice(1, t, n)), whole.slice(1, t, n)))
                << "tokens from " << t;
            t += n;
        }
        ASSERT_EQ(t, kT);
        for (int64_t b = 0; b < kB; ++b) {
            EXPECT_TRUE(same_bits(mamba(make_state(mamba.layer, 1), x.slice(0, b, 1)),
                                  whole.slice(0, b, 1)))
                << "row " << b;
        }
    }
}

TEST_P(WeightFormats, ThreadsChangeNothing) {
    const Formatted one("generic", GetParam());
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        const Formatted mamba(level, GetParam());
        const Context context = make_context(level.c_str(), 3, GetParam());
        const Layer layer = bind(
            plan(context, "mamba", Config().set("d_model", kD).set("d_state", 4)), mamba.weights);
        const Tensor x = mamba.input();
        EXPECT_TRUE(same_bits(run(layer, make_state(layer, kB), x, "y", mamba.dtype),
                              mamba(make_state(mamba.layer, kB), x)));
    }
}

// Attention rounds queries, keys, values and weights too. Tokens alone in a call are computed otherwise
// than several, whatever the format.
struct FormattedAttention {
    FormattedAttention(const std::string& level, const char* format, int threads, int64_t window)
        : context(make_context(level.c_str(), threads, format)),
          planned(plan(context, "attention",
                       Config()
                           .set("d_model", 60)
                           .set("n_heads", 6)
                           .set("n_kv_heads", 2)
                           .set("head_dim", 20)
                           .set("v_head_dim", 9)
                           .set("rotary", "half")
                           .set("window", window))),
          layer(bind(planned, init_weights(planned, 7))),
          dtype(real_dtype(level)) {}
    Tensor operator()(const State& state, const Tensor& x) const {
        return run(layer, state, x, "y", dtype);
    }
    Tensor input() const { return noise(dtype, {2, 301, 60}, 5); }
    Tensor whole() const { return (*this)(make_state(layer, 2), input()); }

    Context context;
    Layer planned, layer;
    DType dtype;
};

TEST_P(WeightFormats, AttentionIsCloseToTheReference) {
    const bool int8 = std::string(GetParam()) == "int8";
    for (const int64_t window : {0, 70}) {
        const Values stored = FormattedAttention("reference", nullptr, 1, window).whole().values();
        for (const std::string& level : levels()) {
            SCOPED_TRACE(level);
            const Values y = FormattedAttention(level, GetParam(), 1, window).whole().values();
            EXPECT_TRUE(close_to(y, stored, int8 ? 0.03 : 0.02));
        }
    }
}

TEST_P(WeightFormats, CutsAndThreadsDoNotChangeAttention) {
    for (const std::string& level : levels()) {
        for (const int64_t window : {0, 70}) {
            SCOPED_TRACE(level + " window " + std::to_string(window));
            const FormattedAttention one(level, GetParam(), 1, window);
            const FormattedAttention three(level, GetParam(), 3, window);
            const Tensor x = one.input(), whole = one.whole();
            EXPECT_TRUE(same_bits(three.whole(), whole)) << "threads";
            const State state = make_state(three.layer, 2);
            int64_t t = 0;
            for (const int64_t n : {5, 2, 60, 30, 17, 100, 64, 23}) {
                EXPECT_TRUE(same_bits(three(state, x.slice(1, t, n)), whole.slice(1, t, n)))
                    << "tokens from " << t;
                t += n;
            }
            ASSERT_EQ(t, 301);
            // A token alone is summed in another order; what is rounded is the same.
            const State stepped = make_state(one.layer, 2);
            for (t = 0; t < 90; ++t) {
                const Values y = one(stepped, x.slice(1, t, 1)).values();
                EXPECT_TRUE(close_to(y, whole.slice(1, t, 1).values(), 2e-4)) << "token " << t;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, WeightFormats, testing::Values("bf16", "int8"),
                         [](const auto& info) { return std::string(info.param); });

// Bytes of mapped files of that name that are in this process's memory.
int64_t resident_bytes(const std::string& name) {
    std::ifstream maps("/proc/self/smaps");
    std::string line;
    int64_t total = 0;
    bool ours = false;
    while (std::getline(maps, line)) {
        const bool header = line.find('-') < line.find(' ');
        if (header) {
            ours = line.ends_with(name);
        } else if (ours && line.starts_with("Rss:")) {
            total += std::stoll(line.substr(4)) * 1024;
        }
    }
    return total;
}

// What was converted does not stay in memory twice.
TEST(Weights, OfAFileAreLetGoOnceConverted) {
    const std::string model = source_dir() + "/models/shakespeare";
    const Context context = make_context("generic", 1, "int8");
    const Layer layer = open_model(context, model);
    std::error_code error;
    const auto size = std::filesystem::file_size(model + "/model.safetensors", error);
    ASSERT_FALSE(error);
    EXPECT_LT(resident_bytes("/models/shakespeare/model.safetensors"),
              static_cast<int64_t>(size / 4));
    // They can still be read.
    const Tensor tokens = Tensor::i64({72, 101, 108}, {1, 3});
    EXPECT_EQ(run(layer, make_state(layer), tokens, "logits", DType::f32).count(), 3 * 256);
    EXPECT_GT(resident_bytes("/models/shakespeare/model.safetensors"), 0);
}

TEST(Weights, OfAnUnknownFormat) {
    seqmix_context_options options{};
    options.struct_size = sizeof options;
    options.weights = "int4";
    seqmix_context* context = nullptr;
    EXPECT_EQ(seqmix_context_create(&options, &context), SEQMIX_ERR_INVALID_ARGUMENT);
    EXPECT_THAT(seqmix_last_error(), HasSubstr("weights 'int4', expected stored, bf16 or int8"));
    EXPECT_EQ(context, nullptr);
}

// A matrix that is not finite gives outputs that are not, in its row alone.
TEST(Weights, ThatAreNotFinite) {
    for (const char* format : {"bf16", "int8"}) {
        for (const std::string& level : levels()) {
            SCOPED_TRACE(level + " " + format);
            const Context context = make_context(level.c_str(), 1, format);
            const Layer planned =
                plan(context, "linear",
                     Config().set("d_in", int64_t{5}).set("d_out", int64_t{3}).set("bias", false));
            Weights weights = init_weights(planned, 3);
            weights["weight"].set({1, 2}, std::nan(""));
            const Layer layer = bind(planned, weights);
            const DType dtype = real_dtype(level);
            const Values y = run(layer, State(), noise(dtype, {1, 2, 5}, 1), "y", dtype).values();
            for (size_t i = 0; i < y.size(); ++i) {
                EXPECT_EQ(std::isnan(y[i]), i % 3 == 1) << i;
            }
        }
    }
}

}  // namespace
