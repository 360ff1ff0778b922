// Text from a model with seqmix.hpp, and what a state that can be copied is good for: two continuations
// of one prompt, a session kept as bytes, and a draft that is taken back.
//
//   c++ -std=c++17 stream.cpp $(pkg-config --cflags --libs seqmix) && ./a.out models/shakespeare
//
// The text goes to standard output, everything else to standard error.
#include <seqmix/seqmix.hpp>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

// Feeds bytes to a state and gives the logits of the byte that follows.
class Generator {
  public:
    explicit Generator(seqmix::Layer model)
        : model_(std::move(model)), logits_({1, model_.size("logits_last", -1)}) {}

    const seqmix::Tensor<float>& feed(seqmix::State& state, const std::string& text) {
        std::vector<int32_t> tokens;
        for (const char c : text) {
            tokens.push_back(static_cast<unsigned char>(c));
        }
        const auto length = static_cast<int64_t>(tokens.size());
        model_.forward(state, seqmix::Args(model_)
                                  .add("tokens", {tokens, {1, length}})  // (B,T)
                                  .add("logits_last", logits_));         // (B,V)
        return logits_;
    }

    // `count` bytes after `prompt`; rank 0 takes the likeliest byte, 1 the second at the first place.
    std::string continue_from(seqmix::State& state, const std::string& prompt, int count,
                              std::ptrdiff_t rank = 0) {
        std::string text;
        for (int i = 0; i < count; ++i) {
            const auto& logits = feed(state, i == 0 ? prompt : text.substr(text.size() - 1));
            std::vector<int> order(logits.size());
            for (std::size_t v = 0; v < order.size(); ++v) {
                order[v] = static_cast<int>(v);
            }
            const std::ptrdiff_t take = i == 0 ? rank : 0;
            std::nth_element(order.begin(), order.begin() + take, order.end(), [&](int a, int b) {
                const float x = logits[static_cast<std::size_t>(a)];
                const float y = logits[static_cast<std::size_t>(b)];
                return x != y ? x > y : a < b;
            });
            text += static_cast<char>(order[static_cast<std::size_t>(take)]);
        }
        return text;
    }

  private:
    seqmix::Layer model_;
    seqmix::Tensor<float> logits_;
};

int main(int argc, char** argv) try {
    const std::string path = argc > 1 ? argv[1] : "models/shakespeare";
    const std::string prompt = argc > 2 && argv[2][0] != '\0' ? argv[2] : "ROMEO:\nWhat light";
    const int count = argc > 3 ? std::atoi(argv[3]) : 200;

    const seqmix::Context context;
    const seqmix::Layer model = seqmix::Layer::open(context, path);
    Generator generator(model);

    // All but the last byte of the prompt: what every continuation below starts from.
    const std::string head = prompt.substr(0, prompt.size() - 1);
    const std::string last = prompt.substr(prompt.size() - 1);
    seqmix::State state(model, seqmix::StateOptions(/*rows=*/1, /*snapshots=*/1));
    if (!head.empty()) {
        generator.feed(state, head);
    }

    // A session as bytes: the state at this point, to be stored or sent; and a copy of it in memory.
    const std::vector<uint8_t> session = state.save();
    seqmix::State fork = state.clone();

    // A draft, and back: rollback is exact.
    const int64_t mark = state.snapshot();
    generator.continue_from(state, "?!", 5);
    state.rollback(mark);

    const std::string text = generator.continue_from(state, last, count);
    std::cout << prompt << text << std::endl;

    std::cerr << "second choice: " << prompt
              << generator.continue_from(fork, last, std::min(count, 40), 1) << "\n";
    seqmix::State resumed = seqmix::State::load(model, session);
    const bool same = generator.continue_from(resumed, last, count) == text;
    std::cerr << "session of " << session.size()
              << " bytes, resumed: " << (same ? "the same text" : "ANOTHER TEXT") << "\n";
    return same ? 0 : 1;
} catch (const seqmix::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
