/* libseqmix: sequence mixers on the CPU, behind a stable C ABI.
 *
 * This header is the manual. It is C99 and C++11 clean, includes only <stddef.h> and <stdint.h>,
 * and declares four opaque handles:
 *
 *   seqmix_context   instruction set, threads, allocator, logger, pool of workspaces
 *   seqmix_config    a bag of typed attributes
 *   seqmix_layer     a mixer with its sizes (planned), then with weights (bound); a model is a layer
 *   seqmix_state     the recurrent memory and positions of the rows of one stream batch
 *
 * The five-minute version:
 *
 *   seqmix_context *ctx;  seqmix_layer *model;  seqmix_state *state;
 *   seqmix_context_create(NULL, &ctx);
 *   seqmix_layer_open(ctx, "models/shakespeare", NULL, &model);
 *   seqmix_state_create(model, NULL, &state);
 *   seqmix_layer_forward(model, state, args, n_args, NULL);     prefill, chunk or single step
 *
 * Rules that hold for every function, said once:
 *
 *  - A function that can fail returns seqmix_status: 0 is success, negative values are failures and
 *    unknown negative values must be treated as failures. Outputs come last and are untouched on
 *    failure. seqmix_last_error() then holds one line that names the mixer, the tensor, what was
 *    expected and what came.
 *  - Functions on different handles never need locking. context and layer: any number of threads.
 *    config and state: one thread at a time. Concurrent use of one state returns SEQMIX_ERR_BUSY.
 *  - retain and release are atomic; release and destroy accept NULL. Handles keep what they were
 *    made from alive, so they may be released in any order.
 *  - The library never prints, exits, aborts, or lets an exception out, and it starts no thread
 *    when `threads` is 1 or an executor is given.
 *  - Structures that may grow carry their size in `struct_size` first: set it to sizeof(the struct).
 *    Fields that the library does not know must be zero, else SEQMIX_ERR_VERSION.
 *  - Strings are UTF-8. A returned const char* is static or owned by the handle and valid until its
 *    release. Two-call outputs (buf, cap, &needed) always set *needed to the full size in bytes and
 *    return SEQMIX_ERR_BUFFER_TOO_SMALL when cap is less; buf may be NULL when cap is 0.
 *
 * Shape letters: B batch rows, R ragged rows (B without cu_seqlens), T time, D model width,
 * E inner width, N state size, G groups, K taps, V vocabulary, Tk time of a source (keys and values).
 */
#ifndef SEQMIX_SEQMIX_H
#define SEQMIX_SEQMIX_H

#include <stddef.h>
#include <stdint.h>

#if defined(SEQMIX_STATIC)
#define SEQMIX_API
#elif defined(_WIN32)
#if defined(SEQMIX_BUILDING)
#define SEQMIX_API __declspec(dllexport)
#else
#define SEQMIX_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define SEQMIX_API __attribute__((visibility("default")))
#else
#define SEQMIX_API
#endif

#if defined(__cplusplus) && __cplusplus >= 201103L
#define SEQMIX_NOEXCEPT noexcept
#else
#define SEQMIX_NOEXCEPT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ version */

#define SEQMIX_VERSION_MAJOR 0
#define SEQMIX_VERSION_MINOR 1
#define SEQMIX_VERSION_PATCH 0
/* 0xMMmmpp; seqmix_version() returns the library's own. */
#define SEQMIX_VERSION \
    ((SEQMIX_VERSION_MAJOR << 16) | (SEQMIX_VERSION_MINOR << 8) | SEQMIX_VERSION_PATCH)

/* ------------------------------------------------------------------ status codes */

/* 0 is success. Values are frozen and never reused; -1000 and below are experimental. */
typedef int32_t seqmix_status;

