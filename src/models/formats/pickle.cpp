#include "models/formats/pickle.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <utility>

#include "base/memory.h"
#include "base/utf8.h"
#include "models/formats/json.h"

namespace seqmix {
namespace {

// What a name in the pickle stands for.
enum class Meaning : uint8_t { ordered_dict, rebuild_tensor, rebuild_parameter, storage_type };

struct Global {
    std::string_view name;  // "module.name"
    Meaning meaning;
    DType dtype;
    const char* dtype_text;
    int64_t width;
};

constexpr Global kGlobals[] = {
    {"collections.OrderedDict", Meaning::ordered_dict, {}, "", 0},
    {"torch._utils._rebuild_tensor_v2", Meaning::rebuild_tensor, {}, "", 0},
    {"torch._utils._rebuild_parameter", Meaning::rebuild_parameter, {}, "", 0},
    {"torch.FloatStorage", Meaning::storage_type, DType::f32, "F32", 4},
    {"torch.DoubleStorage", Meaning::storage_type, DType::f64, "F64", 8},
    {"torch.HalfStorage", Meaning::storage_type, DType::f16, "F16", 2},
    {"torch.BFloat16Storage", Meaning::storage_type, DType::bf16, "BF16", 2},
    {"torch.LongStorage", Meaning::storage_type, DType::i64, "I64", 8},
    {"torch.IntStorage", Meaning::storage_type, DType::i32, "I32", 4},
    {"torch.ShortStorage", Meaning::storage_type, DType::unknown, "I16", 2},
    {"torch.CharStorage", Meaning::storage_type, DType::i8, "I8", 1},
    {"torch.ByteStorage", Meaning::storage_type, DType::u8, "U8", 1},
    {"torch.BoolStorage", Meaning::storage_type, DType::boolean, "BOOL", 1},
    {"torch.ComplexFloatStorage", Meaning::storage_type, DType::unknown, "C64", 8},
    {"torch.ComplexDoubleStorage", Meaning::storage_type, DType::unknown, "C128", 16},
};

// Every operator that Python knows, so that a refusal can name it.
constexpr struct {
    char code;
    const char* name;
} kOperators[] = {
    {'I', "INT"},
    {'J', "BININT"},
    {'K', "BININT1"},
    {'M', "BININT2"},
    {'L', "LONG"},
    {'\x8a', "LONG1"},
    {'\x8b', "LONG4"},
    {'S', "STRING"},
    {'T', "BINSTRING"},
    {'U', "SHORT_BINSTRING"},
    {'B', "BINBYTES"},
    {'C', "SHORT_BINBYTES"},
    {'\x8e', "BINBYTES8"},
    {'\x96', "BYTEARRAY8"},
    {'\x97', "NEXT_BUFFER"},
    {'\x98', "READONLY_BUFFER"},
    {'N', "NONE"},
    {'\x88', "NEWTRUE"},
    {'\x89', "NEWFALSE"},
    {'V', "UNICODE"},
    {'\x8c', "SHORT_BINUNICODE"},
    {'X', "BINUNICODE"},
    {'\x8d', "BINUNICODE8"},
    {'F', "FLOAT"},
    {'G', "BINFLOAT"},
    {']', "EMPTY_LIST"},
    {'a', "APPEND"},
    {'e', "APPENDS"},
    {'l', "LIST"},
    {')', "EMPTY_TUPLE"},
    {'t', "TUPLE"},
    {'\x85', "TUPLE1"},
    {'\x86', "TUPLE2"},
    {'\x87', "TUPLE3"},
    {'}', "EMPTY_DICT"},
    {'d', "DICT"},
    {'s', "SETITEM"},
    {'u', "SETITEMS"},
    {'\x8f', "EMPTY_SET"},
    {'\x90', "ADDITEMS"},
    {'\x91', "FROZENSET"},
    {'0', "POP"},
    {'2', "DUP"},
    {'(', "MARK"},
    {'1', "POP_MARK"},
    {'g', "GET"},
    {'h', "BINGET"},
    {'j', "LONG_BINGET"},
    {'p', "PUT"},
    {'q', "BINPUT"},
    {'r', "LONG_BINPUT"},
    {'\x94', "MEMOIZE"},
    {'\x82', "EXT1"},
    {'\x83', "EXT2"},
    {'\x84', "EXT4"},
    {'c', "GLOBAL"},
    {'\x93', "STACK_GLOBAL"},
    {'R', "REDUCE"},
    {'b', "BUILD"},
    {'i', "INST"},
    {'o', "OBJ"},
    {'\x81', "NEWOBJ"},
    {'\x92', "NEWOBJ_EX"},
    {'\x80', "PROTO"},
    {'.', "STOP"},
    {'\x95', "FRAME"},
    {'P', "PERSID"},
    {'Q', "BINPERSID"},
};

std::string operator_name(char code) {
    const auto* const found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                           [&](const auto& known) { return known.code == code; });
    return found == std::end(kOperators)
               ? "of code " + std::to_string(static_cast<unsigned char>(code))
               : found->name;
}

PickleValue make_integer(int64_t value) {
    PickleValue result;
    result.kind = PickleKind::integer;
    result.integer = value;
    return result;
}

PickleValue make_boolean(bool value) {
    PickleValue result;
    result.kind = PickleKind::boolean;
    result.integer = value ? 1 : 0;
    return result;
}

PickleValue make_indexed(PickleKind kind, size_t index) {
    PickleValue result;
    result.kind = kind;
    result.index = index;
    return result;
}

// Integers of a tuple as "(2,128,8)".
std::string dims(const Pickle::Items& items) {
    std::string text;
    for (const PickleValue& item : items) {
        text += (text.empty() ? "(" : ",") + std::to_string(item.integer);
    }
    return text.empty() ? "()" : text + ")";
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const Utf8Character character = first_character(text);
        if (character.size == 0) {
            return false;
        }
        text.remove_prefix(character.size);
    }
    return true;
}

}  // namespace

