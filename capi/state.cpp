#include "runtime/state.h"

#include "capi/wall.h"
#include "runtime/options.h"

using namespace seqmix;

seqmix_status seqmix_state_create(const seqmix_layer* layer, const seqmix_state_options* options,
                                  seqmix_state** state) noexcept {
    return guard([&]() -> Status {
        SEQMIX_REQUIRE("seqmix_state_create", layer);
        SEQMIX_REQUIRE("seqmix_state_create", state);
        seqmix_state_options known{};
        known.batch = 1;
        SEQMIX_TRY(read_options(options, "seqmix_state_options", &known));
        SEQMIX_TRY(
            check_flags(known.flags, SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS, "seqmix_state_options"));
        if (known.capacity_tokens < 0 || known.capacity_memory < 0) {
            return fail(SEQMIX_ERR_INVALID_ARGUMENT, layer->core->type(),
                        ": a state with a capacity below 0");
        }
        return state_create(*layer, known.batch, known.snapshot_slots, known.capacity_tokens,
                            state);
    });
}

seqmix_status seqmix_state_clone(const seqmix_state* state, seqmix_state** copy) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_clone", state);
        SEQMIX_REQUIRE("seqmix_state_clone", copy);
        return state_clone(*state, copy);
    });
}

void seqmix_state_destroy(seqmix_state* state) noexcept {
    if (state != nullptr) {
        const Allocator allocator = state->own_allocator();
        allocator.destroy(state);
    }
}

seqmix_status seqmix_state_reset(seqmix_state* state, int64_t row) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_reset", state);
        return state_reset(*state, row);
    });
}

seqmix_status seqmix_state_position(const seqmix_state* state, int64_t row,
                                    int64_t* position) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_position", state);
        SEQMIX_REQUIRE("seqmix_state_position", position);
        return state_position(*state, row, position);
    });
}

uint64_t seqmix_state_bytes(const seqmix_state* state) noexcept {
    return state != nullptr ? state_bytes(*state) : 0;
}

seqmix_status seqmix_state_copy_row(seqmix_state* dst, int64_t i, const seqmix_state* src,
                                    int64_t j) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_copy_row", dst);
        SEQMIX_REQUIRE("seqmix_state_copy_row", src);
        return state_copy_row(*dst, i, *src, j);
    });
}

seqmix_status seqmix_state_get(const seqmix_state* state, int32_t slot, int32_t index,
                               const seqmix_tensor* tensor) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_get", state);
        SEQMIX_REQUIRE("seqmix_state_get", tensor);
        return state_get(*state, slot, index, *tensor);
    });
}

seqmix_status seqmix_state_set(seqmix_state* state, int32_t slot, int32_t index,
                               const seqmix_tensor* tensor) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_set", state);
        SEQMIX_REQUIRE("seqmix_state_set", tensor);
        return state_set(*state, slot, index, *tensor);
    });
}

seqmix_status seqmix_state_child(const seqmix_state* state, size_t i,
                                 seqmix_state** view) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_child", state);
        SEQMIX_REQUIRE("seqmix_state_child", view);
        return state_child(*state, i, view);
    });
}

seqmix_status seqmix_state_save(const seqmix_state* state, void* buf, size_t cap,
                                size_t* needed) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_save", state);
        SEQMIX_REQUIRE("seqmix_state_save", needed);
        if (cap > 0) {
            SEQMIX_REQUIRE("seqmix_state_save", buf);
        }
        return state_save(*state, buf, cap, needed);
    });
}

seqmix_status seqmix_state_load(const seqmix_layer* layer, const void* buf, size_t n,
                                const seqmix_state_options* options,
                                seqmix_state** state) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_load", layer);
        SEQMIX_REQUIRE("seqmix_state_load", state);
        if (n > 0) {
            SEQMIX_REQUIRE("seqmix_state_load", buf);
        }
        return state_load(*layer, buf, n, options, state);
    });
}

seqmix_status seqmix_state_snapshot(seqmix_state* state, int64_t row, int64_t* id) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_snapshot", state);
        SEQMIX_REQUIRE("seqmix_state_snapshot", id);
        return state_snapshot(*state, row, id);
    });
}

seqmix_status seqmix_state_rollback(seqmix_state* state, int64_t row, int64_t id) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_rollback", state);
        return state_rollback(*state, row, id);
    });
}

seqmix_status seqmix_state_drop(seqmix_state* state, int64_t id) noexcept {
    return guard([&] {
        SEQMIX_REQUIRE("seqmix_state_drop", state);
        return state_drop(*state, id);
    });
}
