#include "capi.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

namespace seqmix_test {

void check(seqmix_status status, const char* what) {
    if (status != SEQMIX_OK) {
        throw std::runtime_error(std::string(what) + ": " + seqmix_status_name(status) + ": " +
                                 seqmix_last_error());
    }
}

// ------------------------------------------------------------------ tensors

size_t dtype_size(DType dtype) {
    switch (dtype) {
        case DType::f64:
        case DType::i64: return 8;
        case DType::f32:
        case DType::i32: return 4;
        case DType::f16:
        case DType::bf16: return 2;
        case DType::i8:
        case DType::u8: return 1;
    }
    return 0;
}

seqmix_dtype dtype_code(DType dtype) {
    const auto bits = static_cast<uint8_t>(8 * dtype_size(dtype));
    switch (dtype) {
        case DType::f32:
        case DType::f64:
        case DType::f16: return {SEQMIX_DL_FLOAT, bits, 1};
        case DType::bf16: return {SEQMIX_DL_BFLOAT, bits, 1};
        case DType::i32:
        case DType::i64:
        case DType::i8: return {SEQMIX_DL_INT, bits, 1};
        case DType::u8: return {SEQMIX_DL_UINT, bits, 1};
    }
    return {};
}

const char* dtype_name(DType dtype) {
    switch (dtype) {
        case DType::f32: return "f32";
        case DType::f64: return "f64";
        case DType::f16: return "f16";
        case DType::bf16: return "bf16";
        case DType::i32: return "i32";
        case DType::i64: return "i64";
        case DType::i8: return "i8";
        case DType::u8: return "u8";
    }
    return "";
}

int64_t count_of(const Shape& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) {
        count *= size;
    }
    return count;
}

namespace {

Shape c_strides(const Shape& shape) {
    Shape strides(shape.size());
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0;) {
        strides[i] = stride;
        stride *= std::max<int64_t>(shape[i], 1);
    }
    return strides;
}

}  // namespace

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), strides_(c_strides(shape_)) {
    const auto bytes = static_cast<size_t>(count_of(shape_)) * dtype_size(dtype);
    bytes_ = std::make_shared<std::vector<unsigned char>>(bytes);
}

Tensor::Tensor(DType dtype, Shape shape, const Values& values) : Tensor(dtype, std::move(shape)) {
    assign(values);
}

Tensor Tensor::filled(DType dtype, Shape shape, double value) {
    Tensor tensor(dtype, std::move(shape));
    tensor.fill(value);
    return tensor;
}

Tensor Tensor::i64(const std::vector<int64_t>& values, Shape shape) {
    if (shape.empty()) {
        shape = {static_cast<int64_t>(values.size())};
    }
    return Tensor(DType::i64, std::move(shape), Values(values.begin(), values.end()));
}

Tensor Tensor::i32(const std::vector<int64_t>& values, Shape shape) {
    if (shape.empty()) {
        shape = {static_cast<int64_t>(values.size())};
    }
    return Tensor(DType::i32, std::move(shape), Values(values.begin(), values.end()));
}

Tensor Tensor::permute(const std::vector<size_t>& axes) const {
    Tensor result = *this;
    for (size_t i = 0; i < axes.size(); ++i) {
        result.shape_[i] = shape_.at(axes[i]);
        result.strides_[i] = strides_.at(axes[i]);
    }
    return result;
}

Tensor Tensor::slice(size_t axis, int64_t first, int64_t count) const {
    if (first < 0 || count < 0 || first + count > shape_.at(axis)) {
        throw std::runtime_error("Tensor::slice passes the end");
    }
    Tensor result = *this;
    result.first_ += first * strides_[axis];
    result.shape_[axis] = count;
    return result;
}

Tensor Tensor::flip(size_t axis) const {
    Tensor result = *this;
    if (shape_.at(axis) > 0) {
        result.first_ += (shape_[axis] - 1) * strides_[axis];
    }
    result.strides_[axis] = -strides_[axis];
    return result;
}

