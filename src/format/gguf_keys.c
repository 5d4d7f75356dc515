/* The keys of a GGUF: reading, looking up, rendering. */
#include <stdio.h>
#include <stdlib.h>

#include "format/gguf.h"

enum { MAX_ARRAY_DEPTH = 4, SHOWN_ITEMS = 6, SHOWN_BYTES = 160, SHOWN_ITEM_BYTES = 40 };

typedef struct value_type {
    const char *name;
    unsigned bytes; /* 0: strings and arrays */
} value_type;

static const value_type value_types[GGUF_N_VALUES] = {
    [GGUF_U8] = {"u8", 1},         [GGUF_I8] = {"i8", 1},       [GGUF_U16] = {"u16", 2}, [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},       [GGUF_I32] = {"i32", 4},     [GGUF_F32] = {"f32", 4}, [GGUF_BOOL] = {"bool", 1},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

static const char *const array_names[GGUF_N_VALUES] = {
    [GGUF_U8] = "array[u8]",       [GGUF_I8] = "array[i8]",     [GGUF_U16] = "array[u16]",
    [GGUF_I16] = "array[i16]",     [GGUF_U32] = "array[u32]",   [GGUF_I32] = "array[i32]",
    [GGUF_F32] = "array[f32]",     [GGUF_BOOL] = "array[bool]", [GGUF_STRING] = "array[string]",
    [GGUF_ARRAY] = "array[array]", [GGUF_U64] = "array[u64]",   [GGUF_I64] = "array[i64]",
    [GGUF_F64] = "array[f64]",
};

tern_view tern_gguf_string(tern_reader *reader) {
    uint64_t size = tern_read_u64(reader);
    const uint8_t *bytes = tern_read_bytes(reader, size);
    return bytes ? (tern_view){(const char *)bytes, (size_t)size} : (tern_view){"", 0};
}

/* Step over `count` values; false for a type that does not exist or arrays nested too deep (a cut file sets
 * reader->failed). Each value takes at least a byte, so a lying count ends at the end of the file. */
static bool skip_values(tern_reader *reader, uint32_t type, uint64_t count, int depth) {
    if (type >= GGUF_N_VALUES || depth > MAX_ARRAY_DEPTH)
        return false;
    unsigned bytes = value_types[type].bytes;
    uint64_t size;
    if (bytes) {
        tern_read_bytes(reader, tern_mul_u64(count, bytes, &size) ? size : UINT64_MAX);
        return true;
    }
    for (uint64_t i = 0; i < count && !reader->failed; i++) {
        if (type == GGUF_STRING) {
            tern_gguf_string(reader);
            continue;
        }
        uint32_t item_type = tern_read_u32(reader);
        uint64_t n_items = tern_read_u64(reader);
        if (!reader->failed && !skip_values(reader, item_type, n_items, depth + 1))
            return false;
    }
    return true;
}

static tern_status read_key(tern_gguf *gguf, tern_gguf_kv *kv, tern_error *err) {
    tern_reader *reader = &gguf->reader;
    kv->begin = reader->pos;
    kv->key = tern_gguf_string(reader);
    if (reader->failed)
        return tern_gguf_fail_cut(gguf, "the list of keys", err);
    if (!tern_name_is_clean(kv->key.bytes, kv->key.size))
        return tern_fail(err, TERN_ERR_FORMAT, "key number %zu has an unreadable name: the file is corrupted",
                         gguf->n_kvs);
    kv->type = tern_read_u32(reader);
    bool known = true;
    if (kv->type == GGUF_ARRAY) {
        kv->item_type = tern_read_u32(reader);
        kv->count = tern_read_u64(reader);
    }
    kv->pos = reader->pos;
    if (!reader->failed)
        known = kv->type == GGUF_ARRAY ? skip_values(reader, kv->item_type, kv->count, 1)
                                       : skip_values(reader, kv->type, 1, 0);
    kv->end = reader->pos;
    int shown = (int)(kv->key.size < 64 ? kv->key.size : 64);
    if (!known)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "key '%.*s' has a value type that does not exist (or arrays nested too deep)", shown,
                         kv->key.bytes);
    char where[80];
    snprintf(where, sizeof where, "key '%.*s'", shown, kv->key.bytes);
    return reader->failed ? tern_gguf_fail_cut(gguf, where, err) : TERN_OK;
}

static int compare_keys(const void *a, const void *b) {
    tern_view left = ((const tern_gguf_kv *)a)->key, right = ((const tern_gguf_kv *)b)->key;
    int order = memcmp(left.bytes, right.bytes, left.size < right.size ? left.size : right.size);
    return order ? order : (left.size > right.size) - (left.size < right.size);
}