#define SEQMIX_OK 0
#define SEQMIX_ERR_INTERNAL (-1)           /* a defect of the library */
#define SEQMIX_ERR_NULL_ARGUMENT (-2)      /* a required pointer is NULL */
#define SEQMIX_ERR_INVALID_ARGUMENT (-3)   /* a value makes no sense here */
#define SEQMIX_ERR_UNKNOWN_TYPE (-4)       /* no mixer of that name */
#define SEQMIX_ERR_UNKNOWN_ATTRIBUTE (-5)  /* the type has no such attribute */
#define SEQMIX_ERR_ATTRIBUTE_TYPE (-6)     /* the attribute has another type */
#define SEQMIX_ERR_ATTRIBUTE_RANGE (-7)    /* value out of range, missing, or inconsistent */
#define SEQMIX_ERR_UNKNOWN_SLOT (-8)       /* the type has no such tensor slot */
#define SEQMIX_ERR_MISSING_TENSOR (-9)     /* a required tensor was not given */
#define SEQMIX_ERR_DTYPE (-10)             /* the slot does not take this element type */
#define SEQMIX_ERR_SHAPE (-11)             /* the shape does not match the plan */
#define SEQMIX_ERR_LAYOUT (-12)            /* strides that the slot does not take */
#define SEQMIX_ERR_ALIASING (-13)          /* an output overlaps another tensor of the call */
#define SEQMIX_ERR_DEVICE (-14)            /* not a CPU tensor */
#define SEQMIX_ERR_STATE_MISMATCH (-15)    /* the state belongs to another layer, or differs */
#define SEQMIX_ERR_BUFFER_TOO_SMALL (-16)  /* *needed says how much it takes */
#define SEQMIX_ERR_NO_MEMORY (-17)         /* the allocator returned NULL */
#define SEQMIX_ERR_UNSUPPORTED (-18)       /* the type or build cannot do this */
#define SEQMIX_ERR_UNSUPPORTED_CPU (-19)   /* the CPU or build lacks the instruction set asked for */
#define SEQMIX_ERR_BAD_FORMAT (-20)        /* a file or blob is damaged or not what it claims */
#define SEQMIX_ERR_VERSION (-21)           /* header, struct or file of another version */
#define SEQMIX_ERR_BUSY (-22)              /* the state is in use by another thread */
#define SEQMIX_ERR_CANCELLED (-23)         /* poll asked to stop */
#define SEQMIX_ERR_CALLBACK (-24)          /* a callback of the host failed */
#define SEQMIX_ERR_LIMIT (-25)             /* a size overflows or passes a limit */
#define SEQMIX_ERR_IO (-26)                /* a file cannot be opened or read */
#define SEQMIX_ERR_CAPACITY (-27)          /* the state's capacity or snapshot slots are used up */
#define SEQMIX_ERR_STATE_POISONED (-28)    /* an earlier failure left the state half written */

/* ------------------------------------------------------------------ tensors */

/* Exactly DLTensor's fields and layout (DLPack 1.x), so that tensors of NumPy, PyTorch, JAX, Rust or
 * Julia pass without a copy. Frozen. The library never owns one and never touches bytes outside the
 * view it describes. */
typedef struct seqmix_dtype {
    uint8_t code;   /* SEQMIX_DL_* */
    uint8_t bits;   /* width of one element */
    uint16_t lanes; /* 1 */
} seqmix_dtype;

typedef struct seqmix_device {
    int32_t device_type; /* SEQMIX_DL_CPU; others are refused with SEQMIX_ERR_DEVICE */
    int32_t device_id;   /* ignored for the CPU */
} seqmix_device;

typedef struct seqmix_tensor {
    void *data; /* may be misaligned; may be NULL when the tensor has no elements */
    seqmix_device device;
    int32_t ndim;
    seqmix_dtype dtype;
    int64_t *shape;       /* ndim sizes, each >= 0 */
    int64_t *strides;     /* in elements, may be 0 or negative on inputs; NULL means C order */
    uint64_t byte_offset; /* added to data */
} seqmix_tensor;

#define SEQMIX_DL_CPU 1
#define SEQMIX_DL_INT 0
#define SEQMIX_DL_UINT 1
#define SEQMIX_DL_FLOAT 2
#define SEQMIX_DL_BFLOAT 4
#define SEQMIX_DL_BOOL 6

/* Sets of element types, as in seqmix_slot_info.dtypes: bit i. */
#define SEQMIX_DTYPE_F32 0x001u
#define SEQMIX_DTYPE_F64 0x002u
#define SEQMIX_DTYPE_F16 0x004u
#define SEQMIX_DTYPE_BF16 0x008u
#define SEQMIX_DTYPE_I8 0x010u
#define SEQMIX_DTYPE_U8 0x020u
#define SEQMIX_DTYPE_BOOL 0x040u
#define SEQMIX_DTYPE_I32 0x080u
#define SEQMIX_DTYPE_I64 0x100u

/* One tensor of a call. Frozen; passed in arrays. */
typedef struct seqmix_arg {
    int32_t slot;   /* seqmix_type_slot, or one of SEQMIX_SLOT_* */
    int32_t index;  /* which of a repeated tensor; 0 otherwise */
    uint32_t flags; /* bind: SEQMIX_BIND_COPY or SEQMIX_BIND_BORROW; forward: 0 */
    uint32_t reserved; /* 0 */
    const seqmix_tensor *tensor;
} seqmix_arg;

