/* What the C tests of this folder share: checks, skips, tensors, and layers and calls made from what
 * a layer says about its slots, so that no test repeats a mixer's list of weights. C99. */
#ifndef SEQMIX_TESTS_ABI_TEST_H
#define SEQMIX_TESTS_ABI_TEST_H

#include <seqmix/seqmix.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define MAYBE_UNUSED __attribute__((unused))
#else
#define MAYBE_UNUSED
#endif

static int failures MAYBE_UNUSED;

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            ++failures;                                                    \
        }                                                                  \
    } while (0)

#define CHECK_STATUS(call, expected) check_status(__FILE__, __LINE__, #call, (call), (expected))

/* For what the rest of a test cannot do without. */
#define REQUIRE(condition)                                                           \
    do {                                                                             \
        if (!(condition)) {                                                          \
            printf("%s:%d: cannot go on: %s (%s)\n", __FILE__, __LINE__, #condition, \
                   seqmix_last_error());                                             \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define REQUIRE_OK(call) require_ok(__FILE__, __LINE__, #call, (call))

MAYBE_UNUSED static void check_status(const char* file, int line, const char* text,
                                      seqmix_status got, seqmix_status expected) {
    if (got != expected) {
        printf("%s:%d: %s gave %s (\"%s\"), expected %s\n", file, line, text,
               seqmix_status_name(got), got == SEQMIX_OK ? "" : seqmix_last_error(),
               seqmix_status_name(expected));
        ++failures;
    }
}

MAYBE_UNUSED static void require_ok(const char* file, int line, const char* text,
                                    seqmix_status got) {
    if (got != SEQMIX_OK) {
        printf("%s:%d: cannot go on: %s gave %s: %s\n", file, line, text, seqmix_status_name(got),
               seqmix_last_error());
        exit(1);
    }
}

MAYBE_UNUSED static int finish(void) {
    if (failures != 0) {
        printf("%d checks failed\n", failures);
        return 1;
    }
    printf("ok\n");
    return 0;
}

/* Status 77 is CTest's SKIP_RETURN_CODE here; with SEQMIX_REQUIRE_DATA=1 a skip is a failure. */
MAYBE_UNUSED static int skip(const char* reason) {
    const char* require = getenv("SEQMIX_REQUIRE_DATA");
    printf("SKIP: %s\n", reason);
    return require != NULL && strcmp(require, "1") == 0 ? 1 : 77;
}

MAYBE_UNUSED static int file_exists(const char* path) {
    FILE* file = fopen(path, "rb");
    if (file != NULL) {
        fclose(file);
    }
    return file != NULL;
}

/* ------------------------------------------------------------------ tensors */

#define MAX_DIMS 8
#define MAX_ARGS 32

/* A C-order tensor with its sizes and its elements. */
typedef struct array {
    seqmix_tensor tensor;
    int64_t shape[MAX_DIMS];
    void* data;
    size_t bytes;
} array;

/* Uniform in [-1, 1), the same everywhere. */
MAYBE_UNUSED static float uniform(uint64_t* seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*seed >> 40) / (double)(1 << 23) - 1.0);
}

MAYBE_UNUSED static void array_make(array* a, uint8_t code, uint8_t bits, int32_t ndim,
                                    const int64_t* shape) {
    int64_t count = 1;
    int32_t i;
    memset(a, 0, sizeof *a);
    for (i = 0; i < ndim; ++i) {
        a->shape[i] = shape[i];
        count *= shape[i];
    }
    a->bytes = (size_t)count * (bits / 8u);
    a->data = calloc(1, a->bytes == 0 ? 1 : a->bytes);
    a->tensor.data = a->data;
    a->tensor.device.device_type = SEQMIX_DL_CPU;
    a->tensor.ndim = ndim;
    a->tensor.dtype.code = code;
    a->tensor.dtype.bits = bits;
    a->tensor.dtype.lanes = 1;
    a->tensor.shape = a->shape;
}

MAYBE_UNUSED static void array_random(array* a, float low, float high, uint64_t* seed) {
    float* values = (float*)a->data;
    size_t i;
    for (i = 0; i < a->bytes / sizeof *values; ++i) {
        values[i] = low + (high - low) * 0.5f * (uniform(seed) + 1.0f);
    }
}

/* ------------------------------------------------------------------ calls */

/* The tensors of a call (or of a bind) and the args that point to them. Must not be moved. */
typedef struct call {
    array arrays[MAX_ARGS];
    char names[MAX_ARGS][48];
    uint32_t roles[MAX_ARGS];
    seqmix_arg args[MAX_ARGS];
    size_t n;
} call;

MAYBE_UNUSED static void call_free(call* c) {
    size_t i;
    for (i = 0; i < c->n; ++i) {
        free(c->arrays[i].data);
    }
    free(c);
}

/* The tensors of a layer whose role is in the bit set `roles`, for B rows of T tokens, inputs filled
 * with noise of a size that suits the slot. Optional ones are included. Other alternatives of a shape
 * than the first are not used. */
MAYBE_UNUSED static call* call_make(const seqmix_layer* layer, uint32_t roles, int64_t B, int64_t T,
                                    uint64_t seed) {
    call* c = (call*)calloc(1, sizeof *c);
    size_t i;
    for (i = 0; i < seqmix_layer_slot_count(layer); ++i) {
        seqmix_slot_info info;
        int64_t shape[MAX_DIMS];
        int32_t d;
        array* a = &c->arrays[c->n];
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        REQUIRE_OK(seqmix_layer_slot_info(layer, i, &info));
        if ((roles >> info.role & 1u) == 0 || info.slot >= SEQMIX_SLOT_CU_SEQLENS) {
            continue;
        }
        for (d = 0; d < info.ndim; ++d) {
            shape[d] = info.shape[d] == SEQMIX_DIM_B || info.shape[d] == SEQMIX_DIM_R ? B
                       : info.shape[d] == SEQMIX_DIM_T                                ? T
                                                       : info.shape[d];
            REQUIRE(shape[d] >= 0);
        }
        REQUIRE(c->n < MAX_ARGS);
        if ((info.dtypes & SEQMIX_DTYPE_F32) != 0) {
            array_make(a, SEQMIX_DL_FLOAT, 32, info.ndim, shape);
            if (strcmp(info.name, "A") == 0) { /* decay: negative */
                array_random(a, -2.0f, -0.1f, &seed);
            } else if (info.role != SEQMIX_ROLE_OUTPUT && info.role != SEQMIX_ROLE_STATE_OUT) {
                array_random(a, -1.0f, 1.0f, &seed);
            }
        } else {
            size_t k;
            REQUIRE((info.dtypes & SEQMIX_DTYPE_I32) != 0);
            array_make(a, SEQMIX_DL_INT, 32, info.ndim, shape);
            for (k = 0; k < a->bytes / 4; ++k) { /* tokens of the printable range */
                ((int32_t*)a->data)[k] = 32 + (int32_t)((uniform(&seed) + 1.0f) * 47.0f);
            }
        }
        snprintf(c->names[c->n], sizeof c->names[0], "%s", info.name);
        c->roles[c->n] = info.role;
        c->args[c->n].slot = info.slot;
        c->args[c->n].tensor = &a->tensor;
        ++c->n;
    }
    return c;
}

#define ROLES_WEIGHTS (1u << SEQMIX_ROLE_WEIGHT)
#define ROLES_CALL (1u << SEQMIX_ROLE_INPUT | 1u << SEQMIX_ROLE_OUTPUT)
#define ROLES_OP_CALL (ROLES_CALL | 1u << SEQMIX_ROLE_STATE_IN | 1u << SEQMIX_ROLE_STATE_OUT)

MAYBE_UNUSED static array* call_array(call* c, const char* name) {
    size_t i;
    for (i = 0; i < c->n; ++i) {
        if (strcmp(c->names[i], name) == 0) {
            return &c->arrays[i];
        }
    }
    printf("the call has no tensor '%s'\n", name);
    exit(1);
}

/* ------------------------------------------------------------------ layers */

MAYBE_UNUSED static seqmix_context* make_context(const char* isa, int32_t threads) {
    seqmix_context_options options;
    seqmix_context* context = NULL;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.version = SEQMIX_VERSION;
    options.threads = threads;
    options.isa = isa;
    REQUIRE_OK(seqmix_context_create(&options, &context));
    return context;
}

/* The makers below return the first failing status, for fault injection. */

/* A small Mamba block with drawn weights. */
MAYBE_UNUSED static seqmix_status make_mamba(seqmix_context* context, int64_t d_model,
                                             seqmix_layer** layer) {
    seqmix_config* config = NULL;
    seqmix_layer* planned = NULL;
    seqmix_status status = seqmix_config_create(&config);
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_i64(config, "d_model", d_model);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_layer_plan(context, "mamba", config, &planned);
    }
    if (status == SEQMIX_OK) {
        call* weights = call_make(planned, ROLES_WEIGHTS, 1, 1, 7);
        status = seqmix_layer_init(planned, 42, weights->args, weights->n);
        if (status == SEQMIX_OK) {
            status = seqmix_layer_bind(planned, weights->args, weights->n, layer);
        }
        call_free(weights);
    }
    seqmix_layer_release(planned);
    seqmix_config_destroy(config);
    return status;
}

