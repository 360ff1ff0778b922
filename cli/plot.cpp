// `seqmix plot`: the mixing matrix of a layer for an input, its first column (the response to the first
// token: the kernel, where the layer is the same at all times), or the spectrum of that.
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>

#include "commands.h"
#include "figure.h"
#include "files.h"
#include "series.h"

namespace seqmix_cli {

namespace {

// A layer and an input of it.
struct Subject {
    Context context;
    Layer keep;  // the model that the layer is a child of
    Layer layer;
    std::string name;
    int64_t tokens = 0;
    std::vector<float> x;  // (tokens, width)
};

int64_t input_width(const seqmix_layer* layer, const std::string& name) {
    const seqmix_slot_info x = find_slot(layer, "x");
    if (x.name == nullptr || x.ndim != 3) {
        throw Failure(kUsage, name + ": the layer takes no series");
    }
    return slot_width(x);
}

void refuse_text(const PlotOptions& options, const std::string& name) {
    if (!options.input.text.empty() || !options.input.tokens.empty()) {
        throw Failure(kUsage, name + ": takes a series (--series), not text or tokens");
    }
}

// The series asked for, or noise.
std::vector<float> make_series(const PlotOptions& options, int64_t width, int64_t* tokens) {
    if (!options.series.empty()) {
        std::vector<float> values = read_items(options.series, width, 0, 1).items.at(0).values;
        *tokens = std::min(options.tokens, static_cast<int64_t>(values.size()) / width);
        values.resize(static_cast<size_t>(*tokens * width));
        return values;
    }
    *tokens = options.tokens;
    Generator generator(options.signal.seed);
    std::vector<float> values(static_cast<size_t>(*tokens * width));
    for (float& value : values) {
        value = static_cast<float>(generator.normal());
    }
    return values;
}

std::vector<int64_t> make_tokens(const PlotOptions& options) {
    // Once more, as the commands for text open it: it knows what text means to the model.
    const Model model(
        options.common.context, options.signal.model,
        {options.signal.open, options.common.open.tokenizer, options.common.open.characters});
    std::vector<int64_t> ids;
    if (!options.input.tokens.empty() || !options.input.text.empty()) {
        ids = model.read_input(options.input.text, options.input.tokens);
    } else {
        Generator generator(options.signal.seed);
        for (int64_t i = 0; i < options.tokens; ++i) {
            ids.push_back(
                static_cast<int64_t>(generator.uniform() * static_cast<double>(model.vocab())));
        }
    }
    ids.resize(static_cast<size_t>(std::min(options.tokens, static_cast<int64_t>(ids.size()))));
    return ids;
}

// Block `options.block` of a model, with what the layers before it make of the input.
Subject subject_of_model(const PlotOptions& options) {
    Subject subject;
    subject.context = make_context(options.common.context);
    const Config config = make<Config>([](auto** c) { return seqmix_config_create(c); });
    check(seqmix_config_set_json(config.get(),
                                 settings_json(options.signal.open, Json::object()).dump().c_str()),
          kUsage);
    const std::string& path = options.signal.model;
    subject.keep = make<Layer>(
        [&](auto** l) {
            return seqmix_layer_open(subject.context.get(), path.c_str(), config.get(), l);
        },
        kCannotRead, path);
    const seqmix_slot_info tokens = find_slot(subject.keep.get(), "tokens");
    std::vector<int64_t> ids;
    if (tokens.name != nullptr) {
        if (!options.series.empty()) {
            throw Failure(kUsage, path + ": takes tokens, not a series");
        }
        ids = make_tokens(options);
        subject.tokens = static_cast<int64_t>(ids.size());
    } else {
        refuse_text(options, path);
        subject.x = make_series(options, input_width(subject.keep.get(), path), &subject.tokens);
    }
    const State state =
        make<State>([&](auto** s) { return seqmix_state_create(subject.keep.get(), nullptr, s); });
    int64_t block = 0;
    const size_t children = seqmix_layer_child_count(subject.keep.get());
    for (size_t i = 0; i < children; ++i) {
        const Child child(subject.keep.get(), i);
        if (child.role() == "block" && block++ == options.block) {
            subject.name = path + ", block " + std::to_string(options.block);
            subject.layer =
                make<Layer>([&](auto** l) { return seqmix_layer_child(subject.keep.get(), i, l); });
            return subject;
        }
        std::vector<float> y(static_cast<size_t>(subject.tokens * child.out_width()));
        const State view = child_state(state.get(), i);
        check(child.forward(view.get(), ids.data(), subject.x.data(), y.data(), subject.tokens));
        subject.x = std::move(y);
    }
    throw Failure(kUsage, path + ": has " + std::to_string(block) + " blocks, no block " +
                              std::to_string(options.block));
}

Subject subject_of_mixer(const PlotOptions& options) {
    Subject subject;
    subject.context = make_context(options.common.context);
    subject.layer = make_mixer(subject.context.get(), options.signal.mixer, options.signal.settings,
                               options.signal.seed);
    subject.name = options.signal.mixer;
    refuse_text(options, subject.name);
    subject.x =
        make_series(options, input_width(subject.layer.get(), subject.name), &subject.tokens);
    return subject;
}

// (tokens, tokens) of one lane.
std::vector<double> mixing_matrix(const Subject& subject, int64_t lane) {
    const int64_t n = subject.tokens;
    std::vector<double> matrix(static_cast<size_t>(n * n));
    const seqmix_slot_info slot = find_slot(subject.layer.get(), "x");
    Args args;
    args.add(slot.slot, subject.x.data(), kF32, {1, n, slot_width(slot)});
    seqmix_materialize_options wanted{};
    wanted.struct_size = sizeof wanted;
    wanted.lane_first = lane;
    wanted.lane_count = 1;
    const Tensor out(matrix.data(), kF64, {1, 1, n, n});
    check(seqmix_layer_materialize(subject.layer.get(), nullptr, args.data(), args.size(), &wanted,
                                   out.get(), nullptr, nullptr),
          kUsage, subject.name);
    return matrix;
}

// 20 log10 |X(f)| of 0 <= f <= 1/2 from a series padded to four times its length.
std::vector<double> spectrum(const std::vector<double>& series) {
    const size_t padded = 4 * series.size();
    std::vector<double> result;
    for (size_t k = 0; k <= padded / 2; ++k) {
        std::complex<double> sum = 0;
        for (size_t t = 0; t < series.size(); ++t) {
            // The angle from an exact remainder: no error grows with k t.
            const double turn = static_cast<double>(k * t % padded) / static_cast<double>(padded);
            sum += series[t] * std::polar(1.0, -2 * std::numbers::pi * turn);
        }
        result.push_back(20 * std::log10(std::max(std::abs(sum), 1e-300)));
    }
    return result;
}

Figure make_figure(const PlotOptions& options, const Subject& subject,
                   const std::vector<double>& matrix) {
    const int64_t n = subject.tokens;
    Figure figure;
    figure.title = subject.name + ", lane " + std::to_string(options.lane) + ": " + options.what;
    if (options.what == "matrix") {
        figure.x = {"from token", 0, static_cast<double>(n - 1)};
        figure.y = {"to token", 0, static_cast<double>(n - 1)};
        figure.matrix = matrix;
        figure.rows = figure.columns = n;
        return figure;
    }
    std::vector<double> values;
    for (int64_t t = 0; t < n; ++t) {
        values.push_back(matrix[static_cast<size_t>(t * n)]);
    }
    figure.x = {"tokens", 0, static_cast<double>(n - 1)};
    figure.y.label = "response to token 0";
    if (options.what == "spectrum") {
        values = spectrum(values);
        figure.x = options.rate > 0 ? Axis{"Hz", 0, options.rate / 2} : Axis{"per token", 0, 0.5};
        figure.y.label = "dB";
    }
    figure.curves.push_back({"", std::move(values), {}});
    fit_curves(figure);
    return figure;
}

}  // namespace

int run_plot(const PlotOptions& options) {
    need_figure_format(options.out);
    const Subject subject =
        options.signal.model.empty() ? subject_of_mixer(options) : subject_of_model(options);
    if (subject.tokens < 2) {
        throw Failure(kUsage, "plot: the input has " + std::to_string(subject.tokens) +
                                  " tokens, expected at least 2");
    }
    const std::vector<double> matrix = mixing_matrix(subject, options.lane);
    const Figure figure = make_figure(options, subject, matrix);
    const std::string content = render(figure, options.out);
    OutputFile file(options.out);
    file.write(content.data(), content.size());
    file.commit();
    if (options.common.json) {
        Json result{{"out", options.out}, {"what", options.what}, {"tokens", subject.tokens}};
        if (options.what == "matrix") {
            result["matrix"] = matrix;
        } else {
            result["values"] = figure.curves[0].y;
        }
        print_json(result);
    }
    return kOk;
}

}  // namespace seqmix_cli