std::string_view pickle_text(const PickleValue& value) { return {value.text, value.size}; }

std::string Pickle::describe(const PickleValue& value) const {
    const auto count = [&] { return std::to_string(containers_[value.index].size()); };
    switch (value.kind) {
        case PickleKind::none: return "None";
        case PickleKind::boolean: return value.integer != 0 ? "True" : "False";
        case PickleKind::integer: return "the integer " + std::to_string(value.integer);
        case PickleKind::big_integer: return "a large integer";
        case PickleKind::real: return "a float";
        case PickleKind::text: return "the text " + in_quotes(pickle_text(value), 60);
        case PickleKind::tuple: return "a tuple of " + count();
        case PickleKind::list: return "a list of " + count();
        case PickleKind::dict:
            return "a dict of " + std::to_string(containers_[value.index].size() / 2);
        case PickleKind::global: return std::string(kGlobals[value.index].name);
        case PickleKind::storage: return "a storage";
        case PickleKind::tensor: return "a tensor";
    }
    return "?";
}

// Runs the program; one call of parse.
class PickleMachine {
  public:
    PickleMachine(Pickle& out, std::string_view bytes, std::string_view source)
        : out_(out), bytes_(bytes), source_(source) {}

    Status run() {
        if (bytes_.size() > kMaxPickle) {
            return limit(bytes_.size(), " bytes, expected at most ", kMaxPickle);
        }
        if (bytes_.size() < 2 || bytes_[0] != '\x80') {
            return bad("does not begin with the operator PROTO");
        }
        if (bytes_[1] != 2) {
            return unsupported("is of protocol ",
                               static_cast<int32_t>(static_cast<unsigned char>(bytes_[1])),
                               ", expected 2");
        }
        place_ = 2;
        while (!stopped_) {
            if (place_ == bytes_.size()) {
                return bad("ends without the operator STOP");
            }
            operator_place_ = place_;
            SEQMIX_TRY(step(bytes_[place_++]));
            if (stack_.size() > 2 * kMaxPickleObjects) {
                return limit("more than ", 2 * kMaxPickleObjects, " values on the stack");
            }
        }
        if (place_ != bytes_.size()) {
            return bad(bytes_.size() - place_, " bytes follow the operator STOP");
        }
        return {};
    }

  private:
    template <class... Parts>
    Status refuse(seqmix_status code, const Parts&... parts) const {
        return fail(code, source_, ": the pickle ", parts...);
    }
    template <class... Parts>
    Status bad(const Parts&... parts) const {
        return refuse(SEQMIX_ERR_BAD_FORMAT, parts..., " (byte ", operator_place_, ")");
    }
    template <class... Parts>
    Status unsupported(const Parts&... parts) const {
        return refuse(SEQMIX_ERR_UNSUPPORTED, parts...);
    }
    template <class... Parts>
    Status limit(const Parts&... parts) const {
        return refuse(SEQMIX_ERR_LIMIT, "has ", parts...);
    }

