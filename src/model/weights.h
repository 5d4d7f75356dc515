/*
 * The model in memory: validated dimensions and named tensors, the ternary
 * matrices packed for the kernels. Immutable once loaded.
 */
#ifndef TERN_MODEL_WEIGHTS_H
#define TERN_MODEL_WEIGHTS_H

#include "base/pages.h"
#include "base/pool.h"
#include "format/checkpoint.h"
#include "format/codec.h"
#include "kernels/kernels.h"
#include "model/screen.h"

typedef struct tern_dims {
    uint32_t vocab_size, n_ctx, hidden_size, ffn_size, n_layers, n_heads, n_kv_heads, head_dim;
    float rms_eps, rope_theta;
    /* zeros: BitNet b1.58 2B4T */
    tern_activation activation;
    bool no_sub_norms;          /* tern_layer's sub norms are NULL */
    const float *rope_divisors; /* [head_dim / 2], of the frequencies; NULL: none. Belongs to the weights */
} tern_dims;

static inline uint32_t tern_kv_size(const tern_dims *dims) { return dims->n_kv_heads * dims->head_dim; }
/* Of all query heads; the hidden size but in models whose heads were pruned. */
static inline uint32_t tern_q_size(const tern_dims *dims) { return dims->n_heads * dims->head_dim; }
/* The longest input of a matrix. */
static inline uint32_t tern_widest(const tern_dims *dims) {
    uint32_t most = dims->hidden_size > dims->ffn_size ? dims->hidden_size : dims->ffn_size;
    return most > tern_q_size(dims) ? most : tern_q_size(dims);
}

/* How a matrix lies in memory. */
typedef enum tern_layout {
    TERN_LAYOUT_GROUPS,  /* groups of 16 rows in the chosen packing (kernels.h) */
    TERN_LAYOUT_ROWS,    /* each row a line (lines.h) */
    TERN_LAYOUT_COLUMNS, /* each column a line */
    TERN_LAYOUT_PLAIN,   /* floats: rows of a type that the LM head's kernels read, too */
} tern_layout;

/* A form of packed matrices (model/layout.h). */
typedef struct tern_form tern_form;

/* One BitLinear: y = (q . T) / s * scale (numerics: docs/MODEL.md); or, if it is plain, y = W x. */
typedef struct tern_linear {
    uint32_t index;      /* 0 .. 7 * n_layers - 1; a backend with its own copy finds it by this */
    uint32_t rows, cols; /* [out, in] */
    tern_layout layout;
    uint32_t k_pad;                  /* groups: columns of whole blocks */
    uint32_t n_units;                /* groups of 16 rows, or lines */
    size_t unit_bytes;               /* of one group, line or row */
    const uint8_t *packed;           /* [n_units][unit_bytes]; of several slabs: [slab][group or row]; by column
                              whatever the slabs */
    float scale;                     /* of all weights, unless own_scales */
    bool scale_known;                /* tern_scales_find() has seen that there is one, and which */
    bool own_scales;                 /* rows have scales of their own (model/scales.h) ... */
    uint32_t slab_cols;              /* ... in each slab of so many columns; 0: for all columns */
    const float *scales;             /* [tern_n_slabs()][rows], once loaded */
    const tern_tensor *scale_source; /* where tern's own layout has them */
    tern_head_type plain_type;       /* of TERN_LAYOUT_PLAIN */
    uint32_t interleaved;            /* the source has the rows of each head (so many) in another order; 0: not */
    bool binarize; /* make T = sign(W - mean W), scale = mean |W| of a float source, not what it stands for */
    float centre;  /* then: mean W */
    const tern_tensor *source; /* in the checkpoint */
    const tern_form *stored;   /* what the source is packed as; NULL: it is a tensor of another program's types */
    const struct tern_low_rank *low_rank; /* what an adapter adds to it (model/adapter.h); NULL: nothing */
} tern_linear;

