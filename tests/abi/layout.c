/* Sizes, offsets and values of seqmix.h against literals, and seqmix_tensor against a copy of the
 * DLTensor of DLPack 1.x. The literals are those of LP64 and are never edited: what is frozen may
 * not move, and structures with a struct_size only grow at their end. */
#include "abi_test.h"

/* DLPack 1.x, dlpack.h: DLDevice, DLDataType, DLTensor. */
typedef enum { kDLCPU = 1 } DLDeviceType;
typedef struct {
    DLDeviceType device_type;
    int32_t device_id;
} DLDevice;
typedef enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 } DLDataTypeCode;
typedef struct {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;
typedef struct {
    void* data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
} DLTensor;

static void equal(const char* what, long long got, long long expected) {
    if (got != expected) {
        printf("%s is %lld, must be %lld\n", what, got, expected);
        ++failures;
    }
}

#define SIZE(type, bytes) equal("sizeof(" #type ")", (long long)sizeof(type), bytes)
#define FIELD(type, field, offset, bytes)                                           \
    equal("offset of " #type "." #field, (long long)offsetof(type, field), offset); \
    equal("size of " #type "." #field, (long long)sizeof(((type*)0)->field), bytes)
#define VALUE(name, value) equal(#name, (long long)(name), value)
#define SAME(dl_field, field)                                                         \
    equal("DLTensor." #dl_field, (long long)offsetof(DLTensor, dl_field),             \
          (long long)offsetof(seqmix_tensor, field));                                 \
    equal("size of DLTensor." #dl_field, (long long)sizeof(((DLTensor*)0)->dl_field), \
          (long long)sizeof(((seqmix_tensor*)0)->field))

static void tensors(void) {
    SIZE(seqmix_dtype, 4);
    FIELD(seqmix_dtype, code, 0, 1);
    FIELD(seqmix_dtype, bits, 1, 1);
    FIELD(seqmix_dtype, lanes, 2, 2);
    SIZE(seqmix_device, 8);
    FIELD(seqmix_device, device_type, 0, 4);
    FIELD(seqmix_device, device_id, 4, 4);
    SIZE(seqmix_tensor, 48);
    FIELD(seqmix_tensor, data, 0, 8);
    FIELD(seqmix_tensor, device, 8, 8);
    FIELD(seqmix_tensor, ndim, 16, 4);
    FIELD(seqmix_tensor, dtype, 20, 4);
    FIELD(seqmix_tensor, shape, 24, 8);
    FIELD(seqmix_tensor, strides, 32, 8);
    FIELD(seqmix_tensor, byte_offset, 40, 8);
    SIZE(seqmix_arg, 24);
    FIELD(seqmix_arg, slot, 0, 4);
    FIELD(seqmix_arg, index, 4, 4);
    FIELD(seqmix_arg, flags, 8, 4);
    FIELD(seqmix_arg, reserved, 12, 4);
    FIELD(seqmix_arg, tensor, 16, 8);

    equal("sizeof(DLTensor)", (long long)sizeof(DLTensor), (long long)sizeof(seqmix_tensor));
    equal("sizeof(DLDevice)", (long long)sizeof(DLDevice), (long long)sizeof(seqmix_device));
    equal("sizeof(DLDataType)", (long long)sizeof(DLDataType), (long long)sizeof(seqmix_dtype));
    SAME(data, data);
    SAME(device, device);
    SAME(device.device_type, device.device_type);
    SAME(device.device_id, device.device_id);
    SAME(ndim, ndim);
    SAME(dtype, dtype);
    SAME(dtype.code, dtype.code);
    SAME(dtype.bits, dtype.bits);
    SAME(dtype.lanes, dtype.lanes);
    SAME(shape, shape);
    SAME(strides, strides);
    SAME(byte_offset, byte_offset);
    VALUE(SEQMIX_DL_CPU, kDLCPU);
    VALUE(SEQMIX_DL_INT, kDLInt);
    VALUE(SEQMIX_DL_UINT, kDLUInt);
    VALUE(SEQMIX_DL_FLOAT, kDLFloat);
    VALUE(SEQMIX_DL_BFLOAT, kDLBfloat);
    VALUE(SEQMIX_DL_BOOL, kDLBool);
    VALUE(SEQMIX_DTYPE_F32, 0x001);
    VALUE(SEQMIX_DTYPE_F64, 0x002);
    VALUE(SEQMIX_DTYPE_F16, 0x004);
    VALUE(SEQMIX_DTYPE_BF16, 0x008);
    VALUE(SEQMIX_DTYPE_I8, 0x010);
    VALUE(SEQMIX_DTYPE_U8, 0x020);
    VALUE(SEQMIX_DTYPE_BOOL, 0x040);
    VALUE(SEQMIX_DTYPE_I32, 0x080);
    VALUE(SEQMIX_DTYPE_I64, 0x100);
}

static void growable(void) {
    SIZE(seqmix_context_options, 96);
    FIELD(seqmix_context_options, struct_size, 0, 4);
    FIELD(seqmix_context_options, version, 4, 4);
    FIELD(seqmix_context_options, threads, 8, 4);
    FIELD(seqmix_context_options, allow_env, 12, 4);
    FIELD(seqmix_context_options, isa, 16, 8);
    FIELD(seqmix_context_options, alloc, 24, 8);
    FIELD(seqmix_context_options, free, 32, 8);
    FIELD(seqmix_context_options, alloc_user, 40, 8);
    FIELD(seqmix_context_options, parallel_for, 48, 8);
    FIELD(seqmix_context_options, parallel_user, 56, 8);
    FIELD(seqmix_context_options, parallel_workers, 64, 8);
    FIELD(seqmix_context_options, log, 72, 8);
    FIELD(seqmix_context_options, log_user, 80, 8);
    FIELD(seqmix_context_options, weights, 88, 8);
    SIZE(seqmix_slot_info, 112);
    FIELD(seqmix_slot_info, struct_size, 0, 4);
    FIELD(seqmix_slot_info, slot, 4, 4);
    FIELD(seqmix_slot_info, role, 8, 4);
    FIELD(seqmix_slot_info, flags, 12, 4);
    FIELD(seqmix_slot_info, dtypes, 16, 4);
    FIELD(seqmix_slot_info, ndim, 20, 4);
    FIELD(seqmix_slot_info, shape, 24, 64);
    FIELD(seqmix_slot_info, name, 88, 8);
    FIELD(seqmix_slot_info, shape_text, 96, 8);
    FIELD(seqmix_slot_info, doc, 104, 8);
    SIZE(seqmix_forward_options, 24);
    FIELD(seqmix_forward_options, struct_size, 0, 4);
    FIELD(seqmix_forward_options, reserved, 4, 4);
    FIELD(seqmix_forward_options, poll, 8, 8);
    FIELD(seqmix_forward_options, poll_user, 16, 8);
    SIZE(seqmix_materialize_options, 40);
    FIELD(seqmix_materialize_options, struct_size, 0, 4);
    FIELD(seqmix_materialize_options, kind, 4, 4);
    FIELD(seqmix_materialize_options, first, 8, 8);
    FIELD(seqmix_materialize_options, count, 16, 8);
    FIELD(seqmix_materialize_options, lane_first, 24, 8);
    FIELD(seqmix_materialize_options, lane_count, 32, 8);
    SIZE(seqmix_state_options, 40);
    FIELD(seqmix_state_options, struct_size, 0, 4);
    FIELD(seqmix_state_options, flags, 4, 4);
    FIELD(seqmix_state_options, batch, 8, 8);
    FIELD(seqmix_state_options, capacity_tokens, 16, 8);
    FIELD(seqmix_state_options, capacity_memory, 24, 8);
    FIELD(seqmix_state_options, snapshot_slots, 32, 8);
}

static void constants(void) {
    SIZE(seqmix_status, 4);
    VALUE(SEQMIX_OK, 0);
    VALUE(SEQMIX_ERR_INTERNAL, -1);
    VALUE(SEQMIX_ERR_NULL_ARGUMENT, -2);
    VALUE(SEQMIX_ERR_INVALID_ARGUMENT, -3);
    VALUE(SEQMIX_ERR_UNKNOWN_TYPE, -4);
    VALUE(SEQMIX_ERR_UNKNOWN_ATTRIBUTE, -5);
    VALUE(SEQMIX_ERR_ATTRIBUTE_TYPE, -6);
    VALUE(SEQMIX_ERR_ATTRIBUTE_RANGE, -7);
    VALUE(SEQMIX_ERR_UNKNOWN_SLOT, -8);
    VALUE(SEQMIX_ERR_MISSING_TENSOR, -9);
    VALUE(SEQMIX_ERR_DTYPE, -10);
    VALUE(SEQMIX_ERR_SHAPE, -11);
    VALUE(SEQMIX_ERR_LAYOUT, -12);
    VALUE(SEQMIX_ERR_ALIASING, -13);
    VALUE(SEQMIX_ERR_DEVICE, -14);
    VALUE(SEQMIX_ERR_STATE_MISMATCH, -15);
    VALUE(SEQMIX_ERR_BUFFER_TOO_SMALL, -16);
    VALUE(SEQMIX_ERR_NO_MEMORY, -17);
    VALUE(SEQMIX_ERR_UNSUPPORTED, -18);
    VALUE(SEQMIX_ERR_UNSUPPORTED_CPU, -19);
    VALUE(SEQMIX_ERR_BAD_FORMAT, -20);
    VALUE(SEQMIX_ERR_VERSION, -21);
    VALUE(SEQMIX_ERR_BUSY, -22);
    VALUE(SEQMIX_ERR_CANCELLED, -23);
    VALUE(SEQMIX_ERR_CALLBACK, -24);
    VALUE(SEQMIX_ERR_LIMIT, -25);
    VALUE(SEQMIX_ERR_IO, -26);
    VALUE(SEQMIX_ERR_CAPACITY, -27);
    VALUE(SEQMIX_ERR_STATE_POISONED, -28);
    VALUE(SEQMIX_SLOT_CU_SEQLENS, 1000);
    VALUE(SEQMIX_SLOT_LENGTHS, 1001);
    VALUE(SEQMIX_SLOT_ROWS, 1002);
    VALUE(SEQMIX_SLOT_SEQ_IDX, 1003);
    VALUE(SEQMIX_SLOT_POSITIONS, 1004);
    VALUE(SEQMIX_SLOT_CU_SEQLENS_K, 1005);
    VALUE(SEQMIX_SLOT_LENGTHS_K, 1006);
    VALUE(SEQMIX_LOG_ERROR, 0);
    VALUE(SEQMIX_LOG_WARNING, 1);
    VALUE(SEQMIX_LOG_INFO, 2);
    VALUE(SEQMIX_BIND_COPY, 0);
    VALUE(SEQMIX_BIND_BORROW, 1);
    VALUE(SEQMIX_ROLE_INPUT, 0);
    VALUE(SEQMIX_ROLE_OUTPUT, 1);
    VALUE(SEQMIX_ROLE_WEIGHT, 2);
    VALUE(SEQMIX_ROLE_STATE, 3);
    VALUE(SEQMIX_ROLE_STATE_IN, 4);
    VALUE(SEQMIX_ROLE_STATE_OUT, 5);
    VALUE(SEQMIX_ROLE_CONTROL, 6);
    VALUE(SEQMIX_SLOT_OPTIONAL, 1);
    VALUE(SEQMIX_SLOT_BOUND, 2);
    VALUE(SEQMIX_DIM_B, -1);
    VALUE(SEQMIX_DIM_T, -2);
    VALUE(SEQMIX_DIM_R, -3);
    VALUE(SEQMIX_DIM_R1, -4);
    VALUE(SEQMIX_DIM_TK, -5);
    VALUE(SEQMIX_BYTES_WEIGHTS, 0);
    VALUE(SEQMIX_BYTES_STATE, 1);
    VALUE(SEQMIX_BYTES_SCRATCH, 2);
    VALUE(SEQMIX_STATE_ACCEPT_OTHER_WEIGHTS, 1);
    VALUE(SEQMIX_VERSION,
          SEQMIX_VERSION_MAJOR * 65536 + SEQMIX_VERSION_MINOR * 256 + SEQMIX_VERSION_PATCH);
    VALUE(SEQMIX_VERSION_MAJOR, 0); /* with it: the soname, the node, this file */
}

/* What the built library says of itself. */
static void library(void) {
    char text[32];
    int status;
    VALUE(seqmix_version(), SEQMIX_VERSION);
    snprintf(text, sizeof text, "%d.%d.%d", SEQMIX_VERSION_MAJOR, SEQMIX_VERSION_MINOR,
             SEQMIX_VERSION_PATCH);
    CHECK(strcmp(seqmix_version_string(), text) == 0);
    CHECK(strcmp(seqmix_status_name(SEQMIX_OK), "SEQMIX_OK") == 0);
    CHECK(strcmp(seqmix_status_name(SEQMIX_ERR_SHAPE), "SEQMIX_ERR_SHAPE") == 0);
    CHECK(strcmp(seqmix_status_name(SEQMIX_ERR_STATE_POISONED), "SEQMIX_ERR_STATE_POISONED") == 0);
    CHECK(strcmp(seqmix_status_name(-29), "SEQMIX_ERR_UNKNOWN") == 0);
    CHECK(strcmp(seqmix_status_name(-1000), "SEQMIX_ERR_UNKNOWN") == 0);
    CHECK(strcmp(seqmix_status_name(1), "SEQMIX_ERR_UNKNOWN") == 0);
    for (status = -28; status <= -1; ++status) { /* every code has a name of its own */
        int other;
        for (other = status + 1; other <= 0; ++other) {
            CHECK(strcmp(seqmix_status_name(status), seqmix_status_name(other)) != 0);
        }
        CHECK(strcmp(seqmix_status_name(status), "SEQMIX_ERR_UNKNOWN") != 0);
    }
}

int main(void) {
    if (sizeof(void*) != 8) {
        return skip("the literals are those of LP64");
    }
    tensors();
    growable();
    constants();
    library();
    return finish();
}