Tensor Tensor::broadcast(size_t axis, int64_t size) const {
    Tensor result = *this;
    if (result.shape_.at(axis) != 1) {
        throw std::runtime_error("Tensor::broadcast needs an axis of size 1");
    }
    result.shape_[axis] = size;
    result.strides_[axis] = 0;
    return result;
}

Tensor Tensor::reshape(Shape shape) const {
    if (strides_ != c_strides(shape_) || count_of(shape) != count()) {
        throw std::runtime_error("Tensor::reshape needs C order and the same number of elements");
    }
    Tensor result = *this;
    result.strides_ = c_strides(shape);
    result.shape_ = std::move(shape);
    return result;
}

Tensor Tensor::view(Shape shape, Shape strides, int64_t first) const {
    Tensor result = *this;
    result.shape_ = std::move(shape);
    result.strides_ = std::move(strides);
    result.first_ = first;
    return result;
}

Tensor Tensor::clone() const {
    Tensor result(dtype_, shape_);
    const std::string elements = bits();
    std::copy(elements.begin(), elements.end(), result.bytes_->begin());
    return result;
}

Tensor Tensor::shifted(size_t bytes) const {
    Tensor result = clone();
    result.bytes_->insert(result.bytes_->begin(), bytes, 0xa5);
    result.byte_offset_ = bytes;
    return result;
}

Tensor Tensor::spread(int64_t step, double filler) const {
    Shape wide = shape_;
    wide.push_back(step);
    Tensor buffer = filled(dtype_, wide, filler);
    Tensor result = buffer;
    result.shape_ = shape_;
    result.strides_.pop_back();
    result.assign(values());
    return result;
}

size_t Tensor::address(int64_t flat) const {
    int64_t offset = first_;
    for (size_t i = shape_.size(); i-- > 0;) {
        offset += flat % shape_[i] * strides_[i];
        flat /= shape_[i];
    }
    const int64_t byte = offset * static_cast<int64_t>(dtype_size(dtype_));
    const size_t at = byte_offset_ + static_cast<size_t>(byte);
    if (byte < 0 || at + dtype_size(dtype_) > bytes_->size()) {
        throw std::runtime_error("Tensor: an element is outside its bytes");
    }
    return at;
}

namespace {

template <class T>
double load_as(const unsigned char* p) {
    T value;
    std::memcpy(&value, p, sizeof(T));
    return static_cast<double>(value);
}

template <class T>
void store_as(unsigned char* p, double value) {
    const T stored = static_cast<T>(value);
    std::memcpy(p, &stored, sizeof(T));
}

double load_value(DType dtype, const unsigned char* p) {
    switch (dtype) {
        case DType::f32: return load_as<float>(p);
        case DType::f64: return load_as<double>(p);
        case DType::i32: return load_as<int32_t>(p);
        case DType::i64: return load_as<int64_t>(p);
        case DType::i8: return load_as<int8_t>(p);
        case DType::u8: return *p;
        default: throw std::runtime_error("Tensor: f16 and bf16 are not read as values");
    }
}

void store_value(DType dtype, unsigned char* p, double value) {
    switch (dtype) {
        case DType::f32: store_as<float>(p, value); break;
        case DType::f64: store_as<double>(p, value); break;
        case DType::i32: store_as<int32_t>(p, value); break;
        case DType::i64: store_as<int64_t>(p, value); break;
        case DType::i8: store_as<int8_t>(p, value); break;
        case DType::u8: store_as<uint8_t>(p, value); break;
        default: throw std::runtime_error("Tensor: f16 and bf16 are not written from values");
    }
}

}  // namespace

double Tensor::at(const Shape& index) const {
    int64_t flat = 0;
    for (size_t i = 0; i < shape_.size(); ++i) {
        flat = flat * shape_[i] + index.at(i);
    }
    return load_value(dtype_, bytes_->data() + address(flat));
}

