#include "models.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

namespace seqmix::conformance {

using nlohmann::json;

void check(seqmix_status status, const std::string& what) {
    if (status != SEQMIX_OK) {
        throw Failure(what + ": " + seqmix_status_name(status) + ", " + seqmix_last_error());
    }
}

// ------------------------------------------------------------------ contexts

namespace {

size_t page_size() {
    static const auto size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    return size;
}

// Where a block of the guarded allocator lies in its mapping: its end as near to the page behind as
// the alignment allows.
struct Placed {
    size_t inside, offset;
    Placed(size_t size, size_t align)
        : inside(std::max<size_t>(1, (size + page_size() - 1) / page_size()) * page_size()),
          offset((inside - size) / align * align) {}
};

// Fresh blocks are full of NaN patterns: what the library reads unwritten shows in its outputs.
void* guarded_alloc(void* user, size_t size, size_t align) {
    const Placed placed(size, align);
    void* map = mmap(nullptr, placed.inside + 2 * page_size(), PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        return nullptr;
    }
    auto* inside = static_cast<std::byte*>(map) + page_size();
    if (mprotect(inside, placed.inside, PROT_READ | PROT_WRITE) != 0) {
        return nullptr;
    }
    std::memset(inside, 0xff, placed.inside);
    ++allocations();
    ++*static_cast<std::atomic<int64_t>*>(user);
    return inside + placed.offset;
}

void guarded_free(void* user, void* pointer, size_t size, size_t align) {
    if (pointer == nullptr) {
        return;
    }
    const Placed placed(size, align);
    munmap(static_cast<std::byte*>(pointer) - placed.offset - page_size(),
           placed.inside + 2 * page_size());
    --*static_cast<std::atomic<int64_t>*>(user);
}

constexpr size_t kHostWorkers = 3;

// A host that runs everything on its own thread, last piece first, with changing worker numbers.
int32_t run_reversed(void*, size_t n, seqmix_task_fn fn, void* arg) {
    for (size_t i = n; i-- > 0;) {
        fn(arg, i, i % kHostWorkers);
    }
    return 0;
}

seqmix_status create(const ContextOptions& options, std::atomic<int64_t>* live,
                     seqmix_context** handle) {
    seqmix_context_options raw{};
    raw.struct_size = sizeof raw;
    raw.version = SEQMIX_VERSION;
    raw.threads = options.threads;
    raw.isa = options.isa.empty() ? nullptr : options.isa.c_str();
    if (options.executor == Executor::host_reversed) {
        raw.parallel_for = run_reversed;
        raw.parallel_workers = kHostWorkers;
    }
    if (options.guarded) {
        raw.alloc = guarded_alloc;
        raw.free = guarded_free;
        raw.alloc_user = live;
    }
    return seqmix_context_create(&raw, handle);
}

}  // namespace

Context::Context(const ContextOptions& options)
    : options_(options), live_(std::make_shared<std::atomic<int64_t>>(0)) {
    seqmix_context* handle = nullptr;
    check(create(options_, live_.get(), &handle), "context at level " + options_.isa);
    handle_ = std::shared_ptr<seqmix_context>(
        handle, [live = live_](seqmix_context* context) { seqmix_context_release(context); });
}

std::vector<std::string> built_levels() {
    std::vector<std::string> result;
    const json info = json::parse(seqmix_build_info());
    for (const json& name : info.at("isa")) {
        result.push_back(name.get<std::string>());
    }
    if (std::find(result.begin(), result.end(), "reference") == result.end()) {
        result.insert(result.begin(), "reference");
    }
    return result;
}

std::vector<std::string> levels() {
    std::vector<std::string> result;
    const char* only = std::getenv("SEQMIX_TEST_ISA");
    for (const std::string& level : built_levels()) {
        if (only != nullptr && *only != '\0' && level != only) {
            continue;
        }
        seqmix_context* context = nullptr;
        std::atomic<int64_t> live = 0;
        if (create({.isa = level}, &live, &context) == SEQMIX_OK) {
            result.push_back(level);
            seqmix_context_release(context);
        }
    }
    return result;
}

bool small_scale() {
    const char* scale = std::getenv("SEQMIX_TEST_SCALE");
    return scale != nullptr && std::string(scale) == "small";
}

// ------------------------------------------------------------------ facts and slots

Facts facts_of(const std::string& type) {
    const char* text = nullptr;
    check(seqmix_type_schema(type.c_str(), &text), "schema of " + type);
    const json schema = json::parse(text);
    Facts facts;
    facts.operation = type.size() > 3 && type.ends_with("_op");
    const json& capabilities = schema.at("capabilities");
    facts.stateful = capabilities.at("stateful").get<bool>();
    facts.causal = capabilities.at("causal").get<bool>();
    facts.reversible = capabilities.at("reversible").get<bool>();
    facts.materialize = capabilities.at("materialize").get<bool>();
    const json& chunk = schema.at("chunk");
    if (chunk.is_number() && chunk.get<double>() < 1e15) {
        facts.chunk = chunk.get<int64_t>();
    }
    return facts;
}

Facts facts_of(const std::string& type, const Case& setup) {
    Facts facts = facts_of(type);
    if (setup.whole_input) {
        facts.causal = facts.stateful = false;
        facts.chunk = 0;
    }
    return facts;
}

namespace {

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == separator) {
            parts.emplace_back();
        } else if (c != '(' && c != ')' && c != ' ') {
            parts.back() += c;
        }
    }
    if (parts.size() == 1 && parts[0].empty()) {
        parts.clear();
    }
    return parts;
}

