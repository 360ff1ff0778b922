// Whole models against transformers' MambaForCausalLM and FalconMambaForCausalLM: logits, the
// residual stream child by child, states, single steps, padded rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "../support/golden_case.h"
#include "../support/model.h"

namespace {

using namespace seqmix_test;

const std::vector<std::string>& model_cases() {
    static const std::vector<std::string> names = {
        "mamba-hf-a-base",     "mamba-hf-b-bf16",   "mamba-hf-c-odd", "mamba-hf-d-sharded",
        "mamba-hf-e-original", "mamba-hf-f-falcon", "mamba-hf-g-f16",
    };
    return names;
}

class MambaModel : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        SEQMIX_NEED_SHARED("golden/" + GetParam());
        folder_ = shared_path("golden/" + GetParam());
        file_ = std::make_unique<SafetensorsFile>(folder_ + "/expected.safetensors");
        batch_ = file_->shape("input_ids")[0];
        tokens_ = file_->shape("input_ids")[1];
    }

    void open(const std::string& level) {
        level_ = level;
        dtype_ = real_dtype(level);
        context_ = make_context(level.c_str());
        model_ = open_model(context_, folder_);
        parts_ = std::make_unique<ModelParts>(model_);
    }

    Tensor ids(const std::string& name) { return load_tensor(*file_, name, DType::i64); }
    Values expected(const std::string& name) { return file_->doubles(name); }
    // Two files have no residual stream, no states after the steps and no full_logits.
    bool holds_less() const {
        return GetParam() == "mamba-hf-d-sharded" || GetParam() == "mamba-hf-e-original";
    }
    double tolerance() { return seqmix_test::tolerance(*file_, level_); }
    // Level reference rounds states to f32 when it gives them out.
    double state_tolerance() { return is_reference(level_) ? 1.2e-7 : tolerance(); }
    Tensor logits(const State& state, const Tensor& tokens) {
        return run(model_, state, tokens, "logits", dtype_);
    }

    // conv_state.i of the file holds K inputs, the library's state the last K-1 of them.
    void expect_states(const State& state, const std::string& prefix) {
        for (size_t i = 0; i < parts_->blocks(); ++i) {
            SCOPED_TRACE("block " + std::to_string(i));
            const State view = child(state, parts_->block_child(i));
            const Layer& block = parts_->block(i);
            const std::string suffix = "state." + std::to_string(i);
            if (!file_->has(prefix + "ssm_" + suffix)) {
                ADD_FAILURE() << "the file has no " << prefix << "ssm_" << suffix;
                continue;
            }
            const Tensor ssm = get_state(block, view, "mixer.ssm_state", batch_, DType::f64);
            EXPECT_TRUE(
                close_to(ssm.values(), expected(prefix + "ssm_" + suffix), state_tolerance()));
            const Tensor all = load_tensor(*file_, prefix + "conv_" + suffix, DType::f64);
            const Tensor last = all.slice(2, 1, all.size(2) - 1).permute({0, 2, 1});
            const Tensor conv = get_state(block, view, "mixer.conv_state", batch_, DType::f64);
            ASSERT_EQ(conv.shape(), last.shape());
            EXPECT_TRUE(close_to(conv.values(), last.values(), state_tolerance()));
        }
    }

    std::string folder_, level_;
    std::unique_ptr<SafetensorsFile> file_;
    int64_t batch_ = 0, tokens_ = 0;
    DType dtype_ = DType::f32;
    Context context_;
    Layer model_;
    std::unique_ptr<ModelParts> parts_;
};

TEST_P(MambaModel, PrefillAndSteps) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const State state = make_state(model_, batch_);
        const Tensor all = logits(state, ids("input_ids"));
        EXPECT_TRUE(close_to(all.values(), expected("logits"), tolerance()));
        expect_states(state, "");

        const Tensor steps = ids("step_ids");
        const Tensor target = load_tensor(*file_, "step_logits", DType::f64);
        for (int64_t s = 0; s < steps.size(1); ++s) {
            SCOPED_TRACE("step " + std::to_string(s));
            const Tensor last = run(model_, state, steps.slice(1, s, 1), "logits_last", dtype_);
            EXPECT_TRUE(close_to(last.values(), target.slice(1, s, 1).values(), tolerance()));
            EXPECT_EQ(position(state, 0), tokens_ + s + 1);
        }
        if (file_->has("step_ssm_state.0")) {
            expect_states(state, "step_");
        } else {
            EXPECT_TRUE(holds_less());
        }
    }
}

