/* After seqmix_layer_prepare no call within its bounds allocates or takes a lock, the first included.
 *
 * This program defines malloc and its family (which operator new is made of), mmap and its family, and
 * the locking functions of pthreads; the dynamic linker then gives them to the library too. They count
 * while `armed` is set, in every thread. The context's allocator counts as well. That the counters
 * work is shown first.
 *
 * usage: alloc_free [MODEL] */
#define _GNU_SOURCE
#include "abi_test.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int armed;
static atomic_long mallocs, frees, mappings, locks, context_allocs;

#define COUNT(counter)                                                      \
    do {                                                                    \
        if (atomic_load_explicit(&armed, memory_order_relaxed)) {           \
            atomic_fetch_add_explicit(&(counter), 1, memory_order_relaxed); \
        }                                                                   \
    } while (0)

/* ------------------------------------------------------------------ interposed functions */

extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* block, size_t size);
extern void* __libc_memalign(size_t align, size_t size);
extern void __libc_free(void* block);

void* malloc(size_t size) {
    COUNT(mallocs);
    return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
    COUNT(mallocs);
    return __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) {
    COUNT(mallocs);
    return __libc_realloc(block, size);
}
void* memalign(size_t align, size_t size);
void* memalign(size_t align, size_t size) {
    COUNT(mallocs);
    return __libc_memalign(align, size);
}
void* aligned_alloc(size_t align, size_t size) {
    COUNT(mallocs);
    return __libc_memalign(align, size);
}
int posix_memalign(void** block, size_t align, size_t size) {
    COUNT(mallocs);
    *block = __libc_memalign(align, size);
    return *block == NULL ? ENOMEM : 0;
}
void free(void* block) {
    if (block != NULL) {
        COUNT(frees);
    }
    __libc_free(block);
}

void* mmap(void* address, size_t size, int protection, int flags, int file, off_t offset) {
    COUNT(mappings);
    return (void*)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}
int munmap(void* address, size_t size) {
    COUNT(mappings);
    return (int)syscall(SYS_munmap, address, size);
}
int madvise(void* address, size_t size, int advice) {
    COUNT(mappings);
    return (int)syscall(SYS_madvise, address, size, advice);
}

/* The real ones; looked up before anything is armed. */
static int (*real_mutex_lock)(pthread_mutex_t*);
static int (*real_mutex_trylock)(pthread_mutex_t*);
static int (*real_rdlock)(pthread_rwlock_t*);
static int (*real_wrlock)(pthread_rwlock_t*);
static int (*real_cond_wait)(pthread_cond_t*, pthread_mutex_t*);
static int (*real_spin_lock)(pthread_spinlock_t*);
static int (*real_sem_wait)(sem_t*);
static int (*real_once)(pthread_once_t*, void (*)(void));

#define REAL(pointer, name)                           \
    do {                                              \
        if ((pointer) == NULL) {                      \
            void* found = dlsym(RTLD_NEXT, name);     \
            memcpy(&(pointer), &found, sizeof found); \
        }                                             \
    } while (0)

int pthread_mutex_lock(pthread_mutex_t* mutex) {
    COUNT(locks);
    REAL(real_mutex_lock, "pthread_mutex_lock");
    return real_mutex_lock(mutex);
}
int pthread_mutex_trylock(pthread_mutex_t* mutex) {
    COUNT(locks);
    REAL(real_mutex_trylock, "pthread_mutex_trylock");
    return real_mutex_trylock(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
    COUNT(locks);
    REAL(real_rdlock, "pthread_rwlock_rdlock");
    return real_rdlock(lock);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
    COUNT(locks);
    REAL(real_wrlock, "pthread_rwlock_wrlock");
    return real_wrlock(lock);
}
int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
    COUNT(locks);
    REAL(real_cond_wait, "pthread_cond_wait");
    return real_cond_wait(condition, mutex);
}
int pthread_spin_lock(pthread_spinlock_t* lock) {
    COUNT(locks);
    REAL(real_spin_lock, "pthread_spin_lock");
    return real_spin_lock(lock);
}
int sem_wait(sem_t* semaphore) {
    COUNT(locks);
    REAL(real_sem_wait, "sem_wait");
    return real_sem_wait(semaphore);
}
int pthread_once(pthread_once_t* once, void (*routine)(void)) {
    COUNT(locks);
    REAL(real_once, "pthread_once");
    return real_once(once, routine);
}

/* ------------------------------------------------------------------ counting */

