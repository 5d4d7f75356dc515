/* What the files of tern_convert() share. */
#ifndef TERN_MODEL_CONVERT_PARTS_H
#define TERN_MODEL_CONVERT_PARTS_H

#include "format/gguf_write.h"
#include "model/convert.h"
#include "model/layout.h"

typedef enum convert_kind {
    CONVERT_EMBEDDING,
    CONVERT_HEAD, /* if it is another tensor */
    CONVERT_NORM,
    CONVERT_MATRIX, /* and its scales, if it has its own */
    CONVERT_ROPE,   /* RoPE's divisors */
    CONVERT_SCREEN, /* of the head: all its arrays */
    CONVERT_SCALES, /* of all matrices */
} convert_kind;

/* One thing of the new file. */
typedef struct convert_item {
    convert_kind kind;
    uint32_t layer;            /* of a norm or a matrix */
    int which;                 /* tern_norm, or the matrix's place in tern_layer.linears */
    const tern_tensor *tensor; /* embedding, head and norms: the source ... */
    const tern_codec *codec;   /* ... and the type it becomes; NULL: as it is */
    size_t place;              /* by which items are sorted */
} convert_item;

/* To a GGUF, in tern's own layout or with matrices of other programs' types. */
typedef struct tern_conversion {
    const tern_checkpoint *checkpoint;
    const tern_convert_params *params;
    const tern_matrix_source *source; /* of the matrices; NULL: the checkpoint */
    const tern_kernels *kernels;      /* the best here: they build the screen */
    const char *packing;
    const tern_codec *matrices;  /* their type; NULL: tern's own layout */
    const tern_codec *embedding; /* of embedding and head; NULL: as they are */
    const tern_codec *floats;    /* of a folder (tern_folder_params) */
    tern_weights weights;        /* bound, never loaded */
    tern_screen screen;          /* n_rows 0: none */
    tern_pool *pool;
    tern_gguf_writer *writer;
    tern_progress_fn progress;
    void *progress_user;
    uint64_t done_bytes, total_bytes; /* of the tensors in the new file */
    convert_item *items;              /* [n_items] in the order of the new file; freed with free() */
    size_t n_items;
    float *scales; /* [n_layers][7] while tensors are written */
} tern_conversion;

static inline tern_linear *convert_linear(const tern_conversion *c, const convert_item *item) {
    return &c->weights.layers[item->layer].linears[item->which];
}

/* Row `row` of the tensor was the last to be read: every few megabytes, drop the pages of those behind. */
static inline void convert_release_read(const tern_checkpoint *checkpoint, const tern_tensor *tensor, uint64_t row) {
    const uint64_t piece = 8 << 20, row_bytes = tensor->bytes / tensor->rows, rows = piece / (row_bytes + 1) + 1;
    if ((row + 1) % rows)
        return;
    tern_tensor read = *tensor;
    read.data += (row + 1 - rows) * row_bytes;
    read.bytes = rows * row_bytes;
    tern_checkpoint_release(checkpoint, &read);
}

/* convert_keys.c: the keys of the new file: all of a GGUF's, in their order, those that are no longer true with another
 * value, or those that the official file has from a Hugging Face folder's configuration and tokenizer; then tern's
 * own. */
tern_status tern_convert_keys(tern_conversion *c, tern_error *err);

/* convert_list.c: check the norms, list what the new file holds (-> items) and put its tensors; matrices are laid out.
 */
tern_status tern_convert_list(tern_conversion *c, tern_error *err);

/* convert_data.c: the tensors' data, in the order of the items. */
tern_status tern_convert_data(tern_conversion *c, tern_error *err);
/* Some bytes of it, counted for the progress. */
tern_status tern_convert_bytes(tern_conversion *c, const void *bytes, size_t n_bytes, tern_error *err);

/* convert_matrix.c: matrices [n <= 7], laid out, on all threads -> memory, linear->packed and c->scales; with another
 * source of matrices they must be all of a layer, in order. */
tern_status tern_convert_encode(tern_conversion *c, const convert_item *const *matrices, int n, uint8_t *memory,
                                tern_error *err);
/* One of them into the file, and its own scales. */
tern_status tern_convert_matrix(tern_conversion *c, const convert_item *item, tern_error *err);

typedef struct tern_folder_params {
    const tern_codec *floats; /* BF16 or F32, for embedding, norms and scales; NULL: bf16 if that holds all their
                                 values, else F32: none is rounded */
    tern_pool *pool;
    tern_progress_fn progress;
    void *progress_user;
} tern_folder_params;

/* A Hugging Face folder with packed matrices at `out`, whole or not at all; an old one there is replaced if it holds
 * nothing but such files. `weights` are bound, never loaded. */
tern_status tern_convert_folder(const tern_checkpoint *checkpoint, tern_weights *weights, const char *out,
                                const tern_folder_params *params, tern_error *err);

#endif
