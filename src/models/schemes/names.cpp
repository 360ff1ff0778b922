#include "models/schemes/names.h"

#include <algorithm>
#include <utility>

#include "contract/schema.h"

namespace seqmix {
namespace {

constexpr std::string_view kPrefixes[] = {"_orig_mod.", "module."};

struct Term {
    int64_t factor;
    char letter;  // 0: none
};

// A shape is "R+2N,E": axes of terms, each an integer, a letter, or both.
struct Axis {
    std::array<Term, 3> terms;
    size_t count;
};

std::vector<Axis> parse_shape(const char* text) {
    std::vector<Axis> axes(1, Axis{});
    int64_t factor = 0;
    bool digits = false;
    char letter = 0;
    for (const char* c = text;; ++c) {
        if (*c >= '0' && *c <= '9') {
            factor = factor * 10 + (*c - '0');
            digits = true;
        } else if (*c >= 'A' && *c <= 'Z') {
            letter = *c;
        } else {
            Axis& axis = axes.back();
            axis.terms[axis.count++] = {digits ? factor : 1, letter};
            factor = 0;
            digits = false;
            letter = 0;
            if (*c == ',') {
                axes.push_back(Axis{});
            } else if (*c == '\0') {
                return axes;
            }
        }
    }
}

const char* meaning(char letter) {
    switch (letter) {
        case 'V': return "vocab_size";
        case 'D': return "d_model";
        case 'E': return "d_inner";
        case 'N': return "d_state";
        case 'R': return "dt_rank";
        case 'K': return "d_conv";
        case 'I': return "d_input";
        case 'C': return "n_classes";
        case 'M': return "modes";
        case 'S': return "n_ssm";
        case 'H': return "kernels";
        case 'G': return "channels";
        case 'Q': return "rank";
        case 'T': return "step columns";
        case 'W':
        case 'P': return "rows of a kernel net";
        case 'A': return "filter_order";
        case 'B': return "emb_dim";
        case 'J': return "hidden width";
        case 'L': return "l_max";
        case 'F': return "inputs of output_linear";
        case 'O': return "outputs of output_linear";
        default: return "a size";
    }
}

// "'a', 'b', 'c', ..."
std::string first_names(const std::vector<std::string>& names) {
    constexpr size_t kShown = 3;
    std::string text;
    for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
        text += (i > 0 ? ", " : "") + in_quotes(names[i]);
    }
    return names.size() > kShown ? text + ", ..." : text;
}

// The number between `begin` and the next dot; false unless written as "0", "7", "12". Values are
// cut at kMaxLayers: more is too many anyway.
bool layer_number(std::string_view name, std::string_view begin, int64_t* number,
                  std::string_view* rest) {
    if (!name.starts_with(begin)) {
        return false;
    }
    name.remove_prefix(begin.size());
    const size_t dot = name.find('.');
    if (dot == std::string_view::npos || dot == 0 || (dot > 1 && name[0] == '0')) {
        return false;
    }
    int64_t value = 0;
    for (const char c : name.substr(0, dot)) {
        if (c < '0' || c > '9') {
            return false;
        }
        value = std::min(value * 10 + (c - '0'), kMaxLayers);
    }
    *number = value;
    *rest = name.substr(dot);
    return true;
}

}  // namespace

TensorNames::TensorNames(const TensorMap& tensors) {
    for (bool found = !tensors.empty(); found;) {
        found = false;
        for (const std::string_view prefix : kPrefixes) {
            const bool all = std::all_of(tensors.begin(), tensors.end(), [&](const auto& tensor) {
                return std::string_view(tensor.first).substr(prefix_.size()).starts_with(prefix);
            });
            if (all) {
                prefix_ += prefix;
                found = true;
            }
        }
    }
    for (const auto& [name, tensor] : tensors) {
        entries_.emplace(std::string_view(name).substr(prefix_.size()),
                         Entry{&name, &tensor, false});
    }
}

TensorNames::Entry* TensorNames::find(std::string_view name) {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second;
}

bool TensorNames::has_in_layers(std::string_view begin, std::string_view end) const {
    return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
        int64_t number = 0;
        std::string_view rest;
        return layer_number(entry.first, begin, &number, &rest) && rest == end;
    });
}

