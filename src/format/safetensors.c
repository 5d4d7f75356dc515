/* safetensors: u64 length, JSON header {name: {dtype, shape, data_offsets}}, data (numerics.md section 5). */
#include <stdlib.h>

#include "base/reader.h"
#include "format/codec.h"
#include "format/hf.h"

enum { MAX_DIMS = 4 };

typedef struct dtype {
    const char *name;
    tern_dtype type;
    unsigned bytes;
} dtype;

static const dtype dtypes[] = {
    {"F32", TERN_TYPE_F32, 4},    {"F16", TERN_TYPE_F16, 2},       {"BF16", TERN_TYPE_BF16, 2},
    {"F64", TERN_TYPE_OTHER, 8},  {"I64", TERN_TYPE_OTHER, 8},     {"I32", TERN_TYPE_OTHER, 4},
    {"I16", TERN_TYPE_OTHER, 2},  {"I8", TERN_TYPE_OTHER, 1},      {"U64", TERN_TYPE_OTHER, 8},
    {"U32", TERN_TYPE_OTHER, 4},  {"U16", TERN_TYPE_OTHER, 2},     {"U8", TERN_TYPE_OTHER, 1},
    {"BOOL", TERN_TYPE_OTHER, 1}, {"F8_E4M3", TERN_TYPE_OTHER, 1}, {"F8_E5M2", TERN_TYPE_OTHER, 1},
};

typedef struct data_section {
    const uint8_t *bytes;
    uint64_t start, file_bytes; /* of the section in the file; of the file */
} data_section;

static tern_status read_shape(tern_tensor *tensor, const json_t *shape, uint64_t *n_values, tern_error *err) {
    size_t i, n = json_array_size(shape);
    json_t *item;
    if (!json_is_array(shape) || n > MAX_DIMS)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s': shape must be a list of up to 4 integers", tensor->name);
    tensor->n_dims = (uint32_t)n;
    json_array_foreach(shape, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 1)
            return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s': shape must be a list of positive integers",
                             tensor->name);
        tensor->shape[i] = (uint64_t)json_integer_value(item);
    }
    if (!tern_tensor_set_matrix(tensor, n_values))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' has an impossible shape (too large)", tensor->name);
    return TERN_OK;
}

static tern_status read_type(tern_store *store, tern_tensor *tensor, const json_t *value, unsigned *bytes,
                             tern_error *err) {
    const char *name = json_string_value(value);
    if (!name || !tern_name_is_clean(name, strlen(name)))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s': dtype must be a string", tensor->name);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            tensor->type = dtypes[i].type;
            tensor->type_name = dtypes[i].name;
            *bytes = dtypes[i].bytes;
            return TERN_OK;
        }
    tensor->type = TERN_TYPE_OTHER;
    tensor->type_name = tern_arena_copy(&store->arena, name, strlen(name));
    *bytes = 0; /* not known */
    return tensor->type_name ? TERN_OK : tern_fail_memory(err, "the tensor list");
}

static tern_status read_offsets(tern_tensor *tensor, const json_t *offsets, uint64_t *begin, uint64_t *end,
                                tern_error *err) {
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second) ||
        json_integer_value(first) < 0 || json_integer_value(second) < json_integer_value(first))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s': data_offsets must be [begin, end] with begin <= end",
                         tensor->name);
    *begin = (uint64_t)json_integer_value(first);
    *end = (uint64_t)json_integer_value(second);
    return TERN_OK;
}

