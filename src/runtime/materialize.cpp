// The mixing matrix of a layer, row by row of the batch, in double.
#include <algorithm>
#include <vector>

#include "runtime/layer.h"
#include "runtime/staging.h"

namespace seqmix {
namespace {

struct Range {
    int64_t first, count;
};

Status check_range(const char* type, const char* what, int64_t first, int64_t count, int64_t size,
                   Range* out) {
    if (first < 0 || count < 0 || first > size || count > size - first) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": ", what, " ", first, " and ", count,
                    " on, expected a part of ", size);
    }
    *out = {first, count == 0 ? size - first : count};
    return Status();
}

Status check_output(const char* type, const char* name, const seqmix_tensor* tensor,
                    std::vector<int64_t> shape, View* view) {
    if (tensor == nullptr) {
        return Status();
    }
    SEQMIX_TRY(read_tensor(type, name, *tensor, view));
    if (view->dtype != DType::f32 && view->dtype != DType::f64) {
        return fail(SEQMIX_ERR_DTYPE, type, ": tensor '", name, "' is ", dtype_name(view->dtype),
                    ", expected f32 or f64");
    }
    if (!std::equal(shape.begin(), shape.end(), view->shape, view->shape + view->ndim)) {
        return fail(SEQMIX_ERR_SHAPE, type, ": tensor '", name, "' shape ", view->dims(),
                    ", expected ", Dims{shape.data(), static_cast<int32_t>(shape.size())});
    }
    if (overlaps_itself(*view)) {
        return fail(SEQMIX_ERR_LAYOUT, type, ": output '", name,
                    "' has strides under which its elements overlap");
    }
    return Status();
}

// Turns an axis of a dense (outer, size, inner) array around.
void flip(std::vector<double>& values, int64_t outer, int64_t size, int64_t inner) {
    for (int64_t o = 0; o < outer; ++o) {
        for (int64_t i = 0; i < size / 2; ++i) {
            double* a = values.data() + (o * size + i) * inner;
            double* b = values.data() + (o * size + size - 1 - i) * inner;
            std::swap_ranges(a, a + inner, b);
        }
    }
}

// The inputs of one row, dense and in double, in order of processing.
std::vector<Matrix> read_row(const Plan& plan, const Arguments& args, int64_t row,
                             std::vector<std::vector<double>>& storage) {
    std::vector<Matrix> slots(static_cast<size_t>(plan.slot_limit()));
    for (size_t i = 0; i < plan.slots.size(); ++i) {
        const View& view = args.views[i];
        if (!view || plan.slots[i].role != Role::input) {
            continue;
        }
        const auto& shape = plan.slots[i].shapes[static_cast<size_t>(args.variants[i])];
        const bool token = slot_kind(shape) == SlotKind::token;
        const View part = !shape.empty() && shape[0] == kDimB ? sub_view(view, 1, row) : view;
        std::vector<double> values(static_cast<size_t>(part.count));
        read_dense(part, values.data());
        const int64_t width = slot_width(shape);
        if (token && plan.reverse) {
            flip(values, 1, args.time, width);
        }
        storage.push_back(std::move(values));
        slots[static_cast<size_t>(plan.slots[i].slot)] = {storage.back().data(), token ? width : 0,
                                                          args.variants[i]};
    }
    return slots;
}

}  // namespace

Status materialize(const seqmix_layer& layer, const seqmix_arg* args, size_t n,
                   const seqmix_materialize_options& options, const seqmix_tensor* M,
                   const seqmix_tensor* v, const seqmix_tensor* y_core) {
    const LayerCore& core = *layer.core;
    const Plan& plan = *core.plan;
    const char* type = core.type();
    const std::string_view further =
        core.mixer().schema->kinds != nullptr ? core.mixer().schema->kinds : std::string_view();
    const int64_t kinds = further.empty() ? 1 : 2 + std::count(further.begin(), further.end(), '|');
    if (core.mixer().materialize == nullptr || !plan.capabilities.materialize || options.kind < 0 ||
        options.kind >= kinds) {
        return fail(SEQMIX_ERR_UNSUPPORTED, type, ": no mixing matrix of kind ", options.kind);
    }
    if (core.bound == nullptr) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, type, ": the layer has no weights; bind it first");
    }
    // The call is as forward's but for its outputs, which are not asked for.
    Plan inputs = plan;
    std::erase_if(inputs.slots, [](const Slot& slot) {
        return slot.role == Role::output || slot.role == Role::state_in ||
               slot.role == Role::state_out || slot.role == Role::control;
    });
    Arguments call;
    SEQMIX_TRY(read_arguments(inputs, layer.real64(), args, n, &call));
    const LaneInfo info = core.mixer().lanes(plan);
    Range positions{}, lanes{};
    SEQMIX_TRY(check_range(type, "positions", options.first, options.count, call.time, &positions));
    SEQMIX_TRY(
        check_range(type, "lanes", options.lane_first, options.lane_count, info.lanes, &lanes));
    View m_view, v_view, y_view;
    const int64_t sources = call.source >= 0 ? call.source : call.time;
    SEQMIX_TRY(
        check_output(type, "M", M, {call.batch, lanes.count, positions.count, sources}, &m_view));
    SEQMIX_TRY(check_output(type, "v", v, {call.batch, lanes.count, sources, info.dv}, &v_view));
    SEQMIX_TRY(check_output(type, "y_core", y_core,
                            {call.batch, lanes.count, positions.count, info.dv}, &y_view));
    const auto size = [](int64_t a, int64_t b, int64_t c) {
        return static_cast<size_t>(a * b * c);
    };
    for (int64_t row = 0; row < call.batch; ++row) {
        std::vector<std::vector<double>> storage;
        storage.reserve(inputs.slots.size());
        const std::vector<Matrix> slots = read_row(inputs, call, row, storage);
        std::vector<double> matrix(size(lanes.count, positions.count, sources));
        std::vector<double> operand(size(lanes.count, sources, info.dv));
        std::vector<double> result(size(lanes.count, positions.count, info.dv));
        MaterializeCall one;
        one.tokens = call.time;
        one.sources = sources;
        one.kind = options.kind;
        one.slots = slots.data();
        one.first = plan.reverse ? call.time - positions.first - positions.count : positions.first;
        one.count = positions.count;
        one.lane_first = lanes.first;
        one.lane_count = lanes.count;
        one.matrix = matrix.data();
        one.operand = operand.data();
        one.core = result.data();
        core.mixer().materialize(*core.bound, one);
        if (plan.reverse) {
            flip(matrix, lanes.count, positions.count, call.time);
            flip(matrix, lanes.count * positions.count, call.time, 1);
            flip(operand, lanes.count, call.time, info.dv);
            flip(result, lanes.count, positions.count, info.dv);
        }
        if (m_view) {
            write_dense(matrix.data(), sub_view(m_view, 1, row));
        }
        if (v_view) {
            write_dense(operand.data(), sub_view(v_view, 1, row));
        }
        if (y_view) {
            write_dense(result.data(), sub_view(y_view, 1, row));
        }
    }
    return Status();
}

}  // namespace seqmix
