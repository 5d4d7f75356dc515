/* safetensors: a valid file, and one hostile header or length a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/codec.h"
#include "format/hf.h"

enum { DATA = 64, HONEST = -1 };

/* A file of that header and DATA bytes 0, 1, 2 ..., exactly as large as said so that a sanitizer sees its end. */
static tern_status read_file(const char *header, int64_t stated_length, size_t data_bytes, tern_store **store,
                             uint8_t **bytes, tern_error *err) {
    size_t length = strlen(header), size = 8 + length + data_bytes;
    uint64_t stated = stated_length == HONEST ? length : (uint64_t)stated_length;
    *bytes = malloc(size);
    assert_non_null(*bytes);
    for (int i = 0; i < 8; i++)
        (*bytes)[i] = (uint8_t)(stated >> (8 * i));
    memcpy(*bytes + 8, header, length);
    for (size_t i = 0; i < data_bytes; i++)
        (*bytes)[8 + length + i] = (uint8_t)i;
    assert_int_equal(tern_store_create("image", store, NULL), TERN_OK);
    tern_status status = tern_safetensors_read(*store, *bytes, size, err);
    return status ? status : tern_hf_assemble(*store, TERN_LINEAR_AUTOBITLINEAR, err);
}

static void test_valid(void **state) {
    (void)state;
    const char *header = "{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[32,56]},"
                         "\"__metadata__\":{\"format\":\"pt\"},"
                         "\"l.weight\":{\"dtype\":\"U8\",\"shape\":[2,4],\"data_offsets\":[0,8]},"
                         "\"l.weight_scale\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]},"
                         "\"e\":{\"dtype\":\"F8_NEW\",\"shape\":[3],\"data_offsets\":[10,12]},"
                         "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[56,64]}}   ";
    tern_store *store;
    uint8_t *bytes;
    tern_error err = {0};
    if (read_file(header, HONEST, DATA, &store, &bytes, &err))
        fail_msg("%s", err.message);
    const tern_checkpoint *checkpoint = &store->checkpoint;
    assert_int_equal(checkpoint->n_tensors, 4); /* without the companion, in the order of the data */
    assert_string_equal(checkpoint->tensors[0].name, "l.weight");
    assert_string_equal(checkpoint->tensors[1].name, "e");
    assert_string_equal(checkpoint->tensors[1].type_name, "F8_NEW");
    assert_int_equal(checkpoint->tensors[1].type, TERN_TYPE_OTHER);
    assert_string_equal(checkpoint->tensors[2].name, "b");
    assert_string_equal(checkpoint->tensors[3].type_name, "I64");
    const tern_tensor *packed = tern_checkpoint_find(checkpoint, "l.weight");
    assert_int_equal(packed->type, TERN_TYPE_HF_PACKED);
    assert_int_equal(packed->rows, 8);
    assert_int_equal(packed->cols, 4);
    assert_int_equal(packed->shape[0], 2);
    assert_non_null(packed->scale);
    assert_string_equal(packed->scale->name, "l.weight_scale");
    assert_false(packed->scale_is_inverse);
    assert_null(tern_checkpoint_find(checkpoint, "l.weight_scale"));
    assert_int_equal(tern_checkpoint_find(checkpoint, "b")->rows, 2);
    assert_int_equal(tern_checkpoint_find(checkpoint, "b")->data[0], 32);
    assert_int_equal(checkpoint->n_metadata, 1);
    assert_string_equal(checkpoint->metadata[0].key, "safetensors.format");
    assert_string_equal(checkpoint->metadata[0].value, "pt");
    tern_store_free(store);
    free(bytes);
}

#define ENTRY(dtype, shape, offsets) "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define PAIR(a, b)                                                                                                     \
    "{\"t\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":" a "},"                                                  \
    "\"u\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":" b "}}"
#define PACKED(shape, end, scale_dtype, scale_shape, scale_end)                                                        \
    "{\"w.weight\":{\"dtype\":\"U8\",\"shape\":" shape ",\"data_offsets\":[0," end "]},"                               \
    "\"w.weight_scale\":{\"dtype\":\"" scale_dtype "\",\"shape\":" scale_shape ",\"data_offsets\":[32," scale_end      \
    "]}}"