static void* count_alloc(void* user, size_t size, size_t align) {
    (void)user;
    COUNT(context_allocs);
    align = align < sizeof(void*) ? sizeof(void*) : align;
    return __libc_memalign(align, size == 0 ? 1 : size);
}
static void count_free(void* user, void* block, size_t size, size_t align) {
    (void)user;
    (void)size;
    (void)align;
    if (block != NULL) {
        COUNT(context_allocs);
    }
    __libc_free(block);
}

static void arm(void) {
    mallocs = frees = mappings = locks = context_allocs = 0;
    atomic_store(&armed, 1);
}

static void disarm(const char* what, int threads) {
    atomic_store(&armed, 0);
    if (mallocs + frees + mappings + locks + context_allocs != 0) {
        printf(
            "%s, threads %d: %ld allocations, %ld frees, %ld mappings, %ld locks, %ld calls of the "
            "context's allocator\n",
            what, threads, (long)mallocs, (long)frees, (long)mappings, (long)locks,
            (long)context_allocs);
        ++failures;
    }
}

/* The counters see what they should: this program's calls, and the library's. */
static void counters_work(seqmix_context* context) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    seqmix_config* config = NULL;
    seqmix_layer* layer = NULL;
    void* volatile block;
    arm();
    block = malloc(100);
    free(block);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    atomic_store(&armed, 0);
    REQUIRE(mallocs == 1 && frees == 1 && locks == 1);
    arm();
    REQUIRE_OK(seqmix_config_create(&config)); /* has no context: malloc or operator new */
    atomic_store(&armed, 0);
    REQUIRE(mallocs > 0);
    seqmix_config_destroy(config);
    arm();
    REQUIRE_OK(make_scan(context, 4, 4, &layer)); /* handles come from the context */
    atomic_store(&armed, 0);
    REQUIRE(context_allocs > 0);
    seqmix_layer_release(layer);
}

/* ------------------------------------------------------------------ the calls */

static seqmix_context* counting_context(int threads) {
    seqmix_context_options options;
    seqmix_context* context = NULL;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.version = SEQMIX_VERSION;
    options.threads = threads;
    options.alloc = count_alloc;
    options.free = count_free;
    REQUIRE_OK(seqmix_context_create(&options, &context));
    return context;
}

static void forward(const char* what, int threads, const seqmix_layer* layer, seqmix_state* state,
                    const seqmix_arg* args, size_t n) {
    seqmix_status status;
    arm();
    status = seqmix_layer_forward(layer, state, args, n, NULL);
    disarm(what, threads);
    CHECK_STATUS(status, SEQMIX_OK);
}

static void layers(int threads) {
    seqmix_context* context = counting_context(threads);
    seqmix_layer *mamba = NULL, *scan = NULL, *conv = NULL;
    seqmix_state* state = NULL;
    seqmix_state_options options;
    call *big, *small;
    int64_t id = 0, two = 2;
    array rows; /* named out of order, which takes sorting */
    int i;
    counters_work(context);
    array_make(&rows, SEQMIX_DL_INT, 64, 1, &two);
    ((int64_t*)rows.data)[0] = 1;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.batch = 2;
    options.snapshot_slots = 1;

    REQUIRE_OK(make_mamba(context, 64, &mamba));
    REQUIRE_OK(seqmix_state_create(mamba, &options, &state));
    big = call_make(mamba, ROLES_CALL, 2, 600, 1); /* longer than a chunk of 512 */
    small = call_make(mamba, ROLES_CALL, 2, 1, 2);
    REQUIRE_OK(seqmix_layer_prepare(mamba, 2, 1200, 1));
    forward("mamba, first call, 600 tokens", threads, mamba, state, big->args, big->n);
    for (i = 0; i < 20; ++i) {
        forward("mamba, single step", threads, mamba, state, small->args, small->n);
    }
    small->args[small->n].slot = SEQMIX_SLOT_ROWS;
    small->args[small->n].tensor = &rows.tensor;
    forward("mamba, named rows", threads, mamba, state, small->args, small->n + 1);
    arm();
    CHECK(seqmix_state_snapshot(state, -1, &id) == SEQMIX_OK);
    disarm("seqmix_state_snapshot", threads);
    forward("mamba, after a snapshot", threads, mamba, state, big->args, big->n);
    arm();
    CHECK(seqmix_state_rollback(state, -1, id) == SEQMIX_OK);
    CHECK(seqmix_state_reset(state, 0) == SEQMIX_OK);
    disarm("rollback and reset", threads);
    call_free(big);
    call_free(small);
    free(rows.data);

    REQUIRE_OK(make_scan(context, 64, 16, &scan));
    REQUIRE_OK(seqmix_layer_prepare(scan, 2, 1200, 1));
    big = call_make(scan, ROLES_OP_CALL, 2, 600, 1);
    small = call_make(scan, ROLES_OP_CALL, 2, 1, 2);
    forward("selective_scan_op, first call, 600 tokens", threads, scan, NULL, big->args, big->n);
    forward("selective_scan_op, single step", threads, scan, NULL, small->args, small->n);
    call_free(big);
    call_free(small);

    REQUIRE_OK(make_conv(context, 64, 4, &conv));
    REQUIRE_OK(seqmix_layer_prepare(conv, 2, 1200, 1));
    big = call_make(conv, ROLES_OP_CALL, 2, 600, 1);
    small = call_make(conv, ROLES_OP_CALL, 2, 1, 2);
    forward("causal_conv1d_op, first call, 600 tokens", threads, conv, NULL, big->args, big->n);
    forward("causal_conv1d_op, single step", threads, conv, NULL, small->args, small->n);
    call_free(big);
    call_free(small);

    seqmix_state_destroy(state);
    seqmix_layer_release(mamba);
    seqmix_layer_release(scan);
    seqmix_layer_release(conv);
    seqmix_context_release(context);
}