    Status step(char code) {
        switch (code) {
            case '(': return mark();
            case '.': return stop();
            case '}': return push_container(PickleKind::dict, {});
            case ']': return push_container(PickleKind::list, {});
            case ')': return push_container(PickleKind::tuple, {});
            case 't': return marked_tuple();
            case '\x85': return short_tuple(1);
            case '\x86': return short_tuple(2);
            case '\x87': return short_tuple(3);
            case 's': return set_items(2);
            case 'u': return set_items(0);
            case 'a': return append(1);
            case 'e': return append(0);
            case 'N': stack_.emplace_back(); return {};
            case '\x88': stack_.push_back(make_boolean(true)); return {};
            case '\x89': stack_.push_back(make_boolean(false)); return {};
            case 'K': return integer(1, false);
            case 'M': return integer(2, false);
            case 'J': return integer(4, true);
            case '\x8a': return long_integer();
            case 'G': return real();
            case 'X': return text();
            case 'q': return put(1);
            case 'r': return put(4);
            case 'h': return get(1);
            case 'j': return get(4);
            case 'c': return global();
            case 'R': return reduce();
            case 'b': return build();
            case 'Q': return persistent_id();
            default: return unsupported("uses the operator ", operator_name(code));
        }
    }

    // -------------------------------------------------------------- input

    // n <= 8 bytes, little-endian.
    Status number(size_t n, uint64_t* value) {
        if (bytes_.size() - place_ < n) {
            return bad("ends within an operator");
        }
        *value = 0;
        for (size_t i = 0; i < n; ++i) {
            *value |= uint64_t{static_cast<unsigned char>(bytes_[place_ + i])} << (8 * i);
        }
        place_ += n;
        return {};
    }

    Status integer(size_t n, bool is_signed) {
        uint64_t value = 0;
        SEQMIX_TRY(number(n, &value));
        if (is_signed && n < 8 && (value >> (8 * n - 1)) != 0) {
            value |= ~uint64_t{0} << (8 * n);
        }
        stack_.push_back(make_integer(static_cast<int64_t>(value)));
        return {};
    }

    Status long_integer() {
        uint64_t n = 0;
        SEQMIX_TRY(number(1, &n));
        if (n == 0) {
            stack_.push_back(make_integer(0));
            return {};
        }
        if (n <= 8) {
            return integer(static_cast<size_t>(n), true);
        }
        if (bytes_.size() - place_ < n) {
            return bad("ends within an operator");
        }
        place_ += static_cast<size_t>(n);
        stack_.emplace_back().kind = PickleKind::big_integer;
        return {};
    }

    Status real() {
        uint64_t bits = 0;
        SEQMIX_TRY(number(8, &bits));
        PickleValue value;
        value.kind = PickleKind::real;
        value.real = std::bit_cast<double>(__builtin_bswap64(bits));  // stored big-endian
        stack_.push_back(value);
        return {};
    }

    Status text() {
        uint64_t size = 0;
        SEQMIX_TRY(number(4, &size));
        if (bytes_.size() - place_ < size) {
            return bad("has a text of ", static_cast<int64_t>(size), " bytes, but only ",
                       bytes_.size() - place_, " follow");
        }
        PickleValue value;
        value.kind = PickleKind::text;
        value.size = static_cast<uint32_t>(size);
        value.text = bytes_.data() + place_;
        place_ += static_cast<size_t>(size);
        if (!is_utf8(pickle_text(value))) {
            return bad("has a text that is not UTF-8");
        }
        stack_.push_back(value);
        return {};
    }

    // -------------------------------------------------------------- stack

    size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

    Status need(size_t n) const {
        if (stack_.size() - floor() < n) {
            return bad("has too few values for the operator ",
                       operator_name(bytes_[operator_place_]));
        }
        return {};
    }

    PickleValue pop() {
        const PickleValue value = stack_.back();
        stack_.pop_back();
        return value;
    }

    Status mark() {
        if (marks_.size() == kMaxPickleMarks) {
            return limit("more than ", kMaxPickleMarks, " nested values");
        }
        marks_.push_back(stack_.size());
        return {};
    }

    // The values above the last mark are [*first, stack_.size()); the mark is taken.
    Status take_mark(size_t* first) {
        if (marks_.empty()) {
            return bad("has no mark for the operator ", operator_name(bytes_[operator_place_]));
        }
        *first = marks_.back();
        marks_.pop_back();
        return {};
    }

    Status stop() {
        if (stack_.size() != 1 || !marks_.empty()) {
            return bad("stops with ", stack_.size(), " values, expected one");
        }
        out_.root_ = stack_.back();
        stopped_ = true;
        return {};
    }

    Status push_container(PickleKind kind, Pickle::Items items) {
        if (out_.containers_.size() == kMaxPickleObjects) {
            return limit("more than ", kMaxPickleObjects, " containers");
        }
        stack_.push_back(make_indexed(kind, out_.containers_.size()));
        out_.containers_.push_back(std::move(items));
        return {};
    }

