/*
 * A checkpoint: a model on disk, opened for reading but not loaded. The two
 * kinds, GGUF files and Hugging Face folders, look the same from here on.
 * Everything that a hostile file could lie about (sizes, offsets, counts,
 * names, types) has been checked when opening succeeds; what the model needs
 * (which tensors, of what shape) is model/bind.c's business.
 */
#ifndef TERN_FORMAT_CHECKPOINT_H
#define TERN_FORMAT_CHECKPOINT_H

#include "base/str.h"
#include "format/tensor.h"

/* What stands between gate and up: relu(gate)^2 * up or silu(gate) * up. */
typedef enum tern_activation { TERN_RELU2, TERN_SILU } tern_activation;

/* Llama 3's way to longer contexts: slow RoPE frequencies are divided by `factor` (model/rope.c). factor 0: none. */
typedef struct tern_rope_scaling {
    float factor, low_freq_factor, high_freq_factor;
    uint32_t original_n_ctx;
} tern_rope_scaling;

/* Dimensions as the file states them. Missing keys are 0 (or NaN); no defaults of any library are assumed
 * except where numerics.md section 1 gives one. Not yet validated against each other. */
typedef struct tern_config {
    const char *arch; /* "bitnet-b1.58", "bitnet-25", "bitnet", "llama" */
    const char *name;
    uint32_t vocab_size, n_ctx, hidden_size, ffn_size, n_layers, n_heads, n_kv_heads, head_dim;
    float rms_eps, rope_theta;
    int tied_embedding;     /* 1, 0, -1: not said (GGUF: decided by output.weight) */
    int32_t bos_id, eos_id; /* -1: not said */
    /* BitNet b1.58 2B4T's are zeros; LLaMA has others (docs/MODEL.md) */
    tern_activation activation;
    bool no_sub_norms;   /* no RMSNorm before the attention's output projection and before the down projection */
    bool keep_floats;    /* matrices of floats are multiplied as they are, not made ternary */
    bool interleaved_qk; /* rows of the Q and K projections as llama.cpp orders them (tern_linear.interleaved) */
    tern_rope_scaling rope_scaling;
} tern_config;

/* Of tern's own layout in GGUF (docs/FORMAT.md). */
enum {
    TERN_LAYOUT_ONE_SCALE = 1,  /* matrices have one scale each */
    TERN_LAYOUT_OWN_SCALES = 2, /* some have scales by row, which readers of version 1 would not look for */
    TERN_LAYOUT_VERSION = 2     /* the newest */
};

typedef struct tern_metadata {
    const char *key, *type, *value; /* for people: `tern inspect`; long values shortened */
} tern_metadata;

/* What a GGUF carries of a tokenizer, as views into the mapped file. */
typedef struct tern_gguf_vocab {
    const char *model;       /* "gpt2"; NULL: the file has no tokenizer */
    const char *pre;         /* tokenizer.ggml.pre or NULL */
    const tern_view *tokens; /* [n_tokens], in GPT-2's byte-to-character alphabet */
    size_t n_tokens;
    const int32_t *types;    /* [n_tokens] (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte) or NULL */
    const tern_view *merges; /* [n_merges], "left right" */
    size_t n_merges;
    int32_t bos_id, eos_id; /* -1: none */
    int add_bos;            /* 1, 0, -1: not said */
    const char *pattern;    /* tern's own keys (docs/FORMAT.md): the pre-tokeniser's regular expression, or NULL */
    int merge_tokens;       /* likewise: 1, 0 (tern_vocab_arrays) */
} tern_gguf_vocab;

/* A key with its value as they stand in a GGUF, for copying. */
typedef struct tern_raw_key {
    tern_view key;   /* in the file, not terminated */
    tern_view bytes; /* all of it: length and name, value type, value */
} tern_raw_key;

typedef enum tern_checkpoint_kind { TERN_CHECKPOINT_GGUF, TERN_CHECKPOINT_HF } tern_checkpoint_kind;

typedef struct tern_checkpoint {
    tern_checkpoint_kind kind;
    const char *path;
    const char *format; /* "GGUF v3", "Hugging Face (packed)", "Hugging Face (bf16 master)" */
    tern_config config;
    const tern_tensor *tensors; /* [n_tensors] in file order; HF: without the weight_scale companions */
    size_t n_tensors;
    const tern_metadata *metadata; /* [n_metadata] */
    size_t n_metadata;
    const char *chat_template; /* as stored, or NULL */
    tern_gguf_vocab vocab;     /* GGUF only */
    /* tern's own layout (docs/FORMAT.md); GGUF only */
    uint32_t layout_version;      /* 0: another layout */
    const char *layout_packing;   /* what the matrices are packed as, "t5r16"; NULL: not said */
    const tern_raw_key *raw_keys; /* [n_raw_keys] in file order; GGUF only */
    size_t n_raw_keys;
    uint64_t file_bytes;
} tern_checkpoint;

tern_status tern_checkpoint_open(const char *path, tern_checkpoint **checkpoint, tern_error *err);
/* A GGUF that is already in memory; `bytes` must outlive the checkpoint. */
tern_status tern_checkpoint_open_memory(const char *name, const uint8_t *bytes, size_t n_bytes,
                                        tern_checkpoint **checkpoint, tern_error *err);
void tern_checkpoint_close(tern_checkpoint *checkpoint);
/* NULL if there is none. Names as in the file. */
const tern_tensor *tern_checkpoint_find(const tern_checkpoint *checkpoint, const char *name);

/* The tensor's bytes are not needed for now: drop its file pages from memory (they come back when touched). Does
 * nothing to a checkpoint that was opened from memory. */
void tern_checkpoint_release(const tern_checkpoint *checkpoint, const tern_tensor *tensor);

/* The vocabulary has served: frees checkpoint->vocab's arrays (and drops their file pages), which are then empty. */
void tern_checkpoint_drop_vocab(tern_checkpoint *checkpoint);

/* Copy n_bytes from `offset` of the tensor, inside of it, without making file pages resident (tern_map_read). False:
 * the file could not be read. */
bool tern_checkpoint_read(const tern_checkpoint *checkpoint, const tern_tensor *tensor, uint64_t offset, size_t n_bytes,
                          void *buffer);

#endif