static tern_status check_duplicates(const tern_gguf *gguf, tern_error *err) {
    tern_gguf_kv *sorted = tern_alloc_array(gguf->n_kvs, sizeof *sorted);
    if (!sorted)
        return tern_fail_memory(err, "the keys");
    if (gguf->n_kvs)
        memcpy(sorted, gguf->kvs, gguf->n_kvs * sizeof *sorted);
    qsort(sorted, gguf->n_kvs, sizeof *sorted, compare_keys);
    tern_status status = TERN_OK;
    for (size_t i = 1; i < gguf->n_kvs && !status; i++)
        if (compare_keys(&sorted[i - 1], &sorted[i]) == 0)
            status = tern_fail(err, TERN_ERR_FORMAT, "duplicate key '%.*s'",
                               (int)(sorted[i].key.size < 64 ? sorted[i].key.size : 64), sorted[i].key.bytes);
    free(sorted);
    return status;
}

tern_status tern_gguf_read_keys(tern_gguf *gguf, uint64_t n_kvs, tern_error *err) {
    for (uint64_t i = 0; i < n_kvs; i++) {
        if (!tern_grow_array((void **)&gguf->kvs, &gguf->kv_capacity, gguf->n_kvs + 1, sizeof *gguf->kvs))
            return tern_fail_memory(err, "the keys");
        tern_gguf_kv kv = {0};
        tern_status status = read_key(gguf, &kv, err);
        if (status)
            return status;
        gguf->kvs[gguf->n_kvs++] = kv;
    }
    return check_duplicates(gguf, err);
}

const tern_gguf_kv *tern_gguf_find(const tern_gguf *gguf, const char *key) {
    for (size_t i = 0; i < gguf->n_kvs; i++)
        if (tern_view_equal(gguf->kvs[i].key, tern_view_of(key)))
            return &gguf->kvs[i];
    return NULL;
}

tern_reader tern_gguf_at(const tern_gguf *gguf, const tern_gguf_kv *kv) {
    tern_reader reader = gguf->reader;
    reader.pos = kv->pos;
    reader.failed = false;
    return reader;
}

static tern_status fail_type(const tern_gguf_kv *kv, const char *key, const char *wanted, tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT, "key '%s' is of type %s; it must be %s", key, value_types[kv->type].name,
                     wanted);
}

/* An integer of any width, sign-extended. False if the type is none. */
static bool read_integer(tern_reader *reader, uint32_t type, int64_t *value, bool *negative) {
    switch (type) {
    case GGUF_U8:
        *value = tern_read_u8(reader);
        break;
    case GGUF_I8:
        *value = (int8_t)tern_read_u8(reader);
        break;
    case GGUF_U16:
        *value = tern_read_u16(reader);
        break;
    case GGUF_I16:
        *value = (int16_t)tern_read_u16(reader);
        break;
    case GGUF_U32:
        *value = tern_read_u32(reader);
        break;
    case GGUF_I32:
        *value = (int32_t)tern_read_u32(reader);
        break;
    case GGUF_U64:
    case GGUF_I64:
        *value = (int64_t)tern_read_u64(reader);
        break;
    default:
        return false;
    }
    *negative = *value < 0 && type != GGUF_U64;
    return true;
}

tern_status tern_gguf_get_u32(const tern_gguf *gguf, const char *key, uint32_t *value, tern_error *err) {
    const tern_gguf_kv *kv = tern_gguf_find(gguf, key);
    if (!kv)
        return TERN_OK;
    tern_reader reader = tern_gguf_at(gguf, kv);
    int64_t number;
    bool negative;
    if (!read_integer(&reader, kv->type, &number, &negative))
        return fail_type(kv, key, "an integer", err);
    if (negative || (uint64_t)number > UINT32_MAX)
        return tern_fail(err, TERN_ERR_FORMAT, "key '%s' is out of range", key);
    *value = (uint32_t)number;
    return TERN_OK;
}

tern_status tern_gguf_get_f32(const tern_gguf *gguf, const char *key, float *value, tern_error *err) {
    const tern_gguf_kv *kv = tern_gguf_find(gguf, key);
    if (!kv)
        return TERN_OK;
    tern_reader reader = tern_gguf_at(gguf, kv);
    if (kv->type != GGUF_F32 && kv->type != GGUF_F64)
        return fail_type(kv, key, "a number", err);
    *value = kv->type == GGUF_F32 ? tern_read_f32(&reader) : (float)tern_read_f64(&reader);
    return TERN_OK;
}

