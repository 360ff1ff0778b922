#include "models/open.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "models/formats/converted.h"
#include "models/stack.h"
#include "runtime/registry.h"

namespace seqmix {
namespace {

// What is not of opening itself is the scheme's.
Status read_options(const Attributes& given, PlanOptions* out) {
    for (const auto& [name, value] : given) {
        const auto* text = std::get_if<std::string>(&value);
        if (name == "lenient") {
            const auto* flag = std::get_if<bool>(&value);
            if (flag == nullptr) {
                return fail(SEQMIX_ERR_ATTRIBUTE_TYPE,
                            "open: option 'lenient' has another type, expected bool");
            }
            out->lenient = *flag;
        } else if (name == "scheme") {
            if (text == nullptr) {
                return fail(SEQMIX_ERR_ATTRIBUTE_TYPE,
                            "open: option 'scheme' has another type, expected str");
            }
            out->scheme = *text;
        } else {
            out->scheme_options.set(name, value);
        }
    }
    return Status();
}

// Packed values as f32, in memory of the store.
void unpack(Allocator allocator, WeightStore::Entry* entry) {
    Weight& weight = entry->weight;
    const int64_t count = weight.count();
    Array<std::byte> values(count * static_cast<int64_t>(sizeof(float)), allocator);
    weight.read(0, count, reinterpret_cast<float*>(values.data()));
    entry->copy = std::move(values);
    weight = {entry->copy.data(), DType::f32, std::move(weight.shape)};
}

// (rows, columns) of any stored type as (columns, rows), in memory of the store.
void transpose(Allocator allocator, WeightStore::Entry* entry) {
    if (entry->weight.coding != Coding::plain) {
        WeightStore::Entry values{0, 0, entry->weight, {}};
        unpack(allocator, &values);
        entry->weight = values.weight;
        transpose(allocator, entry);
        return;
    }
    Weight& weight = entry->weight;
    const int64_t rows = weight.shape[0], columns = weight.shape[1];
    const auto size = static_cast<size_t>(dtype_size(weight.dtype));
    entry->copy = Array<std::byte>(rows * columns * static_cast<int64_t>(size), allocator);
    const auto* from = static_cast<const std::byte*>(weight.data);
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) {
            std::memcpy(entry->copy.data() + static_cast<size_t>(c * rows + r) * size,
                        from + static_cast<size_t>(r * columns + c) * size, size);
        }
    }
    weight.data = entry->copy.data();
    weight.shape = {columns, rows};
}

// w of -exp(w), in double: exp(w) is the stored value again. f32, which is what there is, stays where it
// lies.
Status log_of_negative(const std::string& name, Allocator allocator, WeightStore::Entry* entry) {
    Weight& weight = entry->weight;
    if (weight.coding != Coding::plain || weight.dtype != DType::f32) {
        unpack(allocator, entry);
    }
    for (int64_t first = 0, count = weight.count(); first < count;) {
        float values[256];
        const int64_t n = std::min<int64_t>(count - first, std::ssize(values));
        weight.read(first, n, values);
        for (int64_t i = 0; i < n; ++i) {
            if (!(values[i] < 0) || !std::isfinite(values[i])) {
                return fail(SEQMIX_ERR_BAD_FORMAT, "open: tensor '", name, "' holds ", values[i],
                            " at ", first + i, ", expected -exp(A_log), below 0");
            }
        }
        first += n;
    }
    weight.dtype = DType::f64;
    weight.coding = Coding::minus_exp;
    return Status();
}

Status add_tensor(const Plan& plan, const WeightRef& ref, const Checkpoint& checkpoint,
                  Allocator allocator, WeightStore* store) {
    const Slot* slot = plan.find(std::string_view(ref.slot));
    const auto found = checkpoint.tensors.find(ref.tensor);
    if (slot == nullptr || found == checkpoint.tensors.end()) {
        return fail(SEQMIX_ERR_INTERNAL, "open: tensor '", ref.tensor, "' for slot '", ref.slot,
                    "' of a ", plan.mixer->schema->type);
    }
    WeightStore::Entry entry{slot->slot, 0, stored_weight(found->second), {}};
    if (!ref.reshape.empty()) {
        entry.weight.shape = ref.reshape;
    }
    if ((slot->dtypes & dtype_bit(entry.weight.dtype)) == 0) {
        return fail(SEQMIX_ERR_DTYPE, "open: tensor '", ref.tensor, "' is ",
                    dtype_name(entry.weight.dtype), ", expected f32, f64, f16 or bf16");
    }
    // A tensor that is turned already is what the slot wants.
    if (ref.transposed != found->second.turned && entry.weight.shape.size() == 2) {
        transpose(allocator, &entry);
    }
    if (ref.log_of_negative) {
        SEQMIX_TRY(log_of_negative(ref.tensor, allocator, &entry));
    }
    const Dims shape{entry.weight.shape.data(), static_cast<int32_t>(entry.weight.shape.size())};
    if (match_weight_shape(*slot, shape) < 0) {
        return fail(SEQMIX_ERR_SHAPE, "open: tensor '", ref.tensor, "' shape ", shape,
                    ", expected ", slot->shape_text, " as ",
                    Dims{slot->shapes[0].data(), static_cast<int32_t>(slot->shapes[0].size())});
    }
    store->entries.push_back(std::move(entry));
    return Status();
}