TEST_P(MambaModel, HiddenStatesChildByChild) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const State state = make_state(model_, batch_);
        const std::vector<Tensor> after = run_children(*parts_, state, ids("input_ids"), dtype_);
        for (size_t i = 0; i < parts_->blocks(); ++i) {
            const std::string name = "hidden." + std::to_string(i);
            if (file_->has(name)) {
                EXPECT_TRUE(
                    close_to(after[parts_->block_child(i)].values(), expected(name), tolerance()))
                    << name;
            } else {
                EXPECT_TRUE(holds_less());
            }
        }
        if (file_->has("hidden_norm_f")) {
            EXPECT_TRUE(close_to(after[parts_->norm_child()].values(), expected("hidden_norm_f"),
                                 tolerance()));
        }
        EXPECT_TRUE(close_to(after.back().values(), expected("logits"), tolerance()));
        expect_states(state, "");

        const State whole = make_state(model_, batch_);
        EXPECT_TRUE(same_bits(after.back(), logits(whole, ids("input_ids"))));
        EXPECT_EQ(state_bits(model_, state, batch_), state_bits(model_, whole, batch_));
    }
}

// full_logits are the last three positions of one pass over all T + 3 tokens.
TEST_P(MambaModel, WholePassInOneAndInChunks) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        Tensor all(DType::i64, {batch_, tokens_ + 3});
        all.slice(1, 0, tokens_).assign(ids("input_ids").values());
        all.slice(1, tokens_, 3).assign(ids("step_ids").values());
        // Where full_logits are absent, the file's own metadata says that steps are equal to them.
        const char* name = file_->has("full_logits") ? "full_logits" : "step_logits";
        for (const int64_t chunk : {tokens_ + 3, int64_t{7}, int64_t{1}}) {
            SCOPED_TRACE("chunks of " + std::to_string(chunk));
            const State state = make_state(model_, batch_);
            const int64_t vocabulary = file_->shape("logits")[2];
            Tensor joined(dtype_, {batch_, tokens_ + 3, vocabulary});
            for (int64_t t = 0; t < tokens_ + 3; t += chunk) {
                const int64_t n = std::min(chunk, tokens_ + 3 - t);
                joined.slice(1, t, n).assign(logits(state, all.slice(1, t, n)).values());
            }
            EXPECT_TRUE(
                close_to(joined.slice(1, tokens_, 3).values(), expected(name), tolerance()));
            EXPECT_TRUE(
                close_to(joined.slice(1, 0, tokens_).values(), expected("logits"), tolerance()));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, MambaModel, testing::ValuesIn(model_cases()),
                         [](const auto& info) { return test_name(info.param); });

TEST(MambaModelCases, AreAllOfTheFolder) {
    SEQMIX_NEED_SHARED("golden");
    EXPECT_EQ(glob_cases(shared_path("golden"), "mamba-hf-"), model_cases());
    EXPECT_EQ(model_cases().size(), 7u);
}

// ------------------------------------------------------------------ padded rows

// masked.*: three rows of 24 with transformers' attention mask. Whatever the way to say it, a row
// with padding is the row alone, bit by bit; transformers' numbers are asked for only where the
// file's metadata says that transformers agrees with itself on the row alone.
class MaskedRows : public MambaModel {
  protected:
    struct Row {
        Tensor ids;         // (1,n) the tokens without the padding
        int64_t first = 0;  // of the padded row
        State state;        // after running it alone
        Tensor logits;      // (1,n,V)
    };

