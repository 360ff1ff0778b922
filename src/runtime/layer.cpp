// Planning and binding: attributes are checked against the schema, weights against the plan.
#include "runtime/layer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "runtime/arguments.h"
#include "runtime/tensor.h"

namespace seqmix {
namespace {

const char* attribute_type_name(AttributeType type) {
    switch (type) {
        case AttributeType::boolean: return "bool";
        case AttributeType::i64: return "i64";
        case AttributeType::f64: return "f64";
        case AttributeType::str: return "str";
        case AttributeType::i64s: return "i64s";
        case AttributeType::f64s: return "f64s";
    }
    return "";
}

// The given value in the attribute's type; an integer serves for a real number.
bool convert(const AttributeSpec& spec, const AttributeValue& given, AttributeValue* out) {
    // AttributeType lists the variant's types in their order.
    if (given.index() == static_cast<size_t>(spec.type)) {
        *out = given;
        return true;
    }
    if (spec.type == AttributeType::f64 && std::holds_alternative<int64_t>(given)) {
        *out = static_cast<double>(std::get<int64_t>(given));
        return true;
    }
    return false;
}

bool one_of(std::string_view choices, std::string_view value) {
    while (true) {
        const size_t bar = choices.find('|');
        if (choices.substr(0, bar) == value) {
            return true;
        }
        if (bar == std::string_view::npos) {
            return false;
        }
        choices = choices.substr(bar + 1);
    }
}

Status check_range(const Schema& schema, const AttributeSpec& spec, const AttributeValue& value) {
    double number = 0;
    if (spec.type == AttributeType::i64) {
        number = static_cast<double>(std::get<int64_t>(value));
    } else if (spec.type == AttributeType::f64) {
        number = std::get<double>(value);
    } else if (spec.type == AttributeType::str && spec.choices != nullptr &&
               !one_of(spec.choices, std::get<std::string>(value))) {
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, schema.type, ": attribute '", spec.name, "' is '",
                    std::get<std::string>(value), "', expected ", spec.choices);
    }
    if (spec.min < spec.max && !(number >= spec.min && number <= spec.max)) {
        if (spec.type == AttributeType::i64) {
            return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, schema.type, ": attribute '", spec.name,
                        "' is ", std::get<int64_t>(value), ", expected ",
                        static_cast<int64_t>(spec.min), " to ", static_cast<int64_t>(spec.max));
        }
        return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, schema.type, ": attribute '", spec.name, "' is ",
                    number, ", expected ", spec.min, " to ", spec.max);
    }
    return Status();
}

std::string attribute_names(const Schema& schema) {
    std::string names;
    for (const AttributeSpec& spec : schema.attributes) {
        names += names.empty() ? "" : ", ";
        names += spec.name;
    }
    return names;
}

// Edits between two names: a letter more, less or another, two neighbours exchanged.
size_t edits(std::string_view a, std::string_view b) {
    std::vector<size_t> before, last(b.size() + 1), row(b.size() + 1);
    std::iota(last.begin(), last.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t other = a[i - 1] == b[j - 1] ? 0 : 1;
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + other});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = std::min(row[j], before[j - 2] + 1);
            }
        }
        before = std::exchange(last, row);
    }
    return last[b.size()];
}

Status unknown_attribute(const Schema& schema, std::string_view name) {
    const char* closest = nullptr;
    // One letter in three may be wrong, and two at most.
    size_t least = std::min<size_t>(name.size() / 3, 2) + 1;
    for (const AttributeSpec& spec : schema.attributes) {
        // A key may be of any length; a far longer one is no slip, and not worth a comparison.
        const size_t distance = name.size() > 100 ? least : edits(name, spec.name);
        if (distance < least) {
            least = distance;
            closest = spec.name;
        }
    }
    if (closest != nullptr) {
        return fail(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, schema.type, ": unknown attribute '", name,
                    "'; did you mean '", closest, "'?");
    }
    return fail(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, schema.type, ": unknown attribute '", name,
                "', expected one of: ", attribute_names(schema));
}

}  // namespace

const AttributeSpec* find_attribute(const Schema& schema, std::string_view name) {
    for (const AttributeSpec& spec : schema.attributes) {
        if (name == spec.name) {
            return &spec;
        }
    }
    return nullptr;
}