/* A bound selective scan over E channels with N states. */
MAYBE_UNUSED static seqmix_status make_scan(seqmix_context* context, int64_t E, int64_t N,
                                            seqmix_layer** layer) {
    seqmix_config* config = NULL;
    seqmix_layer* planned = NULL;
    seqmix_status status = seqmix_config_create(&config);
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_i64(config, "d_inner", E);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_i64(config, "d_state", N);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_bool(config, "delta_softplus", 1);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_layer_plan(context, "selective_scan_op", config, &planned);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_layer_bind(planned, NULL, 0, layer);
    }
    seqmix_layer_release(planned);
    seqmix_config_destroy(config);
    return status;
}

/* A bound causal convolution over D channels with K taps. */
MAYBE_UNUSED static seqmix_status make_conv(seqmix_context* context, int64_t D, int64_t K,
                                            seqmix_layer** layer) {
    seqmix_config* config = NULL;
    seqmix_layer* planned = NULL;
    seqmix_status status = seqmix_config_create(&config);
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_i64(config, "d_model", D);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_i64(config, "width", K);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_config_set_bool(config, "silu", 1);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_layer_plan(context, "causal_conv1d_op", config, &planned);
    }
    if (status == SEQMIX_OK) {
        status = seqmix_layer_bind(planned, NULL, 0, layer);
    }
    seqmix_layer_release(planned);
    seqmix_config_destroy(config);
    return status;
}

