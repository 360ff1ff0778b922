/* The library as a plugin host or a language binding meets it: dlopen(RTLD_NOW | RTLD_LOCAL), symbols
 * by name, dlclose; a hundred times in each of several threads, in a child after fork, with a thread
 * pool that has just been stopped, and with two contexts of different instruction sets at once.
 *
 * The image stays mapped (-z nodelete): the test is for crashes, hangs, leaks and wrong numbers. Under
 * valgrind (label memcheck) it runs with --isa generic and fewer rounds.
 *
 * usage: dlopen LIBRARY [--isa NAME] [--rounds N]; not linked with the library */
#define _GNU_SOURCE
#include <seqmix/seqmix.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;
static pthread_mutex_t report_mutex = PTHREAD_MUTEX_INITIALIZER;

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            pthread_mutex_lock(&report_mutex);                             \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            ++failures;                                                    \
            pthread_mutex_unlock(&report_mutex);                           \
        }                                                                  \
    } while (0)

/* clang-format off: it never settles on one layout of this list */
/* Every function that this program uses, by name. */
/* clang-format off */
#define FUNCTIONS(X)                                                                            \
    X(version) X(last_error) X(context_create) X(context_release) X(context_info)               \
    X(config_create) X(config_destroy) X(config_set_i64) X(config_set_bool) X(type_slot)        \
    X(layer_plan) X(layer_bind) X(layer_release) X(layer_prepare) X(layer_forward)              \
    X(layer_kernel_name)
/* clang-format on */
/* clang-format on */