AttributeValue default_value(const AttributeSpec& spec) {
    const std::string_view text = spec.default_value;
    switch (spec.type) {
        case AttributeType::boolean: return text == "true";
        case AttributeType::i64: {
            int64_t value = 0;
            std::from_chars(text.data(), text.data() + text.size(), value);
            return value;
        }
        case AttributeType::f64: {
            double value = 0;
            std::from_chars(text.data(), text.data() + text.size(), value);
            return value;
        }
        case AttributeType::str: return std::string(text);
        case AttributeType::i64s: return std::vector<int64_t>();
        case AttributeType::f64s: return std::vector<double>();
    }
    return false;
}

Status resolve_attributes(const Schema& schema, const Attributes& given, Attributes* resolved) {
    // First of all, or a mistyped key would be reported as the missing one.
    const bool holds_mixer = find_attribute(schema, "mixer") != nullptr;
    for (const auto& [name, value] : given) {
        if (holds_mixer && name.starts_with("mixer.")) {
            resolved->set(name, value);  // belongs to the mixer inside and is checked there
        } else if (find_attribute(schema, name) == nullptr) {
            return unknown_attribute(schema, name);
        }
    }
    for (const AttributeSpec& spec : schema.attributes) {
        const AttributeValue* found = given.find(spec.name);
        AttributeValue value;
        if (found == nullptr) {
            if (spec.default_value == nullptr) {
                return fail(SEQMIX_ERR_ATTRIBUTE_RANGE, schema.type, ": attribute '", spec.name,
                            "' is missing, expected a value of type ",
                            attribute_type_name(spec.type));
            }
            value = default_value(spec);
        } else if (!convert(spec, *found, &value)) {
            return fail(SEQMIX_ERR_ATTRIBUTE_TYPE, schema.type, ": attribute '", spec.name,
                        "' has another type, expected ", attribute_type_name(spec.type));
        }
        SEQMIX_TRY(check_range(schema, spec, value));
        resolved->set(spec.name, std::move(value));
    }
    return Status();
}

void set_plan(LayerCore* core, std::shared_ptr<Plan> plan, bool real64) {
    constexpr int64_t kBytes = 24 << 20;
    constexpr int64_t kMost = 4096, kSample = 1024;
    core->plan = plan;
    core->step_tokens = kSample + 1;
    const auto bytes = [&](int64_t tokens) {
        return static_cast<int64_t>(scratch_bytes(*core, real64, 1, 1, tokens));
    };
    const int64_t per_token = (bytes(kSample + 1) - bytes(1)) / kSample + 1;
    core->step_tokens = std::clamp<int64_t>(kBytes / per_token, 1, kMost);
    if (plan->chunk != kWholeSequence) {
        plan->chunk = std::min(plan->chunk, core->step_tokens);
    }
}

Status plan_layer(const Mixer& mixer, const Attributes& given, Isa isa, std::string role,
                  std::shared_ptr<LayerCore>* out) {
    const Schema& schema = *mixer.schema;
    Attributes resolved;
    SEQMIX_TRY(resolve_attributes(schema, given, &resolved));
    std::unique_ptr<Plan> plan;
    SEQMIX_TRY(mixer.describe(resolved, plan));
    plan->mixer = &mixer;
    // describe may have filled in sizes that depend on others ("0 = ceil(d_model / 16)").
    if (plan->attributes.empty()) {
        plan->attributes = std::move(resolved);
    }
    if (schema.capabilities.reversible) {
        plan->reverse = plan->attributes.flag("reverse");
    }
    if (plan->slots.size() > Arguments::kMaxSlots) {
        return fail(SEQMIX_ERR_INTERNAL, schema.type, ": ", plan->slots.size(), " slots");
    }
    auto core = std::make_shared<LayerCore>();
    set_plan(core.get(), std::move(plan), isa == Isa::reference);
    core->role = std::move(role);
    *out = std::move(core);
    return Status();
}

