/* What the files of tern_convert() share. */
#ifndef TERN_MODEL_CONVERT_PARTS_H
#define TERN_MODEL_CONVERT_PARTS_H

#include "format/gguf_write.h"
#include "model/layout.h"

/* The keys of the new file: all of a GGUF's as they are, or those that the official file has from a Hugging Face
 * folder's configuration and tokenizer; then tern's own, or for matrices of a type of other programs (`matrices`, else
 * NULL) the one that says which. `model_name`: general.name, or NULL: as it is. */
tern_status tern_convert_keys(const tern_checkpoint *checkpoint, const tern_weights *weights, const char *model_name,
                              const char *packing, const tern_codec *matrices, tern_gguf_writer *writer,
                              tern_error *err);

typedef struct tern_folder_params {
    const tern_codec
        *embedding; /* of embedding and head: F16, BF16 or F32; NULL: as they are, F32 for types in blocks */
    tern_pool *pool;
    tern_progress_fn progress;
    void *progress_user;
} tern_folder_params;

/* A Hugging Face folder with packed matrices at `out`, whole or not at all; an old one there is replaced if it holds
 * nothing but such files. Embedding, norms and scales are bf16 if that holds all their values, else F32: none is
 * rounded. `weights` are bound, never loaded. */
tern_status tern_convert_folder(const tern_checkpoint *checkpoint, tern_weights *weights, const char *out,
                                const tern_folder_params *params, tern_error *err);

#endif
