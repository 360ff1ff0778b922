#include "type_bench.h"

#include <algorithm>
#include <cstring>
#include <deque>

namespace seqmix_cli {

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

TypeBench::TypeBench(const ContextOptions& context, const std::string& type,
                     const std::vector<std::string>& settings, int64_t batch, int64_t repeats)
    : batch_(batch), repeats_(repeats), context_(make_context(context)) {
    const char* text = nullptr;
    check(seqmix_type_schema(type.c_str(), &text), kUsage);
    schema_ = Json::parse(text);
    layer_ = make_mixer(context_.get(), type, settings, 1);
    check(seqmix_layer_info(layer_.get(), &text));
    info_ = Json::parse(text);
    seqmix_state_options state_options{};
    state_options.struct_size = sizeof state_options;
    state_options.batch = batch;
    seqmix_state* raw = nullptr;
    const seqmix_status status = seqmix_state_create(layer_.get(), &state_options, &raw);
    if (status != SEQMIX_ERR_UNSUPPORTED) {  // operations have no state
        check(status);
    }
    state_.reset(raw);
}

// Memory for one slot of a call and its argument.
struct TypeBench::Buffer {
    seqmix_slot_info slot;
    seqmix_dtype dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
};

// The size that a slot's integers stay below, where the schema names one; else 2.
int64_t TypeBench::limit_of(const seqmix_slot_info& slot) const {
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

TypeBench::Buffer TypeBench::buffer(const seqmix_slot_info& slot, int64_t tokens) const {
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
            case SEQMIX_DIM_R: size = batch_; break;
            case SEQMIX_DIM_R1: size = batch_ + 1; break;
            case SEQMIX_DIM_T:
            case SEQMIX_DIM_TK: size = tokens; break;
            default: break;
        }
        result.shape.push_back(size);
        count *= static_cast<size_t>(size);
    }
    result.bytes.resize(count);
    return result;
}

void TypeBench::fill(Buffer& buffer, Generator& generator) const {
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

double TypeBench::time(int64_t tokens) {
    check(seqmix_layer_prepare(layer_.get(), batch_, batch_ * tokens, 1));
    seqmix_state* state = state_.get();
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
        repeats_,
        [&] {
            if (state != nullptr) {
                check(seqmix_state_reset(state, -1));
            }
        },
        [&] {
            check(seqmix_layer_forward(layer_.get(), state, args.data(), args.size(), nullptr));
        });
}

double TypeBench::step_time() {
    if (state_ == nullptr) {
        return 0;
    }
    try {
        return time(1);
    } catch (const Failure& failure) {
        if (failure.code != kFailed) {
            throw;
        }
        return 0;
    }
}

uint64_t TypeBench::bytes(int32_t kind, int64_t tokens) const {
    uint64_t bytes = 0;
    check(seqmix_layer_bytes(layer_.get(), kind, batch_, batch_ * tokens, &bytes));
    return bytes;
}

}  // namespace seqmix_cli
