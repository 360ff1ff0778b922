#include "runtime/arguments.h"

#include <cstring>

namespace seqmix {
namespace {

const char* type_of(const Plan& plan) { return plan.mixer->schema->type; }

std::string dtype_list(DTypeSet set, bool real64) {
    std::string text;
    for (int i = 0; i < static_cast<int>(DType::unknown); ++i) {
        const auto type = static_cast<DType>(i);
        if ((set & dtype_bit(type)) == 0 || (type == DType::f64 && !real64)) {
            continue;
        }
        text += text.empty() ? "" : " or ";
        text += dtype_name(type);
    }
    return text;
}

// One symbolic dimension against an actual size; learns B, T, R and Tk on first sight.
bool match_dimension(int64_t want, int64_t size, Arguments* args) {
    switch (want) {
        case kDimB: return args->batch < 0 ? (args->batch = size, true) : args->batch == size;
        case kDimT: return args->time < 0 ? (args->time = size, true) : args->time == size;
        case kDimTk: return args->source < 0 ? (args->source = size, true) : args->source == size;
        case kDimR: return args->rows < 0 ? (args->rows = size, true) : args->rows == size;
        case kDimR1:
            return size >= 1 &&
                   (args->rows < 0 ? (args->rows = size - 1, true) : args->rows == size - 1);
        default: return want == size;
    }
}

Status match_shape(const Plan& plan, const Slot& slot, const View& view, Arguments* args,
                   int32_t* variant) {
    for (size_t v = 0; v < slot.shapes.size(); ++v) {
        const auto& shape = slot.shapes[v];
        if (shape.size() != static_cast<size_t>(view.ndim)) {
            continue;
        }
        const int64_t batch = args->batch, time = args->time, rows = args->rows,
                      source = args->source;
        bool match = true;
        for (size_t i = 0; i < shape.size() && match; ++i) {
            match = match_dimension(shape[i], view.shape[i], args);
        }
        if (match) {
            *variant = static_cast<int32_t>(v);
            return Status();
        }
        args->batch = batch;
        args->time = time;
        args->rows = rows;
        args->source = source;
    }
    return fail(SEQMIX_ERR_SHAPE, type_of(plan), ": tensor '", slot.name, "' shape ", view.dims(),
                ", expected ", expected_shapes(slot, *args));
}

int64_t control_value(const View& view, int64_t i, int64_t j = 0) {
    const int64_t offset = i * view.strides[0] + (view.ndim > 1 ? j * view.strides[1] : 0);
    int64_t value = 0;
    read_elements(view.data + offset * view.element_size(), view.dtype, 1, 1, &value, 1);
    return value;
}

// `name` is 'cu_seqlens' or 'cu_seqlens_k', `tokens` the length of the axis that it cuts.
Status check_cu_seqlens(const Plan& plan, const Arguments& args, const View& view, const char* name,
                        int64_t tokens) {
    if (args.batch != 1) {
        return fail(SEQMIX_ERR_SHAPE, type_of(plan), ": with '", name, "' the batch is ",
                    args.batch, ", expected 1");
    }
    int64_t previous = 0;
    for (int64_t r = 0; r <= args.rows; ++r) {
        const int64_t value = control_value(view, r);
        if (value < previous || value > tokens || (r == 0 && value != 0)) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": '", name, "'[", r, "] is ",
                        value, ", expected ", r == 0 ? "0" : "a rising sequence", " up to ",
                        tokens);
        }
        previous = value;
    }
    return Status();
}

Status check_lengths(const Plan& plan, const Arguments& args, const View& view, const char* name,
                     int64_t tokens) {
    for (int64_t b = 0; b < args.batch; ++b) {
        const int64_t value = control_value(view, b);
        if (value < 0 || value > tokens) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": '", name, "'[", b, "] is ",
                        value, ", expected 0 to ", tokens);
        }
    }
    return Status();
}

