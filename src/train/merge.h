/*
 * Adapters that are merged: the model that is trained is Q(W + (alpha / r) B A), ternarised like any other, with W the
 * frozen masters and A, B the trained values (straight through Q: dB = (alpha / r) dW A^T, dA = (alpha / r) B^T dW).
 * What comes out needs no adapter beside it: an update that is merged into weights that are ternary already would
 * mostly be rounded away.
 */
#ifndef TERN_TRAIN_MERGE_H
#define TERN_TRAIN_MERGE_H

#include "train/loop.h"
#include "train/lora.h"

typedef struct tern_merge {
    tern_pool *pool;
    const tern_gemm *gemm;
    void *scratch;
    const tern_params *master; /* the caller's; the values W */
    tern_lora *lora;           /* the caller's */
    tern_params merged;        /* W + (alpha / r) B A, norms and embedding as they were; gradients by it */
} tern_merge;

/* master and lora (and pool) must outlive it. Sets merged.values. Free with tern_merge_free(). */
tern_status tern_merge_create(const tern_params *master, tern_lora *lora, tern_pool *pool, tern_merge *merge,
                              tern_error *err);
void tern_merge_free(tern_merge *merge);
/* The adapters have changed: merged.values anew. */
void tern_merge_apply(tern_merge *merge);
/* lora->grads += the gradients of the adapters, from merged.grads, which become 0. */
void tern_merge_backward(tern_merge *merge);

/* An objective whose net is made of merge->merged, and whose gradients go to merged.grads, as one of the adapters.
 * `inner` and `merge` must outlive it. */
typedef struct tern_merge_objective {
    tern_merge *merge;
    const tern_objective *inner;
} tern_merge_objective;
tern_objective tern_merge_wrap(tern_merge_objective *both);

#endif
