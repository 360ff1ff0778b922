// Resolving a schema against sizes: symbolic shapes become numbers.
#include <algorithm>
#include <cctype>

#include "contract/mixer.h"

namespace seqmix {
namespace {

// Reads one dimension: a sum of terms, each an integer, a symbol, or an integer times a symbol.
Status parse_dimension(std::string_view text, const Plan& plan, int64_t* out) {
    int64_t total = 0;
    size_t i = 0;
    while (i < text.size()) {
        int64_t sign = 1;
        if (text[i] == '+' || text[i] == '-') {
            sign = text[i] == '-' ? -1 : 1;
            ++i;
        }
        int64_t factor = 1;
        if (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]))) {
            factor = 0;
            while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]))) {
                factor = factor * 10 + (text[i++] - '0');
            }
        }
        const size_t start = i;
        while (i < text.size() &&
               (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_')) {
            ++i;
        }
        const std::string_view symbol = text.substr(start, i - start);
        int64_t value = 1;
        for (const auto& [name, size] :
             {std::pair{"B", kDimB}, {"T", kDimT}, {"R", kDimR}, {"R1", kDimR1}, {"Tk", kDimTk}}) {
            if (symbol == name) {
                *out = size;
                return Status();
            }
        }
        if (!symbol.empty()) {
            const auto found = plan.sizes.find(symbol);
            if (found == plan.sizes.end()) {
                return fail(SEQMIX_ERR_INTERNAL, "schema: unknown size '", symbol, "'");
            }
            value = found->second;
        }
        int64_t term = 0;
        if (!checked_mul(factor * sign, value, &term) || !checked_add(total, term, &total)) {
            return fail(SEQMIX_ERR_LIMIT, "size '", text, "' overflows");
        }
    }
    if (total < 0) {
        return fail(SEQMIX_ERR_INTERNAL, "schema: size '", text, "' is negative");
    }
    *out = total;
    return Status();
}

Status parse_shape(std::string_view text, const Plan& plan, std::vector<int64_t>& out) {
    std::string_view rest = text.substr(1, text.size() - 2);  // without the parentheses
    while (!rest.empty()) {
        const size_t comma = rest.find(',');
        int64_t size = 0;
        SEQMIX_TRY(parse_dimension(rest.substr(0, comma), plan, &size));
        out.push_back(size);
        rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
    int64_t elements = 8;  // bytes of a double: no tensor of a plan may pass 2^63 bytes
    for (const int64_t size : out) {
        if (size > 0 && !checked_mul(elements, size, &elements)) {
            return fail(SEQMIX_ERR_LIMIT, "shape ", text, " overflows");
        }
    }
    return Status();
}

Status parse_shapes(std::string_view text, const Plan& plan,
                    std::vector<std::vector<int64_t>>& out) {
    while (!text.empty()) {
        const size_t bar = text.find('|');
        std::vector<int64_t> shape;
        SEQMIX_TRY(parse_shape(text.substr(0, bar), plan, shape));
        out.push_back(std::move(shape));
        text = bar == std::string_view::npos ? std::string_view() : text.substr(bar + 1);
    }
    return Status();
}

constexpr SlotSpec kControls[] = {
    {SEQMIX_SLOT_CU_SEQLENS, "cu_seqlens", Role::control, true, kI64, "(R1)",
     "row r is tokens [cu[r], cu[r+1]) of a packed x (1,total,...)"},
    {SEQMIX_SLOT_LENGTHS, "lengths", Role::control, true, kI64, "(B)",
     "true tokens of each row; the rest is right padding"},
    {SEQMIX_SLOT_SEQ_IDX, "seq_idx", Role::control, true, kI32, "(B,T)",
     "a change resets the state; negative is padding"},
    {SEQMIX_SLOT_POSITIONS, "positions", Role::control, true, kI64, "(B,T)",
     "the place of each token in its sequence; absent: counted by the layer"},
    {SEQMIX_SLOT_CU_SEQLENS_K, "cu_seqlens_k", Role::control, true, kI64, "(R1)",
     "the source of row r is tokens [cu[r], cu[r+1]) of a packed source (1,total,...)"},
    {SEQMIX_SLOT_LENGTHS_K, "lengths_k", Role::control, true, kI64, "(B)",
     "true tokens of each row's source; the rest is right padding"},
    {SEQMIX_SLOT_ROWS, "rows", Role::control, true, kI64, "(R)",
     "the state row that each row of the call continues"},
};

Status add_slot(const SlotSpec& spec, Plan& plan) {
    Slot slot;
    slot.slot = spec.slot;
    slot.name = spec.name;
    slot.role = spec.role;
    slot.optional = spec.optional;
    slot.dtypes = spec.dtypes;
    slot.shape_text = spec.shape;
    slot.doc = spec.doc;
    slot.direct = spec.direct;
    SEQMIX_TRY(parse_shapes(spec.shape, plan, slot.shapes));
    if (spec.limit != nullptr) {
        SEQMIX_TRY(parse_dimension(spec.limit, plan, &slot.limit));
    }
    plan.slots.push_back(std::move(slot));
    return Status();
}

}  // namespace

