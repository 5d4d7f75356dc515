/* What the files of tern_export() share. */
#ifndef TERN_TRAIN_EXPORT_PARTS_H
#define TERN_TRAIN_EXPORT_PARTS_H

#include "tokenizer/tokenizer.h"
#include "train/export.h"
#include "train/ops.h"

typedef struct tern_export_job {
    const tern_params *params;
    const tern_export_params *how;
    tern_tokenizer *tokenizer;
    const char *chat_template; /* what goes into the files */
    int8_t *trits;             /* [the largest matrix] */
} tern_export_job;

/* A BitLinear's matrix as the network quantises it -> job->trits [rows, cols], *scale. mode: ternary or binary. */
tern_status tern_export_quantize(tern_export_job *job, const tern_param *param, float *scale, tern_error *err);

tern_status tern_export_gguf(tern_export_job *job, const char *path, tern_error *err);
tern_status tern_export_hf(tern_export_job *job, const char *path, tern_error *err);
/* Whether that could put its folder there. */
tern_status tern_export_hf_check(const char *path, tern_error *err);

#endif
