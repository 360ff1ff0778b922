/* Structures of other versions: programs built against an older header pass smaller ones, of which no
 * byte behind struct_size may be read or written; programs built against a newer header pass larger
 * ones, whose unknown tail must be zero, else SEQMIX_ERR_VERSION.
 *
 * Every structure lies at the very end of a page that is followed by one without access, so a read or
 * write behind it ends the test with a fault that names the structure and the size. */
#define _GNU_SOURCE
#include "abi_test.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned char* guard; /* the first byte without access */
static char now[128];        /* what is being tried, for the fault handler */

static void on_fault(int number) {
    static const char text[] = "fault: the library touches bytes behind struct_size: ";
    ssize_t unused = write(1, text, sizeof text - 1);
    unused = write(1, now, strlen(now));
    unused = write(1, "\n", 1);
    (void)unused;
    _exit(number == SIGSEGV ? 2 : 3);
}

/* The bytes of `from` (zeros behind its `known`), `size` of them, ending at the guard page. */
static void* place(const char* what, const void* from, size_t known, size_t size) {
    unsigned char* at = guard - size;
    memset(guard - 4096, 0xEE, 4096);
    memset(at, 0, size);
    memcpy(at, from, size < known ? size : known);
    *(uint32_t*)(void*)at = (uint32_t)size; /* sizes are multiples of 8: aligned */
    snprintf(now, sizeof now, "%s with struct_size %zu", what, size);
    return at;
}

/* One function that takes one structure. Returns the status; undoes what it did. */
typedef seqmix_status (*attempt)(const void* structure);

static seqmix_context* context;
static seqmix_layer *mamba, *bound_op;
static seqmix_state* state;
static call* io;
static void* blob;
static size_t blob_size;

static seqmix_status try_context(const void* options) {
    seqmix_context* made = NULL;
    const seqmix_status status =
        seqmix_context_create((const seqmix_context_options*)options, &made);
    CHECK((status == SEQMIX_OK) == (made != NULL));
    seqmix_context_release(made);
    return status;
}

static seqmix_status try_state_create(const void* options) {
    seqmix_state* made = NULL;
    const seqmix_status status =
        seqmix_state_create(mamba, (const seqmix_state_options*)options, &made);
    CHECK((status == SEQMIX_OK) == (made != NULL));
    seqmix_state_destroy(made);
    return status;
}

static seqmix_status try_state_load(const void* options) {
    seqmix_state* made = NULL;
    const seqmix_status status =
        seqmix_state_load(mamba, blob, blob_size, (const seqmix_state_options*)options, &made);
    CHECK((status == SEQMIX_OK) == (made != NULL));
    seqmix_state_destroy(made);
    return status;
}

static seqmix_status try_forward(const void* options) {
    int64_t before = 0, after = 0;
    seqmix_status status;
    REQUIRE_OK(seqmix_state_position(state, 0, &before));
    status =
        seqmix_layer_forward(mamba, state, io->args, io->n, (const seqmix_forward_options*)options);
    REQUIRE_OK(seqmix_state_position(state, 0, &after));
    CHECK(after - before == (status == SEQMIX_OK ? 3 : 0)); /* a refused call consumes nothing */
    return status;
}

static call* op_io;

/* Without any output asked for: the options are all that can be wrong. */
static seqmix_status try_materialize(const void* options) {
    return seqmix_layer_materialize(bound_op, NULL, op_io->args, op_io->n,
                                    (const seqmix_materialize_options*)options, NULL, NULL, NULL);
}

/* Smaller sizes, every 8 bytes from `least` on, and larger ones. `expected` is what
 * a structure of the known size gives. */
static void sizes(const char* what, attempt function, const void* options, size_t known,
                  size_t least) {
    size_t size;
    const seqmix_status expected = function(place(what, options, known, known));
    if (expected != SEQMIX_OK) {
        printf("%s of the known size gives %s: %s\n", what, seqmix_status_name(expected),
               seqmix_last_error());
        ++failures;
        return;
    }
    for (size = least; size < known; size += 8) {
        const seqmix_status status = function(place(what, options, known, size));
        if (status != SEQMIX_OK) {
            printf("%s: gave %s (%s), expected SEQMIX_OK\n", now, seqmix_status_name(status),
                   seqmix_last_error());
            ++failures;
        }
    }
    for (size = known + 8; size <= known + 2048; size += size < known + 64 ? 8 : 408) {
        unsigned char* at = (unsigned char*)place(what, options, known, size);
        seqmix_status status = function(at);
        if (status != SEQMIX_OK) {
            printf("%s, zero tail: gave %s (%s), expected SEQMIX_OK\n", now,
                   seqmix_status_name(status), seqmix_last_error());
            ++failures;
        }
        at = (unsigned char*)place(what, options, known, size);
        at[size - 1] = 1; /* the last byte of the tail */
        status = function(at);
        if (status != SEQMIX_ERR_VERSION) {
            printf("%s, last byte set: gave %s, expected SEQMIX_ERR_VERSION\n", now,
                   seqmix_status_name(status));
            ++failures;
        }
        at = (unsigned char*)place(what, options, known, size);
        at[known] = 0x80; /* the first one */
        status = function(at);
        if (status != SEQMIX_ERR_VERSION) {
            printf("%s, first unknown byte set: gave %s, expected SEQMIX_ERR_VERSION\n", now,
                   seqmix_status_name(status));
            ++failures;
        }
    }
    /* struct_size forgotten: garbage in, an error out, whatever the rest says. */
    {
        unsigned char* at = (unsigned char*)place(what, options, known, known);
        *(uint32_t*)(void*)at = 0;
        snprintf(now, sizeof now, "%s with struct_size 0", what);
        CHECK(function(at) != SEQMIX_OK);
    }
}

