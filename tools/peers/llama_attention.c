/* ggml's flash attention as a peer of attention_op's rows: f32, 12 heads of 64, one sequence of T
 * tokens, full and causal (by its mask; it skips no hidden block). Built and run by tools/peers/llama.
 *
 * usage: llama_attention THREADS T...    one line a length: T, full and causal in microseconds */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-cpu.h"
#include "ggml.h"

enum { HEADS = 12, WIDTH = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void fill(struct ggml_tensor *x, unsigned seed) {
    float *values = (float *)x->data;
    const int64_t count = ggml_nelements(x);
    for (int64_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
    }
}

/* The best of several calls. */
static double measure(int threads, int64_t T, int causal) {
    const size_t bytes = (size_t)(T * HEADS * WIDTH) * 4 * 4 + (size_t)(T * T) * 2 * (size_t)causal +
                         ((size_t)64 << 20);
    const struct ggml_init_params params = {bytes, NULL, false};
    struct ggml_context *ctx = ggml_init(params);
    struct ggml_tensor *qkv[3];
    for (unsigned i = 0; i < 3; ++i) {
        qkv[i] = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, WIDTH, T, HEADS);
        fill(qkv[i], i + 1);
    }
    struct ggml_tensor *mask = NULL;
    if (causal) {
        mask = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, T, T);
        for (int64_t t = 0; t < T; ++t) {
            for (int64_t s = 0; s < T; ++s) {
                ((ggml_fp16_t *)mask->data)[t * T + s] =
                    ggml_fp32_to_fp16(s <= t ? 0.0f : -INFINITY);
            }
        }
    }
    struct ggml_tensor *y = ggml_flash_attn_ext(ctx, qkv[0], qkv[1], qkv[2], mask,
                                                1.0f / sqrtf((float)WIDTH), 0.0f, 0.0f);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, y);
    struct ggml_cplan plan = ggml_graph_plan(graph, threads, NULL);
    plan.work_data = malloc(plan.work_size + 1);
    double best = INFINITY;
    const double start = now();
    for (int i = 0; i < 2 || (i < 20 && now() - start < 1.5e6); ++i) {
        const double begin = now();
        if (ggml_graph_compute(graph, &plan) != GGML_STATUS_SUCCESS) {
            fprintf(stderr, "ggml_graph_compute failed\n");
            exit(1);
        }
        const double took = now() - begin;
        best = took < best ? took : best;
    }
    free(plan.work_data);
    ggml_free(ctx);
    return best;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    ggml_cpu_init();
    const int threads = atoi(argv[1]);
    for (int i = 2; i < argc; ++i) {
        const int64_t T = atoll(argv[i]);
        printf("%lld %.1f %.1f\n", (long long)T, measure(threads, T, 0), measure(threads, T, 1));
        fflush(stdout);
    }
    return 0;
}