enum { TERN_LINEARS_PER_LAYER = 7 };

static inline uint32_t tern_n_slabs(const tern_linear *linear) {
    return linear->slab_cols ? linear->cols / linear->slab_cols : 1;
}

/* Hugging Face's name of a matrix inside its layer, "self_attn.q_proj"; `which`: its place in tern_layer.linears. */
const char *tern_linear_hf_name(int which);
/* "blk.0.attn_q.weight", as llama.cpp's files have it; written to buffer. */
const char *tern_linear_gguf_name(char buffer[static 128], uint32_t layer, int which);
/* Where the source has row `row`. llama.cpp's files of architecture llama have the two halves of each head of Q and K
 * interleaved (rows 0, h/2, 1, h/2 + 1, ...), because its RoPE rotates neighbours; everywhere else in tern rows are as
 * in Hugging Face folders. */
static inline uint32_t tern_linear_source_row(const tern_linear *linear, uint32_t row) {
    uint32_t size = linear->interleaved, half = size / 2;
    if (size == 0)
        return row;
    uint32_t at = row % size;
    return row - at + (at < half ? 2 * at : 2 * (at - half) + 1);
}
/* [out, in] of it. */
void tern_linear_shape(const tern_dims *dims, int which, uint32_t *rows, uint32_t *cols);

typedef struct tern_layer {
    const float *attn_norm, *ffn_norm;         /* [hidden] */
    const float *attn_sub_norm, *ffn_sub_norm; /* [q], [ffn]; q: tern_q_size(), which may be another size than hidden;
                                                  both NULL: there are none */
    union {
        tern_linear linears[TERN_LINEARS_PER_LAYER];
        struct {
            tern_linear q, k, v, o; /* [q, hidden], [kv, hidden] x 2, [hidden, q] */
            tern_linear gate, up;   /* [ffn, hidden] */
            tern_linear down;       /* [hidden, ffn] */
        };
    };
} tern_layer;

typedef struct tern_weights {
    const tern_checkpoint *checkpoint;
    tern_dims dims;
    tern_layer *layers;                  /* [n_layers] */
    const float *output_norm;            /* [hidden] */
    const tern_tensor *embedding, *head; /* [vocab, hidden], as stored; the same tensor if tied */
    bool tied;
    bool plain;           /* all matrices are floats (TERN_LAYOUT_PLAIN); else all are ternary */
    float *rope_divisors; /* what dims.rope_divisors points to */
    tern_head_type head_type;
    tern_screen screen;          /* of the head; empty: none */
    const tern_ternary *ternary; /* the packing and its kernels */
    void *memory;                /* the one block for norms and for matrices that are not used where they are mapped */
    tern_pages pages;            /* what `memory` was allocated as */
    uint64_t packed_bytes, memory_bytes; /* of all matrices and their own scales; of `memory` */
    uint64_t norm_bytes, scale_bytes;    /* in `memory`: of the norms; behind them, of linear->scales */
    uint64_t n_ternary, n_params;
} tern_weights;

typedef enum tern_norm {
    TERN_NORM_ATTN,
    TERN_NORM_ATTN_SUB,
    TERN_NORM_FFN,
    TERN_NORM_FFN_SUB,
    TERN_NORM_OUTPUT /* of the whole model; the layer is ignored */
} tern_norm;

/* Values of a norm's gain. */
uint32_t tern_norm_size(const tern_dims *dims, tern_norm norm);
/* The name of a norm's gain in this kind of checkpoint; written to buffer or static. */
const char *tern_norm_name(const tern_checkpoint *checkpoint, char buffer[static 128], uint32_t layer, tern_norm norm);

/* A GGUF has RoPE's divisors as a tensor, F32 [head_dim / 2]. */
#define TERN_ROPE_DIVISORS_NAME "rope_freqs.weight"
/* What RoPE's frequencies are divided by -> weights->rope_divisors: from the configuration or the file's tensor. */
tern_status tern_rope_bind(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err);