/* slot_info is written: nothing behind struct_size, and what fits is what the whole one says. */
static void slot_infos(void) {
    const size_t known = sizeof(seqmix_slot_info);
    seqmix_slot_info whole;
    size_t size;
    memset(&whole, 0, sizeof whole);
    whole.struct_size = sizeof whole;
    REQUIRE_OK(seqmix_layer_slot_info(mamba, 0, &whole));
    for (size = 8; size <= known; size += 8) {
        unsigned char before[64];
        unsigned char* at = (unsigned char*)place("slot_info", &whole, 4, size);
        memcpy(before, at - sizeof before, sizeof before);
        CHECK_STATUS(seqmix_layer_slot_info(mamba, 0, (seqmix_slot_info*)(void*)at), SEQMIX_OK);
        CHECK(*(uint32_t*)(void*)at == size); /* the caller's size stays */
        if (memcmp(at + 4, (unsigned char*)&whole + 4, size - 4) != 0) {
            printf("%s: the fields differ from those of the whole structure\n", now);
            ++failures;
        }
        CHECK(memcmp(before, at - sizeof before, sizeof before) == 0);
    }
    for (size = known + 8; size <= known + 512; size += 72) {
        unsigned char* at = (unsigned char*)place("slot_info", &whole, 4, size);
        size_t i, nonzero = 0;
        CHECK_STATUS(seqmix_layer_slot_info(mamba, 0, (seqmix_slot_info*)(void*)at), SEQMIX_OK);
        CHECK(memcmp(at + 4, (unsigned char*)&whole + 4, known - 4) == 0);
        for (i = known; i < size; ++i) {
            nonzero += at[i] != 0;
        }
        CHECK(nonzero == 0);
        at = (unsigned char*)place("slot_info", &whole, 4, size);
        at[size - 1] = 1;
        CHECK_STATUS(seqmix_layer_slot_info(mamba, 0, (seqmix_slot_info*)(void*)at),
                     SEQMIX_ERR_VERSION);
    }
    {
        seqmix_slot_info forgotten;
        memset(&forgotten, 0, sizeof forgotten);
        CHECK(seqmix_layer_slot_info(mamba, 0, &forgotten) != SEQMIX_OK);
    }
}

/* The header's version in the context's options: another ABI major is refused, 0 skips the check. */
static void versions(void) {
    char text[32];
    seqmix_context_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.threads = 1;
    CHECK_STATUS(try_context(&options), SEQMIX_OK);
    options.version = SEQMIX_VERSION;
    CHECK_STATUS(try_context(&options), SEQMIX_OK);
    options.version = (uint32_t)(SEQMIX_VERSION_MAJOR + 1) << 16;
    CHECK_STATUS(try_context(&options), SEQMIX_ERR_VERSION);
    /* The message names both. */
    snprintf(text, sizeof text, "%d.", SEQMIX_VERSION_MAJOR + 1);
    CHECK(strstr(seqmix_last_error(), text) != NULL);
    snprintf(text, sizeof text, "%d.%d", SEQMIX_VERSION_MAJOR, SEQMIX_VERSION_MINOR);
    CHECK(strstr(seqmix_last_error(), text) != NULL);
}

int main(void) {
    seqmix_context_options context_options;
    seqmix_state_options state_options;
    seqmix_forward_options forward_options;
    seqmix_materialize_options materialize_options;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char* memory = (unsigned char*)mmap(NULL, 3 * page, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED && page >= 4096);
    guard = memory + 2 * page;
    REQUIRE(mprotect(guard, page, PROT_NONE) == 0);
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);

    context = make_context(NULL, 1);
    REQUIRE_OK(make_mamba(context, 8, &mamba));
    REQUIRE_OK(make_scan(context, 4, 4, &bound_op));
    REQUIRE_OK(seqmix_state_create(mamba, NULL, &state));
    io = call_make(mamba, ROLES_CALL, 1, 3, 1);
    op_io = call_make(bound_op, 1u << SEQMIX_ROLE_INPUT, 1, 3, 2);
    CHECK(seqmix_state_save(state, NULL, 0, &blob_size) == SEQMIX_ERR_BUFFER_TOO_SMALL);
    blob = malloc(blob_size);
    REQUIRE_OK(seqmix_state_save(state, blob, blob_size, &blob_size));

    memset(&context_options, 0, sizeof context_options);
    context_options.version = SEQMIX_VERSION;
    context_options.threads = 1;
    context_options.isa = "generic";
    sizes("context_options", try_context, &context_options, sizeof context_options, 8);
    versions();

    memset(&state_options, 0, sizeof state_options);
    state_options.batch = 1;
    state_options.snapshot_slots = 2;
    sizes("state_options (create)", try_state_create, &state_options, sizeof state_options, 16);
    sizes("state_options (load)", try_state_load, &state_options, sizeof state_options, 16);

    memset(&forward_options, 0, sizeof forward_options);
    sizes("forward_options", try_forward, &forward_options, sizeof forward_options, 8);
    forward_options.struct_size = sizeof forward_options;
    forward_options.reserved = 1; /* a flag of the future */
    CHECK(try_forward(&forward_options) != SEQMIX_OK);

    memset(&materialize_options, 0, sizeof materialize_options);
    sizes("materialize_options", try_materialize, &materialize_options, sizeof materialize_options,
          8);

    slot_infos();

    free(blob);
    call_free(io);
    call_free(op_io);
    seqmix_state_destroy(state);
    seqmix_layer_release(mamba);
    seqmix_layer_release(bound_op);
    seqmix_context_release(context);
    return finish();
}