    // "logits 4.4e-15, conv_state 1.3e-15, ssm_state 5.3e-15 (max abs difference)"
    bool agrees(int64_t row, const std::string& what) {
        const std::string text =
            file_->metadata("masked_row" + std::to_string(row) + "_vs_unpadded");
        const size_t at = text.find(what + " ");
        double figure = 0;
        if (at == std::string::npos ||
            std::sscanf(text.c_str() + at + what.size(), " %lf", &figure) != 1) {
            ADD_FAILURE() << "metadata of row " << row << ": " << text;
            return false;
        }
        return figure < 1e-9;
    }

    std::vector<Row> rows_alone() {
        const Tensor all = ids("masked.input_ids"), mask = ids("masked.attention_mask");
        std::vector<Row> rows(static_cast<size_t>(all.size(0)));
        for (int64_t r = 0; r < all.size(0); ++r) {
            Row& row = rows[static_cast<size_t>(r)];
            int64_t count = 0;
            for (int64_t t = 0; t < all.size(1); ++t) {
                if (mask.at({r, t}) != 0) {
                    row.first = count == 0 ? t : row.first;
                    ++count;
                }
            }
            row.ids = all.slice(0, r, 1).slice(1, row.first, count);
            row.state = make_state(model_);
            row.logits = logits(row.state, row.ids);
        }
        return rows;
    }
};

TEST_P(MaskedRows, AloneIsTransformersWhereItAgrees) {
    int compared = 0;
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const Tensor want = load_tensor(*file_, "masked.logits", DType::f64);
        const std::vector<Row> rows = rows_alone();
        for (size_t r = 0; r < rows.size(); ++r) {
            SCOPED_TRACE("row " + std::to_string(r));
            const Row& row = rows[r];
            const auto at = static_cast<int64_t>(r);
            const auto state_of_row = [&](const std::string& name) {
                return load_tensor(*file_, "masked." + name, DType::f64).slice(0, at, 1);
            };
            if (agrees(at, "logits")) {
                const Tensor real = want.slice(0, at, 1).slice(1, row.first, row.ids.size(1));
                EXPECT_TRUE(close_to(row.logits.values(), real.values(), tolerance()));
                ++compared;
            }
            for (size_t i = 0; i < parts_->blocks(); ++i) {
                const State view = child(row.state, parts_->block_child(i));
                const std::string suffix = "state." + std::to_string(i);
                if (agrees(at, "ssm_state")) {
                    EXPECT_TRUE(
                        close_to(get_state(parts_->block(i), view, "mixer.ssm_state", 1, DType::f64)
                                     .values(),
                                 state_of_row("ssm_" + suffix).values(), state_tolerance()));
                    ++compared;
                }
                if (agrees(at, "conv_state")) {
                    const Tensor kept = state_of_row("conv_" + suffix);
                    EXPECT_TRUE(close_to(
                        get_state(parts_->block(i), view, "mixer.conv_state", 1, DType::f64)
                            .values(),
                        kept.slice(2, 1, kept.size(2) - 1).permute({0, 2, 1}).values(),
                        state_tolerance()));
                    ++compared;
                }
            }
        }
    }
    // a-base: the logits of all rows and the states of both left-padded ones; c-odd has projection
    // biases, so only the right-padded row's logits.
    const int each = GetParam() == "mamba-hf-a-base" ? 3 + 2 * 2 * 2 : 1;
    EXPECT_EQ(compared, each * static_cast<int>(levels().size()));
}