// The controls that say where rows are, of the target and of the source.
Status check_row_controls(const Plan& plan, const Arguments& args) {
    const View* cu = args.find(plan, SEQMIX_SLOT_CU_SEQLENS);
    const View* cu_k = args.find(plan, SEQMIX_SLOT_CU_SEQLENS_K);
    const View* lengths = args.find(plan, SEQMIX_SLOT_LENGTHS);
    const View* lengths_k = args.find(plan, SEQMIX_SLOT_LENGTHS_K);
    for (const bool of_source : {false, true}) {
        if (of_source ? cu_k != nullptr && lengths_k != nullptr
                      : cu != nullptr && lengths != nullptr) {
            const char* suffix = of_source ? "_k" : "";
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": 'cu_seqlens", suffix,
                        "' and 'lengths", suffix, "' exclude each other");
        }
    }
    if (args.source < 0 && (cu_k != nullptr || lengths_k != nullptr)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": '",
                    cu_k != nullptr ? "cu_seqlens_k" : "lengths_k",
                    "' is given, and no tensor of the source is");
    }
    if (args.source >= 0 && (cu == nullptr) != (cu_k == nullptr)) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, type_of(plan), ": tensor '",
                    cu == nullptr ? "cu_seqlens" : "cu_seqlens_k",
                    "' is missing: target and source are packed together or not at all");
    }
    if (cu != nullptr) {
        SEQMIX_TRY(check_cu_seqlens(plan, args, *cu, "cu_seqlens", args.time));
    }
    if (cu_k != nullptr) {
        SEQMIX_TRY(check_cu_seqlens(plan, args, *cu_k, "cu_seqlens_k", args.source));
    }
    if (lengths != nullptr) {
        SEQMIX_TRY(check_lengths(plan, args, *lengths, "lengths", args.time));
    }
    if (lengths_k != nullptr) {
        SEQMIX_TRY(check_lengths(plan, args, *lengths_k, "lengths_k", args.source));
    }
    return Status();
}

// That they are distinct is found by forward, which has the memory to sort them.
Status check_rows(const Plan& plan, const Arguments& args, const View& view) {
    for (int64_t r = 0; r < args.rows; ++r) {
        const int64_t value = control_value(view, r);
        if (value < 0) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": 'rows'[", r, "] is ", value,
                        ", expected a row of the state");
        }
    }
    return Status();
}

// Ids of true tokens; padding is not read.
Status check_limit(const Plan& plan, const Arguments& args, const Slot& slot, const View& view) {
    const View* seq_idx = args.find(plan, SEQMIX_SLOT_SEQ_IDX);
    for (int64_t r = 0; r < args.rows; ++r) {
        const RowSpan span = row_span(plan, args, r);
        for (int64_t t = span.begin; t < span.begin + span.count; ++t) {
            if (seq_idx != nullptr && control_value(*seq_idx, span.batch, t) < 0) {
                continue;
            }
            const int64_t value = control_value(view, span.batch, t);
            if (value < 0 || value >= slot.limit) {
                return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": '", slot.name, "'[",
                            span.batch, ",", t, "] is ", value, ", expected 0 to ", slot.limit - 1);
            }
        }
    }
    return Status();
}

bool written(Role role) { return role == Role::output || role == Role::state_out; }

Status check_aliasing(const Plan& plan, const Arguments& args) {
    for (size_t i = 0; i < plan.slots.size(); ++i) {
        const Slot& out = plan.slots[i];
        if (!written(out.role) || !args.views[i]) {
            continue;
        }
        if (overlaps_itself(args.views[i])) {
            return fail(SEQMIX_ERR_LAYOUT, type_of(plan), ": output '", out.name,
                        "' has strides under which its elements overlap");
        }
        for (size_t j = 0; j < plan.slots.size(); ++j) {
            const Slot& other = plan.slots[j];
            if (i == j || !args.views[j] || (written(other.role) && j < i)) {
                continue;
            }
            // <name>_in and <name>_out are an in-place pair: their numbers follow each other.
            const bool pair = out.role == Role::state_out && other.role == Role::state_in &&
                              other.slot + 1 == out.slot;
            if (pair && same_elements(args.views[i], args.views[j])) {
                continue;
            }
            if (may_overlap(args.views[i], args.views[j])) {
                return fail(SEQMIX_ERR_ALIASING, type_of(plan), ": output '", out.name,
                            "' overlaps '", other.name, "'");
            }
        }
    }
    return Status();
}