using Symbols = std::map<std::string, int64_t>;

// "dt_rank+2N", "K-1", "2E"; nullopt where a symbol is unknown.
std::optional<int64_t> evaluate(const std::string& dimension, const Symbols& symbols) {
    int64_t sum = 0;
    for (size_t i = 0; i < dimension.size();) {
        int64_t sign = 1;
        if (dimension[i] == '+' || dimension[i] == '-') {
            sign = dimension[i++] == '-' ? -1 : 1;
        }
        int64_t factor = 0;
        bool number = false;
        while (i < dimension.size() &&
               std::isdigit(static_cast<unsigned char>(dimension[i])) != 0) {
            factor = factor * 10 + (dimension[i++] - '0');
            number = true;
        }
        std::string symbol;
        while (i < dimension.size() && dimension[i] != '+' && dimension[i] != '-') {
            symbol += dimension[i++];
        }
        int64_t value = number ? factor : 1;
        if (!symbol.empty()) {
            const auto found = symbols.find(symbol);
            if (found == symbols.end()) {
                return std::nullopt;
            }
            value *= found->second;
        } else if (!number) {
            return std::nullopt;
        }
        sum += sign * value;
    }
    return sum;
}

Axis axis_named(const std::string& dimension) {
    if (dimension == "B") return Axis::batch;
    if (dimension == "T") return Axis::time;
    if (dimension == "R") return Axis::rows;
    if (dimension == "R1") return Axis::rows_and_one;
    if (dimension == "Tk") return Axis::source;
    return Axis::fixed;
}

uint64_t hash(const std::string& text, uint64_t seed) {
    uint64_t h = 0xcbf29ce484222325u ^ (seed * 0x9e3779b97f4a7c15u);
    for (const char c : text) {
        h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    }
    return h;
}

Values random_values(const std::vector<int64_t>& shape, const SlotRange& range, bool integer,
                     uint64_t seed) {
    Values values(shape);
    Random random(seed);
    for (double& value : values.data) {
        value = integer ? static_cast<double>(random.integer(static_cast<int64_t>(range.low),
                                                             static_cast<int64_t>(range.high)))
                        : round_to(Type::f32, random.uniform(range.low, range.high));
    }
    return values;
}

}  // namespace

int64_t Slot::axis_of(Axis kind) const {
    for (size_t i = 0; i < axes.size(); ++i) {
        if (axes[i] == kind) {
            return static_cast<int64_t>(i);
        }
    }
    return -1;
}

int64_t Slot::row_axis() const {
    const int64_t rows = axis_of(Axis::rows);
    return rows >= 0 ? rows : axis_of(Axis::batch);
}

