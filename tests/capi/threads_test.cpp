// Threads: any number of them, and a host's executor in any order, give the same bits; many calls may
// run on one layer.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "../support/model.h"
#include "../support/shared_data.h"
#include "../support/small_mamba.h"

namespace {

using namespace seqmix_test;

// A host's executor: everything on the calling thread, last piece first.
struct Reversed {
    size_t calls = 0, most = 0;
    static int32_t run(void* user, size_t n, seqmix_task_fn fn, void* arg) {
        auto* self = static_cast<Reversed*>(user);
        ++self->calls;
        self->most = std::max(self->most, n);
        for (size_t i = n; i-- > 0;) {
            fn(arg, i, i % 3);
        }
        return 0;
    }
    Context context(const char* isa) {
        seqmix_context_options options = {};
        options.struct_size = sizeof(options);
        options.isa = isa;
        options.parallel_for = run;
        options.parallel_user = this;
        options.parallel_workers = 3;
        Context result;
        check(seqmix_context_create(&options, result.out()), "seqmix_context_create");
        return result;
    }
};

// A host's executor with threads of its own.
struct Spawning {
    static int32_t run(void*, size_t n, seqmix_task_fn fn, void* arg) {
        std::atomic<size_t> next{0};
        std::vector<std::thread> threads;
        for (size_t worker = 0; worker < 3; ++worker) {
            threads.emplace_back([&, worker] {
                for (size_t i; (i = next++) < n;) {
                    fn(arg, i, worker);
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        return 0;
    }
    Context context(const char* isa) {
        seqmix_context_options options = {};
        options.struct_size = sizeof(options);
        options.isa = isa;
        options.parallel_for = run;
        options.parallel_workers = 3;
        Context result;
        check(seqmix_context_create(&options, result.out()), "seqmix_context_create");
        return result;
    }
};

class ThreadsTest : public testing::TestWithParam<std::string> {
  protected:
    // What `compute` gives for one thread is what it gives for every executor.
    template <class Fn>
    void expect_equal(Fn&& compute) {
        const std::string expected = compute(make_context(isa(), 1));
        ASSERT_FALSE(expected.empty());
        for (const int32_t threads : {2, 4}) {
            EXPECT_TRUE(compute(make_context(isa(), threads)) == expected) << threads << " threads";
        }
        Reversed reversed;
        EXPECT_TRUE(compute(reversed.context(isa())) == expected) << "reversed executor";
        EXPECT_GT(reversed.calls, 0u);
        EXPECT_GT(reversed.most, 1u);
        Spawning spawning;
        EXPECT_TRUE(compute(spawning.context(isa())) == expected) << "spawning executor";
    }
    const char* isa() const { return isa_.c_str(); }
    std::string isa_ = GetParam();
};

TEST_P(ThreadsTest, Blocks) {
    expect_equal([](Context context) {
        const Config config = Config().set("d_model", 48).set("d_inner", 200).set("d_state", 8);
        const SmallMamba mamba(std::move(context), 5, config);
        std::string bits;
        const State state = make_state(mamba.layer, 3);
        for (const int64_t tokens : {67, 1}) {
            bits += run(mamba.layer, state, noise(DType::f32, {3, tokens, 48}, 1)).bits();
        }
        return bits + state_bits(mamba.layer, state, 3);
    });
}

TEST_P(ThreadsTest, Scans) {
    expect_equal([](Context context) {
        const Layer layer =
            make_op(context, "selective_scan_op", Config().set("d_inner", 301).set("d_state", 5));
        const Tensor u = noise(DType::f32, {2, 70, 301}, 1), b = noise(DType::f32, {2, 70, 5}, 3);
        const Tensor y(DType::f32, u.shape()), state(DType::f32, {2, 301, 5});
        Args args(layer);
        args.add("u", u).add("delta", noise(DType::f32, u.shape(), 2)).add("B", b).add("C", b);
        args.add("A", Tensor::filled(DType::f32, {301, 5}, -1)).add("y", y);
        args.add("state_out", state);
        forward(layer, args);
        return y.bits() + state.bits();
    });
}

TEST_P(ThreadsTest, Convolutions) {
    expect_equal([](Context context) {
        const Layer layer = make_op(context, "causal_conv1d_op",
                                    Config().set("d_model", 333).set("width", 4).set("silu", true));
        const Tensor x = noise(DType::f32, {2, 70, 333}, 1), y(DType::f32, x.shape());
        const Tensor state(DType::f32, {2, 3, 333});
        Args args(layer);
        args.add("x", x).add("weight", noise(DType::f32, {333, 4}, 2)).add("y", y);
        args.add("state_out", state);
        forward(layer, args);
        return y.bits() + state.bits();
    });
}

TEST_P(ThreadsTest, Models) {
    expect_equal([](Context context) {
        const Layer model = open_model(context, source_dir() + "/models/shakespeare");
        const State state = make_state(model, 2);
        const Tensor tokens(DType::i64, {2, 33}, [] {
            Values values = noise(66, 1, 127.0);
            for (double& value : values) {
                value = static_cast<double>(static_cast<int64_t>(value + 127));
            }
            return values;
        }());
        std::string bits = run(model, state, tokens, "logits").bits();
        bits += run(model, state, Tensor::i64({'a', 'b'}, {2, 1}), "logits_last").bits();
        return bits + state_bits(model, state, 2);
    });
}

INSTANTIATE_TEST_SUITE_P(Levels, ThreadsTest, testing::ValuesIn(levels()),
                         [](const auto& info) { return info.param; });

TEST(Concurrency, ManyCallsOnOneLayer) {
    for (const int32_t threads : {1, 2}) {
        SmallMamba mamba(make_context(nullptr, threads));
        constexpr size_t kCallers = 4;
        std::vector<Tensor> inputs, expected;
        for (size_t i = 0; i < kCallers; ++i) {
            inputs.push_back(mamba.input(2, 20 + static_cast<int64_t>(i), i));
            expected.push_back(mamba(make_state(mamba.layer, 2), inputs.back()));
        }
        check(seqmix_layer_prepare(mamba.layer.get(), 2, 64, kCallers), "seqmix_layer_prepare");
        std::atomic<int> wrong{0};
        std::vector<std::thread> callers;
        for (size_t i = 0; i < kCallers; ++i) {
            callers.emplace_back([&, i] {
                try {
                    for (int round = 0; round < 20; ++round) {
                        const State state = make_state(mamba.layer, 2);
                        wrong += same_bits(mamba(state, inputs[i]), expected[i]) ? 0 : 1;
                    }
                } catch (const std::exception&) {
                    ++wrong;
                }
            });
        }
        for (std::thread& caller : callers) {
            caller.join();
        }
        EXPECT_EQ(wrong, 0);
    }
}

TEST(Concurrency, HandlesAreMadeAndReleasedByManyThreads) {
    const Context context = make_context(nullptr, 2);
    const Layer planned = plan(context, "mamba", SmallMamba::config());
    const Weights weights = init_weights(planned, 7);
    const Layer shared = bind(planned, weights);
    std::atomic<int> wrong{0};
    std::vector<std::thread> makers;
    for (int i = 0; i < 4; ++i) {
        makers.emplace_back([&] {
            try {
                for (int round = 0; round < 25; ++round) {
                    const Layer own = bind(planned, weights);
                    const Layer other(seqmix_layer_retain(shared.get()));
                    const State a = make_state(own), b = make_state(other), c = clone(b);
                    const Tensor x = noise(DType::f32, {1, 3, SmallMamba::kD}, 1);
                    wrong += same_bits(run(own, a, x), run(other, b, x)) ? 0 : 1;
                    wrong += position(c) == 0 ? 0 : 1;
                }
            } catch (const std::exception&) {
                ++wrong;
            }
        });
    }
    for (std::thread& maker : makers) {
        maker.join();
    }
    EXPECT_EQ(wrong, 0);
}

}  // namespace