static const struct {
    const char *header;
    int64_t stated_length;
    const char *part; /* of the message; NULL: must be read */
} cases[] = {
    {"{}", HONEST, NULL},
    {"{}", 0, "no valid JSON"},
    {"{}", 1, "no valid JSON"},
    {"{}", 3, "no valid JSON"},
    {"{}", 8 + DATA, "truncated"},
    {"{}", INT64_MAX, "header of 9223372036854775807 bytes"},
    {"{}", INT64_MIN, "header of 9223372036854775808 bytes"},
    {"[]", HONEST, "must be a JSON object"},
    {"{\"t\":", HONEST, "no valid JSON"},
    {"{\"t\":1}", HONEST, "must be an object"},
    {"{\"t\":{}}", HONEST, "dtype"},
    {ENTRY("\"F32\"", "[2,3]", "[0,24]"), HONEST, NULL},
    {ENTRY("4", "[2,3]", "[0,24]"), HONEST, "dtype"},
    {ENTRY("\"F\\u001b[2J\"", "[2,3]", "[0,24]"), HONEST, "dtype"},
    {ENTRY("\"F32\"", "24", "[0,24]"), HONEST, "shape"},
    {ENTRY("\"F32\"", "[2,-3]", "[0,24]"), HONEST, "positive"},
    {ENTRY("\"F32\"", "[2,0]", "[0,0]"), HONEST, "positive"},
    {ENTRY("\"F32\"", "[2,3.0]", "[0,24]"), HONEST, "positive"},
    {ENTRY("\"F32\"", "[1,1,1,2,3]", "[0,24]"), HONEST, "shape"},
    {ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,24]"), HONEST, "impossible shape"},
    {ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), HONEST, "contradicts"},
    {ENTRY("\"F32\"", "[99999999999999999999]", "[0,0]"), HONEST, "no valid JSON"},
    {ENTRY("\"F32\"", "[2,3]", "[0,20]"), HONEST, "contradicts"},
    {ENTRY("\"F32\"", "[2,3]", "[24,0]"), HONEST, "begin <= end"},
    {ENTRY("\"F32\"", "[2,3]", "[-24,0]"), HONEST, "begin <= end"},
    {ENTRY("\"F32\"", "[2,3]", "[0]"), HONEST, "data_offsets"},
    {ENTRY("\"F32\"", "[2,3]", "[0,24,24]"), HONEST, "data_offsets"},
    {ENTRY("\"F32\"", "[2,3]", "[0.0,24.0]"), HONEST, "data_offsets"},
    {ENTRY("\"F32\"", "[2,3]", "\"all\""), HONEST, "data_offsets"},
    {ENTRY("\"F32\"", "[2,3]", "[44,68]"), HONEST, "(4 are missing)"},
    {ENTRY("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]"), HONEST, "are missing"},
    {ENTRY("\"U8\"", "[1]", "[9223372036854775806,9223372036854775807]"), HONEST, "are missing"},
    {ENTRY("\"F8_NEW\"", "[7]", "[0,65]"), HONEST, "(1 are missing)"},
    {"{\"t\":"
     "{\"dtype\":\"U8\",\"dtype\":\"U8\"}}",
     HONEST, "duplicate"},
    {"{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", HONEST, "unreadable name"},
    {"{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", HONEST, "unreadable name"},
    {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", HONEST, "no valid JSON"},
    {"{\"__metadata__\":[]}", HONEST, "__metadata__"},
    {PAIR("[0,8]", "[8,16]"), HONEST, NULL},
    {PAIR("[56,64]", "[0,8]"), HONEST, NULL}, /* a hole is tolerated */
    {PAIR("[0,8]", "[7,15]"), HONEST, "overlap"},
    {PAIR("[0,8]", "[0,8]"), HONEST, "overlap"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     HONEST, "duplicate"},
    {PACKED("[2,4]", "8", "BF16", "[1]", "34"), HONEST, NULL},
    {PACKED("[2,4]", "8", "F16", "[]", "34"), HONEST, NULL},
    {PACKED("[2,4]", "8", "F32", "[1,1]", "36"), HONEST, NULL},
    {PACKED("[8]", "8", "BF16", "[1]", "34"), HONEST, "must be a matrix"},
    {PACKED("[2,2,2]", "8", "BF16", "[1]", "34"), HONEST, "must be a matrix"},
    {PACKED("[2,4]", "8", "BF16", "[2]", "36"), HONEST, "must be one F32, F16 or BF16 number"},
    {PACKED("[2,4]", "8", "I32", "[1]", "36"), HONEST, "must be one F32, F16 or BF16 number"},
};

static void test_hostile(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tern_store *store;
        uint8_t *bytes;
        tern_error err = {0};
        tern_status status = read_file(cases[i].header, cases[i].stated_length, DATA, &store, &bytes, &err);
        if (!status != !cases[i].part)
            fail_msg("row %zu: status %d: %s", i, status, err.message);
        if (status && !strstr(err.message, cases[i].part))
            fail_msg("row %zu: '%s' lacks '%s'", i, err.message, cases[i].part);
        tern_store_free(store);
        free(bytes);
    }
}

/* JSON nested without end, and one that is too large to be a header. */
static void test_deep(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    char *header = malloc(DEPTH + 8);
    assert_non_null(header);
    memcpy(header, "{\"t\":", 5);
    memset(header + 5, '[', DEPTH);
    header[5 + DEPTH] = 0;
    tern_store *store;
    uint8_t *bytes;
    tern_error err = {0};
    assert_int_equal(read_file(header, HONEST, 0, &store, &bytes, &err), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "no valid JSON"));
    tern_store_free(store);
    free(bytes);
    free(header);
}

static void test_every_cut(void **state) {
    (void)state;
    const char *header = ENTRY("\"F32\"", "[4,4]", "[0,64]");
    size_t length = strlen(header);
    uint8_t whole[256] = {(uint8_t)length};
    memcpy(whole + 8, header, length);
    for (size_t size = 0; size < 8 + length + 64; size++) {
        uint8_t *bytes = malloc(size ? size : 1);
        assert_non_null(bytes);
        memcpy(bytes, whole, size);
        tern_store *store;
        tern_error err = {0};
        assert_int_equal(tern_store_create("image", &store, NULL), TERN_OK);
        assert_int_equal(tern_safetensors_read(store, bytes, size, &err), TERN_ERR_FORMAT);
        assert_non_null(strstr(err.message, size < 8 ? "not a safetensors file" : "truncated"));
        tern_store_free(store);
        free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