std::vector<int64_t> Slot::shape(int64_t batch, int64_t tokens, int64_t rows,
                                 int64_t source) const {
    std::vector<int64_t> result = sizes;
    for (size_t i = 0; i < result.size(); ++i) {
        switch (axes[i]) {
            case Axis::fixed: break;
            // A per-row tensor has R rows where sequences are packed, whatever letter it has.
            case Axis::batch:
                result[i] = time_axis() < 0 && source_axis() < 0 ? rows : batch;
                break;
            case Axis::source: result[i] = source >= 0 ? source : tokens + 3; break;
            case Axis::time: result[i] = tokens; break;
            case Axis::rows: result[i] = rows; break;
            case Axis::rows_and_one: result[i] = rows + 1; break;
        }
    }
    return result;
}

bool Slot::is_integer() const { return (dtypes & (SEQMIX_DTYPE_F32 | SEQMIX_DTYPE_F64)) == 0; }

// ------------------------------------------------------------------ model

Model::Model(const Context& context, const MixerCases& mixer, const Case& setup,
             const ModelOptions& options)
    : context_(context), mixer_(&mixer), case_(&setup), facts_(facts_of(mixer.type, setup)) {
    if (mixer.from_checkpoint) {
        open();
        read_slots();
        return;
    }
    plan(options);
    read_slots();
    bind(options);
}

void Model::plan(const ModelOptions& options) {
    seqmix_config* config = nullptr;
    check(seqmix_config_create(&config), "config");
    const std::unique_ptr<seqmix_config, void (*)(seqmix_config*)> owner(config,
                                                                         seqmix_config_destroy);
    check(seqmix_config_set_json(config, case_->attributes), "attributes");
    const json given = json::parse(case_->attributes);
    reverse_ = given.value("reverse", given.value("mixer.reverse", false));  // a block's mixer
    if (options.reverse) {
        reverse_ = *options.reverse;
        check(seqmix_config_set_bool(config, "reverse", reverse_ ? 1 : 0), "reverse");
    }
    seqmix_layer* layer = nullptr;
    check(seqmix_layer_plan(context_.get(), mixer_->type, config, &layer), "plan");
    plan_ = std::shared_ptr<seqmix_layer>(layer, seqmix_layer_release);
}

void Model::open() {
    folder_ = std::make_shared<TemporaryFolder>();
    write_checkpoint(folder_->path(), case_->attributes, type_named(case_->weights), 7);
    seqmix_layer* layer = nullptr;
    check(seqmix_layer_open(context_.get(), folder_->path().c_str(), nullptr, &layer), "open");
    bound_ = std::shared_ptr<seqmix_layer>(layer, seqmix_layer_release);
    plan_ = bound_;
}

void Model::read_slots() {
    Symbols symbols;
    for (const SymbolAttribute& pair : mixer_->symbols) {
        symbols[pair.symbol] = attribute(pair.attribute);
    }
    std::vector<seqmix_slot_info> infos;
    for (size_t i = 0; i < seqmix_layer_slot_count(plan_.get()); ++i) {
        seqmix_slot_info info{};
        info.struct_size = sizeof info;
        check(seqmix_layer_slot_info(plan_.get(), i, &info), "slot_info");
        const std::vector<std::string> dimensions = split(
            split(info.shape_text, '|').empty() ? std::string() : split(info.shape_text, '|')[0],
            ',');
        require(dimensions.size() == static_cast<size_t>(info.ndim),
                std::string(info.name) + ": shape_text and ndim disagree");
        for (size_t j = 0; j < dimensions.size(); ++j) {
            const std::string& name = dimensions[j];
            if (axis_named(name) == Axis::fixed &&
                std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
                name.find_first_of("+-") == std::string::npos) {
                symbols[name] = info.shape[j];
            }
        }
        infos.push_back(info);
    }
    for (const seqmix_slot_info& info : infos) {
        Slot slot;
        slot.number = info.slot;
        slot.role = info.role;
        slot.optional = (info.flags & SEQMIX_SLOT_OPTIONAL) != 0;
        slot.dtypes = info.dtypes;
        slot.name = info.name;
        int32_t alternative = 0;
        for (const SlotShape& choice : case_->alternatives) {
            if (slot.name == choice.slot) {
                alternative = choice.alternative;
            }
        }
        const std::vector<std::string> shapes = split(info.shape_text, '|');
        require(alternative == 0 || static_cast<size_t>(alternative) < shapes.size(),
                slot.name + " has no alternative shape " + std::to_string(alternative));
        const std::vector<std::string> dimensions =
            shapes.empty() ? std::vector<std::string>()
                           : split(shapes[static_cast<size_t>(alternative)], ',');
        for (size_t j = 0; j < dimensions.size(); ++j) {
            slot.axes.push_back(axis_named(dimensions[j]));
            if (slot.axes.back() != Axis::fixed) {
                slot.sizes.push_back(0);
                continue;
            }
            std::optional<int64_t> size = evaluate(dimensions[j], symbols);
            if (alternative == 0) {
                require(!size || *size == info.shape[j],
                        slot.name + ": shape and shape_text disagree");
                size = info.shape[j];
            }
            require(size.has_value(), slot.name + ": cannot tell the size " + dimensions[j] +
                                          "; name its attribute in cases.cpp (symbols)");
            slot.sizes.push_back(*size);
        }
        slots_.push_back(std::move(slot));
    }
    const auto known = [&](const char* name) {
        require(find(std::string(name)) != nullptr,
                std::string("cases.cpp names a slot that the layer does not have: ") + name);
    };
    for (const SlotRange& r : case_->ranges) known(r.slot);
    for (const SlotShape& s : case_->alternatives) known(s.slot);
}