void Tensor::set(const Shape& index, double value) {
    int64_t flat = 0;
    for (size_t i = 0; i < shape_.size(); ++i) {
        flat = flat * shape_[i] + index.at(i);
    }
    store_value(dtype_, bytes_->data() + address(flat), value);
}

void Tensor::fill(double value) {
    for (int64_t i = 0; i < count(); ++i) {
        store_value(dtype_, bytes_->data() + address(i), value);
    }
}

void Tensor::assign(const Values& values) {
    if (static_cast<int64_t>(values.size()) != count()) {
        throw std::runtime_error("Tensor::assign: another number of elements");
    }
    for (int64_t i = 0; i < count(); ++i) {
        store_value(dtype_, bytes_->data() + address(i), values[static_cast<size_t>(i)]);
    }
}

Values Tensor::values() const {
    Values result(static_cast<size_t>(count()));
    for (int64_t i = 0; i < count(); ++i) {
        result[static_cast<size_t>(i)] = load_value(dtype_, bytes_->data() + address(i));
    }
    return result;
}

std::vector<int64_t> Tensor::integers() const {
    std::vector<int64_t> result;
    for (const double value : values()) {
        result.push_back(static_cast<int64_t>(value));
    }
    return result;
}

Bits Tensor::bits() const {
    Bits result;
    const size_t size = dtype_size(dtype_);
    result.reserve(static_cast<size_t>(count()) * size);
    for (int64_t i = 0; i < count(); ++i) {
        const auto* p = reinterpret_cast<const char*>(bytes_->data() + address(i));
        result.append(p, size);
    }
    return result;
}

void* Tensor::data() const {
    return bytes_->data() + byte_offset_ + first_ * static_cast<int64_t>(dtype_size(dtype_));
}

seqmix_tensor Tensor::c() const {
    seqmix_tensor tensor = {};
    tensor.data = count() == 0 ? nullptr : data();
    tensor.device = {SEQMIX_DL_CPU, 0};
    tensor.ndim = static_cast<int32_t>(shape_.size());
    tensor.dtype = dtype_code(dtype_);
    tensor.shape = const_cast<int64_t*>(shape_.data());
    tensor.strides = const_cast<int64_t*>(strides_.data());
    return tensor;
}

seqmix_tensor Tensor::c_without_strides() const {
    seqmix_tensor tensor = c();
    tensor.strides = nullptr;
    return tensor;
}

// ------------------------------------------------------------------ config

Config::Config() { check(seqmix_config_create(handle_.out()), "seqmix_config_create"); }

Config::Config(const Config& other) {
    check(seqmix_config_clone(other.get(), handle_.out()), "seqmix_config_clone");
}

Config& Config::set(const char* key, int64_t value) {
    check(seqmix_config_set_i64(get(), key, value), key);
    return *this;
}

Config& Config::set(const char* key, double value) {
    check(seqmix_config_set_f64(get(), key, value), key);
    return *this;
}

Config& Config::set(const char* key, bool value) {
    check(seqmix_config_set_bool(get(), key, value ? 1 : 0), key);
    return *this;
}

Config& Config::set(const char* key, const char* value) {
    check(seqmix_config_set_str(get(), key, value), key);
    return *this;
}

// ------------------------------------------------------------------ arguments

std::vector<seqmix_slot_info> slots_of(const Layer& layer) {
    std::vector<seqmix_slot_info> slots(seqmix_layer_slot_count(layer.get()));
    for (size_t i = 0; i < slots.size(); ++i) {
        slots[i] = {};
        slots[i].struct_size = sizeof(seqmix_slot_info);
        check(seqmix_layer_slot_info(layer.get(), i, &slots[i]), "seqmix_layer_slot_info");
    }
    return slots;
}

int32_t find_slot(const Layer& layer, const std::string& name) {
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (name == info.name) {
            return info.slot;
        }
    }
    return -1;
}

int32_t slot_of(const Layer& layer, const std::string& name) {
    const int32_t slot = find_slot(layer, name);
    if (slot < 0) {
        const char* type = seqmix_layer_type(layer.get());
        throw std::runtime_error("layer of type " + std::string(type != nullptr ? type : "NULL") +
                                 " has no slot '" + name + "'");
    }
    return slot;
}

