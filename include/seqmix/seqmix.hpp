/* libseqmix for C++17: RAII handles, exceptions and tensor views over seqmix.h, header-only.
 *
 *   #include <seqmix/seqmix.hpp>
 *   #include <iostream>
 *
 *   int main() try {
 *       seqmix::Context context;                                   // best instruction set, all CPUs
 *       seqmix::Layer model = seqmix::Layer::open(context, "models/shakespeare");
 *       seqmix::State state(model);
 *       seqmix::Tensor<float> logits({1, model.size("logits_last", -1)});
 *       std::string text = "ROMEO:";
 *       for (int i = 0; i < 200; ++i) {                            // the prompt, then single steps
 *           std::vector<int32_t> tokens;
 *           for (char c : i == 0 ? text : text.substr(text.size() - 1))
 *               tokens.push_back(static_cast<unsigned char>(c));
 *           model.forward(state, seqmix::Args(model)
 *                                    .add("tokens", {tokens, {1, int64_t(tokens.size())}})
 *                                    .add("logits_last", logits));
 *           text += static_cast<char>(std::max_element(logits.begin(), logits.end()) - logits.begin());
 *       }
 *       std::cout << text << "\n";
 *   } catch (const seqmix::Error& error) { std::cerr << error.what() << "\n"; return 1; }
 *
 * Rules:
 *  - What can fail throws seqmix::Error, which holds the status and the message of the library.
 *  - Context and Layer are shared references: copying adds one, any number of threads may use them.
 *    Config copies by value. State moves; state.clone() copies. A moved-from or default-made handle
 *    is empty and only good for assigning to.
 *  - Views do not own the elements that they describe; Tensor<T> does. A view of const elements may
 *    be given to inputs only: the library writes to outputs alone.
 *  - Every function of seqmix.h is reachable from here; handle.get() is the C handle for the rest.
 *  - seqmix.h is the manual: what each call means, and which errors it gives, is said there.
 */
#ifndef SEQMIX_SEQMIX_HPP
#define SEQMIX_SEQMIX_HPP

#include <seqmix/seqmix.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace seqmix {
/* The inline namespace keeps the symbols of these inline functions apart from those of the library
 * itself, whose own classes live in namespace seqmix too: with a static library both would meet. */
inline namespace cpp0 {

/* ------------------------------------------------------------------ errors */

class Error : public std::runtime_error {
  public:
    Error(seqmix_status status, const std::string& message)
        : std::runtime_error(std::string(seqmix_status_name(status)) + ": " + message),
          status_(status),
          message_(message) {}
    seqmix_status status() const noexcept { return status_; }
    /* The library's line, without the name of the status that what() puts before it. */
    const std::string& message() const noexcept { return message_; }

  private:
    seqmix_status status_;
    std::string message_;
};

/* Throws for every failure, with the message of this thread's last failing call. */
inline void check(seqmix_status status) {
    if (status != SEQMIX_OK) {
        throw Error(status, seqmix_last_error());
    }
}

/* ------------------------------------------------------------------ library */

inline uint32_t version() noexcept { return seqmix_version(); }
inline const char* version_string() noexcept { return seqmix_version_string(); }
inline const char* build_info() noexcept { return seqmix_build_info(); }
inline const char* status_name(seqmix_status status) noexcept { return seqmix_status_name(status); }
inline const char* last_error() noexcept { return seqmix_last_error(); }
inline std::vector<std::string> type_names() {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < seqmix_type_count(); ++i) {
        names.emplace_back(seqmix_type_name(i));
    }
    return names;
}
inline const char* type_schema(const std::string& type) {
    const char* json = nullptr;
    check(seqmix_type_schema(type.c_str(), &json));
    return json;
}
inline int32_t type_slot(const std::string& type, const std::string& name) {
    int32_t slot = 0;
    check(seqmix_type_slot(type.c_str(), name.c_str(), &slot));
    return slot;
}

/* ------------------------------------------------------------------ tensors */

