#include "runtime/layer.h"

#include "capi/config.h"
#include "capi/types.h"
#include "capi/wall.h"
#include "models/open.h"
#include "models/stack.h"
#include "runtime/options.h"
#include "runtime/state.h"

using namespace seqmix;

namespace {

seqmix_layer* wrap(Ref<seqmix_context> context, std::shared_ptr<const LayerCore> core) {
    const Allocator allocator = context->allocator;
    return allocator.create<seqmix_layer>(std::move(context), std::move(core));
}

Attributes attributes_of(const seqmix_config* config) {
    return config != nullptr ? config->attributes : Attributes();
}

Status fill_slot_info(const LayerCore& core, size_t i, seqmix_slot_info* info) {
    if (i >= core.plan->slots.size()) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, core.type(), ": slot number ", i,
                    " of the list, the layer has ", core.plan->slots.size());
    }
    const Slot& slot = core.plan->slots[i];
    seqmix_slot_info known{};
    known.slot = slot.slot;
    known.role = static_cast<uint32_t>(slot.role);
    known.flags = slot.optional ? SEQMIX_SLOT_OPTIONAL : 0u;
    if (core.weights != nullptr && core.weights->get(slot.slot)) {
        known.flags |= SEQMIX_SLOT_BOUND;
    }
    known.dtypes = slot.dtypes;
    known.ndim = static_cast<int32_t>(slot.shapes[0].size());
    std::copy(slot.shapes[0].begin(), slot.shapes[0].end(), known.shape);
    known.name = slot.name.c_str();
    known.shape_text = slot.shape_text.c_str();
    known.doc = slot.doc.c_str();
    // The caller's struct may be older (shorter) or newer; newer fields stay as they are.
    const uint32_t size = info->struct_size;
    if (size < sizeof(uint32_t)) {
        return fail(SEQMIX_ERR_VERSION, "seqmix_slot_info: struct_size is ", size, ", expected ",
                    sizeof(seqmix_slot_info));
    }
    const auto* bytes = reinterpret_cast<const unsigned char*>(info);
    for (size_t tail = sizeof known; tail < size; ++tail) {
        if (bytes[tail] != 0) {
            return fail(SEQMIX_ERR_VERSION, "seqmix_slot_info: struct_size is ", size,
                        ", this library knows ", sizeof known, " bytes and a later field is set");
        }
    }
    known.struct_size = size;
    std::memcpy(static_cast<void*>(info), &known, std::min<size_t>(size, sizeof known));
    return Status();
}

Status layer_bytes(const seqmix_layer& layer, int32_t kind, int64_t batch, int64_t tokens,
                   uint64_t* bytes) {
    const LayerCore& core = *layer.core;
    constexpr int64_t kMost = int64_t{1} << 40;
    if (batch < 0 || tokens < 0) {
        return fail(SEQMIX_ERR_INVALID_ARGUMENT, core.type(), ": bytes for ", batch, " rows and ",
                    tokens, " tokens, expected >= 0");
    }
    if (batch > kMost || tokens > kMost) {
        return fail(SEQMIX_ERR_LIMIT, core.type(), ": bytes for ", batch, " rows and ", tokens,
                    " tokens, expected at most ", kMost);
    }
    switch (kind) {
        case SEQMIX_BYTES_WEIGHTS: *bytes = core.weight_bytes(); return Status();
        case SEQMIX_BYTES_STATE:
            *bytes = core.mixer().schema->operation ? 0 : state_bytes(core, batch, layer.real64());
            return Status();
        case SEQMIX_BYTES_SCRATCH:
            *bytes = scratch_bytes(core, layer.real64(), layer.context->executor.workers(), batch,
                                   tokens);
            return Status();
        default:
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, core.type(), ": bytes of kind ", kind,
                        ", expected 0 to 2");
    }
}

}  // namespace

seqmix_status seqmix_layer_plan(seqmix_context* context, const char* type,
                                const seqmix_config* config, seqmix_layer** layer) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_layer_plan", context);
        SEQMIX_REQUIRE("seqmix_layer_plan", type);
        SEQMIX_REQUIRE("seqmix_layer_plan", layer);
        const Mixer* mixer = find_type(type);
        if (mixer == nullptr) {
            return fail(SEQMIX_ERR_UNKNOWN_TYPE, "no type '", type, "'");
        }
        std::shared_ptr<LayerCore> core;
        SEQMIX_TRY(plan_layer(*mixer, attributes_of(config), context->isa, "", &core));
        core->info = layer_info_json(*core, context->isa);
        *layer = wrap(Ref<seqmix_context>::share(context), std::move(core));
        return Status();
    });
}

seqmix_status seqmix_layer_init(const seqmix_layer* layer, uint64_t seed, const seqmix_arg* args,
                                size_t n) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_layer_init", layer);
        if (n > 0) {
            SEQMIX_REQUIRE("seqmix_layer_init", args);
        }
        return init_weights(*layer->core, seed, args, n);
    });
}