/* Two threads in one layer at once, as many as prepare was told. */
typedef struct job {
    const seqmix_layer* layer;
    seqmix_state* state;
    call* io;
    pthread_barrier_t *start, *end;
    seqmix_status status;
} job;

static void* work(void* argument) {
    job* j = (job*)argument;
    int i;
    pthread_barrier_wait(j->start);
    j->status = SEQMIX_OK;
    for (i = 0; i < 50 && j->status == SEQMIX_OK; ++i) {
        j->status = seqmix_layer_forward(j->layer, j->state, j->io->args, j->io->n, NULL);
    }
    pthread_barrier_wait(j->end);
    return NULL;
}

static void concurrent(int threads) {
    seqmix_context* context = counting_context(threads);
    seqmix_layer* mamba = NULL;
    pthread_barrier_t start, end;
    pthread_t thread[2];
    job jobs[2];
    int i;
    REQUIRE_OK(make_mamba(context, 32, &mamba));
    REQUIRE_OK(seqmix_layer_prepare(mamba, 1, 8, 2));
    pthread_barrier_init(&start, NULL, 3);
    pthread_barrier_init(&end, NULL, 3);
    for (i = 0; i < 2; ++i) {
        jobs[i].layer = mamba;
        jobs[i].io = call_make(mamba, ROLES_CALL, 1, 8, 3);
        jobs[i].start = &start;
        jobs[i].end = &end;
        REQUIRE_OK(seqmix_state_create(mamba, NULL, &jobs[i].state));
        REQUIRE(pthread_create(&thread[i], NULL, work, &jobs[i]) == 0);
    }
    arm();
    pthread_barrier_wait(&start);
    pthread_barrier_wait(&end);
    disarm("two concurrent callers", threads);
    for (i = 0; i < 2; ++i) {
        pthread_join(thread[i], NULL);
        CHECK_STATUS(jobs[i].status, SEQMIX_OK);
        seqmix_state_destroy(jobs[i].state);
        call_free(jobs[i].io);
    }
    pthread_barrier_destroy(&start);
    pthread_barrier_destroy(&end);
    seqmix_layer_release(mamba);
    seqmix_context_release(context);
}

static void model(const char* path, int threads) {
    seqmix_context* context = counting_context(threads);
    seqmix_layer* layer = NULL;
    seqmix_state* state = NULL;
    text_call *big, *small;
    int i;
    REQUIRE_OK(seqmix_layer_open(context, path, NULL, &layer));
    REQUIRE_OK(seqmix_state_create(layer, NULL, &state));
    big = text_call_make(layer, 600, 1, 1);
    small = text_call_make(layer, 1, 0, 2);
    REQUIRE_OK(seqmix_layer_prepare(layer, 1, 600, 1));
    forward("model, first call, 600 tokens", threads, layer, state, big->args, big->n);
    for (i = 0; i < 20; ++i) {
        forward("model, single step", threads, layer, state, small->args, small->n);
    }
    text_call_free(big);
    text_call_free(small);
    seqmix_state_destroy(state);
    seqmix_layer_release(layer);
    seqmix_context_release(context);
}

int main(int argc, char** argv) {
    int threads;
    REAL(real_mutex_lock, "pthread_mutex_lock"); /* dlsym may allocate: before anything is armed */
    for (threads = 1; threads <= 2; ++threads) {
        if (argc > 1) {
            model(argv[1], threads);
        } else {
            layers(threads);
            concurrent(threads);
        }
    }
    return finish();
}