/* Slots with one number in every type. All optional.
 *  cu_seqlens (R+1) i64: x is (1,T,...) and row r is tokens [cu[r], cu[r+1]). States and every
 *                        per-row tensor then have R rows. The last may end before T: outputs are 0
 *                        behind it.
 *  lengths (B) i64:      right padding: outputs are 0 there, the state is the one at the last true
 *                        token, and neither convolution windows nor dt see the padding.
 *  rows (R) i64:         the state row that each row of the call continues (distinct).
 *  seq_idx (B,T) i32:    a change resets the state; negative is padding (outputs 0, not read).
 *  positions (B,T) i64:  the place of each token in its sequence; only for types whose
 *                        schema says so.
 *  cu_seqlens_k (R+1) i64, lengths_k (B) i64: the same two for the source, of types with tensors that
 *                        have the axis Tk. Packed rows need both cu_seqlens and cu_seqlens_k. */
#define SEQMIX_SLOT_CU_SEQLENS 1000
#define SEQMIX_SLOT_LENGTHS 1001
#define SEQMIX_SLOT_ROWS 1002
#define SEQMIX_SLOT_SEQ_IDX 1003
#define SEQMIX_SLOT_POSITIONS 1004
#define SEQMIX_SLOT_CU_SEQLENS_K 1005
#define SEQMIX_SLOT_LENGTHS_K 1006

/* ------------------------------------------------------------------ handles and callbacks */

typedef struct seqmix_context seqmix_context;
typedef struct seqmix_config seqmix_config;
typedef struct seqmix_layer seqmix_layer;
typedef struct seqmix_state seqmix_state;

/* Memory of handles, weights, states and scratch. Thread-safe; alloc returns memory aligned to
 * `align` (a power of two) or NULL, which becomes SEQMIX_ERR_NO_MEMORY. Must not throw or longjmp. */
typedef void *(*seqmix_alloc_fn)(void *user, size_t size, size_t align);
typedef void (*seqmix_free_fn)(void *user, void *ptr, size_t size, size_t align);

/* One piece of work: to be called once for every i in [0, n), from any thread, with worker in
 * [0, max_workers) and no two concurrent calls with the same worker. */
typedef void (*seqmix_task_fn)(void *arg, size_t i, size_t worker);

/* A host's executor. Returns when all n pieces are done; may run them serially and in any order.
 * 0 is success; another value becomes SEQMIX_ERR_CALLBACK and poisons the state in use. */
typedef int32_t (*seqmix_parallel_for_fn)(void *user, size_t n, seqmix_task_fn fn, void *arg);

/* Log lines, level SEQMIX_LOG_*. Called only from the thread that calls the library. */
typedef void (*seqmix_log_fn)(void *user, int32_t level, const char *message);

/* Asked between time chunks: done and total count tokens over all rows. Non-zero cancels the call. */
typedef int32_t (*seqmix_poll_fn)(void *user, uint64_t done, uint64_t total);

#define SEQMIX_LOG_ERROR 0
#define SEQMIX_LOG_WARNING 1
#define SEQMIX_LOG_INFO 2

/* ------------------------------------------------------------------ library */

/* The library's version, 0xMMmmpp. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API uint32_t seqmix_version(void) SEQMIX_NOEXCEPT;

/* The library's version as "M.m.p". Ownership: static. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_version_string(void) SEQMIX_NOEXCEPT;

/* How the library was built, as JSON: {"version","compiler","isa":[...],"debug"}; isa lists the
 * instruction set levels in this build, lowest first.
 * Ownership: static. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_build_info(void) SEQMIX_NOEXCEPT;

/* The name of a status code, "SEQMIX_ERR_SHAPE"; "SEQMIX_ERR_UNKNOWN" for values it does not know.
 * Ownership: static. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_status_name(seqmix_status status) SEQMIX_NOEXCEPT;

/* The message of the last failing call on this OS thread; "" before the first. One line, at most
 * 1023 bytes; not cleared by success.
 * Ownership: thread-local, valid until the next failing call on this thread. Threads: any.
 * Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_last_error(void) SEQMIX_NOEXCEPT;

/* The number of registered types. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API size_t seqmix_type_count(void) SEQMIX_NOEXCEPT;

/* The name of type i in [0, seqmix_type_count()); NULL beyond.
 * Ownership: static. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_type_name(size_t i) SEQMIX_NOEXCEPT;

/* The schema of a type as JSON (described by seqmix-schema.json): attributes, tensors, state,
 * capabilities; `seqmix types` shows it.
 * Ownership: static. Threads: any. Errors: NULL_ARGUMENT, UNKNOWN_TYPE. Since 0.1. */
SEQMIX_API seqmix_status seqmix_type_schema(const char *type, const char **json) SEQMIX_NOEXCEPT;

/* The number of a type's tensor slot, by name ("x", "in_proj.weight", "cu_seqlens"). Numbers never
 * change. Threads: any. Errors: NULL_ARGUMENT, UNKNOWN_TYPE, UNKNOWN_SLOT. Since 0.1. */