typedef struct api {
    void* handle;
#define MEMBER(name) __typeof__(&seqmix_##name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} api;

static const char *library, *isa;
static int rounds = 100;

static int api_open(api* a) {
    void* found;
    int missing = 0;
    memset(a, 0, sizeof *a);
    a->handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (a->handle == NULL) {
        printf("dlopen: %s\n", dlerror());
        return 0;
    }
#define RESOLVE(name)                          \
    found = dlsym(a->handle, "seqmix_" #name); \
    missing += found == NULL;                  \
    memcpy(&a->name, &found, sizeof found);
    FUNCTIONS(RESOLVE)
#undef RESOLVE
    CHECK(missing == 0);
    return missing == 0;
}

static void tensor(seqmix_tensor* t, float* data, int32_t ndim, int64_t* shape) {
    memset(t, 0, sizeof *t);
    t->data = data;
    t->device.device_type = SEQMIX_DL_CPU;
    t->ndim = ndim;
    t->dtype.code = SEQMIX_DL_FLOAT;
    t->dtype.bits = 32;
    t->dtype.lanes = 1;
    t->shape = shape;
}

enum { D = 24, T = 40, K = 4 };

/* A convolution of D channels over T tokens into y (T*D) on a context of its own. */
static int convolve(const api* a, const char* level, int threads, float* y, char* kernel,
                    size_t cap) {
    static const char* const names[4] = {"x", "weight", "bias", "y"};
    float x[T * D], weight[D * K], bias[D];
    int64_t x_shape[3] = {1, T, D}, weight_shape[2] = {D, K}, bias_shape[1] = {D};
    seqmix_tensor tensors[4];
    seqmix_arg args[4];
    seqmix_context_options options;
    seqmix_context* context = NULL;
    seqmix_config* config = NULL;
    seqmix_layer *planned = NULL, *layer = NULL;
    int i, ok;
    for (i = 0; i < T * D; ++i) {
        x[i] = (float)((i * 7919) % 101 - 50) / 50.0f;
    }
    for (i = 0; i < D * K; ++i) {
        weight[i] = (float)((i * 31) % 17 - 8) / 16.0f;
    }
    for (i = 0; i < D; ++i) {
        bias[i] = (float)(i - 12) / 24.0f;
    }
    tensor(&tensors[0], x, 3, x_shape);
    tensor(&tensors[1], weight, 2, weight_shape);
    tensor(&tensors[2], bias, 1, bias_shape);
    tensor(&tensors[3], y, 3, x_shape);
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.version = SEQMIX_VERSION;
    options.threads = threads;
    options.isa = level;
    memset(args, 0, sizeof args);
    ok = a->context_create(&options, &context) == SEQMIX_OK &&
         a->config_create(&config) == SEQMIX_OK &&
         a->config_set_i64(config, "d_model", D) == SEQMIX_OK &&
         a->config_set_i64(config, "width", K) == SEQMIX_OK &&
         a->config_set_bool(config, "silu", 1) == SEQMIX_OK &&
         a->layer_plan(context, "causal_conv1d_op", config, &planned) == SEQMIX_OK &&
         a->layer_bind(planned, NULL, 0, &layer) == SEQMIX_OK &&
         a->layer_prepare(layer, 1, T, 1) == SEQMIX_OK; /* starts the threads */
    for (i = 0; ok && i < 4; ++i) {
        ok = a->type_slot("causal_conv1d_op", names[i], &args[i].slot) == SEQMIX_OK;
        args[i].tensor = &tensors[i];
    }
    ok = ok && a->layer_forward(layer, NULL, args, 4, NULL) == SEQMIX_OK;
    if (!ok) {
        printf("%s\n", a->last_error());
    } else if (kernel != NULL) {
        snprintf(kernel, cap, "%s", a->layer_kernel_name(layer));
    }
    /* An error too: its text is per thread, and must survive nothing but this thread. */
    if (ok) {
        seqmix_layer* none = NULL;
        ok = a->layer_plan(context, "no_such_type", NULL, &none) == SEQMIX_ERR_UNKNOWN_TYPE &&
             none == NULL && strstr(a->last_error(), "no_such_type") != NULL;
        CHECK(ok);
    }
    a->layer_release(layer);
    a->layer_release(planned);
    a->config_destroy(config);
    a->context_release(context);
    return ok;
}

static float expected[T * D];

static int same(const float* y) { return memcmp(y, expected, sizeof expected) == 0; }

static void* open_and_close(void* number) {
    int i;
    for (i = 0; i < rounds; ++i) {
        api a;
        float y[T * D];
        memset(y, 0, sizeof y);
        if (!api_open(&a)) {
            CHECK(a.handle != NULL);
            return NULL;
        }
        CHECK(a.version() == SEQMIX_VERSION);
        /* Every fourth round stops a pool right before dlclose. */
        CHECK(convolve(&a, isa, (i + *(int*)number) % 4 == 0 ? 3 : 1, y, NULL, 0));
        CHECK(same(y));
        CHECK(dlclose(a.handle) == 0);
    }
    return NULL;
}

static void after_fork(void) {
    pid_t child;
    int how = 0;
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        api a;
        float y[T * D];
        int fine =
            api_open(&a) && convolve(&a, isa, 2, y, NULL, 0) && same(y) && dlclose(a.handle) == 0;
        fflush(stdout);
        _exit(fine ? 0 : 1);
    }
    CHECK(waitpid(child, &how, 0) == child);
    CHECK(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

/* Whether `name` stands in the list "isa_available" of the context's JSON. */
static int available(const char* info, const char* name) {
    const char* list = strstr(info, "\"isa_available\"");
    const char* end = list == NULL ? NULL : strchr(list, ']');
    char quoted[32];
    const char* at;
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    at = list == NULL ? NULL : strstr(list, quoted);
    return at != NULL && end != NULL && at < end;
}

/* Two contexts, two levels, one process: each runs its own kernels, and they agree. */
static void two_levels(const api* a) {
    static const char* const levels[] = {"avx512", "avx2", "reference"};
    seqmix_context* context = NULL;
    char info[1024], first[64], second[64];
    size_t needed = 0, i;
    int tried = 0;
    CHECK(a->context_create(NULL, &context) == SEQMIX_OK);
    CHECK(a->context_info(context, info, sizeof info, &needed) == SEQMIX_OK);
    a->context_release(context);
    CHECK(available(info, "generic"));
    for (i = 0; i < sizeof levels / sizeof levels[0]; ++i) {
        float y[T * D], z[T * D];
        int k;
        if (!available(info, levels[i]) || (isa != NULL && strcmp(levels[i], "reference") != 0)) {
            continue;
        }
        ++tried;
        CHECK(convolve(a, "generic", 1, y, first, sizeof first));
        CHECK(convolve(a, levels[i], 1, z, second, sizeof second));
        CHECK(strstr(first, "generic") != NULL);
        CHECK(strstr(second, levels[i]) != NULL);
        for (k = 0; k < T * D; ++k) {
            const float difference = y[k] - z[k];
            if (difference > 1e-4f || difference < -1e-4f) {
                printf("%s differs from %s by %g at %d\n", second, first, (double)difference, k);
                ++failures;
                break;
            }
        }
    }
    CHECK(tried > 0);
}

int main(int argc, char** argv) {
    pthread_t threads[4];
    int numbers[4];
    api a;
    float magnitude = 0;
    int i;
    if (argc < 2) {
        printf("usage: dlopen LIBRARY [--isa NAME] [--rounds N]\n");
        return 2;
    }
    library = argv[1];
    for (i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--isa") == 0) {
            isa = argv[i + 1];
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = atoi(argv[i + 1]);
        }
    }
    if (!api_open(&a) || !convolve(&a, isa, 1, expected, NULL, 0)) {
        printf("the library cannot be used\n");
        return 1;
    }
    for (i = 0; i < T * D; ++i) {
        magnitude += expected[i] < 0 ? -expected[i] : expected[i];
    }
    CHECK(magnitude > 1.0f);
    two_levels(&a);
    CHECK(dlclose(a.handle) == 0);
    after_fork();
    for (i = 0; i < 4; ++i) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, open_and_close, &numbers[i]) == 0);
    }
    for (i = 0; i < 4; ++i) {
        pthread_join(threads[i], NULL);
    }
    after_fork();
    printf(failures == 0 ? "ok\n" : "failed\n");
    return failures == 0 ? 0 : 1;
}