/* The element type of T; bf16 and f16 have no C++ type: use the constants below. */
template <class T>
constexpr seqmix_dtype dtype_of() {
    using U = std::remove_cv_t<T>;
    static_assert(std::is_arithmetic_v<U>, "not an element type");
    static_assert(!std::is_same_v<U, long double>, "not an element type");
    constexpr uint8_t code = std::is_same_v<U, bool>       ? SEQMIX_DL_BOOL
                             : std::is_floating_point_v<U> ? SEQMIX_DL_FLOAT
                             : std::is_signed_v<U>         ? SEQMIX_DL_INT
                                                           : SEQMIX_DL_UINT;
    return seqmix_dtype{code, static_cast<uint8_t>(8 * sizeof(U)), 1};
}
inline constexpr seqmix_dtype float16{SEQMIX_DL_FLOAT, 16, 1};
inline constexpr seqmix_dtype bfloat16{SEQMIX_DL_BFLOAT, 16, 1};

/* A view of elements that somebody else owns. It holds its sizes and strides itself, so it can be
 * copied, returned and stored freely. Strides count elements; without them the order is C's. */
class TensorView {
  public:
    static constexpr std::size_t max_dims = 8;
    using Sizes = std::vector<int64_t>;

    TensorView() { fill(nullptr, dtype_of<float>(), {}, nullptr); }
    TensorView(const void* data, seqmix_dtype dtype, const Sizes& shape) {
        fill(data, dtype, shape, nullptr);
    }
    TensorView(const void* data, seqmix_dtype dtype, const Sizes& shape, const Sizes& strides) {
        fill(data, dtype, shape, &strides);
    }
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    TensorView(T* data, const Sizes& shape) {
        fill(data, dtype_of<T>(), shape, nullptr);
    }
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    TensorView(T* data, const Sizes& shape, const Sizes& strides) {
        fill(data, dtype_of<T>(), shape, &strides);
    }
    /* Anything contiguous with data() and size(): vector, array, span. Its own shape() where it has
     * one (Tensor), else one dimension ... */
    template <class C, class T = std::remove_pointer_t<decltype(std::declval<C&>().data())>,
              class = std::enable_if_t<std::is_arithmetic_v<T>>,
              class = decltype(std::declval<C&>().size())>
    TensorView(C& elements) {  // NOLINT: implicit on purpose
        if constexpr (has_shape<C>::value) {
            fill(elements.data(), dtype_of<T>(), elements.shape(), nullptr);
        } else {
            fill(elements.data(), dtype_of<T>(), {static_cast<int64_t>(elements.size())}, nullptr);
        }
    }
    /* ... or with a shape, whose number of elements must be the container's. */
    template <class C, class T = std::remove_pointer_t<decltype(std::declval<C&>().data())>,
              class = std::enable_if_t<std::is_arithmetic_v<T>>,
              class = decltype(std::declval<C&>().size())>
    TensorView(C& elements, const Sizes& shape) {
        fill(elements.data(), dtype_of<T>(), shape, nullptr);
        if (count() != static_cast<int64_t>(elements.size())) {
            throw Error(SEQMIX_ERR_SHAPE, "a shape of " + std::to_string(count()) +
                                              " elements for a container of " +
                                              std::to_string(elements.size()));
        }
    }
    TensorView(const TensorView& other) { *this = other; }
    TensorView& operator=(const TensorView& other) {
        if (this != &other) {
            tensor_ = other.tensor_;
            shape_ = other.shape_;
            strides_ = other.strides_;
            tensor_.shape = shape_.data();
            tensor_.strides = other.tensor_.strides == nullptr ? nullptr : strides_.data();
        }
        return *this;
    }

    const seqmix_tensor* get() const noexcept { return &tensor_; }
    int32_t ndim() const noexcept { return tensor_.ndim; }
    int64_t size(int32_t dim) const { return shape_.at(index(dim)); }
    int64_t stride(int32_t dim) const {
        if (tensor_.strides != nullptr) {
            return strides_.at(index(dim));
        }
        int64_t product = 1;
        for (std::size_t i = index(dim) + 1; i < static_cast<std::size_t>(tensor_.ndim); ++i) {
            product *= shape_[i];
        }
        return product;
    }
    int64_t count() const noexcept {
        int64_t product = 1;
        for (std::size_t i = 0; i < static_cast<std::size_t>(tensor_.ndim); ++i) {
            product *= shape_[i];
        }
        return product;
    }
    /* Elements [first, first + count) of dimension dim: a row of a batch, a chunk of time. */
    TensorView slice(int32_t dim, int64_t first, int64_t count) const {
        const std::size_t d = index(dim);
        if (first < 0 || count < 0 || first > shape_[d] || count > shape_[d] - first) {
            throw Error(SEQMIX_ERR_INVALID_ARGUMENT, "slice outside the view");
        }
        TensorView out = with_strides();
        out.shape_[d] = count;
        const int64_t step = first * out.strides_[d] * (tensor_.dtype.bits / 8);
        if (out.tensor_.data != nullptr) {
            out.tensor_.data = static_cast<char*>(out.tensor_.data) + step;
        }
        return out;
    }
    /* Two dimensions exchanged: (B,D,T) data is a (B,T,D) view after transposed(1, 2). */
    TensorView transposed(int32_t a, int32_t b) const {
        TensorView out = with_strides();
        std::swap(out.shape_[index(a)], out.shape_[index(b)]);
        std::swap(out.strides_[index(a)], out.strides_[index(b)]);
        return out;
    }

