// `seqmix bench`: medians of a model's prefill and decode, or of any registered layer type.
//
// A type is driven by what its schema and slots say and by nothing else, so a new one shows up here
// without a line of code: weights from seqmix_layer_init, inputs from a normal distribution,
// parameters that come with the call (inputs without B and T) from (-1, 0], so that decays decay.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "signal.h"

namespace seqmix_cli {

namespace {

// The median time of one call in seconds, after one call to warm up.
double median_time(int64_t repeats, const std::function<void()>& prepare,
                   const std::function<void()>& call) {
    std::vector<double> times;
    for (int64_t i = 0; i < repeats + 1; ++i) {
        throw_if_interrupted();
        prepare();
        const double started = now();
        call();
        if (i > 0) {
            times.push_back(now() - started);
        }
    }
    return median(times);
}

std::vector<int64_t> random_ids(int64_t count, int64_t vocab) {
    Generator generator(1);
    std::vector<int64_t> ids(static_cast<size_t>(count));
    for (int64_t& id : ids) {
        id = static_cast<int64_t>(generator.uniform() * static_cast<double>(vocab));
    }
    return ids;
}

double per_second(int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

// ------------------------------------------------------------------ models

int bench_model(const BenchOptions& options) {
    const Model model(options.common.context, options.common.model);
    const Json context = context_info(model.context());
    const State state = model.new_state();
    std::vector<float> logits(static_cast<size_t>(model.vocab()));
    const auto reset = [&] { check(seqmix_state_reset(state.get(), -1)); };
    model.prepare(*std::max_element(options.lengths.begin(), options.lengths.end()));

    uint64_t work = static_cast<uint64_t>(options.decode);
    for (const int64_t length : options.lengths) {
        work += static_cast<uint64_t>(length);
    }
    work *= static_cast<uint64_t>(options.repeats + 1);
    Progress progress("measuring", work);

    Json prefill = Json::array();
    for (const int64_t length : options.lengths) {
        const std::vector<int64_t> ids = random_ids(length, model.vocab());
        const double seconds = median_time(options.repeats, reset, [&] {
            model.forward(state.get(), ids, {.logits_last = logits.data()}, progress.options());
            progress.advance(static_cast<uint64_t>(length));
        });
        prefill.push_back({{"tokens", length},
                           {"seconds", seconds},
                           {"tokens_per_s", per_second(length, seconds)}});
    }
    const std::vector<int64_t> ids = random_ids(options.decode, model.vocab());
    const double decode_seconds = median_time(options.repeats, reset, [&] {
        for (const int64_t& id : ids) {
            model.forward(state.get(), {&id, 1}, {.logits_last = logits.data()});
        }
        progress.advance(ids.size());
    });
    const double step = decode_seconds / static_cast<double>(options.decode);
    // A step reads every weight once, and reads the state and writes it.
    const uint64_t moved = model.weight_bytes() + 2 * model.state_bytes();

    const Json result{{"model", options.common.model},
                      {"kernel", model.info().value("kernel", Json())},
                      {"isa", context.value("isa", Json())},
                      {"threads", context.value("threads", Json())},
                      {"repeats", options.repeats},
                      {"prefill", prefill},
                      {"decode",
                       {{"tokens", options.decode},
                        {"seconds_per_token", step},
                        {"tokens_per_s", per_second(1, step)},
                        {"bytes_per_token", moved},
                        {"bytes_per_s", static_cast<double>(moved) / step}}},
                      {"weight_bytes", model.weight_bytes()},
                      {"state_bytes", model.state_bytes()}};
    if (options.common.json) {
        print_json(result);
        return kOk;
    }
    std::printf("level %s, %d threads, medians of %lld\n", context.value("isa", "").c_str(),
                context.value("threads", 0), static_cast<long long>(options.repeats));
    for (const Json& row : prefill) {
        std::printf("prefill %8lld tokens  %10.3f ms  %12.1f tokens/s\n",
                    static_cast<long long>(row["tokens"].get<int64_t>()),
                    1e3 * row["seconds"].get<double>(), row["tokens_per_s"].get<double>());
    }
    std::printf("decode         a token  %10.3f ms  %12.1f tokens/s\n", 1e3 * step,
                per_second(1, step));
    std::printf("a token moves %s (weights %s, state %s read and written): %s/s\n",
                human_bytes(moved).c_str(), human_bytes(model.weight_bytes()).c_str(),
                human_bytes(model.state_bytes()).c_str(),
                human_bytes(static_cast<uint64_t>(static_cast<double>(moved) / step)).c_str());
    flush_stdout();
    return kOk;
}

// ------------------------------------------------------------------ any type

// Memory for one slot of a call and its argument.
struct Buffer {
    seqmix_slot_info slot;
    seqmix_dtype dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
};

class MixerBench {
  public:
    MixerBench(const BenchOptions& options)
        : options_(options), context_(make_context(options.common.context)) {
        const char* text = nullptr;
        check(seqmix_type_schema(options.mixer.c_str(), &text), kUsage);
        schema_ = Json::parse(text);
        layer_ = make_mixer(context_.get(), options.mixer, options.settings, 1);
        check(seqmix_layer_info(layer_.get(), &text));
        info_ = Json::parse(text);
    }

    int run() {
        check(seqmix_layer_prepare(layer_.get(), options_.batch, options_.batch * options_.tokens,
                                   1));
        seqmix_state_options state_options{};
        state_options.struct_size = sizeof state_options;
        state_options.batch = options_.batch;
        seqmix_state* raw = nullptr;
        const seqmix_status status = seqmix_state_create(layer_.get(), &state_options, &raw);
        if (status != SEQMIX_ERR_UNSUPPORTED) {  // operations have no state
            check(status);
        }
        const State state(raw);

        const double seconds = time(state.get(), options_.tokens);
        // A step, where the type can take one.
        double step = 0;
        try {
            step = state ? time(state.get(), 1) : 0;
        } catch (const Failure& failure) {
            if (failure.code != kFailed) {
                throw;
            }
        }
        print(seconds, step, state.get());
        return kOk;
    }

  private:
    int64_t limit_of(const seqmix_slot_info& slot) const;
    Buffer buffer(const seqmix_slot_info& slot, int64_t tokens) const;
    void fill(Buffer& buffer, Generator& generator) const;
    double time(seqmix_state* state, int64_t tokens) const;
    void print(double seconds, double step, const seqmix_state* state) const;

    const BenchOptions& options_;
    Context context_;
    Json schema_;
    Layer layer_;
    Json info_;
};

// The size that a slot's integers stay below, where the schema names one; else 2.
int64_t MixerBench::limit_of(const seqmix_slot_info& slot) const {
    for (const Json& tensor : schema_.value("tensors", Json::array())) {
        if (tensor.value("name", "") != slot.name || !tensor.contains("limit")) {
            continue;
        }
        const Json& limit = tensor["limit"];
        if (limit.is_number_integer()) {
            return limit.get<int64_t>();
        }
        const Json attributes = info_.value("attributes", Json::object());
        if (limit.is_string() && attributes.contains(limit.get<std::string>())) {
            return attributes[limit.get<std::string>()].get<int64_t>();
        }
    }
    return 2;
}

Buffer MixerBench::buffer(const seqmix_slot_info& slot, int64_t tokens) const {
    Buffer result{slot, kF32, {}, {}};
    if ((slot.dtypes & SEQMIX_DTYPE_F32) == 0) {
        if ((slot.dtypes & SEQMIX_DTYPE_I64) != 0) {
            result.dtype = kI64;
        } else if ((slot.dtypes & SEQMIX_DTYPE_I32) != 0) {
            result.dtype = kI32;
        } else {
            throw Failure(kFailed, std::string("bench: cannot make tensor '") + slot.name + "' up");
        }
    }
    size_t count = result.dtype.bits / 8u;
    for (int32_t axis = 0; axis < slot.ndim; ++axis) {
        int64_t size = slot.shape[axis];
        switch (size) {
            case SEQMIX_DIM_B:
            case SEQMIX_DIM_R: size = options_.batch; break;
            case SEQMIX_DIM_R1: size = options_.batch + 1; break;
            case SEQMIX_DIM_T: size = tokens; break;
            default: break;
        }
        result.shape.push_back(size);
        count *= static_cast<size_t>(size);
    }
    result.bytes.resize(count);
    return result;
}

void MixerBench::fill(Buffer& buffer, Generator& generator) const {
    const bool per_call = std::any_of(buffer.slot.shape, buffer.slot.shape + buffer.slot.ndim,
                                      [](int64_t size) { return size < 0; });
    const double limit = static_cast<double>(limit_of(buffer.slot));
    const size_t width = buffer.dtype.bits / 8u;
    for (size_t at = 0; at < buffer.bytes.size(); at += width) {
        if (buffer.dtype.code == SEQMIX_DL_FLOAT) {
            const auto value =
                static_cast<float>(per_call ? generator.normal() : -generator.uniform());
            std::memcpy(&buffer.bytes[at], &value, width);
        } else {
            const auto value = static_cast<int64_t>(generator.uniform() * limit);
            const auto narrow = static_cast<int32_t>(value);
            std::memcpy(&buffer.bytes[at], width == 8 ? static_cast<const void*>(&value) : &narrow,
                        width);
        }
    }
}

double MixerBench::time(seqmix_state* state, int64_t tokens) const {
    Generator generator(2);
    std::deque<Buffer> buffers;
    Args args;
    const auto add = [&](uint32_t role, bool optional) {
        const size_t before = args.size();
        for (size_t i = 0; i < seqmix_layer_slot_count(layer_.get()); ++i) {
            const seqmix_slot_info slot = slot_info(layer_.get(), i);
            if (slot.role == role && ((slot.flags & SEQMIX_SLOT_OPTIONAL) != 0) == optional) {
                buffers.push_back(buffer(slot, tokens));
                if (role == SEQMIX_ROLE_INPUT) {
                    fill(buffers.back(), generator);
                }
                args.add(slot.slot, buffers.back().bytes.data(), buffers.back().dtype,
                         buffers.back().shape);
            }
        }
        return args.size() > before;
    };
    add(SEQMIX_ROLE_INPUT, false);
    if (!add(SEQMIX_ROLE_OUTPUT, false)) {
        add(SEQMIX_ROLE_OUTPUT, true);  // what is not asked for is not computed
    }
    return median_time(
        options_.repeats,
        [&] {
            if (state != nullptr) {
                check(seqmix_state_reset(state, -1));
            }
        },
        [&] {
            check(seqmix_layer_forward(layer_.get(), state, args.data(), args.size(), nullptr));
        });
}

void MixerBench::print(double seconds, double step, const seqmix_state* state) const {
    const auto bytes_of = [&](int32_t kind) {
        uint64_t bytes = 0;
        check(seqmix_layer_bytes(layer_.get(), kind, options_.batch,
                                 options_.batch * options_.tokens, &bytes));
        return bytes;
    };
    const Json context = context_info(context_.get());
    const int64_t all_tokens = options_.batch * options_.tokens;
    const char* kernel = seqmix_layer_kernel_name(layer_.get());
    const Json result{{"type", options_.mixer},
                      {"attributes", info_.value("attributes", Json::object())},
                      {"kernel", kernel == nullptr ? Json() : Json(kernel)},
                      {"isa", context.value("isa", Json())},
                      {"threads", context.value("threads", Json())},
                      {"batch", options_.batch},
                      {"tokens", options_.tokens},
                      {"repeats", options_.repeats},
                      {"seconds", seconds},
                      {"tokens_per_s", per_second(all_tokens, seconds)},
                      {"step_seconds", step > 0 ? Json(step) : Json()},
                      {"weight_bytes", bytes_of(SEQMIX_BYTES_WEIGHTS)},
                      {"state_bytes", seqmix_state_bytes(state)},
                      {"scratch_bytes", bytes_of(SEQMIX_BYTES_SCRATCH)}};
    if (options_.common.json) {
        print_json(result);
        return;
    }
    std::printf("%s, %d threads, batch %lld, medians of %lld\n", kernel == nullptr ? "" : kernel,
                context.value("threads", 0), static_cast<long long>(options_.batch),
                static_cast<long long>(options_.repeats));
    std::printf("%8lld tokens a row  %10.3f ms  %12.1f tokens/s\n",
                static_cast<long long>(options_.tokens), 1e3 * seconds,
                per_second(all_tokens, seconds));
    if (step > 0) {
        std::printf("%8d token a row   %10.3f ms  %12.1f tokens/s\n", 1, 1e3 * step,
                    per_second(options_.batch, step));
    }
    std::printf("weights %s, state %s, scratch %s\n",
                human_bytes(result["weight_bytes"].get<uint64_t>()).c_str(),
                human_bytes(result["state_bytes"].get<uint64_t>()).c_str(),
                human_bytes(result["scratch_bytes"].get<uint64_t>()).c_str());
    flush_stdout();
}

}  // namespace

int run_bench(const BenchOptions& options) {
    if (options.mixer.empty()) {
        return bench_model(options);
    }
    return MixerBench(options).run();
}

}  // namespace seqmix_cli
