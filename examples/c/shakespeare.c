/* Streams text from a model, then drives the same model layer by layer.
 *
 *   cc shakespeare.c $(pkg-config --cflags --libs seqmix) && ./a.out models/shakespeare "ROMEO:"
 *
 * Part 1 is all that a text generator needs: open, make a state, forward. The prompt and each new byte
 * are the same call; only the number of tokens differs.
 * Part 2 shows that a model is nothing but its children run in turn: the same logits come out, bit for
 * bit. A host can stop between them, look at what passes, or run them on different machines.
 *
 * The text goes to standard output, everything else to standard error. Exit status 1: something failed.
 */
#include <seqmix/seqmix.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the library's message when a call fails. */
static void check(seqmix_status status) {
    if (status != SEQMIX_OK) {
        fprintf(stderr, "%s: %s\n", seqmix_status_name(status), seqmix_last_error());
        exit(1);
    }
}

/* A tensor is a view of your memory: a pointer, an element type and sizes. Nothing is copied. */
static seqmix_tensor view(void* data, uint8_t code, int32_t ndim, int64_t* shape) {
    seqmix_tensor t;
    memset(&t, 0, sizeof t);
    t.data = data;
    t.device.device_type = SEQMIX_DL_CPU;
    t.ndim = ndim;
    t.dtype.code = code; /* SEQMIX_DL_INT or SEQMIX_DL_FLOAT, 32 bits each */
    t.dtype.bits = 32;
    t.dtype.lanes = 1;
    t.shape = shape; /* strides stay NULL: C order */
    return t;
}

/* An argument of a call: which tensor of the layer's type, by name. */
static seqmix_arg arg(const seqmix_layer* layer, const char* name, const seqmix_tensor* tensor) {
    seqmix_arg a;
    memset(&a, 0, sizeof a);
    check(seqmix_type_slot(seqmix_layer_type(layer), name, &a.slot));
    a.tensor = tensor;
    return a;
}

/* The last size of a slot: for "logits" the vocabulary, for a layer's "y" its width. */
static int64_t width(const seqmix_layer* layer, const char* name) {
    size_t i;
    for (i = 0; i < seqmix_layer_slot_count(layer); ++i) {
        seqmix_slot_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        check(seqmix_layer_slot_info(layer, i, &info));
        if (strcmp(info.name, name) == 0) {
            return info.shape[info.ndim - 1];
        }
    }
    fprintf(stderr, "no slot '%s'\n", name);
    exit(1);
}

static void* allocate(int64_t count) {
    void* memory = calloc((size_t)count, 4);
    if (memory == NULL) {
        exit(1);
    }
    return memory;
}

/* Part 1: the prompt, then `count` bytes, each the likeliest one. */
static void stream(const seqmix_layer* model, const char* prompt, int count) {
    const int64_t length = (int64_t)strlen(prompt);
    const int64_t vocabulary = width(model, "logits_last");
    int32_t* tokens = allocate(length);
    float* logits = allocate(vocabulary);
    int64_t tokens_shape[2] = {1, 0}, logits_shape[2] = {1, 0}; /* (B,T) and (B,V) */
    seqmix_tensor tokens_view = view(tokens, SEQMIX_DL_INT, 2, tokens_shape);
    seqmix_tensor logits_view = view(logits, SEQMIX_DL_FLOAT, 2, logits_shape);
    seqmix_arg args[2];
    seqmix_state* state;
    int64_t i;

    args[0] = arg(model, "tokens", &tokens_view);
    args[1] = arg(model, "logits_last", &logits_view);
    check(seqmix_state_create(model, NULL, &state)); /* one row, at position 0 */

    logits_shape[1] = vocabulary;
    tokens_shape[1] = length;
    for (i = 0; i < length; ++i) {
        tokens[i] = (unsigned char)prompt[i]; /* this model reads bytes */
    }
    fputs(prompt, stdout);
    while (count-- > 0) {
        int32_t best = 0, v;
        check(seqmix_layer_forward(model, state, args, 2, NULL));
        for (v = 1; v < vocabulary; ++v) {
            if (logits[v] > logits[best]) {
                best = v;
            }
        }
        putchar(best);
        fflush(stdout);
        tokens[0] = best; /* from here on: one token a call */
        tokens_shape[1] = 1;
    }
    putchar('\n');
    seqmix_state_destroy(state);
    free(tokens);
    free(logits);
}