TEST_P(MaskedRows, PaddedAndPackedRowsAreTheRowAlone) {
    for (const std::string& level : levels()) {
        SCOPED_TRACE(level);
        open(level);
        const std::vector<Row> rows = rows_alone();
        const Tensor all = ids("masked.input_ids");
        const int64_t count = all.size(0), width = all.size(1);
        const int64_t vocabulary = rows[0].logits.size(2);

        // Packed: cu_seqlens.
        std::vector<int64_t> cu = {0};
        for (const Row& row : rows) {
            cu.push_back(cu.back() + row.ids.size(1));
        }
        Tensor packed(DType::i64, {1, cu.back()});
        for (size_t r = 0; r < rows.size(); ++r) {
            packed.slice(1, cu[r], cu[r + 1] - cu[r]).assign(rows[r].ids.values());
        }
        {
            const State state = make_state(model_, count);
            const Tensor out = Tensor::filled(dtype_, {1, cu.back(), vocabulary}, -777);
            Args args(model_);
            args.add("tokens", packed).add("logits", out).add("cu_seqlens", Tensor::i64(cu));
            forward(model_, state, args);
            for (size_t r = 0; r < rows.size(); ++r) {
                EXPECT_TRUE(same_bits(out.slice(1, cu[r], cu[r + 1] - cu[r]), rows[r].logits));
                EXPECT_EQ(row_bits(model_, state, count, static_cast<int64_t>(r)),
                          row_bits(model_, rows[r].state, 1, 0));
            }
        }
        // Right padding: lengths, every row moved to the front.
        {
            Tensor moved = Tensor::filled(DType::i64, {count, width}, 0);
            std::vector<int64_t> lengths;
            for (size_t r = 0; r < rows.size(); ++r) {
                lengths.push_back(rows[r].ids.size(1));
                moved.slice(0, static_cast<int64_t>(r), 1)
                    .slice(1, 0, lengths.back())
                    .assign(rows[r].ids.values());
            }
            const State state = make_state(model_, count);
            const Tensor out = Tensor::filled(dtype_, {count, width, vocabulary}, -777);
            Args args(model_);
            args.add("tokens", moved).add("logits", out).add("lengths", Tensor::i64(lengths));
            forward(model_, state, args);
            for (size_t r = 0; r < rows.size(); ++r) {
                const Tensor row = out.slice(0, static_cast<int64_t>(r), 1);
                EXPECT_TRUE(same_bits(row.slice(1, 0, lengths[r]), rows[r].logits));
                const Tensor rest = row.slice(1, lengths[r], width - lengths[r]);
                EXPECT_EQ(rest.values(), Values(static_cast<size_t>(rest.count()), 0.0));
                EXPECT_EQ(row_bits(model_, state, count, static_cast<int64_t>(r)),
                          row_bits(model_, rows[r].state, 1, 0));
            }
        }
        // Padding anywhere: negative seq_idx.
        {
            const Tensor mask = ids("masked.attention_mask");
            Tensor index(DType::i32, {count, width});
            Values values = mask.values();
            for (double& value : values) {
                value -= 1;  // 1 -> sequence 0, 0 -> padding
            }
            index.assign(values);
            const State state = make_state(model_, count);
            const Tensor out = Tensor::filled(dtype_, {count, width, vocabulary}, -777);
            Args args(model_);
            args.add("tokens", all).add("logits", out).add("seq_idx", index);
            forward(model_, state, args);
            for (size_t r = 0; r < rows.size(); ++r) {
                const Tensor row = out.slice(0, static_cast<int64_t>(r), 1);
                EXPECT_TRUE(
                    same_bits(row.slice(1, rows[r].first, rows[r].ids.size(1)), rows[r].logits));
                for (int64_t t = 0; t < width; ++t) {
                    if (mask.at({static_cast<int64_t>(r), t}) == 0) {
                        EXPECT_EQ(row.slice(1, t, 1).values(),
                                  Values(static_cast<size_t>(vocabulary), 0.0));
                    }
                }
                EXPECT_EQ(tensor_row_bits(model_, state, count, static_cast<int64_t>(r)),
                          tensor_row_bits(model_, rows[r].state, 1, 0));
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Golden, MaskedRows, testing::Values("mamba-hf-a-base", "mamba-hf-c-odd"),
                         [](const auto& info) { return test_name(info.param); });

TEST(MaskedRowsCases, AreAllWithMasks) {
    SEQMIX_NEED_SHARED("golden");
    std::vector<std::string> with_masks;
    for (const std::string& name : model_cases()) {
        const SafetensorsFile file(shared_path("golden/" + name + "/expected.safetensors"));
        if (file.has("masked.logits")) {
            with_masks.push_back(name);
        }
    }
    EXPECT_EQ(with_masks, (std::vector<std::string>{"mamba-hf-a-base", "mamba-hf-c-odd"}));
}

}  // namespace