/* A stack's call: tokens in; logits_last out, and logits too when `all` is set. */
typedef struct text_call {
    array tokens, logits, logits_last;
    seqmix_arg args[3];
    size_t n;
} text_call;

MAYBE_UNUSED static text_call* text_call_make(const seqmix_layer* model, int64_t T, int all,
                                              uint64_t seed) {
    text_call* c = (text_call*)calloc(1, sizeof *c);
    const char* const names[3] = {"tokens", "logits_last", "logits"};
    array* const arrays[3] = {&c->tokens, &c->logits_last, &c->logits};
    int64_t vocabulary = 0;
    size_t i;
    int k;
    for (k = 0; k < 3; ++k) {
        REQUIRE_OK(seqmix_type_slot(seqmix_layer_type(model), names[k], &c->args[k].slot));
        c->args[k].tensor = &arrays[k]->tensor;
    }
    for (i = 0; i < seqmix_layer_slot_count(model); ++i) {
        seqmix_slot_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        REQUIRE_OK(seqmix_layer_slot_info(model, i, &info));
        if (info.slot == c->args[1].slot) {
            vocabulary = info.shape[info.ndim - 1];
        }
    }
    REQUIRE(vocabulary > 0);
    {
        int64_t shape[3];
        shape[0] = 1;
        shape[1] = T;
        shape[2] = vocabulary;
        array_make(&c->tokens, SEQMIX_DL_INT, 32, 2, shape);
        array_make(&c->logits, SEQMIX_DL_FLOAT, 32, 3, shape);
        shape[1] = vocabulary;
        array_make(&c->logits_last, SEQMIX_DL_FLOAT, 32, 2, shape);
    }
    for (i = 0; i < (size_t)T; ++i) {
        ((int32_t*)c->tokens.data)[i] = 32 + (int32_t)((uniform(&seed) + 1.0f) * 47.0f);
    }
    c->n = all ? 3 : 2;
    return c;
}

MAYBE_UNUSED static void text_call_free(text_call* c) {
    free(c->tokens.data);
    free(c->logits.data);
    free(c->logits_last.data);
    free(c);
}

#endif