  private:
    template <class C, class = void>
    struct has_shape : std::false_type {};
    template <class C>
    struct has_shape<C, std::void_t<decltype(std::declval<C&>().shape())>> : std::true_type {};

    void fill(const void* data, seqmix_dtype dtype, const Sizes& shape, const Sizes* strides) {
        if (shape.size() > max_dims || (strides != nullptr && strides->size() != shape.size())) {
            throw Error(SEQMIX_ERR_INVALID_ARGUMENT,
                        "a view takes up to 8 sizes, and as many strides as sizes");
        }
        std::copy(shape.begin(), shape.end(), shape_.begin());
        if (strides != nullptr) {
            std::copy(strides->begin(), strides->end(), strides_.begin());
        }
        tensor_.data = const_cast<void*>(data);  // NOLINT: the C struct serves both directions
        tensor_.device = {SEQMIX_DL_CPU, 0};
        tensor_.ndim = static_cast<int32_t>(shape.size());
        tensor_.dtype = dtype;
        tensor_.shape = shape_.data();
        tensor_.strides = strides == nullptr ? nullptr : strides_.data();
        tensor_.byte_offset = 0;
    }
    TensorView with_strides() const {
        TensorView out = *this;
        for (int32_t d = 0; d < tensor_.ndim; ++d) {
            out.strides_[static_cast<std::size_t>(d)] = stride(d);
        }
        out.tensor_.strides = out.strides_.data();
        return out;
    }
    /* Negative dimensions count from the end. */
    std::size_t index(int32_t dim) const {
        const int32_t d = dim < 0 ? dim + tensor_.ndim : dim;
        if (d < 0 || d >= tensor_.ndim) {
            throw Error(SEQMIX_ERR_INVALID_ARGUMENT, "no such dimension");
        }
        return static_cast<std::size_t>(d);
    }

    seqmix_tensor tensor_{};
    std::array<int64_t, max_dims> shape_{};
    std::array<int64_t, max_dims> strides_{};
};

/* Elements with a shape, owned, in C order, zero at first. */
template <class T>
class Tensor {
    static_assert(!std::is_same_v<T, bool>, "use uint8_t with an explicit element type");

  public:
    Tensor() = default;
    explicit Tensor(std::vector<int64_t> shape) : shape_(std::move(shape)) {
        std::size_t count = 1;
        for (const int64_t size : shape_) {
            if (size < 0) {
                throw Error(SEQMIX_ERR_SHAPE, "negative size");
            }
            count *= static_cast<std::size_t>(size);
        }
        elements_.resize(count);
    }
    Tensor(std::vector<T> elements, std::vector<int64_t> shape)
        : elements_(std::move(elements)), shape_(std::move(shape)) {
        static_cast<void>(TensorView(elements_, shape_));
    }
    T* data() noexcept { return elements_.data(); }
    const T* data() const noexcept { return elements_.data(); }
    std::size_t size() const noexcept { return elements_.size(); }
    auto begin() noexcept { return elements_.begin(); }
    auto end() noexcept { return elements_.end(); }
    auto begin() const noexcept { return elements_.begin(); }
    auto end() const noexcept { return elements_.end(); }
    T& operator[](std::size_t i) { return elements_[i]; }
    const T& operator[](std::size_t i) const { return elements_[i]; }
    const std::vector<int64_t>& shape() const noexcept { return shape_; }
    TensorView view() const { return TensorView(elements_.data(), shape_); }

  private:
    std::vector<T> elements_;
    std::vector<int64_t> shape_;
};

/* ------------------------------------------------------------------ context */