SEQMIX_API seqmix_status seqmix_type_slot(const char *type, const char *name,
                                          int32_t *slot) SEQMIX_NOEXCEPT;

/* ------------------------------------------------------------------ context */

typedef struct seqmix_context_options {
    uint32_t struct_size;
    uint32_t version;     /* SEQMIX_VERSION of the header compiled against; before 1.0 its major and
                             minor must be the library's; 0 skips the check */
    int32_t threads;      /* including the caller; 0 = number of CPUs; 1 = never start a thread */
    uint32_t allow_env;   /* non-zero: SEQMIX_ISA and SEQMIX_THREADS may override */
    const char *isa;      /* NULL = best; "reference", "generic", "avx2", "avx512" */
    seqmix_alloc_fn alloc; /* both or neither */
    seqmix_free_fn free;
    void *alloc_user;
    seqmix_parallel_for_fn parallel_for; /* replaces the library's own pool */
    void *parallel_user;
    size_t parallel_workers; /* max_workers of the executor, >= 1 when parallel_for is set */
    seqmix_log_fn log;
    void *log_user;
    const char *weights; /* matrices of layers made in this context: NULL or "stored" = as given, with
                            activations in f32; "bf16", "int8" (a factor for each row): converted
                            when the layer is bound, and activations may be rounded to the same
                            type before each product, row by row; the rows of embeddings are rounded
                            too. A file of seqmix_checkpoint_convert opens in its own format where
                            "stored" is asked for. The reference rounds nothing */
} seqmix_context_options;

/* Creates a context. options may be NULL (best instruction set, one thread per CPU, malloc, silent).
 * A level that the CPU or the build lacks is an error, never a silent fallback.
 * Ownership: the caller releases it. Threads: any.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (an isa that is no level's name, weights that are no
 * format's, threads or callbacks that make no sense), UNSUPPORTED_CPU (a level that the CPU or the build lacks), VERSION, NO_MEMORY.
 * Since 0.1. */
SEQMIX_API seqmix_status seqmix_context_create(const seqmix_context_options *options,
                                               seqmix_context **context) SEQMIX_NOEXCEPT;

/* Adds a reference and returns its argument. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API seqmix_context *seqmix_context_retain(seqmix_context *context) SEQMIX_NOEXCEPT;

/* Drops a reference; the last one (layers and states hold their own) stops the threads.
 * Threads: any. Errors: none. Since 0.1. */
SEQMIX_API void seqmix_context_release(seqmix_context *context) SEQMIX_NOEXCEPT;

/* What the context resolved to, as JSON: {"isa","isa_available":[...],"threads","executor"}; *needed
 * counts the terminating zero.
 * Ownership: the caller's buffer. Threads: any. Errors: NULL_ARGUMENT, BUFFER_TOO_SMALL. Since 0.1. */
SEQMIX_API seqmix_status seqmix_context_info(const seqmix_context *context, char *buf, size_t cap,
                                             size_t *needed) SEQMIX_NOEXCEPT;

/* ------------------------------------------------------------------ config */

/* A bag of typed attributes, checked against a type's schema when a layer is planned or opened
 * (unknown key, wrong type, out of range). Setting a key again replaces it; keys and values are
 * copied. All setters: Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */

/* Creates an empty config. Ownership: the caller destroys it. Threads: any.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_create(seqmix_config **config) SEQMIX_NOEXCEPT;

/* Copies a config. Ownership: the caller destroys the copy. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_clone(const seqmix_config *config,
                                             seqmix_config **copy) SEQMIX_NOEXCEPT;

/* Destroys a config; NULL is ignored. Threads: one at a time per config. Errors: none. Since 0.1. */
SEQMIX_API void seqmix_config_destroy(seqmix_config *config) SEQMIX_NOEXCEPT;

/* Sets an integer. Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_i64(seqmix_config *config, const char *key,
                                               int64_t value) SEQMIX_NOEXCEPT;

/* Sets a real number. Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_f64(seqmix_config *config, const char *key,
                                               double value) SEQMIX_NOEXCEPT;

/* Sets a switch (0 or not 0). Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_bool(seqmix_config *config, const char *key,
                                                int32_t value) SEQMIX_NOEXCEPT;

/* Sets a string. Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_str(seqmix_config *config, const char *key,
                                               const char *value) SEQMIX_NOEXCEPT;

/* Sets a list of n integers. Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_i64s(seqmix_config *config, const char *key,
                                                const int64_t *values, size_t n) SEQMIX_NOEXCEPT;

/* Sets a list of n real numbers. Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_f64s(seqmix_config *config, const char *key,
                                                const double *values, size_t n) SEQMIX_NOEXCEPT;

/* Sets every key of a flat JSON object ({"d_model":768,"silu":true,"init":"legs"}); nothing is set
 * when any of it cannot be read. Ownership: copies. Threads: one at a time per config.
 * Errors: NULL_ARGUMENT, BAD_FORMAT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_config_set_json(seqmix_config *config,
                                                const char *json) SEQMIX_NOEXCEPT;

/* ------------------------------------------------------------------ layer */

