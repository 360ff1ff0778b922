/* The memory of a whole model: opening it and a prefill of T = 8192 tokens takes at most
 *   weights + state + 64 MB
 * of resident memory at its highest. The growth is VmHWM at the end (the most pages that were ever
 * resident) less VmRSS at the start (the program, its libraries, the tokens and the room for the
 * outputs, all of them touched before); nothing else is subtracted. Weights are mapped from the file
 * and count as weights (seqmix_layer_bytes), whether or not their pages are resident.
 *
 * usage: memory MODEL      a checkpoint
 *        memory --wide     one of mamba-130m's width, 4 layers deep, which the program writes first */
#define _GNU_SOURCE
#include "abi_test.h"

#include <unistd.h>

#define T 8192
#define BAR (64.0e6)

/* A line of /proc/self/status, in bytes. */
static double status_bytes(const char* name) {
    char line[256];
    double kilobytes = -1;
    FILE* file = fopen("/proc/self/status", "r");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kilobytes = strtod(line + strlen(name), NULL);
        }
    }
    fclose(file);
    REQUIRE(kilobytes >= 0);
    return kilobytes * 1024;
}

/* ------------------------------------------------------------------ the wide model */

enum { D = 768, E = 1536, N = 16, R = 48, K = 4, V = 50280, LAYERS = 4 };

typedef struct weight {
    char name[128];
    int64_t shape[3];
    int ndim;
    float low, high;
} weight;

static void add(weight* list, int* n, const char* prefix, const char* name, int ndim, int64_t a,
                int64_t b, int64_t c, float low, float high) {
    weight* w = &list[(*n)++];
    snprintf(w->name, sizeof w->name, "%s%s", prefix, name);
    w->ndim = ndim;
    w->shape[0] = a;
    w->shape[1] = b;
    w->shape[2] = c;
    w->low = low;
    w->high = high;
}

static int64_t bytes_of(const weight* w) {
    int64_t bytes = 4;
    int d;
    for (d = 0; d < w->ndim; ++d) {
        bytes *= w->shape[d];
    }
    return bytes;
}

