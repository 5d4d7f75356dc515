/* GGUF v2/v3 from inside the room: the keys of a file and what gguf.c, gguf_keys.c and gguf_tensors.c share. */
#ifndef TERN_FORMAT_GGUF_H
#define TERN_FORMAT_GGUF_H

#include "base/reader.h"
#include "format/store.h"

enum tern_gguf_value {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_VALUES,
};

typedef struct tern_gguf_kv {
    tern_view key;
    uint32_t type, item_type; /* item_type: of an array */
    uint64_t count;           /* items of an array */
    size_t pos;               /* of the value (of an array: its first item) in the file */
    size_t begin, end;        /* all of it: name, type, value */
} tern_gguf_kv;

typedef struct tern_gguf {
    tern_store *store;
    tern_reader reader; /* over the whole file */
    tern_gguf_kv *kvs;  /* [n_kvs] */
    size_t n_kvs, kv_capacity;
    uint32_t version;
    uint64_t alignment;
} tern_gguf;

/* gguf_keys.c: read n_kvs keys (checked to be no more than the file could hold), find one, read one. */
tern_status tern_gguf_read_keys(tern_gguf *gguf, uint64_t n_kvs, tern_error *err);
const tern_gguf_kv *tern_gguf_find(const tern_gguf *gguf, const char *key);
tern_reader tern_gguf_at(const tern_gguf *gguf, const tern_gguf_kv *kv);
tern_view tern_gguf_string(tern_reader *reader);
/* Typed look-ups: an absent key leaves *value alone, a key of another type is an error. Integers of every width are
 * taken for one another if the value fits. */
tern_status tern_gguf_get_u32(const tern_gguf *gguf, const char *key, uint32_t *value, tern_error *err);
tern_status tern_gguf_get_f32(const tern_gguf *gguf, const char *key, float *value, tern_error *err);
tern_status tern_gguf_get_bool(const tern_gguf *gguf, const char *key, int *value, tern_error *err);
tern_status tern_gguf_get_string(const tern_gguf *gguf, const char *key, const char **value, tern_error *err);
/* The keys as they stand in the file, for the checkpoint. */
tern_status tern_gguf_keep_keys(const tern_gguf *gguf, tern_error *err);
/* The keys as lines for `tern inspect`. */
tern_status tern_gguf_describe(const tern_gguf *gguf, tern_error *err);

/* gguf_tensors.c: the tensor list behind the keys and where the data lie. */
tern_status tern_gguf_read_tensors(tern_gguf *gguf, uint64_t n_tensors, tern_error *err);

/* gguf_config.c: what the keys say of the model and its vocabulary. */
tern_status tern_gguf_read_config(const tern_gguf *gguf, tern_error *err);
tern_status tern_gguf_read_vocab(const tern_gguf *gguf, tern_error *err);

tern_status tern_gguf_fail_cut(const tern_gguf *gguf, const char *where, tern_error *err);

#endif