/* The options of the C struct, with its size and version filled in. The function pointers (alloc,
 * free, parallel_for, log) stay plain C: they may be called from any thread and must not throw. */
struct ContextOptions : seqmix_context_options {
    ContextOptions() : seqmix_context_options{} {
        struct_size = sizeof(seqmix_context_options);
        version = SEQMIX_VERSION;
    }
    ContextOptions& with_threads(int32_t count) {
        threads = count;
        return *this;
    }
    /* name is read when the context is created: keep it alive until then. */
    ContextOptions& with_isa(const char* name) {
        isa = name;
        return *this;
    }
    /* "stored", "bf16" or "int8"; likewise. */
    ContextOptions& with_weights(const char* format) {
        weights = format;
        return *this;
    }
};

class Context {
  public:
    explicit Context(const seqmix_context_options& options = ContextOptions()) {
        check(seqmix_context_create(&options, &handle_));
    }
    Context(const Context& other) noexcept : handle_(retain(other.handle_)) {}
    Context(Context&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Context& operator=(Context other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Context() { seqmix_context_release(handle_); }

    /* Takes over a reference. */
    static Context adopt(seqmix_context* handle) noexcept { return Context(handle); }
    seqmix_context* get() const noexcept { return handle_; }
    std::string info() const {
        std::size_t needed = 0;
        const seqmix_status status = seqmix_context_info(handle_, nullptr, 0, &needed);
        if (status != SEQMIX_ERR_BUFFER_TOO_SMALL) {
            check(status);
        }
        std::string text(needed, '\0');
        check(seqmix_context_info(handle_, text.data(), text.size(), &needed));
        text.resize(std::min(text.size(), std::strlen(text.c_str())));
        return text;
    }

  private:
    explicit Context(seqmix_context* handle) noexcept : handle_(handle) {}
    static seqmix_context* retain(seqmix_context* handle) noexcept {
        return handle == nullptr ? nullptr : seqmix_context_retain(handle);
    }
    seqmix_context* handle_ = nullptr;
};

/* ------------------------------------------------------------------ config */

/* seqmix::Config().set("d_model", 768).set("silu", true) */
class Config {
  public:
    Config() { check(seqmix_config_create(&handle_)); }
    Config(const Config& other) { check(seqmix_config_clone(other.handle_, &handle_)); }
    Config(Config&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Config& operator=(Config other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Config() { seqmix_config_destroy(handle_); }
    seqmix_config* get() const noexcept { return handle_; }

    /* The C++ type of the value picks the setter: bool, integers, reals, strings, lists. */
    template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
    Config& set(const std::string& key, T value) {
        if constexpr (std::is_same_v<T, bool>) {
            check(seqmix_config_set_bool(handle_, key.c_str(), value ? 1 : 0));
        } else if constexpr (std::is_integral_v<T>) {
            check(seqmix_config_set_i64(handle_, key.c_str(), static_cast<int64_t>(value)));
        } else {
            check(seqmix_config_set_f64(handle_, key.c_str(), static_cast<double>(value)));
        }
        return *this;
    }
    Config& set(const std::string& key, const char* value) {
        check(seqmix_config_set_str(handle_, key.c_str(), value));
        return *this;
    }
    Config& set(const std::string& key, const std::string& value) {
        return set(key, value.c_str());
    }
    Config& set(const std::string& key, const std::vector<int64_t>& values) {
        check(seqmix_config_set_i64s(handle_, key.c_str(), values.data(), values.size()));
        return *this;
    }
    Config& set(const std::string& key, const std::vector<double>& values) {
        check(seqmix_config_set_f64s(handle_, key.c_str(), values.data(), values.size()));
        return *this;
    }
    Config& set_json(const std::string& json) {
        check(seqmix_config_set_json(handle_, json.c_str()));
        return *this;
    }

  private:
    seqmix_config* handle_ = nullptr;
};

/* ------------------------------------------------------------------ calls */

class Layer;

/* The tensors of one call. Make it once and reuse it in a loop: passing it allocates nothing. */
class Args {
  public:
    Args() = default;
    explicit Args(std::string type) : type_(std::move(type)) {}
    explicit Args(const Layer& layer);

    Args& add(int32_t slot, const TensorView& view, int32_t index = 0, uint32_t flags = 0) {
        views_.push_back(view);
        args_.push_back(seqmix_arg{slot, index, flags, 0, nullptr});
        for (std::size_t i = 0; i < args_.size(); ++i) {
            args_[i].tensor = views_[i].get();  // the vector may have moved them
        }
        return *this;
    }
    /* By name; needs the type that the constructor was given. */
    Args& add(const std::string& slot, const TensorView& view, int32_t index = 0,
              uint32_t flags = 0) {
        return add(type_slot(type_, slot), view, index, flags);
    }
    Args& cu_seqlens(const TensorView& view) { return add(SEQMIX_SLOT_CU_SEQLENS, view); }
    Args& lengths(const TensorView& view) { return add(SEQMIX_SLOT_LENGTHS, view); }
    Args& rows(const TensorView& view) { return add(SEQMIX_SLOT_ROWS, view); }
    Args& seq_idx(const TensorView& view) { return add(SEQMIX_SLOT_SEQ_IDX, view); }
    Args& positions(const TensorView& view) { return add(SEQMIX_SLOT_POSITIONS, view); }
    Args& cu_seqlens_k(const TensorView& view) { return add(SEQMIX_SLOT_CU_SEQLENS_K, view); }
    Args& lengths_k(const TensorView& view) { return add(SEQMIX_SLOT_LENGTHS_K, view); }

    Args(const Args& other) { *this = other; }
    Args(Args&&) = default;
    Args& operator=(const Args& other) {
        type_ = other.type_;
        views_ = other.views_;
        args_ = other.args_;
        for (std::size_t i = 0; i < args_.size(); ++i) {
            args_[i].tensor = views_[i].get();
        }
        return *this;
    }
    Args& operator=(Args&&) = default;

    const seqmix_arg* data() const noexcept { return args_.data(); }
    std::size_t size() const noexcept { return args_.size(); }

  private:
    std::string type_;
    std::vector<TensorView> views_;
    std::vector<seqmix_arg> args_;
};

struct MaterializeOptions : seqmix_materialize_options {
    MaterializeOptions() : seqmix_materialize_options{} {
        struct_size = sizeof(seqmix_materialize_options);
    }
};

struct StateOptions : seqmix_state_options {
    explicit StateOptions(int64_t rows = 1, int64_t snapshots = 0) : seqmix_state_options{} {
        struct_size = sizeof(seqmix_state_options);
        batch = rows;
        snapshot_slots = snapshots;
    }
};

class State;

/* ------------------------------------------------------------------ layer */

class Layer {
  public:
    Layer() noexcept = default;
    Layer(const Layer& other) noexcept
        : handle_(other.handle_ == nullptr ? nullptr : seqmix_layer_retain(other.handle_)) {}
    Layer(Layer&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Layer& operator=(Layer other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~Layer() { seqmix_layer_release(handle_); }

    /* Takes over a reference. */
    static Layer adopt(seqmix_layer* handle) noexcept { return Layer(handle); }
    seqmix_layer* get() const noexcept { return handle_; }

    static Layer plan(const Context& context, const std::string& type) {
        return plan(context, type, nullptr);
    }
    static Layer plan(const Context& context, const std::string& type, const Config& config) {
        return plan(context, type, config.get());
    }
    static Layer open(const Context& context, const std::string& path) {
        return open(context, path, nullptr);
    }
    static Layer open(const Context& context, const std::string& path, const Config& options) {
        return open(context, path, options.get());
    }
    void init(uint64_t seed, const Args& weights) const {
        check(seqmix_layer_init(handle_, seed, weights.data(), weights.size()));
    }
    Layer bind(const Args& weights = Args()) const {
        seqmix_layer* bound = nullptr;
        check(seqmix_layer_bind(handle_, weights.data(), weights.size(), &bound));
        return Layer(bound);
    }

    std::string type() const {
        const char* name = seqmix_layer_type(handle_);
        return name == nullptr ? "" : name;
    }
    std::string info() const {
        const char* json = nullptr;
        check(seqmix_layer_info(handle_, &json));
        return json;
    }
    std::string kernel_name() const {
        const char* name = seqmix_layer_kernel_name(handle_);
        return name == nullptr ? "" : name;
    }
    std::size_t slot_count() const noexcept { return seqmix_layer_slot_count(handle_); }
    seqmix_slot_info slot_info(std::size_t i) const {
        seqmix_slot_info info{};
        info.struct_size = sizeof(info);
        check(seqmix_layer_slot_info(handle_, i, &info));
        return info;
    }
    seqmix_slot_info slot_info(const std::string& name) const {
        const int32_t slot = this->slot(name);
        for (std::size_t i = 0; i < slot_count(); ++i) {
            const seqmix_slot_info info = slot_info(i);
            if (info.slot == slot) {
                return info;
            }
        }
        throw Error(SEQMIX_ERR_UNKNOWN_SLOT, type() + ": no slot '" + name + "' in this layer");
    }
    int32_t slot(const std::string& name) const { return type_slot(type(), name); }
    /* Size `dim` of a slot's first shape (negative: from the end), SEQMIX_DIM_* where it depends on
     * the call: model.size("logits", -1) is the vocabulary. */
    int64_t size(const std::string& slot, int32_t dim) const {
        const seqmix_slot_info info = slot_info(slot);
        const int32_t d = dim < 0 ? dim + info.ndim : dim;
        if (d < 0 || d >= info.ndim) {
            throw Error(SEQMIX_ERR_INVALID_ARGUMENT, "slot '" + slot + "' has no such dimension");
        }
        return info.shape[d];
    }
    void get_weight(int32_t slot, const TensorView& out, int32_t index = 0) const {
        check(seqmix_layer_get_weight(handle_, slot, index, out.get()));
    }
    void get_weight(const std::string& slot, const TensorView& out, int32_t index = 0) const {
        get_weight(this->slot(slot), out, index);
    }
    uint64_t bytes(int32_t kind, int64_t batch = 1, int64_t tokens = 1) const {
        uint64_t count = 0;
        check(seqmix_layer_bytes(handle_, kind, batch, tokens, &count));
        return count;
    }
    void prepare(int64_t max_batch, int64_t max_tokens, int64_t concurrent_calls = 1) const {
        check(seqmix_layer_prepare(handle_, max_batch, max_tokens, concurrent_calls));
    }

    std::size_t child_count() const noexcept { return seqmix_layer_child_count(handle_); }
    Layer child(std::size_t i) const {
        seqmix_layer* child = nullptr;
        check(seqmix_layer_child(handle_, i, &child));
        return Layer(child);
    }
    std::vector<Layer> children() const {
        std::vector<Layer> all;
        for (std::size_t i = 0; i < child_count(); ++i) {
            all.push_back(child(i));
        }
        return all;
    }

    /* Without a state: operations and stateless layers. */
    void forward(const Args& args) const { forward_raw(nullptr, args, nullptr); }
    void forward(State& state, const Args& args) const;
    /* poll(done, total) -> bool, asked between time chunks: true cancels (SEQMIX_ERR_CANCELLED).
     * What it throws passes to the caller, after the call has been cancelled. */
    template <class Poll>
    void forward(State& state, const Args& args, Poll&& poll) const;
    /* The C call itself: options and status, no exception. */
    seqmix_status try_forward(seqmix_state* state, const Args& args,
                              const seqmix_forward_options* options = nullptr) const noexcept {
        return seqmix_layer_forward(handle_, state, args.data(), args.size(), options);
    }

    /* Any of M, v and y_core may be null. */
    void materialize(const Args& args, const seqmix_materialize_options& options,
                     const TensorView* M, const TensorView* v, const TensorView* y_core) const {
        check(seqmix_layer_materialize(
            handle_, nullptr, args.data(), args.size(), &options, M == nullptr ? nullptr : M->get(),
            v == nullptr ? nullptr : v->get(), y_core == nullptr ? nullptr : y_core->get()));
    }

  private:
    explicit Layer(seqmix_layer* handle) noexcept : handle_(handle) {}
    static Layer plan(const Context& context, const std::string& type, seqmix_config* config) {
        seqmix_layer* layer = nullptr;
        check(seqmix_layer_plan(context.get(), type.c_str(), config, &layer));
        return Layer(layer);
    }
    static Layer open(const Context& context, const std::string& path, seqmix_config* options) {
        seqmix_layer* layer = nullptr;
        check(seqmix_layer_open(context.get(), path.c_str(), options, &layer));
        return Layer(layer);
    }
    void forward_raw(seqmix_state* state, const Args& args,
                     const seqmix_forward_options* options) const {
        check(seqmix_layer_forward(handle_, state, args.data(), args.size(), options));
    }
    seqmix_layer* handle_ = nullptr;
};

inline Args::Args(const Layer& layer) : type_(layer.type()) {}

/* Writes a checkpoint with its matrices in the context's format. */
inline void convert_checkpoint(const Context& context, const std::string& path,
                               const std::string& to) {
    check(seqmix_checkpoint_convert(context.get(), path.c_str(), nullptr, to.c_str()));
}

/* ------------------------------------------------------------------ state */

class State {
  public:
    State() noexcept = default;
    explicit State(const Layer& layer, const seqmix_state_options& options = StateOptions()) {
        check(seqmix_state_create(layer.get(), &options, &handle_));
    }
    State(State&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    State& operator=(State&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { seqmix_state_destroy(handle_); }

    static State adopt(seqmix_state* handle) noexcept { return State(handle); }
    seqmix_state* get() const noexcept { return handle_; }

    State clone() const {
        seqmix_state* copy = nullptr;
        check(seqmix_state_clone(handle_, &copy));
        return State(copy);
    }
    void reset(int64_t row = -1) { check(seqmix_state_reset(handle_, row)); }
    int64_t position(int64_t row = 0) const {
        int64_t position = 0;
        check(seqmix_state_position(handle_, row, &position));
        return position;
    }
    uint64_t bytes() const noexcept { return seqmix_state_bytes(handle_); }
    void copy_row(int64_t to, const State& source, int64_t from) {
        check(seqmix_state_copy_row(handle_, to, source.handle_, from));
    }
    void read(int32_t slot, const TensorView& out, int32_t index = 0) const {
        check(seqmix_state_get(handle_, slot, index, out.get()));
    }
    void write(int32_t slot, const TensorView& in, int32_t index = 0) {
        check(seqmix_state_set(handle_, slot, index, in.get()));
    }
    State child(std::size_t i) const {
        seqmix_state* view = nullptr;
        check(seqmix_state_child(handle_, i, &view));
        return State(view);
    }

    std::vector<uint8_t> save() const {
        std::size_t needed = 0;
        const seqmix_status status = seqmix_state_save(handle_, nullptr, 0, &needed);
        if (status != SEQMIX_ERR_BUFFER_TOO_SMALL) {
            check(status);
        }
        std::vector<uint8_t> blob(needed);
        check(seqmix_state_save(handle_, blob.data(), blob.size(), &needed));
        return blob;
    }
    static State load(const Layer& layer, const void* blob, std::size_t size,
                      const seqmix_state_options* options = nullptr) {
        seqmix_state* state = nullptr;
        check(seqmix_state_load(layer.get(), blob, size, options, &state));
        return State(state);
    }
    static State load(const Layer& layer, const std::vector<uint8_t>& blob,
                      const seqmix_state_options* options = nullptr) {
        return load(layer, blob.data(), blob.size(), options);
    }

    int64_t snapshot(int64_t row = -1) {
        int64_t id = 0;
        check(seqmix_state_snapshot(handle_, row, &id));
        return id;
    }
    void rollback(int64_t id, int64_t row = -1) { check(seqmix_state_rollback(handle_, row, id)); }
    void drop(int64_t id) { check(seqmix_state_drop(handle_, id)); }

  private:
    explicit State(seqmix_state* handle) noexcept : handle_(handle) {}
    seqmix_state* handle_ = nullptr;
};

inline void Layer::forward(State& state, const Args& args) const {
    forward_raw(state.get(), args, nullptr);
}

template <class Poll>
void Layer::forward(State& state, const Args& args, Poll&& poll) const {
    struct Call {
        std::remove_reference_t<Poll>* poll;
        std::exception_ptr thrown;
    };
    Call call{&poll, nullptr};
    seqmix_forward_options options{};
    options.struct_size = sizeof(options);
    options.poll_user = &call;
    options.poll = [](void* user, uint64_t done, uint64_t total) -> int32_t {
        Call& self = *static_cast<Call*>(user);
        try {
            return (*self.poll)(done, total) ? 1 : 0;
        } catch (...) {  // an exception must not pass through C
            self.thrown = std::current_exception();
            return 1;
        }
    };
    const seqmix_status status = try_forward(state.get(), args, &options);
    if (call.thrown != nullptr) {
        std::rethrow_exception(call.thrown);
    }
    check(status);
}

}  // namespace cpp0
}  // namespace seqmix

#endif  // SEQMIX_SEQMIX_HPP