const Slot* Model::find(int32_t number) const {
    for (const Slot& slot : slots_) {
        if (slot.number == number) {
            return &slot;
        }
    }
    return nullptr;
}

const Slot* Model::find(const std::string& name) const {
    for (const Slot& slot : slots_) {
        if (slot.name == name) {
            return &slot;
        }
    }
    return nullptr;
}

bool Model::absent(const std::string& slot) const {
    return std::any_of(case_->absent.begin(), case_->absent.end(),
                       [&](const char* name) { return slot == name; });
}

int64_t Model::attribute(const std::string& name) const {
    const char* text = nullptr;
    check(seqmix_layer_info(plan_.get(), &text), "layer_info");
    const json attributes = json::parse(text).at("attributes");
    require(attributes.contains(name), std::string(mixer_->type) + " has no attribute " + name);
    return attributes.at(name).get<int64_t>();
}

SlotRange Model::range(const std::string& slot, double low, double high) const {
    for (const std::vector<SlotRange>* list : {&case_->ranges, &mixer_->ranges}) {
        for (const SlotRange& range : *list) {
            if (slot == range.slot) {
                return range;
            }
        }
    }
    return {slot.c_str(), low, high};
}

void Model::bind(const ModelOptions& options) {
    if (options.weights != nullptr) {
        weights_ = *options.weights;
    } else {
        const Type stored = type_named(case_->weights);
        for (const Slot& slot : slots_) {
            if (slot.role != SEQMIX_ROLE_WEIGHT || absent(slot.name)) {
                continue;
            }
            const uint64_t seed = hash(slot.name, 11);
            const std::vector<int64_t> shape = slot.shape(0, 0, 0);
            const SlotRange drawn = range(slot.name, 0.0, 0.0);
            Values values;
            if (drawn.low < drawn.high) {
                values = random_values(shape, drawn, false, seed);
            } else {
                Buffer buffer(shape, Type::f32);
                const seqmix_arg arg{slot.number, 0, 0, 0, buffer.tensor()};
                check(seqmix_layer_init(plan_.get(), 5, &arg, 1), "init of " + slot.name);
                values = buffer.read();
                require_finite(values, "init of " + slot.name);
            }
            if ((slot.dtypes & bit_of(stored)) != 0) {
                for (double& value : values.data) {
                    value = round_to(stored, value);
                }
            }
            weights_[slot.number] = std::move(values);
        }
    }
    std::vector<seqmix_arg> args;
    for (const auto& [number, values] : weights_) {
        const Slot* slot = find(number);
        Type type = options.weight_type.value_or(type_named(case_->weights));
        if ((slot->dtypes & bit_of(type)) == 0) {
            type = Type::f32;
        }
        kept_.push_back(std::make_unique<Buffer>(values, type, options.layout, options.placement));
        args.push_back({number, 0, options.bind_flags, 0, kept_.back()->tensor()});
    }
    seqmix_layer* layer = nullptr;
    check(seqmix_layer_bind(plan_.get(), args.data(), args.size(), &layer), "bind");
    bound_ = std::shared_ptr<seqmix_layer>(layer, seqmix_layer_release);
    if (options.bind_flags == SEQMIX_BIND_COPY) {
        kept_.clear();
    }
}

