/* A child made by fork can go on with the context, layers and states of its parent: worker threads do
 * not exist in it, so the library starts its own again. The numbers are the parent's, bit for bit.
 *
 * usage: fork [MODEL] */
#define _GNU_SOURCE
#include "abi_test.h"

#include <sys/wait.h>
#include <unistd.h>

static int run_child(const seqmix_layer* layer, seqmix_state* state, const seqmix_arg* args,
                     size_t n, const array* y, const void* expected) {
    const seqmix_status status = seqmix_layer_forward(layer, state, args, n, NULL);
    if (status != SEQMIX_OK) {
        printf("in the child: %s: %s\n", seqmix_status_name(status), seqmix_last_error());
        return 1;
    }
    if (memcmp(y->data, expected, y->bytes) != 0) {
        printf("in the child: other numbers\n");
        return 1;
    }
    return 0;
}

/* `state` and `twin` are at the same position; the parent runs `twin` and then forks. */
static void fork_and_compare(const seqmix_layer* layer, seqmix_state* state, seqmix_state* twin,
                             const seqmix_arg* args, size_t n, const array* y) {
    void* expected = malloc(y->bytes);
    int round;
    for (round = 0; round < 2; ++round) { /* the second child is forked after the first has ended */
        pid_t child;
        int how = 0;
        REQUIRE_OK(seqmix_state_copy_row(twin, 0, state, 0));
        REQUIRE_OK(seqmix_layer_forward(layer, twin, args, n, NULL));
        memcpy(expected, y->data, y->bytes);
        memset(y->data, 0, y->bytes);
        fflush(stdout);
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            seqmix_layer* keep = seqmix_layer_retain((seqmix_layer*)(size_t)layer);
            int failed = run_child(layer, state, args, n, y, expected);
            seqmix_layer_release(keep);
            fflush(stdout);
            _exit(failed);
        }
        REQUIRE(waitpid(child, &how, 0) == child);
        if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) {
            printf("the child ended with status %#x\n", (unsigned)how);
            ++failures;
        }
        /* The parent's pool is as it was. */
        CHECK_STATUS(seqmix_layer_forward(layer, state, args, n, NULL), SEQMIX_OK);
        CHECK(memcmp(y->data, expected, y->bytes) == 0);
    }
    free(expected);
}

/* A child that also creates, prepares and releases everything itself. */
static void from_nothing(int threads) {
    pid_t child = fork();
    int how = 0;
    REQUIRE(child >= 0);
    if (child == 0) {
        seqmix_context* context = make_context(NULL, threads);
        seqmix_layer* layer = NULL;
        seqmix_state* state = NULL;
        call* io;
        REQUIRE_OK(make_mamba(context, 64, &layer));
        REQUIRE_OK(seqmix_layer_prepare(layer, 1, 64, 1));
        REQUIRE_OK(seqmix_state_create(layer, NULL, &state));
        io = call_make(layer, ROLES_CALL, 1, 64, 4);
        REQUIRE_OK(seqmix_layer_forward(layer, state, io->args, io->n, NULL));
        call_free(io);
        seqmix_state_destroy(state);
        seqmix_layer_release(layer);
        seqmix_context_release(context);
        _exit(0);
    }
    REQUIRE(waitpid(child, &how, 0) == child);
    CHECK(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

int main(int argc, char** argv) {
    int threads;
    for (threads = 1; threads <= 3; ++threads) {
        seqmix_context* context = make_context(NULL, threads);
        seqmix_layer* layer = NULL;
        seqmix_state *state = NULL, *twin = NULL;
        if (argc > 1) {
            text_call* io;
            REQUIRE_OK(seqmix_layer_open(context, argv[1], NULL, &layer));
            REQUIRE_OK(seqmix_state_create(layer, NULL, &state));
            REQUIRE_OK(seqmix_state_create(layer, NULL, &twin));
            io = text_call_make(layer, 40, 1, 6);
            REQUIRE_OK(seqmix_layer_prepare(layer, 1, 40, 1));
            fork_and_compare(layer, state, twin, io->args, io->n, &io->logits);
            text_call_free(io);
        } else {
            call* io;
            REQUIRE_OK(make_mamba(context, 128, &layer));
            REQUIRE_OK(seqmix_state_create(layer, NULL, &state));
            REQUIRE_OK(seqmix_state_create(layer, NULL, &twin));
            io = call_make(layer, ROLES_CALL, 1, 100, 6);
            fork_and_compare(layer, state, twin, io->args, io->n, call_array(io, "y"));
            call_free(io);
            from_nothing(threads);
        }
        seqmix_state_destroy(state);
        seqmix_state_destroy(twin);
        seqmix_layer_release(layer);
        seqmix_context_release(context);
        if (argc <= 1) {
            from_nothing(threads); /* after a context and its threads are gone */
        }
    }
    return finish();
}
