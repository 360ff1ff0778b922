#include "signal.h"

#include <deque>
#include <map>
#include <nlohmann/json.hpp>

namespace seqmix_cli {

Json settings_json(const std::vector<std::string>& settings, const Json& schema) {
    std::map<std::string, std::string> types;
    for (const Json& attribute : schema.value("attributes", Json::array())) {
        types[attribute.value("name", "")] = attribute.value("type", "");
    }
    Json json = Json::object();
    for (const std::string& setting : settings) {
        const size_t equals = setting.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw Failure(kUsage, "expected key=value, not '" + setting + "'");
        }
        const std::string key = setting.substr(0, equals);
        const std::string text = setting.substr(equals + 1);
        Json value = types[key] == "str" ? Json(text) : Json::parse(text, nullptr, false);
        if (value.is_discarded()) {
            value = text;
        }
        if (types[key] == "f64" && value.is_number()) {
            value = value.get<double>();
        }
        json[key] = value;
    }
    return json;
}

namespace {

Config settings_config(const std::vector<std::string>& settings, const Json& schema) {
    Config config = make<Config>([](auto** c) { return seqmix_config_create(c); });
    check(seqmix_config_set_json(config.get(), settings_json(settings, schema).dump().c_str()),
          kUsage);
    return config;
}

}  // namespace

Layer make_mixer(seqmix_context* context, const std::string& type,
                 const std::vector<std::string>& settings, uint64_t seed) {
    const char* text = nullptr;
    check(seqmix_type_schema(type.c_str(), &text), kUsage);
    const Config config = settings_config(settings, Json::parse(text));
    Layer plan;
    try {
        plan = make<Layer>(
            [&](auto** l) { return seqmix_layer_plan(context, type.c_str(), config.get(), l); },
            kUsage);
    } catch (const Failure& failure) {
        throw Failure(failure.code,
                      std::string(failure.what()) + " (attributes: --set NAME=VALUE)");
    }
    std::deque<std::vector<float>> weights;
    Args args;
    for (size_t i = 0; i < seqmix_layer_slot_count(plan.get()); ++i) {
        const seqmix_slot_info slot = slot_info(plan.get(), i);
        if (slot.role == SEQMIX_ROLE_WEIGHT) {
            const std::vector<int64_t> shape(slot.shape, slot.shape + slot.ndim);
            size_t count = 1;
            for (const int64_t size : shape) {
                count *= static_cast<size_t>(size);
            }
            args.add(slot.slot, weights.emplace_back(count).data(), kF32, shape);
        }
    }
    if (args.size() > 0) {
        check(seqmix_layer_init(plan.get(), seed, args.data(), args.size()));
    }
    return make<Layer>(
        [&](auto** l) { return seqmix_layer_bind(plan.get(), args.data(), args.size(), l); });
}

Signal::Signal(const ContextOptions& context, const SignalOptions& options)
    : context_(make_context(context)),
      name_(options.model.empty() ? options.mixer : options.model) {
    if (options.model.empty()) {
        layer_ = make_mixer(context_.get(), options.mixer, options.settings, options.seed);
    } else {
        const Config config = settings_config(options.open, Json::object());
        layer_ = make<Layer>(
            [&](auto** l) {
                return seqmix_layer_open(context_.get(), options.model.c_str(), config.get(), l);
            },
            kCannotRead, options.model);
        stack_ = true;
    }
    // A file of blocks alone takes and gives what is between blocks.
    seqmix_slot_info x = find_slot(layer_.get(), "x");
    if (x.name == nullptr && find_slot(layer_.get(), "tokens").name == nullptr) {
        x = find_slot(layer_.get(), "embeds");
    }
    if (x.name == nullptr) {
        throw Failure(kCannotRead, name_ + ": takes tokens, not numbers (see `run` and `score`)");
    }
    seqmix_slot_info y = find_slot(layer_.get(), stack_ ? "logits" : "y");
    if (y.name == nullptr && stack_) {
        y = find_slot(layer_.get(), "hidden");
    }
    if (y.name == nullptr || x.ndim != 3) {
        throw Failure(kCannotRead, name_ + ": is no layer from one series to another");
    }
    in_slot_ = x.slot;
    out_slot_ = y.slot;
    in_width_ = slot_width(x);
    out_width_ = slot_width(y);
    pooled_ = y.ndim == 2;
}

State Signal::new_state() const {
    seqmix_state* raw = nullptr;
    const seqmix_status status = seqmix_state_create(layer_.get(), nullptr, &raw);
    if (status != SEQMIX_ERR_UNSUPPORTED) {
        check(status);
    }
    return State(raw);
}

void Signal::prepare(int64_t max_tokens) const {
    check(seqmix_layer_prepare(layer_.get(), 1, max_tokens, 1));
}

void Signal::forward(seqmix_state* state, const float* x, int64_t count, float* y,
                     const seqmix_forward_options* options) const {
    Args args;
    args.add(in_slot_, x, kF32, {1, count, in_width_});
    if (pooled_) {
        args.add(out_slot_, y, kF32, {1, out_width_});
    } else {
        args.add(out_slot_, y, kF32, {1, count, out_width_});
    }
    check(seqmix_layer_forward(layer_.get(), state, args.data(), args.size(), options));
}

}  // namespace seqmix_cli