Status TensorNames::count_layers(std::string_view begin, int64_t* count) const {
    int64_t result = 0;
    for (const auto& [name, entry] : entries_) {
        int64_t number = 0;
        std::string_view rest;
        if (layer_number(name, begin, &number, &rest)) {
            if (number >= kMaxLayers) {
                return fail(SEQMIX_ERR_LIMIT, "checkpoint: tensor ", in_quotes(*entry.stored_name),
                            ", expected at most ", kMaxLayers, " layers");
            }
            result = std::max(result, number + 1);
        }
    }
    *count = result;
    return {};
}

Status TensorNames::read_integer(const char* scheme, std::string_view name, int64_t* out) {
    Entry* entry = find(name);
    if (entry == nullptr) {
        return {};
    }
    entry->used = true;
    const StoredTensor& tensor = *entry->tensor;
    const int64_t width = dtype_size(tensor.dtype);
    const bool integer = tensor.dtype == DType::i64 || tensor.dtype == DType::i32;
    if (!integer || tensor.bytes != static_cast<uint64_t>(width)) {
        return fail(SEQMIX_ERR_SHAPE, scheme, ": tensor ", in_quotes(*entry->stored_name),
                    " has shape ",
                    Dims{tensor.shape.data(), static_cast<int32_t>(tensor.shape.size())}, " ",
                    tensor.dtype_text, ", expected one integer");
    }
    *out = static_cast<int64_t>(element_to_f64(tensor.data, tensor.dtype));
    if (*out < 0 || *out > int64_t{1} << 30) {
        return fail(SEQMIX_ERR_LIMIT, scheme, ": tensor ", in_quotes(*entry->stored_name), " is ",
                    *out, ", expected 0 to ", int64_t{1} << 30);
    }
    return {};
}

void NameTable::expect(size_t child, std::string name, std::string slot, const char* shape) {
    expected_.push_back({child, std::move(name), std::move(slot), shape, nullptr});
}

void NameTable::ignore(std::string_view name) { ignored_.emplace_back(name); }

Status NameTable::match(bool lenient, StackSpec& out) {
    for (Expected& expected : expected_) {
        TensorNames::Entry* entry = names_.find(expected.name);
        ChildSpec& child = out.children[expected.child];
        if (entry == nullptr) {
            child.missing.push_back(expected.slot);
            // A tied head asks for the embedding, the first name, again: listed once.
            std::string name = names_.stored(expected.name);
            if (out.missing.empty() || out.missing.front() != name) {
                out.missing.push_back(std::move(name));
            }
            continue;
        }
        entry->used = true;
        expected.entry = entry;
        child.weights.push_back({expected.slot, *entry->stored_name, {}});
    }
    for (const std::string& name : ignored_) {
        if (TensorNames::Entry* entry = names_.find(name); entry != nullptr && !entry->used) {
            entry->used = true;
            out.ignored.push_back(*entry->stored_name);
        }
    }
    for (const auto& [name, entry] : names_) {
        if (!entry.used) {
            out.unexpected.push_back(*entry.stored_name);
        }
    }
    if (lenient || (out.missing.empty() && out.unexpected.empty())) {
        return {};
    }
    if (out.missing.empty()) {
        return fail(SEQMIX_ERR_UNKNOWN_SLOT, scheme_, ": ", out.unexpected.size(),
                    " unexpected tensors: ", first_names(out.unexpected));
    }
    if (out.unexpected.empty()) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, scheme_, ": ", out.missing.size(),
                    " tensors are missing: ", first_names(out.missing));
    }
    return fail(SEQMIX_ERR_MISSING_TENSOR, scheme_, ": ", out.missing.size(),
                " tensors are missing: ", first_names(out.missing), "; ", out.unexpected.size(),
                " are unexpected: ", first_names(out.unexpected));
}

void NameTable::solve() {
    for (bool progress = true; progress;) {
        progress = false;
        for (const Expected& expected : expected_) {
            if (expected.entry == nullptr) {
                continue;
            }
            const std::vector<int64_t>& shape = expected.entry->tensor->shape;
            const std::vector<Axis> axes = parse_shape(expected.shape);
            if (axes.size() != shape.size()) {
                continue;  // verify() says so
            }
            for (size_t i = 0; i < axes.size(); ++i) {
                int64_t rest = shape[i];
                const Term* unknown = nullptr;
                int64_t unknowns = 0;
                for (size_t t = 0; t < axes[i].count; ++t) {
                    const Term& term = axes[i].terms[t];
                    const int64_t value = term.letter == 0 ? 1 : size(term.letter);
                    if (value == 0) {
                        unknown = &term;
                        ++unknowns;
                    }
                    rest -= term.factor * std::min(value, kMaxSize);
                }
                if (unknowns == 1 && rest > 0 && rest % unknown->factor == 0) {
                    sizes_[index(unknown->letter)] = rest / unknown->factor;
                    origins_[index(unknown->letter)] = expected.entry->stored_name;
                    progress = true;
                }
            }
        }
    }
}