/* Plans a layer: checks the attributes (config may be NULL: all defaults) and resolves every size.
 * The result has no weights: slot_count, slot_info, bytes, info, init and bind work on it, forward
 * does not. Ownership: the caller releases it; it holds the context. Threads: any.
 * Errors: NULL_ARGUMENT, UNKNOWN_TYPE, UNKNOWN_ATTRIBUTE, ATTRIBUTE_TYPE, ATTRIBUTE_RANGE, LIMIT,
 * NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_plan(seqmix_context *context, const char *type,
                                           const seqmix_config *config,
                                           seqmix_layer **layer) SEQMIX_NOEXCEPT;

/* Fills the caller's weight tensors (any subset, f32 or f64, any strides) with the type's
 * initialisation. The same seed gives the same numbers on every machine. Ownership: none taken.
 * Threads: any. Errors: NULL_ARGUMENT, UNKNOWN_SLOT, DTYPE, SHAPE, UNSUPPORTED. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_init(const seqmix_layer *layer, uint64_t seed,
                                           const seqmix_arg *args, size_t n) SEQMIX_NOEXCEPT;

#define SEQMIX_BIND_COPY 0u   /* the layer keeps its own copy; the caller's memory is free after */
#define SEQMIX_BIND_BORROW 1u /* the layer reads the caller's memory, which must outlive it, stay
                                 unchanged, and be in C order (else SEQMIX_ERR_LAYOUT) */

/* Binds weights (all required ones; operations are bound with n = 0) and picks the kernels. The
 * planned layer stays usable. The same numbers come out for COPY and BORROW, bit for bit.
 * Ownership: the caller releases *bound. Threads: any.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (already bound), UNKNOWN_SLOT, MISSING_TENSOR, DTYPE, SHAPE,
 * LAYOUT, DEVICE, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_bind(const seqmix_layer *layer, const seqmix_arg *args,
                                           size_t n, seqmix_layer **bound) SEQMIX_NOEXCEPT;

/* Opens a checkpoint: a file (safetensors, torch zip, GGUF, llama2.c's .bin), or a folder with
 * config.json and model.safetensors, its index of shards, or torch's, or with one *.gguf. Gives a bound
 * layer of type "stack" whose files stay mapped. options (may be NULL) has the keys
 *   lenient  bool, false: an incomplete checkpoint opens for inspection; running it gives
 *            MISSING_TENSOR;
 *   scheme   str, "auto": the naming scheme, where it cannot be told from the tensors.
 * Ownership: the caller releases it. Threads: any.
 * Errors: NULL_ARGUMENT, UNKNOWN_ATTRIBUTE, ATTRIBUTE_TYPE, ATTRIBUTE_RANGE, IO, BAD_FORMAT,
 * UNSUPPORTED, MISSING_TENSOR, UNKNOWN_SLOT (unexpected tensors), SHAPE, DTYPE, LIMIT, NO_MEMORY.
 * Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_open(seqmix_context *context, const char *path,
                                           const seqmix_config *options,
                                           seqmix_layer **layer) SEQMIX_NOEXCEPT;

/* Writes a checkpoint as one safetensors file `to`, an old one being replaced when the new one is
 * complete. Its matrices (of linear maps and of embeddings) are in the context's format (`weights` of
 * its options), and are used from the mapped file as they lie; all else is as it was. Opened with
 * `weights` = stored, the file gives the numbers that the original gives in that format, bit for bit.
 * path and options as for seqmix_layer_open; a config.json beside the original belongs beside `to` too.
 * Ownership: none taken. Threads: any.
 * Errors: those of seqmix_layer_open; an incomplete checkpoint is MISSING_TENSOR. Since 0.1. */
SEQMIX_API seqmix_status seqmix_checkpoint_convert(seqmix_context *context, const char *path,
                                                   const seqmix_config *options,
                                                   const char *to) SEQMIX_NOEXCEPT;