/* *need: where the tensor ends, from the start of the file. */
static tern_status read_tensor(tern_store *store, const data_section *data, const char *name, const json_t *entry,
                               uint64_t *need, tern_error *err) {
    if (!tern_name_is_clean(name, strlen(name)))
        return tern_fail(err, TERN_ERR_FORMAT, "a tensor has an unreadable name: the file is corrupted");
    tern_tensor *tensor = tern_store_add_tensor(store);
    if (!tensor || !(tensor->name = tern_arena_copy(&store->arena, name, strlen(name))))
        return tern_fail_memory(err, "the tensor list");
    if (!json_is_object(entry))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s': its entry must be an object", name);
    uint64_t n_values = 0, begin = 0, end = 0, bytes;
    unsigned item_bytes = 0;
    tern_status status;
    if ((status = read_type(store, tensor, json_object_get(entry, "dtype"), &item_bytes, err)) ||
        (status = read_shape(tensor, json_object_get(entry, "shape"), &n_values, err)) ||
        (status = read_offsets(tensor, json_object_get(entry, "data_offsets"), &begin, &end, err)))
        return status;
    if (item_bytes && (!tern_mul_u64(n_values, item_bytes, &bytes) || bytes != end - begin))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' of type %s takes %llu bytes, which its shape contradicts",
                         name, tensor->type_name, (unsigned long long)(end - begin));
    if (!tern_add_u64(data->start, end, need))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' has an offset that overflows: the file is corrupted", name);
    tensor->bytes = end - begin;
    /* nothing reads it before tern_check_length has passed */
    tensor->data = data->bytes + (data->start + begin <= data->file_bytes ? begin : 0);
    return TERN_OK;
}

static tern_status read_metadata(tern_store *store, const json_t *metadata, tern_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return tern_fail(err, TERN_ERR_FORMAT, "__metadata__ must be an object");
    json_object_foreach((json_t *)metadata, key, value) {
        tern_buffer name = {0}, text = {0};
        tern_buffer_text(&name, "safetensors.");
        tern_render_text(&name, key, strlen(key), 160);
        if (json_is_string(value))
            tern_render_text(&text, json_string_value(value), json_string_length(value), 160);
        tern_status status =
            name.failed ? tern_fail_memory(err, "the metadata")
                        : tern_store_add_metadata(store, (tern_view){name.bytes, name.size}, "string", &text, err);
        tern_buffer_free(&text);
        tern_buffer_free(&name);
        if (status)
            return status;
    }
    return TERN_OK;
}

static int compare_data(const void *a, const void *b) {
    const tern_tensor *left = a, *right = b;
    if (left->data != right->data)
        return left->data < right->data ? -1 : 1;
    return strcmp(left->name, right->name);
}

static tern_status read_header(tern_store *store, const data_section *data, const json_t *header, tern_error *err) {
    size_t first = store->n_tensors, n = 0;
    uint64_t *need = tern_alloc_array(json_object_size(header), sizeof *need);
    if (!need)
        return tern_fail_memory(err, "the tensor list");
    const char *name;
    json_t *entry;
    tern_status status = TERN_OK;
    json_object_foreach((json_t *)header, name, entry) {
        status = strcmp(name, "__metadata__") == 0 ? read_metadata(store, entry, err)
                                                   : read_tensor(store, data, name, entry, &need[n++], err);
        if (status)
            break;
    }
    if (!status && n)
        status = tern_check_length(store->tensors + first, need, n, data->file_bytes, err);
    free(need);
    if (status || !n)
        return status;
    /* bytes between tensors that belong to none are tolerated: nothing reads them */
    qsort(store->tensors + first, n, sizeof *store->tensors, compare_data);
    return tern_check_overlap(store->tensors + first, n, err);
}

tern_status tern_safetensors_read(tern_store *store, const uint8_t *bytes, size_t n_bytes, tern_error *err) {
    tern_reader reader = {.data = bytes, .size = n_bytes};
    uint64_t length = tern_read_u64(&reader);
    if (reader.failed)
        return tern_fail(err, TERN_ERR_FORMAT, "not a safetensors file (%zu bytes)", n_bytes);
    if (length > TERN_MAX_HEADER_BYTES)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "not a safetensors file: it states a header of %llu bytes (at most %d are read)",
                         (unsigned long long)length, TERN_MAX_HEADER_BYTES);
    const char *text = (const char *)tern_read_bytes(&reader, length);
    if (!text)
        return tern_fail(err, TERN_ERR_FORMAT, "truncated: the file has %zu bytes, its header alone needs %llu",
                         n_bytes, (unsigned long long)length + 8);
    json_t *header;
    tern_status status = tern_json_object("the safetensors header", text, (size_t)length, 0, &header, err);
    if (status)
        return status;
    data_section data = {.bytes = bytes + reader.pos, .start = reader.pos, .file_bytes = n_bytes};
    status = read_header(store, &data, header, err);
    json_decref(header);
    return status;
}