void NameTable::set_default(char letter, int64_t value) {
    if (size(letter) == 0) {
        sizes_[index(letter)] = value;
    }
}

std::string NameTable::origin(char letter) const {
    const std::string* tensor = origins_[index(letter)];
    std::string text = std::string(meaning(letter)) + " " + std::to_string(size(letter));
    return tensor == nullptr ? text : text + " (from tensor " + in_quotes(*tensor) + ")";
}

Status NameTable::cross_check(char letter, const std::string& key, int64_t value,
                              const char* source) const {
    if (size(letter) == 0 || size(letter) == value) {
        return {};
    }
    return fail(SEQMIX_ERR_SHAPE, scheme_, ": the tensors have ", origin(letter), ", but ", source,
                " gives ", value, " by '", key, "'");
}

Status NameTable::verify_shape(const Expected& expected) const {
    const StoredTensor& tensor = *expected.entry->tensor;
    const std::vector<Axis> axes = parse_shape(expected.shape);
    std::vector<int64_t> wanted;
    for (const Axis& axis : axes) {
        int64_t value = 0;
        for (size_t t = 0; t < axis.count; ++t) {
            const Term& term = axis.terms[t];
            value += term.factor * (term.letter == 0 ? 1 : size(term.letter));
        }
        wanted.push_back(value);
    }
    if (wanted == tensor.shape) {
        return {};
    }
    std::string reason;  // where the first wrong axis gets its size from
    for (size_t i = 0; i < axes.size() && reason.empty(); ++i) {
        if (i < tensor.shape.size() && tensor.shape[i] == wanted[i]) {
            continue;
        }
        for (size_t t = 0; t < axes[i].count; ++t) {
            if (axes[i].terms[t].letter != 0) {
                reason += (reason.empty() ? " by " : ", ") + origin(axes[i].terms[t].letter);
            }
        }
    }
    return fail(SEQMIX_ERR_SHAPE, scheme_, ": tensor ", in_quotes(*expected.entry->stored_name),
                " has shape ", Dims{tensor.shape.data(), static_cast<int32_t>(tensor.shape.size())},
                ", expected ", Dims{wanted.data(), static_cast<int32_t>(wanted.size())}, reason);
}

Status NameTable::verify() const {
    for (const Expected& expected : expected_) {
        for (const Axis& axis : parse_shape(expected.shape)) {
            for (size_t t = 0; t < axis.count; ++t) {
                const char letter = axis.terms[t].letter;
                if (letter == 0) {
                    continue;
                }
                if (size(letter) == 0) {
                    // Some tensor is missing, or all that could give the size have a wrong shape.
                    return fail(
                        expected.entry == nullptr ? SEQMIX_ERR_MISSING_TENSOR : SEQMIX_ERR_SHAPE,
                        scheme_, ": ", meaning(letter), " cannot be told: tensor ",
                        in_quotes(names_.stored(expected.name)),
                        expected.entry == nullptr ? " is missing" : " has another shape",
                        ", expected (", expected.shape, ")");
                }
                if (size(letter) > kMaxSize) {
                    return fail(SEQMIX_ERR_LIMIT, scheme_, ": ", origin(letter),
                                ", expected at most ", kMaxSize);
                }
            }
        }
    }
    for (const Expected& expected : expected_) {
        if (expected.entry == nullptr) {
            continue;
        }
        const StoredTensor& tensor = *expected.entry->tensor;
        if ((dtype_bit(tensor.dtype) & kWeight) == 0) {
            return fail(SEQMIX_ERR_DTYPE, scheme_, ": tensor ",
                        in_quotes(*expected.entry->stored_name), " is stored as ",
                        tensor.dtype_text, ", expected F32, F64, F16 or BF16");
        }
        SEQMIX_TRY(verify_shape(expected));
    }
    return {};
}

}  // namespace seqmix