// Whether a matrix is used where it lies.
bool in_format(const StoredTensor& tensor, WeightFormat format) {
    switch (format) {
        case WeightFormat::stored: return true;
        case WeightFormat::bf16: return tensor.dtype == DType::bf16;
        case WeightFormat::int8: return tensor.coding == Coding::i8_rows;
    }
    return true;
}

// Tensors that layers hold converted need not stay in memory; what still reads one (an embedding its
// rows) has its pages read again.
void let_go(const ChildSpec& spec, const Checkpoint& checkpoint, WeightFormat format) {
    for (const WeightRef& ref : spec.weights) {
        const StoredTensor& tensor = checkpoint.tensors.find(ref.tensor)->second;
        if (in_format(tensor, format)) continue;
        const auto begin = reinterpret_cast<uintptr_t>(tensor.data);
        for (const auto& file : checkpoint.files) {
            const auto base = reinterpret_cast<uintptr_t>(file->data());
            if (begin >= base && begin - base < file->size()) {
                file->advise(MappedFile::Advice::unneeded, begin - base, tensor.bytes);
            }
        }
    }
}

Status make_child(const ChildSpec& spec, const Checkpoint& checkpoint, Allocator allocator, Isa isa,
                  WeightFormat format, std::shared_ptr<const LayerCore>* out) {
    std::shared_ptr<LayerCore> planned, core;
    std::shared_ptr<WeightStore> store;
    SEQMIX_TRY(load_child(spec, checkpoint, allocator, isa, &planned, &store));
    if (spec.missing.empty()) {
        SEQMIX_TRY(bind_layer(*planned, std::move(store), allocator, isa, format, &core));
        if (isa != Isa::reference) {
            let_go(spec, checkpoint, format);
        }
    } else {
        core = std::make_shared<LayerCore>(*planned);
        core->weights = std::move(store);
        core->missing = "tensor '" + spec.missing.front() + "' is missing from the checkpoint";
        core->info = layer_info_json(*core, isa);
    }
    *out = std::move(core);
    return Status();
}

std::string stack_info(const LayerCore& core, const StackSpec& spec, const Checkpoint& checkpoint,
                       Isa isa) {
    JsonWriter out;
    out.begin_object();
    write_layer_info(core, isa, out);
    out.member("format", spec.format);
    out.member("scheme", spec.scheme);
    write_attributes(spec.attributes, out);
    out.member("file_bytes", checkpoint.bytes);
    out.member("missing", spec.missing);
    out.member("unexpected", spec.unexpected);
    out.member("ignored", spec.ignored);
    return out.end_object().text();
}

}  // namespace

Weight stored_weight(const StoredTensor& tensor) {
    Weight weight{tensor.data, tensor.dtype, tensor.shape, tensor.coding, tensor.factors};
    if (tensor.turned) {
        std::swap(weight.shape[0], weight.shape[1]);
    }
    weight.row = weight.shape.empty() ? 1 : weight.shape.back();
    return weight;
}

Status read_model(const std::string& path, const Attributes& given, Checkpoint* checkpoint,
                  StackSpec* spec) {
    PlanOptions options;
    SEQMIX_TRY(read_options(given, &options));
    SEQMIX_TRY(open_checkpoint(path, *checkpoint));
    return plan_stack(*checkpoint, options, *spec);
}

Status load_child(const ChildSpec& spec, const Checkpoint& checkpoint, Allocator allocator, Isa isa,
                  std::shared_ptr<LayerCore>* planned, std::shared_ptr<WeightStore>* store) {
    const Mixer* mixer = find_model_type(spec.type);
    if (mixer == nullptr) {
        mixer = find_mixer(spec.type);
    }
    if (mixer == nullptr) {
        return fail(SEQMIX_ERR_INTERNAL, "open: no type '", spec.type, "'");
    }
    SEQMIX_TRY(plan_layer(*mixer, spec.attributes, isa, spec.role, planned));
    *store = std::make_shared<WeightStore>();
    (*store)->keep.assign(checkpoint.files.begin(), checkpoint.files.end());
    (*store)->keep.insert((*store)->keep.end(), checkpoint.copies.begin(), checkpoint.copies.end());
    for (const WeightRef& ref : spec.weights) {
        SEQMIX_TRY(add_tensor(*(*planned)->plan, ref, checkpoint, allocator, store->get()));
    }
    return Status();
}

Status open_model(const std::string& path, const Attributes& given, Allocator allocator, Isa isa,
                  WeightFormat format, std::shared_ptr<const LayerCore>* out) {
    Checkpoint checkpoint;
    StackSpec spec;
    SEQMIX_TRY(read_model(path, given, &checkpoint, &spec));
    if (format == WeightFormat::stored) {
        format = checkpoint.matrices;
    }
    std::vector<std::shared_ptr<const LayerCore>> children;
    std::string missing;
    for (const ChildSpec& child : spec.children) {
        std::shared_ptr<const LayerCore> core;
        SEQMIX_TRY(make_child(child, checkpoint, allocator, isa, format, &core));
        if (!core->missing.empty() && missing.empty()) {
            missing = "tensor '" +
                      (spec.missing.empty() ? std::string("?") : spec.missing.front()) +
                      "' is missing from the checkpoint";
        }
        children.push_back(std::move(core));
    }
    std::shared_ptr<const LayerCore> stack;
    SEQMIX_TRY(make_stack(spec, std::move(children), std::move(missing), isa, &stack));
    auto core = std::make_shared<LayerCore>(*stack);
    core->info = stack_info(*core, spec, checkpoint, isa);
    *out = std::move(core);
    return Status();
}

}  // namespace seqmix
