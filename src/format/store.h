/* What the readers of the format room build a checkpoint in: the memory behind tern_checkpoint, and the checks
 * that both kinds of file need. */
#ifndef TERN_FORMAT_STORE_H
#define TERN_FORMAT_STORE_H

#include "base/file.h"
#include "base/mem.h"
#include "format/checkpoint.h"

typedef struct tern_store {
    tern_checkpoint checkpoint; /* first: a tern_checkpoint * from here is also the tern_store * */
    tern_arena arena;           /* strings and companion tensors */
    tern_map *maps;             /* [n_maps] open mappings */
    size_t n_maps, map_capacity;
    tern_tensor *tensors; /* [n_tensors], published by tern_store_seal() */
    size_t n_tensors, tensor_capacity;
    const tern_tensor **by_name; /* [n_tensors] sorted, made by tern_store_seal() */
    tern_metadata *metadata;     /* [n_metadata] */
    size_t n_metadata, metadata_capacity;
    tern_view *tokens, *merges; /* GGUF vocabulary */
    int32_t *token_types;
    tern_raw_key *raw_keys;
} tern_store;

/* An empty checkpoint of that path with nothing said in its config. */
tern_status tern_store_create(const char *path, tern_store **store, tern_error *err);
void tern_store_free(tern_store *store);

/* Map a file; the store closes it. */
tern_status tern_store_map(tern_store *store, const char *path, tern_map *map, tern_error *err);
/* A new zeroed tensor at the end of the list; NULL: no memory. Valid until the next call. */
/* The model's name, made harmless for terminals: it comes from a stranger. */
tern_status tern_store_set_name(tern_store *store, const char *name, tern_error *err);
tern_tensor *tern_store_add_tensor(tern_store *store);
/* A line for `tern inspect`; takes over what `value` holds, and frees it in any case. `type` must outlive the store. */
tern_status tern_store_add_metadata(tern_store *store, tern_view key, const char *type, tern_buffer *value,
                                    tern_error *err);

/* rows x cols of the matrix from shape [n_dims] (all but the last dimension are rows); the element count. False if
 * a dimension is 0 or the count overflows. */
bool tern_tensor_set_matrix(tern_tensor *tensor, uint64_t *n_values);
/* No two of tensors [n] may share bytes (one file's; unknown sizes are 0). */
tern_status tern_check_overlap(const tern_tensor *tensors, size_t n, tern_error *err);
/* The one check for a file that was cut short: the tensor that reaches furthest must end inside file_bytes.
 * `need` [n] are the ends as counted from the start of the file. */
tern_status tern_check_length(const tern_tensor *tensors, const uint64_t *need, size_t n, uint64_t file_bytes,
                              tern_error *err);
/* Publish the tensors: an index by name; a name that comes twice is an error. */
tern_status tern_store_seal(tern_store *store, tern_error *err);

/* Names of tensors and keys are printed and compared as C strings: valid UTF-8 without control characters, 1 to
 * 1024 bytes. */
bool tern_name_is_clean(const char *bytes, uint64_t n_bytes);
/* Append text for people: control characters and invalid UTF-8 escaped, at most max_bytes of the input. */
void tern_render_text(tern_buffer *out, const char *bytes, size_t n_bytes, size_t max_bytes);
/* The shortest digits that give the same float again. */
void tern_render_f32(tern_buffer *out, float value);
void tern_render_f64(tern_buffer *out, double value);

/* Readers, all of which fill a store (and leave freeing it to the caller). Messages do not name the file. */
tern_status tern_gguf_read(tern_store *store, const uint8_t *bytes, size_t n_bytes, tern_error *err);
tern_status tern_hf_open(const char *path, tern_checkpoint **checkpoint, tern_error *err);

#endif