/* Written piece by piece: what this takes is resident before the start, and would hide growth. */
static void write_wide_model(const char* path) {
    static weight list[LAYERS * 10 + 2];
    static char header[16384];
    static float piece[4096];
    uint64_t seed = 1, length;
    int64_t at = 0;
    int n = 0, i;
    char* to = header;
    FILE* file;
    add(list, &n, "", "backbone.embedding.weight", 2, V, D, 0, -0.04f, 0.04f);
    add(list, &n, "", "backbone.norm_f.weight", 1, D, 0, 0, 0.9f, 1.1f);
    for (i = 0; i < LAYERS; ++i) {
        char p[64];
        snprintf(p, sizeof p, "backbone.layers.%d.", i);
        add(list, &n, p, "norm.weight", 1, D, 0, 0, 0.9f, 1.1f);
        add(list, &n, p, "mixer.in_proj.weight", 2, 2 * E, D, 0, -0.03f, 0.03f);
        add(list, &n, p, "mixer.conv1d.weight", 3, E, 1, K, -0.5f, 0.5f);
        add(list, &n, p, "mixer.conv1d.bias", 1, E, 0, 0, -0.5f, 0.5f);
        add(list, &n, p, "mixer.x_proj.weight", 2, R + 2 * N, E, 0, -0.03f, 0.03f);
        add(list, &n, p, "mixer.dt_proj.weight", 2, E, R, 0, -0.1f, 0.1f);
        add(list, &n, p, "mixer.dt_proj.bias", 1, E, 0, 0, -6.0f, -3.0f);
        add(list, &n, p, "mixer.A_log", 2, E, N, 0, 0.0f, 2.7f);
        add(list, &n, p, "mixer.D", 1, E, 0, 0, 0.9f, 1.1f);
        add(list, &n, p, "mixer.out_proj.weight", 2, D, E, 0, -0.03f, 0.03f);
    }
    for (i = 0; i < n; ++i) {
        int d;
        to += sprintf(to, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", i == 0 ? "{" : ",",
                      list[i].name);
        for (d = 0; d < list[i].ndim; ++d) {
            to += sprintf(to, "%s%lld", d == 0 ? "" : ",", (long long)list[i].shape[d]);
        }
        to += sprintf(to, "],\"data_offsets\":[%lld,%lld]}", (long long)at,
                      (long long)(at + bytes_of(&list[i])));
        at += bytes_of(&list[i]);
    }
    *to++ = '}';
    while ((to - header) % 8 != 0) {
        *to++ = ' ';
    }
    length = (uint64_t)(to - header);
    file = fopen(path, "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(&length, 1, 8, file) == 8);
    REQUIRE(fwrite(header, 1, (size_t)length, file) == length);
    for (i = 0; i < n; ++i) {
        int64_t left = bytes_of(&list[i]) / 4;
        while (left > 0) {
            const int64_t count = left < 4096 ? left : 4096;
            int64_t k;
            for (k = 0; k < count; ++k) {
                piece[k] =
                    list[i].low + (list[i].high - list[i].low) * 0.5f * (uniform(&seed) + 1.0f);
            }
            REQUIRE(fwrite(piece, 4, (size_t)count, file) == (size_t)count);
            left -= count;
        }
    }
    REQUIRE(fclose(file) == 0);
}

/* ------------------------------------------------------------------ the measurement */

static void measure(const char* path) {
    int64_t tokens_shape[2] = {1, T}, logits_shape[2] = {1, V};
    seqmix_context* context = NULL;
    seqmix_layer* model = NULL;
    seqmix_state* state = NULL;
    array tokens, logits;
    seqmix_arg args[2];
    uint64_t seed = 3, weights = 0;
    double start, growth, state_size;
    const float* values;
    size_t i;
    array_make(&tokens, SEQMIX_DL_INT, 32, 2, tokens_shape);
    array_make(&logits, SEQMIX_DL_FLOAT, 32, 2, logits_shape);
    for (i = 0; i < T; ++i) {
        ((int32_t*)tokens.data)[i] = 32 + (int32_t)((uniform(&seed) + 1.0f) * 47.0f);
    }
    memset(logits.data, 1, logits.bytes);
    start = status_bytes("VmRSS:");

    REQUIRE_OK(seqmix_context_create(NULL, &context));
    REQUIRE_OK(seqmix_layer_open(context, path, NULL, &model));
    REQUIRE_OK(seqmix_state_create(model, NULL, &state));
    memset(args, 0, sizeof args);
    REQUIRE_OK(seqmix_type_slot("stack", "tokens", &args[0].slot));
    REQUIRE_OK(seqmix_type_slot("stack", "logits_last", &args[1].slot));
    args[0].tensor = &tokens.tensor;
    args[1].tensor = &logits.tensor;
    for (i = 0; i < seqmix_layer_slot_count(model); ++i) {
        seqmix_slot_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        REQUIRE_OK(seqmix_layer_slot_info(model, i, &info));
        if (info.slot == args[1].slot) {
            logits.shape[1] = info.shape[1];
        }
    }
    REQUIRE(logits.shape[1] <= V);
    REQUIRE_OK(seqmix_layer_forward(model, state, args, 2, NULL));
    growth = status_bytes("VmHWM:") - start;

    REQUIRE_OK(seqmix_layer_bytes(model, SEQMIX_BYTES_WEIGHTS, 1, T, &weights));
    state_size = (double)seqmix_state_bytes(state);
    printf("from %.1f MB by %.1f MB; weights %.1f, state %.2f: %.1f MB of 64 taken\n", start / 1e6,
           growth / 1e6, (double)weights / 1e6, state_size / 1e6,
           (growth - (double)weights - state_size) / 1e6);
    CHECK(growth <= (double)weights + state_size + BAR);
    /* The measurement saw the work: the head alone reads every weight of a tied table. */
    CHECK(growth > 0.9 * (double)weights);
    values = (const float*)logits.data;
    CHECK(values[0] == values[0] && values[0] != values[1]);
    free(tokens.data);
    free(logits.data);
    seqmix_state_destroy(state);
    seqmix_layer_release(model);
    seqmix_context_release(context);
}

static char folder[4096], file[4200];

static void clean_up(void) {
    unlink(file);
    rmdir(folder);
}

int main(int argc, char** argv) {
    REQUIRE(argc == 2);
    if (strcmp(argv[1], "--wide") == 0) {
        const char* temporary = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/seqmix_memory_XXXXXX",
                 temporary != NULL ? temporary : "/tmp");
        REQUIRE(mkdtemp(folder) != NULL);
        snprintf(file, sizeof file, "%s/model.safetensors", folder);
        atexit(clean_up);
        write_wide_model(file);
        measure(file);
    } else {
        measure(argv[1]);
    }
    return finish();
}