tern_status tern_gguf_get_bool(const tern_gguf *gguf, const char *key, int *value, tern_error *err) {
    const tern_gguf_kv *kv = tern_gguf_find(gguf, key);
    if (!kv)
        return TERN_OK;
    tern_reader reader = tern_gguf_at(gguf, kv);
    if (kv->type != GGUF_BOOL)
        return fail_type(kv, key, "a bool", err);
    *value = tern_read_u8(&reader) != 0;
    return TERN_OK;
}

tern_status tern_gguf_get_string(const tern_gguf *gguf, const char *key, const char **value, tern_error *err) {
    const tern_gguf_kv *kv = tern_gguf_find(gguf, key);
    if (!kv)
        return TERN_OK;
    tern_reader reader = tern_gguf_at(gguf, kv);
    if (kv->type != GGUF_STRING)
        return fail_type(kv, key, "a string", err);
    tern_view text = tern_gguf_string(&reader);
    if (memchr(text.bytes, 0, text.size))
        return tern_fail(err, TERN_ERR_FORMAT, "key '%s' holds a zero byte", key);
    *value = tern_arena_copy(&gguf->store->arena, text.bytes, text.size);
    return *value ? TERN_OK : tern_fail_memory(err, key);
}

tern_status tern_gguf_keep_keys(const tern_gguf *gguf, tern_error *err) {
    tern_store *store = gguf->store;
    store->raw_keys = tern_alloc_array(gguf->n_kvs, sizeof *store->raw_keys);
    if (!store->raw_keys)
        return tern_fail_memory(err, "the keys");
    for (size_t i = 0; i < gguf->n_kvs; i++) {
        const tern_gguf_kv *kv = &gguf->kvs[i];
        const char *bytes = (const char *)gguf->reader.data + kv->begin;
        store->raw_keys[i] = (tern_raw_key){kv->key, {bytes, kv->end - kv->begin}};
    }
    store->checkpoint.raw_keys = store->raw_keys;
    store->checkpoint.n_raw_keys = gguf->n_kvs;
    return TERN_OK;
}

static void render_value(tern_buffer *out, tern_reader *reader, uint32_t type, size_t max_bytes) {
    int64_t number;
    bool negative;
    if (type == GGUF_STRING) {
        tern_view text = tern_gguf_string(reader);
        tern_render_text(out, text.bytes, text.size, max_bytes);
    } else if (type == GGUF_F32) {
        tern_render_f32(out, tern_read_f32(reader));
    } else if (type == GGUF_F64) {
        tern_render_f64(out, tern_read_f64(reader));
    } else if (type == GGUF_BOOL) {
        tern_buffer_text(out, tern_read_u8(reader) ? "true" : "false");
    } else if (read_integer(reader, type, &number, &negative)) {
        if (type == GGUF_U64)
            tern_buffer_printf(out, "%llu", (unsigned long long)number);
        else
            tern_buffer_printf(out, "%lld", (long long)number);
    }
}

static void render_array(tern_buffer *out, const tern_gguf *gguf, const tern_gguf_kv *kv) {
    tern_reader reader = tern_gguf_at(gguf, kv);
    uint64_t shown = kv->item_type == GGUF_ARRAY ? 0 : kv->count < SHOWN_ITEMS ? kv->count : SHOWN_ITEMS;
    tern_buffer_text(out, "[");
    for (uint64_t i = 0; i < shown; i++) {
        if (i)
            tern_buffer_text(out, ", ");
        render_value(out, &reader, kv->item_type, SHOWN_ITEM_BYTES);
    }
    if (shown < kv->count)
        tern_buffer_printf(out, "%s... (%llu items)", shown ? ", " : "", (unsigned long long)kv->count);
    tern_buffer_text(out, "]");
}

tern_status tern_gguf_describe(const tern_gguf *gguf, tern_error *err) {
    for (size_t i = 0; i < gguf->n_kvs; i++) {
        const tern_gguf_kv *kv = &gguf->kvs[i];
        tern_buffer value = {0};
        const char *type = value_types[kv->type].name;
        if (kv->type == GGUF_ARRAY) {
            type = array_names[kv->item_type];
            render_array(&value, gguf, kv);
        } else {
            tern_reader reader = tern_gguf_at(gguf, kv);
            render_value(&value, &reader, kv->type, SHOWN_BYTES);
        }
        tern_status status = tern_store_add_metadata(gguf->store, kv->key, type, &value, err);
        if (status)
            return status;
    }
    return TERN_OK;
}