std::string first_slot(const Layer& layer, uint32_t role) {
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (info.role == role) {
            return info.name;
        }
    }
    throw std::runtime_error("the layer has no slot of role " + std::to_string(role));
}

Args& Args::add(const std::string& slot, const Tensor& tensor, uint32_t flags, int32_t index) {
    return add(slot_of(*layer_, slot), tensor, flags, index);
}

Args& Args::add(int32_t slot, const Tensor& tensor, uint32_t flags, int32_t index) {
    tensors_.push_back(tensor);
    c_.push_back(tensors_.back().c());
    seqmix_arg arg = {};
    arg.slot = slot;
    arg.index = index;
    arg.flags = flags;
    arg.tensor = &c_.back();
    args_.push_back(arg);
    return *this;
}

// ------------------------------------------------------------------ calls

Context make_context(const char* isa, int32_t threads, const char* weights) {
    seqmix_context_options options = {};
    options.struct_size = sizeof(options);
    options.version = SEQMIX_VERSION;
    options.threads = threads;
    options.isa = isa;
    options.weights = weights;
    Context context;
    check(seqmix_context_create(&options, context.out()), "seqmix_context_create");
    return context;
}

std::vector<std::string> levels() {
    static const std::vector<std::string> all = [] {
        const Context context = make_context();
        size_t needed = 0;
        seqmix_context_info(context.get(), nullptr, 0, &needed);
        std::string text(needed, '\0');
        check(seqmix_context_info(context.get(), text.data(), text.size(), &needed),
              "seqmix_context_info");
        const auto info = nlohmann::json::parse(text.c_str());
        return info.at("isa_available").get<std::vector<std::string>>();
    }();
    return all;
}

bool is_reference(const std::string& level) { return level == "reference"; }

DType real_dtype(const std::string& level) { return is_reference(level) ? DType::f64 : DType::f32; }

Layer plan(const Context& context, const char* type, const Config& config) {
    Layer layer;
    check(seqmix_layer_plan(context.get(), type, config.get(), layer.out()), "seqmix_layer_plan");
    return layer;
}

Layer bind(const Layer& planned, const Args& args) {
    Layer layer;
    check(seqmix_layer_bind(planned.get(), args.data(), args.size(), layer.out()),
          "seqmix_layer_bind");
    return layer;
}

Layer make_op(const Context& context, const char* type, const Config& config) {
    const Layer planned = plan(context, type, config);
    return bind(planned, Args(planned));
}

Layer open_model(const Context& context, const std::string& path) {
    Layer layer;
    check(seqmix_layer_open(context.get(), path.c_str(), nullptr, layer.out()),
          ("seqmix_layer_open " + path).c_str());
    return layer;
}

Layer child(const Layer& layer, size_t i) {
    Layer result;
    check(seqmix_layer_child(layer.get(), i, result.out()), "seqmix_layer_child");
    return result;
}

Tensor& Weights::operator[](const std::string& name) {
    for (auto& [key, tensor] : tensors) {
        if (key == name) {
            return tensor;
        }
    }
    throw std::runtime_error("no weight " + name);
}

Weights init_weights(const Layer& planned, uint64_t seed, DType dtype) {
    Weights weights;
    Args args(planned);
    for (const seqmix_slot_info& info : slots_of(planned)) {
        if (info.role == SEQMIX_ROLE_WEIGHT) {
            const Shape shape(info.shape, info.shape + info.ndim);
            weights.tensors.emplace_back(info.name, Tensor(dtype, shape));
            args.add(info.slot, weights.tensors.back().second);
        }
    }
    check(seqmix_layer_init(planned.get(), seed, args.data(), args.size()), "seqmix_layer_init");
    return weights;
}

Layer bind(const Layer& planned, const Weights& weights, uint32_t flags) {
    Args args(planned);
    for (const auto& [name, tensor] : weights.tensors) {
        args.add(name, tensor, flags);
    }
    return bind(planned, args);
}

