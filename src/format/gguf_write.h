/* Writing GGUF v3, streaming: keys first, then the tensor list, then the data in the same order. */
#ifndef TERN_FORMAT_GGUF_WRITE_H
#define TERN_FORMAT_GGUF_WRITE_H

#include "base/file.h"
#include "base/str.h"

typedef struct tern_gguf_writer tern_gguf_writer;

tern_status tern_gguf_writer_create(const char *path, tern_gguf_writer **writer, tern_error *err);
/* Give up: nothing stays on disk. Also frees; accepts NULL. */
void tern_gguf_writer_abort(tern_gguf_writer *writer);

/* Where tensors begin: at multiples of a power of two, 32 unless set; to be set before the first tensor. Puts the key
 * general.alignment. */
void tern_gguf_set_alignment(tern_gguf_writer *writer, uint32_t alignment);

/* Keys and tensors; a failure (no memory) is remembered and reported by _begin_data. */
/* A key with its value as they stood in another GGUF (tern_raw_key). */
void tern_gguf_put_raw(tern_gguf_writer *writer, tern_view bytes);
void tern_gguf_put_u32(tern_gguf_writer *writer, const char *key, uint32_t value);
void tern_gguf_put_f32(tern_gguf_writer *writer, const char *key, float value);
void tern_gguf_put_bool(tern_gguf_writer *writer, const char *key, bool value);
void tern_gguf_put_string(tern_gguf_writer *writer, const char *key, const char *value);
void tern_gguf_put_strings(tern_gguf_writer *writer, const char *key, const tern_view *values, size_t n);
void tern_gguf_put_i32s(tern_gguf_writer *writer, const char *key, const int32_t *values, size_t n);
void tern_gguf_put_f32s(tern_gguf_writer *writer, const char *key, const float *values, size_t n);
/* A tensor [rows, cols] (rows 1 and vector true: one dimension) of GGUF type number gguf_type and this many bytes. */
void tern_gguf_put_tensor(tern_gguf_writer *writer, const char *name, uint32_t gguf_type, uint64_t rows, uint64_t cols,
                          bool vector, uint64_t bytes);

/* Write header and tensor list; then give each tensor's bytes in the order they were put (any number of calls a
 * tensor; padding is written as tensors become complete). */
tern_status tern_gguf_begin_data(tern_gguf_writer *writer, tern_error *err);
tern_status tern_gguf_write_data(tern_gguf_writer *writer, const void *bytes, size_t n_bytes, tern_error *err);
/* Check that all data came, put the file in its place, free the writer (in any case). */
tern_status tern_gguf_writer_finish(tern_gguf_writer *writer, tern_error *err);

#endif