/* Part 2: logits of the whole model and of its children in turn. Returns whether they are equal. */
static int child_by_child(const seqmix_layer* model, const char* text) {
    const int64_t length = (int64_t)strlen(text);
    const int64_t vocabulary = width(model, "logits");
    int32_t* tokens = allocate(length);
    float *whole = allocate(length * vocabulary), *x = NULL;
    int64_t tokens_shape[2], logits_shape[3], x_shape[3], y_shape[3];
    seqmix_tensor tokens_view = view(tokens, SEQMIX_DL_INT, 2, tokens_shape);
    seqmix_tensor whole_view = view(whole, SEQMIX_DL_FLOAT, 3, logits_shape);
    seqmix_state *state, *parts;
    seqmix_arg args[2];
    size_t i;
    int equal;

    for (i = 0; i < (size_t)length; ++i) {
        tokens[i] = (unsigned char)text[i];
    }
    tokens_shape[0] = logits_shape[0] = x_shape[0] = y_shape[0] = 1;
    tokens_shape[1] = logits_shape[1] = x_shape[1] = y_shape[1] = length;
    logits_shape[2] = vocabulary;
    check(seqmix_state_create(model, NULL, &state));
    args[0] = arg(model, "tokens", &tokens_view);
    args[1] = arg(model, "logits", &whole_view);
    check(seqmix_layer_forward(model, state, args, 2, NULL));

    /* A fresh state, of which each child gets its own part. */
    check(seqmix_state_create(model, NULL, &parts));
    for (i = 0; i < seqmix_layer_child_count(model); ++i) {
        seqmix_layer* child;
        seqmix_state* part;
        seqmix_tensor x_view, y_view;
        float* y;
        check(seqmix_layer_child(model, i, &child));
        check(seqmix_state_child(parts, i, &part));
        y_shape[2] = width(child, "y");
        y = allocate(length * y_shape[2]);
        x_view = view(x, SEQMIX_DL_FLOAT, 3, x_shape);
        y_view = view(y, SEQMIX_DL_FLOAT, 3, y_shape);
        /* The first child, the embedding, reads tokens; all others read what the one before wrote. */
        args[0] = i == 0 ? arg(child, "tokens", &tokens_view) : arg(child, "x", &x_view);
        args[1] = arg(child, "y", &y_view);
        check(seqmix_layer_forward(child, part, args, 2, NULL));
        fprintf(stderr, "%2d  %-10s width %d\n", (int)i, seqmix_layer_type(child), (int)y_shape[2]);
        seqmix_state_destroy(part);
        seqmix_layer_release(child);
        free(x);
        x = y;
        x_shape[2] = y_shape[2];
    }
    equal = x_shape[2] == vocabulary &&
            memcmp(x, whole, (size_t)(length * vocabulary) * sizeof *x) == 0;
    seqmix_state_destroy(parts);
    seqmix_state_destroy(state);
    free(tokens);
    free(whole);
    free(x);
    return equal;
}

int main(int argc, char** argv) {
    const char* path = argc > 1 ? argv[1] : "models/shakespeare";
    const char* prompt = argc > 2 && argv[2][0] != '\0' ? argv[2] : "ROMEO:\nWhat light";
    const int count = argc > 3 ? atoi(argv[3]) : 200;
    seqmix_context* context;
    seqmix_layer* model;
    int equal;

    check(seqmix_context_create(NULL, &context)); /* the best instruction set, all CPUs */
    check(seqmix_layer_open(context, path, NULL, &model));
    stream(model, prompt, count);
    equal = child_by_child(model, prompt);
    fprintf(stderr, "child by child: %s\n", equal ? "the same bits" : "DIFFERENT");
    seqmix_layer_release(model); /* in any order: each handle keeps alive what it was made from */
    seqmix_context_release(context);
    return equal ? 0 : 1;
}