seqmix_status seqmix_layer_bind(const seqmix_layer* layer, const seqmix_arg* args, size_t n,
                                seqmix_layer** bound) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_layer_bind", layer);
        SEQMIX_REQUIRE("seqmix_layer_bind", bound);
        if (n > 0) {
            SEQMIX_REQUIRE("seqmix_layer_bind", args);
        }
        const LayerCore& core = *layer->core;
        if (core.bound != nullptr || core.weights != nullptr) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, core.type(), ": the layer is bound already");
        }
        const Allocator allocator = layer->context->allocator;
        auto store = std::make_shared<WeightStore>();
        for (size_t i = 0; i < n; ++i) {
            SEQMIX_TRY(add_weight(*core.plan, args[i], allocator, store.get()));
        }
        std::shared_ptr<LayerCore> made;
        SEQMIX_TRY(bind_layer(core, std::move(store), allocator, layer->context->isa,
                              layer->context->format, &made));
        *bound = wrap(layer->context, std::move(made));
        return Status();
    });
}

seqmix_status seqmix_layer_open(seqmix_context* context, const char* path,
                                const seqmix_config* options, seqmix_layer** layer) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_layer_open", context);
        SEQMIX_REQUIRE("seqmix_layer_open", path);
        SEQMIX_REQUIRE("seqmix_layer_open", layer);
        std::shared_ptr<const LayerCore> core;
        SEQMIX_TRY(open_model(path, attributes_of(options), context->allocator, context->isa,
                              context->format, &core));
        *layer = wrap(Ref<seqmix_context>::share(context), std::move(core));
        return Status();
    });
}

seqmix_status seqmix_checkpoint_convert(seqmix_context* context, const char* path,
                                        const seqmix_config* options, const char* to) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_checkpoint_convert", context);
        SEQMIX_REQUIRE("seqmix_checkpoint_convert", path);
        SEQMIX_REQUIRE("seqmix_checkpoint_convert", to);
        return convert_model(path, attributes_of(options), context->allocator, context->format, to);
    });
}

seqmix_layer* seqmix_layer_retain(seqmix_layer* layer) noexcept {
    return Ref<seqmix_layer>::share(layer).detach();
}

void seqmix_layer_release(seqmix_layer* layer) noexcept { Ref<seqmix_layer>::release(layer); }

const char* seqmix_layer_type(const seqmix_layer* layer) noexcept {
    return layer != nullptr ? layer->core->type() : nullptr;
}

seqmix_status seqmix_layer_info(const seqmix_layer* layer, const char** json) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_info", layer);
        SEQMIX_REQUIRE("seqmix_layer_info", json);
        *json = layer->core->info.c_str();
        return Status();
    });
}

size_t seqmix_layer_slot_count(const seqmix_layer* layer) noexcept {
    return layer != nullptr ? layer->core->plan->slots.size() : 0;
}

seqmix_status seqmix_layer_slot_info(const seqmix_layer* layer, size_t i,
                                     seqmix_slot_info* info) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_slot_info", layer);
        SEQMIX_REQUIRE("seqmix_layer_slot_info", info);
        return fill_slot_info(*layer->core, i, info);
    });
}

seqmix_status seqmix_layer_get_weight(const seqmix_layer* layer, int32_t slot, int32_t index,
                                      const seqmix_tensor* tensor) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_get_weight", layer);
        SEQMIX_REQUIRE("seqmix_layer_get_weight", tensor);
        return get_weight(*layer->core, slot, index, *tensor);
    });
}

seqmix_status seqmix_layer_bytes(const seqmix_layer* layer, int32_t kind, int64_t batch,
                                 int64_t tokens, uint64_t* bytes) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_bytes", layer);
        SEQMIX_REQUIRE("seqmix_layer_bytes", bytes);
        return layer_bytes(*layer, kind, batch, tokens, bytes);
    });
}

const char* seqmix_layer_kernel_name(const seqmix_layer* layer) noexcept {
    return layer != nullptr && layer->core->bound != nullptr ? layer->core->bound->kernel_name
                                                             : nullptr;
}

seqmix_status seqmix_layer_prepare(const seqmix_layer* layer, int64_t max_batch, int64_t max_tokens,
                                   int64_t concurrent_calls) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_prepare", layer);
        return prepare(*layer, max_batch, max_tokens, concurrent_calls);
    });
}

size_t seqmix_layer_child_count(const seqmix_layer* layer) noexcept {
    return layer != nullptr ? layer->core->children.size() : 0;
}

seqmix_status seqmix_layer_child(const seqmix_layer* layer, size_t i,
                                 seqmix_layer** child) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_child", layer);
        SEQMIX_REQUIRE("seqmix_layer_child", child);
        if (i >= layer->core->children.size()) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, layer->core->type(), ": child ", i,
                        ", the layer has ", layer->core->children.size());
        }
        *child = wrap(layer->context, layer->core->children[i]);
        return Status();
    });
}

seqmix_status seqmix_layer_forward(const seqmix_layer* layer, seqmix_state* state,
                                   const seqmix_arg* args, size_t n,
                                   const seqmix_forward_options* options) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_layer_forward", layer);
        return forward(*layer, state, args, n, options);
    });
}

seqmix_status seqmix_layer_materialize(const seqmix_layer* layer, const seqmix_state* /*state*/,
                                       const seqmix_arg* args, size_t n,
                                       const seqmix_materialize_options* options,
                                       const seqmix_tensor* M, const seqmix_tensor* v,
                                       const seqmix_tensor* y_core) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_layer_materialize", layer);
        seqmix_materialize_options known{};
        SEQMIX_TRY(read_options(options, "seqmix_materialize_options", &known));
        return materialize(*layer, args, n, known, M, v, y_core);
    });
}