/* Adds a reference and returns its argument. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API seqmix_layer *seqmix_layer_retain(seqmix_layer *layer) SEQMIX_NOEXCEPT;

/* Drops a reference; NULL is ignored. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API void seqmix_layer_release(seqmix_layer *layer) SEQMIX_NOEXCEPT;

/* The layer's type name; NULL for NULL. Ownership: static. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_layer_type(const seqmix_layer *layer) SEQMIX_NOEXCEPT;

/* What the layer is, as JSON:
 *   type, attributes {...}, bound, kernel (when bound), chunk (tokens, or "whole"), parameters,
 *   bytes {weights, state (of one row)}, isa;
 *   children [...] of a stack: the same of each, without isa and with its role: "embedding",
 *   "encoder", "block", "norm", "pool" or "head";
 *   of an opened checkpoint also format, scheme, vocab_size, d_model, d_input, n_classes (0 where the
 *   model has none), tied (the head's weight is the embedding's), file_bytes, and the names of
 *   missing [...], unexpected [...] and ignored [...] tensors.
 * Keys may be added.
 * Ownership: the layer's, valid until its release. Threads: any.
 * Errors: NULL_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_info(const seqmix_layer *layer,
                                           const char **json) SEQMIX_NOEXCEPT;

/* What a tensor slot of a layer is. */
typedef struct seqmix_slot_info {
    uint32_t struct_size;
    int32_t slot;
    uint32_t role;         /* SEQMIX_ROLE_* */
    uint32_t flags;        /* SEQMIX_SLOT_OPTIONAL | SEQMIX_SLOT_BOUND */
    uint32_t dtypes;       /* set of SEQMIX_DTYPE_* */
    int32_t ndim;          /* of the first alternative shape */
    int64_t shape[8];      /* sizes; SEQMIX_DIM_B, SEQMIX_DIM_T, SEQMIX_DIM_R, ... where the call decides */
    const char *name;      /* static */
    const char *shape_text; /* symbolic, alternatives separated by '|': "(D,N)|(B,T,N)"; static */
    const char *doc;       /* one line; static */
} seqmix_slot_info;

#define SEQMIX_ROLE_INPUT 0u
#define SEQMIX_ROLE_OUTPUT 1u
#define SEQMIX_ROLE_WEIGHT 2u
#define SEQMIX_ROLE_STATE 3u     /* a state tensor: seqmix_state_get and seqmix_state_set */
#define SEQMIX_ROLE_STATE_IN 4u  /* an operation's state in: absent means zero */
#define SEQMIX_ROLE_STATE_OUT 5u /* an operation's state out; may be the state in itself */
#define SEQMIX_ROLE_CONTROL 6u   /* cu_seqlens, lengths, rows, seq_idx, positions, and the source's two */

#define SEQMIX_SLOT_OPTIONAL 1u
#define SEQMIX_SLOT_BOUND 2u /* a weight that this layer holds */

#define SEQMIX_DIM_B (-1)
#define SEQMIX_DIM_T (-2)
#define SEQMIX_DIM_R (-3)
#define SEQMIX_DIM_R1 (-4) /* R + 1 */
#define SEQMIX_DIM_TK (-5) /* time of the source: keys and values */

/* The number of slots of a layer, controls included; 0 for NULL.
 * Threads: any. Errors: none. Since 0.1. */
SEQMIX_API size_t seqmix_layer_slot_count(const seqmix_layer *layer) SEQMIX_NOEXCEPT;

/* Fills *info for slot i in [0, slot_count). struct_size is set by the caller, and what lies behind
 * the fields that the library knows is zero, else VERSION.
 * Ownership: strings are static. Threads: any.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, VERSION. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_slot_info(const seqmix_layer *layer, size_t i,
                                                seqmix_slot_info *info) SEQMIX_NOEXCEPT;

/* Copies a bound weight out as it was stored (the tensor's dtype may be the stored one, f32 or f64).
 * Ownership: the caller's tensor. Threads: any.
 * Errors: NULL_ARGUMENT, UNKNOWN_SLOT, MISSING_TENSOR, DTYPE, SHAPE. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_get_weight(const seqmix_layer *layer, int32_t slot,
                                                 int32_t index,
                                                 const seqmix_tensor *tensor) SEQMIX_NOEXCEPT;

#define SEQMIX_BYTES_WEIGHTS 0 /* held by the layer, mapped and borrowed ones included */
#define SEQMIX_BYTES_STATE 1   /* of a state with `batch` rows */
#define SEQMIX_BYTES_SCRATCH 2 /* of one call with `batch` rows and `tokens` tokens over all rows */

/* How many bytes a layer takes; works on a plan too (weights: as if stored in f32).
 * Threads: any. Errors: NULL_ARGUMENT, INVALID_ARGUMENT, LIMIT. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_bytes(const seqmix_layer *layer, int32_t kind, int64_t batch,
                                            int64_t tokens, uint64_t *bytes) SEQMIX_NOEXCEPT;

/* The kernel that runs, "selective_scan/avx512"; NULL for NULL or a layer without weights.
 * Ownership: static. Threads: any. Errors: none. Since 0.1. */
SEQMIX_API const char *seqmix_layer_kernel_name(const seqmix_layer *layer) SEQMIX_NOEXCEPT;