State make_state(const Layer& layer, int64_t batch, int64_t snapshot_slots) {
    seqmix_state_options options = {};
    options.struct_size = sizeof(options);
    options.batch = batch;
    options.snapshot_slots = snapshot_slots;
    State state;
    check(seqmix_state_create(layer.get(), &options, state.out()), "seqmix_state_create");
    return state;
}

State clone(const State& state) {
    State copy;
    check(seqmix_state_clone(state.get(), copy.out()), "seqmix_state_clone");
    return copy;
}

State child(const State& state, size_t i) {
    State view;
    check(seqmix_state_child(state.get(), i, view.out()), "seqmix_state_child");
    return view;
}

int64_t position(const State& state, int64_t row) {
    int64_t value = -1;
    check(seqmix_state_position(state.get(), row, &value), "seqmix_state_position");
    return value;
}

Tensor get_state(const Layer& layer, const State& state, const std::string& name, int64_t batch,
                 DType dtype) {
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (info.role == SEQMIX_ROLE_STATE && name == info.name) {
            Shape shape(info.shape, info.shape + info.ndim);
            if (!shape.empty() && shape[0] < 0) {
                shape[0] = batch;
            } else {
                shape.insert(shape.begin(), batch);
            }
            Tensor tensor(dtype, shape);
            const seqmix_tensor c = tensor.c();
            check(seqmix_state_get(state.get(), info.slot, 0, &c), "seqmix_state_get");
            return tensor;
        }
    }
    throw std::runtime_error("the layer has no state tensor '" + name + "'");
}

void set_state(const Layer& layer, const State& state, const std::string& name,
               const Tensor& value) {
    const seqmix_tensor c = value.c();
    check(seqmix_state_set(state.get(), slot_of(layer, name), 0, &c), "seqmix_state_set");
}

Bits state_bits(const Layer& layer, const State& state, int64_t batch) {
    Bits bits;
    const size_t children = seqmix_layer_child_count(layer.get());
    for (size_t i = 0; i < children; ++i) {
        const State view = child(state, i);
        bits += state_bits(child(layer, i), view, batch);
    }
    for (int64_t row = 0; row < batch; ++row) {
        bits += std::to_string(position(state, row)) + ";";
    }
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (info.role == SEQMIX_ROLE_STATE) {
            bits += get_state(layer, state, info.name, batch, DType::f64).bits();
        }
    }
    return bits;
}

std::string save(const State& state) {
    size_t needed = 0;
    seqmix_state_save(state.get(), nullptr, 0, &needed);
    std::string blob(needed, '\0');
    check(seqmix_state_save(state.get(), blob.data(), blob.size(), &needed), "seqmix_state_save");
    return blob;
}

State load(const Layer& layer, const std::string& blob, uint32_t flags, int64_t snapshot_slots) {
    seqmix_state_options options = {};
    options.struct_size = sizeof(options);
    options.flags = flags;
    options.snapshot_slots = snapshot_slots;
    State state;
    check(seqmix_state_load(layer.get(), blob.data(), blob.size(), &options, state.out()),
          "seqmix_state_load");
    return state;
}

void forward(const Layer& layer, const Args& args) {
    check(seqmix_layer_forward(layer.get(), nullptr, args.data(), args.size(), nullptr),
          "seqmix_layer_forward");
}

void forward(const Layer& layer, const State& state, const Args& args) {
    check(seqmix_layer_forward(layer.get(), state.get(), args.data(), args.size(), nullptr),
          "seqmix_layer_forward");
}