Status place_argument(const Plan& plan, bool real64, const seqmix_arg& arg, Arguments* out) {
    const Slot* slot = plan.find(arg.slot);
    if (slot == nullptr) {
        return fail(SEQMIX_ERR_UNKNOWN_SLOT, type_of(plan), ": no slot ", arg.slot);
    }
    if (arg.tensor == nullptr) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, type_of(plan), ": tensor '", slot->name, "' is NULL");
    }
    if (slot->role == Role::weight || slot->role == Role::state) {
        return fail(SEQMIX_ERR_UNKNOWN_SLOT, type_of(plan), ": '", slot->name, "' is a ",
                    slot->role == Role::weight ? "weight" : "state tensor",
                    ", expected an input or output of a call");
    }
    if (arg.index != 0 || arg.flags != 0 || arg.reserved != 0) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": tensor '", slot->name,
                    "' has index ", arg.index, ", flags ", arg.flags, ", reserved ", arg.reserved,
                    ", expected 0");
    }
    const auto at = static_cast<size_t>(slot - plan.slots.data());
    if (out->views[at]) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type_of(plan), ": tensor '", slot->name,
                    "' is given twice");
    }
    View view;
    SEQMIX_TRY(read_tensor(type_of(plan), slot->name.c_str(), *arg.tensor, &view));
    if ((slot->dtypes & dtype_bit(view.dtype)) == 0 || (view.dtype == DType::f64 && !real64)) {
        return fail(SEQMIX_ERR_DTYPE, type_of(plan), ": tensor '", slot->name, "' is ",
                    dtype_name(view.dtype), ", expected ", dtype_list(slot->dtypes, real64),
                    view.dtype == DType::f64 ? " (f64 at level reference only)" : "");
    }
    out->views[at] = view;
    return Status();
}

}  // namespace

const View* Arguments::find(const Plan& plan, int32_t slot) const {
    const Slot* found = plan.find(slot);
    if (found == nullptr) {
        return nullptr;
    }
    const View& view = views[found - plan.slots.data()];
    return view ? &view : nullptr;
}

std::string expected_shape(const Slot& slot, size_t variant, const Arguments& args) {
    // Symbols come from the shape's text, values from the plan and the call.
    std::string_view text = slot.shape_text;
    for (size_t v = 0; v < variant; ++v) {
        text = text.substr(text.find('|') + 1);
    }
    text = text.substr(1, text.find(')') - 1);
    std::string out = "(";
    for (size_t i = 0; i < slot.shapes[variant].size(); ++i) {
        const size_t comma = text.find(',');
        const std::string_view symbol = text.substr(0, comma);
        text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
        int64_t value = slot.shapes[variant][i];
        value = value == kDimB    ? args.batch
                : value == kDimT  ? args.time
                : value == kDimTk ? args.source
                : value == kDimR  ? args.rows
                : value == kDimR1 ? (args.rows < 0 ? args.rows : args.rows + 1)
                                  : value;
        out += i == 0 ? "" : ",";
        const std::string number = std::to_string(value);
        if (value < 0) {
            out += symbol;
        } else if (symbol == number) {
            out += number;
        } else {
            out += std::string(symbol) + "=" + number;
        }
    }
    return out + ")";
}

std::string expected_shapes(const Slot& slot, const Arguments& args) {
    std::string expected;
    for (size_t v = 0; v < slot.shapes.size(); ++v) {
        expected += v == 0 ? "" : " or ";
        expected += expected_shape(slot, v, args);
    }
    return expected;
}

