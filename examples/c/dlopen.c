/* The library without linking it: dlopen, symbols by name, text. What a plugin host or a language's
 * foreign function interface does.
 *
 *   cc -I include dlopen.c -ldl && ./a.out libseqmix.so.0 models/shakespeare
 *
 * The header is used for the structures and constants only.
 */
#include <seqmix/seqmix.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The functions that this program needs, with their types. */
static uint32_t (*version)(void);
static const char* (*last_error)(void);
static seqmix_status (*type_slot)(const char*, const char*, int32_t*);
static seqmix_status (*context_create)(const seqmix_context_options*, seqmix_context**);
static void (*context_release)(seqmix_context*);
static seqmix_status (*layer_open)(seqmix_context*, const char*, const seqmix_config*,
                                   seqmix_layer**);
static void (*layer_release)(seqmix_layer*);
static size_t (*layer_slot_count)(const seqmix_layer*);
static seqmix_status (*layer_slot_info)(const seqmix_layer*, size_t, seqmix_slot_info*);
static seqmix_status (*layer_forward)(const seqmix_layer*, seqmix_state*, const seqmix_arg*, size_t,
                                      const seqmix_forward_options*);
static seqmix_status (*state_create)(const seqmix_layer*, const seqmix_state_options*,
                                     seqmix_state**);
static void (*state_destroy)(seqmix_state*);

/* Stores the symbol's address in a function pointer; C has no cast from data to function pointers,
 * POSIX promises that the bytes are the same. */
static void resolve(void* library, const char* name, void* pointer) {
    void* address = dlsym(library, name);
    if (address == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(pointer, &address, sizeof address);
}

static void check(seqmix_status status) {
    if (status != SEQMIX_OK) {
        fprintf(stderr, "error %d: %s\n", (int)status, last_error());
        exit(1);
    }
}

int main(int argc, char** argv) {
    const char* path = argc > 1 ? argv[1] : "libseqmix.so.0";
    const char* model_path = argc > 2 ? argv[2] : "models/shakespeare";
    const char* prompt = argc > 3 && argv[3][0] != '\0' ? argv[3] : "ROMEO:\nWhat light";
    int count = argc > 4 ? atoi(argv[4]) : 200;
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    seqmix_context* context;
    seqmix_context_options options;
    seqmix_layer* model;
    seqmix_state* state;
    seqmix_tensor tokens, logits;
    seqmix_arg args[2];
    int64_t tokens_shape[2], logits_shape[2], i;
    int32_t* token_data;
    float* logit_data;
    size_t s;

    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    resolve(library, "seqmix_version", &version);
    resolve(library, "seqmix_last_error", &last_error);
    resolve(library, "seqmix_type_slot", &type_slot);
    resolve(library, "seqmix_context_create", &context_create);
    resolve(library, "seqmix_context_release", &context_release);
    resolve(library, "seqmix_layer_open", &layer_open);
    resolve(library, "seqmix_layer_release", &layer_release);
    resolve(library, "seqmix_layer_slot_count", &layer_slot_count);
    resolve(library, "seqmix_layer_slot_info", &layer_slot_info);
    resolve(library, "seqmix_layer_forward", &layer_forward);
    resolve(library, "seqmix_state_create", &state_create);
    resolve(library, "seqmix_state_destroy", &state_destroy);

    /* Structures may grow: zero them, say how large yours is, and which header you saw. A library of
     * another ABI then refuses with both versions in its message, instead of misreading you. */
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.version = SEQMIX_VERSION;
    check(context_create(&options, &context));
    fprintf(stderr, "library version %#x\n", (unsigned)version());
    check(layer_open(context, model_path, NULL, &model));
    check(state_create(model, NULL, &state));

    memset(args, 0, sizeof args);
    check(type_slot("stack", "tokens", &args[0].slot));
    check(type_slot("stack", "logits_last", &args[1].slot));
    logits_shape[1] = 0;
    for (s = 0; s < layer_slot_count(model); ++s) {
        seqmix_slot_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        check(layer_slot_info(model, s, &info));
        if (info.slot == args[1].slot) {
            logits_shape[1] = info.shape[info.ndim - 1]; /* the vocabulary */
        }
    }

    tokens_shape[0] = logits_shape[0] = 1;
    tokens_shape[1] = (int64_t)strlen(prompt);
    token_data = calloc((size_t)tokens_shape[1], sizeof *token_data);
    logit_data = calloc((size_t)logits_shape[1], sizeof *logit_data);
    if (token_data == NULL || logit_data == NULL) {
        return 1;
    }
    memset(&tokens, 0, sizeof tokens);
    tokens.data = token_data;
    tokens.device.device_type = SEQMIX_DL_CPU;
    tokens.ndim = 2;
    tokens.dtype.code = SEQMIX_DL_INT;
    tokens.dtype.bits = 32;
    tokens.dtype.lanes = 1;
    tokens.shape = tokens_shape;
    logits = tokens;
    logits.data = logit_data;
    logits.dtype.code = SEQMIX_DL_FLOAT;
    logits.shape = logits_shape;
    args[0].tensor = &tokens;
    args[1].tensor = &logits;

    for (i = 0; i < tokens_shape[1]; ++i) {
        token_data[i] = (unsigned char)prompt[i];
    }
    fputs(prompt, stdout);
    while (count-- > 0) {
        int32_t best = 0, v;
        check(layer_forward(model, state, args, 2, NULL));
        for (v = 1; v < logits_shape[1]; ++v) {
            if (logit_data[v] > logit_data[best]) {
                best = v;
            }
        }
        putchar(best);
        fflush(stdout);
        token_data[0] = best;
        tokens_shape[1] = 1;
    }
    putchar('\n');
    state_destroy(state);
    layer_release(model);
    context_release(context);
    free(token_data);
    free(logit_data);
    return dlclose(library) == 0 ? 0 : 1;
}