    Status tuple_from(size_t first) {
        const auto begin = stack_.begin() + static_cast<ptrdiff_t>(first);
        Pickle::Items items(begin, stack_.end());
        stack_.erase(begin, stack_.end());
        return push_container(PickleKind::tuple, std::move(items));
    }

    Status marked_tuple() {
        size_t first = 0;
        SEQMIX_TRY(take_mark(&first));
        return tuple_from(first);
    }

    Status short_tuple(size_t n) {
        SEQMIX_TRY(need(n));
        return tuple_from(stack_.size() - n);
    }

    // Appends the values above the mark (n = 0), or the last n, to the container below them.
    Status extend(size_t n, PickleKind kind, const char* what, size_t multiple) {
        size_t first = 0;
        if (n == 0) {
            SEQMIX_TRY(take_mark(&first));
        } else {
            SEQMIX_TRY(need(n));
            first = stack_.size() - n;
        }
        if (first <= floor()) {
            return bad("has too few values for the operator ",
                       operator_name(bytes_[operator_place_]));
        }
        const PickleValue& target = stack_[first - 1];
        if (target.kind != kind || (stack_.size() - first) % multiple != 0) {
            return bad("sets items of ", out_.describe(target), ", expected ", what);
        }
        Pickle::Items& items = out_.containers_[target.index];
        items.insert(items.end(), stack_.begin() + static_cast<ptrdiff_t>(first), stack_.end());
        stack_.resize(first);
        return {};
    }
    Status set_items(size_t n) { return extend(n, PickleKind::dict, "pairs for a dict", 2); }
    Status append(size_t n) { return extend(n, PickleKind::list, "a list", 1); }

    Status put(size_t n) {
        uint64_t index = 0;
        SEQMIX_TRY(number(n, &index));
        SEQMIX_TRY(need(1));
        if (memo_.size() == kMaxPickleObjects) {
            return limit("more than ", kMaxPickleObjects, " memo entries");
        }
        memo_[static_cast<uint32_t>(index)] = stack_.back();
        return {};
    }

    Status get(size_t n) {
        uint64_t index = 0;
        SEQMIX_TRY(number(n, &index));
        const auto found = memo_.find(static_cast<uint32_t>(index));
        if (found == memo_.end()) {
            return bad("asks for memo entry ", static_cast<int64_t>(index), ", which is not there");
        }
        stack_.push_back(found->second);
        return {};
    }

    // -------------------------------------------------------------- objects

    Status line(std::string_view* out) {
        const size_t end = bytes_.find('\n', place_);
        if (end == std::string_view::npos) {
            return bad("ends within an operator");
        }
        *out = bytes_.substr(place_, end - place_);
        place_ = end + 1;
        return {};
    }

    Status global() {
        std::string_view module, name;
        SEQMIX_TRY(line(&module));
        SEQMIX_TRY(line(&name));
        const std::string full = std::string(module) + "." + std::string(name);
        for (size_t i = 0; i < std::size(kGlobals); ++i) {
            if (full == kGlobals[i].name) {
                stack_.push_back(make_indexed(PickleKind::global, i));
                return {};
            }
        }
        return unsupported("names ", in_quotes(full),
                           ", which is not among what a state dict needs");
    }

    Status persistent_id() {
        SEQMIX_TRY(need(1));
        const PickleValue id = pop();
        if (id.kind != PickleKind::tuple) {
            return bad("has a persistent id that is ", out_.describe(id), ", expected a tuple");
        }
        const Pickle::Items& items = out_.items(id);
        if (items.size() != 5 || items[0].kind != PickleKind::text ||
            pickle_text(items[0]) != "storage" || items[1].kind != PickleKind::global ||
            kGlobals[items[1].index].meaning != Meaning::storage_type ||
            items[2].kind != PickleKind::text || items[3].kind != PickleKind::text ||
            items[4].kind != PickleKind::integer || items[4].integer < 0) {
            return bad("has a persistent id that is not ('storage', type, key, location, count)");
        }
        if (out_.storages_.size() == kMaxPickleObjects) {
            return limit("more than ", kMaxPickleObjects, " storages");
        }
        const Global& type = kGlobals[items[1].index];
        stack_.push_back(make_indexed(PickleKind::storage, out_.storages_.size()));
        out_.storages_.push_back(
            {type.dtype, type.dtype_text, type.width, pickle_text(items[2]), items[4].integer});
        return {};
    }

