// Initial weights into the caller's tensors, and bound weights out of a layer.
#include "runtime/arguments.h"
#include "runtime/layer.h"
#include "runtime/tensor.h"

namespace seqmix {
namespace {

// Checks a weight tensor of the caller that is to be written.
Status read_weight_view(const Plan& plan, const Slot& slot, const seqmix_tensor& tensor,
                        View* view) {
    const char* type = plan.mixer->schema->type;
    SEQMIX_TRY(read_tensor(type, slot.name.c_str(), tensor, view));
    if (match_weight_shape(slot, view->dims()) < 0) {
        return fail(SEQMIX_ERR_SHAPE, type, ": tensor '", slot.name, "' shape ", view->dims(),
                    ", expected ", expected_shape(slot, 0));
    }
    if (overlaps_itself(*view)) {
        return fail(SEQMIX_ERR_LAYOUT, type, ": output '", slot.name,
                    "' has strides under which its elements overlap");
    }
    return Status();
}

}  // namespace

Status init_weights(const LayerCore& core, uint64_t seed, const seqmix_arg* args, size_t n) {
    const Plan& plan = *core.plan;
    const char* type = core.type();
    if (core.mixer().init == nullptr) {
        return fail(SEQMIX_ERR_UNSUPPORTED, type, ": the type has no initialisation");
    }
    // Everything is checked before anything is written.
    for (int pass = 0; pass < 2; ++pass) {
        for (size_t i = 0; i < n; ++i) {
            const Slot* slot = plan.find(args[i].slot);
            if (slot == nullptr || slot->role != Role::weight || args[i].index != 0) {
                return fail(SEQMIX_ERR_UNKNOWN_SLOT, type, ": no weight in slot ", args[i].slot,
                            ", index ", args[i].index);
            }
            if (args[i].tensor == nullptr) {
                return fail(SEQMIX_ERR_NULL_ARGUMENT, type, ": tensor '", slot->name, "' is NULL");
            }
            View view;
            SEQMIX_TRY(read_weight_view(plan, *slot, *args[i].tensor, &view));
            if (view.dtype != DType::f32 && view.dtype != DType::f64) {
                return fail(SEQMIX_ERR_DTYPE, type, ": tensor '", slot->name, "' is ",
                            dtype_name(view.dtype), ", expected f32 or f64");
            }
            if (pass == 1 && view.count > 0) {
                std::vector<double> values(static_cast<size_t>(view.count));
                Random random(seed, static_cast<uint64_t>(slot->slot));
                core.mixer().init(plan, *slot, random, values.data());
                write_dense(values.data(), view);
            }
        }
    }
    return Status();
}

Status get_weight(const LayerCore& core, int32_t slot_number, int32_t index,
                  const seqmix_tensor& tensor) {
    const char* type = core.type();
    const Slot* slot = core.plan->find(slot_number);
    if (slot == nullptr || slot->role != Role::weight) {
        return fail(SEQMIX_ERR_UNKNOWN_SLOT, type, ": no weight in slot ", slot_number);
    }
    const Weight weight =
        core.weights != nullptr ? core.weights->get(slot_number, index) : Weight();
    if (!weight) {
        return fail(SEQMIX_ERR_MISSING_TENSOR, type, ": the layer holds no tensor '", slot->name,
                    "'");
    }
    View view;
    SEQMIX_TRY(read_weight_view(*core.plan, *slot, tensor, &view));
    if (view.dtype == weight.dtype && weight.coding == Coding::plain) {
        write_bytes(static_cast<const std::byte*>(weight.data), view);  // bit for bit
        return Status();
    }
    if (view.dtype != DType::f32 && view.dtype != DType::f64) {
        return fail(SEQMIX_ERR_DTYPE, type, ": tensor '", slot->name, "' is ",
                    dtype_name(view.dtype), ", expected ", dtype_name(weight.dtype),
                    " as stored, f32 or f64");
    }
    std::vector<double> values(static_cast<size_t>(view.count));
    weight.read(0, view.count, values.data());
    write_dense(values.data(), view);
    return Status();
}

}  // namespace seqmix