SlotValues Model::inputs(int64_t batch, int64_t tokens, uint64_t seed, int64_t source) const {
    SlotValues result;
    for (const Slot& slot : slots_) {
        if (slot.role == SEQMIX_ROLE_INPUT && !absent(slot.name)) {
            result[slot.number] =
                random_values(slot.shape(batch, tokens, batch, source), range(slot.name, -1.0, 1.0),
                              slot.is_integer(), hash(slot.name, seed));
        }
    }
    return result;
}

SlotValues Model::states_in(int64_t rows, uint64_t seed) const {
    SlotValues result;
    for (const Slot& slot : slots_) {
        if (slot.role == SEQMIX_ROLE_STATE_IN && !absent(slot.name)) {
            result[slot.number] =
                random_values(slot.shape(rows, 0, rows), range(slot.name, -1.0, 1.0), false,
                              hash(slot.name, seed + 100));
        }
    }
    return result;
}

SlotValues Model::part(const SlotValues& inputs, int64_t row, int64_t rows, int64_t from,
                       int64_t count, int64_t source) const {
    SlotValues result;
    for (const auto& [number, values] : inputs) {
        const Slot* slot = find(number);
        result[number] = values.slice(slot->row_axis(), row, rows)
                             .slice(slot->time_axis(), from, count)
                             .slice(source < 0 ? -1 : slot->source_axis(), 0, source);
    }
    return result;
}

SlotValues Model::flipped(const SlotValues& inputs) const {
    SlotValues result;
    for (const auto& [number, values] : inputs) {
        result[number] = values.flipped(find(number)->time_axis());
    }
    return result;
}

// ------------------------------------------------------------------ calls

namespace {

int32_t ask(void* user, uint64_t done, uint64_t total) {
    return (*static_cast<const std::function<int32_t(uint64_t, uint64_t)>*>(user))(done, total);
}

Type pick(const Slot& slot, Type real) {
    if (slot.is_integer()) {
        return (slot.dtypes & SEQMIX_DTYPE_I64) != 0   ? Type::i64
               : (slot.dtypes & SEQMIX_DTYPE_I32) != 0 ? Type::i32
                                                       : Type::boolean;
    }
    return (slot.dtypes & bit_of(real)) != 0 ? real : Type::f32;
}

}  // namespace