RowSpan row_span(const Plan& plan, const Arguments& args, int64_t r) {
    RowSpan span{r, 0, args.time, r};
    if (const View* cu = args.find(plan, SEQMIX_SLOT_CU_SEQLENS)) {
        span.batch = 0;
        span.begin = control_value(*cu, r);
        span.count = control_value(*cu, r + 1) - span.begin;
    } else if (const View* lengths = args.find(plan, SEQMIX_SLOT_LENGTHS)) {
        span.count = control_value(*lengths, r);
    }
    if (const View* rows = args.find(plan, SEQMIX_SLOT_ROWS)) {
        span.state_row = control_value(*rows, r);
    }
    return span;
}

SourceRow source_row(const Plan& plan, const Arguments& args, int64_t r) {
    const RowSpan target = row_span(plan, args, r);
    SourceRow row{target.batch, 0, std::max<int64_t>(args.source, 0), target.begin, target.count};
    if (const View* cu = args.find(plan, SEQMIX_SLOT_CU_SEQLENS_K)) {
        row.first = control_value(*cu, r);
        row.count = control_value(*cu, r + 1) - row.first;
    } else if (const View* lengths = args.find(plan, SEQMIX_SLOT_LENGTHS_K)) {
        row.count = control_value(*lengths, r);
    }
    return row;
}

Status read_arguments(const Plan& plan, bool real64, const seqmix_arg* args, size_t n,
                      Arguments* out) {
    if (args == nullptr && n > 0) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, type_of(plan), ": args is NULL");
    }
    for (size_t i = 0; i < n; ++i) {
        SEQMIX_TRY(place_argument(plan, real64, args[i], out));
    }
    const View* cu = out->find(plan, SEQMIX_SLOT_CU_SEQLENS);
    DType given[100];
    std::fill(std::begin(given), std::end(given), DType::unknown);
    // Inputs first, so that B and T are the data's and a message blames the odd one out.
    const Role order[] = {Role::input, Role::output, Role::control, Role::state_in,
                          Role::state_out};
    if (cu != nullptr && cu->ndim == 1 && cu->shape[0] >= 1) {
        out->rows = cu->shape[0] - 1;
    }
    for (const Role role : order) {
        if (role == Role::output && out->rows < 0) {
            out->rows = out->batch;  // without cu_seqlens a row is a batch row
        }
        for (size_t i = 0; i < plan.slots.size(); ++i) {
            const Slot& slot = plan.slots[i];
            if (slot.role != role) {
                continue;
            }
            if (!out->views[i]) {
                if (!slot.optional) {
                    return fail(SEQMIX_ERR_MISSING_TENSOR, type_of(plan), ": tensor '", slot.name,
                                "' is missing, expected ", expected_shape(slot, 0, *out));
                }
                continue;
            }
            SEQMIX_TRY(match_shape(plan, slot, out->views[i], out, &out->variants[i]));
            if (slot.slot < 100) {
                given[slot.slot] = out->views[i].dtype;
            }
            const View& view = out->views[i];
            if (slot.direct && !real64 && view.count > 0 &&
                (!view.dense_from(view.ndim - 1) || !view.aligned())) {
                return fail(SEQMIX_ERR_LAYOUT, type_of(plan), ": output '", slot.name,
                            "' has stride ", view.strides[view.ndim - 1],
                            " in its last axis, expected 1 and aligned elements");
            }
        }
    }
    if (plan.mixer->check != nullptr) {
        SEQMIX_TRY(plan.mixer->check(plan, given));
    }
    if (out->batch < 0 || out->time < 0) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, type_of(plan),
                    ": no tensor of the call says how many rows and tokens there are");
    }
    if (!checked_mul(out->batch, out->time, &out->tokens)) {
        return fail(SEQMIX_ERR_LIMIT, type_of(plan), ": B x T overflows");
    }
    SEQMIX_TRY(check_row_controls(plan, *out));
    if (const View* rows = out->find(plan, SEQMIX_SLOT_ROWS)) {
        SEQMIX_TRY(check_rows(plan, *out, *rows));
    }
    for (size_t i = 0; i < plan.slots.size(); ++i) {
        if (plan.slots[i].limit > 0 && out->views[i]) {
            SEQMIX_TRY(check_limit(plan, *out, plan.slots[i], out->views[i]));
        }
    }
    return check_aliasing(plan, *out);
}

}  // namespace seqmix