/* Makes ready for concurrent_calls simultaneous calls of at most max_batch rows and max_tokens tokens
 * over all rows (and as many of a row's source, read in place: unit stride in the last axis), and starts the threads: afterwards no call within these bounds allocates or takes a
 * lock, the first included. Larger calls work and may allocate.
 * Ownership: memory stays with the context. Threads: any.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, LIMIT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_prepare(const seqmix_layer *layer, int64_t max_batch,
                                              int64_t max_tokens,
                                              int64_t concurrent_calls) SEQMIX_NOEXCEPT;

/* The number of children of a stack, in order of execution; 0 for other layers and NULL.
 * Threads: any. Errors: none. Since 0.1. */
SEQMIX_API size_t seqmix_layer_child_count(const seqmix_layer *layer) SEQMIX_NOEXCEPT;

/* Child i as a layer of its own. A stack's forward is its children's in turn, bit for bit (at level
 * reference when what goes from child to child is f64): each child's y is the next one's x. A pool
 * has one vector a row and no time left, y (R,D); the head takes the same memory as x (R,1,D).
 * Ownership: the caller releases it; it keeps what it needs alive. Threads: any.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_child(const seqmix_layer *layer, size_t i,
                                            seqmix_layer **child) SEQMIX_NOEXCEPT;

typedef struct seqmix_forward_options {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    seqmix_poll_fn poll;
    void *poll_user;
} seqmix_forward_options;

/* Runs the layer over T >= 0 tokens of B rows, from the state and into it: prefill, chunk and single
 * step are this one call, and give the same numbers however the input is cut. state must be NULL for
 * operations (types ending in _op) and may be NULL for stateless layers. Outputs are optional where
 * the schema says so; what is not asked for is not computed. options may be NULL.
 * On every error but CANCELLED the state is as it was, except CALLBACK and INTERNAL, which poison it.
 * On CANCELLED each row's `position` tells how many tokens are consumed; their outputs are valid.
 * Ownership: none taken. Threads: any number on one layer; one at a time per state.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, UNKNOWN_SLOT, MISSING_TENSOR, DTYPE, SHAPE, LAYOUT, ALIASING,
 * DEVICE, STATE_MISMATCH, UNSUPPORTED, BUSY, CANCELLED, CALLBACK, NO_MEMORY, STATE_POISONED, VERSION.
 * Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_forward(const seqmix_layer *layer, seqmix_state *state,
                                              const seqmix_arg *args, size_t n,
                                              const seqmix_forward_options *options) SEQMIX_NOEXCEPT;

typedef struct seqmix_materialize_options {
    uint32_t struct_size;
    int32_t kind;       /* 0: the mixing matrix; further kinds are in the schema */
    int64_t first;      /* first output position, counted from the call's first token */
    int64_t count;      /* output positions; 0 = all from first on */
    int64_t lane_first; /* first lane: a head (dv wide) or a channel (dv = 1) */
    int64_t lane_count; /* lanes; 0 = all from lane_first on */
} seqmix_materialize_options;

/* The mixing matrix of the layer for this input, with the operands that make it checkable:
 *   M (B, lanes, count, S), v (B, lanes, S, dv), y_core (B, lanes, count, dv);  y_core = M v
 * over the S tokens of the call (Tk of the source where there is one), from a zero state; gates and projections after the mixer are not in
 * it. f32 or f64; any of the three may be NULL. The state is neither needed nor changed.
 * Ownership: the caller's tensors. Threads: any.
 * Errors: as forward, and UNSUPPORTED where the type has no such matrix. Since 0.1. */
SEQMIX_API seqmix_status seqmix_layer_materialize(
    const seqmix_layer *layer, const seqmix_state *state, const seqmix_arg *args, size_t n,
    const seqmix_materialize_options *options, const seqmix_tensor *M, const seqmix_tensor *v,
    const seqmix_tensor *y_core) SEQMIX_NOEXCEPT;

/* ------------------------------------------------------------------ state */

typedef struct seqmix_state_options {
    uint32_t struct_size;
    uint32_t flags;          /* for seqmix_state_load: SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS */
    int64_t batch;           /* rows, >= 0; 0 in seqmix_state_load: as saved */
    int64_t capacity_tokens; /* 0 = grow; for states that grow with the past */
    int64_t capacity_memory; /* 0 = grow; for stored memory of cross attention */
    int64_t snapshot_slots;  /* snapshots that can exist at once, per row */
} seqmix_state_options;

#define SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS 1u