SlotValues forward(const Model& model, seqmix_state* state, const SlotValues& inputs, int64_t batch,
                   int64_t tokens, const CallOptions& options) {
    const int64_t rows = options.rows >= 0 ? options.rows : batch;
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<seqmix_arg> args;
    std::map<std::string, const Buffer*> states_in;
    const auto add = [&](int32_t number, const Values& values, bool plain) {
        const Slot* slot = model.find(number);
        require(slot != nullptr, "no slot " + std::to_string(number));
        const bool is_state = slot->role == SEQMIX_ROLE_STATE_IN;
        Layout layout = plain ? Layout{} : options.in_layout;
        layout.repeat_axis0 = layout.repeat_axis0 && slot->row_axis() == 0;
        buffers.push_back(std::make_unique<Buffer>(values, pick(*slot, options.real_in), layout,
                                                   options.placement));
        args.push_back({number, 0, 0, 0, buffers.back()->tensor()});
        if (!is_state || !options.state_in_place) buffers.back()->make_read_only();
        if (is_state) {
            states_in[slot->name.substr(0, slot->name.size() - 3)] = buffers.back().get();
        }
    };
    for (const auto& [number, values] : inputs) {
        const bool state_in = model.find(number)->role == SEQMIX_ROLE_STATE_IN;
        add(number, values, state_in && options.state_in_place);
    }
    for (const auto& [number, values] : options.controls) {
        add(number, values, true);
    }
    std::map<int32_t, const Buffer*> outputs;
    for (const Slot& slot : model.slots()) {
        const bool state_out = slot.role == SEQMIX_ROLE_STATE_OUT;
        if ((slot.role != SEQMIX_ROLE_OUTPUT && !state_out) || model.absent(slot.name) ||
            options.skip_outputs.contains(slot.number)) {
            continue;
        }
        if (state_out && options.state_in_place) {
            const auto found = states_in.find(slot.name.substr(0, slot.name.size() - 4));
            if (found != states_in.end()) {
                args.push_back({slot.number, 0, 0, 0, found->second->tensor()});
                outputs[slot.number] = found->second;
                continue;
            }
        }
        buffers.push_back(std::make_unique<Buffer>(slot.shape(batch, tokens, rows),
                                                   pick(slot, options.real_out), options.out_layout,
                                                   options.placement, options.canary));
        args.push_back({slot.number, 0, 0, 0, buffers.back()->tensor()});
        outputs[slot.number] = buffers.back().get();
    }
    seqmix_forward_options raw{};
    raw.struct_size = sizeof raw;
    if (options.poll) {
        raw.poll = ask;
        raw.poll_user = const_cast<void*>(static_cast<const void*>(&options.poll));
    }
    const int64_t before = allocations();
    const seqmix_status status =
        seqmix_layer_forward(model.layer(), state, args.data(), args.size(), &raw);
    if (options.allocations != nullptr) {
        *options.allocations = allocations() - before;
    }
    if (options.status != nullptr) {
        *options.status = status;
    } else {
        check(status, "forward");
    }
    SlotValues result;
    for (const auto& [number, buffer] : outputs) {
        const std::string& name = model.find(number)->name;
        result[number] = buffer->read();
        buffer->require_gaps_untouched(name);
        if (status == SEQMIX_OK && options.canary == 0xff) {
            require_finite(result[number], name);
        }
    }
    return result;
}

// ------------------------------------------------------------------ streams

Stream::Stream(const Model& model, int64_t rows, int64_t snapshots) : model_(&model), rows_(rows) {
    if (model.facts().operation || !model.facts().stateful) {
        return;
    }
    seqmix_state_options options{};
    options.struct_size = sizeof options;
    options.batch = rows;
    options.snapshot_slots = snapshots;
    seqmix_state* state = nullptr;
    check(seqmix_state_create(model.layer(), &options, &state), "state_create");
    state_ = std::shared_ptr<seqmix_state>(state, seqmix_state_destroy);
}

Stream::Stream(const Model& model, int64_t rows, seqmix_state* state)
    : model_(&model), rows_(rows), state_(state, seqmix_state_destroy) {}

SlotValues Stream::run(const SlotValues& inputs, int64_t batch, int64_t tokens,
                       const CallOptions& options) {
    SlotValues all = inputs;
    all.insert(carry_.begin(), carry_.end());
    SlotValues outputs = forward(*model_, state_.get(), all, batch, tokens, options);
    for (const auto& [number, values] : outputs) {
        const Slot* out = model_->find(number);
        if (out->role == SEQMIX_ROLE_STATE_OUT) {
            const std::string base = out->name.substr(0, out->name.size() - 4);
            const Slot* in = model_->find(base + "_in");
            require(in != nullptr, out->name + " has no state in beside it");
            carry_[in->number] = values;
        }
    }
    return outputs;
}

namespace {

void collect(const seqmix_layer* layer, const seqmix_state* state, Type type, int32_t base,
             int64_t rows, SlotValues& result) {
    for (size_t i = 0; i < seqmix_layer_slot_count(layer); ++i) {
        seqmix_slot_info info{};
        info.struct_size = sizeof info;
        check(seqmix_layer_slot_info(layer, i, &info), "slot_info");
        if (info.role != SEQMIX_ROLE_STATE) {
            continue;
        }
        std::vector<int64_t> shape(info.shape, info.shape + info.ndim);
        if (!shape.empty() && shape[0] < 0) {
            shape[0] = rows;
        } else {
            shape.insert(shape.begin(), rows);
        }
        const Buffer buffer(shape, type);
        check(seqmix_state_get(state, info.slot, 0, buffer.tensor()),
              std::string("state_get of ") + info.name);
        result[base + info.slot] = buffer.read();
    }
}

}  // namespace