/* Bytes of all norms, and of a matrix that is laid out (tern_form_lay_out), as they lie in weights->memory. */
uint64_t tern_norm_bytes(const tern_dims *dims);
uint64_t tern_packed_bytes(const tern_linear *linear);

/* The values [size] of a norm's gain -> out. An error if it is missing, of another size or type, or not finite. */
tern_status tern_norm_load(const tern_checkpoint *checkpoint, uint32_t layer, tern_norm norm, uint32_t size, float *out,
                           tern_error *err);

/* Check the dimensions and find every matrix (existence, shape, type); nothing is read yet. `weights` is filled but
 * for packed data and norms. On failure `weights` needs no freeing. */
tern_status tern_weights_bind(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err);

typedef struct tern_load_params {
    tern_progress_fn progress;
    void *progress_user;
    /* Where the weights lie; either one copies to memory what could be used where it is mapped, too. */
    bool huge_pages; /* in reserved huge pages, or not at all */
    tern_numa numa;  /* on which memory nodes; TERN_NUMA_LOCAL is of use only with a pinned pool */
} tern_load_params;

/* Bind, then pack all matrices for the kernels that will read them, on the pool's threads; `up` and `down` in lines
 * if `ternary` has kernels for them. What lies in the file in that form (tern's own layout) is used where it is mapped
 * and not even read. File pages of what is packed are dropped as they are used, so that the peak stays near the loaded
 * size. The checkpoint must outlive the weights (embedding and head, too, are read in place). All norms lie in
 * weights->memory, behind the packed matrices, and behind them the scales by row. `params` may be NULL. */
tern_status tern_weights_load(const tern_checkpoint *checkpoint, const tern_ternary *ternary, tern_pool *pool,
                              const tern_load_params *params, tern_weights *weights, tern_error *err);

/* Whether the model has no zeros among its ternary weights, so that one bit is enough for each. Reads the matrices up
 * to the first zero: a few rows of a ternary model, all of a binary one. Checks what tern_weights_bind() checks. */
tern_status tern_weights_are_binary(const tern_checkpoint *checkpoint, tern_pool *pool, bool *binary, tern_error *err);

/* One matrix of the checkpoint (bound, and laid out by tern_form_lay_out) -> linear->packed and ->scale, in `form`. A
 * zero where the form holds none is TERN_ERR_UNSUPPORTED, and so is ->binarize of a tensor that is ternary already. */
tern_status tern_pack_linear(const tern_checkpoint *checkpoint, const tern_form *form, tern_linear *linear,
                             tern_error *err);
/* One matrix (bound) -> out [tern_codec_bytes()] in a type of other programs, and ->scale: float types hold the values
 * trit * scale. Types with a smaller scale than F32 (TQ1_0, TQ2_0, F16, BF16) round it. TERN_ERR_UNSUPPORTED if it has
 * scales of its own by row for which the type has no place. */
tern_status tern_encode_linear(const tern_checkpoint *checkpoint, const tern_codec *codec, tern_linear *linear,
                               uint8_t *out, tern_error *err);
/* Its ->scale alone, as the above will find it. */
tern_status tern_linear_find_scale(const tern_checkpoint *checkpoint, tern_linear *linear, tern_error *err);
/* Of one that is stored packed (bound, ->stored is not NULL): fails if a code is no ternary value. */
tern_status tern_check_linear(const tern_linear *linear, tern_error *err);
/* Add the head's screen, if it is large enough for one to pay: the file's, or else one that is made, if `make` allows.
 * `kernels` NULL: this rung has none, nothing happens. */
tern_status tern_weights_screen(const tern_checkpoint *checkpoint, const tern_screen_kernels *kernels, tern_pool *pool,
                                bool make, tern_weights *weights, tern_error *err);
void tern_weights_free(tern_weights *weights);

#endif
