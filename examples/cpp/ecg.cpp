// A recorded heart, sample by sample, through an S4D layer: the two leads of a record of the MIT-BIH
// database (format 212) go in whole, then in blocks of random size, 1 to 400 samples, as a monitor
// would get them. Both give the same numbers, and the state between two blocks has one size however
// long the record is.
//
//   c++ -std=c++17 ecg.cpp $(pkg-config --cflags --libs seqmix) && ./a.out data/ecg/100.dat
#include <seqmix/seqmix.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

constexpr int64_t kLeads = 2;

// (samples,2) in millivolts. Three bytes hold a sample of each lead, 12 bits in two's complement,
// 200 units a millivolt, 1024 the zero.
std::vector<float> read_record(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<float> values;
    for (std::size_t i = 0; i + 3 <= bytes.size(); i += 3) {
        const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(bytes[i + k]); };
        const int raw[kLeads] = {byte(0) | (byte(1) & 0x0f) << 8, byte(2) | (byte(1) & 0xf0) << 4};
        for (const int value : raw) {
            values.push_back(static_cast<float>((value < 2048 ? value : value - 4096) - 1024) /
                             200);
        }
    }
    return values;
}

// S4D over the two leads, with the weights that training would start from.
seqmix::Layer make_layer(const seqmix::Context& context) {
    seqmix::Config config;
    config.set("d_model", kLeads).set("d_state", 64).set("init", "lin");
    const seqmix::Layer planned = seqmix::Layer::plan(context, "s4d", config);
    std::vector<seqmix::Tensor<float>> weights;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < planned.slot_count(); ++i) {
        const seqmix_slot_info slot = planned.slot_info(i);
        if (slot.role == SEQMIX_ROLE_WEIGHT) {
            weights.emplace_back(std::vector<int64_t>(slot.shape, slot.shape + slot.ndim));
            names.emplace_back(slot.name);
        }
    }
    seqmix::Args args(planned);
    for (std::size_t i = 0; i < weights.size(); ++i) {
        args.add(names[i], weights[i]);
    }
    planned.init(1, args);
    return planned.bind(args);
}

int main(int argc, char** argv) try {
    const std::vector<float> x = read_record(argc > 1 ? argv[1] : "data/ecg/100.dat");
    const auto samples = static_cast<int64_t>(x.size()) / kLeads;
    if (samples == 0) {
        std::cerr << "no samples: give the path of a record in format 212\n";
        return 1;
    }
    const seqmix::Context context;
    const seqmix::Layer layer = make_layer(context);
    // Samples [first, first + count) through the layer, which goes on from `state`.
    const auto run = [&](seqmix::State& state, int64_t first, int64_t count, float* y) {
        const std::vector<int64_t> shape = {1, count, kLeads};  // (B,T,D)
        layer.forward(
            state,
            seqmix::Args(layer).add("x", {x.data() + first * kLeads, shape}).add("y", {y, shape}));
    };

    std::vector<float> whole(x.size()), blocks(x.size());
    seqmix::State at_once(layer), stream(layer);
    run(at_once, 0, samples, whole.data());
    std::mt19937 random(1);
    int64_t count = 0, calls = 0;
    for (int64_t first = 0; first < samples; first += count, ++calls) {
        count = std::min<int64_t>(1 + random() % 400, samples - first);
        run(stream, first, count, blocks.data() + first * kLeads);
    }

    float largest = 0, difference = 0;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        largest = std::max(largest, std::abs(whole[i]));
        difference = std::max(difference, std::abs(whole[i] - blocks[i]));
    }
    std::printf(
        "%lld samples in %lld blocks, state %llu bytes: %s (largest %.4g, difference %.3g)\n",
        static_cast<long long>(samples), static_cast<long long>(calls),
        static_cast<unsigned long long>(stream.bytes()),
        whole == blocks ? "identical" : "DIFFERENT", static_cast<double>(largest),
        static_cast<double>(difference));
    return whole == blocks && largest > 0 ? 0 : 1;
} catch (const seqmix::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
