// `seqmix bench --crossover A B`: the length from which on one of two layer types is faster, and takes
// less memory, than the other, with CAB's efficiency length and a picture of both curves.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "efficiency_length.h"
#include "figure.h"
#include "files.h"
#include "type_bench.h"

namespace seqmix_cli {

namespace {

// Those of --set that are for type `which` ("a" or "b"): "a.key=value", or "key=value" for both.
std::vector<std::string> settings_of(const std::vector<std::string>& settings, char which) {
    std::vector<std::string> result;
    for (const std::string& setting : settings) {
        if (setting.size() < 2 || setting[1] != '.' || (setting[0] != 'a' && setting[0] != 'b')) {
            result.push_back(setting);
        } else if (setting[0] == which) {
            result.push_back(setting.substr(2));
        }
    }
    return result;
}

struct Curves {
    std::vector<double> seconds, bytes;
};

Curves measure(const BenchOptions& options, size_t which, Progress& progress) {
    Curves curves;
    // A state that grew for one length would count for the next: a layer of its own for each.
    for (const int64_t length : options.lengths) {
        TypeBench bench(options.common.context, options.crossover[which],
                        settings_of(options.settings, which == 0 ? 'a' : 'b'), options.batch,
                        options.repeats);
        curves.seconds.push_back(bench.time(length));
        curves.bytes.push_back(
            static_cast<double>(bench.bytes(SEQMIX_BYTES_SCRATCH, length) + bench.state_bytes()));
        progress.advance(static_cast<uint64_t>(length));
    }
    return curves;
}

Json json_of(const std::optional<double>& length) {
    return length ? Json(std::llround(*length)) : Json();
}

// Both lengths for one kind of cost. CAB leaves the shortest length out of the line through times.
Json crossing(const std::vector<double>& lengths, const std::vector<double>& first,
              const std::vector<double>& second, size_t left_out) {
    Json result{{"measured", json_of(measured_crossing(lengths, first, second))}};
    const std::vector<double> kept(lengths.begin() + static_cast<ptrdiff_t>(left_out),
                                   lengths.end());
    const std::vector<double> costs(second.begin() + static_cast<ptrdiff_t>(left_out),
                                    second.end());
    result["efficiency_length"] =
        json_of(efficiency_length(fit(lengths, first, 2), fit(kept, costs, 1)));
    return result;
}

Figure make_figure(const BenchOptions& options, const std::vector<double>& lengths,
                   const Curves& first, const Curves& second) {
    Figure figure;
    figure.title = "time of a call: " + options.crossover[0] + " and " + options.crossover[1];
    figure.x = {"tokens", lengths.front(), lengths.back(), true};
    figure.y = {"ms", 0, 1, true};
    for (const Curves* curves : {&first, &second}) {
        Curve curve{options.crossover[curves == &first ? 0 : 1], {}, lengths};
        for (const double seconds : curves->seconds) {
            curve.y.push_back(1e3 * seconds);
        }
        figure.curves.push_back(std::move(curve));
    }
    fit_curves(figure);
    return figure;
}

void print_length(const char* what, const BenchOptions& options, const Json& length) {
    if (length["measured"].is_null()) {
        std::printf("%s: %s needs no less than %s up to %lld tokens", what,
                    options.crossover[1].c_str(), options.crossover[0].c_str(),
                    static_cast<long long>(options.lengths.back()));
    } else {
        std::printf("%s: %s needs less than %s from %lld tokens on", what,
                    options.crossover[1].c_str(), options.crossover[0].c_str(),
                    static_cast<long long>(length["measured"].get<int64_t>()));
    }
    const Json& fitted = length["efficiency_length"];
    std::printf("; efficiency length (fitted) %s\n",
                fitted.is_null() ? "none" : std::to_string(fitted.get<int64_t>()).c_str());
}

}  // namespace

int run_crossover(const BenchOptions& options) {
    for (size_t i = 1; i < options.lengths.size(); ++i) {
        if (options.lengths[i] <= options.lengths[i - 1]) {
            throw Failure(kUsage, "bench: --lengths must rise");
        }
    }
    if (options.lengths.size() < 3) {
        throw Failure(kUsage, "bench: --crossover needs at least 3 lengths");
    }
    if (!options.out.empty()) {
        need_figure_format(options.out);
    }
    uint64_t work = 0;
    std::vector<double> lengths;
    for (const int64_t length : options.lengths) {
        work += 2 * static_cast<uint64_t>(length);
        lengths.push_back(static_cast<double>(length));
    }
    Curves first, second;
    {
        Progress progress("measuring", work);
        first = measure(options, 0, progress);
        second = measure(options, 1, progress);
    }
    const Json time = crossing(lengths, first.seconds, second.seconds, lengths.size() > 3 ? 1 : 0);
    const Json memory = crossing(lengths, first.bytes, second.bytes, 0);
    if (!options.out.empty()) {
        const std::string content =
            render(make_figure(options, lengths, first, second), options.out);
        OutputFile file(options.out);
        file.write(content.data(), content.size());
        file.commit();
    }
    if (options.common.json) {
        print_json({{"types", options.crossover},
                    {"batch", options.batch},
                    {"repeats", options.repeats},
                    {"lengths", options.lengths},
                    {"seconds", {first.seconds, second.seconds}},
                    {"bytes", {first.bytes, second.bytes}},
                    {"time", time},
                    {"memory", memory}});
        return kOk;
    }
    std::printf("%8s  %14s ms  %14s ms  %14s  %14s\n", "tokens", options.crossover[0].c_str(),
                options.crossover[1].c_str(), "memory", "memory");
    for (size_t i = 0; i < lengths.size(); ++i) {
        std::printf("%8lld  %17.3f  %17.3f  %14s  %14s\n",
                    static_cast<long long>(options.lengths[i]), 1e3 * first.seconds[i],
                    1e3 * second.seconds[i],
                    human_bytes(static_cast<uint64_t>(first.bytes[i])).c_str(),
                    human_bytes(static_cast<uint64_t>(second.bytes[i])).c_str());
    }
    print_length("time", options, time);
    print_length("memory (scratch and state)", options, memory);
    flush_stdout();
    return kOk;
}

}  // namespace seqmix_cli