SlotValues Stream::state() const {
    if (!state_) {
        return carry_;
    }
    const Type type = model_->is_reference() ? Type::f64 : Type::f32;
    SlotValues result;
    const size_t children = seqmix_layer_child_count(model_->layer());
    if (children == 0) {
        collect(model_->layer(), state_.get(), type, 0, rows_, result);
    }
    for (size_t i = 0; i < children; ++i) {
        seqmix_layer* child = nullptr;
        check(seqmix_layer_child(model_->layer(), i, &child), "layer_child");
        const std::shared_ptr<seqmix_layer> owner(child, seqmix_layer_release);
        seqmix_state* view = nullptr;
        check(seqmix_state_child(state_.get(), i, &view), "state_child");
        const std::shared_ptr<seqmix_state> view_owner(view, seqmix_state_destroy);
        collect(child, view, type, static_cast<int32_t>(i + 1) * 1000, rows_, result);
    }
    return result;
}

int64_t Stream::position(int64_t row) const {
    int64_t position = -1;
    check(seqmix_state_position(state_.get(), row, &position), "position");
    return position;
}

std::vector<int64_t> Stream::positions() const {
    std::vector<int64_t> result;
    for (int64_t row = 0; state_ && row < rows_; ++row) {
        result.push_back(position(row));
    }
    return result;
}

Stream Stream::clone() const {
    Stream copy = *this;
    if (state_) {
        seqmix_state* state = nullptr;
        check(seqmix_state_clone(state_.get(), &state), "clone");
        copy.state_ = std::shared_ptr<seqmix_state>(state, seqmix_state_destroy);
    }
    return copy;
}

SlotValues run_in_pieces(Stream& stream, const Model& model, const SlotValues& inputs,
                         int64_t batch, int64_t tokens, const std::vector<int64_t>& cuts) {
    std::vector<int64_t> borders = {0};
    borders.insert(borders.end(), cuts.begin(), cuts.end());
    borders.push_back(tokens);
    SlotValues whole;
    for (const Slot& slot : model.slots()) {
        if (slot.role == SEQMIX_ROLE_OUTPUT && slot.time_axis() >= 0 && !model.absent(slot.name)) {
            whole[slot.number] = Values(slot.shape(batch, tokens, batch));
        }
    }
    const size_t pieces = borders.size() - 1;
    for (size_t i = 0; i < pieces; ++i) {
        const size_t piece = model.reverse() ? pieces - 1 - i : i;
        const int64_t from = borders[piece], count = borders[piece + 1] - from;
        const SlotValues outputs =
            stream.run(model.part(inputs, 0, batch, from, count), batch, count);
        for (const auto& [number, values] : outputs) {
            const Slot* slot = model.find(number);
            if (slot->time_axis() >= 0) {
                whole[number].paste(slot->time_axis(), from, values);
            } else if (slot->role == SEQMIX_ROLE_STATE_OUT || count > 0 ||
                       !whole.contains(number)) {
                whole[number] = values;
            }
        }
    }
    return whole;
}

namespace {

// Slot numbers of a stack's state are those of its children, which the stack does not name.
std::string name_of(const Model& model, int32_t number) {
    const Slot* slot = model.find(number);
    return slot != nullptr ? slot->name : "state " + std::to_string(number);
}

void require_keys(const SlotValues& got, const SlotValues& want, const std::string& what) {
    require(got.size() == want.size() &&
                std::equal(got.begin(), got.end(), want.begin(),
                           [](const auto& a, const auto& b) { return a.first == b.first; }),
            what + ": not the same set of tensors");
}

}  // namespace

void require_same(const Model& model, const SlotValues& got, const SlotValues& want,
                  const std::string& what) {
    require_keys(got, want, what);
    for (const auto& [number, values] : got) {
        require_same(values, want.at(number), what + ", " + name_of(model, number));
    }
}

void require_close(const Model& model, const SlotValues& got, const SlotValues& want,
                   double tolerance, const std::string& what) {
    require_keys(got, want, what);
    for (const auto& [number, values] : got) {
        require_close(values, want.at(number), tolerance, what + ", " + name_of(model, number));
    }
}

}  // namespace seqmix::conformance