int32_t match_weight_shape(const Slot& slot, Dims shape) {
    for (size_t v = 0; v < slot.shapes.size(); ++v) {
        const auto& want = slot.shapes[v];
        if (std::equal(want.begin(), want.end(), shape.data, shape.data + shape.count)) {
            return static_cast<int32_t>(v);
        }
    }
    return -1;
}

Status add_weight(const Plan& plan, const seqmix_arg& arg, Allocator allocator,
                  WeightStore* store) {
    const char* type = plan.mixer->schema->type;
    const Slot* slot = plan.find(arg.slot);
    if (slot == nullptr || slot->role != Role::weight) {
        return fail(SEQMIX_ERR_UNKNOWN_SLOT, type, ": no weight in slot ", arg.slot,
                    slot == nullptr ? "" : ", which is '",
                    slot == nullptr ? "" : slot->name.c_str(), slot == nullptr ? "" : "'");
    }
    const char* name = slot->name.c_str();
    if (arg.tensor == nullptr) {
        return fail(SEQMIX_ERR_NULL_ARGUMENT, type, ": tensor '", name, "' is NULL");
    }
    if (arg.index != 0 || arg.reserved != 0 || arg.flags > SEQMIX_BIND_BORROW) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": tensor '", name, "' has index ",
                    arg.index, ", flags ", arg.flags, ", reserved ", arg.reserved,
                    ", expected 0, COPY or BORROW, 0");
    }
    if (store->get(arg.slot, arg.index)) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": tensor '", name, "' is given twice");
    }
    View view;
    SEQMIX_TRY(read_tensor(type, name, *arg.tensor, &view));
    if ((slot->dtypes & dtype_bit(view.dtype)) == 0) {
        return fail(SEQMIX_ERR_DTYPE, type, ": tensor '", name, "' is ", dtype_name(view.dtype),
                    ", expected f32, f64, f16 or bf16");
    }
    if (match_weight_shape(*slot, view.dims()) < 0) {
        return fail(SEQMIX_ERR_SHAPE, type, ": tensor '", name, "' shape ", view.dims(),
                    ", expected ", expected_shapes(*slot));
    }
    WeightStore::Entry entry{arg.slot, arg.index, {}, {}};
    entry.weight.dtype = view.dtype;
    entry.weight.shape.assign(view.shape, view.shape + view.ndim);
    if (arg.flags == SEQMIX_BIND_BORROW) {
        if (view.count > 0 && !view.dense_from(0)) {
            return fail(SEQMIX_ERR_LAYOUT, type, ": tensor '", name,
                        "' is borrowed and not in C order");
        }
        entry.weight.data = view.data;
    } else {
        entry.copy = Array<std::byte>(view.count * view.element_size(), allocator);
        read_bytes(view, entry.copy.data());
        entry.weight.data = entry.copy.data();
    }
    store->entries.push_back(std::move(entry));
    return Status();
}

Status check_weights(const Plan& plan, const WeightStore& weights) {
    for (const Slot& slot : plan.slots) {
        if (slot.role == Role::weight && !slot.optional && !weights.get(slot.slot)) {
            return fail(SEQMIX_ERR_MISSING_TENSOR, plan.mixer->schema->type, ": tensor '",
                        slot.name, "' is missing, expected ", expected_shape(slot, 0));
        }
    }
    return Status();
}

Status bind_layer(const LayerCore& planned, std::shared_ptr<const WeightStore> weights,
                  Allocator allocator, Isa isa, WeightFormat format,
                  std::shared_ptr<LayerCore>* out) {
    SEQMIX_TRY(check_weights(*planned.plan, *weights));
    auto core = std::make_shared<LayerCore>();
    core->plan = planned.plan;
    core->role = planned.role;
    core->step_tokens = planned.step_tokens;
    core->weights = std::move(weights);
    std::unique_ptr<Bound> bound;
    SEQMIX_TRY(planned.mixer().bind({*core->plan, *core->weights, allocator, isa, format}, bound));
    core->bound = std::move(bound);
    core->info = layer_info_json(*core, isa);
    *out = std::move(core);
    return Status();
}

// ------------------------------------------------------------------ weights

Weight WeightStore::get(int32_t slot, int32_t index) const {
    for (const Entry& entry : entries) {
        if (entry.slot == slot && entry.index == index) {
            return entry.weight;
        }
    }
    return Weight();
}