Tensor run(const Layer& layer, const State& state, const Tensor& input, const std::string& output,
           DType dtype) {
    const std::string name = output.empty() ? first_slot(layer, SEQMIX_ROLE_OUTPUT) : output;
    for (const seqmix_slot_info& info : slots_of(layer)) {
        if (name != info.name) {
            continue;
        }
        Shape shape(info.shape, info.shape + info.ndim);
        for (int64_t& size : shape) {
            if (size == SEQMIX_DIM_B || size == SEQMIX_DIM_R) {
                size = input.size(0);
            } else if (size == SEQMIX_DIM_T || size == SEQMIX_DIM_TK) {
                size = input.size(1);
            }
        }
        const Tensor result = Tensor::filled(dtype, shape, -777);
        Args args(layer);
        args.add(first_slot(layer, SEQMIX_ROLE_INPUT), input).add(name, result);
        forward(layer, state, args);
        return result;
    }
    throw std::runtime_error("the layer has no output '" + name + "'");
}

// ------------------------------------------------------------------ comparison

double max_absolute_error(const Values& actual, const Values& expected) {
    if (actual.size() != expected.size()) {
        return std::numeric_limits<double>::infinity();
    }
    double worst = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
        const double error = std::abs(actual[i] - expected[i]);
        if (!std::isfinite(error)) {
            return std::numeric_limits<double>::infinity();
        }
        worst = std::max(worst, error);
    }
    return worst;
}

double max_relative_error(const Values& actual, const Values& expected) {
    double scale = 0;
    for (const double value : expected) {
        scale = std::max(scale, std::abs(value));
    }
    const double error = max_absolute_error(actual, expected);
    if (scale == 0) {
        return error == 0 ? 0 : std::numeric_limits<double>::infinity();
    }
    return error / scale;
}

testing::AssertionResult close_to(const Values& actual, const Values& expected, double tolerance) {
    const double error = max_relative_error(actual, expected);
    if (error <= tolerance) {
        return testing::AssertionSuccess();
    }
    auto result = testing::AssertionFailure();
    result << "max|a-e|/max|e| is " << error << ", allowed " << tolerance;
    if (actual.size() != expected.size()) {
        return result << "; " << actual.size() << " elements, expected " << expected.size();
    }
    size_t worst = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
        const double at_i = std::abs(actual[i] - expected[i]);
        if (!(at_i <= std::abs(actual[worst] - expected[worst]))) {
            worst = i;
        }
    }
    return result << "; worst at element " << worst << " of " << actual.size() << ": "
                  << actual[worst] << ", expected " << expected[worst];
}

testing::AssertionResult status_is(seqmix_status actual, seqmix_status expected) {
    if (actual == expected) {
        return testing::AssertionSuccess();
    }
    auto result = testing::AssertionFailure();
    result << "got " << seqmix_status_name(actual) << ", expected " << seqmix_status_name(expected);
    return actual == SEQMIX_OK ? result : result << "; " << seqmix_last_error();
}

testing::AssertionResult same_bits(const Tensor& actual, const Tensor& expected) {
    if (actual.shape() != expected.shape() || actual.dtype() != expected.dtype()) {
        return testing::AssertionFailure() << "another shape or dtype";
    }
    const std::string a = actual.bits(), e = expected.bits();
    if (a == e) {
        return testing::AssertionSuccess();
    }
    const size_t size = dtype_size(actual.dtype());
    size_t different = 0, first = std::string::npos;
    for (size_t i = 0; i < a.size(); i += size) {
        if (a.compare(i, size, e, i, size) != 0) {
            ++different;
            first = std::min(first, i / size);
        }
    }
    auto result = testing::AssertionFailure();
    return result << different << " of " << actual.count() << " elements differ, first " << first
                  << ": " << actual.values()[first] << ", expected " << expected.values()[first];
}

Values noise(size_t n, uint64_t seed, double scale) {
    Values values(n);
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (double& value : values) {  // splitmix64
        state += 0x9e3779b97f4a7c15u;
        uint64_t z = state;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        value = scale * (static_cast<double>(z >> 11) * 0x1p-52 - 1.0);
    }
    return values;
}

Tensor noise(DType dtype, const Shape& shape, uint64_t seed, double scale) {
    return Tensor(dtype, shape, noise(static_cast<size_t>(count_of(shape)), seed, scale));
}

}  // namespace seqmix_test
