/* A trained model to files that tern and others load (../docs/FORMAT.md). */
#ifndef TERN_TRAIN_EXPORT_H
#define TERN_TRAIN_EXPORT_H

#include "train/params.h"

typedef enum tern_export_kind {
    TERN_EXPORT_GGUF,      /* I2_S or TQ2_0/TQ1_0 matrices, F16/Q8_0/Q6_K/... embedding: one file */
    TERN_EXPORT_HF_MASTER, /* folder: config.json, model.safetensors in bf16, tokenizer.json, ... */
    TERN_EXPORT_HF_PACKED, /* folder: ternary weights packed four to a byte, as 2B4T's published form */
} tern_export_kind;

typedef struct tern_export_params {
    tern_export_kind kind;
    tern_weight_mode mode;      /* ternary; binary is written as ternary values +-1; float: master only, or F16 GGUF */
    const char *weight_type;    /* GGUF: "I2_S" (NULL), "TQ1_0", "TQ2_0", "F16" ... */
    const char *embedding_type; /* GGUF: "F16" (NULL), "F32", "BF16", "Q8_0", "Q6_K" */
    const char *tokenizer_json; /* path; copied (HF) or written as arrays (GGUF) */
    const char *name;           /* general.name */
    const char *chat_template;  /* NULL: 2B4T's */
} tern_export_params;

/* `path` is replaced whole or not at all; a folder only if it holds nothing but such files. The matrices and scales are
 * those that tern_net_quantize() makes; types with a smaller scale (TQ: 16 bits; packed: bf16) round it, and a master
 * in bf16 rounds before it is quantised, so that I2_S and F32 give the training's losses exactly and these closely. */
tern_status tern_export(const tern_params *params, const tern_export_params *how, const char *path, tern_error *err);

/* Whether tern_export() could take this file and template (NULL: 2B4T's) for a model of so many ids: to be asked before
 * a run, not after it. */
tern_status tern_export_check_tokenizer(const char *path, uint32_t vocab_size, const char *chat_template,
                                        tern_error *err);

/* What a run leaves in its folder, whose paths are shorter than TERN_RUN_PATH. */
enum { TERN_N_RUN_EXPORTS = 3, TERN_RUN_PATH = 1024 };
typedef struct tern_run_export {
    tern_export_kind kind;
    const char *name;
    bool of_floats; /* of a full-precision model, too */
} tern_run_export;
extern const tern_run_export tern_run_exports[TERN_N_RUN_EXPORTS];

/* Whether all of these could be put into the folder `out`, which need not be there yet: to be asked before a run. */
tern_status tern_export_check_folder(const char *out, tern_weight_mode mode, tern_error *err);

#endif
