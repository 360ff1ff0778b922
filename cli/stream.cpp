// `seqmix stream`: samples through a layer by blocks, as a host with a sound card would drive it. The
// times are of the layer's calls alone, without reading and writing.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "sound.h"

namespace seqmix_cli {

namespace {

// The smallest time that a share p of the blocks does not exceed; `times` is sorted.
double quantile(const std::vector<double>& times, double p) {
    const double rank = std::ceil(p * static_cast<double>(times.size()));
    return times[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

}  // namespace

int run_stream(const StreamOptions& options) {
    const Signal signal(options.common.context, options.signal);
    const auto input =
        open_sound(options.input, options.sound ? SoundFormat::file : sound_format(options.input),
                   signal.in_width());
    const double rate = input->rate() > 0 ? input->rate() : options.rate;
    const auto output =
        create_sound(options.output, sound_format(options.output), signal.out_width(), rate);
    const int64_t block = options.block;
    std::vector<float> in(static_cast<size_t>(block * signal.in_width()));
    std::vector<float> out(static_cast<size_t>((signal.pooled() ? 1 : block) * signal.out_width()));
    signal.prepare(block);
    const State state = signal.new_state();
    std::vector<double> times;
    double total = 0;
    int64_t frames = 0;
    while (!interrupted()) {
        const int64_t got = input->read(in.data(), block);
        if (got == 0) {
            break;
        }
        const double started = now();
        signal.forward(state.get(), in.data(), got, out.data());
        times.push_back(now() - started);
        total += times.back();
        frames += got;
        output->write(out.data(), signal.pooled() ? 1 : got);
        if (got < block) {
            break;
        }
    }
    output->finish();
    if (times.empty()) {
        throw Failure(interrupted() ? kInterrupted : kCannotRead,
                      options.input + ": the input is empty");
    }
    const size_t blocks = times.size();
    std::sort(times.begin(), times.end());
    const double seconds = static_cast<double>(frames) / rate;
    const Json result{{"frames", frames},
                      {"blocks", blocks},
                      {"block", block},
                      {"rate", rate},
                      {"seconds", total},
                      {"real_time_factor", total / seconds},
                      {"median_s", quantile(times, 0.5)},
                      {"p999_s", quantile(times, 0.999)},
                      {"worst_s", times.back()},
                      {"block_s", static_cast<double>(block) / rate},
                      {"kernel", seqmix_layer_kernel_name(signal.layer())}};
    // stdout may carry the samples.
    if (options.common.json) {
        std::fprintf(options.output == "-" ? stderr : stdout, "%s\n", result.dump().c_str());
    } else {
        std::fprintf(stderr,
                     "%s frames in %s blocks of %lld, real-time factor %.3g (%.1f times as fast as "
                     "%g Hz)\n"
                     "a block: median %.1f us, p99.9 %.1f us, worst %.1f us of %.1f us\n",
                     human_count(static_cast<uint64_t>(frames)).c_str(),
                     human_count(blocks).c_str(), static_cast<long long>(block), total / seconds,
                     seconds / total, rate, 1e6 * quantile(times, 0.5),
                     1e6 * quantile(times, 0.999), 1e6 * times.back(),
                     1e6 * static_cast<double>(block) / rate);
    }
    flush_stdout();
    if (interrupted()) {
        throw Failure(kInterrupted, "interrupted");
    }
    return kOk;
}

}  // namespace seqmix_cli
