// `seqmix classify`: pictures or series in, classes and logits out.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "series.h"

namespace seqmix_cli {

namespace {

// (value * scale - mean) / deviation, by channel.
class Normaliser {
  public:
    Normaliser(const ClassifyOptions& options, int64_t channels) : options_(options) {
        for (const auto* list : {&options.mean, &options.deviation}) {
            if (list->size() > 1 && static_cast<int64_t>(list->size()) != channels) {
                throw Failure(kUsage, "classify: " + std::to_string(list->size()) +
                                          " means or deviations for a model of " +
                                          std::to_string(channels) + " inputs");
            }
        }
    }
    void apply(Item& item, bool image, int64_t channels) const {
        const double scale = options_.scale != 0 ? options_.scale : image ? 1.0 / 255 : 1.0;
        for (size_t i = 0; i < item.values.size(); ++i) {
            const size_t c = i % static_cast<size_t>(channels);
            const auto pick = [&](const std::vector<double>& list, double otherwise) {
                return list.empty() ? otherwise : list.size() == 1 ? list[0] : list[c];
            };
            item.values[i] = static_cast<float>(
                (static_cast<double>(item.values[i]) * scale - pick(options_.mean, 0)) /
                pick(options_.deviation, 1));
        }
    }

  private:
    const ClassifyOptions& options_;
};

class Classifier {
  public:
    Classifier(const Signal& signal, int64_t chunk)
        : signal_(signal), chunk_(chunk), state_(signal.new_state()) {}

    // The logits after the last step.
    std::vector<float> run(const Item& item) {
        const int64_t chunk = chunk_ == 0 ? item.steps : std::min(chunk_, item.steps);
        if (state_) {
            check(seqmix_state_reset(state_.get(), -1));
        }
        const auto classes = static_cast<size_t>(signal_.out_width());
        std::vector<float> out(classes * static_cast<size_t>(signal_.pooled() ? 1 : chunk));
        int64_t count = 0;
        for (int64_t at = 0; at < item.steps; at += chunk) {
            count = std::min(chunk, item.steps - at);
            signal_.forward(state_.get(), item.values.data() + at * signal_.in_width(), count,
                            out.data());
        }
        const size_t last = signal_.pooled() ? 0 : static_cast<size_t>(count - 1);
        return {out.begin() + static_cast<ptrdiff_t>(last * classes),
                out.begin() + static_cast<ptrdiff_t>((last + 1) * classes)};
    }

  private:
    const Signal& signal_;
    int64_t chunk_;
    State state_;
};

}  // namespace

int run_classify(const ClassifyOptions& options) {
    const Signal signal(options.common.context, options.signal);
    const int64_t channels = signal.in_width();
    const Normaliser normaliser(options, channels);
    const std::vector<int64_t> labels =
        options.labels.empty() ? std::vector<int64_t>() : read_labels(options.labels);
    Classifier classifier(signal, options.chunk);
    Json list = Json::array();
    int64_t seen = 0, right = 0;
    auto index = static_cast<size_t>(options.first);
    for (const std::string& path : options.inputs) {
        Items items = read_items(path, channels, options.first, options.limit);
        Progress progress("classifying", items.items.size());
        for (Item& item : items.items) {
            throw_if_interrupted();
            normaliser.apply(item, items.images, channels);
            const std::vector<float> logits = classifier.run(item);
            const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            Json row{{"name", item.name}, {"class", best}, {"logits", logits}};
            if (!options.labels.empty()) {
                if (index >= labels.size()) {
                    throw Failure(kCannotRead, options.labels + ": has " +
                                                   std::to_string(labels.size()) +
                                                   " labels, fewer than there are items");
                }
                row["label"] = labels[index];
                right += labels[index] == best ? 1 : 0;
            }
            ++index;
            ++seen;
            if (options.common.json) {
                list.push_back(std::move(row));
            } else {
                std::printf("%s\t%lld", printable(item.name).c_str(), static_cast<long long>(best));
                for (const float logit : logits) {
                    std::printf("\t%.6g", static_cast<double>(logit));
                }
                std::printf("\n");
            }
            progress.advance(1);
        }
    }
    if (options.common.json) {
        Json result{{"items", list}, {"count", seen}};
        if (!options.labels.empty()) {
            result["right"] = right;
        }
        print_json(result);
        return kOk;
    }
    if (!options.labels.empty()) {
        std::printf("right: %lld of %lld\n", static_cast<long long>(right),
                    static_cast<long long>(seen));
    }
    flush_stdout();
    return kOk;
}

}  // namespace seqmix_cli