std::vector<StateSlot> state_slots(const Schema& schema) {
    std::vector<StateSlot> slots;
    for (const StateSpec& spec : schema.states) {
        if (spec.derived) {
            continue;
        }
        // "(D,N)" of one row is "(R,D,N)" of a call or of the whole state.
        const std::string shape = "(R," + std::string(spec.shape).substr(1);
        const std::string name = spec.name;
        if (schema.operation) {
            slots.push_back({spec.slot, name + "_in", Role::state_in, shape, spec.doc});
            slots.push_back({spec.slot + 1, name + "_out", Role::state_out, shape, spec.doc});
        } else {
            slots.push_back({spec.slot, name, Role::state, shape, spec.doc});
        }
    }
    return slots;
}

bool has_source(const Schema& schema) {
    return std::any_of(schema.slots.begin(), schema.slots.end(), [](const SlotSpec& spec) {
        const std::string_view shape = spec.shape;
        return shape.find(",Tk") != shape.npos || shape.find("(Tk") != shape.npos;
    });
}

std::vector<SlotSpec> control_slots(const Schema& schema) {
    const bool source = has_source(schema);
    std::vector<SlotSpec> slots;
    for (const SlotSpec& spec : kControls) {
        const bool of_source =
            spec.slot == SEQMIX_SLOT_CU_SEQLENS_K || spec.slot == SEQMIX_SLOT_LENGTHS_K;
        const bool out = spec.slot == SEQMIX_SLOT_ROWS        ? schema.operation
                         : spec.slot == SEQMIX_SLOT_SEQ_IDX   ? source
                         : spec.slot == SEQMIX_SLOT_POSITIONS ? !schema.positions
                                                              : of_source && !source;
        if (!out) {
            slots.push_back(spec);
        }
    }
    return slots;
}

Status resolve_slots(const Schema& schema, Plan& plan) {
    for (const SlotSpec& spec : schema.slots) {
        SEQMIX_TRY(add_slot(spec, plan));
    }
    for (const StateSpec& spec : schema.states) {
        StateTensor state;
        state.slot = spec.slot;
        state.name = spec.name;
        state.transposed = spec.transposed;
        state.grows = spec.grows;
        state.derived = spec.derived;
        SEQMIX_TRY(parse_shape(spec.shape, plan, state.shape));
        state.count = 1;
        for (const int64_t size : state.shape) {
            state.count *= size;
        }
        plan.states.push_back(state);
    }
    for (const StateSlot& state : state_slots(schema)) {
        SEQMIX_TRY(add_slot({state.slot, state.name.c_str(), state.role, true, kSingle,
                             state.shape.c_str(), state.doc},
                            plan));
    }
    for (const SlotSpec& spec : control_slots(schema)) {
        SEQMIX_TRY(add_slot(spec, plan));
    }
    std::sort(plan.slots.begin(), plan.slots.end(),
              [](const Slot& a, const Slot& b) { return a.slot < b.slot; });
    plan.capabilities = schema.capabilities;
    plan.chunk = schema.chunk;
    return Status();
}

void remove_slot(Plan& plan, std::string_view name) {
    std::erase_if(plan.slots, [&](const Slot& slot) { return slot.name == name; });
}

const Slot* Plan::find(int32_t number) const {
    const auto at = std::lower_bound(slots.begin(), slots.end(), number,
                                     [](const Slot& s, int32_t n) { return s.slot < n; });
    return at != slots.end() && at->slot == number ? &*at : nullptr;
}

const Slot* Plan::find(std::string_view name) const {
    for (const Slot& slot : slots) {
        if (slot.name == name) {
            return &slot;
        }
    }
    return nullptr;
}

Slot* Plan::find(std::string_view name) {
    return const_cast<Slot*>(static_cast<const Plan*>(this)->find(name));
}

int32_t Plan::slot_limit() const {
    int32_t limit = 0;
    for (const Slot& slot : slots) {
        if (slot.role != Role::control) {
            limit = slot.slot + 1;
        }
    }
    return limit;
}

}  // namespace seqmix