namespace {

// FNV-1a over 8-byte words: quick, and enough to tell files apart (it is no defence).
class Hash {
  public:
    void add(uint64_t word) {
        value_ = (value_ ^ word) * 0x100000001b3u;
        value_ ^= value_ >> 29;
    }
    void add(std::string_view text) {
        add(text.size());
        for (const char c : text) {
            add(static_cast<uint64_t>(static_cast<unsigned char>(c)));
        }
    }
    uint64_t value() const { return value_; }

  private:
    uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace

uint64_t WeightStore::id(const Plan& plan) const {
    constexpr int64_t kSamples = 1024;
    Hash hash;
    for (const Slot& slot : plan.slots) {
        const Weight weight = slot.role == Role::weight ? get(slot.slot) : Weight();
        if (!weight) {
            continue;
        }
        hash.add(slot.name);
        hash.add(static_cast<uint64_t>(weight.dtype));
        // Shapes that differ in axes of size 1 only ((E,1,K) and (E,K)) are one weight.
        for (const int64_t size : weight.shape) {
            if (size != 1) {
                hash.add(static_cast<uint64_t>(size));
            }
        }
        const int64_t count = weight.count();
        const int64_t samples = std::min(count, kSamples);
        const int64_t size = dtype_size(weight.dtype);
        for (int64_t i = 0; i < samples; ++i) {
            const int64_t at = samples == count ? i : i * ((count - 1) / (samples - 1));
            uint64_t bits = 0;
            if (weight.coding == Coding::plain) {
                std::memcpy(&bits, static_cast<const char*>(weight.data) + at * size,
                            static_cast<size_t>(size));
            } else if (weight.dtype == DType::f64) {
                double value;
                weight.read(at, 1, &value);
                std::memcpy(&bits, &value, sizeof value);
            } else {
                float value;
                weight.read(at, 1, &value);
                std::memcpy(&bits, &value, sizeof value);
            }
            hash.add(bits);
        }
    }
    return hash.value();
}

uint64_t LayerCore::weights_id() const {
    Hash hash;
    if (weights != nullptr) {
        hash.add(weights->id(*plan));
    }
    for (const auto& child : children) {
        hash.add(child->weights_id());
    }
    return hash.value();
}

namespace {

// Calls fn(elements, bytes) for every weight of a layer and its children: those that are bound, tied
// ones once, or those that a plan asks for, as if in f32.
template <class Fn>
void for_each_weight(const LayerCore& layer, Fn&& fn) {
    std::vector<const void*> seen;
    const auto visit = [&](const LayerCore& core) {
        if (core.weights == nullptr) {
            for (const Slot& slot : core.plan->slots) {
                if (slot.role == Role::weight) {
                    int64_t count = 1;
                    for (const int64_t size : slot.shapes[0]) {
                        count *= size;
                    }
                    fn(count, count * dtype_size(DType::f32));
                }
            }
            return;
        }
        for (const auto& entry : core.weights->entries) {
            if (std::find(seen.begin(), seen.end(), entry.weight.data) == seen.end()) {
                seen.push_back(entry.weight.data);
                const int64_t count = entry.weight.count();
                fn(count, entry.weight.coded().bytes(count));
            }
        }
    };
    visit(layer);
    for (const auto& child : layer.children) {
        visit(*child);
    }
}

}  // namespace

uint64_t LayerCore::weight_bytes() const {
    uint64_t total = 0;
    for_each_weight(*this, [&](int64_t, int64_t bytes) { total += static_cast<uint64_t>(bytes); });
    return total;
}

int64_t LayerCore::parameters() const {
    int64_t total = 0;
    for_each_weight(*this, [&](int64_t count, int64_t) { total += count; });
    return total;
}

uint64_t config_fingerprint(const LayerCore& core) {
    Hash hash;
    hash.add(core.type());
    JsonWriter attributes;
    attributes.begin_object();
    write_attributes(core.plan->attributes, attributes);
    hash.add(attributes.end_object().text());
    for (const auto& child : core.children) {
        hash.add(config_fingerprint(*child));
    }
    return hash.value();
}

}  // namespace seqmix
