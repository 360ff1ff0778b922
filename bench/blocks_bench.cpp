// Streams by blocks, as an audio callback does: how long blocks take, and the slowest ones. A block's time
// is the least of five passes over the same samples, so that what is left is the library's own.
//
//   blocks_bench [FILTER]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "models.h"
#include "support/limits.h"
#include "support/rows.h"

namespace seqmix::mixers {
extern const MixerCases s4d_cases;
extern const MixerCases s4_cases;
}  // namespace seqmix::mixers

namespace seqmix::bench {

namespace {

constexpr int kPasses = 5;

struct Stream {
    const MixerCases* mixer;
    const char* name;
    std::string attributes;
    int64_t channels, block, blocks;
};

// Calls of one block each; positions go on over the passes, the work does not depend on them.
void measure(const Stream& stream) {
    Case setup;
    setup.name = stream.name;
    setup.attributes = stream.attributes.c_str();
    const conformance::Context context({.isa = "avx512", .threads = 1});
    const conformance::Model model(context, *stream.mixer, setup);
    const int64_t T = stream.block, D = stream.channels;
    std::vector<float> x(static_cast<size_t>(T * D * stream.blocks)), y(static_cast<size_t>(T * D));
    for (size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<float>((i * 2654435761u >> 8) % 65536) / 32768.0f - 1.0f;
    }
    conformance::Stream state(model, 1);
    must(seqmix_layer_prepare(model.layer(), 1, T, 1), "prepare");
    const int64_t shape[] = {1, T, D};
    seqmix_tensor in{}, out{};
    in.dtype = out.dtype = {SEQMIX_DL_FLOAT, 32, 1};
    in.device.device_type = out.device.device_type = SEQMIX_DL_CPU;
    in.ndim = out.ndim = 3;
    in.shape = out.shape = const_cast<int64_t*>(shape);
    out.data = y.data();
    const seqmix_arg args[] = {{model.find(std::string("x"))->number, 0, 0, 0, &in},
                               {model.find(std::string("y"))->number, 0, 0, 0, &out}};
    std::vector<double> times(static_cast<size_t>(stream.blocks), 1.0);
    const int64_t before = conformance::allocations();
    for (int pass = 0; pass < kPasses; ++pass) {
        must(seqmix_state_reset(state.handle(), -1), "reset");
        for (int64_t b = 0; b < stream.blocks; ++b) {
            in.data = x.data() + b * T * D;
            const double start = now();
            must(seqmix_layer_forward(model.layer(), state.handle(), args, 2, nullptr), "forward");
            double& least = times[static_cast<size_t>(b)];
            least = std::min(least, now() - start);
        }
    }
    const int64_t asked = conformance::allocations() - before;
    std::sort(times.begin(), times.end());
    const auto at = [&](double part) {
        return 1e6 * times[static_cast<size_t>(part * static_cast<double>(times.size() - 1))];
    };
    std::printf(
        "%-6s D%lld block %4lld: median %8.2f us, p99.9 %8.2f us (%.2f), worst %8.2f us (%.2f), "
        "%.2f ns a sample, %lld requests for memory\n",
        stream.name, static_cast<long long>(D), static_cast<long long>(T), at(0.5), at(0.999),
        at(0.999) / at(0.5), at(1.0), at(1.0) / at(0.5), 1e3 * at(0.5) / static_cast<double>(T * D),
        static_cast<long long>(asked));
}

}  // namespace

}  // namespace seqmix::bench

int main(int argc, char** argv) {
    using namespace seqmix;
    const char* filter = argc > 1 ? argv[1] : "";
    try {
        for (const auto& [mixer, name] :
             {std::pair{&mixers::s4d_cases, "s4d"}, {&mixers::s4_cases, "s4"}}) {
            for (const int64_t channels : {1, 2, 4}) {
                for (const int64_t block : {16, 64, 128, 512}) {
                    if (std::strstr(name, filter) == nullptr) continue;
                    bench::measure(
                        {mixer, name,
                         R"({"d_state":64,"activation":"none","output":"none","d_model":)" +
                             std::to_string(channels) + "}",
                         channels, block, 2000});
                }
            }
        }
        return 0;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "blocks_bench: %s\n", failure.what());
        return 1;
    }
}
