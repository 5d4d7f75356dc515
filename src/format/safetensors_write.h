/* Writing safetensors, streaming: the tensor list first, then the data in the same order. */
#ifndef TERN_FORMAT_SAFETENSORS_WRITE_H
#define TERN_FORMAT_SAFETENSORS_WRITE_H

#include "base/file.h"

typedef struct tern_safetensors_writer tern_safetensors_writer;

tern_status tern_safetensors_writer_create(const char *path, tern_safetensors_writer **writer, tern_error *err);
/* Give up: nothing stays on disk. Also frees; accepts NULL. */
void tern_safetensors_writer_abort(tern_safetensors_writer *writer);

/* A tensor of shape [n_dims] of a type as safetensors call it: "F32", "BF16", "U8", ... Names are plain: letters,
 * digits, dots, underscores. A failure (no memory, an unknown type) is remembered and reported by _begin_data. */
void tern_safetensors_put_tensor(tern_safetensors_writer *writer, const char *name, const char *type,
                                 const uint64_t *shape, size_t n_dims);

/* Write the list; then give all tensors' bytes in the order they were put, in any number of calls. */
tern_status tern_safetensors_begin_data(tern_safetensors_writer *writer, tern_error *err);
tern_status tern_safetensors_write_data(tern_safetensors_writer *writer, const void *bytes, size_t n_bytes,
                                        tern_error *err);
/* Check that all data came, put the file in its place, free the writer (in any case). */
tern_status tern_safetensors_writer_finish(tern_safetensors_writer *writer, tern_error *err);

#endif
