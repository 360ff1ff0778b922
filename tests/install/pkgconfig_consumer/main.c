/* A C program of somebody who installed the library: one convolution, checked against its formula.
 * Built through pkg-config and through CMake, against the shared and against the static library. */
#include <seqmix/seqmix.h>

#include <stdio.h>
#include <string.h>

#define CHECK(call)                                                                         \
    do {                                                                                    \
        const seqmix_status status = (call);                                                \
        if (status != SEQMIX_OK) {                                                          \
            printf("%s: %s: %s\n", #call, seqmix_status_name(status), seqmix_last_error()); \
            return 1;                                                                       \
        }                                                                                   \
    } while (0)

static seqmix_tensor view(float* data, int32_t ndim, int64_t* shape) {
    seqmix_tensor t;
    memset(&t, 0, sizeof t);
    t.data = data;
    t.device.device_type = SEQMIX_DL_CPU;
    t.ndim = ndim;
    t.dtype.code = SEQMIX_DL_FLOAT;
    t.dtype.bits = 32;
    t.dtype.lanes = 1;
    t.shape = shape;
    return t;
}

int main(void) {
    static const char* const names[3] = {"x", "weight", "y"};
    float x[5] = {1, 2, 3, 4, 5}, weight[2] = {10, 1}, y[5] = {0};
    int64_t x_shape[3] = {1, 5, 1}, weight_shape[2] = {1, 2};
    seqmix_tensor tensors[3];
    seqmix_arg args[3];
    seqmix_context* context = NULL;
    seqmix_config* config = NULL;
    seqmix_layer *plan = NULL, *op = NULL;
    int i;
    if (seqmix_version() != SEQMIX_VERSION) {
        printf("library %s, header %d.%d.%d\n", seqmix_version_string(), SEQMIX_VERSION_MAJOR,
               SEQMIX_VERSION_MINOR, SEQMIX_VERSION_PATCH);
        return 1;
    }
    CHECK(seqmix_context_create(NULL, &context));
    CHECK(seqmix_config_create(&config));
    CHECK(seqmix_config_set_i64(config, "d_model", 1));
    CHECK(seqmix_config_set_i64(config, "width", 2));
    CHECK(seqmix_config_set_bool(config, "silu", 0));
    CHECK(seqmix_layer_plan(context, "causal_conv1d_op", config, &plan));
    CHECK(seqmix_layer_bind(plan, NULL, 0, &op));
    tensors[0] = view(x, 3, x_shape);
    tensors[1] = view(weight, 2, weight_shape);
    tensors[2] = view(y, 3, x_shape);
    memset(args, 0, sizeof args);
    for (i = 0; i < 3; ++i) {
        CHECK(seqmix_type_slot("causal_conv1d_op", names[i], &args[i].slot));
        args[i].tensor = &tensors[i];
    }
    CHECK(seqmix_layer_forward(op, NULL, args, 3, NULL));
    for (i = 0; i < 5; ++i) { /* small whole numbers: exact */
        const float expected = (i > 0 ? 10.0f * x[i - 1] : 0.0f) + x[i];
        if (y[i] != expected) {
            printf("y[%d] is %g, expected %g\n", i, (double)y[i], (double)expected);
            return 1;
        }
    }
    seqmix_layer_release(op);
    seqmix_layer_release(plan);
    seqmix_config_destroy(config);
    seqmix_context_release(context);
    printf("installed seqmix %s works\n", seqmix_version_string());
    return 0;
}