/* Creates a state at position 0, all zeros. options NULL: one row, no snapshots.
 * Ownership: the caller destroys it; it holds the layer. Threads: any.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, UNSUPPORTED (operations), LIMIT, NO_MEMORY, VERSION.
 * Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_create(const seqmix_layer *layer,
                                             const seqmix_state_options *options,
                                             seqmix_state **state) SEQMIX_NOEXCEPT;

/* Copies a state with its positions and snapshots (beam search, forking a prompt). A clone of a view
 * is a state of its own. Ownership: the caller destroys the copy. Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, BUSY, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_clone(const seqmix_state *state,
                                            seqmix_state **copy) SEQMIX_NOEXCEPT;

/* Destroys a state; NULL is ignored; views made of it stay valid.
 * Threads: one at a time per state. Errors: none. Since 0.1. */
SEQMIX_API void seqmix_state_destroy(seqmix_state *state) SEQMIX_NOEXCEPT;

/* Sets row (or -1: all rows) to zeros at position 0, drops its snapshots and heals a poisoned state.
 * Threads: one at a time per state. Errors: NULL_ARGUMENT, INVALID_ARGUMENT, BUSY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_reset(seqmix_state *state, int64_t row) SEQMIX_NOEXCEPT;

/* The number of tokens that a row has consumed: padding by seq_idx counts, padding by lengths and what
 * is behind cu_seqlens does not. Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, STATE_MISMATCH (children driven apart). Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_position(const seqmix_state *state, int64_t row,
                                               int64_t *position) SEQMIX_NOEXCEPT;

/* Bytes that the state takes, snapshots included; 0 for NULL.
 * Threads: one at a time per state. Errors: none. Since 0.1. */
SEQMIX_API uint64_t seqmix_state_bytes(const seqmix_state *state) SEQMIX_NOEXCEPT;

/* Copies row j of src over row i of dst (the same layer; may be one state) and drops the snapshots of
 * dst's row. Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, STATE_MISMATCH, BUSY, STATE_POISONED. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_copy_row(seqmix_state *dst, int64_t i,
                                               const seqmix_state *src, int64_t j) SEQMIX_NOEXCEPT;

/* Copies a state tensor out, (R, ...) in the schema's canonical layout, to f32 or f64. A stack has
 * its tensors in its children: take seqmix_state_child first.
 * Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, UNKNOWN_SLOT, DTYPE, SHAPE, BUSY, STATE_POISONED. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_get(const seqmix_state *state, int32_t slot, int32_t index,
                                          const seqmix_tensor *tensor) SEQMIX_NOEXCEPT;

/* Copies a state tensor in, (R, ...) f32 or f64, and drops all snapshots. Positions stay. A poisoned
 * state heals when all of its tensors have been set.
 * Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, UNKNOWN_SLOT, DTYPE, SHAPE, BUSY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_set(seqmix_state *state, int32_t slot, int32_t index,
                                          const seqmix_tensor *tensor) SEQMIX_NOEXCEPT;

/* Child i's part of the same state, for driving a stack child by child. It shares the state's memory
 * and busy flag. Ownership: the caller destroys the view; it retains the state.
 * Threads: one at a time per state. Errors: NULL_ARGUMENT, INVALID_ARGUMENT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_child(const seqmix_state *state, size_t i,
                                            seqmix_state **view) SEQMIX_NOEXCEPT;

/* Writes the state as a blob: versioned, checksummed, little-endian, the same on every instruction
 * set. Snapshots are not saved. Two-call form.
 * Ownership: the caller's buffer. Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, BUFFER_TOO_SMALL, BUSY, STATE_POISONED. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_save(const seqmix_state *state, void *buf, size_t cap,
                                           size_t *needed) SEQMIX_NOEXCEPT;

/* Makes a state from a blob. The layer must be of the same type, attributes and weights (weights that
 * differ are accepted with SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS). The blob may be hostile.
 * Ownership: the caller destroys it. Threads: any.
 * Errors: NULL_ARGUMENT, BAD_FORMAT, VERSION, STATE_MISMATCH, LIMIT, NO_MEMORY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_load(const seqmix_layer *layer, const void *buf, size_t n,
                                           const seqmix_state_options *options,
                                           seqmix_state **state) SEQMIX_NOEXCEPT;

/* Remembers row (or -1: every row, one slot each) as it is now. Allocates nothing.
 * Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT, CAPACITY (no free slot), BUSY, STATE_POISONED. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_snapshot(seqmix_state *state, int64_t row,
                                               int64_t *id) SEQMIX_NOEXCEPT;

/* Sets row (or -1: every row that the snapshot has) back to it, exactly, keeps the snapshot and drops
 * the row's later ones. Heals a poisoned state when all rows are set back.
 * Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (unknown id, or without that row), BUSY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_rollback(seqmix_state *state, int64_t row,
                                               int64_t id) SEQMIX_NOEXCEPT;

/* Forgets a snapshot and frees its slots. Threads: one at a time per state.
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (unknown id), BUSY. Since 0.1. */
SEQMIX_API seqmix_status seqmix_state_drop(seqmix_state *state, int64_t id) SEQMIX_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* SEQMIX_SEQMIX_H */
