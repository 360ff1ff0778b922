/* One state in two threads: the call that comes second gets SEQMIX_ERR_BUSY, changes nothing, and the
 * first one ends as if nothing had happened.
 *
 * The first call is held inside the library by its poll callback, so that the second one comes in the
 * middle of it for certain. */
#include "abi_test.h"

#include <pthread.h>

static seqmix_layer* layer;
static seqmix_state* state;
static call *first_io, *second_io;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int entered, may_leave;

static int32_t hold(void* user, uint64_t done, uint64_t total) {
    (void)user;
    CHECK(done <= total && total == 2048);
    pthread_mutex_lock(&mutex);
    entered = 1;
    pthread_cond_broadcast(&changed);
    while (!may_leave) {
        pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    return 0;
}

static seqmix_status first_status;

static void* first(void* unused) {
    seqmix_forward_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.poll = hold;
    first_status = seqmix_layer_forward(layer, state, first_io->args, first_io->n, &options);
    pthread_mutex_lock(&mutex); /* also if poll was never asked: the test must end */
    entered |= 2;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return unused;
}

int main(void) {
    seqmix_context* context = make_context("generic", 1);
    seqmix_state_options options;
    seqmix_state *other = NULL, *view_of_it = NULL;
    pthread_t thread;
    int64_t id = 12345, position = -5;
    size_t needed = 77, i;
    char buffer[16];
    array* y;
    float* expected;
    call* states;

    REQUIRE_OK(make_mamba(context, 16, &layer));
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.batch = 1;
    options.snapshot_slots = 2;
    REQUIRE_OK(seqmix_state_create(layer, &options, &state));
    REQUIRE_OK(seqmix_state_create(layer, &options, &other));
    first_io = call_make(layer, ROLES_CALL, 1, 2048, 1);
    second_io = call_make(layer, ROLES_CALL, 1, 3, 2);
    states = call_make(layer, 1u << SEQMIX_ROLE_STATE, 1, 1, 3);
    REQUIRE(states->n >= 1);

    /* What the first call gives when nobody disturbs it. */
    REQUIRE_OK(seqmix_layer_forward(layer, other, first_io->args, first_io->n, NULL));
    y = call_array(first_io, "y");
    expected = (float*)malloc(y->bytes);
    memcpy(expected, y->data, y->bytes);
    memset(y->data, 0, y->bytes);

    REQUIRE(pthread_create(&thread, NULL, first, NULL) == 0);
    pthread_mutex_lock(&mutex);
    while (entered == 0) {
        pthread_cond_wait(&changed, &mutex);
    }
    i = (size_t)entered;
    pthread_mutex_unlock(&mutex);
    if (i != 1) {
        printf("poll was never asked in a call of 2048 tokens\n");
        return 1;
    }

    CHECK_STATUS(seqmix_layer_forward(layer, state, second_io->args, second_io->n, NULL),
                 SEQMIX_ERR_BUSY);
    CHECK(strlen(seqmix_last_error()) > 0);
    CHECK_STATUS(seqmix_state_reset(state, -1), SEQMIX_ERR_BUSY);
    CHECK_STATUS(seqmix_state_clone(state, &view_of_it), SEQMIX_ERR_BUSY);
    CHECK(view_of_it == NULL);
    CHECK_STATUS(seqmix_state_copy_row(state, 0, other, 0), SEQMIX_ERR_BUSY);
    CHECK_STATUS(seqmix_state_copy_row(other, 0, state, 0), SEQMIX_ERR_BUSY);
    for (i = 0; i < states->n; ++i) {
        CHECK_STATUS(seqmix_state_get(state, states->args[i].slot, 0, states->args[i].tensor),
                     SEQMIX_ERR_BUSY);
        CHECK_STATUS(seqmix_state_set(state, states->args[i].slot, 0, states->args[i].tensor),
                     SEQMIX_ERR_BUSY);
    }
    CHECK_STATUS(seqmix_state_save(state, buffer, sizeof buffer, &needed), SEQMIX_ERR_BUSY);
    CHECK_STATUS(seqmix_state_snapshot(state, -1, &id), SEQMIX_ERR_BUSY);
    CHECK(id == 12345); /* outputs are untouched on failure */
    CHECK_STATUS(seqmix_state_rollback(state, -1, 0), SEQMIX_ERR_BUSY);
    CHECK_STATUS(seqmix_state_drop(state, 0), SEQMIX_ERR_BUSY);
    /* The layer and other states are free. */
    CHECK_STATUS(seqmix_layer_forward(layer, other, second_io->args, second_io->n, NULL),
                 SEQMIX_OK);

    pthread_mutex_lock(&mutex);
    may_leave = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    CHECK_STATUS(first_status, SEQMIX_OK);
    CHECK(memcmp(expected, y->data, y->bytes) == 0);
    CHECK_STATUS(seqmix_state_position(state, 0, &position), SEQMIX_OK);
    CHECK(position == 2048);
    /* Not busy any more. */
    CHECK_STATUS(seqmix_layer_forward(layer, state, second_io->args, second_io->n, NULL),
                 SEQMIX_OK);

    free(expected);
    call_free(first_io);
    call_free(second_io);
    call_free(states);
    seqmix_state_destroy(state);
    seqmix_state_destroy(other);
    seqmix_layer_release(layer);
    seqmix_context_release(context);
    return finish();
}
