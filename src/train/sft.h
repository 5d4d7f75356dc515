/*
 * Learning the next token of rows: supervised fine-tuning on CHAT shards, where only answers count, and text.
 *
 * Losses are SUMMED over tokens and divided by a fixed number, the loss tokens of an average batch (2B4T report,
 * section 3.2.3): every token counts equally, whatever else its batch holds, and the
 * gradient of a batch does not depend on how it was cut into micro-batches or over processes.
 */
#ifndef TERN_TRAIN_SFT_H
#define TERN_TRAIN_SFT_H

#include "train/loop.h"

typedef struct tern_sft tern_sft;

typedef struct tern_sft_params {
    const tern_shard *shard;         /* CHAT or TEXT */
    const tern_train_config *config; /* dims.n_ctx, batch, micro, seed, z_loss, eval_tokens */
    tern_net *net;
    float *grads; /* in the layout that the net's backward pass has */
    tern_comm *comm;
} tern_sft_params;

/* What the parameters point at must outlive it. */
tern_status tern_sft_create(const tern_sft_params *params, tern_sft **sft, tern_error *err);
void tern_sft_free(tern_sft *sft);
/* For tern_train_loop(); valid as long as `sft`. `changed` is the caller's to fill in. */
tern_objective tern_sft_objective(tern_sft *sft);
/* Steps in one pass over the training documents. */
uint64_t tern_sft_steps_per_epoch(const tern_sft *sft);

#endif