    Status reduce() {
        SEQMIX_TRY(need(2));
        const PickleValue arguments = pop();
        const PickleValue callable = pop();
        if (callable.kind != PickleKind::global || arguments.kind != PickleKind::tuple) {
            return bad("calls ", out_.describe(callable), " with ", out_.describe(arguments));
        }
        const Pickle::Items& items = out_.items(arguments);
        const Global& global = kGlobals[callable.index];
        switch (global.meaning) {
            case Meaning::ordered_dict:
                if (items.empty()) {
                    return push_container(PickleKind::dict, {});
                }
                break;
            case Meaning::rebuild_tensor: return rebuild_tensor(items);
            case Meaning::rebuild_parameter:
                // (tensor, requires_grad, hooks)
                if (items.size() == 3 && items[0].kind == PickleKind::tensor) {
                    stack_.push_back(items[0]);
                    return {};
                }
                break;
            case Meaning::storage_type: break;
        }
        return bad("calls ", global.name, " with ", out_.describe(arguments));
    }

    // (storage, offset, shape, strides, requires_grad, hooks[, metadata])
    Status rebuild_tensor(const Pickle::Items& items) {
        if (items.size() < 6 || items.size() > 7 || items[0].kind != PickleKind::storage ||
            items[1].kind != PickleKind::integer || items[2].kind != PickleKind::tuple ||
            items[3].kind != PickleKind::tuple || items[4].kind != PickleKind::boolean ||
            items[5].kind != PickleKind::dict ||
            (items.size() == 7 && items[6].kind != PickleKind::dict)) {
            return bad("rebuilds a tensor from other values than storage, offset, shape, strides");
        }
        const Pickle::Items& shape = out_.items(items[2]);
        const Pickle::Items& strides = out_.items(items[3]);
        if (shape.size() != strides.size() || shape.size() > kMaxTensorAxes) {
            return bad("rebuilds a tensor of ", shape.size(), " sizes and ", strides.size(),
                       " strides, expected as many, at most ", kMaxTensorAxes);
        }
        if (out_.tensors_.size() == kMaxPickleObjects) {
            return limit("more than ", kMaxPickleObjects, " tensors");
        }
        PickledTensor tensor{items[0].index, items[1].integer, items[2], items[3]};
        const int64_t count = out_.storages_[tensor.storage].count;
        int64_t last = tensor.offset;
        bool empty = false, fits = tensor.offset >= 0;
        for (size_t i = 0; i < shape.size(); ++i) {
            const PickleValue &size = shape[i], &stride = strides[i];
            if (size.kind != PickleKind::integer || size.integer < 0 ||
                stride.kind != PickleKind::integer || stride.integer < 0) {
                return bad("rebuilds a tensor whose axis ", i, " has size ", out_.describe(size),
                           " and stride ", out_.describe(stride));
            }
            empty = empty || size.integer == 0;
            int64_t span = 0;
            fits = fits &&
                   (size.integer == 0 || (checked_mul(size.integer - 1, stride.integer, &span) &&
                                          checked_add(last, span, &last)));
        }
        if (!fits || (empty ? tensor.offset > count : last >= count)) {
            return bad("rebuilds a tensor of shape ", dims(shape), " at offset ", tensor.offset,
                       " with strides ", dims(strides), ", beyond its storage of ", count);
        }
        stack_.push_back(make_indexed(PickleKind::tensor, out_.tensors_.size()));
        out_.tensors_.push_back(tensor);
        return {};
    }

    // A state dict is an OrderedDict with the attribute _metadata, the versions of its modules.
    Status build() {
        SEQMIX_TRY(need(2));
        const PickleValue state = pop();
        const bool is_metadata = stack_.back().kind == PickleKind::dict &&
                                 state.kind == PickleKind::dict && out_.items(state).size() == 2 &&
                                 out_.items(state)[0].kind == PickleKind::text &&
                                 pickle_text(out_.items(state)[0]) == "_metadata";
        if (!is_metadata) {
            return unsupported("builds ", out_.describe(stack_.back()), " from ",
                               out_.describe(state), ", expected a dict and its _metadata");
        }
        return {};
    }

    Pickle& out_;
    std::string_view bytes_, source_;
    size_t place_ = 0, operator_place_ = 0;
    bool stopped_ = false;
    std::vector<PickleValue> stack_;
    std::vector<size_t> marks_;  // sizes of the stack
    std::map<uint32_t, PickleValue> memo_;
};

Status Pickle::parse(std::string_view bytes, std::string_view source) {
    *this = Pickle();
    return PickleMachine(*this, bytes, source).run();
}

}  // namespace seqmix
