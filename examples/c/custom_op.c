/* One operation on plain arrays, without any model: a causal convolution over time, as a filter in an
 * audio program would use it, in blocks of any size.
 *
 *   y[t][d] = bias[d] + sum over k of weight[d][k] * x[t - (K-1) + k][d]
 *
 * An operation (a type whose name ends in _op) takes every tensor with the call, its memory of the past
 * too: state_in is what the previous block left in state_out, here one array updated in place.
 * Exit status 1: the blocks differ from the whole, or from the formula above.
 */
#include <seqmix/seqmix.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = 100, D = 3, K = 4 }; /* time, channels, taps */

static void check(seqmix_status status) {
    if (status != SEQMIX_OK) {
        fprintf(stderr, "%s: %s\n", seqmix_status_name(status), seqmix_last_error());
        exit(1);
    }
}

/* The arguments of a call under construction. */
typedef struct call {
    seqmix_tensor tensors[8];
    int64_t shapes[8][3];
    seqmix_arg args[8];
    size_t n;
} call;

/* Adds a float tensor with one to three sizes. */
static void add(call* c, const char* name, const float* data, int32_t ndim, int64_t size0,
                int64_t size1, int64_t size2) {
    seqmix_tensor* t = &c->tensors[c->n];
    seqmix_arg* arg = &c->args[c->n];
    int64_t* shape = c->shapes[c->n];
    memset(t, 0, sizeof *t);
    memset(arg, 0, sizeof *arg);
    shape[0] = size0;
    shape[1] = size1;
    shape[2] = size2;
    t->data = (void*)(size_t)data; /* inputs are only read; the struct serves both directions */
    t->device.device_type = SEQMIX_DL_CPU;
    t->ndim = ndim;
    t->dtype.code = SEQMIX_DL_FLOAT;
    t->dtype.bits = 32;
    t->dtype.lanes = 1;
    t->shape = shape;
    check(seqmix_type_slot("causal_conv1d_op", name, &arg->slot));
    arg->tensor = t;
    ++c->n;
}

/* Tokens [first, first + count) of x into y. */
static void filter(const seqmix_layer* op, const float* x, const float* weight, const float* bias,
                   float* state, float* y, int first, int count) {
    call c;
    c.n = 0;
    add(&c, "x", x + first * D, 3, 1, count, D); /* (B,T,D) */
    add(&c, "weight", weight, 2, D, K, 0);
    add(&c, "bias", bias, 1, D, 0, 0);
    add(&c, "y", y + first * D, 3, 1, count, D);
    add(&c, "state_in", state, 3, 1, K - 1, D); /* the last K-1 inputs, oldest first */
    add(&c, "state_out", state, 3, 1, K - 1, D);
    check(seqmix_layer_forward(op, NULL, c.args, c.n, NULL)); /* operations have no state handle */
}

int main(void) {
    static const int blocks[] = {1, 7, 0, 64, 2, 26}; /* T together; a block may even be empty */
    float x[T * D], weight[D * K], bias[D], whole[T * D], parts[T * D], state[(K - 1) * D];
    seqmix_context* context;
    seqmix_config* config;
    seqmix_layer *plan, *op;
    size_t b;
    int t, d, k, first = 0;

    for (t = 0; t < T; ++t) {
        for (d = 0; d < D; ++d) {
            x[t * D + d] = sinf(0.1f * (float)((d + 1) * t));
        }
    }
    for (d = 0; d < D; ++d) {
        bias[d] = 0.1f * (float)d;
        for (k = 0; k < K; ++k) {
            weight[d * K + k] = 1.0f / (float)(1 + k + d);
        }
    }

    /* Sizes are attributes of the plan; binding picks the kernel (an operation has no weights). */
    check(seqmix_context_create(NULL, &context));
    check(seqmix_config_create(&config));
    check(seqmix_config_set_i64(config, "d_model", D));
    check(seqmix_config_set_i64(config, "width", K));
    check(seqmix_config_set_bool(config, "silu", 0));
    check(seqmix_layer_plan(context, "causal_conv1d_op", config, &plan));
    check(seqmix_layer_bind(plan, NULL, 0, &op));
    printf("kernel: %s\n", seqmix_layer_kernel_name(op));
    /* From here on no call of up to T tokens allocates or locks: safe in an audio callback. */
    check(seqmix_layer_prepare(op, 1, T, 1));

    memset(state, 0, sizeof state);
    filter(op, x, weight, bias, state, whole, 0, T);

    memset(state, 0, sizeof state);
    for (b = 0; b < sizeof blocks / sizeof blocks[0]; ++b) {
        filter(op, x, weight, bias, state, parts, first, blocks[b]);
        first += blocks[b];
    }

    for (t = 0; t < T; ++t) {
        for (d = 0; d < D; ++d) {
            double expected = bias[d];
            for (k = 0; k < K; ++k) {
                const int source = t - (K - 1) + k;
                expected +=
                    source < 0 ? 0.0 : (double)weight[d * K + k] * (double)x[source * D + d];
            }
            if (fabs(whole[t * D + d] - expected) > 1e-5 ||
                fabsf(whole[t * D + d] - parts[t * D + d]) > 1e-6f) {
                printf("t %d, channel %d: whole %g, blocks %g, formula %g\n", t, d,
                       (double)whole[t * D + d], (double)parts[t * D + d], expected);
                return 1;
            }
        }
    }
    printf("%d tokens at once and in %d blocks: equal\n", T,
           (int)(sizeof blocks / sizeof blocks[0]));

    seqmix_layer_release(op);
    seqmix_layer_release(plan);
    seqmix_config_destroy(config);
    seqmix_context_release(context);
    return 0;
}
